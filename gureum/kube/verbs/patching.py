"""Patches of clients: read, laid over the object that is there, and brought into its kind's shape.

What does not fit is told as of a patch (422), not as of a body (400).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.errors import StatusError, bad_request, in_go, invalid, invalid_object, unsupported_media
from gureum.kube.kinds.kind import Kind
from gureum.kube.objects import Object
from gureum.kube.patches.errors import BadPatch, PatchFailed
from gureum.kube.patches.plain import json_patch, merge_patch
from gureum.kube.patches.strategic import strategic
from gureum.kube.requests import Request
from gureum.kube.schemas import Schema
from gureum.kube.verbs.bodies import Misfit, judged, read_json, shaped, unknown_fields

APPLY = "application/apply-patch+yaml"
STRATEGIC = "application/strategic-merge-patch+json"


def read_patch(request: Request, kind: Kind, media: str) -> Any:
    """The patch in the request's body. StatusError."""
    accepted = ["application/json-patch+json", "application/merge-patch+json", APPLY]
    if kind.custom is None:
        accepted.insert(2, STRATEGIC)
    if media not in accepted:
        text = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        raise unsupported_media(text)
    patch = read_json(request.body)
    if media == "application/json-patch+json":
        return patch
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: the patch is no object")
    return patch


def patched(kind: Kind, media: str, live: Object, patch: Any, schema: Schema | None) -> Object:
    """The live object with the patch. StatusError when it cannot be applied."""
    try:
        if media == "application/json-patch+json":
            obj = json_patch(live, patch)
        elif media == "application/merge-patch+json":
            obj = merge_patch(live, patch)
        else:
            obj = strategic(live, patch, schema)
    except BadPatch as error:
        raise bad_request(str(error)) from error
    except PatchFailed as error:
        raise StatusError(422, "Invalid", str(error), {}) from error
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        raise StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})
    if obj.get("kind") != kind.kind or obj.get("apiVersion") != kind.api_version:
        raise bad_request("the patch changes apiVersion or kind")
    return obj


def shaped_patch(request: Request, kind: Kind, obj: Object, schema: Schema | None, twice: list[str], of: Any) -> Object:
    """What came of a patch, in its kind's shape. `of`: the strategic merge that it came of. Invalid."""
    try:
        result, unknown = shaped(obj, kind, schema)
        wrong = judged(request, [*twice, *unknown_fields(unknown)])
    except Misfit as misfit:
        wrong = misfit.converting() if of is not None else misfit.decoding()
    if wrong:
        value = in_go(of) if of is not None else msgspec.json.encode(obj).decode()
        raise invalid_object(None, "", [invalid("patch", value, wrong)])
    return result
