"""The SSH server of serial consoles: `ssh -p PORT i-0123….port0@127.0.0.1`.

Who comes must have a key that SendSerialConsoleSSHPublicKey was told less than a minute ago, for the instance that the name says, and gets a session
on its console: no commands, no files, no forwarding, no agent. The protocol is AsyncSSH's; it is imported with this module, when the first
connects (serial_service.py).
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from pathlib import Path

import asyncssh

from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2_instance_connect.serial_keys import opened_by
from gureum.aws.ec2_instance_connect.serial_sessions import Console, SerialSessions, SessionRefused
from gureum.core.world import World

log = logging.getLogger("gureum.serial-ssh")
LIMIT_CONNECTIONS = 100
LOGIN_S = 30.0
"""For the way from the connection to the session."""
LEAVE_S = 2.0
"""A client whose session is over leaves by itself, when it has read why."""
WINDOW_BYTES = 65536
"""What a client may send before it was taken."""
KEEPALIVE_S, KEEPALIVES = 30.0, 4
_USER = re.compile(r"(i-[0-9a-f]{8,17})\.port0")
_OPTIONS = {
    "encoding": None,
    "line_editor": False,
    "allow_scp": False,
    "agent_forwarding": False,
    "x11_forwarding": False,
    "password_auth": False,
    "kbdint_auth": False,
    "gss_host": None,
    "compression_algs": ["none"],
    "server_version": "gureum",
    "window": WINDOW_BYTES,
    "login_timeout": LOGIN_S,
    "keepalive_interval": KEEPALIVE_S,
    "keepalive_count_max": KEEPALIVES,
}


class SerialSsh:
    def __init__(self, world: World) -> None:
        self._world = world
        self._open: set[_Connection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def serve(self, sock: socket.socket, host_key: Path) -> None:
        """Takes whoever waits at a socket that listens, and who comes later."""
        logging.getLogger("asyncssh").setLevel(logging.ERROR)  # it tells of every connection, with names and addresses
        self._acceptor = await asyncssh.listen(
            sock=sock, server_factory=self._connect, server_host_keys=[str(host_key)], **_OPTIONS
        )

    async def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
        for one in list(self._open):
            one.cut()
        await asyncio.sleep(0)

    def _connect(self) -> _Connection:
        return _Connection(self._world, self._open)


class _Connection(asyncssh.SSHServer):
    """A client. It may have one session."""

    def __init__(self, world: World, open_ones: set[_Connection]) -> None:
        self._world, self._open = world, open_ones
        self._ssh: asyncssh.SSHServerConnection | None = None
        self._instance: Instance | None = None
        self._session: _Session | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._ssh = conn
        self._open.add(self)
        if len(self._open) > LIMIT_CONNECTIONS:
            conn.abort()
        asyncio.get_running_loop().call_later(LOGIN_S, self._hurry)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)

    def _hurry(self) -> None:
        """A connection without a session is of no use."""
        if self._session is None and self._ssh is not None:
            self._ssh.abort()

    def cut(self) -> None:
        if self._ssh is not None:
            self._ssh.abort()

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        user = _USER.fullmatch(username)
        if user is None:
            return False
        text = " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])
        self._instance = opened_by(self._world, user[1], text)
        return self._instance is not None

    def session_requested(self) -> _Session | bool:
        if self._instance is None or self._session is not None:
            return False
        self._session = _Session(self._world, self._instance)
        return self._session


class _Session(asyncssh.SSHServerSession[bytes]):
    """The channel between a client and the console."""

    def __init__(self, world: World, instance: Instance) -> None:
        self._world = world
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._console = Console(world, instance, self._show, self._resume)
        self._serving: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        self._may_write.set()
        self._console.end("The client has left.")

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: object) -> bool:
        self._tell_size(term_size[0], term_size[1])
        return True

    def shell_requested(self) -> bool:
        return True

    def session_started(self) -> None:
        self._serving = asyncio.ensure_future(self._serve())

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if not self._console.type(data) and self._channel is not None:
            self._channel.pause_reading()

    def eof_received(self) -> bool:
        """Who has nothing more to type may still watch."""
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._tell_size(width, height)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def _tell_size(self, columns: int, rows: int) -> None:
        if 0 < columns <= 65535 and 0 < rows <= 65535:
            self._console.resize(columns, rows)

    def _resume(self) -> None:
        if self._channel is not None:
            self._channel.resume_reading()

    async def _show(self, data: bytes) -> None:
        await self._may_write.wait()
        if self._channel is None:
            raise ConnectionError("the client has left")
        self._channel.write(data)

    async def _serve(self) -> None:
        try:
            why, code = await self._world.part(SerialSessions).serve(self._console), 0
        except SessionRefused as refused:
            why, code = str(refused), 1
        channel = self._channel
        if channel is not None:
            channel.write_stderr(f"\r\n{why}\r\n".encode())
            channel.exit(code)
            asyncio.get_running_loop().call_later(LEAVE_S, channel.get_connection().close)
