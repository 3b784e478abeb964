"""Pods and the templates that make them: defaults, checks, and what a change may touch.

Source: Kubernetes API reference (Pod v1, "Pod update and replacement"); its defaults as pkg/apis/core/v1/defaults.go names them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any

from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import DNS_LABEL, LABEL_TEXT, validate_labels
from gureum.kube.kinds.pod_checks import further, host_network_ports, of_a_new_pod
from gureum.kube.kinds.quantities import TEXT, as_text, is_quantity, value_of
from gureum.kube.kinds.rules import Rules

Object = dict[str, Any]
MODE = 0o644
RESTARTS = ("Always", "Never", "OnFailure")
PROTOCOLS = ("SCTP", "TCP", "UDP")
PULLS = ("Always", "IfNotPresent", "Never")
HANDLERS = ("exec", "grpc", "httpGet", "sleep", "tcpSocket")
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
ENV_NAME = re.compile(r"[ -<>-~]+")
LONGEST_PORT_NAME = 15
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_LETTER = re.compile(r"[a-z]")
UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)


# Defaults


def default_template(template: Object) -> None:
    """A pod template, of any workload."""
    template.setdefault("metadata", {})
    default_spec(template.setdefault("spec", {}))


def default_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for name in CONTAINER_LISTS:
        for one in spec.get(name) or ():
            _default_container(one, spec)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for one in spec.get("serviceAccountName"), spec.get("serviceAccount"):
        if one:  # two names of one field
            spec["serviceAccountName"] = spec["serviceAccount"] = one
            break


def _default_container(one: Object, spec: Object) -> None:
    one.setdefault("imagePullPolicy", "Always" if _is_latest(one.get("image", "")) else "IfNotPresent")
    one.setdefault("terminationMessagePath", "/dev/termination-log")
    one.setdefault("terminationMessagePolicy", "File")
    one.setdefault("resources", {})
    for port in one.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if spec.get("hostNetwork") and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = one.get(name)
        if probe is not None:
            for field, number in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                if not probe.get(field):
                    probe[field] = number
            _default_handler(probe)
    for hook in (one.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_handler(hook)
    for env in one.get("env") or ():
        reference = (env.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _default_handler(handler: Object) -> None:
    http = handler.get("httpGet")
    if http is not None:
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")
    if handler.get("grpc") is not None:
        handler["grpc"].setdefault("service", "")


def _is_latest(image: str) -> bool:
    """Whether an image may be another tomorrow."""
    if "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest")


def _default_volume(volume: Object) -> None:
    sources = [name for name in volume if name != "name"]
    if not sources:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(name) is not None:
            volume[name].setdefault("defaultMode", MODE)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    if volume.get("ephemeral"):
        volume["ephemeral"].get("volumeClaimTemplate", {}).setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    items = list((volume.get("downwardAPI") or {}).get("items") or ())
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("serviceAccountToken") is not None:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        items += (source.get("downwardAPI") or {}).get("items") or ()
    for item in items:
        if item.get("fieldRef") is not None:
            item["fieldRef"].setdefault("apiVersion", "v1")


def _default_pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for name in CONTAINER_LISTS[:2]:
        for one in spec.get(name) or ():
            resources = one["resources"]
            limits = resources.get("limits") or {}
            for resource, amount in limits.items():
                resources.setdefault("requests", {}).setdefault(resource, amount)


def _create_pod(pod: Object) -> None:
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod.get("spec") or {})}


def _update_pod(pod: Object, old: Object) -> None:
    # What admission and the scheduler filled in stays, where an update leaves it out.
    for name in ("nodeName", "serviceAccountName", "serviceAccount", "priority", "preemptionPolicy"):
        if name in old.get("spec", {}):
            pod["spec"].setdefault(name, old["spec"][name])


def qos_class(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort (Kubernetes, "Pod Quality of Service Classes")."""
    guaranteed, any_ = True, False
    for one in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        resources = one.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            any_ = any_ or bool(limit or request)
            guaranteed = guaranteed and limit is not None and _same(limit, request)
    if not any_:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _same(one: Any, other: Any) -> bool:
    both = is_quantity(one) and is_quantity(other)
    return both and value_of(as_text(one)) == value_of(as_text(other))


# Checks


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
            causes += _container(one, f"{field}.{list_name}[{number}]", names, volumes, list_name)
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
        causes += _label(f"{at}.name", name)
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


def _container(one: Object, at: str, names: set[str], volumes: set[str], list_name: str) -> list[Cause]:
    name = one.get("name", "")
    causes = _label(f"{at}.name", name)
    if name in names:
        causes.append(duplicate(f"{at}.name", name))
    names.add(name)
    image = one.get("image", "")
    if not image:
        causes.append(required(f"{at}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{at}.image", image, "must not have leading or trailing whitespace"))
    if one.get("imagePullPolicy") not in PULLS:
        causes.append(unsupported(f"{at}.imagePullPolicy", one.get("imagePullPolicy", ""), PULLS))
    causes += _ports(one, at)
    causes += _environment(one, at)
    causes += _mounts(one, at, volumes)
    causes += _resources(one.get("resources") or {}, f"{at}.resources")
    restart = one.get("restartPolicy")
    if restart is not None and list_name == "initContainers" and restart != "Always":
        causes.append(unsupported(f"{at}.restartPolicy", restart, ("Always",)))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if one.get(probe) is not None:
            if list_name == "initContainers" and restart != "Always":
                causes.append(
                    forbidden_field(f"{at}.{probe}", "may not be set for init containers without restartPolicy=Always")
                )
            causes += _probe(one[probe], f"{at}.{probe}", probe)
    for hook in ("postStart", "preStop"):
        handler = (one.get("lifecycle") or {}).get(hook)
        if handler is not None:
            causes += _handler(handler, f"{at}.lifecycle.{hook}")
    return causes


def _label(field: str, name: str) -> list[Cause]:
    if not name:
        return [required(field)]
    if len(name) > 63:
        return [invalid(field, name, "must be no more than 63 bytes")]
    return [] if DNS_LABEL.match(name) else [invalid(field, name, LABEL_TEXT)]


def _ports(one: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for number, port in enumerate(one.get("ports") or ()):
        where = f"{at}.ports[{number}]"
        name = port.get("name")
        if name:
            causes += port_name(f"{where}.name", name)
            if name in names:
                causes.append(duplicate(f"{where}.name", name))
            names.add(name)
        if not port.get("containerPort"):
            causes.append(required(f"{where}.containerPort"))
        else:
            causes += port_number(f"{where}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            causes += port_number(f"{where}.hostPort", port["hostPort"])
        if port.get("protocol") not in PROTOCOLS:
            causes.append(unsupported(f"{where}.protocol", port.get("protocol", ""), PROTOCOLS))
    return causes


def port_number(field: str, value: Any) -> list[Cause]:
    fits = isinstance(value, int) and 0 < value < 65536
    return [] if fits else [invalid(field, value, "must be between 1 and 65535, inclusive")]


def port_name(field: str, value: str) -> list[Cause]:
    """The name of a port (RFC 6335 service name). Source: k8s.io/apimachinery/pkg/util/validation (IsValidPortName)."""
    rules = (
        (len(value) > LONGEST_PORT_NAME, f"must be no more than {LONGEST_PORT_NAME} bytes"),
        (not _PORT_NAME.fullmatch(value), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        (not _LETTER.search(value), "must contain at least one letter (a-z)"),
        ("--" in value, "must not contain consecutive hyphens"),
        (value != value.strip("-"), "must not begin or end with a hyphen"),
    )
    return [invalid(field, value, text) for breaks, text in rules if breaks]


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


def _environment(one: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    for number, env in enumerate(one.get("env") or ()):
        where, name = f"{at}.env[{number}]", env.get("name", "")
        if not name:
            causes.append(required(f"{where}.name"))
        elif not ENV_NAME.fullmatch(name):
            text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
            causes.append(invalid(f"{where}.name", name, text))
        source = env.get("valueFrom")
        if source is not None:
            if env.get("value"):
                causes.append(invalid(f"{where}.valueFrom", "", "may not be specified when `value` is not empty"))
            if len(source) != 1:
                text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
                causes.append(
                    invalid(
                        f"{where}.valueFrom",
                        "",
                        text if not source else "may not have more than one field specified at a time",
                    )
                )
    return causes


def _mounts(one: Object, at: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    paths: set[str] = set()
    for number, mount in enumerate(one.get("volumeMounts") or ()):
        where, name, path = f"{at}.volumeMounts[{number}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{where}.name"))
        elif name not in volumes:
            causes.append(Cause("FieldValueNotFound", f"{where}.name", f'Not found: "{name}"'))
        if not path:
            causes.append(required(f"{where}.mountPath"))
        if path in paths:
            causes.append(invalid(f"{where}.mountPath", path, "must be unique"))
        paths.add(path)
        sub = mount.get("subPath") or ""
        if sub.startswith("/") or ".." in sub.split("/"):
            causes.append(
                invalid(
                    f"{where}.subPath",
                    sub,
                    "must be a relative path" if sub.startswith("/") else "must not contain '..'",
                )
            )
    return causes


def _resources(resources: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for member, found in (("limits", limits), ("requests", requests)):
        for name, amount in found.items():
            field = f"{at}.{member}[{name}]"
            causes += _resource_name(name, field)
            if not is_quantity(amount):
                causes.append(invalid(field, amount, TEXT))
            elif value_of(as_text(amount)) < 0:
                causes.append(invalid(field, amount, "must be greater than or equal to 0"))
    for name, amount in requests.items():
        limit = limits.get(name)
        if (
            limit is not None
            and is_quantity(limit)
            and is_quantity(amount)
            and value_of(as_text(amount)) > value_of(as_text(limit))
        ):
            causes.append(invalid(f"{at}.requests", amount, f"must be less than or equal to {name} limit of {limit}"))
    return causes


def _resource_name(name: str, field: str) -> list[Cause]:
    """Of what a container may ask for: what every node has, or what somebody adds by a name of a domain."""
    if "/" in name:
        return []
    fits = name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-")
    return [] if fits else [invalid(field, name, "must be a standard resource for containers")]


def _probe(probe: Object, at: str, kind: str) -> list[Cause]:
    causes = _handler({name: one for name, one in probe.items() if name in HANDLERS}, at)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if (probe.get(name) or 0) < 0:
            causes.append(invalid(f"{at}.{name}", probe[name], "must be greater than or equal to 0"))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        causes.append(invalid(f"{at}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def _handler(handler: Object, at: str) -> list[Cause]:
    found = [name for name in HANDLERS if handler.get(name) is not None]
    if not found:
        return [required(at, "must specify a handler type")]
    if len(found) > 1:
        return [forbidden_field(f"{at}.{found[1]}", "may not specify more than 1 handler type")]
    for name in ("httpGet", "tcpSocket"):
        if name in found and not isinstance(handler[name].get("port"), str):
            return port_number(f"{at}.{name}.port", handler[name].get("port"))
    if found == ["exec"] and not handler["exec"].get("command"):
        return [required(f"{at}.exec.command")]
    return []


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


def _validate_pod(pod: Object, old: Object | None) -> list[Cause]:
    spec = pod.get("spec") or {}
    causes = [*validate_spec(spec, "spec"), *host_network_ports(spec, "spec")]
    causes += of_a_new_pod(spec) if old is None else []
    if old is not None and not causes and not _only_allowed(spec, old.get("spec") or {}):
        causes.append(forbidden_field("spec", UPDATE_TEXT))
    return causes


def _only_allowed(new: Object, old: Object) -> bool:
    """Whether an update touches only what it may."""
    before, after = copy.deepcopy(old), copy.deepcopy(new)
    for spec in (before, after):
        for one in _containers(spec):
            one.pop("image", None)
    wished, had = after.pop("activeDeadlineSeconds", None), before.pop("activeDeadlineSeconds", None)
    if had is not None and (wished is None or wished > had):
        return False
    added, known = after.pop("tolerations", None) or [], before.pop("tolerations", None) or []
    if any(one not in added for one in known):
        return False
    if before.get("terminationGracePeriodSeconds", 0) < 0 and after.get("terminationGracePeriodSeconds") == 1:
        before["terminationGracePeriodSeconds"] = 1
    if before.get("schedulingGates"):  # gates may go, one by one
        gates, left = before.pop("schedulingGates"), after.pop("schedulingGates", None) or []
        if any(one not in gates for one in left):
            return False
    return before == after


def _containers(spec: Object) -> Iterator[Object]:
    lists: Iterable[str] = CONTAINER_LISTS
    for name in lists:
        yield from spec.get(name) or ()


def _default_pod_template(one: Object) -> None:
    default_template(one.setdefault("template", {}))


RULES = {
    "core/pods": Rules(default=_default_pod, create=_create_pod, update=_update_pod, validate=_validate_pod),
    "core/podtemplates": Rules(
        default=_default_pod_template,
        validate=lambda one, _: validate_template(one["template"], "template"),
        generation=False,
    ),
}
