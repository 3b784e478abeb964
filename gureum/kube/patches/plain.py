"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386)."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from gureum.kube.patches.errors import BadPatch, PatchFailed

LIMIT_OPERATIONS = 10_000  # k8s.io/apiserver: maxJSONPatchOperations
LIMIT_COPIED_BYTES = 3 * 1024 * 1024  # k8s.io/apiserver: JSONPatchMaxCopyBytes
_FORMS = {"add", "remove", "replace", "move", "copy", "test"}


def json_patch(document: Any, operations: Any) -> Any:
    """The document after all operations; PatchFailed where one does not fit, and then nothing counts. BadPatch."""
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        raise BadPatch("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > LIMIT_OPERATIONS:
        raise BadPatch(f"The allowed maximum operations in a JSON patch is {LIMIT_OPERATIONS}, got {len(operations)}")
    for one in operations:
        if one.get("op") not in _FORMS or not isinstance(one.get("path"), str):
            raise BadPatch(f"Unexpected kind: {one.get('op')}")
    try:
        return _after(copy.deepcopy(document), operations)
    except jsonpatch.InvalidJsonPatch as error:
        raise BadPatch(str(error)) from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise PatchFailed("the server rejected our request due to an error in our request") from error


def _after(document: Any, operations: list[Any]) -> Any:
    """What the operations make of the document, which they change. Forty copies of a whole into a part of itself would fill any memory: what is
    copied is limited. An operation's value goes into the document and may be changed there by later ones: it is a copy, too."""
    copied_bytes = 0
    for one in operations:
        if one["op"] == "copy":
            source = jsonpointer.resolve_pointer(document, one.get("from") or "")
            copied_bytes += len(msgspec.json.encode(source))
            if copied_bytes > LIMIT_COPIED_BYTES:
                raise PatchFailed("the server rejected our request due to an error in our request")
        document = jsonpatch.JsonPatch([copy.deepcopy(one)]).apply(document, in_place=True)
    return document


def merge_patch(document: Any, patch: Any) -> Any:
    """The document with the patch merged into it: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
