"""The files that gureum puts into its own guests: package data under guest/, one folder per image and one that they share."""

from __future__ import annotations

import hashlib
from importlib import resources

DEFAULT_USER = "io.gureum.default-user"
"""Label of an image: who may log in with the instance's key, and become root."""

REBOOT_SIGNAL = "io.gureum.reboot-signal"
"""Label of an image: the signal that makes its PID 1 restart the machine, e.g. "SIGINT"; `stop_signal` powers it off."""


def guest_version(*folders: str) -> str:
    """Changes when a file of these folders under guest/ does."""
    digest = hashlib.sha256()
    for folder in folders:
        for name, body in guest_files(folder).items():
            digest.update(f"{folder}/{name}:{len(body)}\n".encode() + body)
    return digest.hexdigest()[:16]


def guest_files(folder: str) -> dict[str, bytes]:
    """The files of one folder under guest/, which is package data: name → content, sorted."""
    found = resources.files("gureum.drivers.images.guest").joinpath(folder)
    return {entry.name: entry.read_bytes() for entry in sorted(found.iterdir(), key=lambda entry: entry.name)}
