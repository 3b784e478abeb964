"""What opens sealed secrets, loaded when the first is opened: the agent starts without its cryptography (see late_ca.py)."""

from __future__ import annotations

import importlib
from pathlib import Path

from gureum.drivers.haproxy import Opener


class LateSealer:
    """Opens what was sealed with the key in `key_file`."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._sealer: Opener | None = None

    def open(self, sealed: str, context: str) -> str:
        """ValueError as base/sealing.py says."""
        if self._sealer is None:
            made: Opener = importlib.import_module("gureum.base.sealing").Sealer(self._key_file)
            self._sealer = made
        return self._sealer.open(sealed, context)
