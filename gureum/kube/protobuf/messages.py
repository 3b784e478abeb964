"""What Kubernetes' types look like on the wire: numbers and JSON names of their fields (Kubernetes 1.34).

messages.json has a line per message: by field number `name type`. The name is the one in JSON, `-` for a field whose members stand in JSON
beside the others. The type is a basic one, one with a JSON form of its own (`Time`, `Quantity` …) or another message; before it `*` (a pointer: zero
means something), `[]` (repeated) or `{}` (a map from string), after it `?` (left out of JSON when empty). The file is made by tools/kube_messages.py.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

META_KINDS = frozenset(
    {
        *("DeleteOptions", "GetOptions", "ListOptions", "CreateOptions", "UpdateOptions", "PatchOptions"),
        *("Status", "WatchEvent", "APIGroup", "APIGroupList", "APIResourceList", "APIVersions"),
        *("Table", "PartialObjectMetadata", "PartialObjectMetadataList"),
    }
)


class Field(msgspec.Struct, frozen=True):
    """A field of a message. `type`: a basic type, one with a JSON form of its own, or the name of a message."""

    name: str
    type: str
    inline: bool
    pointer: bool
    repeated: bool
    mapped: bool
    optional: bool


@cache
def fields_of(message: str) -> dict[int, Field] | None:
    """The fields of a message (`core/v1.PodSpec`) by their numbers; None where there is no such message."""
    table = _table().get(message)
    return None if table is None else {int(number): _field(text) for number, text in table.items()}


def message_of(api_version: str, kind: str) -> str:
    """The message of a kind: `apps/v1.Deployment` of `apps/v1` and `Deployment`, `rbac/v1.Role` of `rbac.authorization.k8s.io/v1` and `Role`."""
    if kind in META_KINDS:
        return f"meta/v1.{kind}"
    group, slash, version = api_version.rpartition("/")
    return f"{group.partition('.')[0] if slash else 'core'}/{version}.{kind}"


def _field(text: str) -> Field:
    name, _, rest = text.partition(" ")
    bare = rest.removesuffix("?")
    inner = bare.removeprefix("*")
    type_ = inner.removeprefix("[]").removeprefix("{}")
    return Field(
        name=name,
        type=type_,
        inline=name == "-",
        pointer=bare != inner,
        repeated=inner.startswith("[]"),
        mapped=inner.startswith("{}"),
        optional=bare != rest,
    )


@cache
def _table() -> dict[str, dict[str, str]]:
    data = files(__package__).joinpath("messages.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, dict[str, str]])
