"""What a CustomResourceDefinition's status says: which of its names are its own, whether it is served, what is wrong with it.

Source: k8s.io/apiextensions-apiserver/pkg/controller (status, establish, nonstructuralschema, apiapproval, finalizer).
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.custom.custom import APPROVED, is_protected, violations
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object

NAMES = ("plural", "singular", "shortNames", "kind", "listKind")
UNAPPROVED = f'protected groups must have approval annotation "{APPROVED}"{{}}, see https://github.com/kubernetes/enhancements/pull/1111'


class Condition(NamedTuple):
    type: str
    status: str
    reason: str
    message: str


def taken(catalog: Catalog, definition: Object) -> dict[str, list[str]]:
    """By member of its names, those that other kinds of the group have. What was once accepted is its own, but for names of built-in kinds,
    which nobody takes over."""
    spec, own = definition["spec"], definition["metadata"]["name"]
    accepted = (definition.get("status") or {}).get("acceptedNames") or {}
    others = [one for one in catalog.all() if one.group == spec["group"]]
    built_in = [one for one in others if one.custom is None]
    custom = [one for one in others if one.custom is not None and one.qualified != own]
    found = {}
    for member in NAMES:
        used = _names_of(custom, member) - set(_texts(accepted.get(member))) | _names_of(built_in, member)
        lost = [one for one in _texts(spec["names"].get(member)) if one in used]
        if lost:
            found[member] = lost
    return found


def _names_of(kinds: list[Kind], member: str) -> set[str]:
    if member in ("kind", "listKind"):
        return {name for one in kinds for name in (one.kind, f"{one.kind}List")}
    return {name for one in kinds for name in (one.plural, one.singular, *one.short_names)}


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def status_of(catalog: Catalog, definition: Object, now: str) -> Object:
    """`now`: RFC 3339, of conditions that change."""
    spec, known = definition["spec"], definition.get("status") or {}
    lost = taken(catalog, definition)
    stored = [one["name"] for one in spec["versions"] if one.get("storage")]
    before = known.get("storedVersions") or []
    wanted = [*_of_names(lost), *_of_schemas(definition), *_of_approval(definition)]
    if definition["metadata"].get("deletionTimestamp"):
        text = "CustomResource deletion is in progress"
        wanted.append(Condition("Terminating", "True", "InstanceDeletionInProgress", text))
    accepted = {"plural": "", "kind": ""} | {name: one for name, one in spec["names"].items() if name not in lost}
    return {
        "conditions": _timed(wanted, known.get("conditions") or [], now),
        "acceptedNames": accepted,
        "storedVersions": [*before, *(one for one in stored if one not in before)],
    }


def _of_names(lost: dict[str, list[str]]) -> list[Condition]:
    if not lost:
        return [
            Condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            Condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    member, names = list(lost.items())[-1]  # the last that was looked at
    texts = [f'"{name}" is already in use' for name in names]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return [
        Condition("NamesAccepted", "False", f"{member[0].upper()}{member[1:]}Conflict", text),
        Condition("Established", "False", "NotAccepted", "not all names are accepted"),
    ]


def _of_schemas(definition: Object) -> list[Condition]:
    """Of definitions that were stored before their schemas were looked at: what is new is refused."""
    texts = [f"{one.field}: {one.message}" for one in violations(definition["spec"]["versions"])]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return [Condition("NonStructuralSchema", "True", "Violations", text)] if texts else []


def _of_approval(definition: Object) -> list[Condition]:
    if not is_protected(definition["spec"]["group"]):
        return []
    said = str((definition["metadata"].get("annotations") or {}).get(APPROVED) or "")
    parts = urlsplit(said)
    status, reason = "False", "InvalidAnnotation"
    text = UNAPPROVED.format(' with either a URL or a reason starting with "unapproved"')
    if not said:
        reason, text = "MissingAnnotation", UNAPPROVED.format("")
    elif said.startswith("unapproved"):
        reason, text = "UnapprovedAnnotation", f'not approved: "{said}"'
    elif parts.scheme and parts.netloc:
        status, reason, text = "True", "ApprovedAnnotation", f"approved in {said}"
    return [Condition("KubernetesAPIApprovalPolicyConformant", status, reason, text)]


def _timed(wanted: list[Condition], before: list[Object], now: str) -> list[Object]:
    """With the times since when each says what it says."""
    since = {(one["type"], one["status"]): one["lastTransitionTime"] for one in before}
    return [
        {
            "type": one.type,
            "status": one.status,
            "lastTransitionTime": since.get((one.type, one.status), now),
            "reason": one.reason,
            "message": one.message,
        }
        for one in wanted
    ]
