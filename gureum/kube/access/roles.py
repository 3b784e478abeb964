"""The roles and bindings that every cluster has.

Source: Kubernetes, "Using RBAC Authorization", default roles and role bindings.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.access.rbac import aggregated

Object = dict[str, Any]
_API = "rbac.authorization.k8s.io"
_DISCOVERY = [
    *("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"),
    *("/healthz", "/livez", "/readyz", "/version", "/version/"),
]
READ = ["get", "list", "watch"]
WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_EVERY = ["*"]
_CERTIFICATES = "certificates.k8s.io"
_VIEWED = {
    "": [
        "configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "replicationcontrollers",
        "replicationcontrollers/scale", "serviceaccounts", "services", "services/status", "bindings", "events", "limitranges",
        "namespaces/status", "pods/log", "pods/status", "replicationcontrollers/status", "resourcequotas", "resourcequotas/status",
        "namespaces",
    ],
    "discovery.k8s.io": ["endpointslices"],
    "apps": [
        "controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status", "replicasets",
        "replicasets/scale", "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status",
    ],
    "autoscaling": ["horizontalpodautoscalers", "horizontalpodautoscalers/status"],
    "batch": ["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    "policy": ["poddisruptionbudgets", "poddisruptionbudgets/status"],
    "networking.k8s.io": ["ingresses", "ingresses/status", "networkpolicies"],
}  # fmt: skip
_EDITED = {
    "": [
        "configmaps", "events", "persistentvolumeclaims", "pods", "replicationcontrollers", "replicationcontrollers/scale", "secrets",
        "serviceaccounts", "services", "services/proxy", "endpoints",
    ],
    "apps": [
        "daemonsets", "deployments", "deployments/rollback", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets",
        "statefulsets/scale",
    ],
    "autoscaling": ["horizontalpodautoscalers"],
    "batch": ["cronjobs", "jobs"],
    "policy": ["poddisruptionbudgets"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "coordination.k8s.io": ["leases"],
}  # fmt: skip


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> Object:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _rules(table: dict[str, list[str]], verbs: list[str]) -> list[Object]:
    return [_rule([group], resources, verbs) for group, resources in table.items()]


_ROLES: dict[str, list[Object]] = {
    "cluster-admin": [_rule(_EVERY, _EVERY, _EVERY), {"nonResourceURLs": _EVERY, "verbs": _EVERY}],
    "system:aggregate-to-view": _rules(_VIEWED, READ),
    "system:aggregate-to-edit": [
        *_rules(_EDITED, WRITE),
        _rule([""], ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"], READ),
        _rule([""], ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], WRITE),
        _rule([""], ["pods/eviction", "serviceaccounts/token"], ["create"]),
        _rule([""], ["serviceaccounts"], ["impersonate"]),
        _rule(["coordination.k8s.io"], ["leases"], READ),
    ],
    "system:aggregate-to-admin": [
        _rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
        _rule([_API], ["rolebindings", "roles"], [*READ, *WRITE]),
    ],
    "system:basic-user": [
        _rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
        _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
    ],
    "system:discovery": [
        {"nonResourceURLs": _DISCOVERY, "verbs": ["get"]}
    ],
    "system:public-info-viewer": [
        {"nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"]}
    ],
    "system:service-account-issuer-discovery": [
        {"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]}
    ],
    "system:auth-delegator": [
        _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
        _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
    ],
    "system:node": [
        _rule([""], ["nodes", "nodes/status", "pods", "pods/status", "events", "services", "configmaps", "secrets"], [*READ, *WRITE]),
        _rule([""], ["pods/eviction", "serviceaccounts/token"], ["create"]),
        _rule(["coordination.k8s.io"], ["leases"], [*READ, *WRITE]),
    ],
    **{
        f"system:certificates.k8s.io:{name}-approver": [
            {**_rule([_CERTIFICATES], ["signers"], ["approve"]), "resourceNames": [f"kubernetes.io/{name}"]}
        ]
        for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving")
    },
    **{
        f"system:certificates.k8s.io:certificatesigningrequests:{way}": [
            _rule([_CERTIFICATES], [f"certificatesigningrequests/{way}"], ["create"])
        ]
        for way in ("nodeclient", "selfnodeclient")
    },
    "system:node-bootstrapper": [
        _rule([_CERTIFICATES], ["certificatesigningrequests"], ["create", "get", "list", "watch"])
    ],
}  # fmt: skip
_BOUND = (
    ("cluster-admin", "system:masters"),
    ("system:basic-user", "system:authenticated"),
    ("system:discovery", "system:authenticated"),
    ("system:public-info-viewer", "system:authenticated"),
    ("system:public-info-viewer", "system:unauthenticated"),
    ("system:service-account-issuer-discovery", "system:serviceaccounts"),
)
"""Which group has which role."""


def default_roles() -> list[tuple[str, Object]]:
    """By storage."""
    found = [(f"{_API}/clusterroles", _role(name, rules)) for name, rules in _ROLES.items()]
    plain = [role for _, role in found]
    found += [(f"{_API}/clusterroles", _aggregated(name, plain)) for name in _AGGREGATED]
    found += [(f"{_API}/clusterrolebindings", _binding(role, group)) for role, group in _BOUND]
    merged: dict[str, tuple[str, Object]] = {}
    for storage, obj in found:
        place = f"{storage}/{obj['metadata']['name']}"
        if place in merged:
            merged[place][1]["subjects"] += obj["subjects"]
        else:
            merged[place] = storage, obj
    return list(merged.values())


def _metadata(name: str, labels: dict[str, str]) -> Object:
    return {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }


_AGGREGATED = {"view": ("view",), "edit": ("edit", "view"), "admin": ("admin", "edit", "view")}


def _role(name: str, rules: list[Object]) -> Object:
    part = name.removeprefix("system:aggregate-to-")
    labels = {f"rbac.authorization.k8s.io/aggregate-to-{part}": "true"} if part != name else {}
    return {"apiVersion": f"{_API}/v1", "kind": "ClusterRole", "metadata": _metadata(name, labels), "rules": rules}


def _aggregated(name: str, roles: list[Object]) -> Object:
    selectors = [
        {"matchLabels": {f"rbac.authorization.k8s.io/aggregate-to-{one}": "true"}} for one in _AGGREGATED[name]
    ]
    obj = {**_role(name, []), "aggregationRule": {"clusterRoleSelectors": selectors}}
    return {**obj, "rules": aggregated(obj, roles)}


def _binding(role: str, group: str) -> Object:
    return {
        "apiVersion": f"{_API}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": _metadata(role, {}),
        "roleRef": {"apiGroup": _API, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _API, "kind": "Group", "name": group}],
    }
