"""What `--mount` may say, as it stands, before anything is looked for. Refusals are Docker's, and in its words."""

from __future__ import annotations

from typing import Any

from gureum.docker.errors import DockerError, bad_parameter

_OF_KIND = {"bind": "BindOptions", "volume": "VolumeOptions", "tmpfs": "TmpfsOptions", "image": "ImageOptions"}


def check_fields(mount: dict[str, Any]) -> None:
    """DockerError 400: what is missing, and what another kind of mount has."""
    kind, source = str(mount.get("Type") or ""), str(mount.get("Source") or "")
    if not mount.get("Target"):
        raise _refusal(kind, "field Target must not be empty")
    if kind == "bind" and not source:
        raise _refusal(kind, "field Source must not be empty")
    if kind == "tmpfs" and source:
        raise _refusal(kind, "field Source must not be specified")
    if kind == "volume" and not source and mount.get("ReadOnly"):
        raise _refusal(kind, "must not set ReadOnly mode when using anonymous volumes")
    for other, field in _OF_KIND.items():
        if kind in _OF_KIND and other != kind and mount.get(field) is not None:
            raise _refusal(kind, f"field {field} must not be specified")


def unknown_kind(kind: object) -> DockerError:
    return _refusal(str(kind or ""), "mount type unknown")


def duplicate(target: str) -> DockerError:
    return bad_parameter(f"Duplicate mount point: {target}")


def _refusal(kind: str, why: str) -> DockerError:
    return bad_parameter(f'invalid mount config for type "{kind}": {why}')
