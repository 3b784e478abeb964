"""What pods get or must fulfil when they are made: service account with its token, priority, tolerations; and claims their storage class.

Source: Kubernetes, "Admission Controllers" (ServiceAccount, Priority, DefaultTolerationSeconds, DefaultStorageClass).
"""

from __future__ import annotations

from typing import Any

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import forbidden
from gureum.kube.kinds.metadata import suffix
from gureum.kube.objects import Objects

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_TOLERATION_S = 300
_PODS, _CREATES = frozenset({"core/pods"}), frozenset({"CREATE"})
Object = dict[str, Any]


def service_account(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        metadata, spec = attributes.obj["metadata"], attributes.obj["spec"]
        if (metadata.get("annotations") or {}).get("kubernetes.io/config.mirror"):
            return None
        name = spec.get("serviceAccountName") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = objects.get("core/serviceaccounts", attributes.namespace, name)
        if account is None:
            text = f'error looking up service account {attributes.namespace}/{name}: serviceaccount "{name}" not found'
            raise forbidden(attributes.target.kind, metadata.get("name", ""), text)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = account["imagePullSecrets"]
        wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
        if wanted:
            _mount_token(spec)
        return None

    return Plugin(admit, _PODS, _CREATES, again=True)


def _mount_token(spec: Object) -> None:
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    bare = [
        one
        for one in containers
        if all(mount.get("mountPath") != TOKEN_PATH for mount in one.get("volumeMounts") or ())
    ]
    if not bare:
        return
    volume = next(
        (one["name"] for one in spec.get("volumes") or () if str(one.get("name")).startswith("kube-api-access-")), ""
    )
    if not volume:
        volume = f"kube-api-access-{suffix()}"
        field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
        sources = [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [{"fieldRef": field, "path": "namespace"}]}},
        ]
        spec["volumes"] = [
            *(spec.get("volumes") or ()),
            {"name": volume, "projected": {"defaultMode": 420, "sources": sources}},
        ]
    for container in bare:
        mount = {"mountPath": TOKEN_PATH, "name": volume, "readOnly": True}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def priority(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        spec = attributes.obj["spec"]
        name = spec.get("priorityClassName", "")
        value, policy = 0, "PreemptLowerPriority"
        if name:
            found = objects.get("scheduling.k8s.io/priorityclasses", "", name)
            if found is None and name not in _SYSTEM_PRIORITIES:
                text = f"no PriorityClass with name {name} was found"
                raise forbidden(attributes.target.kind, attributes.obj["metadata"].get("name", ""), text)
            value = found["value"] if found else _SYSTEM_PRIORITIES[name]
            policy = (found or {}).get("preemptionPolicy", policy)
        else:
            for one in objects.saying("scheduling.k8s.io/priorityclasses", b'"globalDefault":true'):
                if one.get("globalDefault"):
                    spec["priorityClassName"] = one["metadata"]["name"]
                    value, policy = one["value"], one.get("preemptionPolicy", policy)
        for what, given, computed in (
            ("integer value of priority", spec.get("priority"), value),
            ("string value of PreemptionPolicy", spec.get("preemptionPolicy"), policy),
        ):
            if given not in (None, computed):
                text = (
                    f"the {what} ({given}) must not be provided in pod spec; priority admission controller computed {computed} "
                    "from the given PriorityClass name"
                )
                raise forbidden(attributes.target.kind, attributes.obj["metadata"].get("name", ""), text)
        spec["priority"], spec["preemptionPolicy"] = value, policy
        return None

    return Plugin(admit, _PODS, _CREATES, again=True)


async def _tolerations(attributes: Attributes) -> list[Extra] | None:
    """A pod stays on a node that is not ready for five minutes."""
    spec = attributes.obj["spec"]
    found = list(spec.get("tolerations") or ())
    for name in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            one.get("key") in (name, None, "") and one.get("effect") in ("NoExecute", None, "") for one in found
        ):
            found.append({"effect": "NoExecute", "key": name, "operator": "Exists", "tolerationSeconds": _TOLERATION_S})
    spec["tolerations"] = found
    return None


tolerations = Plugin(_tolerations, _PODS, _CREATES, again=True)


def storage_class(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        spec = attributes.obj["spec"]
        if spec.get("storageClassName") is None:
            mark = "storageclass.kubernetes.io/is-default-class"
            defaults = [
                one
                for one in objects.all("storage.k8s.io/storageclasses")
                if (one["metadata"].get("annotations") or {}).get(mark) == "true"
            ]
            if defaults:
                newest = max(defaults, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
                spec["storageClassName"] = newest["metadata"]["name"]
        finalizers = attributes.obj["metadata"].setdefault("finalizers", [])
        if "kubernetes.io/pvc-protection" not in finalizers:
            finalizers.append("kubernetes.io/pvc-protection")
        return None

    return Plugin(admit, frozenset({"core/persistentvolumeclaims"}), _CREATES, again=True)
