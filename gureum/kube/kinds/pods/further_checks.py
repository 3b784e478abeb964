"""What else may be wrong with a pod's specification: names of fields that it reads of itself, where it may run, who it is on its node.

Source: Kubernetes API reference (PodSpec v1); the texts are those of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gureum.base.addresses import is_ip
from gureum.kube.errors import Cause, forbidden_field, invalid, required, unsupported
from gureum.kube.kinds.metadata import DNS_LABEL, LABEL_TEXT

Object = dict[str, Any]
MOST_ID = 2**31 - 1
SHORTEST_TOKEN_S = 600
SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
SYSCTL_TEXT = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_ANY_OF_METADATA = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")
_KNOWN = frozenset(
    {
        *(f"metadata.{name}" for name in ("annotations", "labels", "name", "namespace", "uid")),
        *(f"spec.{name}" for name in ("host", "nodeName", "restartPolicy", "schedulerName", "serviceAccountName")),
        *(f"status.{name}" for name in ("hostIP", "hostIPs", "phase", "podIP", "podIPs")),
    }
)
_OF_VARIABLES = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs",
    "status.podIP", "status.podIPs",
)  # fmt: skip
_OF_FILES = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")


def further(spec: Object, field: str) -> list[Cause]:
    """`field`: "spec"."""
    return [*_names(spec, field), *_identity(spec, field), *_places(spec, field), *_volumes(spec, field)] + [
        cause
        for list_name in ("initContainers", "containers", "ephemeralContainers")
        for number, one in enumerate(spec.get(list_name) or ())
        for cause in _container(one, f"{field}.{list_name}[{number}]")
    ]


def of_a_new_pod(spec: Object) -> Iterator[Cause]:
    """What only pods are held to, and not what they are made by."""
    if spec.get("ephemeralContainers"):
        yield forbidden_field("spec.ephemeralContainers", "cannot be set on create")
    if spec.get("schedulingGates") and spec.get("nodeName"):
        yield forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def host_network_ports(spec: Object, field: str) -> Iterator[Cause]:
    for list_name in ("containers", "initContainers") if spec.get("hostNetwork") else ():
        for number, one in enumerate(spec.get(list_name) or ()):
            for at, port in enumerate(one.get("ports") or ()):
                if port.get("hostPort") != port.get("containerPort"):
                    where = f"{field}.{list_name}[{number}].ports[{at}].containerPort"
                    yield invalid(where, port.get("containerPort"), "must match `hostPort` when `hostNetwork` is true")


# Names and settings


def _names(spec: Object, field: str) -> Iterator[Cause]:
    for name in ("hostname", "subdomain"):
        value = spec.get(name)
        if value and not (len(value) <= 63 and DNS_LABEL.match(value)):
            yield invalid(f"{field}.{name}", value, LABEL_TEXT)
    for number, one in enumerate(spec.get("hostAliases") or ()):
        if not is_ip(one.get("ip", "")):
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            yield invalid(f"{field}.hostAliases[{number}].ip", one.get("ip", ""), text)
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            yield required(f"{field}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not config.get("nameservers"):
            text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{field}.dnsConfig.nameservers", text)
    system = spec.get("os")
    if system is not None and system.get("name") not in ("linux", "windows"):
        yield unsupported(f"{field}.os.name", system.get("name", ""), ("linux", "windows"))


def _identity(spec: Object, field: str) -> Iterator[Cause]:
    context, at = spec.get("securityContext") or {}, f"{field}.securityContext"
    numbers = [(f"{at}.{name}", context.get(name)) for name in ("fsGroup", "runAsGroup", "runAsUser")]
    numbers += [(f"{at}.supplementalGroups[{n}]", one) for n, one in enumerate(context.get("supplementalGroups") or ())]
    yield from _ids(numbers)
    policies = ("Always", "OnRootMismatch")
    if context.get("fsGroupChangePolicy") is not None and context["fsGroupChangePolicy"] not in policies:
        yield unsupported(f"{at}.fsGroupChangePolicy", context["fsGroupChangePolicy"], policies)
    for number, one in enumerate(context.get("sysctls") or ()):
        name = one.get("name", "")
        if not name:
            yield required(f"{at}.sysctls[{number}].name")
        elif len(name) > 253 or not SYSCTL.fullmatch(name):
            yield invalid(f"{at}.sysctls[{number}].name", name, SYSCTL_TEXT)


def _ids(numbers: list[tuple[str, Any]]) -> Iterator[Cause]:
    for field, value in numbers:
        if value is not None and not 0 <= value <= MOST_ID:
            yield invalid(field, value, f"must be between 0 and {MOST_ID}, inclusive")


def _container(one: Object, at: str) -> Iterator[Cause]:
    context, field = one.get("securityContext") or {}, f"{at}.securityContext"
    yield from _ids([(f"{field}.{name}", context.get(name)) for name in ("runAsGroup", "runAsUser")])
    if context.get("allowPrivilegeEscalation") is False:
        start = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            yield invalid(field, context, f"{start} `privileged` to true")
        if {"SYS_ADMIN", "CAP_SYS_ADMIN"} & set((context.get("capabilities") or {}).get("add") or ()):
            yield invalid(field, context, f"{start} `capabilities.Add` CAP_SYS_ADMIN")
    for number, env in enumerate(one.get("env") or ()):
        reference = (env.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            yield from _reference(reference, f"{at}.env[{number}].valueFrom.fieldRef", _OF_VARIABLES)


def _reference(reference: Object, at: str, choices: tuple[str, ...]) -> Iterator[Cause]:
    """What a pod may read of itself."""
    path = reference.get("fieldPath", "")
    if not path:
        yield required(f"{at}.fieldPath")
    elif path not in _KNOWN and not _ANY_OF_METADATA.fullmatch(path):
        text = f"error converting fieldPath: field label not supported: {path}"
        yield invalid(f"{at}.fieldPath", path, text)
    elif path in _KNOWN and path not in choices and path != "spec.host":
        yield unsupported(f"{at}.fieldPath", path, choices)


# Where it may run


def _places(spec: Object, field: str) -> Iterator[Cause]:
    affinity, at = spec.get("affinity") or {}, f"{field}.affinity"
    needed = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None and not needed.get("nodeSelectorTerms"):
        where = f"{at}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        yield required(where, "must have at least one node selector term")
    for name in ("nodeAffinity", "podAffinity", "podAntiAffinity"):
        for where, term, weight in _terms(affinity.get(name) or {}, f"{at}.{name}"):
            if weight is not None and not 1 <= weight <= 100:
                yield invalid(f"{where}.weight", weight, "must be in the range 1-100")
            inner = f"{where}.podAffinityTerm" if weight is not None else where
            if name != "nodeAffinity" and not term.get("topologyKey"):
                yield required(f"{inner}.topologyKey", "can not be empty")
    for number, one in enumerate(spec.get("topologySpreadConstraints") or ()):
        yield from _spread(one, f"{field}.topologySpreadConstraints[{number}]")


def _terms(affinity: Object, at: str) -> Iterator[tuple[str, Object, int | None]]:
    """Each term with its place, and the weight of those that are preferred."""
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    for number, one in enumerate(affinity.get(preferred) or ()):
        yield f"{at}.{preferred}[{number}]", one.get("podAffinityTerm") or {}, one.get("weight") or 0
    needed = "requiredDuringSchedulingIgnoredDuringExecution"
    if isinstance(affinity.get(needed), list):
        for number, one in enumerate(affinity[needed]):
            yield f"{at}.{needed}[{number}]", one, None


def _spread(one: Object, at: str) -> Iterator[Cause]:
    if (one.get("maxSkew") or 0) <= 0:
        yield invalid(f"{at}.maxSkew", one.get("maxSkew") or 0, "must be greater than zero")
    if not one.get("topologyKey"):
        yield required(f"{at}.topologyKey", "can not be empty")
    choices = ("DoNotSchedule", "ScheduleAnyway")
    if one.get("whenUnsatisfiable") not in choices:
        yield unsupported(f"{at}.whenUnsatisfiable", one.get("whenUnsatisfiable", ""), choices)
    if one.get("minDomains") is not None and one["minDomains"] <= 0:
        yield invalid(f"{at}.minDomains", one["minDomains"], "must be greater than zero")


# Volumes


def _volumes(spec: Object, field: str) -> Iterator[Cause]:
    for number, one in enumerate(spec.get("volumes") or ()):
        at = f"{field}.volumes[{number}]"
        path = (one.get("hostPath") or {}).get("path") or ""
        if ".." in path.split("/"):
            yield invalid(f"{at}.hostPath.path", path, "must not contain '..'")
        for source in ("configMap", "downwardAPI", "secret"):
            yield from _files(one.get(source) or {}, f"{at}.{source}")
        projected = one.get("projected") or {}
        yield from _files(projected, f"{at}.projected")
        for index, part in enumerate(projected.get("sources") or ()):
            yield from _projected(part, f"{at}.projected.sources[{index}]")


def _projected(part: Object, at: str) -> Iterator[Cause]:
    for source in ("configMap", "downwardAPI", "secret"):
        yield from _files(part.get(source) or {}, f"{at}.{source}")
    token = part.get("serviceAccountToken")
    if token is not None:
        lasts_s = token.get("expirationSeconds", SHORTEST_TOKEN_S)
        if lasts_s < SHORTEST_TOKEN_S:
            yield invalid(
                f"{at}.serviceAccountToken.expirationSeconds",
                lasts_s,
                "may not specify a duration less than 10 minutes",
            )
        yield from _relative(token.get("path") or "", f"{at}.serviceAccountToken.path")


def _files(source: Object, at: str) -> Iterator[Cause]:
    yield from _mode(source.get("defaultMode"), f"{at}.defaultMode")
    for number, item in enumerate(source.get("items") or ()):
        where = f"{at}.items[{number}]"
        yield from _mode(item.get("mode"), f"{where}.mode")
        yield from _relative(item.get("path") or "", f"{where}.path")
        if item.get("fieldRef") is not None:
            yield from _reference(item["fieldRef"], f"{where}.fieldRef", _OF_FILES)


def _mode(mode: Any, field: str) -> Iterator[Cause]:
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(field, mode, "must be a number between 0 and 0777 (octal), both inclusive")


def _relative(path: str, field: str) -> Iterator[Cause]:
    if not path:
        yield required(field)
    elif path.startswith("/"):
        yield invalid(field, path, "must be a relative path")
    elif ".." in path.split("/"):
        yield invalid(field, path, "must not contain '..'")
