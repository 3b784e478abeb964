"""Files of an application's root for whoever asks over the agent's socket; that of a stopped one is mounted for the time of the question."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gureum.core.machine import Machine
from gureum.core.specs import Shown
from gureum.ports import PortError
from gureum.ports.root_files import RootFiles
from gureum.ports.volumes import RootSpec

_PS = re.compile(r"[-a-zA-Z0-9,=_ ]*")
_PS_S = 10.0


def _files(machine: Machine) -> RootFiles:
    if machine.ports.root_files is None:
        raise PortError("this gureum is simulated: no machine runs", retry=False)
    return machine.ports.root_files


@contextlib.asynccontextmanager
async def _mounted(machine: Machine, name: str, digest: str, shown: tuple[Shown, ...]) -> AsyncIterator[None]:
    if name in await machine.ports.volumes.mounted_roots():
        yield
        return
    await machine.ports.volumes.ensure_root(RootSpec(name, digest, name, sources=tuple(one.source for one in shown)))
    try:
        yield
    finally:
        if f"Sandbox/{name}" not in machine.desired:
            await machine.ports.volumes.release_root(name)


async def root_files(machine: Machine, request: dict[str, Any]) -> Any:
    """`verb`: "look", "read", "write", "changes" or "layer". `shown`: what else than the root is looked at (specs.Shown)."""
    files, name, digest = _files(machine), str(request["name"]), str(request["digest"])
    shown = msgspec.convert(request.get("shown", ()), tuple[Shown, ...])
    view = tuple((one.target, "ro" in one.options) for one in shown)
    async with _mounted(machine, name, digest, shown):
        match request["verb"]:
            case "look":
                return await files.look(name, str(request["path"]), view)
            case "read":
                await files.read(name, str(request["path"]), str(request["file"]), view)
            case "write":
                user = str(request.get("user", ""))
                await files.write(name, str(request["path"]), str(request["file"]), view, user=user)
            case "layer":
                await files.layer(name, str(request["file"]))
            case "changes":
                found = await files.changes(name, await machine.ports.images.layer_paths(digest))
                return {"changes": msgspec.to_builtins(found)}
            case other:
                raise ValueError(f"unknown verb {other!r}")
    return {"ok": True}


def _ps(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ps", *words], capture_output=True, text=True, timeout=_PS_S, check=False)


def processes(pids: list[int], arguments: str) -> dict[str, Any]:
    """What ps(1) tells of these processes of the host, in its own columns. Blocks."""
    if not _PS.fullmatch(arguments):
        raise PortError("ps takes no such arguments", retry=False)
    done = _ps(*arguments.split(), f"-q{','.join(map(str, pids))}")
    if done.returncode != 0:  # some options, f say, do not go together with q
        done = _ps(*arguments.split())
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise PortError(f"ps: {done.stderr.strip()[:200]}", retry=False)
    titles = lines[0].split()
    if "PID" not in titles:
        raise PortError("Couldn't find PID field in ps output", retry=False)
    at, wanted = titles.index("PID"), {str(pid) for pid in pids}
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return {"Titles": titles, "Processes": [row for row in rows if len(row) > at and row[at] in wanted]}
