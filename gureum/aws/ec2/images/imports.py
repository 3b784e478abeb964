"""Where images to register come from: files that the machine's owner has put into `$GUREUM_HOME/imports/`, and nothing else.

    ImageLocation   "web.tar", "imports/web.tar" or the whole path; with "oci:", "docker:" or "rootfs:" before it the form is said, else looked at

Only names of the host's file system are judged here; what is inside is read, and mistrusted, by the agent.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from gureum.aws.errors import AwsError

Form = Literal["oci", "docker", "rootfs"]
FOLDER = "imports"
BLOCK = 512
LIMIT_ENTRIES = 100_000
_OCTAL = re.compile(rb"[0-7]{1,12}")
_FORMS: dict[str, Form] = {"oci": "oci", "docker": "docker", "rootfs": "rootfs"}


class Source(msgspec.Struct, frozen=True):
    """`path`: absolute, below the imports folder, without symbolic links. `form`: as ports/images.py wants it."""

    path: str
    form: Form


def locate(home: str, location: str) -> Source:
    """Blocks: for a thread. AWS: InvalidParameterValue, in words that tell nothing of the host outside the imports folder."""
    prefix, _, rest = location.partition(":")
    form = _FORMS.get(prefix)
    path = _inside(Path(home) / FOLDER, rest if form else location)
    return Source(str(path), form or _form_of(path))


def _inside(folder: Path, location: str) -> Path:
    name = location.removeprefix(f"{folder}/").removeprefix(f"{FOLDER}/")
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise _refused(location, folder)
    path = folder
    try:
        for part in parts:
            path = path / part
            # Each step by itself: a link anywhere in the middle would lead out of the folder.
            kind = path.lstat().st_mode
            if stat.S_ISLNK(kind):
                raise _refused(location, folder)
    except OSError as error:
        raise _refused(location, folder) from error
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise _refused(location, folder)
    return path


def _refused(location: str, folder: Path) -> AwsError:
    text = (
        f"Value ({location[:200]}) for parameter imageLocation is invalid. gureum registers images from {folder}/: "
        "put an OCI layout, a `docker save` tar or a root file system tar there and give its name."
    )
    return AwsError("InvalidParameterValue", text)


def _form_of(path: Path) -> Form:
    """A folder is an OCI layout; a tar is what the names in it say; a compressed one is taken as a root file system."""
    if path.is_dir():
        return "oci"
    with path.open("rb") as file:
        for name in _names(file):
            if name == "oci-layout":
                # `docker save` of Docker 25 writes both; its OCI half says more.
                return "oci"
            if name == "manifest.json":
                return "docker"
    return "rootfs"


def _names(file: BinaryIO) -> list[str]:
    """Names at the top of a plain tar, "oci-layout" first; none when it is no plain tar. POSIX.1-1988 (ustar): name 0-100, size 124-136."""
    found: set[str] = set()
    for _ in range(LIMIT_ENTRIES):
        header = file.read(BLOCK)
        if len(header) < BLOCK or header[257:262] != b"ustar":
            break
        name = header[:100].partition(b"\0")[0].decode("utf-8", "replace").removeprefix("./")
        if name in ("oci-layout", "manifest.json"):
            found.add(name)
        size = header[124:136].strip(b" \0")
        if _OCTAL.fullmatch(size) is None:
            break
        file.seek(-(-int(size, 8) // BLOCK) * BLOCK, os.SEEK_CUR)
    return sorted(found, reverse=True)
