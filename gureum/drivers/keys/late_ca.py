"""The certificate authority, loaded when the first asks for it: its cryptography is a fifth of what the agent's start costs, and most agents
never sign anything.
"""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

from gureum.ports.certificates import Certificates, IdentitySignatures, Issued, KeyType
from gureum.ports.clock import Clock


class LateCa:
    """Fills ports.certificates.Certificates by a `local_ca.LocalCa` on `folder`."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._loading = asyncio.Lock()
        self._ca: Certificates | None = None

    async def ca_pem(self) -> bytes:
        return await (await self._loaded()).ca_pem()

    async def issue(
        self, names: tuple[str, ...], ips: tuple[str, ...] = (), *, days: int = 397, key_type: KeyType = "ec"
    ) -> Issued:
        return await (await self._loaded()).issue(names, ips, days=days, key_type=key_type)

    async def identity_pem(self) -> bytes:
        return await (await self._loaded()).identity_pem()

    async def sign_identity(self, document: bytes) -> IdentitySignatures:
        return await (await self._loaded()).sign_identity(document)

    async def _loaded(self) -> Certificates:
        async with self._loading:
            if self._ca is None:
                module = await asyncio.to_thread(importlib.import_module, "gureum.drivers.keys.local_ca")
                made: Certificates = module.LocalCa(self._folder, self._clock)
                self._ca = made
            return self._ca
