"""A home of its own for tests of containers and volumes: drivers, a busybox root file system, a pair of namespaces, and a look at
what is left when all is removed. Needs root."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from gureum.drivers.containers import crun
from gureum.drivers.containers.cgroups import ROOT as CGROUPS
from gureum.drivers.containers.crun import CrunContainers
from gureum.drivers.volumes import loop_devices, loop_volumes, mounts
from gureum.drivers.volumes.file_systems import Kind
from gureum.drivers.volumes.loop_volumes import LoopVolumes
from gureum.ports import PortError
from gureum.ports.containers import ContainerSpec, ContainerState
from gureum.ports.volumes import RootSpec, VolumeSpec

UID_BASE = 3_000_000
GIB = 1 << 30
DEADLINE_S = 20.0


class FolderImages:
    """As much of the port Images as volumes need: one image, "busybox", that is a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def layer_paths(self, digest: str) -> tuple[str, ...]:
        if digest != "busybox":
            raise PortError(f"image {digest} is not here")
        return (str(self._folder),)


class Host:
    """`volumes` and `containers` of a home that nobody else has."""

    def __init__(self, work: Path) -> None:
        self.home_id = f"t{secrets.token_hex(2)}"
        self.work = work
        self.run_dir = Path(f"/run/gureum-{self.home_id}")
        self.run_dir.mkdir(mode=0o700)
        self.image = make_image(work / "image")
        self.user, self.net = _pin_namespaces(self.run_dir / "ns")
        self.volumes = self.new_volumes()
        self.containers = self.new_containers()

    def new_volumes(self, kind: Kind | None = None) -> LoopVolumes:
        images: Any = FolderImages(self.image)
        return LoopVolumes(self.home_id, self.run_dir, self.work / "home", images, spares=1, kind=kind)

    def new_containers(self) -> CrunContainers:
        return CrunContainers(self.home_id, self.run_dir, self.work / "home/logs")

    def spec(self, name: str, root: str, *args: str, **options: Any) -> ContainerSpec:
        """A machine in a user namespace, unless `options` say otherwise."""
        defaults = {"machine": True, "sandbox_user": str(self.user), "uid_base": UID_BASE, "sandbox_net": str(self.net)}
        return ContainerSpec(name=name, root=root, args=args, **{**defaults, **options})

    async def root(self, name: str, size_bytes: int = GIB, uid_base: int = UID_BASE) -> str:
        await self.volumes.ensure_volume(VolumeSpec(f"vol-{name}", size_bytes))
        return await self.volumes.ensure_root(RootSpec(name, "busybox", f"vol-{name}", uid_base))

    async def start(self, name: str, script: str, **options: Any) -> ContainerState:
        root = await self.root(name, uid_base=options.get("uid_base", UID_BASE))
        return await self.containers.start(self.spec(name, root, "sh", "-c", script, **options))

    async def sh(self, name: str, script: str, stdin: bytes = b"") -> tuple[int, str]:
        """Exit code and both outputs of a script run inside."""
        result = await self.containers.exec(name, ("sh", "-c", script), stdin=stdin)
        return result.exit_code, (result.stdout + result.stderr).decode(errors="replace")

    async def console_says(self, name: str, text: str) -> str:
        """Waits until it has printed `text`; the log gives no sign of its own."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in (output := (await self.containers.console(name)).decode(errors="replace")):
            assert time.monotonic() < deadline, f"{text!r} is not in {output!r}"
            await asyncio.sleep(0.005)
        return output

    async def tear_down(self) -> None:
        for part in (self.containers, self.volumes):
            await part.close()
        await crun.clean(self.home_id, self.run_dir)
        await loop_volumes.clean(self.home_id, self.run_dir)
        for path in (self.user, self.net):
            mounts.unmount(path)
        shutil.rmtree(self.run_dir)

    def remains(self) -> list[str]:
        """Everything of this home that the machine still has."""
        found = [entry.target for entry in mounts.mount_table() if self.home_id in entry.target]
        found += [path for path in loop_devices.attached() if str(self.work) in path]
        found += [str(path) for path in CGROUPS.glob(f"*/gureum-{self.home_id}*")]
        found += [" ".join(line) for line in _processes() if any(self.home_id in word for word in line)]
        return found


def host_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a coroutine test with a Host and sees to it that nothing of it remains."""

    # No functools.wraps: pytest would ask for the wrapped function's arguments.
    def run(tmp_path: Path) -> None:
        async def whole() -> None:
            async with new_host(tmp_path) as host:
                await asyncio.wait_for(test(host), 60)

        uvloop.run(whole())

    functools.update_wrapper(run, test)
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


@contextlib.asynccontextmanager
async def new_host(work: Path) -> AsyncIterator[Host]:
    host = Host(work)
    try:
        yield host
    finally:
        await host.tear_down()
    deadline = time.monotonic() + DEADLINE_S
    while host.remains() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)  # a loop device goes a moment after its mount
    assert host.remains() == []


def make_image(folder: Path) -> Path:
    """A root file system that is busybox and little else."""
    for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "home"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o755)
    folder.chmod(0o755)
    (folder / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    subprocess.run(["chroot", str(folder), "/bin/busybox", "--install", "-s", "/bin"], check=True)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return folder


def _pin_namespaces(folder: Path) -> tuple[Path, Path]:
    """A user namespace and a network that it owns, both pinned as a sandbox's are."""
    folder.mkdir(mode=0o700)
    user, net = folder / "user", folder / "net"
    with subprocess.Popen(
        ["unshare", "--user", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b".")
        holder.stdout.read(1)
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text(f"0 {UID_BASE} 65536")
        for kind, path in (("user", user), ("net", net)):
            path.touch()
            mounts.mount(f"/proc/{holder.pid}/ns/{kind}", path, "", mounts.MS_BIND)
        holder.stdin.close()
    return user, net


def _processes() -> list[list[str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = [word.decode(errors="replace") for word in path.read_bytes().split(b"\0")]
            if int(path.parent.name) != os.getpid():
                found.append(words)
    return found
