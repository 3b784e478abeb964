"""Takes the lines of one proxy's log out of its socket, in batches."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

_BATCH = 512
_DRAIN_BATCHES = 8
"""As many lines as the socket's queue holds (haproxy/process.py)."""
_LONGEST_BYTES = 65536
_GATHER_S = 0.01


class LogReader:
    """Takes what waits in the socket, at most `_BATCH` lines at a time so that the loop goes on, and then lets it gather for a moment: woken for
    each line we would take the cores from those who serve requests. What comes faster than it is read is dropped by the kernel and counted
    by HAProxy; a proxy never waits for its log."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, take: Callable[[list[bytes]], None]
    ) -> None:
        self._loop, self._sock, self._take = loop, sock, take
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(sock, self._read)

    def _read(self) -> None:
        if not self._take_some():
            self._loop.remove_reader(self._sock)
            self._timer = self._loop.call_later(_GATHER_S, self._loop.add_reader, self._sock, self._read)

    def _take_some(self) -> bool:
        """Whether there may be more."""
        lines: list[bytes] = []
        descriptor = self._sock.fileno()
        with contextlib.suppress(BlockingIOError):
            while len(lines) < _BATCH:
                lines.append(os.read(descriptor, _LONGEST_BYTES))  # a datagram, with less ado than by `recv`
        if lines:
            self._take(lines)
        return len(lines) == _BATCH

    def drain(self) -> None:
        """Takes what waits now: of one who goes on sending, as much as fits into the queue."""
        for _ in range(_DRAIN_BATCHES):
            if not self._take_some():
                return

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
