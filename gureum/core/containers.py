"""Containers on the machine, with the volumes that are mounted in them.

A container's life here:

    wish running ──► root mounted, started ──► running ──exit 129──► started again (a reboot inside)
                                                  │ other exit
                                                  ▼
                                               exited: told to the owner, which decides (a stopped machine is no longer wished)
    wish stopped, or no longer wished ──► stop signal, SIGKILL after the grace time ──► removed, root unmounted

A machine that reboots again and again as soon as it is up waits longer each time, up to half a minute: a boot costs the host, not the guest.
`boot` counts reboots that were asked for from outside; which boot runs now is kept on disk, so a restarted agent does not reboot twice.
"""

from __future__ import annotations

import asyncio
import re
import signal
from typing import Any

import msgspec

from gureum.core.applications import Applications
from gureum.core.credit_accounts import CreditAccounts
from gureum.core.machine import Machine
from gureum.core.specs import LATE, Container, Disk, Interface, Sandbox, Volume
from gureum.engine.errors import Retry
from gureum.engine.events import Events
from gureum.ports import PortError
from gureum.ports.containers import ContainerSpec, ContainerState, DiskLimit, Mount
from gureum.ports.volumes import AttachmentSpec, RootSpec, attached_folder

EXIT_REBOOT = 128 + signal.SIGHUP
# A boot that ended sooner is one of a loop; so many of them in a row are started at once, as people do reboot twice.
QUICK_BOOT_S = 20.0
FREE_QUICK_BOOTS = 3
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 30.0
# A disk that is to leave a machine which still uses it is tried again so often.
BUSY_PAUSE_S = 1.0
DISKS = "/volumes"
_SIGNAL = re.compile(r"(?:SIG)?([A-Z]+[A-Z0-9]*)([+-]\d{1,2})?|(\d{1,2})")


class ContainerKinds:
    """Reconcile and teardown of Container."""

    def __init__(self, machine: Machine, events: Events) -> None:
        self._machine = machine
        self._states: dict[str, ContainerState] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._pauses: dict[str, _Pause] = {}
        self._disk_limits: dict[str, tuple[DiskLimit, ...]] = {}
        self._applications = Applications(machine, self._states, self._watch)
        self.credits = CreditAccounts(machine, events)

    async def adopt(self) -> None:
        """Takes over what an earlier agent started."""
        for state in await self._machine.ports.containers.observe():
            self._states[state.name] = state
            self._watch(state)
        self._applications.start()

    def close(self) -> None:
        self._applications.close()
        for task in self._watchers.values():
            task.cancel()

    def _look_again(self, *volumes: str) -> None:
        """They have been mounted, or are mounted no more: their file systems may have their size now."""
        for name in volumes:
            if self._is_late(name):
                self._machine.poke(f"Volume/{name}")

    def _is_late(self, volume: str) -> bool:
        status = self._machine.status.get(f"Volume/{volume}")
        return status is not None and bool(status.data.get(LATE))

    async def container(self, id_: str, spec: Container) -> None:
        name = id_.split("/", 1)[1]
        if spec.application is not None:
            await self._applications.reconcile(id_, name, spec)
            return
        if spec.wish == "stopped":
            await self._end(name, spec)
            disks = {disk.volume: "attached" if disk.wish == "attached" else "detached" for disk in spec.disks}
            left = {"credits": self.credits.left(name, spec)} if spec.credits is not None else {}
            self._machine.set_status(id_, "ready", data={"state": "stopped", "disks": disks, **left})
            return
        state = self._states.get(name)
        if state is not None and f"boot/{name}" not in self._machine.kept:
            # The agent's cache was lost, or its death came between start and note: it is the boot that is wished.
            await self._note_boot(id_, name, spec)
        if state is not None and state.state == "running" and self._boot_of(name) < spec.boot:
            if spec.volume:
                self._machine.need(id_, f"Volume/{spec.volume}")  # a new root is there before the old one is left
            await self._stop(name, spec)
            state = self._states.get(name)
        if state is None or self._starts_again(name, state, spec):
            if state is not None and self._boot_of(name) >= spec.boot:
                self._hold_back(name, state)
            state = await self._start(id_, name, spec, again=state is not None)
        disks = await self._disks(id_, name, spec) if state.state == "running" else {}
        if state.state == "running":
            await self.credits.look(name, spec, state)
            await self._limit_disks(name, spec)
        else:
            await self.credits.rest(name, spec, state.finished)
        self._machine.set_status(id_, "ready", data={**_told(state), "disks": disks})

    async def container_gone(self, id_: str, spec: Container) -> None:
        name = id_.split("/", 1)[1]
        if spec.application is not None:
            await self._applications.gone(name, spec)
        else:
            await self._end(name, spec)
            await self.credits.forget(name)

    async def go_down(self, id_: str, spec: Container) -> None:
        """The machine is about to go down: it ends, and what is kept of it stays for the next start."""
        name = id_.split("/", 1)[1]
        if spec.application is not None:
            await self._applications.stop(name, spec)
        else:
            await self._end(name, spec)

    def _starts_again(self, name: str, state: ContainerState, spec: Container) -> bool:
        if state.state == "running":
            return False
        return self._boot_of(name) < spec.boot or (spec.restart_on_reboot and state.exit_code == EXIT_REBOOT)

    def _hold_back(self, name: str, state: ContainerState) -> None:
        """Retry while a machine that reboots in a loop has to wait."""
        now, before = asyncio.get_running_loop().time(), self._pauses.get(name)
        if before is None or before.run != state.run:
            quick = (before.quick if before else 0) + 1 if state.finished - state.started < QUICK_BOOT_S else 0
            before = self._pauses[name] = _Pause(state.run, quick, now + _pause_s(quick))
        if now < before.until:
            raise Retry(f"rebooted {before.quick} times in a row as soon as it was up", before.until - now)

    async def _start(self, id_: str, name: str, spec: Container, *, again: bool) -> ContainerState:
        machine = self._machine
        if machine.held:
            raise Retry(machine.held)
        image = machine.need(id_, f"Image/{spec.image}")
        sandbox = machine.need(id_, f"Sandbox/{spec.sandbox}")
        if spec.volume:
            machine.need(id_, f"Volume/{spec.volume}")
        if again and spec.machine:
            await self._let_grow(name, spec)
        root_spec = RootSpec(name, image.data["digest"], spec.volume, sandbox.data["uid_base"])
        root = await machine.ports.volumes.ensure_root(root_spec)
        await self._disks(id_, name, spec)
        self._look_again(spec.volume, *(disk.volume for disk in spec.disks))
        for interface in spec.interfaces:
            machine.need(id_, f"Interface/{interface}")
        if again and spec.machine:
            await self._renew_network(spec.sandbox)
        await self.credits.start(name, spec, self._states.get(name))
        limited = msgspec.structs.replace(spec, limits=self.credits.limits(name, spec))
        wanted = _container_spec(name, limited, root, sandbox.data, image.data["config"])
        state = await machine.ports.containers.start(wanted)
        self.credits.started(name, spec, state)
        await self._note_boot(id_, name, spec)
        self._states[name] = state
        self._disk_limits.pop(name, None)  # a new control group has none
        self._watch(state)
        return state

    async def _let_grow(self, name: str, spec: Container) -> None:
        """A machine that boots anew uses no disk for a moment: those that grow only when they are mounted next are let go, to be mounted anew."""
        if any(self._is_late(volume) for volume in (spec.volume, *(disk.volume for disk in spec.disks))):
            await self._machine.ports.volumes.release_root(name)

    async def _disks(self, id_: str, name: str, spec: Container) -> dict[str, str]:
        """Brings the volumes beside the root about; says of each how far it is."""
        told: dict[str, str] = {}
        for disk in spec.disks:
            told[disk.volume] = await self._disk(id_, name, disk)
        if "busy" in told.values():
            asyncio.get_running_loop().call_later(BUSY_PAUSE_S, self._machine.poke, id_)
        return told

    async def _disk(self, id_: str, name: str, disk: Disk) -> str:
        volumes = self._machine.ports.volumes
        if disk.wish == "attached":
            self._machine.need(id_, f"Volume/{disk.volume}")
            await volumes.ensure_attachment(AttachmentSpec(disk.volume, name, disk.device))
            return "attached"
        gone = await volumes.release_attachment(disk.volume, force=disk.wish == "forced")
        if gone:
            self._look_again(disk.volume)
        return "detached" if gone else "busy"

    async def _limit_disks(self, name: str, spec: Container) -> None:
        """A running machine reads and writes its volumes as fast as they say. Idempotent; what is as it was costs no write."""
        devices = await self._machine.ports.volumes.devices(name)
        limits = []
        for volume, device in devices.items():
            wish = self._machine.desired.get(f"Volume/{volume}")
            if wish is not None and isinstance(wish.spec, Volume):
                limits.append(DiskLimit(device, wish.spec.iops, wish.spec.bytes_per_s))
        before = self._disk_limits.get(name, ())
        if before == tuple(limits):
            return
        # The number of a device that has gone may come back as another volume's.
        freed = [DiskLimit(one.device) for one in before if one.device not in devices.values()]
        changed = msgspec.structs.replace(self.credits.limits(name, spec), disks=(*freed, *limits))
        await self._machine.ports.containers.update(name, changed)
        self._disk_limits[name] = tuple(limits)

    async def _renew_network(self, sandbox: str) -> None:
        """A machine that boots has the network it was given: what it made of it (addresses, filters, a deleted link) ended with its kernel."""
        machine, networks = self._machine, self._machine.ports.networks
        await networks.remove_sandbox(sandbox)
        for one in machine.of_kind("Sandbox"):
            if isinstance(one.spec, Sandbox) and one.spec.sandbox.name == sandbox:
                await networks.ensure_sandbox(one.spec.sandbox)
        for one in machine.of_kind("Interface"):
            if isinstance(one.spec, Interface) and one.spec.interface.sandbox == sandbox:
                await networks.ensure_interface(one.spec.interface)

    async def _note_boot(self, id_: str, name: str, spec: Container) -> None:
        """What must be known of the run that goes on now: which boot it is, and the signal that stops it cleanly."""
        image = self._machine.need(id_, f"Image/{spec.image}")
        await self._machine.keep(f"boot/{name}", f"{spec.boot} {_stop_signal(spec, image.data['config'])}")

    async def _stop(self, name: str, spec: Container) -> None:
        """The stop signal, and after the grace time SIGKILL; returns when it has ended."""
        state = self._states.get(name)
        if state is None or state.state == "exited":
            return
        containers = self._machine.ports.containers
        await self.credits.free(name, spec)
        await containers.kill(name, self._signal_of(name))
        try:
            self._states[name] = await asyncio.wait_for(containers.exited(name), spec.stop_timeout_s)
        except TimeoutError:
            await containers.kill(name, signal.SIGKILL)
            self._states[name] = await containers.exited(name)

    async def _end(self, name: str, spec: Container) -> None:
        await self._stop(name, spec)
        state = self._states.get(name)
        if state is not None:
            await self.credits.rest(name, spec, state.finished)
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            watcher.cancel()
        await self._machine.ports.containers.remove(name)
        await self._machine.ports.volumes.release_root(name)
        await self._machine.keep(f"boot/{name}", "")
        self._states.pop(name, None)
        self._pauses.pop(name, None)
        self._disk_limits.pop(name, None)

    def _boot_of(self, name: str) -> int:
        return int(self._machine.kept.get(f"boot/{name}", "0").split()[0])

    def _signal_of(self, name: str) -> int:
        kept = self._machine.kept.get(f"boot/{name}", "").split()
        return int(kept[1]) if len(kept) > 1 else int(signal.SIGTERM)

    def _watch(self, state: ContainerState) -> None:
        before = self._watchers.get(state.name)
        if state.state == "running" and (before is None or before.done()):
            self._watchers[state.name] = asyncio.get_running_loop().create_task(self._await_exit(state.name))

    async def _await_exit(self, name: str) -> None:
        try:
            self._states[name] = await self._machine.ports.containers.exited(name)
        except PortError:
            self._states.pop(name, None)
        self._watchers.pop(name, None)
        self._machine.poke(f"Container/{name}")


class _Pause(msgspec.Struct, frozen=True):
    """After the end of `run`: the next may start at `until`, seconds of the event loop's clock; `quick` boots in a row ended soon."""

    run: int
    quick: int
    until: float


def _pause_s(quick: int) -> float:
    more = quick - FREE_QUICK_BOOTS
    return min(FIRST_PAUSE_S * 2 ** min(more - 1, 10), LAST_PAUSE_S) if more > 0 else 0.0


def _stop_signal(spec: Container, config: dict[str, Any]) -> int:
    """The number of the signal that stops it cleanly: as wished, else the image's, else SIGTERM."""
    return spec.stop_signal or _signal_number(config.get("stop_signal") or "") or int(signal.SIGTERM)


def _signal_number(text: str) -> int:
    """Of "SIGTERM", "term", "15" or "SIGRTMIN+3"; 0 for what is none (who made the image may have written anything)."""
    found = _SIGNAL.fullmatch(text.upper())
    if found is None:
        return 0
    name, offset, number = found.groups()
    known = signal.Signals.__members__.get(f"SIG{name}", 0) if name else int(number)
    total = int(known) + int(offset or 0) if known else 0
    return total if 0 < total < signal.NSIG else 0


def _told(state: ContainerState) -> dict[str, object]:
    return {
        "state": state.state,
        "run": state.run,
        "pid": state.pid,
        "exit_code": state.exit_code,
        "started": state.started,
        "finished": state.finished,
        "oom": state.oom,
    }


def _container_spec(
    name: str, spec: Container, root: str, sandbox: dict[str, object], config: dict[str, object]
) -> ContainerSpec:
    image = msgspec.convert(config, ImageConfigView)
    return ContainerSpec(
        name=name,
        root=root,
        # A root file system that names no program boots its init, as a disk image would.
        args=spec.args or (*image.entrypoint, *image.cmd) or (("/sbin/init",) if spec.machine else ()),
        sandbox_net=str(sandbox["net"]),
        sandbox_user=str(sandbox["user"]),
        uid_base=int(str(sandbox["uid_base"])),
        env=(*image.env, *spec.env),
        working_dir=image.working_dir or "/",
        hostname=spec.hostname,
        machine=spec.machine,
        limits=spec.limits,
        mounts=(*spec.mounts, *(_disk_mounts(spec, root) if spec.machine else ())),
    )


def _disk_mounts(spec: Container, root: str) -> list[Mount]:
    """The folder that volumes come into, and each that is there already: crun's mount of a folder brings none that are below it."""
    folder = attached_folder(root)
    present = [disk.device for disk in spec.disks if disk.wish == "attached"]
    below = [Mount(f"{DISKS}/{device}", source=f"{folder}/{device}", follows=True) for device in present]
    return [Mount(DISKS, source=folder, follows=True), *below]


class ImageConfigView(msgspec.Struct, frozen=True):
    """What a start takes from an image's configuration."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = "/"
