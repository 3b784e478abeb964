"""The kinds of Kubernetes 1.34 that this API server has, as one table.

A line: Kind, plural, short names, N (namespaced) or C (of the cluster), categories, subresources, verbs where they are not all. `-` is none.
Source: Kubernetes' discovery document of that version; short names and categories from its storage packages.
"""

from __future__ import annotations

from functools import cache

from gureum.kube.kinds.kind import ALL_VERBS, Kind, Subresource

_TABLE = """
v1
  Binding                   bindings                   -       N -   -                     create
  ComponentStatus           componentstatuses          cs      C -   -                     get,list
  ConfigMap                 configmaps                 cm      N -   -
  Endpoints                 endpoints                  ep      N -   -
  Event                     events                     ev      N -   -
  LimitRange                limitranges                limits  N -   -
  Namespace                 namespaces                 ns      C -   status,finalize       create,delete,get,list,patch,update,watch
  Node                      nodes                      no      C -   status,proxy
  PersistentVolumeClaim     persistentvolumeclaims     pvc     N -   status
  PersistentVolume          persistentvolumes          pv      C -   status
  Pod                       pods                       po      N all status,binding,eviction,ephemeralcontainers,resize,log,exec,attach,portforward,proxy
  PodTemplate               podtemplates               -       N -   -
  ReplicationController     replicationcontrollers     rc      N all status,scale
  ResourceQuota             resourcequotas             quota   N -   status
  Secret                    secrets                    -       N -   -
  ServiceAccount            serviceaccounts            sa      N -   token
  Service                   services                   svc     N all status,proxy
apps/v1
  ControllerRevision        controllerrevisions        -       N -   -
  DaemonSet                 daemonsets                 ds      N all status
  Deployment                deployments                deploy  N all status,scale
  ReplicaSet                replicasets                rs      N all status,scale
  StatefulSet               statefulsets               sts     N all status,scale
batch/v1
  CronJob                   cronjobs                   cj      N all status
  Job                       jobs                       -       N all status
autoscaling/v2
  HorizontalPodAutoscaler   horizontalpodautoscalers   hpa     N all status
autoscaling/v1
  HorizontalPodAutoscaler   horizontalpodautoscalers   hpa     N all status
networking.k8s.io/v1
  IngressClass              ingressclasses             -       C -   -
  Ingress                   ingresses                  ing     N -   status
  IPAddress                 ipaddresses                ip      C -   -
  NetworkPolicy             networkpolicies            netpol  N -   -
  ServiceCIDR               servicecidrs               -       C -   status
policy/v1
  PodDisruptionBudget       poddisruptionbudgets       pdb     N -   status
rbac.authorization.k8s.io/v1
  ClusterRoleBinding        clusterrolebindings        -       C -   -
  ClusterRole               clusterroles               -       C -   -
  RoleBinding               rolebindings               -       N -   -
  Role                      roles                      -       N -   -
storage.k8s.io/v1
  CSIDriver                 csidrivers                 -       C -   -
  CSINode                   csinodes                   -       C -   -
  CSIStorageCapacity        csistoragecapacities       -       N -   -
  StorageClass              storageclasses             sc      C -   -
  VolumeAttachment          volumeattachments          -       C -   status
  VolumeAttributesClass     volumeattributesclasses    vac     C -   -
scheduling.k8s.io/v1
  PriorityClass             priorityclasses            pc      C -   -
coordination.k8s.io/v1
  Lease                     leases                     -       N -   -
discovery.k8s.io/v1
  EndpointSlice             endpointslices             -       N -   -
events.k8s.io/v1
  Event                     events                     ev      N -   -
node.k8s.io/v1
  RuntimeClass              runtimeclasses             -       C -   -
admissionregistration.k8s.io/v1
  MutatingWebhookConfiguration       mutatingwebhookconfigurations       - C api-extensions -
  ValidatingWebhookConfiguration     validatingwebhookconfigurations     - C api-extensions -
apiextensions.k8s.io/v1
  CustomResourceDefinition  customresourcedefinitions  crd,crds C api-extensions status
apiregistration.k8s.io/v1
  APIService                apiservices                -       C api-extensions status
certificates.k8s.io/v1
  CertificateSigningRequest certificatesigningrequests csr     C -   status,approval
flowcontrol.apiserver.k8s.io/v1
  FlowSchema                flowschemas                -       C -   status
  PriorityLevelConfiguration prioritylevelconfigurations -     C -   status
authentication.k8s.io/v1
  SelfSubjectReview         selfsubjectreviews         -       C -   -                     create
  TokenReview               tokenreviews               -       C -   -                     create
authorization.k8s.io/v1
  LocalSubjectAccessReview  localsubjectaccessreviews  -       N -   -                     create
  SelfSubjectAccessReview   selfsubjectaccessreviews   -       C -   -                     create
  SelfSubjectRulesReview    selfsubjectrulesreviews    -       C -   -                     create
  SubjectAccessReview       subjectaccessreviews       -       C -   -                     create
"""  # noqa: E501
# Singular names are the kind in lower case. Storage of what two groups show is the first one's.
_SHARED = {("events.k8s.io", "events"): "core/events"}
GROUP_ORDER = (
    "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch",
    "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io",
    "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "flowcontrol.apiserver.k8s.io",
)  # fmt: skip
"""As the original lists them: clients that look for a short name take the first."""
_CHANGES = ("get", "patch", "update")
_SUBRESOURCES = {
    "approval": ("", "", "", _CHANGES),
    "attach": ("PodAttachOptions", "", "v1", ("create", "get")),
    "binding": ("Binding", "", "v1", ("create",)),
    "ephemeralcontainers": ("", "", "", _CHANGES),
    "eviction": ("Eviction", "policy", "v1", ("create",)),
    "exec": ("PodExecOptions", "", "v1", ("create", "get")),
    "finalize": ("", "", "", ("update",)),
    "log": ("", "", "", ("get",)),
    "portforward": ("PodPortForwardOptions", "", "v1", ("create", "get")),
    "proxy": ("", "", "v1", ("create", "delete", "get", "patch", "update")),
    "resize": ("", "", "", _CHANGES),
    "scale": ("Scale", "autoscaling", "v1", _CHANGES),
    "status": ("", "", "", _CHANGES),
    "token": ("TokenRequest", "authentication.k8s.io", "v1", ("create",)),
}


def subresource(name: str, kind: str) -> Subresource:
    own, group, version, verbs = _SUBRESOURCES[name]
    return Subresource(name, own or (f"{kind}ProxyOptions" if name == "proxy" else kind), verbs, group, version)


@cache
def builtin_kinds() -> tuple[Kind, ...]:
    """All of the table, in its order."""
    found: list[Kind] = []
    group = version = ""
    for line in _TABLE.strip().splitlines():
        if not line.startswith(" "):
            group, _, version = line.rpartition("/")
            continue
        name, plural, short, scope, categories, subresources, *verbs = line.split()
        found.append(
            Kind(
                group=group,
                version=version,
                kind=name,
                plural=plural,
                singular=name.lower(),
                namespaced=scope == "N",
                short_names=_words(short),
                categories=_words(categories),
                verbs=_words(verbs[0]) if verbs else ALL_VERBS,
                subresources=tuple(subresource(one, name) for one in _words(subresources)),
                storage=_SHARED.get((group, plural), f"{group or 'core'}/{plural}"),
            )
        )
    return tuple(found)


def _words(text: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(","))
