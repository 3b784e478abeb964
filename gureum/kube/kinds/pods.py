"""Pods, and the templates that others make pods of: defaults, checks, and what of a pod may still be changed.

Source: Kubernetes API reference, Pod v1; k8s.io/kubernetes/pkg/apis/core/{v1/defaults.go,validation}.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import DNS_LABEL, LABEL_TEXT, validate_labels
from gureum.kube.kinds.quantities import BadQuantity, parse_quantity
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
RESTART_POLICIES = ("Always", "OnFailure", "Never")
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_FILE_MODE = 420
_TOKEN_S = 3607


# Defaults


def default_pod(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        resources = container["resources"]
        for name, value in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, value)
    obj.setdefault("status", {})
    obj["status"].setdefault("phase", "Pending")
    obj["status"].setdefault("qosClass", qos_class(spec))


def default_template(template: Object) -> None:
    """Of a pod template's spec."""
    default_spec(template.setdefault("spec", {}))


def default_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for name in CONTAINER_LISTS:
        for container in spec.get(name) or ():
            _default_container(container, host_network=bool(spec.get("hostNetwork")))


def _default_container(container: Object, *, host_network: bool) -> None:
    image = str(container.get("image", ""))
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", "Always" if _tag_of(image) == "latest" else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for one in container.get("env") or ():
        field = (one.get("valueFrom") or {}).get("fieldRef")
        if field is not None:
            field.setdefault("apiVersion", "v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name):
            _default_probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and hook.get("httpGet"):
            _default_http(hook["httpGet"])


def _default_probe(probe: Object) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(name):
            probe[name] = value
    if probe.get("httpGet"):
        _default_http(probe["httpGet"])
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _default_http(action: Object) -> None:
    action.setdefault("path", "/")
    action.setdefault("scheme", "HTTP")


def _default_volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if isinstance(volume.get(name), dict):
            volume[name].setdefault("defaultMode", _FILE_MODE)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    sources = (volume.get("projected") or {}).get("sources") or ()
    for source in sources:
        if source.get("serviceAccountToken"):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    downward = [volume.get("downwardAPI"), *(source.get("downwardAPI") for source in sources)]
    for one in downward:
        for item in (one or {}).get("items") or ():
            if item.get("fieldRef"):
                item["fieldRef"].setdefault("apiVersion", "v1")
    claim = ((volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}).get("spec")
    if claim is not None:
        claim.setdefault("volumeMode", "Filesystem")


def _tag_of(image: str) -> str:
    """`latest` where an image names neither tag nor digest."""
    if "@" in image:
        return ""
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return tag if colon else "latest"


def qos_class(spec: Object) -> str:
    """Source: Kubernetes, "Pod Quality of Service Classes"."""
    guaranteed, any_ = True, False
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            any_ = any_ or name in limits or name in requests
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    return "BestEffort" if not any_ else "Guaranteed" if guaranteed else "Burstable"


# Checks


def validate_pod(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    if old is not None:
        return _validate_change(spec, old.get("spec") or {})
    return validate_spec("spec", spec)


def validate_template(
    field: str, template: Object | None, restart_policies: tuple[str, ...] = ("Always",)
) -> list[Cause]:
    """Of workloads: their pods' labels and spec."""
    if not template:
        return [required(field)]
    causes = validate_labels(f"{field}.labels", (template.get("metadata") or {}).get("labels") or {})
    spec = template.get("spec") or {}
    causes += validate_spec(f"{field}.spec", spec)
    policy = spec.get("restartPolicy")
    if policy in RESTART_POLICIES and policy not in restart_policies:
        causes.append(unsupported(f"{field}.spec.restartPolicy", policy, restart_policies))
    return causes


def validate_spec(field: str, spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    volumes: set[str] = set()
    for at, volume in enumerate(spec.get("volumes") or ()):
        causes += _named(f"{field}.volumes[{at}].name", volume.get("name"), volumes)
        sources = [name for name in volume if name != "name"]
        for extra in sources[1:]:
            causes.append(forbidden_field(f"{field}.volumes[{at}].{extra}", "may not specify more than 1 volume type"))
    if not spec.get("containers"):
        causes.append(required(f"{field}.containers"))
    names: set[str] = set()
    for part in CONTAINER_LISTS:
        for at, container in enumerate(spec.get(part) or ()):
            causes += _validate_container(f"{field}.{part}[{at}]", container, names, volumes)
    if spec.get("restartPolicy") not in RESTART_POLICIES:
        causes.append(unsupported(f"{field}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES))
    policies = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    if spec.get("dnsPolicy") not in policies:
        causes.append(unsupported(f"{field}.dnsPolicy", spec.get("dnsPolicy"), policies))
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        text = "must be greater than or equal to 0"
        causes.append(invalid(f"{field}.terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"], text))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        causes.append(
            invalid(f"{field}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    causes += validate_labels(f"{field}.nodeSelector", spec.get("nodeSelector") or {})
    return causes


def _validate_container(field: str, container: Object, names: set[str], volumes: set[str]) -> list[Cause]:
    causes = _named(f"{field}.name", container.get("name"), names)
    image = container.get("image")
    if not image:
        causes.append(required(f"{field}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{field}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("imagePullPolicy")
    if policy not in ("Always", "IfNotPresent", "Never"):
        causes.append(unsupported(f"{field}.imagePullPolicy", policy, ("Always", "IfNotPresent", "Never")))
    for at, port in enumerate(container.get("ports") or ()):
        causes += _validate_port(f"{field}.ports[{at}]", port)
    for at, one in enumerate(container.get("env") or ()):
        if not one.get("name"):
            causes.append(required(f"{field}.env[{at}].name"))
        elif one.get("value") and one.get("valueFrom"):
            text = "may not be specified when `value` is not empty"
            causes.append(invalid(f"{field}.env[{at}].valueFrom", "", text))
    for at, mount in enumerate(container.get("volumeMounts") or ()):
        if not mount.get("name"):
            causes.append(required(f"{field}.volumeMounts[{at}].name"))
        elif mount["name"] not in volumes:
            causes.append(
                Cause("FieldValueNotFound", f"{field}.volumeMounts[{at}].name", f'Not found: "{mount["name"]}"')
            )
        if not mount.get("mountPath"):
            causes.append(required(f"{field}.volumeMounts[{at}].mountPath"))
    return causes + validate_resources(f"{field}.resources", container.get("resources") or {})


def _validate_port(field: str, port: Object) -> list[Cause]:
    causes = []
    number = port.get("containerPort")
    if number is None:
        causes.append(required(f"{field}.containerPort"))
    elif not 1 <= number <= 65535:
        causes.append(invalid(f"{field}.containerPort", number, "must be between 1 and 65535, inclusive"))
    if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
        causes.append(unsupported(f"{field}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
    return causes


def validate_resources(field: str, resources: Object) -> list[Cause]:
    causes = []
    amounts: dict[str, dict[str, Any]] = {}
    for part in ("limits", "requests"):
        for name, value in (resources.get(part) or {}).items():
            place = f"{field}.{part}[{name}]"
            try:
                amount = parse_quantity(value)
            except BadQuantity as error:
                causes.append(invalid(place, value, str(error)))
                continue
            amounts.setdefault(part, {})[name] = amount
            if amount < 0:
                causes.append(invalid(place, value, "must be greater than or equal to 0"))
    limits = amounts.get("limits", {})
    for name, amount in amounts.get("requests", {}).items():
        if name in limits and amount > limits[name]:
            value = resources["requests"][name]
            text = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            causes.append(invalid(f"{field}.requests", value, text))
    return causes


def _named(field: str, name: Any, seen: set[str]) -> list[Cause]:
    """A DNS label that nobody else in the list has."""
    if not name:
        return [required(field)]
    if len(name) > 63:
        return [invalid(field, name, "must be no more than 63 characters")]
    if not DNS_LABEL.match(name):
        return [invalid(field, name, LABEL_TEXT)]
    if name in seen:
        return [duplicate(field, name)]
    seen.add(name)
    return []


_CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def _validate_change(spec: Object, old: Object) -> list[Cause]:
    if spec == old:
        return []
    if len(spec.get("containers") or ()) != len(old.get("containers") or ()):
        return [forbidden_field("spec.containers", "pod updates may not add or remove containers")]
    causes = [
        required(f"spec.containers[{at}].image")
        for at, one in enumerate(spec.get("containers") or ())
        if not one.get("image")
    ]
    if _fixed(spec) != _fixed(old):
        causes.append(forbidden_field("spec", _CHANGEABLE))
    kept = spec.get("tolerations") or []
    if any(one not in kept for one in old.get("tolerations") or ()):
        text = "existing toleration can not be modified except its tolerationSeconds"
        causes.append(forbidden_field("spec.tolerations", text))
    return causes


def _fixed(spec: Object) -> Object:
    """What must stay."""
    left = {
        name: value
        for name, value in spec.items()
        if name not in ("activeDeadlineSeconds", "tolerations", "ephemeralContainers", "nodeName", "schedulingGates")
    }
    for part in ("containers", "initContainers"):
        left[part] = [{**one, "image": "", "resources": {}} for one in spec.get(part) or ()]
    return left


POD = Rules(default=default_pod, validate=validate_pod)
