"""A group may be moved to another path, with or without its own name told again, as Terraform does: moto knows only another name. And a user keeps
his tags under another name or path.

AWS: IAM UpdateGroup, UpdateUser.
"""

from __future__ import annotations

from typing import Any

from moto.iam.models import IAMBackend

_UPDATE = IAMBackend.update_group
_UPDATE_USER = IAMBackend.update_user


def install() -> None:
    """Idempotent."""
    setattr(IAMBackend, "update_group", _update)  # noqa: B010 - moto has no other way in
    setattr(IAMBackend, "update_user", _update_user)  # noqa: B010


def _update(backend: Any, group_name: str, new_group_name: str | None, new_path: str | None) -> None:
    if new_group_name and new_group_name != group_name:
        _UPDATE(backend, group_name, new_group_name, new_path)
        return
    group = backend.get_group(group_name)
    if new_path:
        group.path = new_path


def _update_user(backend: Any, user_name: str, new_path: str | None = None, new_user_name: str | None = None) -> None:
    user = backend.users.get(user_name)
    before = user.arn if user is not None else ""
    _UPDATE_USER(backend, user_name, new_path, new_user_name)
    if user.arn != before:
        tags = backend.tagger.list_tags_for_resource(before)["Tags"]
        backend.tagger.delete_all_tags_for_resource(before)
        backend.tagger.tag_resource(user.arn, tags)
