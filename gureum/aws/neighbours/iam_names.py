"""A group may be moved to another path, with or without its own name told again, as Terraform does: moto knows only another name.

AWS: IAM UpdateGroup.
"""

from __future__ import annotations

from typing import Any

from moto.iam.models import IAMBackend

_UPDATE = IAMBackend.update_group


def install() -> None:
    """Idempotent."""
    setattr(IAMBackend, "update_group", _update)  # noqa: B010 - moto has no other way in


def _update(backend: Any, group_name: str, new_group_name: str | None, new_path: str | None) -> None:
    if new_group_name and new_group_name != group_name:
        _UPDATE(backend, group_name, new_group_name, new_path)
        return
    group = backend.get_group(group_name)
    if new_path:
        group.path = new_path
