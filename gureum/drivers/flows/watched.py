"""A network whose flows are watched: its sockets, and the sums of what they have told since somebody collected."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from pathlib import Path

from gureum.drivers.flows import messages as flow_messages
from gureum.drivers.flows.attribution import RefusalKey, Watched, attributed, batched
from gureum.drivers.flows.counts import (
    FlowSum,
    Refusal,
    less,
    plus,
    seen_of,
)
from gureum.drivers.flows.messages import Counts, Entry, EntryReader, Refused
from gureum.drivers.flows.sockets import DATAGRAM_BYTES, DUMP_LIMIT_S, ask_log, dumped, listen, opened, widen
from gureum.drivers.flows.views import Owners, translated
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import interface_link
from gureum.ports.flows import Flow

_BUFFER_BYTES = 32 << 20
"""Of a socket: some 30,000 ended flows, which is seconds of what this machine can do. Taken only as it fills."""
_DUMP_BUFFER_BYTES = 1 << 20
_AT_ONCE = 256
"""Datagrams that are read before others have their turn in the loop."""
_TO_DRAIN = 200_000
_REST_S = 0.05
"""Not read after all there was was read. To be woken for each flow that ends would cost as much as reading it."""
LIMIT_FLOWS = 200_000
"""Different flows, and different refused ones, of a network between two collects."""


class WatchedNetwork:
    """One network's sockets, and what they have told. `_last`: counts of live flows at the last dump."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.interfaces: frozenset[str] = frozenset()
        self.translators: dict[str, Translator] = {}
        self._path = path
        self._inode = 0
        self._ended: socket.socket | None = None
        self._refused: socket.socket | None = None
        self._dump: socket.socket | None = None
        self._links: dict[int, str] = {}
        self._last: dict[bytes, Counts] = {}
        self._sums: dict[bytes, FlowSum] = {}
        self._refusals: dict[RefusalKey, Refusal] = {}
        self._next_refused = 0
        self._reader = EntryReader()
        self._since = int(time.time())
        self._whole = True
        self._is_deaf = True

    @property
    def is_open(self) -> bool:
        return self._ended is not None

    @property
    def is_stale(self) -> bool:
        """Whether the namespace is gone or another one than that which the sockets are in."""
        try:
            return os.stat(self._path).st_ino != self._inode
        except FileNotFoundError:
            return True

    def open(self) -> None:
        """Raises FileNotFoundError where the network is not there."""
        with namespaces.entered(self._path) as inode:
            self._inode = inode
            self._ended, self._refused, self._dump = opened(), opened(), opened()
            listen(self._ended)
            ask_log(self._refused)
        for one, size in (
            (self._ended, _BUFFER_BYTES),
            (self._refused, _BUFFER_BYTES),
            (self._dump, _DUMP_BUFFER_BYTES),
        ):
            widen(one, size)
        for one in (self._ended, self._refused):
            one.setblocking(False)
        self._dump.settimeout(DUMP_LIMIT_S)
        self._listen()

    def close(self) -> None:
        if self.is_open:
            self._deafen()
        for one in (self._ended, self._refused, self._dump):
            if one is not None:
                one.close()
        self._ended = self._refused = self._dump = None
        self._last, self._sums, self._refusals, self._whole = {}, {}, {}, True
        self._next_refused = 0
        for translator in self.translators.values():
            translator.close()

    def _listen(self) -> None:
        assert self._ended is not None
        assert self._refused is not None
        self._is_deaf = False
        loop = asyncio.get_running_loop()
        for one in (self._ended, self._refused):
            loop.add_reader(one.fileno(), self._hear, one)

    def _deafen(self) -> None:
        assert self._ended is not None
        assert self._refused is not None
        self._is_deaf = True
        loop = asyncio.get_running_loop()
        for one in (self._ended, self._refused):
            loop.remove_reader(one.fileno())

    # --- what comes by itself ---

    def _hear(self, one: socket.socket) -> None:
        if self._read(one, _AT_ONCE):
            loop = asyncio.get_running_loop()
            loop.remove_reader(one.fileno())
            loop.call_later(_REST_S, self._hear_again, one)

    def _hear_again(self, one: socket.socket) -> None:
        if not self._is_deaf and one in (self._ended, self._refused):
            asyncio.get_running_loop().add_reader(one.fileno(), self._hear, one)

    def _read(self, one: socket.socket, most: int) -> bool:
        """Whether there was no more."""
        for _ in range(most):
            try:
                data = one.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._whole = False  # and go on: what follows is heard
                continue
            for kind, body in flow_messages.messages(data):
                if kind == flow_messages.CT_DELETE:
                    self._end(self._reader.read(body))
                elif kind == flow_messages.LOG_PACKET:
                    self._refuse(flow_messages.refused(body))
        return False

    def _end(self, entry: Entry | None) -> None:
        if entry is not None:
            before = self._last.pop(entry.key, None)
            self._add(entry, before)

    def _add(self, entry: Entry, before: Counts | None) -> None:
        if entry.counts == before:
            return
        known = self._sums.get(entry.key)
        if known is None and len(self._sums) >= LIMIT_FLOWS:
            self._whole = False
            return
        counts = less(entry.counts, before)
        if known is None:
            if counts != flow_messages.NOTHING:
                self._sums[entry.key] = FlowSum(entry, counts, before is None)
        else:
            known.seen, known.counts = entry, plus(known.counts, counts)

    def _refuse(self, packet: Refused | None) -> None:
        if packet is None:
            return
        if packet.number != self._next_refused:
            self._whole = False
        self._next_refused = packet.number + 1 & 0xFFFF_FFFF
        key = (packet.tuple_, packet.into, packet.out_of, packet.by, packet.mark)
        now = int(time.time())
        known = self._refusals.get(key)
        if known is not None:
            known.packets, known.bytes, known.end = known.packets + 1, known.bytes + packet.bytes, now
            known.flags |= packet.tcp_flags
        elif len(self._refusals) < LIMIT_FLOWS:
            self._refusals[key] = Refusal(1, packet.bytes, packet.tcp_flags, now, now)
        else:
            self._whole = False

    # --- what is asked for ---

    async def gather(self, owned: Owners | None) -> tuple[list[Flow], bool]:
        """Flows of the watched interfaces since the last time, and whether nothing was lost. `owned` None: only so that it is known what has been.
        Raises OSError when the kernel does not answer."""
        if self._ended is None or self._refused is None or self._dump is None:
            return [], True
        self._deafen()
        try:
            entries = await asyncio.to_thread(dumped, self._dump)
            fresh: dict[bytes, Counts] = {}
            for part in batched(entries):
                for entry in part:
                    fresh[entry.key] = entry.counts
                    self._add(entry, self._last.pop(entry.key, None))
                await asyncio.sleep(0)
            self._last |= fresh  # those that are not in the dump have an end that is read now
            for one in (self._ended, self._refused):
                self._read(one, _TO_DRAIN)
            self._last = {key: counts for key, counts in self._last.items() if key in fresh}
        finally:
            self._listen()
        self._know_links()
        sums, refusals, since, whole = self._sums, self._refusals, self._since, self._whole
        self._sums, self._refusals, self._since, self._whole = {}, {}, int(time.time()), True
        if owned is None:
            return [], whole
        try:
            return await self._told(list(sums.values()), refusals, since, owned), whole
        except asyncio.CancelledError:
            self._whole = False
            raise

    def _know_links(self) -> None:
        """Numbers of links are never given twice in a row, so one that has gone may be asked for until the next collect."""
        with contextlib.suppress(FileNotFoundError), namespaces.entered(self._path):
            for interface in self.interfaces:
                with contextlib.suppress(OSError):
                    self._links[socket.if_nametoindex(interface_link(interface))] = interface

    async def _told(
        self, sums: list[FlowSum], refusals: dict[RefusalKey, Refusal], since: int, owned: Owners
    ) -> list[Flow]:
        watched = Watched(self.interfaces, self._links, self.translators.keys(), owned)
        return await attributed(sums, refusals, since, watched)


class Translator(WatchedNetwork):
    """A NAT gateway's namespace: what passed it for others, at its interface. Nothing is refused in it."""

    def __init__(self, name: str, path: Path, interface: str) -> None:
        super().__init__(name, path)
        self.interfaces = frozenset({interface})
        self._interface = interface

    async def _told(
        self, sums: list[FlowSum], refusals: dict[RefusalKey, Refusal], since: int, owned: Owners
    ) -> list[Flow]:
        found: list[Flow] = []
        for part in batched(sums):
            now = int(time.time())
            for sum_ in part:
                found += translated(seen_of(sum_, since, now), self._interface)
            await asyncio.sleep(0)
        return found
