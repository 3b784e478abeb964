"""Which rules hold for which kind, by storage (`apps/deployments`)."""

from __future__ import annotations

import msgspec

from gureum.kube.kinds import (
    access,
    addresses,
    certificates,
    configuration,
    jobs,
    scaling,
    services,
    volumes,
    workloads,
)
from gureum.kube.kinds.custom.custom import DEFINITION
from gureum.kube.kinds.pods import pods
from gureum.kube.kinds.rules import Object, Rules

_WITH_SPEC = (
    "core/limitranges",
    "networking.k8s.io/ingressclasses",
    "networking.k8s.io/networkpolicies",
    "storage.k8s.io/csinodes",
    "storage.k8s.io/csidrivers",
    "coordination.k8s.io/leases",
)
_WITH_BOTH = (
    "core/nodes",
    "core/replicationcontrollers",
    "core/resourcequotas",
    "apiregistration.k8s.io/apiservices",
    "apps/daemonsets",
    "apps/deployments",
    "apps/replicasets",
    "apps/statefulsets",
    "batch/cronjobs",
    "batch/jobs",
    certificates.REQUESTS,
    addresses.CIDRS,
    "flowcontrol.apiserver.k8s.io/flowschemas",
    "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations",
    "policy/poddisruptionbudgets",
    "storage.k8s.io/volumeattachments",
)
"""Kinds whose spec and status are there even when nothing is in them: structs, which `omitempty` does not leave out."""


def _with_parts(rules: Rules, *names: str) -> Rules:
    def default(obj: Object) -> None:
        for name in names:
            obj.setdefault(name, {})
        rules.default(obj)

    return msgspec.structs.replace(rules, default=default)


_OWN: dict[str, Rules] = {
    "apiextensions.k8s.io/customresourcedefinitions": DEFINITION,
    **access.RULES,
    **addresses.RULES,
    **certificates.RULES,
    **configuration.RULES,
    **pods.RULES,
    **scaling.RULES,
    **services.RULES,
    **volumes.RULES,
    **workloads.RULES,
    **jobs.RULES,
    **{
        name: Rules()
        for name in (
            "flowcontrol.apiserver.k8s.io/flowschemas",
            "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations",
        )
    },
}
RULES: dict[str, Rules] = {
    **_OWN,
    **{name: _with_parts(_OWN[name], "spec") for name in _WITH_SPEC if name in _OWN},
    **{name: _with_parts(_OWN[name], "spec", "status") for name in _WITH_BOTH},
}
