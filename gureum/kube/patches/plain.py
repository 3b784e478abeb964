"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer

from gureum.kube.patches.errors import BadPatch, PatchFailed

LIMIT_OPERATIONS = 10_000  # k8s.io/apiserver: maxJSONPatchOperations
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
        return jsonpatch.JsonPatch(operations).apply(document)
    except jsonpatch.InvalidJsonPatch as error:
        raise BadPatch(str(error)) from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise PatchFailed("the server rejected our request due to an error in our request") from error


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
