"""Nobody gives away what he has not: roles and bindings are only written by who has their rules, or may escalate or bind.

Source: Kubernetes, "Using RBAC Authorization", privilege escalation prevention.
"""

from __future__ import annotations

from gureum.kube.access.rbac import Act, Rbac, Rule
from gureum.kube.admission import Attributes, Extra, Plugin
from gureum.kube.errors import StatusError, forbidden, shown

_GROUP = "rbac.authorization.k8s.io"


_EVERYTHING: list[Rule] = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]


def no_escalation(rbac: Rbac) -> Plugin:
    async def admit(attributes: Attributes) -> list[Extra] | None:
        kind, obj, user = attributes.target.kind, attributes.obj, attributes.request.user
        name, namespace = obj["metadata"].get("name", ""), obj["metadata"].get("namespace", "")
        if kind.kind.endswith("Binding"):
            reference = obj.get("roleRef") or {}
            plural = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            referred = str(reference.get("name"))
            if rbac.allows(user, Act("bind", _GROUP, plural, "", namespace, referred)):
                return None
            rules = rbac.role(reference, namespace)
            if rules is None:  # who makes it later would decide what was given away
                raise StatusError(404, "NotFound", f'{plural}.{_GROUP} "{referred}" not found')
        else:
            if rbac.allows(user, Act("escalate", _GROUP, kind.plural, "", namespace, name)):
                return None
            rules = obj.get("rules") or []
            # An aggregation rule gathers whatever is labelled so, now and later.
            gathers = obj.get("aggregationRule") or (attributes.old or {}).get("aggregationRule")
            if gathers and rbac.missing(user, namespace, _EVERYTHING):
                raise forbidden(kind, name, "must have cluster-admin privileges to use the aggregationRule")
        missing = rbac.missing(user, namespace, rules)
        if missing:
            groups = " ".join(shown(one) for one in user.groups)
            held = f"user {shown(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held"
            raise forbidden(kind, name, f"{held}:\n" + "\n".join(sorted(map(_compact, missing))))
        return None

    storages = frozenset(f"{_GROUP}/{one}" for one in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))
    return Plugin(admit, storages, frozenset({"CREATE", "UPDATE"}))


def _compact(rule: Rule) -> str:
    """As the original writes a rule into its refusal."""
    members = (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Verbs", "verbs"),
    )
    parts = (f"{label}:[{' '.join(map(shown, rule[one]))}]" for label, one in members if rule.get(one))
    return "{" + ", ".join(parts) + "}"
