"""PodSecurity: a namespace's labels say which pods may be in it.

    pod-security.kubernetes.io/enforce: restricted            a pod that violates the level is refused
    pod-security.kubernetes.io/warn: baseline                 its writer is warned, also for what makes pods (Deployments …)
    pod-security.kubernetes.io/enforce-version: v1.30         the standards as they were then

`audit` is understood and has no effect, since there is no audit log. Without `warn`, who makes pods is warned of what `enforce` will refuse.
Source: Kubernetes, "Pod Security Admission"; k8s.io/pod-security-admission/admission.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.admission.pod_security_checks import LATEST, Finding, containers_of, violations
from gureum.kube.errors import Cause, forbidden, invalid, invalid_object
from gureum.kube.objects import Objects

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
LIMIT_PODS = 3000
_MARK = PREFIX.encode()
_TEMPLATES: dict[str, tuple[str, ...]] = {
    "core/podtemplates": ("template",),
    "core/replicationcontrollers": ("spec", "template"),
    "apps/replicasets": ("spec", "template"),
    "apps/deployments": ("spec", "template"),
    "apps/statefulsets": ("spec", "template"),
    "apps/daemonsets": ("spec", "template"),
    "batch/jobs": ("spec", "template"),
    "batch/cronjobs": ("spec", "jobTemplate", "spec", "template"),
}
_FREE = frozenset({"binding", "eviction", "status"})
"""Subresources of pods that decide nothing that the standards look at."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,8})")
Object = dict[str, Any]


class Level(NamedTuple):
    name: str = "privileged"
    version: str = "latest"

    @property
    def minor(self) -> int:
        return LATEST if self.version == "latest" else int(self.version[3:])

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    def findings(self, metadata: Object, spec: Object) -> list[Finding]:
        return violations(self.name, self.minor, metadata, spec)


class Policy(NamedTuple):
    enforce: Level
    warn: Level
    causes: tuple[Cause, ...] = ()
    """What is wrong with the labels. A level that is not understood enforces `restricted` and warns of nothing."""


def policy_of(labels: dict[str, str]) -> Policy:
    causes: list[Cause] = []

    def level_of(mode: str, unknown: str) -> Level:
        name, version = labels.get(PREFIX + mode, "privileged"), labels.get(f"{PREFIX}{mode}-version", "latest")
        if name not in LEVELS:
            causes.append(invalid(_field(mode), name, f"must be one of {', '.join(LEVELS)}"))
            name = unknown
        if version != "latest" and not _VERSION.fullmatch(version):
            causes.append(invalid(_field(f"{mode}-version"), version, 'must be "latest" or "v1.x"'))
            version = "latest"
        return Level(name, version)

    enforce = level_of("enforce", "restricted")
    level_of("audit", "privileged")
    warn = level_of("warn", "privileged")
    if PREFIX + "warn" not in labels:
        warn = enforce
    return Policy(enforce, warn, tuple(causes))


def _field(label: str) -> str:
    return f"metadata.labels[{PREFIX}{label}]"


def pod_security(objects: Objects) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        storage = attributes.storage
        if storage == "core/namespaces":
            if not attributes.subresource:
                _judge_namespace(objects, attributes)
            return None
        path = _TEMPLATES.get(storage)
        entry = objects.entry("core/namespaces", "", attributes.namespace)
        if entry is None or _MARK not in entry.value:
            return None
        policy = policy_of(objects.decode(entry)["metadata"].get("labels") or {})
        if path is None:
            if attributes.subresource not in _FREE and _matters(attributes.obj, attributes.old):
                _judge_pod(attributes, policy)
        elif not attributes.subresource:
            template: Any = attributes.obj
            for name in path:
                template = template.get(name) or {}
            if template:
                _warn(attributes, policy.warn, template.get("metadata") or {}, template.get("spec") or {})
        return None

    storages = frozenset({"core/namespaces", "core/pods", *_TEMPLATES})
    return Plugin(admit, storages, frozenset({"CREATE", "UPDATE"}), parts=True)


def _judge_pod(attributes: Attributes, policy: Policy) -> None:
    metadata, spec = attributes.obj["metadata"], attributes.obj["spec"]
    findings = policy.enforce.findings(metadata, spec)
    if findings:
        text = f'violates PodSecurity "{policy.enforce}": {_details(findings)}'
        raise forbidden(attributes.target.kind, metadata.get("name", ""), text)
    if policy.warn != policy.enforce:
        _warn(attributes, policy.warn, metadata, spec)


def _warn(attributes: Attributes, level: Level, metadata: Object, spec: Object) -> None:
    findings = level.findings(metadata, spec)
    if findings:
        text = f'would violate PodSecurity "{level}": {_details(findings)}'
        attributes.request.warn([text])


def _details(findings: list[Finding]) -> str:
    return ", ".join(f"{reason} ({detail})" if detail else reason for reason, detail in findings)


def _matters(pod: Object, old: Object | None) -> bool:
    """Whether an update changes what the standards look at: of what may be changed at all, images and further containers."""
    if old is None:
        return True
    before = {one.get("name"): one.get("image") for one in containers_of(old["spec"])}
    return any(before.get(one.get("name"), 0) != one.get("image") for one in containers_of(pod["spec"]))


def _judge_namespace(objects: Objects, attributes: Attributes) -> None:
    """Labels must be understood; a stricter level warns of the pods that are there and would be refused."""
    name = attributes.obj["metadata"].get("name", "")
    policy = policy_of(attributes.obj["metadata"].get("labels") or {})
    known = policy_of(attributes.old["metadata"].get("labels") or {}) if attributes.old else None
    if policy.causes and (known is None or known.causes != policy.causes):
        raise invalid_object(attributes.target.kind, name, list(policy.causes))
    if known is None or known.enforce == policy.enforce or policy.enforce.name == "privileged":
        return
    relaxed = LEVELS.index(policy.enforce.name) <= LEVELS.index(known.enforce.name)
    if relaxed and policy.enforce.version == known.enforce.version:
        return
    warnings = _existing(objects, name, policy.enforce)
    attributes.request.warn(warnings)


def _existing(objects: Objects, namespace: str, level: Level) -> list[str]:
    entries = objects.store.range(objects.prefix("core/pods", namespace))
    found: dict[str, list[str]] = {}
    for entry in entries[:LIMIT_PODS]:
        pod = objects.decode(entry)
        findings = level.findings(pod["metadata"], pod["spec"])
        if findings:
            found.setdefault(", ".join(reason for reason, _ in findings), []).append(pod["metadata"]["name"])
    warnings = []
    if len(entries) > LIMIT_PODS:
        text = (
            f"new PodSecurity enforce level only checked against the first {LIMIT_PODS} of {len(entries)} existing pods"
        )
        warnings.append(text)
    if found:
        warnings.append(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{level}"')
    return warnings + sorted(f"{_pods(names)}: {reasons}" for reasons, names in found.items())


def _pods(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other {'pod' if others == 1 else 'pods'})"
