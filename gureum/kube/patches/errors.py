"""What a patch may fail with."""

from __future__ import annotations

import msgspec


class BadPatch(ValueError):
    """The patch is none (400). The text is for the client."""


class PatchFailed(ValueError):
    """It is one, but does not fit the object: a test that fails, a path that is not there (422)."""


class Cause(msgspec.Struct, frozen=True):
    """One field that another manager owns."""

    field: str
    message: str


class Conflict(ValueError):
    """Server-side apply without force meets fields of other managers (409). `causes`: for the Status' details, reason FieldManagerConflict."""

    def __init__(self, message: str, causes: list[Cause]) -> None:
        super().__init__(message)
        self.causes = causes
