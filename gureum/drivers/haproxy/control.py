"""HAProxy's run-time interface: commands, and which ones bring a change about. The newest worker has a socket of its own; through the master's
an old one can be asked, too, that still has connections (`@!pid`).

HAProxy management guide, "Unix Socket commands" and "Master CLI".
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from gureum.drivers.haproxy.config import crt_list, pem_file, server_base
from gureum.drivers.haproxy.text import group_name, server_name
from gureum.ports import PortError
from gureum.ports.proxies import Group, ProxySpec, Server

TIMEOUT_S = 5.0
_MASTER_PAUSE_S = 0.02
_LONGEST_ANSWER_BYTES = 8 << 20
_PROMPT, _BODY_PROMPT = "\n> ", "+ "
ALREADY_THERE = "Already exists"


async def command(socket_path: Path, text: str) -> str:
    """The answer to one command. PortError when there is nobody to ask."""
    return (await _exchange(socket_path, text)).strip()


async def master_command(socket_path: Path, text: str, runs: Callable[[], bool]) -> str:
    """The answer to one command of the master's, which may be given twice. It starts itself anew to load a configuration, and once more when it has
    (3.0 does so after it has said that it is ready): who asks meanwhile is cut off, and asks again while it `runs`."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer = await _exchange(socket_path, text)
        except PortError as error:
            if not isinstance(error.__cause__, ConnectionError) or not runs() or time.monotonic() > deadline:
                raise
        else:
            if answer or not runs():
                return answer.strip()
            if time.monotonic() > deadline:
                raise PortError("the proxy does not answer: cut off")
        await asyncio.sleep(_MASTER_PAUSE_S)  # it gives no sign when it can be asked


async def _exchange(socket_path: Path, text: str) -> str:
    asked = _asking(socket_path)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _say(asked, text.encode() + b"\n")
            answer = await _everything(asked)
    except (OSError, TimeoutError) as error:
        raise PortError(f"the proxy does not answer: {error or 'timeout'}") from error
    finally:
        asked.close()
    return answer.decode(errors="replace")


def _asking(socket_path: Path) -> socket.socket:
    """Connected at once: a stream of asyncio would be so some turns of the loop later, after all that is due in them."""
    # By way of the folder's descriptor: a socket's path may have 108 bytes, ours has more under a long run folder.
    try:
        folder = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PortError("the proxy has no control socket") from error
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.connect(f"/proc/self/fd/{folder}/{socket_path.name}")
    except OSError as error:  # also where its queue is full
        opened.close()
        raise PortError(f"the proxy does not answer: {error}") from error
    finally:
        os.close(folder)
    return opened


async def _say(asked: socket.socket, data: bytes) -> None:
    """All of it; what goes in at once is said in this turn of the loop."""
    said = asked.send(data)
    if said < len(data):
        await asyncio.get_running_loop().sock_sendall(asked, data[said:])
    asked.shutdown(socket.SHUT_WR)


async def commands(socket_path: Path, texts: list[str]) -> list[str]:
    """The answers to commands of a worker's own socket, all over one connection. A body's lines follow its command and end with an empty one."""
    said = await _exchange(socket_path, "\n".join(("prompt", *texts, "quit")))
    _, *answers = said.split(_PROMPT)
    if len(answers) != len(texts) + 1:
        raise PortError("the proxy has left commands unanswered")
    return [answer.lstrip(_BODY_PROMPT).strip() for answer in answers[:-1]]


async def _everything(asked: socket.socket) -> bytes:
    pieces, size = [], 0
    while piece := await asyncio.get_running_loop().sock_recv(asked, 65536):
        size += len(piece)
        if size > _LONGEST_ANSWER_BYTES:
            raise PortError("the proxy's answer has no end")
        pieces.append(piece)
    return b"".join(pieces)


class Worker(msgspec.Struct, frozen=True):
    """`reloads`: how many it has outlived; 0 of the newest."""

    pid: int
    reloads: int


def workers(shown: str) -> list[Worker]:
    """From the master's `show proc`: pid, type, reloads, uptime, version."""
    rows = (line.split() for line in shown.splitlines())
    return [
        Worker(int(row[0]), int(row[2])) for row in rows if len(row) > 2 and row[1] == "worker" and row[2].isdigit()
    ]


class Step(msgspec.Struct, frozen=True):
    """A command of a change. `good`: how its answer begins when it was done ("" for no answer). `again`: what to do when the thing is there
    already. `late`: may fail while connections are under way, and is then done later."""

    text: str
    good: tuple[str, ...] = ("",)
    again: tuple[str, ...] = ()
    late: bool = False


_OF_LOGS = ("access_logs.", "connection_logs.", "health_check_logs.")
"""Where lines go is nothing to the proxy, which tells of everything anyway."""


def shape(spec: ProxySpec) -> ProxySpec:
    """What of a wish cannot be changed at run time: two wishes of one shape differ in servers and in further certificates only."""
    read = {key: value for key, value in spec.attributes.items() if not key.startswith(_OF_LOGS)}
    return msgspec.structs.replace(
        spec,
        attributes=read,
        groups=tuple(msgspec.structs.replace(group, servers=()) for group in spec.groups),
        listeners=tuple(
            msgspec.structs.replace(listener, certificates=listener.certificates[:1]) for listener in spec.listeners
        ),
        certificates=(),
    )


def plan(old: ProxySpec, new: ProxySpec, pems: dict[str, str]) -> list[Step] | None:
    """The steps from one wish to the other; None when only a reload will do. `pems`: of the new certificates, by name."""
    if shape(old) != shape(new):
        return None
    before = {group.name: group for group in old.groups}
    steps: list[Step] = []
    for group in new.groups:
        change = _servers(before[group.name], group)
        if change is None:
            return None
        steps += change
    return steps + _certificates(old, new, pems)


def _servers(old: Group, new: Group) -> list[Step] | None:
    had, wished = ({one.name: one for one in group.servers} for group in (old, new))
    steps, gone = [], []
    # AWS: a target starts slowly only where another is up that takes the rest.
    slowly = any(one.up for one in old.servers)
    for server in _up_first(new.servers):
        before = had.get(server.name)
        if before is None:
            steps += _added(new, server, slowly=slowly)
            continue
        if (before.address, before.port) != (server.address, server.port):
            return None
        if before.up != server.up:
            steps.append(_state(new.name, server))
        if before.weight != server.weight:
            steps.append(
                Step(f"set server {group_name(new.name)}/{server_name(server.name)} weight {int(server.weight)}")
            )
    for name in had.keys() - wished.keys():
        place = f"{group_name(new.name)}/{server_name(name)}"
        steps.append(Step(f"set server {place} state maint"))
        gone.append(_deleted(place))
    return steps + gone


def _up_first(servers: Iterable[Server]) -> list[Server]:
    """Requests come between two commands: at no moment is a group without those that go and not yet with those that come."""
    return sorted(servers, key=lambda one: not one.up)


def changed(old: Group, new: Group) -> set[str] | None:
    """The servers that came, left, or are up or down by now; None where one has moved, which only a reload brings about."""
    had, wished = ({one.name: one for one in group.servers} for group in (old, new))
    both = had.keys() & wished.keys()
    if any((had[name].address, had[name].port) != (wished[name].address, wished[name].port) for name in both):
        return None
    return {name for name in both if had[name].up != wished[name].up} | (had.keys() ^ wished.keys())


def restated(group: Group, names: set[str], there: set[str], *, leaving: bool) -> list[Step]:
    """The steps after which these servers are as the group has them, whatever was said of them before. `there`: those that are surely known.
    `leaving`: those that are not the group's any more are deleted, too, beside getting nothing new."""
    slowly = any(one.up and one.name not in names for one in group.servers)
    steps: list[Step] = []
    for server in _up_first(group.servers):
        if server.name in names:
            steps += [_state(group.name, server)] if server.name in there else _added(group, server, slowly=slowly)
    for name in sorted(names - {one.name for one in group.servers}):
        place = f"{group_name(group.name)}/{server_name(name)}"
        steps.append(Step(f"set server {place} state maint", ("", "No such server")))
        if leaving:
            steps.append(_deleted(place))
    return steps


def _deleted(place: str) -> Step:
    return Step(f"del server {place}", ("Server deleted", "No such server"), late=True)


def _added(group: Group, server: Server, *, slowly: bool) -> list[Step]:
    place = f"{group_name(group.name)}/{server_name(server.name)}"
    # One that went a moment ago and still has connections is taken again.
    moved = f"set server {place} addr {server.address} port {server.port}"
    return [
        Step(f"add server {place} {server_base(group, server, slowly=slowly)}", ("New server registered",), (moved,)),
        _state(group.name, server),
    ]


def _state(group: str, server: Server) -> Step:
    # Not "drain": a draining server still takes clients that its cookie binds, AWS sends nobody there any more.
    return Step(f"set server {group}/{server_name(server.name)} state {'ready' if server.up else 'maint'}")


def _certificates(old: ProxySpec, new: ProxySpec, pems: dict[str, str]) -> list[Step]:
    had, wished = ({one.name for one in spec.certificates} for spec in (old, new))
    steps = []
    for name in sorted(wished - had):
        steps.append(Step(f"new ssl cert {pem_file(name)}", ("New empty certificate store",)))
        steps.append(
            Step(
                f"set ssl cert {pem_file(name)} <<\n{_one_block(pems[name])}\n",
                ("Transaction created", "Transaction updated"),
            )
        )
        steps.append(Step(f"commit ssl cert {pem_file(name)}", ("Committing",)))
    for before, after in zip(old.listeners, new.listeners, strict=True):
        place = crt_list(after.port)
        more = [name for name in after.certificates if name not in before.certificates]
        less = [name for name in before.certificates if name not in after.certificates]
        steps += [Step(f"add ssl crt-list {place} {pem_file(name)}", ("Inserting certificate",)) for name in more]
        steps += [Step(f"del ssl crt-list {place} {pem_file(name)}", ("Entry",)) for name in less]
    return steps + [Step(f"del ssl cert {pem_file(name)}", ("Certificate",)) for name in sorted(had - wished)]


def _one_block(pem: str) -> str:
    """Without empty lines: one would end the command."""
    return "\n".join(line for line in pem.splitlines() if line.strip())
