"""What may be wrong with the specification of a pod or a template. Source: Kubernetes API reference (PodSpec v1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import validate_labels
from gureum.kube.kinds.pods.container_checks import check_container, check_label
from gureum.kube.kinds.pods.defaults import CONTAINER_LISTS
from gureum.kube.kinds.pods.further_checks import further

Object = dict[str, Any]
RESTARTS = ("Always", "Never", "OnFailure")


def validate_template(template: Object, field: str, claims: Iterable[str] = ()) -> list[Cause]:
    """A template of a workload. `field`: "spec.template"; `claims`: names of volumes that its pods get besides."""
    causes = validate_labels(f"{field}.metadata.labels", (template.get("metadata") or {}).get("labels") or {})
    spec = template.get("spec") or {}
    if spec.get("ephemeralContainers"):
        text = "ephemeral containers not allowed in pod template"
        causes.append(forbidden_field(f"{field}.spec.ephemeralContainers", text))
    return causes + validate_spec(spec, f"{field}.spec", claims)


def validate_spec(spec: Object, field: str, claims: Iterable[str] = ()) -> list[Cause]:
    causes: list[Cause] = []
    volumes = _volume_names(spec, field, causes) | set(claims)
    if not spec.get("containers"):
        causes.append(required(f"{field}.containers"))
    names: set[str] = set()
    for list_name in CONTAINER_LISTS:
        for number, one in enumerate(spec.get(list_name) or ()):
            causes += check_container(one, f"{field}.{list_name}[{number}]", names, volumes, list_name)
    causes += _host_ports(spec, field)
    if spec.get("restartPolicy") not in RESTARTS:
        causes.append(unsupported(f"{field}.restartPolicy", spec.get("restartPolicy", ""), RESTARTS))
    if spec.get("dnsPolicy") not in ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"):
        choices = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
        causes.append(unsupported(f"{field}.dnsPolicy", spec.get("dnsPolicy", ""), choices))
    if spec.get("activeDeadlineSeconds") is not None and spec["activeDeadlineSeconds"] < 1:
        causes.append(
            invalid(
                f"{field}.activeDeadlineSeconds",
                spec["activeDeadlineSeconds"],
                "must be between 1 and 2147483647, inclusive",
            )
        )
    for number, one in enumerate(spec.get("tolerations") or ()):
        causes += _toleration(one, f"{field}.tolerations[{number}]")
    causes += validate_labels(f"{field}.nodeSelector", spec.get("nodeSelector") or {})
    return causes + further(spec, field)


def _volume_names(spec: Object, field: str, causes: list[Cause]) -> set[str]:
    found: set[str] = set()
    for number, one in enumerate(spec.get("volumes") or ()):
        at, name = f"{field}.volumes[{number}]", one.get("name", "")
        causes += check_label(f"{at}.name", name)
        if name in found:
            causes.append(duplicate(f"{at}.name", name))
        if len([source for source in one if source != "name"]) > 1:
            second = sorted(source for source in one if source != "name")[1]
            causes.append(forbidden_field(f"{at}.{second}", "may not specify more than 1 volume type"))
        found.add(name)
        for source, member in (("secret", "secretName"), ("persistentVolumeClaim", "claimName"), ("hostPath", "path")):
            if one.get(source) is not None and not one[source].get(member):
                causes.append(required(f"{at}.{source}.{member}"))
        if one.get("configMap") is not None and not one["configMap"].get("name"):
            causes.append(required(f"{at}.configMap.name"))
    return found


def _host_ports(spec: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[Any, ...]] = set()
    for number, one in enumerate(spec.get("containers") or ()):
        for index, port in enumerate(one.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            key = (port.get("protocol"), port.get("hostIP", ""), port["hostPort"])
            if key in seen:
                text = f"{key[0]}/{key[1]}/{key[2]}"
                causes.append(duplicate(f"{field}.containers[{number}].ports[{index}].hostPort", text))
            seen.add(key)
    return causes


def _toleration(one: Object, at: str) -> list[Cause]:
    operator = one.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        return [unsupported(f"{at}.operator", operator, ("Equal", "Exists"))]
    if not one.get("key") and operator != "Exists":
        return [
            invalid(
                f"{at}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        ]
    if operator == "Exists" and one.get("value"):
        return [invalid(f"{at}.operator", one, "value must be empty when `operator` is 'Exists'")]
    effects = ("NoExecute", "NoSchedule", "PreferNoSchedule")
    if one.get("effect") and one["effect"] not in effects:
        return [unsupported(f"{at}.effect", one["effect"], effects)]
    return []
