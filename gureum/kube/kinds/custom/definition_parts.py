"""What a CustomResourceDefinition says beside its schemas: names, columns, the paths of its scale, its conversion.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from typing import Any

from gureum.kube.errors import Cause, duplicate, forbidden_field, invalid, required, unsupported

Object = dict[str, Any]
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
LIMIT_SELECTABLE = 8
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NOT_A_LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)


def wrong_names(names: Object) -> list[Cause]:
    field = "spec.names"
    causes = []
    for name, text in (("singular", names.get("singular")), ("kind", str(names.get("kind") or "").lower())):
        if text and not _LABEL.fullmatch(text):
            causes.append(_no_label(f"{field}.{name}", names[name], mixed=name == "kind"))
    list_kind = names.get("listKind") or ""
    if list_kind and not _LABEL.fullmatch(list_kind.lower()):
        causes.append(_no_label(f"{field}.listKind", list_kind, mixed=True))
    if list_kind and list_kind == names.get("kind"):
        causes.append(invalid(f"{field}.listKind", list_kind, "kind and listKind may not be the same"))
    for name in ("shortNames", "categories"):
        for number, text in enumerate(names.get(name) or ()):
            if not _LABEL.fullmatch(text):
                causes.append(_no_label(f"{field}.{name}[{number}]", text))
    return causes


def _no_label(field: str, value: str, *, mixed: bool = False) -> Cause:
    start = "may have mixed case, but should otherwise match: " if mixed else ""
    return invalid(field, value, start + _NOT_A_LABEL)


def wrong_parts(version: Object, field: str) -> list[Cause]:
    """Of one version. `field`: "spec.versions[0]"."""
    causes = []
    for number, column in enumerate(version.get("additionalPrinterColumns") or ()):
        causes += _wrong_column(column, f"{field}.additionalPrinterColumns[{number}]")
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        causes += _wrong_scale(scale, f"{field}.subresources.scale")
    causes += _wrong_selectable(version, f"{field}.selectableFields")
    return causes


def _wrong_selectable(version: Object, field: str) -> list[Cause]:
    """Each is the path of one text, number or truth value of the schema, of at most eight, and none of the metadata."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    causes, seen = [], set()
    for number, one in enumerate(version.get("selectableFields") or ()):
        at, path = f"{field}[{number}].jsonPath", str(one.get("jsonPath") or "")
        if not path:
            causes.append(required(at))
            continue
        node, text = _node_at(schema, path)
        if node is None:
            causes.append(invalid(at, path, f"is an invalid path: {text}"))
            continue
        if path.startswith(".metadata."):
            causes.append(invalid(at, path, "must not point to fields in metadata"))
        if node.get("type") not in ("string", "boolean", "integer"):
            text = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            causes.append(invalid(at, path, text))
        if path in seen:
            causes.append(duplicate(at, path))
        seen.add(path)
    if len(seen) > LIMIT_SELECTABLE:
        text = f"Too many: {len(seen)}: must have at most {LIMIT_SELECTABLE} items"
        causes.append(Cause("FieldValueTooMany", field, text))
    return causes


def _node_at(schema: Object, path: str) -> tuple[Object | None, str]:
    """The part of a schema that a path of fields (`.spec.color`) means, or why it means none."""
    if not path.startswith("."):
        return None, f"expected [ or . but got: {path[:1]}"
    if "[" in path:
        return None, "array notation is not allowed"
    node = schema
    for name in path[1:].split("."):
        below = (node.get("properties") or {}).get(name)
        if not isinstance(below, dict):
            return None, "does not refer to a valid field"
        node = below
    return node, ""


def _wrong_column(column: Object, field: str) -> list[Cause]:
    causes = [] if column.get("name") else [required(f"{field}.name")]
    if not column.get("type"):
        causes.append(required(f"{field}.type", f"must be one of {','.join(COLUMN_TYPES)}"))
    elif column["type"] not in COLUMN_TYPES:
        causes.append(invalid(f"{field}.type", column["type"], f"must be one of {','.join(COLUMN_TYPES)}"))
    if column.get("format") and column["format"] not in COLUMN_FORMATS:
        text = f"must be one of {','.join(COLUMN_FORMATS)}"
        causes.append(invalid(f"{field}.format", column["format"], text))
    path = column.get("jsonPath") or ""
    if not path:
        causes.append(required(f"{field}.jsonPath"))
    else:
        causes += _wrong_path(path, f"{field}.jsonPath")
    return causes


def _wrong_scale(scale: Object, field: str) -> list[Cause]:
    causes = []
    for name, start in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        path = scale.get(name) or ""
        if not path:
            causes.append(required(f"{field}.{name}"))
        elif wrong := _wrong_path(path, f"{field}.{name}"):
            causes += wrong
        elif not path.startswith(f"{start}."):
            causes.append(invalid(f"{field}.{name}", path, f"should be a json path under {start}"))
    path = scale.get("labelSelectorPath") or ""
    if path and not path.startswith((".spec.", ".status.")):
        text = "should be a json path under either .spec or .status"
        causes += _wrong_path(path, f"{field}.labelSelectorPath") or [invalid(f"{field}.labelSelectorPath", path, text)]
    return causes


def _wrong_path(path: str, field: str) -> list[Cause]:
    return [] if path.startswith(".") else [invalid(field, path, "must be a simple json path starting with .")]


def wrong_conversion(conversion: Object) -> list[Cause]:
    field = "spec.conversion"
    strategy, webhook = conversion.get("strategy") or "None", conversion.get("webhook")
    if strategy not in ("None", "Webhook"):
        return [unsupported(f"{field}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        text = "should not be set when strategy is not set to Webhook"
        return [forbidden_field(f"{field}.webhook", text)] if webhook else []
    config = (webhook or {}).get("clientConfig")
    causes = []
    if config is None:
        causes.append(required(f"{field}.webhookClientConfig", "required when strategy is set to Webhook"))
    elif (config.get("url") is None) == (config.get("service") is None):
        causes.append(required(f"{field}.webhookClientConfig", "exactly one of url or service is required"))
    versions = (webhook or {}).get("conversionReviewVersions") or ()
    if not versions:
        causes.append(required(f"{field}.conversionReviewVersions"))
    elif not {"v1", "v1beta1"} & set(versions):
        text = "must include at least one of v1, v1beta1"
        causes.append(invalid(f"{field}.conversionReviewVersions", list(versions), text))
    return causes
