"""Selectors of labels and fields: their texts parsed, and whether an object is meant.

Source: Kubernetes, "Labels and Selectors" and "Field Selectors"; k8s.io/apimachinery/pkg/labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from gureum.kube.errors import bad_request
from gureum.kube.label_parser import Read, Unreadable, read

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_KEY = re.compile(
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
LIMIT_SELECTOR = 32_768
_NAME_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
Labels = dict[str, str]


class Requirement(msgspec.Struct, frozen=True):
    """`operator`: in, notin, exists, !exists, gt, lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "!exists":
            return value is None
        return value is not None and _compares(value, self.operator, next(iter(self.values)))


Selector = tuple[Requirement, ...]


def matches(selector: Selector, labels: Labels) -> bool:
    return all(one.matches(labels) for one in selector)


def parse_labels(text: str) -> Selector:
    """`a=b,c in (d,e),!f`. BadRequest."""
    if len(text) > LIMIT_SELECTOR:
        raise bad_request("the label selector is too long")
    try:
        return tuple(_requirement(one) for one in read(text))
    except Unreadable as error:
        raise bad_request(str(error)) from error


def from_object(selector: dict[str, Any] | None) -> Selector | None:
    """A LabelSelector; None where there is none: it selects nothing."""
    if selector is None:
        return None
    found = [Requirement(key, "in", frozenset([value])) for key, value in (selector.get("matchLabels") or {}).items()]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists"}
    for one in selector.get("matchExpressions") or ():
        operator = operators.get(str(one.get("operator")), "in")
        found.append(Requirement(str(one.get("key")), operator, frozenset(one.get("values") or ())))
    return tuple(found)


def from_labels(labels: Labels | None) -> Selector:
    return tuple(Requirement(key, "in", frozenset([value])) for key, value in (labels or {}).items())


def _requirement(one: Read) -> Requirement:
    if not _KEY.match(one.key):
        raise bad_request(f"unable to parse requirement: <nil>: Invalid value: {_quoted(one.key)}: {_NAME_TEXT}")
    wrong = []
    for at, value in enumerate(sorted(one.values)):
        shown = f"Invalid value: {_quoted(value)}"
        if one.operator in ("gt", "lt") and not _INTEGER.fullmatch(value):
            wrong.append(f"values[{at}]: {shown}: for 'Gt', 'Lt' operators, the value must be an integer")
        if not _VALUE.match(value):
            wrong.append(f"values[{at}][{one.key}]: {shown}: {_VALUE_TEXT}")
    if wrong:
        text = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise bad_request(f"unable to parse requirement: {text}")
    return Requirement(one.key, one.operator, one.values)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _compares(value: str, operator: str, than: str) -> bool:
    try:
        return int(value) > int(than) if operator == "gt" else int(value) < int(than)
    except ValueError:
        return False


# Fields

COMMON_FIELDS = ("metadata.name", "metadata.namespace")
_EVENT_FIELDS = (
    *(
        f"involvedObject.{name}"
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    ),
    *("reason", "reportingComponent", "source", "type"),
)
FIELDS: dict[str, tuple[str, ...]] = {
    "core/pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
        "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    "core/events": _EVENT_FIELDS,
    "core/namespaces": ("status.phase",),
    "core/nodes": ("spec.unschedulable",),
    "core/secrets": ("type",),
    "core/services": ("spec.clusterIP", "spec.type"),
    "core/replicationcontrollers": ("status.replicas",),
    "apps/replicasets": ("status.replicas",),
    "batch/jobs": ("status.successful",),
    "certificates.k8s.io/certificatesigningrequests": ("spec.signerName",),
}  # fmt: skip
"""What may be selected by, beside name and namespace. Source: the original's `GetAttrs` functions and field label conversions."""


class FieldRequirement(msgspec.Struct, frozen=True):
    field: str
    value: str
    negated: bool

    def matches(self, obj: dict[str, Any]) -> bool:
        return (field_value(obj, self.field) == self.value) != self.negated


FieldSelector = tuple[FieldRequirement, ...]


def parse_fields(text: str, storage: str, extra: tuple[str, ...] = ()) -> FieldSelector:
    """`status.phase!=Running,spec.nodeName=n1`. BadRequest, also for a field that the kind cannot be selected by."""
    if len(text) > LIMIT_SELECTOR:
        raise bad_request("the field selector is too long")
    allowed = (*COMMON_FIELDS, *FIELDS.get(storage, ()), *extra)
    found = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = re.match(r"^\s*([^=!\s]+)\s*(!=|==|=)\s*(.*?)\s*$", part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        if storage == "core/events" and field == "regarding.name":
            field = "involvedObject.name"
        if field not in allowed:
            raise bad_request(_unknown_field(field, storage in FIELDS or bool(extra)))
        value = re.sub(r"\\([\\,=])", r"\1", value)
        found.append(FieldRequirement(field, value, operator == "!="))
    return tuple(found)


def _unknown_field(field: str, has_own: bool) -> str:
    """Kinds with fields of their own say less than the others (runtime.DefaultMetaV1FieldSelectorConversion)."""
    if has_own:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


_DEFAULTS = {
    "spec.unschedulable": "false",
    "status.replicas": "0",
    "status.successful": "0",
    "spec.hostNetwork": "false",
}


def field_value(obj: dict[str, Any], field: str) -> str:
    if field == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    if field == "status.successful":
        field = "status.succeeded"
    value: Any = obj
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return _DEFAULTS.get(field, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


Filter = Callable[[bytes], bool]


class _Meta(msgspec.Struct):
    labels: Labels | None = None


class _Labelled(msgspec.Struct):
    metadata: _Meta


_labelled = msgspec.json.Decoder(_Labelled)


def make_filter(labels: Selector, fields: FieldSelector) -> Filter | None:
    """Whether an encoded object is selected; None when all are."""
    if not labels and not fields:
        return None

    def selected(value: bytes) -> bool:
        if fields:
            obj = msgspec.json.decode(value)
            return matches(labels, obj["metadata"].get("labels") or {}) and all(one.matches(obj) for one in fields)
        return matches(labels, _labelled.decode(value).metadata.labels or {})

    return selected
