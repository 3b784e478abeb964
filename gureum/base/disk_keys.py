"""Data keys of disks: made here, sealed by the home's key, opened only where a disk is mounted (drivers/volumes/volume_keys.py).

A sealed key is `NAME:SEALED`: the name is random and belongs to the seal, so that one key may stand in a volume, its snapshots and their volumes, and
two can be told apart without opening them.
"""

from __future__ import annotations

import base64
import os
from typing import Protocol

KEY_BYTES = 64
"""AES-256-XTS takes two keys of 32 bytes."""


class Seals(Protocol):
    def seal(self, secret: str, context: str) -> str: ...


def new_disk_key(sealer: Seals) -> str:
    name = os.urandom(8).hex()
    return f"{name}:{sealer.seal(base64.b64encode(os.urandom(KEY_BYTES)).decode(), f'disk-key/{name}')}"
