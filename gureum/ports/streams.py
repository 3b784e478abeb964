"""What an application's standard streams carry: all of its output as it was printed, with its times, and the way to its input."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Some output. `time_ns`: Unix time; `whole`: a line ends here, and its end is part of `data`."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    whole: bool
    data: bytes


class Pieces(msgspec.Struct, frozen=True):
    """`place`: opaque; the next read goes on from it, also after a restart of the agent."""

    pieces: tuple[Piece, ...]
    place: str


class Stretch(msgspec.Struct, frozen=True):
    """What was printed between two places, and nothing that came later."""

    start: str
    end: str


class Feed(Protocol):
    """The way to a program's standard input."""

    async def write(self, data: bytes) -> None:
        """At the program's pace. PortError when nobody takes it any more."""

    async def close(self, *, end: bool) -> None:
        """`end`: there is no more input; else somebody may be attached again."""


class Streams(Protocol):
    async def read(self, name: str, place: str = "", *, until: str = "", merged: bool = False) -> Pieces:
        """What the container printed after `place` ("": from the oldest that is kept, "end": nothing, only the place), a limited amount, and
        nothing that was printed after `until`. `merged`: nobody asks for times, neighbours of one stream come as one piece."""

    async def tail(self, name: str, lines: int) -> Stretch:
        """The last so many lines that are there now; all for a negative number."""

    async def changed(self, name: str, timeout_s: float) -> None:
        """Returns when the container may have printed since the last `read`, at the latest after `timeout_s`."""

    async def feed(self, name: str) -> Feed:
        """PortError while it does not run."""

    async def resize(self, name: str, columns: int, rows: int) -> None: ...
    async def close(self) -> None: ...
