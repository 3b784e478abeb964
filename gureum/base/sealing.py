"""Sealing: secrets at rest, encrypted with a key that lies outside the data they are in (AES-256-GCM, NIST SP 800-38D).

A sealed text is base64 of version byte, 12 bytes nonce and ciphertext; `context` is authenticated, so a sealed secret moved to another
object does not open.
"""

from __future__ import annotations

import base64
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"


class Sealer:
    """Makes its key file (0600) on first use."""

    def __init__(self, key_file: Path) -> None:
        self._key = _read_key(key_file)
        self._aead = AESGCM(self._key)

    def seal(self, secret: str, context: str) -> str:
        return base64.b64encode(self.seal_bytes(secret.encode(), context)).decode()

    def open(self, sealed: str, context: str) -> str:
        """ValueError when it was not sealed with this key for this context."""
        return self.open_bytes(base64.b64decode(sealed), context).decode()

    def seal_bytes(self, secret: bytes, context: str) -> bytes:
        """As `seal`, without the base64."""
        nonce = os.urandom(12)
        return VERSION + nonce + self._aead.encrypt(nonce, secret, context.encode())

    def open_bytes(self, sealed: bytes, context: str) -> bytes:
        """ValueError when it was not sealed with this key for this context."""
        try:
            return self._aead.decrypt(sealed[1:13], sealed[13:], context.encode())
        except InvalidTag as error:
            raise ValueError("sealed with another key or for another context") from error

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for that purpose, the same each time; it tells nothing of this one (HMAC-SHA256)."""
        return hmac.digest(self._key, f"derived: {purpose}".encode(), "sha256")


def _read_key(key_file: Path) -> bytes:
    key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = key_file.with_name(f"{key_file.name}.{os.getpid()}")
    if not key_file.exists():
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, key_file)
        except FileExistsError:
            pass
        os.unlink(temporary)
    return key_file.read_bytes()
