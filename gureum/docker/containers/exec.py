"""docker exec: programs that run inside a container for a client. They end with their connection, unless they were detached."""

from __future__ import annotations

import asyncio
import base64
import secrets
import struct
from typing import Any

import msgspec

from gureum.core.world import World
from gureum.docker import find
from gureum.docker.call import Call, operation, patiently
from gureum.docker.containers.detach_keys import DEFAULT, DetachKeys, bytes_of
from gureum.docker.containers.logs import MULTIPLEXED_STREAM, QUIET_S, RAW_STREAM, multiplexed
from gureum.docker.errors import DockerError, bad_parameter, conflict, not_found, server_error
from gureum.docker.events import Events
from gureum.docker.kinds import Container
from gureum.docker.lowering import core_name
from gureum.engine.wire import frame, hang_up, read_frame
from gureum.ports import PortError

LIMIT_KEPT = 2000


class Exec(msgspec.Struct):
    """`code` None while it has not ended. `size`: rows and columns that its terminal is to have when it starts."""

    id: str
    container: str
    wish: dict[str, Any]
    running: bool = False
    started: bool = False
    code: int | None = None
    writer: Any = None
    size: tuple[int, int] | None = None


class Execs:
    """Those of this process: a program ends with the connection it was started by, and so with us. One per world."""

    def __init__(self, world: World) -> None:
        self.known: dict[str, Exec] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def add(self, made: Exec) -> None:
        self.known[made.id] = made
        over = [one.id for one in self.known.values() if one.code is not None]
        for id_ in over[: max(0, len(self.known) - LIMIT_KEPT)]:
            del self.known[id_]

    def of(self, container_id: str) -> list[str]:
        return [one.id for one in self.known.values() if one.container == container_id and one.running]


def _find(call: Call) -> Exec:
    found = call.world.part(Execs).known.get(call.args["id"])
    if found is None:
        raise not_found(f"No such exec instance: {call.args['id']}")
    return found


@operation("POST", "/containers/{id}/exec")
async def create_exec(call: Call) -> None:
    """Docker: ContainerExec."""
    container = find.container(call.client, call.args["id"])
    wish = await call.json("container.ExecOptions")
    if container.status.state != "running":
        raise conflict(f"container {container.meta.name} is not running")
    if container.spec.paused:
        raise conflict(f"container {container.spec.name} is paused, unpause the container before exec")
    if not wish.get("Cmd"):
        raise bad_parameter("No exec command specified")
    made = Exec(secrets.token_hex(32), container.meta.name, wish)
    call.world.part(Execs).add(made)
    command = " ".join(map(str, wish["Cmd"]))
    call.world.part(Events).container(container, f"exec_create: {command}", execID=made.id)
    await call.send(201, {"Id": made.id})


@operation("POST", "/exec/{id}/start")
async def start_exec(call: Call) -> None:
    """Docker: ExecStart. A stream in both directions, or with Detach none."""
    made = _find(call)
    body = await call.json("container.ExecStartOptions")
    if made.started:
        raise conflict(f"exec instance {made.id} has already run")
    container = find.container(call.client, made.container)
    if container.status.state != "running":
        raise conflict(f"container {container.meta.name} is not running")
    made.started = True
    detach = bool(body.get("Detach"))
    raw = bool(body.get("Tty"))  # Docker: how output comes is said at the start, whatever the program was made with
    kind = MULTIPLEXED_STREAM if not raw and call.version >= (1, 42) else RAW_STREAM
    # As under Docker, the answer has begun before the program.
    client = None if detach else await call.responder.hijack(kind, upgraded=call.request.upgrades)
    try:
        stream = await _open(call, made, container)
    except DockerError as refused:
        if client is None:
            raise
        writer = client[1]  # the client finds the code by asking for it
        text = f"{refused.message}\r\n".encode()
        await call.responder.head_is_read()
        if not writer.is_closing():
            writer.write(text if raw else multiplexed("stdout", text))
        await hang_up(*client, QUIET_S)
        writer.close()
        return
    made.running = True
    command = " ".join(map(str, made.wish["Cmd"]))
    events = call.world.part(Events)
    events.container(container, f"exec_start: {command}", execID=made.id)
    rows, columns = (made.size or body.get("ConsoleSize") or made.wish.get("ConsoleSize") or [0, 0])[:2]
    if rows and columns:
        stream[1].write(frame(b"w", struct.pack(">HH", columns, rows)))
    if client is None:
        task = asyncio.ensure_future(_drain(call.world, made, container, stream))
        call.world.part(Execs).tasks.add(task)
        task.add_done_callback(call.world.part(Execs).tasks.discard)
        await call.responder.send(200)
        return
    await _converse(call, made, container, stream, client, raw=raw)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(call: Call, made: Exec, container: Container) -> Stream:
    """Starts the program. DockerError in the words that docker's command line looks at."""
    wish = made.wish
    if str(wish.get("WorkingDir") or "/")[0] != "/":
        made.code = 126
        raise _refusal("unable to start container process: Cwd must be an absolute path")
    user = str(wish.get("User") or container.spec.config.get("User") or "")
    request = {
        "op": "attach",
        "name": core_name(container.meta.name),
        "args": [str(word) for word in wish["Cmd"]],
        "terminal": bool(wish.get("Tty")),
        "env": [str(entry) for entry in wish.get("Env") or ()],
        "user": {"text": user},
        "folder": str(wish.get("WorkingDir") or ""),
        "privileged": bool(wish.get("Privileged")),
    }
    try:
        _, stream = await patiently(lambda: call.world.link.open(request))
    except PortError as refused:
        made.code = 126
        raise _refusal(refused.why) from refused
    made.writer = stream[1]
    return stream


def _detach_keys(made: Exec) -> bytes:
    """Docker: those that it cannot read are as if none were named."""
    try:
        return bytes_of(str(made.wish.get("DetachKeys") or ""))
    except ValueError:
        return b""


def _refusal(why: str) -> DockerError:
    if why.startswith("unable to find"):
        return server_error(why)
    return bad_parameter(f"OCI runtime exec failed: exec failed: {why}: unknown")


async def _converse(call: Call, made: Exec, container: Container, inside: Stream, client: Stream, *, raw: bool) -> None:
    world = call.world
    detached = asyncio.Event()
    keys = DetachKeys(_detach_keys(made) or bytes_of(DEFAULT), detached) if made.wish.get("Tty") else None

    async def forward() -> None:
        wanted = bool(made.wish.get("AttachStdin"))
        while data := await client[0].read(65536):
            if wanted:
                inside[1].write(frame(b"i", keys(data) if keys else data))
                await inside[1].drain()
        if wanted:
            inside[1].write(frame(b"e", b""))
            await inside[1].drain()

    async def tell() -> None:
        await call.responder.head_is_read()
        await _tell(world, made, container, inside[0], client[1], raw=raw)

    feeding, telling = asyncio.ensure_future(forward()), asyncio.ensure_future(tell())
    leaving = asyncio.ensure_future(detached.wait())
    try:
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
            else:
                world.part(Events).container(container, "exec_detach", execID=made.id)
        finally:
            for task in (feeding, telling, leaving):
                task.cancel()
            await asyncio.gather(feeding, telling, leaving, return_exceptions=True)
            if made.running:
                task = asyncio.ensure_future(_drain(world, made, container, inside))
                world.part(Execs).tasks.add(task)
                task.add_done_callback(world.part(Execs).tasks.discard)
            else:
                inside[1].close()
        await hang_up(*client, QUIET_S)
    finally:
        client[1].close()


async def _tell(
    world: World,
    made: Exec,
    container: Container,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter | None,
    *,
    raw: bool,
) -> None:
    """The program's output to the client, or nowhere; its exit code when it ends. `raw`: without heads that tell the streams apart."""
    code: int | None = None
    held = b""

    async def say(kind: bytes, payload: bytes) -> None:
        if writer is not None and not writer.is_closing():
            writer.write(payload if raw else multiplexed("stderr" if kind == b"r" else "stdout", payload))
            await writer.drain()

    while code is None and (found := await _next(reader)) is not None:
        kind, payload = found
        if kind == b"x":
            code = struct.unpack(">i", payload)[0]
        elif payload.startswith(_COMPLAINTS) and not held:
            held = payload
        else:
            if held:
                await say(b"r", held)
                held = b""
            await say(kind, payload)
    if held and code == _RUNTIME_FAILED:
        code, held = _as_docker(held, made.wish["Cmd"], str(made.wish.get("WorkingDir") or ""))
    if held:
        await say(b"o" if raw else b"r", held)
    made.running, made.code = False, 255 if code is None else code
    world.part(Events).container(container, "exec_die", execID=made.id, exitCode=str(made.code))


async def _next(reader: asyncio.StreamReader) -> tuple[bytes, bytes] | None:
    """None also when the agent was lost with a word under way."""
    try:
        return await read_frame(reader)
    except OSError:
        return None


_RUNTIME_FAILED = 255
_NO_FOLDER = (b"chdir `", b"chdir to `")
_COMPLAINTS = (
    b"executable file `",
    b"exec `",
    b"the path `",
    b"open executable",
    b"cannot find `",
    b"exec failed",
    *_NO_FOLDER,
)
"""As those of crun 1.8 to 1.21 and of runc begin."""


def _as_docker(complaint: bytes, command: list[str], folder: str) -> tuple[int, bytes]:
    """(code, words) for a program that the runtime could not run: what scripts look for. `folder`: where it was to run."""
    folder = folder if complaint.startswith(_NO_FOLDER) else ""
    missing = b"not found" in complaint or b"No such file" in complaint
    name = str(command[0])
    why = (
        "permission denied"
        if not missing
        else "executable file not found in $PATH"
        if "/" not in name and not folder
        else "no such file or directory"
    )
    what = f'chdir to cwd ("{folder}") set in config.json failed' if folder else f'exec: "{name}"'
    text = f"OCI runtime exec failed: exec failed: unable to start container process: {what}: {why}: unknown\r\n"
    return 127 if missing else 126, text.encode()


async def _drain(world: World, made: Exec, container: Container, stream: Stream) -> None:
    """Goes on without a client."""
    try:
        await _tell(world, made, container, stream[0], None, raw=True)
    finally:
        stream[1].close()


@operation("POST", "/exec/{id}/resize")
async def resize_exec(call: Call) -> None:
    made = _find(call)
    rows, columns = call.number("h", 0), call.number("w", 0)
    if not 0 <= rows <= 65535 or not 0 <= columns <= 65535:
        raise bad_parameter("invalid resize height/width")
    made.size = rows, columns
    if made.running and made.writer is not None:
        made.writer.write(frame(b"w", struct.pack(">HH", columns, rows)))
    await call.responder.send(200)


@operation("GET", "/exec/{id}/json")
async def inspect_exec(call: Call) -> None:
    made = _find(call)
    wish = made.wish
    await call.send(
        200,
        {
            "ID": made.id,
            "Running": made.running,
            "ExitCode": made.code,
            "ProcessConfig": {
                "tty": bool(wish.get("Tty")),
                "entrypoint": str(wish["Cmd"][0]),
                "arguments": [str(word) for word in wish["Cmd"][1:]],
                "privileged": bool(wish.get("Privileged")),
                **({"user": wish["User"]} if wish.get("User") else {}),
            },
            "OpenStdin": bool(wish.get("AttachStdin")),
            "OpenStderr": bool(wish.get("AttachStderr")),
            "OpenStdout": bool(wish.get("AttachStdout")),
            "CanRemove": made.code is not None,
            "ContainerID": made.container,
            "DetachKeys": base64.b64encode(_detach_keys(made)).decode(),
            "Pid": 0,
        },
    )
