"""One HAProxy that runs: its process, the sockets it speaks to, what it is told. See proxies.py, which decides what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from gureum.base import priority
from gureum.drivers.haproxy import control as haproxy_control
from gureum.drivers.haproxy import counters as haproxy_counters
from gureum.drivers.haproxy import logs as haproxy_logs
from gureum.drivers.haproxy import old_workers
from gureum.drivers.haproxy.config import CONTROL_SOCKET, MASTER_SOCKET
from gureum.drivers.haproxy.haste import Haste
from gureum.drivers.haproxy.log_reader import LogReader
from gureum.drivers.haproxy.process import ProxyFolder, State
from gureum.drivers.haproxy.slow_start import Ramps
from gureum.ports import PortError
from gureum.ports.proxies import Counters, ProxySpec

log = logging.getLogger("gureum.proxies")
READY_TIMEOUT_S = 20.0
_LEAVING_S, _LEAVING_PAUSE_S = 2.0, 0.005
_MOST_DELETIONS = 1000
_MOST_AT_ONCE = 100
_SETTLED_S = 5.0
_MOST_ASKED = 20
"""Old workers, of those that stay: what the others count is not told."""
Take = Callable[["RunningProxy", list[bytes]], None]


class Shelf(Protocol):
    """Keeps sockets while one agent ends and another begins: what is sent to them waits."""

    def take(self, name: str) -> socket.socket | None: ...
    def put(self, name: str, sock: socket.socket) -> None: ...
    def remove(self, name: str) -> None: ...


class RunningProxy:
    """`take(running, lines)`: where its log lines go. `died(name)`: whom its end is told. `shelf`: keeps the socket of its log."""

    def __init__(
        self, folder: ProxyFolder, state: State, take: Take, died: Callable[[str], None], shelf: Shelf | None
    ) -> None:
        self.folder, self.state, self._take, self._died, self._shelf = folder, state, take, died, shelf
        self.child: subprocess.Popen[bytes] | None = None
        self.log_reader: LogReader | None = None
        self.ready_socket: socket.socket | None = None
        self.pidfd = -1
        self.certain = False  # whether the process is known to run `state.spec`
        self.rendered: tuple[ProxySpec | None, dict[str, str]] = None, {}  # the files of the last wish that needed them
        self.secure = False  # whether its lines may tell of TLS
        self.read_as(state.spec)
        self.notices: asyncio.Queue[str] = asyncio.Queue(64)
        self.to_delete: set[str] = set()
        self.tls_errors = 0
        self._old: list[int] | None = None  # workers; None where it has not been asked yet
        # Of old workers, what they had counted when it was added to the past, and what they said last.
        self._behind: dict[int, tuple[Counters, Counters]] = {}
        self._reloads = 0
        self._settled = asyncio.Event()  # no reload is under way
        self._settled.set()
        control = self.control = folder.work / CONTROL_SOCKET
        self.haste = Haste(control)
        self.ramps = Ramps(lambda: self.state.rises, lambda texts: haproxy_control.commands(control, texts))

    def read_as(self, spec: ProxySpec) -> None:
        """Its lines, from now on."""
        self.reading = haproxy_logs.reading(spec)
        # It stays so: a worker of before may have connections to a listener that is gone.
        self.secure = self.secure or any(listener.certificates for listener in spec.listeners)

    async def reload(self, left_bytes: int) -> None:
        """Until a new worker serves. `left_bytes`: how much memory the old ones may take, which end with their last connection."""
        self._settled.clear()
        self._reloads += 1
        try:
            await self._reload(left_bytes)
        finally:
            self._settled.set()

    async def _reload(self, left_bytes: int) -> None:
        had = None
        with contextlib.suppress(PortError):
            had = await self._counted("@1")
        while not self.notices.empty():
            self.notices.get_nowait()
        self.folder.forget_words()
        signal.pidfd_send_signal(self.pidfd, signal.SIGUSR2)
        await self.ready()
        # Not every version says in its notice that it has refused the configuration and kept the old worker: then no worker is new.
        workers = await self.workers()
        if all(worker.reloads for worker in workers):
            raise self._refusal()
        replaced = next((worker.pid for worker in workers if worker.reloads == 1), 0)
        if had is not None:
            self._behind[replaced] = had, had
            past = haproxy_counters.summed(self.state.past, haproxy_counters.past(had), 0)
            self.state = msgspec.structs.replace(self.state, past=past)
        await self._only_new_hear([worker.pid for worker in workers if worker.reloads == 1])
        self._old, too_many = old_workers.divided(workers, left_bytes, old_workers.own_bytes, old_workers.most_bytes())
        for pid in too_many:
            self.folder.end(pid)
        self.to_delete.clear()
        log.info("proxy reloaded", extra={"proxy": self.folder.name})

    async def _only_new_hear(self, replaced: list[int]) -> None:
        """Until who was replaced has left the control socket, where it could hear what is meant for the new one: 3.2 tells it to stop only when the
        new one has said that it is ready. Who is gone, or does not say, has left."""
        with contextlib.suppress(PortError, TimeoutError):
            async with asyncio.timeout(_LEAVING_S):
                for pid in replaced:
                    while True:
                        if "Stopping: 0" not in await self.ask("show info", f"@!{pid}"):
                            break
                        await asyncio.sleep(_LEAVING_PAUSE_S)  # it gives no sign but its own word

    async def old_bytes(self) -> int:
        """What its old workers take: 0 where it does not say."""
        with contextlib.suppress(PortError):
            return sum(map(old_workers.own_bytes, await self._old_pids()))
        return 0

    async def _old_pids(self) -> list[int]:
        """The newest first."""
        if self._old is None:
            by_age = sorted(await self.workers(), key=lambda worker: worker.reloads)
            self._old = [worker.pid for worker in by_age if worker.reloads]
        self._old = self.folder.still(self._old)
        return self._old

    async def go_on_slowly(self) -> None:
        with contextlib.suppress(PortError):
            await self.ramps.set()
        self.ramps.start()

    async def ready(self) -> None:
        """Until the process says that its new worker serves. PortError with its own words where it refuses or ends."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while True:
                    notice = await self.notices.get()
                    if "Reload failed" in notice or notice == "ended":
                        raise self._refusal()
                    if "READY=1" in notice:
                        return
        except TimeoutError as error:
            raise PortError(f"the proxy was not ready within {READY_TIMEOUT_S:.0f} s: {self.folder.words()}") from error

    def _refusal(self) -> PortError:
        """For the load balancer's state. What cannot be read will not be the next time either; an address to listen at may come. What was served
        before still is."""
        words = self.folder.words()
        log.warning("a proxy refuses its configuration", extra={"proxy": self.folder.name, "why": words})
        return PortError(f"the proxy refuses its configuration: {words}", retry="found in configuration" not in words)

    async def take_steps(self, steps: list[haproxy_control.Step]) -> bool:
        """False when one was refused: a reload brings the rest about."""
        async for step, answer in self._answers(steps):
            if _done(answer, step.good):
                continue
            if step.late:
                self.to_delete.add(step.text)
            elif step.again and haproxy_control.ALREADY_THERE.lower() in answer.lower():
                self.to_delete -= {f"del server {step.text.split()[2]}"}
                for text in step.again:
                    await haproxy_control.command(self.control, text)
            else:
                log.info(
                    "a change at run time was refused",
                    extra={"proxy": self.folder.name, "step": step.text.split("\n")[0], "answer": answer},
                )
                return False
        return True

    async def _answers(
        self, steps: list[haproxy_control.Step]
    ) -> AsyncGenerator[tuple[haproxy_control.Step, str], None]:
        """Many over one connection, where none has to be put right before the next: as a server has that is still to be deleted."""
        waiting = {text.split()[2] for text in self.to_delete}
        at_once = 1 if any(step.again and step.text.split()[2] in waiting for step in steps) else _MOST_AT_ONCE
        for first in range(0, len(steps), at_once):
            some = steps[first : first + at_once]
            answers = await haproxy_control.commands(self.control, [step.text for step in some])
            for step, answer in zip(some, answers, strict=True):
                yield step, answer

    @property
    def runs(self) -> bool:
        return self.pidfd >= 0

    async def delete_servers(self) -> None:
        """Those that were not to be deleted yet when they left; some may still not be."""
        for text in sorted(self.to_delete)[:_MOST_DELETIONS]:
            with contextlib.suppress(PortError):
                if _done(await self.ask(text), ("Server deleted", "No such server")):
                    self.to_delete.discard(text)

    async def ask(self, text: str, worker: str = "@1") -> str:
        return await self._ask_master(f"{worker} {text}")

    async def workers(self) -> list[haproxy_control.Worker]:
        """All workers, old ones too."""
        return haproxy_control.workers(await self._ask_master("show proc"))

    async def _ask_master(self, text: str) -> str:
        return await haproxy_control.master_command(self.folder.work / MASTER_SOCKET, text, lambda: self.runs)

    async def count(self) -> Counters | None:
        """What it has counted since it was first made. None where that cannot be said: it does not answer, or its reload takes long, before whose end
        nobody knows what is past already."""
        if not self.runs:
            return self._total(Counters(), [])
        with contextlib.suppress(PortError, TimeoutError):
            async with asyncio.timeout(_SETTLED_S):
                while True:
                    await self._settled.wait()
                    began = self._reloads
                    now, behind = await self._counted("@1"), await self._count_behind()
                    if began == self._reloads:
                        return self._total(now, behind)
        return None

    def _total(self, now: Counters, behind: list[Counters]) -> Counters:
        total = haproxy_counters.summed(self.state.past, now, self.tls_errors)
        for one in behind:
            total = haproxy_counters.summed(total, one, 0)
        return total

    async def _count_behind(self) -> list[Counters]:
        """What old workers have counted since they were replaced, also those that have ended since; their connections are open as others are."""
        there = await self._old_pids()
        for pid in old_workers.too_large(there, old_workers.own_bytes, old_workers.most_bytes()):
            log.warning("an old worker takes too much memory", extra={"proxy": self.folder.name, "pid": pid})
            self.folder.end(pid)
        for pid in there[:_MOST_ASKED]:
            try:
                said = await self._counted(f"@!{pid}")
            except PortError:
                break  # it is busy, or just ends: what it said last is true still
            before, _ = self._behind.get(pid, (said, said))
            self._behind[pid] = before, said
        ended = [pid for pid in self._behind if pid not in there]
        for pid in ended:
            more = haproxy_counters.past(haproxy_counters.since(*self._behind.pop(pid)))
            self.state = msgspec.structs.replace(self.state, past=haproxy_counters.summed(self.state.past, more, 0))
        return [haproxy_counters.since(*self._behind[pid]) for pid in self._behind]

    async def _counted(self, worker: str) -> Counters:
        shown = await self.ask(f"show stat -1 {haproxy_counters.COUNTED} -1", worker)
        if not shown.startswith("#"):
            raise PortError(f"the proxy does not count: {shown[:100]}")
        return haproxy_counters.counted(shown)

    def open_sockets(self, net: Path, *, adopted: bool = False) -> None:
        """`adopted`: it runs already, and where its log comes in may have been kept."""
        try:
            self.ready_socket = self.folder.ready_socket(net)
            log_socket = (self._kept_log() if adopted else None) or self._new_log(net)
        except FileNotFoundError as error:
            raise PortError("the proxy's sandbox is not there yet") from error
        loop = asyncio.get_running_loop()
        self.log_reader = LogReader(loop, log_socket, lambda lines: self._take(self, lines))
        loop.add_reader(self.ready_socket, self._hear)

    def _kept_log(self) -> socket.socket | None:
        return self._shelf.take(self._log_name) if self._shelf is not None else None

    def _new_log(self, net: Path) -> socket.socket:
        self.forget_log()  # what is kept under this name is always what the proxy sends to
        log_socket = self.folder.log_socket(net)
        if self._shelf is not None:
            self._shelf.put(self._log_name, log_socket)
        return log_socket

    def forget_log(self) -> None:
        if self._shelf is not None:
            self._shelf.remove(self._log_name)

    @property
    def _log_name(self) -> str:
        return f"proxy-log/{self.folder.name}"

    def _hear(self) -> None:
        assert self.ready_socket is not None
        with contextlib.suppress(BlockingIOError, asyncio.QueueFull):
            self.notices.put_nowait(self.ready_socket.recv(4096).decode(errors="replace"))

    def watch(self) -> None:
        try:
            self.pidfd = os.pidfd_open(self.state.pid)
        except ProcessLookupError:
            self._died(self.folder.name)
            return
        if self.child is None and not self.folder.alive(self.state):  # the pid is another's by now
            os.close(self.pidfd)
            self.pidfd = -1
            self._died(self.folder.name)
            return
        # The master serves nobody: it loads configurations, beside an old worker that may be as busy as its clients are. What it forks begins at 0.
        priority.runs_soon(self.state.pid)
        asyncio.get_running_loop().add_reader(self.pidfd, self._ended)

    def _ended(self) -> None:
        self._close_pidfd()
        if self.child is not None:
            self.child.poll()
        log.warning("a proxy has ended", extra={"proxy": self.folder.name})
        with contextlib.suppress(asyncio.QueueFull):
            self.notices.put_nowait("ended")
        self._died(self.folder.name)

    def _close_pidfd(self) -> None:
        if self.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1

    def let_go(self) -> None:
        self._close_pidfd()
        self.ramps.close()
        if self.log_reader is not None:
            self.log_reader.close()
        if self.ready_socket is not None:
            asyncio.get_running_loop().remove_reader(self.ready_socket)
            self.ready_socket.close()
        self.log_reader = self.ready_socket = None


def inode(net: Path) -> int:
    try:
        return os.stat(net).st_ino
    except FileNotFoundError:
        return 0


def _done(answer: str, good: tuple[str, ...]) -> bool:
    return any(answer.startswith(start) if start else not answer for start in good)
