"""Nobody gives away what he has not: roles and bindings are only written by who has their rules, or may escalate or bind.

Source: Kubernetes, "Using RBAC Authorization", privilege escalation prevention.
"""

from __future__ import annotations

from gureum.kube.access.rbac import Act, Rbac
from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import forbidden

_GROUP = "rbac.authorization.k8s.io"


def no_escalation(rbac: Rbac) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        kind, obj, user = attributes.target.kind, attributes.obj, attributes.request.user
        if kind.group != _GROUP or attributes.operation == "DELETE":
            return None
        name, namespace = obj["metadata"].get("name", ""), obj["metadata"].get("namespace", "")
        if kind.kind.endswith("Binding"):
            reference = obj.get("roleRef") or {}
            plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            act = Act("bind", _GROUP, plural, "", namespace, str(reference.get("name")))
            rules = rbac.role(reference, namespace) or []
        else:
            act = Act("escalate", _GROUP, kind.plural, "", namespace, name)
            rules = obj.get("rules") or []
        if not rbac.allows(user, act) and not rbac.covers(user, namespace, rules):
            text = f'user "{user.name}" (groups={list(user.groups)}) is attempting to grant RBAC permissions not currently held'
            raise forbidden(kind, name, text)
        return None

    return admit
