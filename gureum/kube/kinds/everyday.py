"""Kinds with few rules: namespaces, secrets, config maps, services, claims, ingresses, autoscalers, roles, classes, webhooks, leases.

Source: Kubernetes API reference; k8s.io/kubernetes/pkg/apis/*/v1/defaults.go and validation.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from gureum.kube.errors import Cause, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.quantities import BadQuantity, parse_quantity
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
LIMIT_DATA_BYTES = 1024 * 1024
_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")
_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex "
    "used for validation is '[-._a-zA-Z0-9]+')"
)


# Namespaces


def default_namespace(obj: Object) -> None:
    name = obj["metadata"].get("name", "")
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj.setdefault("status", {}).setdefault("phase", "Active")


def create_namespace(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    finalizers = spec.setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    obj["status"] = {"phase": "Active"}


def update_namespace(obj: Object, old: Object) -> None:
    obj["spec"] = old.get("spec", {})


# Secrets and config maps


def default_secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None) or {}
    for name, value in plain.items():
        obj.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()


_SECRET_KEYS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def validate_secret(obj: Object, old: Object | None) -> list[Cause]:
    data = obj.get("data") or {}
    causes = _keys(data)
    total = 0
    for name, value in data.items():
        try:
            total += len(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            causes.append(invalid(f"data[{name}]", "<secret contents redacted>", "illegal base64 data"))
    if total > LIMIT_DATA_BYTES:
        causes.append(Cause("FieldValueTooLong", "data", f"Too long: may not be more than {LIMIT_DATA_BYTES} bytes"))
    causes += [required(f"data[{key}]") for key in _SECRET_KEYS.get(obj.get("type", ""), ()) if key not in data]
    account = (obj["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.name")
    if obj.get("type") == "kubernetes.io/service-account-token" and not account:
        causes.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    if old is not None:
        if obj.get("type") != old.get("type"):
            causes.append(invalid("type", obj.get("type"), "field is immutable"))
        causes += _immutable_data(obj, old)
    return causes


def validate_config_map(obj: Object, old: Object | None) -> list[Cause]:
    causes = _keys(obj.get("data") or {}) + _keys(obj.get("binaryData") or {}, "binaryData")
    total = sum(len(value.encode()) for value in (obj.get("data") or {}).values())
    total += sum(len(value) * 3 // 4 for value in (obj.get("binaryData") or {}).values())
    if total > LIMIT_DATA_BYTES:
        causes.append(Cause("FieldValueTooLong", "", f"Too long: may not be more than {LIMIT_DATA_BYTES} bytes"))
    return causes + (_immutable_data(obj, old) if old is not None else [])


def _keys(data: Object, field: str = "data") -> list[Cause]:
    return [
        invalid(f"{field}[{name}]", name, _KEY_TEXT)
        for name in data
        if not _KEY.match(name) or len(name) > 253 or name in (".", "..")
    ]


def _immutable_data(obj: Object, old: Object) -> list[Cause]:
    if not old.get("immutable"):
        return []
    causes = []
    if not obj.get("immutable"):
        causes.append(forbidden_field("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden_field(name, "field is immutable when `immutable` is set")
        for name in ("data", "binaryData")
        if obj.get(name) != old.get(name)
    ]
    return causes


# Services

SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def default_service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort") and "port" in port:
            port["targetPort"] = port["port"]
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    else:
        spec.pop("externalTrafficPolicy", None)
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    else:
        spec.pop("allocateLoadBalancerNodePorts", None)
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def update_service(obj: Object, old: Object) -> None:
    """What the server gave stays where the client does not speak of it."""
    spec, before = obj.setdefault("spec", {}), old.get("spec") or {}
    if spec.get("type") == "ExternalName" or before.get("type") == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not spec.get(name) and before.get(name):
            spec[name] = before[name]
    if spec.get("type") in ("NodePort", "LoadBalancer") and before.get("type") in ("NodePort", "LoadBalancer"):
        known = {(one.get("protocol"), one.get("port")): one.get("nodePort") for one in before.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = known.get((port.get("protocol"), port.get("port")))
            if number and not port.get("nodePort"):
                port["nodePort"] = number


def validate_service(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    kind = spec.get("type")
    causes = [] if kind in SERVICE_TYPES else [unsupported("spec.type", kind, SERVICE_TYPES)]
    ports = spec.get("ports") or []
    if kind == "ExternalName":
        if not spec.get("externalName"):
            causes.append(required("spec.externalName"))
    elif not ports and spec.get("clusterIP") != "None":
        causes.append(required("spec.ports"))
    seen: set[str] = set()
    for at, port in enumerate(ports):
        field = f"spec.ports[{at}]"
        number = port.get("port")
        if not isinstance(number, int) or not 1 <= number <= 65535:
            causes.append(invalid(f"{field}.port", number or 0, "must be between 1 and 65535, inclusive"))
        if len(ports) > 1 and not port.get("name"):
            causes.append(required(f"{field}.name"))
        elif port.get("name") in seen:
            causes.append(Cause("FieldValueDuplicate", f"{field}.name", f'Duplicate value: "{port["name"]}"'))
        seen.add(str(port.get("name") or ""))
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            causes.append(unsupported(f"{field}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
    if old is not None and kind != "ExternalName":
        before = (old.get("spec") or {}).get("clusterIP")
        if before and before != spec.get("clusterIP") and (old.get("spec") or {}).get("type") != "ExternalName":
            causes.append(invalid("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set"))
    return causes


# Storage


def default_claim(obj: Object) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def validate_claim(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    if not spec.get("accessModes"):
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    wanted = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if wanted is None:
        causes.append(required("spec.resources[storage]"))
    else:
        try:
            if parse_quantity(wanted) <= 0:
                causes.append(invalid("spec.resources[storage]", wanted, "must be greater than zero"))
        except BadQuantity as error:
            causes.append(invalid("spec.resources[storage]", wanted, str(error)))
    if old is not None:
        before = old.get("spec") or {}
        changed = [
            name
            for name in {*spec, *before} - {"resources", "volumeName", "volumeAttributesClassName"}
            if spec.get(name) != before.get(name)
        ]
        if before.get("volumeName") and before["volumeName"] != spec.get("volumeName"):
            changed.append("volumeName")
        if changed:
            text = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
            causes.append(forbidden_field("spec", text))
    return causes


def default_volume(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def default_storage_class(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def validate_storage_class(obj: Object, old: Object | None) -> list[Cause]:
    causes = [] if obj.get("provisioner") else [required("provisioner")]
    if old is not None:
        causes += [
            forbidden_field(name, f"updates to {name} are forbidden.")
            for name in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
            if obj.get(name) != old.get(name)
        ]
    return causes


# Roles


def default_binding(obj: Object) -> None:
    reference = obj.get("roleRef") or {}
    if reference and not reference.get("apiGroup"):
        reference["apiGroup"] = "rbac.authorization.k8s.io"
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


def validate_binding(obj: Object, old: Object | None) -> list[Cause]:
    reference = obj.get("roleRef") or {}
    causes = []
    kinds = ("ClusterRole",) if obj["kind"] == "ClusterRoleBinding" else ("ClusterRole", "Role")
    if reference.get("kind") not in kinds:
        causes.append(unsupported("roleRef.kind", reference.get("kind", ""), kinds))
    if not reference.get("name"):
        causes.append(required("roleRef.name"))
    if old is not None and reference != old.get("roleRef"):
        causes.append(invalid("roleRef", reference, "cannot change roleRef"))
    for at, subject in enumerate(obj.get("subjects") or ()):
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            causes.append(
                unsupported(f"subjects[{at}].kind", subject.get("kind", ""), ("Group", "ServiceAccount", "User"))
            )
        elif (
            subject["kind"] == "ServiceAccount" and not subject.get("namespace") and obj["kind"] == "ClusterRoleBinding"
        ):
            causes.append(required(f"subjects[{at}].namespace"))
        if not subject.get("name"):
            causes.append(required(f"subjects[{at}].name"))
    return causes


def validate_role(obj: Object, _old: Object | None) -> list[Cause]:
    causes = []
    for at, rule in enumerate(obj.get("rules") or ()):
        if not rule.get("verbs"):
            causes.append(required(f"rules[{at}].verbs", "verbs must contain at least one value"))
        if not rule.get("nonResourceURLs"):
            if not rule.get("apiGroups"):
                causes.append(required(f"rules[{at}].apiGroups", "resource rules must supply at least one api group"))
            if not rule.get("resources"):
                causes.append(required(f"rules[{at}].resources", "resource rules must supply at least one resource"))
    return causes


# Others


def default_autoscaler(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def validate_autoscaler(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = []
    most, least = spec.get("maxReplicas") or 0, spec.get("minReplicas") or 1
    if most < 1:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    elif most < least:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    return causes + [required(f"spec.scaleTargetRef.{name}") for name in ("kind", "name") if not target.get(name)]


def default_network_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def validate_ingress(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        return [invalid("spec", {}, "either `defaultBackend` or `rules` must be specified")]
    causes = []
    kinds = ("Exact", "ImplementationSpecific", "Prefix")
    for at, rule in enumerate(spec.get("rules") or ()):
        for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            field = f"spec.rules[{at}].http.paths[{number}]"
            if path.get("pathType") is None:
                causes.append(required(f"{field}.pathType", "pathType must be specified"))
            elif path["pathType"] not in kinds:
                causes.append(unsupported(f"{field}.pathType", path["pathType"], kinds))
            elif path["pathType"] != "ImplementationSpecific" and not str(path.get("path", "")).startswith("/"):
                causes.append(invalid(f"{field}.path", path.get("path", ""), "must be an absolute path"))
    return causes


def validate_budget(obj: Object, _old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [invalid("spec", {}, "minAvailable and maxUnavailable cannot be both set")]
    return []


def default_priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
    obj.setdefault("value", 0)


def validate_priority_class(obj: Object, old: Object | None) -> list[Cause]:
    causes = []
    if obj["value"] > 1_000_000_000 and not obj["metadata"].get("name", "").startswith("system-"):
        causes.append(forbidden_field("value", "maximum allowed value of a user defined priority is 1000000000"))
    if old is not None and obj["value"] != old.get("value"):
        causes.append(forbidden_field("value", "may not be changed in an update."))
    return causes


def default_endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def default_endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def default_webhooks(obj: Object) -> None:
    mutating = obj["kind"].startswith("Mutating")
    for hook in obj.get("webhooks") or ():
        hook.setdefault("failurePolicy", "Fail")
        hook.setdefault("matchPolicy", "Equivalent")
        hook.setdefault("namespaceSelector", {})
        hook.setdefault("objectSelector", {})
        hook.setdefault("timeoutSeconds", 10)
        if mutating:
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            service.setdefault("port", 443)


def default_limit_range(obj: Object) -> None:
    for limit in (obj.get("spec") or {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        for name, value in (limit.get("max") or {}).items():
            limit.setdefault("default", {}).setdefault(name, value)
        for name, value in (limit.get("default") or {}).items():
            limit.setdefault("defaultRequest", {}).setdefault(name, value)
        for name, value in (limit.get("min") or {}).items():
            limit.setdefault("defaultRequest", {}).setdefault(name, value)


def default_node(obj: Object) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    if status.get("capacity"):
        status.setdefault("allocatable", dict(status["capacity"]))


FAMILY: dict[str, Rules] = {
    "core/namespaces": Rules(default_namespace, create_namespace, update_namespace, generation=False),
    "core/secrets": Rules(default_secret, validate=validate_secret, generation=False),
    "core/configmaps": Rules(validate=validate_config_map, generation=False),
    "core/services": Rules(default_service, update=update_service, validate=validate_service, generation=False),
    "core/persistentvolumeclaims": Rules(default_claim, validate=validate_claim, generation=False),
    "core/persistentvolumes": Rules(default_volume, generation=False),
    "core/endpoints": Rules(default_endpoints, generation=False),
    "core/limitranges": Rules(default_limit_range, generation=False),
    "core/nodes": Rules(default_node, generation=False),
    "discovery.k8s.io/endpointslices": Rules(default_endpoint_slice),
    "storage.k8s.io/storageclasses": Rules(default_storage_class, validate=validate_storage_class, generation=False),
    "storage.k8s.io/csinodes": Rules(generation=False, conditional=True),
    "storage.k8s.io/volumeattachments": Rules(generation=False, conditional=True),
    "rbac.authorization.k8s.io/roles": Rules(validate=validate_role, generation=False),
    "rbac.authorization.k8s.io/clusterroles": Rules(validate=validate_role, generation=False),
    "rbac.authorization.k8s.io/rolebindings": Rules(default_binding, validate=validate_binding, generation=False),
    "rbac.authorization.k8s.io/clusterrolebindings": Rules(
        default_binding, validate=validate_binding, generation=False
    ),
    "autoscaling/horizontalpodautoscalers": Rules(default_autoscaler, validate=validate_autoscaler, generation=False),
    "networking.k8s.io/networkpolicies": Rules(default_network_policy),
    "networking.k8s.io/ingresses": Rules(validate=validate_ingress),
    "networking.k8s.io/ingressclasses": Rules(),
    "policy/poddisruptionbudgets": Rules(validate=validate_budget, conditional=True),
    "scheduling.k8s.io/priorityclasses": Rules(default_priority_class, validate=validate_priority_class),
    "node.k8s.io/runtimeclasses": Rules(generation=False, conditional=True),
    "coordination.k8s.io/leases": Rules(generation=False, conditional=True),
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": Rules(default_webhooks, conditional=True),
    "admissionregistration.k8s.io/validatingwebhookconfigurations": Rules(default_webhooks, conditional=True),
    "admissionregistration.k8s.io/validatingadmissionpolicies": Rules(),
    "admissionregistration.k8s.io/validatingadmissionpolicybindings": Rules(),
    "flowcontrol.apiserver.k8s.io/flowschemas": Rules(),
    "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations": Rules(),
}
