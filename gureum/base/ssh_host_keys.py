"""The key by which an SSH server of ours is known: made once, kept for its owner alone, its public part beside it."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

NAME = "ssh_host_ed25519_key"


class HostKey(msgspec.Struct, frozen=True):
    """`path`: of the private key, in OpenSSH's form. `fingerprint`: "SHA256:…", as `ssh` shows it."""

    path: Path
    fingerprint: str


def host_key(folder: Path) -> HostKey:
    """The key in `folder`, made if it is not there yet."""
    path, public = folder / NAME, folder / f"{NAME}.pub"
    if not (path.exists() and public.exists()):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate()
        text = made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
        _write(public, text)
        _write(path, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    blob = base64.b64decode(public.read_bytes().split()[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return HostKey(path, f"SHA256:{digest}")


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".new")
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
