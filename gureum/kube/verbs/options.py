"""What a client says beside a write: CreateOptions, UpdateOptions, PatchOptions, DeleteOptions.

Source: k8s.io/apimachinery (meta/v1/validation).
"""

from __future__ import annotations

import json

from gureum.kube.errors import StatusError
from gureum.kube.requests import Request

LIMIT_MANAGER_BYTES = 128
_NAMES = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
_VALIDATIONS = ("Ignore", "Strict", "Warn")


def dry_run(request: Request) -> bool:
    wanted = request.query.get("dryRun", [])
    if any(one != "All" for one in wanted):
        raise _invalid(request, f'dryRun: Unsupported value: {json.dumps(wanted)}: supported values: "All"')
    return bool(wanted)


def field_validation(request: Request) -> str:
    mode = request.parameter("fieldValidation") or "Warn"
    if mode not in _VALIDATIONS:
        supported = ", ".join(f'"{one}"' for one in _VALIDATIONS)
        raise _invalid(request, f'fieldValidation: Unsupported value: "{mode}": supported values: {supported}')
    return mode


def check_options(request: Request, *, applies: bool = False) -> None:
    """StatusError: an option says nothing that is known, or not to this write. `applies`: it is a server-side apply."""
    manager = request.parameter("fieldManager")
    if applies and not manager:
        raise _invalid(request, "fieldManager: Required value: is required for apply patch")
    if "force" in request.query and request.method == "PATCH" and not applies:
        raise _invalid(request, "force: Forbidden: may not be specified for non-apply patch")
    if len(manager.encode()) > LIMIT_MANAGER_BYTES:
        raise _invalid(request, f"fieldManager: Too long: may not be more than {LIMIT_MANAGER_BYTES} bytes")
    odd = next(((at, char) for at, char in enumerate(manager) if not char.isprintable()), None)
    if odd is not None:
        text = f"should only contain printable characters (invalid character U+{ord(odd[1]):04X} at position {odd[0]})"
        raise _invalid(request, f"fieldManager: Invalid value: {json.dumps(manager)}: {text}")
    dry_run(request)
    field_validation(request)


def _invalid(request: Request, text: str) -> StatusError:
    kind = _NAMES.get(request.method, "CreateOptions")
    details = {"group": "meta.k8s.io", "kind": kind}
    return StatusError(422, "Invalid", f'{kind}.meta.k8s.io "" is invalid: {text}', details)
