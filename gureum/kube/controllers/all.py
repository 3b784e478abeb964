"""All controllers of a cluster."""

from __future__ import annotations

from gureum.kube.controllers import aggregation, apiservices, definitions, events, quotas
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.collecting import GARBAGE_COLLECTOR
from gureum.kube.controllers.loop import Controller
from gureum.kube.controllers.namespaces import NAMESPACES
from gureum.kube.controllers.nodes import nodes
from gureum.kube.controllers.nodes.scheduler import Scheduler
from gureum.kube.controllers.nodes.simulated_nodes import SIMULATED_NODES
from gureum.kube.controllers.services import cidrs, endpoints, own_service
from gureum.kube.controllers.volumes import claims, volumes
from gureum.kube.controllers.volumes.simulated_volumes import SIMULATED_VOLUMES
from gureum.kube.controllers.workloads import (
    autoscaling,
    cronjobs,
    daemonsets,
    deployments,
    disruption,
    jobs,
    statefulsets,
)
from gureum.kube.controllers.workloads.replicasets import REPLICA_SETS, REPLICATION_CONTROLLERS


def all_controllers(client: Client) -> tuple[Controller, ...]:
    """Anew for each cluster: some keep what they have seen."""
    own = (
        Scheduler().controller(),
        nodes.NodeLife().controller(),
        nodes.Evictions().controller(),
        daemonsets.controller(),
        disruption.controller(client),
        endpoints.controller(client),
        events.controller(),
        quotas.controller(),
        volumes.controller(client),
    )
    return (*_STATELESS, *own)


_STATELESS = (
    GARBAGE_COLLECTOR,
    NAMESPACES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    deployments.CONTROLLER,
    definitions.CONTROLLER,
    apiservices.CONTROLLER,
    aggregation.CONTROLLER,
    cidrs.CONTROLLER,
    own_service.CONTROLLER,
    claims.CONTROLLER,
    statefulsets.CONTROLLER,
    jobs.CONTROLLER,
    cronjobs.CONTROLLER,
    autoscaling.CONTROLLER,
    SIMULATED_NODES,
    SIMULATED_VOLUMES,
)
