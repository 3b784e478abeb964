"""All kinds that a cluster has now: the built-in ones, and those that CustomResourceDefinitions bring; with their schemas and rules."""

from __future__ import annotations

from typing import Any

from gureum.kube import schemas
from gureum.kube.errors import Cause
from gureum.kube.kinds.builtin import GROUP_ORDER, builtin_kinds
from gureum.kube.kinds.families import RULES
from gureum.kube.kinds.kind import Kind
from gureum.kube.kinds.rules import Rules
from gureum.kube.schemas import Schema

Object = dict[str, Any]


class Catalog:
    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._storage: dict[str, Kind] = {}
        self._custom: dict[str, list[Kind]] = {}
        self.version = 0
        """Changes with the kinds."""
        for kind in builtin_kinds():
            self._add(kind)

    def _add(self, kind: Kind) -> None:
        if kind.custom is None or kind.custom.served:
            self._kinds[kind.group, kind.version, kind.plural] = kind
        self._storage.setdefault(kind.storage, kind)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """Of an object's apiVersion and kind."""
        group, _, version = api_version.rpartition("/")
        return next(
            (one for one in self._kinds.values() if (one.group, one.version, one.kind) == (group, version, kind)), None
        )

    def by_group_kind(self, group: str, kind: str) -> Kind | None:
        """In whichever version."""
        return next((one for one in self._kinds.values() if (one.group, one.kind) == (group, kind)), None)

    def by_storage(self, storage: str) -> Kind | None:
        return self._storage.get(storage)

    def versions_of(self, kind: Kind) -> list[Kind]:
        """A kind, and the same in the other versions and groups that are served."""
        return [kind, *(one for one in self._kinds.values() if one.storage == kind.storage and one is not kind)]

    def stored(self) -> list[Kind]:
        """Each kind that can be stored once."""
        return [kind for kind in self._storage.values() if "list" in kind.verbs]

    def groups(self) -> list[tuple[str, list[str]]]:
        """Groups but the core one with their versions, as discovery lists them."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._kinds:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        known = [(name, found.pop(name)) for name in GROUP_ORDER if name in found]
        return [one for one in known if one[0]] + sorted(found.items())

    def of_version(self, group: str, version: str) -> list[Kind]:
        return [one for one in self._kinds.values() if (one.group, one.version) == (group, version)]

    def all(self) -> list[Kind]:
        return list(self._kinds.values())

    def set_custom(self, definition: str, kinds: list[Kind]) -> None:
        """The kinds of a CustomResourceDefinition, the stored version first; none when it is gone."""
        for old in self._custom.pop(definition, []):
            self._kinds.pop((old.group, old.version, old.plural), None)
            self._storage.pop(old.storage, None)
        if kinds:
            self._custom[definition] = kinds
            for kind in kinds:
                self._add(kind)
        self.version += 1

    # What holds for a kind

    def schema(self, kind: Kind) -> Schema | None:
        if kind.custom is not None:
            found: Schema = kind.custom.schema
            return found
        return schemas.of_kind(kind.group, kind.version, kind.kind)

    def storage_version(self, kind: Kind) -> Kind:
        """The version that its objects are kept in."""
        return self._storage[kind.storage]

    def rules(self, kind: Kind) -> Rules:
        if kind.custom is not None:
            return Rules(default=self.storage_version(kind).custom.default, conditional=True)
        return RULES.get(kind.storage, _PLAIN)

    def validate(self, kind: Kind, obj: Object, old: Object | None) -> list[Cause]:
        if kind.custom is not None:
            causes: list[Cause] = kind.custom.validate(obj, old)
            return causes
        return self.rules(kind).validate(obj, old)

    def part_of(self, kind: Kind, subresource: str, obj: Object, old: Object) -> Object:
        """What a write through a subresource may change: `status` the status alone, the object itself all but the status."""
        if subresource in ("status", "approval"):
            kept = {**old, "metadata": obj["metadata"]}
            if subresource == "status" and kind.custom is not None:
                kept["metadata"] = {**old["metadata"], "managedFields": obj["metadata"].get("managedFields") or []}
            if "status" in obj:
                kept["status"] = obj["status"]
            else:
                kept.pop("status", None)
            return kept
        if subresource == "finalize":
            spec = {**(old.get("spec") or {}), "finalizers": (obj.get("spec") or {}).get("finalizers") or []}
            return {**old, "spec": spec}
        if subresource == "binding":
            return obj
        if subresource in ("ephemeralcontainers", "resize"):
            return {**old, "metadata": obj["metadata"], "spec": obj.get("spec", {})}
        if kind.subresource("status"):
            obj = dict(obj)
            if "status" in old:
                obj["status"] = old["status"]
            else:
                obj.pop("status", None)
        return obj

    def applied_part(self, kind: Kind, subresource: str, applied: Object) -> Object:
        """Of a configuration that is applied what the way that it comes by may change: the rest is nobody's by it (reset fields)."""
        if subresource == "status":
            names = ("apiVersion", "kind", "metadata", "status")
            part = {name: applied[name] for name in names if name in applied}
            if kind.custom is not None:
                head = ("name", "namespace", "uid", "resourceVersion", "managedFields")
                part["metadata"] = {name: value for name, value in applied["metadata"].items() if name in head}
            return part
        if not subresource and kind.subresource("status"):
            return {name: value for name, value in applied.items() if name != "status"}
        return applied


_PLAIN = Rules(generation=False)
