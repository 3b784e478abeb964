"""What a user may: roles and bindings (RBAC).

Bindings are looked up by subject in an index that is made anew when roles or bindings have changed.
Source: Kubernetes, "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gureum.kube.objects import Object, Objects
from gureum.kube.requests import User
from gureum.kube.selectors import from_object, matches
from gureum.store.contract import Event

MASTERS = "system:masters"
_GROUP = "rbac.authorization.k8s.io"
STORAGES = tuple(f"{_GROUP}/{name}" for name in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))
Rule = dict[str, Any]


class Act(msgspec.Struct, frozen=True):
    """What somebody wants to do. `path`: of what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Rbac:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._bindings: dict[tuple[str, str], list[tuple[str, Object, str]]] | None = None
        self._prefixes = tuple(objects.prefix(storage) for storage in STORAGES)
        self._unlisten = objects.store.listen(self._on_events)

    def close(self) -> None:
        self._unlisten()

    def allows(self, user: User, act: Act) -> str:
        """Why it is allowed; "" when it is not."""
        if MASTERS in user.groups:
            return "RBAC: allowed by group system:masters"
        for rule, why in self._rules(user, act.namespace):
            if rule_allows(rule, act):
                return why
        return ""

    def rules(self, user: User, namespace: str) -> list[Rule]:
        """All rules that hold for the user there."""
        if MASTERS in user.groups:
            every = ["*"]
            return [
                {"apiGroups": every, "resources": every, "verbs": every},
                {"nonResourceURLs": every, "verbs": every},
            ]
        return [rule for rule, _ in self._rules(user, namespace)]

    def missing(self, user: User, namespace: str, rules: list[Rule]) -> list[Rule]:
        """What the rules give and the user has not, one resource or path each: nobody gives away what he has not."""
        if MASTERS in user.groups:
            return []
        has = self.rules(user, namespace)
        found: dict[tuple[Any, ...], Rule] = {}
        for act in (act for rule in rules for act in _acts_of(rule, namespace)):
            if any(rule_allows(one, act) for one in has):
                continue
            resource = f"{act.resource}/{act.subresource}" if act.subresource else act.resource
            where: Rule = {"apiGroups": [act.group], "resources": [resource]}
            if act.name:
                where["resourceNames"] = [act.name]
            if act.path:
                where = {"nonResourceURLs": [act.path]}
            rule = found.setdefault((act.group, resource, act.name, act.path), {**where, "verbs": []})
            if act.verb not in rule["verbs"]:
                rule["verbs"].append(act.verb)
        return list(found.values())

    def role(self, reference: Object, namespace: str) -> list[Rule] | None:
        """The rules of a role that a binding refers to; None when it is not there."""
        cluster = reference.get("kind") == "ClusterRole"
        storage = STORAGES[1] if cluster else STORAGES[0]
        role = self._objects.get(storage, "" if cluster else namespace, str(reference.get("name")))
        if role is None:
            return None
        if role.get("aggregationRule"):
            return aggregated(role, self._objects.all(STORAGES[1]))
        return list(role.get("rules") or ())

    def _rules(self, user: User, namespace: str) -> Iterator[tuple[Rule, str]]:
        for subject in (("User", user.name), *(("Group", group) for group in user.groups)):
            for where, binding, kind in self._index().get(subject, ()):
                if where and where != namespace:
                    continue
                reference = binding["roleRef"]
                name = f'{kind} "{binding["metadata"]["name"]}"'
                why = f'RBAC: allowed by {name} of {reference["kind"]} "{reference["name"]}" to {subject[0]} "{subject[1]}"'
                for rule in self.role(reference, where) or ():
                    yield rule, why

    def _index(self) -> dict[tuple[str, str], list[tuple[str, Object, str]]]:
        if self._bindings is None:
            self._bindings = {}
            for storage, kind in ((STORAGES[3], "ClusterRoleBinding"), (STORAGES[2], "RoleBinding")):
                for binding in self._objects.all(storage):
                    namespace = binding["metadata"].get("namespace", "")
                    for subject in binding.get("subjects") or ():
                        name = subject.get("name", "")
                        if subject.get("kind") == "ServiceAccount":
                            owner = subject.get("namespace") or namespace
                            who = "User", f"system:serviceaccount:{owner}:{name}"
                        else:
                            who = str(subject.get("kind")), name
                        self._bindings.setdefault(who, []).append((namespace, binding, kind))
        return self._bindings

    def _on_events(self, events: list[Event]) -> None:
        if any(event.key.startswith(self._prefixes) for event in events):
            self._bindings = None


def aggregated(role: Object, roles: Iterable[Object]) -> list[Rule]:
    """The rules of a cluster role that is made of others, `roles`; its own are overwritten by them."""
    wished = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    selectors = [selector for one in wished if (selector := from_object(one)) is not None]
    rules: list[Rule] = []
    for one in sorted(roles, key=lambda each: str(each["metadata"]["name"])):
        labels = one["metadata"].get("labels") or {}
        if one["metadata"]["name"] != role["metadata"]["name"] and any(matches(each, labels) for each in selectors):
            rules += [rule for rule in one.get("rules") or () if rule not in rules]
    return rules


def rule_allows(rule: Rule, act: Act) -> bool:
    if not _has(rule.get("verbs"), act.verb):
        return False
    if act.path:
        return any(_path_matches(one, act.path) for one in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), act.group):
        return False
    resources = rule.get("resources") or ()
    full = f"{act.resource}/{act.subresource}" if act.subresource else act.resource
    if not ("*" in resources or full in resources or (act.subresource and f"*/{act.subresource}" in resources)):
        return False
    names = rule.get("resourceNames")
    return not names or act.name in names


def _has(values: Any, wanted: str) -> bool:
    return bool(values) and ("*" in values or wanted in values)


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def _acts_of(rule: Rule, namespace: str) -> Iterator[Act]:
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield Act(verb, path=path)
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                plain, _, sub = resource.partition("/")
                for name in rule.get("resourceNames") or ("",):
                    yield Act(verb, group, plain, sub, namespace, name)
