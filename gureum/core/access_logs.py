"""Load balancers' logs: what proxies tell of requests and connections, and every look at a target, becomes gzip files each five minutes, where the
load balancer's attributes ask for it.

    <home>/s3-local/<bucket>/<prefix>/AWSLogs/<account>/elasticloadbalancing/<region>/yyyy/mm/dd/<file>.log.gz

The folder stands for S3 until there is one. What is buffered lies in a spool, too (access_log_spool.py), from which the next agent writes what a
killed one could not. As on AWS, logs are best effort: what is buffered is bounded, what cannot be written (a full disk) is dropped and counted, and
no request ever waits for its line.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import msgspec

from gureum.core.access_log_lines import (
    LOGS,
    Kind,
    RequestLines,
    Source,
    connection_line,
    file_name,
    folder,
    health_check_line,
    request_line,
    source,
    tls_line,
)
from gureum.core.access_log_spool import Spool
from gureum.core.health import Made
from gureum.core.machine import Machine
from gureum.core.specs import Interface, Proxy
from gureum.ports.proxies import ProxySpec, Record, Request, record_of

log = logging.getLogger("gureum.agent")
PERIOD_S = 300.0
FILE_BYTES = 4 << 20
"""Of text: a fuller buffer is written before its period ends (AWS: several files for one period, "when the site has high traffic")."""
ALL_BYTES = 32 << 20
LIMIT_CONNECTIONS = 20_000
"""That are remembered, over all load balancers, so that each is logged once."""
LIMIT_LABELS = 64
"""Load balancers of which it is remembered what their lines have in common."""
IDLE_S = 60.0
SECURE = ("https", "h2", "grpcs", "wss")


class File(msgspec.Struct, frozen=True):
    """Which file a line goes to."""

    bucket: str
    prefix: str
    source: Source
    kind: Kind


class Place(msgspec.Struct, frozen=True):
    """Of one listener's records: the files of its requests and connections, if they are wished, and how requests are written."""

    port: int
    access: File | None
    connections: File | None
    lines: RequestLines


class Buffer:
    """Of the lines for one file, which is named with the first of them. `place`: its folder; None where the bucket or the prefix is none."""

    def __init__(self, file: File, end: float) -> None:
        self.place = folder(file.bucket, file.prefix, file.source, end)
        self.name = file_name(file.source, end, secrets.token_hex(4), file.kind)
        self.lines: list[str] = []
        self.size = 0


class AccessLogs:
    """`start` subscribes, and writes what an agent that was killed has left; `close` writes what is buffered, and what still waits at the proxies.
    `root`: the folder of all buckets; `spool`: of what is buffered. `dropped`: lines that were not written."""

    def __init__(self, machine: Machine, root: Path, spool: Path) -> None:
        self.dropped = 0
        self._machine = machine
        self._root = root
        self._spool = Spool(spool)
        self._buffers: dict[File, Buffer] = {}
        self._bytes = 0  # buffered, or on the way to a disk that may be slow
        self._connections: dict[tuple[str, str], float] = {}
        self._labels: dict[str, RequestLines] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None
        self._periods: asyncio.Task[None] | None = None

    def start(self) -> None:
        if left := self._spool.left():
            self._begin(self._write_left(left))
        self._unsubscribe = self._machine.ports.proxies.subscribe(self.take, _is_logged)
        self._periods = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        self._machine.ports.proxies.drain()
        self._unsubscribe()
        if self._periods is not None:
            self._periods.cancel()
            await asyncio.gather(self._periods, return_exceptions=True)
        self._write_all()
        await asyncio.gather(*self._writing)

    def take(self, told: Sequence[Record | Request]) -> None:
        """The proxies' sink."""
        wishes = (one.spec for one in self._machine.of_kind("Proxy"))
        proxies = {spec.proxy.name: spec for spec in wishes if isinstance(spec, Proxy)}
        places: dict[tuple[str, str], Place] = {}
        texts: defaultdict[File, list[str]] = defaultdict(list)
        quick: dict[int, tuple[Callable[[str], None], Callable[[Request], str]]] = {}  # by what requests have in common
        for one in told:
            if isinstance(one, Request) and (ways := quick.get(id(one.like))):
                add, write = ways
                add(write(one))
                continue
            like = one.like if isinstance(one, Request) else one
            spec, key = proxies.get(like.proxy), (like.proxy, like.listener_arn)
            if spec is None:
                continue
            if key not in places:
                places[key] = self._place(spec, like.listener_arn)
            place = places[key]
            if isinstance(one, Request) and place.access and not place.connections:
                add, write = quick[id(like)] = texts[place.access].append, place.lines.line
                add(write(one))
                continue
            for file, line in self._lines(record_of(one), spec, place):
                texts[file].append(line)
        for file, some in texts.items():
            self._add(file, some)

    def take_look(self, made: Made) -> None:
        """The sink of those who look at targets."""
        look = made.look
        for user in self._machine.users(f"TargetGroup/{made.group}"):
            wished = self._machine.desired.get(user)
            if wished is None or not isinstance(wished.spec, Proxy) or wished.spec.sandbox != look.sandbox:
                continue
            proxy = wished.spec.proxy
            file = self._file(wished.spec, proxy.listeners[0].arn, "health") if proxy.listeners else None
            if file is not None:
                arn = next((one.arn for one in proxy.groups if one.name == made.group), "")
                place = (look.address, look.port, arn)
                self._add(file, [health_check_line(look.probe, *place, made.began, made.took_s, made.outcome)])

    def _request_lines(self, label: str) -> RequestLines:
        lines = self._labels.get(label)
        if lines is None:
            if len(self._labels) >= LIMIT_LABELS:
                self._labels.clear()
            lines = self._labels[label] = RequestLines(label)
        return lines

    def _place(self, spec: Proxy, listener_arn: str) -> Place:
        port = next((one.port for one in spec.proxy.listeners if one.arn == listener_arn), 0)
        return Place(
            port,
            self._file(spec, listener_arn, "access"),
            self._file(spec, listener_arn, "connection"),
            self._request_lines(spec.proxy.label),
        )

    def _lines(self, record: Record, spec: Proxy, place: Place) -> list[tuple[File, str]]:
        wished, access = spec.proxy, place.access
        if wished.label.startswith("net/"):
            return [(access, tls_line(record, wished.label, wished.address, place.port))] if access else []
        found = [(access, request_line(record, wished.label))] if access and record.kind != "tls" else []
        if place.connections and (record.kind == "tls" or self._is_new_connection(record, spec)):
            found.append((place.connections, connection_line(record, place.port)))
        return found

    def _is_new_connection(self, record: Record, spec: Proxy) -> bool:
        """A proxy tells of requests; the first from a client's address and port is that of a connection. One that was silent for longer than the
        load balancer lets it idle is another's."""
        if record.kind not in SECURE:
            return False
        key, idle_s = (record.proxy, record.client), spec.proxy.attributes.get("idle_timeout.timeout_seconds", "")
        last = self._connections.pop(key, None)
        if last is None and len(self._connections) >= LIMIT_CONNECTIONS:
            del self._connections[next(iter(self._connections))]
        self._connections[key] = record.time
        return last is None or record.time - last > (float(idle_s) if idle_s.isdigit() else IDLE_S)

    def _file(self, spec: Proxy, listener_arn: str, kind: Kind) -> File | None:
        attributes, key = spec.proxy.attributes, f"{LOGS[kind]}.s3"
        if attributes.get(f"{key}.enabled") != "true":
            return None
        of = source(spec.proxy.label, self._address(spec), listener_arn)
        if of is None:
            return None
        return File(attributes.get(f"{key}.bucket", ""), attributes.get(f"{key}.prefix", ""), of, kind)

    def _address(self, spec: Proxy) -> str:
        """The node's public address, of an internal one its private one."""
        wished = self._machine.desired.get(f"Interface/{spec.interface}")
        if wished is not None and isinstance(wished.spec, Interface):
            for private, public in wished.spec.interface.public:
                if private == spec.proxy.address:
                    return public
        return spec.proxy.address

    def _add(self, file: File, lines: list[str]) -> None:
        """As many of them as there is room for."""
        size = sum(map(len, lines))
        while lines and self._bytes + size > ALL_BYTES:
            size -= len(lines.pop())
            self.dropped += 1
        if not lines:
            return
        self._bytes += size
        buffer = self._buffers.get(file)
        if buffer is None:
            buffer = self._buffers[file] = Buffer(file, self._period_end())
        buffer.lines.extend(lines)
        buffer.size += size
        if buffer.place is not None and not self._machine.held:
            self._spool.append(buffer.place, buffer.name, "".join(lines))
        if buffer.size >= FILE_BYTES:
            self._begin_write(file)

    async def _run(self) -> None:
        clock = self._machine.ports.clock
        while True:
            end = self._period_end()
            await clock.sleep(max(end - clock.now(), 0.0))
            self._write_all()

    def _period_end(self) -> float:
        now = self._machine.ports.clock.now()
        return now - now % PERIOD_S + PERIOD_S

    def _write_all(self) -> None:
        for file in list(self._buffers):
            self._begin_write(file)

    def _begin_write(self, file: File) -> None:
        self._begin(self._write_buffer(self._buffers.pop(file)))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_buffer(self, buffer: Buffer) -> None:
        await self._write(buffer.place, buffer.name, "".join(buffer.lines), len(buffer.lines))
        self._bytes -= buffer.size

    async def _write_left(self, names: list[str]) -> None:
        """One after the other, so that no more than one is in memory."""
        for name in names:
            left = await asyncio.to_thread(self._spool.read, name)
            if left is None:
                self._spool.remove(name)
            else:
                await self._write(left.place, name, left.text, left.text.count("\n"))

    async def _write(self, place: str | None, name: str, text: str, lines: int) -> None:
        why = "no valid bucket or prefix" if place is None else self._machine.held
        if place is not None and not why:
            try:
                await asyncio.to_thread(write_file, self._root, place, name, text)
            except OSError as failed:
                why = failed.strerror or str(failed)
        self._spool.remove(name)
        if why:
            self.dropped += lines
            log.warning("a load balancer's log is dropped", extra={"why": why, "lines": lines})


def _is_logged(spec: ProxySpec) -> bool:
    """Whether somebody wants to know of its requests."""
    return any(spec.attributes.get(f"{LOGS[kind]}.s3.enabled") == "true" for kind in ("access", "connection"))


def write_file(root: Path, place: str, name: str, text: str) -> None:
    """The file is whole or not there; what a failed write left is removed, and what a killed one left is written over."""
    where = root / place
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = where / f".{name}"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(gzip.compress(text.encode(), compresslevel=1))
        draft.rename(where / name)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
