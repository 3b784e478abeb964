"""Cluster roles that are made of others: their rules are written into them whenever a cluster role changes.

What such a role gives is known at once to whoever asks (access.rbac); here it becomes what clients read.
Source: Kubernetes, "Aggregated ClusterRoles"; k8s.io/kubernetes/pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

from gureum.kube.access.rbac import aggregated
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.objects import Object

ROLES = "rbac.authorization.k8s.io/clusterroles"
NAME = "clusterrole-aggregation-controller"
_ALL = "*"


def _changed(seen: Seen) -> list[str]:
    return [_ALL]


async def reconcile(client: Client, _key: str) -> float | None:
    roles = list(client.objects.all(ROLES))
    for role in roles:
        if not role.get("aggregationRule") or role["metadata"].get("deletionTimestamp"):
            continue
        rules = aggregated(role, roles)
        if rules != (role.get("rules") or []):

            def change(obj: Object, rules: list[Object] = rules) -> Object:
                return {**obj, "rules": rules} if obj.get("aggregationRule") else obj

            await client.update(ROLES, "", role["metadata"]["name"], change, NAME)
    return None


CONTROLLER = Controller("clusterrole-aggregation", {ROLES: _changed}, reconcile)
