"""Proxies by HAProxy: fills `ports/proxies.py`.

The running process is brought to a wish the cheapest way: by commands at run time where only servers or further certificates differ; else the
wish is rendered whole (haproxy_config) and written for a reload, in which the new worker takes over the listening sockets and the old one ends with
its last connection. Files are read by nobody but a reload or a start, and each of these writes them first, so that commands need none.

The process outlives us. A new agent reads `state.json`, checks that the process is the one it was, and watches it by a pidfd. Nothing is polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from gureum.base.processes import start_ticks
from gureum.drivers.haproxy import config as haproxy_config
from gureum.drivers.haproxy import control as haproxy_control
from gureum.drivers.haproxy import logs as haproxy_logs
from gureum.drivers.haproxy import maps as haproxy_maps
from gureum.drivers.haproxy import old_workers
from gureum.drivers.haproxy import tallies as haproxy_tallies
from gureum.drivers.haproxy.config import pem_file
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.process import FOLDER, ProxyFolder, State, host, remove_all
from gureum.drivers.haproxy.running import RunningProxy, Shelf, inode
from gureum.drivers.haproxy.slow_start import risen, taken_over
from gureum.drivers.haproxy.text import group_name, server_name
from gureum.drivers.networks import foreign_sources
from gureum.drivers.networks.network_names import checked_name
from gureum.ports import PortError
from gureum.ports.proxies import Certificate, Counters, Group, ProxySpec, Sink, TallySink, everything

log = logging.getLogger("gureum.proxies")
_DELETE_AGAIN_S = 1.0
_OPENED_IN_PASSING = 4
_One = TypeVar("_One")


class Opener(Protocol):
    """What of a `base.sealing.Sealer` is needed here; that one loads cryptography, which an agent without certificates does without."""

    def open(self, sealed: str, context: str) -> str:
        """ValueError when it was not sealed for this context."""

    def derive(self, purpose: str) -> bytes:
        """A key for that purpose, the same each time."""


class HaproxyProxies:
    """`run_dir`: of this home alone, gone after a reboot (tmpfs): private keys lie there. `sealer` opens them. `shelf` keeps what is told while no
    agent is there."""

    def __init__(
        self, home_id: str, run_dir: Path, sealer: Opener, *, program: str = "haproxy", shelf: Shelf | None = None
    ) -> None:
        self._home_id, self._run_dir, self._sealer, self._program = home_id, run_dir, sealer, program
        self._shelf = shelf
        self._running: dict[str, RunningProxy] = {}
        self._wishes: dict[str, ProxySpec] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._sinks: list[tuple[Sink, Callable[[ProxySpec], bool]]] = []
        self._tally_sinks: list[TallySink] = []
        self._died: asyncio.Queue[str] = asyncio.Queue()
        self._deletions: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._adopted = False

    async def ensure(self, spec: ProxySpec) -> None:
        """Calls for one proxy that wait for each other are joined: the last wish is brought about once, for all of them."""
        name = checked_name(spec.name)
        self._wishes[name] = spec
        async with self._locks.setdefault(name, asyncio.Lock()):
            await self._adopt()
            wished = self._wishes.get(name)
            if wished is not None:
                try:
                    await self._bring(wished)
                finally:
                    self._delete_later(name)

    async def hasten(self, name: str, groups: tuple[Group, ...]) -> None:
        known = self._running.get(name)
        if known is not None:
            await known.haste.bring(groups)

    async def finish(self, name: str) -> bool:
        async with self._locks.setdefault(checked_name(name), asyncio.Lock()):
            await self._adopt()
            known = self._running.get(name)
            if known is None or not known.runs:
                return False
            # As with any listener that goes, the worker that has its connections is an old one from now on.
            silent = msgspec.structs.replace(known.state.spec, listeners=(), certificates=())
            self._wishes[name] = silent
            await self._bring(silent)
            return len(await known.workers()) > 1

    async def remove(self, name: str) -> None:
        self._wishes.pop(checked_name(name), None)
        async with self._locks.setdefault(name, asyncio.Lock()):
            await self._adopt()
            if name in self._wishes:
                return
            known = self._running.pop(name, None)
            if known is not None:
                known.let_go()
                known.forget_log()
            await asyncio.to_thread(ProxyFolder(self._home_id, self._run_dir, name).remove)
            if known is not None and known.child is not None:
                known.child.poll()

    async def end_connections(self, name: str, group: str, server: str) -> None:
        known = self._running.get(name)
        if known is None:
            return
        group, server = group_name(group), server_name(server)
        for worker in await known.workers():
            await known.ask(f"shutdown sessions server {group}/{server}", f"@!{worker.pid}")

    async def died(self) -> str:
        await self._adopt()
        while True:
            name = await self._died.get()
            known = self._running.get(name)
            if known is not None and not known.runs:
                return name

    def subscribe(self, sink: Sink, wants: Callable[[ProxySpec], bool] = everything) -> Callable[[], None]:
        return _joined(self._sinks, (sink, wants))

    def tally(self, sink: TallySink) -> Callable[[], None]:
        return _joined(self._tally_sinks, sink)

    def drain(self) -> None:
        for known in tuple(self._running.values()):
            if known.log_reader is not None:
                known.log_reader.drain()

    async def counters(self) -> dict[str, Counters]:
        await self._adopt()
        running = dict(self._running)
        # All at once: who is being reloaded holds up nobody else's.
        counted = await asyncio.gather(*(known.count() for known in running.values()))
        return {name: one for name, one in zip(running, counted, strict=True) if one is not None}

    async def observe(self) -> frozenset[str]:
        await self._adopt()
        return frozenset(self._running)

    async def close(self) -> None:
        for timer in self._deletions.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        for known in self._running.values():
            known.let_go()
        self._running.clear()

    # Bringing a wish about

    async def _bring(self, spec: ProxySpec) -> None:
        known = self._running.get(spec.name)
        if known is not None and known.runs and known.certain and known.state.spec == spec:
            return
        net = Path(spec.sandbox_net)
        if any(group.preserve_client for group in spec.groups):
            await asyncio.to_thread(_open_sources, net, spec.address)
        if known is not None and known.runs and known.state.namespace != inode(net):
            known.let_go()  # its sandbox was made anew: it serves nobody
        if known is not None and known.runs:
            # Servers first, also where more is different: what is left may be a matter of maps.
            servers = msgspec.structs.replace(spec, listeners=known.state.spec.listeners)
            for wish in (spec,) if spec.groups == known.state.spec.groups else (spec, servers):
                if await self._change(known, wish):
                    await self._note(known, wish)
                    break
            if known.certain and known.state.spec == spec:
                return
        files, pems = await asyncio.to_thread(self._render, spec)
        if known is None or not known.runs:
            await self._start(spec, files, pems, known)
            return
        if await self._change_maps(known, spec, files):
            await self._note(known, spec)
        else:
            await self._replace_worker(known, spec, files, pems)
        known.rendered = spec, files

    async def _replace_worker(
        self, known: RunningProxy, spec: ProxySpec, files: dict[str, str], pems: dict[str, str]
    ) -> None:
        if known.certain:
            known.haste.begin(known.state.spec.groups, spec.groups)
        known.certain = False
        try:
            await asyncio.to_thread(known.folder.write, files, pems)
            await known.reload(old_workers.limit_bytes() - await self._old_bytes(known))
        finally:
            groups, steps = await known.haste.end(spec.groups)
        await self._note(known, spec, anew=True)
        if steps:
            known.certain = False
            if await known.take_steps(steps):
                await self._note(known, msgspec.structs.replace(spec, groups=groups))

    async def _old_bytes(self, but: RunningProxy) -> int:
        """What the old workers of all other proxies take."""
        return sum([await one.old_bytes() for one in tuple(self._running.values()) if one is not but and one.runs])

    async def _change(self, known: RunningProxy, spec: ProxySpec) -> bool:
        """At run time; False where that cannot be. The files stay behind until the next reload writes them."""
        old = known.state.spec
        if not known.certain:
            return False
        had = {one.name for one in old.certificates}
        added = [one for one in spec.certificates if one.name not in had]
        # A few are opened in a tenth of a millisecond; to go to a thread and back takes many, where cores are busy.
        few = len(added) <= _OPENED_IN_PASSING
        pems = self._open_keys(added) if few else await asyncio.to_thread(self._open_keys, added)
        steps = haproxy_control.plan(old, spec, pems)
        if steps is None:
            return False
        known.certain = False
        if not await known.take_steps(steps):
            return False
        gone = had - {one.name for one in spec.certificates}
        if gone:
            await asyncio.to_thread(known.folder.forget, [pem_file(name) for name in gone])
        return True

    async def _change_maps(self, known: RunningProxy, spec: ProxySpec, files: dict[str, str]) -> bool:
        """Rules at run time; False where that cannot be."""
        if not known.certain or known.state.spec.certificates != spec.certificates:
            return False
        of, old = known.rendered
        if of != known.state.spec:
            old = await asyncio.to_thread(haproxy_config.render, known.state.spec, self._host(known.state.spec))
        changes = haproxy_maps.plan(old, files)
        if changes is None:
            return False
        known.certain = False
        if not await known.take_steps(changes.before):
            return False
        for name, lines in changes.versions.items():
            (said,) = await haproxy_control.commands(known.control, [f"prepare map {name}"])
            version = said.rpartition(" ")[2]
            if not version.isdigit():
                return False
            adding = [f"add map @{version} {name} <<\n{piece}" for piece in haproxy_maps.pieces(lines)]
            steps = [*adding, f"commit map @{version} {name}"]
            if any(await haproxy_control.commands(known.control, steps)):
                return False
        return await known.take_steps(changes.after)

    def _render(self, spec: ProxySpec) -> tuple[dict[str, str], dict[str, str]]:
        pems = self._open_keys(spec.certificates)
        return haproxy_config.render(spec, self._host(spec)), {pem_file(name): text for name, text in pems.items()}

    def _host(self, spec: ProxySpec) -> Host:
        key = self._sealer.derive(f"cookies of {spec.label}") if haproxy_config.gives_cookies(spec) else b""
        return msgspec.structs.replace(host(), cookie_key=key)

    def _open_keys(self, certificates: Iterable[Certificate]) -> dict[str, str]:
        """Certificates with their keys, by name."""
        pems = {}
        for certificate in certificates:
            try:
                key = self._sealer.open(certificate.sealed_key, certificate.name)
            except ValueError as error:
                raise PortError(f"the key of certificate {certificate.name} cannot be opened", retry=False) from error
            pems[certificate.name] = haproxy_config.pem(certificate, key)
        return pems

    async def _note(self, known: RunningProxy, spec: ProxySpec, *, anew: bool = False) -> None:
        """`anew`: by a worker that knows nothing of what was before it."""
        known.read_as(spec)
        now = time.time()
        rises = risen(known.state.spec, spec, known.state.rises, now)
        rises = taken_over(rises, now) if anew else rises
        known.state = msgspec.structs.replace(known.state, spec=spec, rises=rises)
        known.folder.write_state(known.state)  # a thread would hold the interpreter as long, and come later
        if anew:
            await known.go_on_slowly()
        known.certain = True

    async def _start(
        self, spec: ProxySpec, files: dict[str, str], pems: dict[str, str], before: RunningProxy | None
    ) -> None:
        folder = ProxyFolder(self._home_id, self._run_dir, spec.name)
        known = self._known(folder, State(spec))
        if before is not None:
            now, was = time.time(), before.state
            rises = taken_over(risen(was.spec, spec, was.rises, now), now)
            known.state = State(spec, past=was.past, rises=rises)
        await asyncio.to_thread(folder.kill)
        if before is not None:
            before.let_go()
        await asyncio.to_thread(folder.write, files, pems)
        self._running[spec.name] = known
        known.open_sockets(Path(spec.sandbox_net))
        child = await asyncio.to_thread(folder.start, Path(spec.sandbox_net), self._program)
        known.child = child
        known.state = msgspec.structs.replace(
            known.state, pid=child.pid, ticks=start_ticks(child.pid), namespace=inode(Path(spec.sandbox_net))
        )
        await asyncio.to_thread(folder.write_state, known.state)
        known.watch()
        try:
            await known.ready()
        except PortError:
            await asyncio.to_thread(folder.kill)
            raise
        await known.go_on_slowly()
        known.certain = True
        log.info("proxy started", extra={"proxy": spec.name, "pid": child.pid})

    def _delete_later(self, name: str) -> None:
        """A server that still has connections cannot be deleted; it is out of rotation, so there is no hurry."""
        known = self._running.get(name)
        if known is not None and known.to_delete and name not in self._deletions:
            loop = asyncio.get_running_loop()
            self._deletions[name] = loop.call_later(_DELETE_AGAIN_S, self._spawn_deletion, name)

    def _spawn_deletion(self, name: str) -> None:
        self._deletions.pop(name, None)
        task = asyncio.get_running_loop().create_task(self._delete(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _delete(self, name: str) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            known = self._running.get(name)
            if known is None or not known.runs:
                return
            await known.delete_servers()
            self._delete_later(name)

    # What runs

    def _known(self, folder: ProxyFolder, state: State) -> RunningProxy:
        return RunningProxy(folder, state, self._take, self._died.put_nowait, self._shelf)

    async def _adopt(self) -> None:
        """Looks once at what an earlier agent has left."""
        if self._adopted:
            return
        self._adopted = True
        for path in sorted((self._run_dir / FOLDER).glob("*/")):
            folder = ProxyFolder(self._home_id, self._run_dir, path.name)
            state = folder.read_state()
            if state is None or path.name in self._running:
                continue
            known = self._running[path.name] = self._known(folder, state)
            if folder.alive(state):
                known.open_sockets(Path(state.spec.sandbox_net), adopted=True)
                known.watch()
                known.ramps.start()
            else:
                self._died.put_nowait(path.name)

    def _take(self, known: RunningProxy, lines: list[bytes]) -> None:
        if known.secure:  # requests without TLS are spared the look
            known.tls_errors += sum(map(haproxy_logs.is_tls_failure, lines))
        sinks = [sink for sink, wants in self._sinks if wants(known.state.spec)]
        told = list(haproxy_logs.parsed(lines, known.reading)) if sinks else []
        if self._tally_sinks:
            # A worker of an earlier version tells less, which may be counted though it cannot be parsed.
            whole = len(told) == len(lines)
            counted = haproxy_tallies.tallies_of(told) if whole else haproxy_tallies.tallies(lines, known.reading)
            for tally_sink in tuple(self._tally_sinks):
                tally_sink(counted)
        if told:
            for sink in sinks:
                sink(told)


def _joined(sinks: list[_One], sink: _One) -> Callable[[], None]:
    sinks.append(sink)

    def stop() -> None:
        with contextlib.suppress(ValueError):
            sinks.remove(sink)

    return stop


async def clean(home_id: str, run_dir: Path) -> None:
    """Kills every proxy of the home and removes their files."""
    await asyncio.to_thread(remove_all, home_id, run_dir)


def _open_sources(net: Path, address: str) -> None:
    try:
        foreign_sources.allow(net, address)
    except FileNotFoundError as error:
        raise PortError("the proxy's sandbox is not there yet") from error
