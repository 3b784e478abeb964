"""All controllers of a cluster."""

from __future__ import annotations

from gureum.kube.controllers import cronjobs, daemonsets, definitions, deployments, jobs, statefulsets
from gureum.kube.controllers.collecting import GARBAGE_COLLECTOR
from gureum.kube.controllers.loop import Controller
from gureum.kube.controllers.namespaces import NAMESPACES
from gureum.kube.controllers.replicasets import REPLICA_SETS, REPLICATION_CONTROLLERS
from gureum.kube.controllers.scheduler import Scheduler
from gureum.kube.controllers.simulated_nodes import SIMULATED_NODES


def all_controllers() -> tuple[Controller, ...]:
    """Anew for each cluster: the scheduler keeps what it has seen."""
    return (*_STATELESS, Scheduler().controller(), daemonsets.controller())


_STATELESS = (
    GARBAGE_COLLECTOR,
    NAMESPACES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    deployments.CONTROLLER,
    definitions.CONTROLLER,
    statefulsets.CONTROLLER,
    jobs.CONTROLLER,
    cronjobs.CONTROLLER,
    SIMULATED_NODES,
)
