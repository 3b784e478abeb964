"""What may be wrong with one container of a pod. Source: Kubernetes API reference (Container v1)."""

from __future__ import annotations

import re
from typing import Any

from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import DNS_LABEL, LABEL_TEXT
from gureum.kube.kinds.quantities import TEXT, as_text, is_quantity, value_of

Object = dict[str, Any]
PROTOCOLS = ("SCTP", "TCP", "UDP")
PULLS = ("Always", "IfNotPresent", "Never")
HANDLERS = ("exec", "grpc", "httpGet", "sleep", "tcpSocket")
ENV_NAME = re.compile(r"[ -<>-~]+")
LONGEST_PORT_NAME = 15
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_LETTER = re.compile(r"[a-z]")


def check_container(one: Object, at: str, names: set[str], volumes: set[str], list_name: str) -> list[Cause]:
    """`names`: of containers before it, to which its own is added; `volumes`: those that it may mount; `list_name`: which list it is in."""
    name = one.get("name", "")
    causes = check_label(f"{at}.name", name)
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


def check_label(field: str, name: str) -> list[Cause]:
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
