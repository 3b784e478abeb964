"""Which rules hold for which kind, by storage (`apps/deployments`)."""

from __future__ import annotations

from gureum.kube.kinds import (
    access,
    addresses,
    certificates,
    configuration,
    jobs,
    pods,
    scaling,
    services,
    volumes,
    workloads,
)
from gureum.kube.kinds.custom import DEFINITION
from gureum.kube.kinds.rules import Rules

RULES: dict[str, Rules] = {
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
