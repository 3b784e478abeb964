"""The configuration of a stored image (OCI image-spec 1.1, config.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.docker import shapes
from gureum.docker.containers.options import moment
from gureum.docker.errors import DockerError
from gureum.docker.kinds import Image


def config_of(image: Image) -> dict[str, Any]:
    """What clients read of it has the types that they expect. {} for one that cannot be understood, as an older version may have stored: such an
    image is listed and removed like any other."""
    data = image.spec.config.encode()
    try:
        known = shapes.read(data, "image.Image")
        return {**msgspec.json.decode(data), **known} if known else {}
    except DockerError:
        return {}


def container_words(image: Image) -> dict[str, Any]:
    """What it says of containers that are made of it."""
    found: dict[str, Any] = config_of(image).get("config") or {}
    return found


def time_of(text: str) -> float:
    """Unix seconds of a time in a configuration; 0 where there is none."""
    try:
        return max(0.0, moment(text)) if text else 0.0
    except DockerError:
        return 0.0
