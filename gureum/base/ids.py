"""Random identifiers."""

from __future__ import annotations

import secrets
import uuid


def new_id(prefix: str, digits: int = 17) -> str:
    """`prefix` and so many random hex digits: new_id("vpc-") → "vpc-0a1b2c3d4e5f60718" (AWS's long form starts with 0)."""
    if digits == 17:
        return f"{prefix}0{secrets.token_hex(8)}"
    return prefix + secrets.token_hex((digits + 1) // 2)[:digits]


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4), in small letters."""
    return str(uuid.uuid4())
