"""IMDSv2 session tokens: made and checked without keeping any, so that they outlive the agent.

    head  = 01 00 04 00 | expiry, Unix seconds: 4 bytes | random: 4 bytes
    token = base64url(head | HMAC-SHA256(key, head | bound to)[:28])

Forty bytes, 56 characters, as AWS's look. A token is bound to the network and the owner it was given to: another
instance's is worth nothing. The key lies in a file that only root reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from pathlib import Path

from gureum.drivers.keys.secret_files import locked, write_whole

MARK = b"\x01\x00\x04\x00"
TTL_LIMIT_S = 21600
KEY_BYTES = 32
SIGNATURE_BYTES = 28
TOKEN_CHARACTERS = 56


class Tokens:
    """Makes and checks tokens with the key at `key_path`, which is made (mode 0600) when it is missing."""

    def __init__(self, key_path: Path) -> None:
        self._key = load_key(key_path)

    def make(self, bound_to: str, ttl_s: int, now: float) -> bytes:
        """`ttl_s`: 1-21600."""
        head = MARK + (int(now) + ttl_s).to_bytes(4, "big") + secrets.token_bytes(4)
        return base64.urlsafe_b64encode(head + self._sign(head, bound_to))

    def remaining_s(self, token: bytes, bound_to: str, now: float) -> int:
        """Whole seconds the token is still good for; 0 for one that is expired, forged, or another's."""
        if len(token) != TOKEN_CHARACTERS:
            return 0
        try:
            raw = base64.b64decode(token, b"-_", validate=True)
        except binascii.Error:
            return 0
        head, signature = raw[:12], raw[12:]
        if not hmac.compare_digest(signature, self._sign(head, bound_to)):
            return 0
        return max(0, int.from_bytes(head[4:8], "big") - int(now))

    def _sign(self, head: bytes, bound_to: str) -> bytes:
        return hmac.digest(self._key, head + bound_to.encode(), hashlib.sha256)[:SIGNATURE_BYTES]


def load_key(path: Path) -> bytes:
    """The key, made on first use; one that is not whole is made anew, since all it costs is that clients ask for another
    token. Processes that start at once end with the same one."""
    with locked(path.parent):
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != KEY_BYTES:
            key = secrets.token_bytes(KEY_BYTES)
            write_whole(path, key)
        return key
