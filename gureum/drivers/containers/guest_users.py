"""Who a name means inside a container: its own /etc/passwd and /etc/group, as Docker looks them up (`USER` of an image, `--user`, `--group-add`).

Source: Dockerfile reference, USER; OCI image-spec 1.1, config.md.
"""

from __future__ import annotations

from pathlib import Path

from gureum.drivers.containers.inside_root import read_inside
from gureum.ports import PortError
from gureum.ports.containers import User

_LIMIT_BYTES = 4 << 20
_MOST_GROUPS = 1000


def find_user(root: Path, text: str, groups: tuple[str, ...] = ()) -> tuple[User, str]:
    """(who, their home folder) for "", "name", "uid", and either with ":group". PortError in Docker's words."""
    name, _, group = text.partition(":")
    found = _lines(root, "/etc/passwd", 7)
    known = next((one for one in found if name in (one[0], one[2])), None) if name else None
    if name == "":
        known = next((one for one in found if one[2] == "0"), None)
    if known is not None:
        uid, gid, own, home = int(known[2]), int(known[3]), known[0], known[5] or "/"
    elif name == "":
        uid, gid, own, home = 0, 0, "root", "/root"
    elif name.isdecimal():
        uid, gid, own, home = int(name), 0, "", "/"
    else:
        raise PortError(f"unable to find user {name}: no matching entries in passwd file", retry=False)
    all_groups = _lines(root, "/etc/group", 4)
    further = {int(one[2]) for one in all_groups if own and own in one[3].split(",")}
    if group:
        gid, further = _group(all_groups, group), set()
    further |= {_group(all_groups, one) for one in groups}
    return User(uid, gid, tuple(sorted(further))[:_MOST_GROUPS]), home


def _group(known: list[list[str]], text: str) -> int:
    for one in known:
        if text in (one[0], one[2]):
            return int(one[2])
    if text.isdecimal():
        return int(text)
    raise PortError(f"unable to find group {text}: no matching entries in group file", retry=False)


def _lines(root: Path, path: str, fields: int) -> list[list[str]]:
    """Lines with so many fields and sound numbers."""
    text = read_inside(root, path, _LIMIT_BYTES).decode(errors="replace")
    found = []
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) == fields and all(one.isdecimal() and len(one) < 11 for one in parts[2 : fields - 3 or 3]):
            found.append(parts)
    return found
