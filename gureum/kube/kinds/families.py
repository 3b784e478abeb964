"""Which rules hold for which kind."""

from __future__ import annotations

from gureum.kube.kinds import workloads
from gureum.kube.kinds.everyday import FAMILY
from gureum.kube.kinds.pods import POD
from gureum.kube.kinds.rules import Rules

RULES: dict[str, Rules] = {
    **FAMILY,
    "core/pods": POD,
    "core/replicationcontrollers": workloads.REPLICATION_CONTROLLER,
    "apps/deployments": workloads.DEPLOYMENT,
    "apps/replicasets": workloads.REPLICA_SET,
    "apps/statefulsets": workloads.STATEFUL_SET,
    "apps/daemonsets": workloads.DAEMON_SET,
    "batch/jobs": workloads.JOB,
    "batch/cronjobs": workloads.CRON_JOB,
}
