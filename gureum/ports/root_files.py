"""Files of applications' roots from outside: looked at, copied in and out as tars, and what has changed of the image."""

from __future__ import annotations

from typing import Protocol

import msgspec

BETWEEN_RUNS = "cannot be seen: the container starts or ends"
"""Ends what a PortError says of a view that is being put together or taken apart: soon it can be seen."""


class FileStat(msgspec.Struct, frozen=True):
    """`mode`: as stat(2) has it. `link`: where a symbolic link leads."""

    name: str
    size: int
    mode: int
    time: float
    link: str = ""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """`kind`: 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


View = tuple[tuple[str, bool], ...]
"""For each of a root's sources (RootSpec.sources), in their order: where it is seen, and whether nothing may be written there."""


class RootFiles(Protocol):
    """Of roots that are mounted (Volumes.ensure_root), with what is shown beside them where a `view` says so. `into` and `source`: files of the
    host, chosen by gureum."""

    async def look(self, name: str, path: str, view: View = ()) -> FileStat:
        """PortError when there is none. The last part is not followed, unless "/" or "/." behind it says that it is a folder."""

    async def read(self, name: str, path: str, into: str, view: View = ()) -> None:
        """What is at `path`, under its own name, as a tar; of a folder with "/." its content; of "/" all, by names that
        begin with "/". "": all that is in the root, by name."""

    async def write(self, name: str, path: str, source: str, view: View = (), *, user: str = "") -> None:
        """Unpacks the tar `source` in the folder `path`; for a `user` ("name:group", as the root knows them) all of it becomes theirs."""

    async def changes(self, name: str, lowers: tuple[str, ...]) -> tuple[Change, ...]:
        """`lowers`: folders of the image's layers."""

    async def layer(self, name: str, into: str) -> None:
        """What it has written, as a layer of an image."""
