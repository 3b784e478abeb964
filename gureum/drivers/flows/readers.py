"""Flows from the kernel's connection tracking and its log of refused packets: fills `gureum.ports.flows`.

    a network that is watched ─┬─ ended flows: ctnetlink's multicast DESTROY, with last counts        ─┐
                               ├─ live flows:  a dump when somebody collects, less what was told before ├─ collect ─► Flow of each interface
                               └─ refused:     NFLOG from the chains `denied` (nft_table)              ─┘

Sockets are opened inside the network's namespace and then read from the agent's one loop; nobody has to be in there. What a NAT gateway passes on for
others is read in the same way from its own namespace. The dump is read in a thread. While it runs, ends of flows wait in their socket: an entry whose
end was told before the dump is not in it, and one that is in it is known when its end is read, so nothing is told twice or never. Counters are never
set to zero, others may read them.

A refused packet of a known flow (an ACL's, as those judge each packet) was counted there, too, and is taken off. One of an unknown flow that
only the receiver refuses has passed its sender: it is told as accepted there (AWS does so). One that a load balancer's node does not listen for
was refused by no rule, and is told as accepted by both. Where the kernel says that a socket's buffer was full
the network's interfaces count as skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from gureum.drivers.flows import messages as flow_messages
from gureum.drivers.flows.counts import (
    FlowSum,
    Place,
    Refusal,
    address_of,
    less,
    plus,
    put,
    receiver_of,
    refused_flow,
    seen_of,
    stopped_flow,
    take_off,
)
from gureum.drivers.flows.messages import BETWEEN, Counts, Entry, EntryReader, Refused, Refuser, Tuple
from gureum.drivers.flows.views import Owners, Stop, at_translator, owners, stops, translated, views
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import DENIED_LOG_GROUP, HomeNames, checked_name, interface_link
from gureum.ports import PortError
from gureum.ports.firewalls import RuleSet
from gureum.ports.flows import NONE, Collected, Flow

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP_DESTROY = 3
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 32 << 20
"""Of a socket: some 30,000 ended flows, which is seconds of what this machine can do. Taken only as it fills."""
_DUMP_BUFFER_BYTES = 1 << 20
_DATAGRAM_BYTES = 1 << 18
_AT_ONCE = 256
"""Datagrams that are read before others have their turn in the loop."""
_TO_DRAIN = 200_000
_REST_S = 0.05
"""Not read after all there was was read. To be woken for each flow that ends would cost as much as reading it."""
_PER_TURN = 1000
"""Flows that are gone through before others have their turn: names and metadata wait for nobody's records."""
LIMIT_FLOWS = 200_000
"""Different flows, and different refused ones, of a network between two collects."""
_DUMP_LIMIT_S = 10.0
RefusalKey = tuple[Tuple, int, int, Refuser, int]
T = TypeVar("T")


class Refusals(Protocol):
    """The firewall's part in it (drivers.nft)."""

    def rules(self, network: str) -> RuleSet | None: ...

    async def tell_refused(self, name: str, watched: bool) -> None: ...


class NetlinkFlows:
    """The flows of one home's networks."""

    def __init__(self, home_id: str, run_dir: Path, refusals: Refusals) -> None:
        self._names = HomeNames(home_id, run_dir)
        self._refusals = refusals
        self._networks: dict[str, _Network] = {}
        self._pending: list[Flow] = []
        self._skipped: set[str] = set()
        self._lock = asyncio.Lock()

    async def watch(self, network: str, interfaces: frozenset[str], translators: Mapping[str, str] = NONE) -> None:
        path = self._names.network(checked_name(network))
        async with self._lock:
            known = self._networks.get(network)
            if known is not None:
                await self._gather(known)
            if not interfaces:
                await self._leave(network)
                return
            if known is None:
                known = self._networks[network] = _Network(network, path)
            known.interfaces = interfaces
            known.translators = self._translators(known, translators)
            await self._refusals.tell_refused(network, True)
            await self._open(known)
            for translator in known.translators.values():
                await self._open(translator)

    async def collect(self) -> Collected:
        async with self._lock:
            for network in list(self._networks.values()):
                await self._gather(network)
            found = Collected(tuple(self._pending), frozenset(self._skipped))
            self._pending, self._skipped = [], set()
            return found

    async def close(self) -> None:
        async with self._lock:
            for network in self._networks.values():
                network.close()
            self._networks.clear()

    async def _leave(self, network: str) -> None:
        known = self._networks.pop(network, None)
        if known is not None:
            known.close()
            # The network may be gone, and its rules with it.
            with contextlib.suppress(PortError):
                await self._refusals.tell_refused(network, False)

    def _translators(self, network: _Network, wanted: Mapping[str, str]) -> dict[str, _Translator]:
        kept = {name: one for name, one in network.translators.items() if wanted.get(name) == one.name}
        for name, one in network.translators.items():
            if name not in kept:
                one.close()
        made = {
            name: _Translator(sandbox, self._names.sandbox(checked_name(sandbox)), name)
            for name, sandbox in wanted.items()
            if name not in kept
        }
        return kept | made

    async def _open(self, network: _Network) -> None:
        """A network that is not there (any more) is tried again by the next collect."""
        if network.is_open:
            return
        try:
            network.open()
            await network.gather(None)  # what has passed before does not count
        except FileNotFoundError:
            network.close()
        except OSError as error:
            network.close()
            raise PortError(f"flows of network {network.name} cannot be read: {error.strerror}") from error

    async def _gather(self, network: _Network) -> None:
        rules = self._refusals.rules(network.name)
        owned = owners(rules) if rules is not None else None
        for one in (network, *network.translators.values()):
            await self._gather_from(one, owned)

    async def _gather_from(self, network: _Network, owned: Owners | None) -> None:
        try:
            flows, whole = await network.gather(owned) if owned is not None else ((), True)
        except OSError:
            flows, whole = (), False
            network.close()
        self._pending += flows
        if not whole:
            self._skipped |= network.interfaces
        if network.is_stale:
            network.close()
        await self._open(network)


class _Network:
    """One network's sockets, and what they have told. `_last`: counts of live flows at the last dump."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.interfaces: frozenset[str] = frozenset()
        self.translators: dict[str, _Translator] = {}
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
            self._ended, self._refused, self._dump = _opened(), _opened(), _opened()
            self._ended.bind((0, 0))
            self._ended.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_DESTROY)
            _ask_log(self._refused)
        for one, size in (
            (self._ended, _BUFFER_BYTES),
            (self._refused, _BUFFER_BYTES),
            (self._dump, _DUMP_BUFFER_BYTES),
        ):
            one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        for one in (self._ended, self._refused):
            one.setblocking(False)
        self._dump.settimeout(_DUMP_LIMIT_S)
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
                data = one.recv(_DATAGRAM_BYTES)
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
            entries = await asyncio.to_thread(_dumped, self._dump)
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
        accepted: dict[Place, Flow] = {}
        watched = self.interfaces
        for part in batched(sums):
            now = int(time.time())
            for sum_ in part:
                for flow in views(seen_of(sum_, since, now), owned):
                    if flow.interface in watched:
                        put(accepted, flow)
            await asyncio.sleep(0)
        found: list[Flow] = []
        for (tuple_, into, out_of, by, mark), refusal in refusals.items():
            way = stops(tuple_, mark, owned, is_reply=by.endswith("-back")) if by in BETWEEN else ()
            if way:
                found += self._refused_between(way, by, refusal, accepted)
            else:
                found += self._refused_flows(tuple_, into, out_of, by, refusal, accepted, owned)
        return found + [flow for flow in accepted.values() if flow.packets]

    def _refused_flows(
        self,
        tuple_: Tuple,
        into: int,
        out_of: int,
        by: Refuser,
        refusal: Refusal,
        accepted: dict[Place, Flow],
        owned: Owners,
    ) -> Iterator[Flow]:
        sender = self._links.get(into) or owned.interfaces.get(tuple_.source, "")
        receiver = self._links.get(out_of) or receiver_of(tuple_, owned)
        if tuple_.destination in owned.untold or not (out_of or receiver):
            return  # to the router itself
        if by == "unheard":
            for end in (sender, receiver):
                if end in self.interfaces:
                    put(accepted, refused_flow(end, tuple_, refusal, by_sender=end == sender, accepted_there=True))
            return
        known = take_off(accepted, (receiver, tuple_, "ingress"), refusal)
        if by in BETWEEN:
            return  # it was sent, and has not come; whose balancer refused it is not known any more
        by_sender = by == "sender"
        if by_sender:
            take_off(accepted, (sender, tuple_, "egress"), refusal)
        elif not known and sender in self.interfaces:
            put(accepted, refused_flow(sender, tuple_, refusal, accepted_there=True))
        refuser = sender if by_sender else receiver
        if refuser in self.interfaces:
            flow = refused_flow(refuser, tuple_, refusal, by_sender=by_sender)
            yield at_translator(flow, address_of(refuser, owned)) if refuser in self.translators else flow

    def _refused_between(
        self, way: Sequence[Stop], by: Refuser, refusal: Refusal, accepted: dict[Place, Flow]
    ) -> Iterator[Flow]:
        """At the balancer's interface, where its subnet's ACL has refused; what the packet passed before has accepted it."""
        last = 1 if by.startswith("entering") else 2
        known = [take_off(accepted, (one.interface, one.there, one.direction), refusal) for one in way[last:]]
        for one in way[:last] if not any(known) else ():
            if one.interface in self.interfaces:
                put(accepted, stopped_flow(one, refusal, accepted_there=True))
        if way[last].interface in self.interfaces:
            yield stopped_flow(way[last], refusal)


class _Translator(_Network):
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


def _opened() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)


def _ask_log(one: socket.socket) -> None:
    one.bind((0, 0))
    one.settimeout(_DUMP_LIMIT_S)
    one.send(flow_messages.log_request(DENIED_LOG_GROUP))
    for kind, body in flow_messages.messages(one.recv(_DATAGRAM_BYTES)):
        number = flow_messages.error_number(body) if kind == flow_messages.ERROR else 0
        if number:
            raise OSError(number, os.strerror(number))


def _dumped(one: socket.socket) -> list[Entry]:
    """All entries of the namespace that the socket is in."""
    one.send(flow_messages.dump_request())
    return list(_entries(one))


def batched(items: list[T]) -> Iterator[list[T]]:
    """Parts that are gone through in one turn of the loop."""
    for start in range(0, len(items), _PER_TURN):
        yield items[start : start + _PER_TURN]


def _entries(one: socket.socket) -> Iterable[Entry]:
    reader = EntryReader()
    while True:
        for kind, body in flow_messages.messages(one.recv(_DATAGRAM_BYTES)):
            if kind == flow_messages.DONE:
                return
            if kind == flow_messages.ERROR and (number := flow_messages.error_number(body)):
                raise OSError(number, os.strerror(number))
            found = reader.read(body) if kind == flow_messages.CT_NEW else None
            if found is not None:
                yield found
