"""A kind of object as the API shows it: where it lies in paths, what it can do."""

from __future__ import annotations

from typing import Any

import msgspec

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Subresource(msgspec.Struct, frozen=True):
    """`status`, `scale` …: a path below an object. `kind`: of what is sent and answered, with its group and version ("" and "": the object's own)."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Kind(msgspec.Struct, frozen=True, eq=False):
    """A kind in one version. `storage`: group/plural, by which its objects are kept: the same for all versions."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    storage: str = ""
    custom: Any = None
    """The version of a CustomResourceDefinition (custom.py), None for built-in kinds."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps`, as messages name it; `pods` of the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def subresource(self, name: str) -> Subresource | None:
        return next((one for one in self.subresources if one.name == name), None)
