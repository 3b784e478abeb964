"""Consoles as lines with their times: what a machine's main process prints, for those who follow it."""

from __future__ import annotations

from typing import Protocol

import msgspec


class ConsoleLine(msgspec.Struct, frozen=True, array_like=True):
    """One line without its end; what is not UTF-8 is replaced. `time_ms`: when it was printed."""

    time_ms: int
    text: str


class ConsolePage(msgspec.Struct, frozen=True):
    """`place`: opaque; the next read goes on from it, also after a restart of the agent."""

    lines: tuple[ConsoleLine, ...]
    place: str


class Consoles(Protocol):
    async def read(self, name: str, place: str = "") -> ConsolePage:
        """Whole lines of the container `name` after `place` ("": from the oldest that is kept), a limited number. Of one that printed more than
        is kept while nobody read, the oldest are missing."""

    async def changed(self, name: str, timeout_s: float) -> None:
        """Returns when the container may have printed since the last `read`, at the latest after `timeout_s`."""

    async def close(self) -> None: ...
