"""The API's errors: `Status` objects with the codes, reasons and texts of Kubernetes, which clients look at (k8s.io/apimachinery/pkg/api/errors)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.kube.kinds.kind import Kind


class StatusError(Exception):
    """An answer that refuses. `details`: of the Status; `retry_after_s`: told as a header."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None, retry_after_s: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s
        self.metadata: dict[str, Any] = {}

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return body | {"code": self.code}

    def body(self) -> bytes:
        return msgspec.json.encode(self.status()) + b"\n"


class Cause(msgspec.Struct, frozen=True):
    """What is wrong with one field (field.Error). `field`: "spec.replicas"; `message`: as `Invalid value: -1: must be …`."""

    reason: str
    field: str
    message: str


def invalid(field: str, value: Any, text: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown(value)}: {text}")


def required(field: str, text: str = "") -> Cause:
    return Cause("FieldValueRequired", field, f"Required value: {text}" if text else "Required value")


def unsupported(field: str, value: Any, choices: Iterable[str]) -> Cause:
    supported = ", ".join(f'"{one}"' for one in sorted(choices))
    return Cause("FieldValueNotSupported", field, f"Unsupported value: {shown(value)}: supported values: {supported}")


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", field, f"Duplicate value: {shown(value)}")


def forbidden_field(field: str, text: str) -> Cause:
    return Cause("FieldValueForbidden", field, f"Forbidden: {text}")


def shown(value: Any) -> str:
    """A value as an error tells it: JSON; null as Go's."""
    return "null" if value is None else msgspec.json.encode(value).decode()


def in_go(value: Any) -> str:
    """A value as Go prints it (`%+v`): `map[spec:map[replicas:3]]`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{in_go(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(in_go, value))}]"
    return str(value).lower() if isinstance(value, bool) else "<nil>" if value is None else str(value)


def details_of(kind: Kind, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if kind.group:
        details["group"] = kind.group
    return details | {"kind": kind.plural}


def not_found(kind: Kind, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{kind.qualified} "{name}" not found', details_of(kind, name))


def already_exists(kind: Kind, name: str) -> StatusError:
    return StatusError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', details_of(kind, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(kind: Kind, name: str, text: str = MODIFIED) -> StatusError:
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {text}'
    return StatusError(409, "Conflict", message, details_of(kind, name))


def invalid_object(kind: Kind | None, name: str, causes: list[Cause]) -> StatusError:
    """422 with all that is wrong. `kind`: None of what is no object, as a patch."""
    texts = [f"{one.field}: {one.message}" for one in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(dict.fromkeys(texts))}]"
    details: dict[str, Any] = {"name": name} if name else {}
    qualified = ""
    if kind is not None:
        qualified = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
        details |= {"group": kind.group, "kind": kind.kind} if kind.group else {"kind": kind.kind}
    details["causes"] = [{"reason": one.reason, "message": one.message, "field": one.field} for one in causes]
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def forbidden(kind: Kind | None, name: str, text: str) -> StatusError:
    if kind is None:
        return StatusError(403, "Forbidden", f"forbidden: {text}", {})
    message = f'{kind.qualified} "{name}" is forbidden: {text}' if name else f"{kind.qualified} is forbidden: {text}"
    return StatusError(403, "Forbidden", message, details_of(kind, name))


def bad_request(text: str) -> StatusError:
    return StatusError(400, "BadRequest", text)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed(kind: Kind | None = None) -> StatusError:
    details = details_of(kind, "") if kind else {}
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details
    )


def not_implemented(text: str) -> StatusError:
    return StatusError(501, "NotImplemented", text)


def unsupported_media(text: str) -> StatusError:
    return StatusError(415, "UnsupportedMediaType", text)


def expired(text: str = "") -> StatusError:
    return StatusError(410, "Expired", text or "The resourceVersion for the provided list is too old.")


def too_large_revision(asked: int, current: int) -> StatusError:
    message = f"Too large resource version: {asked}, current: {current}"
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return StatusError(504, "Timeout", message, details, retry_after_s=1)


def too_many(text: str, causes: list[dict[str, Any]] | None = None, retry_after_s: int = 0) -> StatusError:
    details = {"causes": causes} if causes else {}
    return StatusError(429, "TooManyRequests", text, details, retry_after_s)


def internal(text: str) -> StatusError:
    details = {"causes": [{"message": text}]}
    return StatusError(500, "InternalError", f"Internal error occurred: {text}", details)


def unavailable(text: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", text)
