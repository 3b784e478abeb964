"""What pods and controllers are configured with: namespaces, config maps, secrets, quotas, limits, priorities, leases, events.

Source: Kubernetes API reference; "Secrets", "ConfigMaps", "Limit Ranges", "Resource Quotas".
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec

from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import validate_labels
from gureum.kube.kinds.quantities import TEXT, as_text, is_quantity, value_of
from gureum.kube.kinds.rules import PLAIN, Rules

Object = dict[str, Any]
LIMIT_BYTES = 1024 * 1024
KEY = re.compile(r"[-._a-zA-Z0-9]+")
KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', "
    "regex used for validation is '[-._a-zA-Z0-9]+')"
)
FROZEN = "field is immutable when `immutable` is set"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_KEYS_OF_TYPE = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _namespace(one: Object) -> None:
    one["metadata"].setdefault("labels", {})[NAMESPACE_LABEL] = one["metadata"].get("name", "")


def _create_namespace(one: Object) -> None:
    one.setdefault("spec", {})["finalizers"] = ["kubernetes"]
    one["status"] = {"phase": "Active"}


def _update_namespace(one: Object, old: Object) -> None:
    # Its finalizers change by the subresource `finalize` alone.
    one["spec"] = old.get("spec") or {}


# Config maps and secrets


def _keys(found: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in found:
        if len(key) > 253:
            causes.append(invalid(f"{field}[{key}]", key, "must be no more than 253 bytes"))
        elif key in (".", "..") or key.startswith(".."):
            text = "is not allowed" if key in (".", "..") else "cannot start with '..'"
            causes.append(invalid(f"{field}[{key}]", key, f"must not be '{key}'" if key in (".", "..") else text))
        elif not KEY.fullmatch(key):
            causes.append(invalid(f"{field}[{key}]", key, KEY_TEXT))
    return causes


def _validate_config_map(one: Object, old: Object | None) -> list[Cause]:
    data, binary = one.get("data") or {}, one.get("binaryData") or {}
    causes = _keys(data, "data") + _keys(binary, "binaryData")
    for key in set(data) & set(binary):
        causes.append(invalid(f"data[{key}]", key, f"duplicate of key present in binaryData.{key}"))
    size = sum(len(value.encode()) for value in data.values()) + sum(_decoded_size(value) for value in binary.values())
    if size > LIMIT_BYTES:
        causes.append(Cause("FieldValueTooLong", "", f"Too long: may not be more than {LIMIT_BYTES} bytes"))
    return causes + _frozen(one, old, ("data", "binaryData"))


def _secret(one: Object) -> None:
    one["type"] = one.get("type") or "Opaque"
    texts = one.pop("stringData", None)
    if texts:
        data = one["data"] = dict(one.get("data") or {})
        for key, value in texts.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def _validate_secret(one: Object, old: Object | None) -> list[Cause]:
    data = one.get("data") or {}
    causes = _keys(data, "data")
    for key, value in data.items():
        if _decoded(value) is None:
            causes.append(invalid(f"data[{key}]", "<secret contents redacted>", "must be base64"))
    if sum(_decoded_size(value) for value in data.values()) > LIMIT_BYTES:
        causes.append(Cause("FieldValueTooLong", "data", f"Too long: may not be more than {LIMIT_BYTES} bytes"))
    type_ = one.get("type", "")
    for key in _KEYS_OF_TYPE.get(type_, ()):
        if key not in data:
            causes.append(required(f"data[{key}]"))
    if type_ == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        causes += [required("data[username]"), required("data[password]")]
    if type_ == "kubernetes.io/service-account-token" and not (one["metadata"].get("annotations") or {}).get(
        "kubernetes.io/service-account.name"
    ):
        causes.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    docker = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}.get(type_)
    if docker in data and not _is_json_object(data[docker]):
        causes.append(invalid(f"data[{docker}]", "<secret contents redacted>", "invalid character in JSON"))
    if old is not None and old.get("type") != type_:
        causes.append(invalid("type", type_, "field is immutable"))
    return causes + _frozen(one, old, ("data",))


def _frozen(one: Object, old: Object | None, names: tuple[str, ...]) -> list[Cause]:
    if old is None or not old.get("immutable"):
        return []
    causes = [] if one.get("immutable") else [forbidden_field("immutable", FROZEN)]
    return causes + [forbidden_field(name, FROZEN) for name in names if (old.get(name) or {}) != (one.get(name) or {})]


def _decoded(value: Any) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return None


def _decoded_size(value: Any) -> int:
    return len(_decoded(value) or b"")


def _is_json_object(value: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(_decoded(value) or b""), dict)
    except msgspec.MsgspecError:
        return False


# Limits


EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
SCOPES = ("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
          "VolumeAttributesClass")  # fmt: skip
_COUNTS = frozenset(
    {
        "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services",
        "services.loadbalancers", "services.nodeports",
    }
)  # fmt: skip
QUOTAS = _COUNTS | {"cpu", "ephemeral-storage", "memory", "requests.storage"}
"""Of which a quota may be. Source: k8s.io/kubernetes/pkg/apis/core/helper (IsStandardQuotaResourceName)."""
_QUOTAS_ON = ("requests.", "limits.", "hugepages-")
_NODE_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion",
    "operatingSystem", "architecture",
)  # fmt: skip


def _node(one: Object) -> None:
    """What a node says of itself has all its fields, which typed clients insist on."""
    status = one.setdefault("status", {})
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {"Port": 0})
    status["nodeInfo"] = dict.fromkeys(_NODE_INFO, "") | (status.get("nodeInfo") or {})
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def _limit_range(one: Object) -> None:
    for limit in (one.setdefault("spec", {})).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        for source, target in (("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")):
            for name, amount in (limit.get(source) or {}).items():
                limit.setdefault(target, {}).setdefault(name, amount)


def _validate_limit_range(one: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    for number, limit in enumerate(one["spec"].get("limits") or ()):
        at = f"spec.limits[{number}]"
        for member in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
            causes += _amounts(limit.get(member) or {}, f"{at}.{member}")
        if causes:
            continue
        for name, least in (limit.get("min") or {}).items():
            most = (limit.get("max") or {}).get(name)
            if most is not None and value_of(as_text(least)) > value_of(as_text(most)):
                text = f"min value {least} is greater than max value {most}"
                causes.append(invalid(f"{at}.min[{name}]", least, text))
    return causes


def _amounts(found: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for name, amount in found.items():
        if not is_quantity(amount):
            causes.append(invalid(f"{field}[{name}]", amount, TEXT))
        elif value_of(as_text(amount)) < 0:
            causes.append(invalid(f"{field}[{name}]", amount, "must be greater than or equal to 0"))
    return causes


def _validate_quota(one: Object, old: Object | None) -> list[Cause]:
    spec = one.get("spec") or {}
    causes = _amounts(spec.get("hard") or {}, "spec.hard")
    for name, amount in (spec.get("hard") or {}).items():
        field = f"spec.hard[{name}]"
        if "/" not in name and name not in QUOTAS and not name.startswith(_QUOTAS_ON):
            causes.append(invalid(field, name, "must be a standard resource for quota"))
        elif name in _COUNTS and is_quantity(amount) and value_of(as_text(amount)).denominator != 1:
            causes.append(invalid(field, amount, "must be an integer"))
    scopes = spec.get("scopes") or []
    if not set(scopes) <= set(SCOPES):
        causes.append(invalid("spec.scopes", scopes, "unsupported scope"))
    elif any({one, f"Not{one}"} <= set(scopes) for one in ("BestEffort", "Terminating")):
        causes.append(invalid("spec.scopes", scopes, "conflicting scopes"))
    return causes


def _validate_event(one: Object, old: Object | None) -> list[Cause]:
    """It lies where what it is about lies; of what lies nowhere, in the default namespace."""
    about, here = one.get("involvedObject") or {}, one["metadata"].get("namespace", "")
    there = about.get("namespace") or ""
    if there and there != here:
        return [invalid("involvedObject.namespace", there, "does not match event.namespace")]
    return []


def _validate_node(one: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for number, taint in enumerate((one.get("spec") or {}).get("taints") or ()):
        at, key, effect = f"spec.taints[{number}]", taint.get("key", ""), taint.get("effect", "")
        causes += validate_labels(f"{at}.key", {key: ""})
        if not effect:
            causes.append(required(f"{at}.effect"))
        elif effect not in EFFECTS:
            causes.append(unsupported(f"{at}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            cause = duplicate(at, taint)
            text = f"{cause.message}: taints must be unique by key and effect pair"
            causes.append(msgspec.structs.replace(cause, message=text))
        seen.add((key, effect))
    return causes


# Priorities, leases


def _priority(one: Object) -> None:
    one.setdefault("preemptionPolicy", "PreemptLowerPriority")
    one.setdefault("value", 0)


def _validate_priority(one: Object, old: Object | None) -> list[Cause]:
    name, value = one["metadata"].get("name", ""), one.get("value", 0)
    causes: list[Cause] = []
    if name.startswith("system-") and name not in ("system-node-critical", "system-cluster-critical"):
        text = "priority class names with 'system-' prefix are reserved for system use only. error: not a known system priority class"
        causes.append(forbidden_field("metadata.name", text))
    if value > 1_000_000_000 and not name.startswith("system-"):
        text = "maximum allowed value of a user defined priority is 1000000000"
        causes.append(forbidden_field("value", text))
    policies = ("Never", "PreemptLowerPriority")
    if one.get("preemptionPolicy") not in policies:
        causes.append(unsupported("preemptionPolicy", one.get("preemptionPolicy"), policies))
    if old is not None:
        if old.get("value", 0) != value:
            causes.append(forbidden_field("value", "may not be changed in an update."))
        if old.get("preemptionPolicy") != one.get("preemptionPolicy"):
            causes.append(invalid("preemptionPolicy", one.get("preemptionPolicy"), "field is immutable"))
    return causes


def _validate_lease(one: Object, old: Object | None) -> list[Cause]:
    spec = one.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("leaseDurationSeconds") is not None and spec["leaseDurationSeconds"] <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0"))
    if (spec.get("leaseTransitions") or 0) < 0:
        causes.append(invalid("spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0"))
    return causes


def _validate_runtime_class(one: Object, old: Object | None) -> list[Cause]:
    handler = one.get("handler", "")
    if old is not None and old.get("handler") != handler:
        return [invalid("handler", handler, "field is immutable")]
    return [] if handler else [required("handler")]


def _validate_api_service(one: Object, old: Object | None) -> list[Cause]:
    spec, name = one.get("spec") or {}, one["metadata"].get("name", "")
    causes: list[Cause] = []
    wanted = f"{spec.get('version', '')}.{spec.get('group', '')}"
    if name != wanted:
        causes.append(invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field) or 0
        if not 0 < value <= most:
            causes.append(invalid(f"spec.{field}", value, f"must be positive and less than {most}"))
    service = spec.get("service")
    if service is not None:
        causes += [required(f"spec.service.{field}") for field in ("namespace", "name") if not service.get(field)]
    elif spec.get("caBundle"):
        causes.append(invalid("spec.caBundle", "<bytes>", "local APIServices may not have a caBundle"))
    return causes


RULES = {
    "core/namespaces": Rules(default=_namespace, create=_create_namespace, update=_update_namespace, generation=False),
    "core/configmaps": Rules(validate=_validate_config_map, generation=False),
    "core/secrets": Rules(default=_secret, validate=_validate_secret, generation=False),
    "core/serviceaccounts": PLAIN,
    "core/events": Rules(validate=_validate_event, generation=False),
    "core/nodes": Rules(default=_node, validate=_validate_node, generation=False),
    "core/limitranges": Rules(default=_limit_range, validate=_validate_limit_range, generation=False),
    "core/resourcequotas": Rules(validate=_validate_quota, generation=False),
    "scheduling.k8s.io/priorityclasses": Rules(default=_priority, validate=_validate_priority),
    "apiregistration.k8s.io/apiservices": Rules(validate=_validate_api_service, generation=False),
    "coordination.k8s.io/leases": Rules(validate=_validate_lease, generation=False, conditional=True),
    "node.k8s.io/runtimeclasses": Rules(validate=_validate_runtime_class, generation=False, conditional=True),
}
