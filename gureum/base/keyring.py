"""A ring of sealing keys: the newest seals, all open. A key is retired when nothing is sealed with it any more (AES-256-GCM, NIST SP 800-38D).

    <folder>/000002-9f1c04aa.key     32 random bytes, 0600: the second key, whose id is 9f1c04aa

A sealed text is a version byte, the id of its key, 12 bytes nonce and ciphertext; its context is authenticated, as in sealing.py, whose texts open
here as well. A key counts from the moment its file has its name, so there is no state in which half of a rotation is lost.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gureum.base.sealing import Sealer

VERSION = b"\x02"
ID_BYTES, NONCE_BYTES, KEY_BYTES = 4, 12, 32
_NAME = re.compile(r"([0-9]{6,})-([0-9a-f]{8})\.key")


class Keyring:
    """Makes its first key on first use. `before`: opens what was sealed without a ring."""

    def __init__(self, folder: Path, before: Sealer) -> None:
        self._folder = folder
        self._before = before
        self._keys: dict[bytes, AESGCM] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, identity, path in self._files():
            self._keys[identity] = AESGCM(path.read_bytes())
            self.number, self._newest = number, identity
        if not self._keys:
            self.number = 0
            self.rotate()

    def seal_bytes(self, secret: bytes, context: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        newest = self._newest  # which another thread may be about to exchange
        return VERSION + newest + nonce + self._keys[newest].encrypt(nonce, secret, context.encode())

    def open_bytes(self, sealed: bytes, context: str) -> bytes:
        """ValueError when it was not sealed for this context with a key of the ring."""
        if sealed[:1] != VERSION:
            return self._before.open_bytes(sealed, context)
        key = self._keys.get(sealed[1 : 1 + ID_BYTES])
        if key is None:
            raise ValueError(f"sealed with the key {sealed[1 : 1 + ID_BYTES].hex()}, which is not in {self._folder}")
        rest = sealed[1 + ID_BYTES :]
        try:
            return key.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context.encode())
        except InvalidTag as error:
            raise ValueError("sealed with another key or for another context") from error

    def stale(self, sealed: bytes) -> bool:
        """Whether it was sealed with another key than the newest."""
        return sealed[: 1 + ID_BYTES] != VERSION + self._newest

    @property
    def rotating(self) -> bool:
        """Whether there are files of older keys: something may still be sealed with them."""
        return len(self._files()) > 1

    def rotate(self) -> None:
        """A new key, with which everything is sealed from now on."""
        identity, number = secrets.token_bytes(ID_BYTES), self.number + 1
        path = self._folder / f"{number:06}-{identity.hex()}.key"
        key = os.urandom(KEY_BYTES)
        _write(path, key)
        _sync(self._folder)
        self._keys[identity] = AESGCM(key)
        self.number, self._newest = number, identity

    def retire(self) -> None:
        """Removes the files of all keys but the newest. What this process holds of old texts (a list's further pages) it still opens."""
        for _, identity, path in self._files():
            if identity != self._newest:
                _erase(path)
        _sync(self._folder)

    def _files(self) -> list[tuple[int, bytes, Path]]:
        """By number."""
        found = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        return sorted((int(name[1]), bytes.fromhex(name[2]), path) for name, path in found if name)


def bring(former: Path, folder: Path) -> None:
    """Moves a ring that lies in another folder. Whenever it is cut off, the next call ends it; without a ring there it does nothing."""
    paths = [path for path in former.glob("*.key") if _NAME.fullmatch(path.name)]
    if paths:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in paths:
            if not (folder / path.name).exists():
                _write(folder / path.name, path.read_bytes())
        _sync(folder)
        for path in paths:
            _erase(path)
    for empty in (former, former.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _write(path: Path, key: bytes) -> None:
    """The file is there with its whole content or not at all; its name is durable with its folder."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _erase(path: Path) -> None:
    """In place: at no moment is there a file without a key's length, which the next start could not load."""
    with path.open("r+b") as file:
        file.write(bytes(KEY_BYTES))
    path.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
