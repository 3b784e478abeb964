"""The home's sealer, loaded when the first sealed key is opened: its cryptography would cost each agent's start 19 ms, and most never serve TLS."""

from __future__ import annotations

import importlib
from pathlib import Path

from gureum.drivers.haproxy.proxies import Opener


class LateSealer:
    """Opens with the key in `key_file` (base/sealing.py)."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._sealer: Opener | None = None

    def open(self, sealed: str, context: str) -> str:
        """ValueError when it was not sealed with this key for this context."""
        return self._loaded().open(sealed, context)

    def derive(self, purpose: str) -> bytes:
        """A key for that purpose, the same each time."""
        return self._loaded().derive(purpose)

    def _loaded(self) -> Opener:
        if self._sealer is None:
            made: Opener = importlib.import_module("gureum.base.sealing").Sealer(self._key_file)
            self._sealer = made
        return self._sealer
