"""The SSH endpoint of serial consoles against a client that is not ours to write (AsyncSSH's), before a console of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2_instance_connect import serial_keys, serial_sessions
from gureum.aws.ec2_instance_connect.serial_sessions import LIMIT_TEXT, SerialSession
from gureum.aws.errors import AwsError
from gureum.base.ssh_host_keys import host_key
from gureum.engine.wire import read_frame
from gureum.ports import PortError
from gureum.ports.streams import Piece
from gureum.serial_service import SerialService
from tests.sim.test_random_cloud import ACCOUNT, REGION, SCOPE, Cloud

LIMIT_S = 20.0


class Console:
    """A machine's console that repeats what it hears in capitals. Stands in for the agent's link."""

    def __init__(self) -> None:
        self.said = b""
        self.size: tuple[int, int] | None = None
        self.up = True
        self.others: Any = None
        self._more = asyncio.Event()
        self._inputs: list[asyncio.StreamWriter] = []
        self._hearing: list[asyncio.Future[None]] = []

    def say(self, text: bytes) -> None:
        self.said += text
        self._more.set()

    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        if request["op"] == "resize":
            self.size = (request["columns"], request["rows"])
            return {}
        if request["op"] != "pieces":
            return await self.others(request, timeout_s)
        place = request["place"]
        start = len(self.said) if place == "end" else int(place or 0)
        if start == len(self.said) and request["wait_s"]:
            self._more.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._more.wait(), request["wait_s"])
        data = self.said[start:]
        pieces = (Piece(0, "stdout", False, data),) if data else ()
        return {"pieces": pieces, "place": str(start + len(data))}

    async def open(self, request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        assert request["op"] == "feed"
        if not self.up:
            raise PortError("container takes no input now")
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        self._inputs.append(writer)

        async def hear() -> None:
            while (found := await read_frame(reader)) is not None:
                self.say(found[1].upper())
            writer.close()

        self._hearing.append(asyncio.ensure_future(hear()))
        return {"ok": True}, await asyncio.open_connection(sock=ours)

    def stop(self) -> None:
        self.up = False
        for writer in self._inputs:
            writer.close()
        self._inputs.clear()


class Scene:
    """A simulated cloud with an instance, its console, and the endpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud = Cloud(folder)
        self.console = Console()
        self.key = asyncssh.generate_private_key("ssh-ed25519")

    async def start(self) -> None:
        await self.cloud.start()
        image = (await self.cloud.ask("DescribeImages"))["Images"][0]["ImageId"]
        made = await self.cloud.ask("RunInstances", ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
        self.instance = made["Instances"][0]["InstanceId"]
        await self.until(lambda: self.state == "running")
        self.link: Any = self.cloud.world.link
        self.console.others = self.link.ask
        self.link.ask, self.link.open = self.console.ask, self.console.open
        self.cloud.services.load("ec2-instance-connect")
        self.service = SerialService(self.cloud.world, self.cloud.services, self.folder / "keys")
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        self.service.listen(sock)
        self.service.start()
        await self.until(lambda: self.service.fingerprint)

    async def stop(self) -> None:
        await self.service.close()
        del self.link.ask, self.link.open
        await self.cloud.stop()

    @property
    def state(self) -> str:
        found = self.cloud.world.client.get(Instance, SCOPE, self.instance)
        return found.status.state if found is not None else ""

    @property
    def sessions(self) -> list[SerialSession]:
        return self.cloud.world.client.all(SerialSession, SCOPE)

    async def send_key(self, *, later_s: float = 0.0, **changed: Any) -> dict[str, Any]:
        """As the gateway calls the operation."""
        world = self.cloud.world
        public = self.key.export_public_key("openssh").decode()
        call = Call(
            service="ec2-instance-connect", operation="SendSerialConsoleSSHPublicKey", account=ACCOUNT, region=REGION, access_key="",
            request_id="r-1", params={"InstanceId": self.instance, "SSHPublicKey": public, **changed}, client=world.client,
            settings=world.settings, events=world.events, tracer=world.tracer, metrics=world.metrics, logs=world.logs, agent=world.link,
            sealer=world.sealer,
        )  # fmt: skip
        return await serial_keys.send_serial_console_ssh_public_key(call)

    @contextlib.asynccontextmanager
    async def connected(self, user: str = "", **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        known = (self.folder / "keys/ssh_host_ed25519_key.pub").read_text()
        hosts = asyncssh.import_known_hosts(f"[127.0.0.1]:{self.port} {known}")
        defaults = {"username": user or f"{self.instance}.port0", "client_keys": [self.key], "known_hosts": hosts}
        connecting = asyncssh.connect("127.0.0.1", self.port, config=None, agent_path=None, **defaults | options)
        async with asyncio.timeout(LIMIT_S), connecting as connection:
            yield connection

    async def shell(self, connection: asyncssh.SSHClientConnection) -> asyncssh.SSHClientProcess[bytes]:
        made: Any = await connection.create_process(term_type="xterm", term_size=(100, 40), encoding=None)
        await self.until(lambda: self.sessions)
        return made

    async def until(self, look: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not look():
                await asyncio.sleep(0.005)


def play(folder: Path, act: Callable[[Scene], Coroutine[Any, Any, None]], *, enabled: bool = True) -> None:
    async def run() -> None:
        scene = Scene(folder)
        await scene.start()
        try:
            if enabled:
                await scene.cloud.ask("EnableSerialConsoleAccess")
            await act(scene)
            assert scene.cloud.world.loop.faults == 0
        finally:
            await scene.stop()

    asyncio.run(run())


def test_a_sent_key_gives_the_console(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        scene.console.say(b"of before\n")
        assert await scene.send_key() == {"RequestId": "r-1", "Success": True}
        async with scene.connected() as connection:
            shell = await scene.shell(connection)
            shell.stdin.write(b"hello\n")
            assert await shell.stdout.readuntil(b"\n") == b"HELLO\n"
            assert scene.console.size == (100, 40)
            shell.change_terminal_size(80, 25)
            await scene.until(lambda: scene.console.size == (80, 25))
            # What is typed while the machine is down goes nowhere, and the session goes on.
            scene.console.stop()
            shell.stdin.write(b"lost\n")
            await asyncio.sleep(0.05)
            scene.console.up = True
            shell.stdin.write(b"again\n")
            assert await shell.stdout.readuntil(b"\n") == b"AGAIN\n"
        await scene.until(lambda: not scene.sessions)

    play(tmp_path, act)


def test_no_more_comes_than_a_slow_machine_takes(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        async with scene.connected() as connection:
            shell = await scene.shell(connection)
            text = b"x" * 1_000_000
            shell.stdin.write(text)
            assert await shell.stdout.readexactly(len(text)) == text.upper()

    play(tmp_path, act)


def test_only_the_key_that_was_sent_and_only_for_its_instance(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        other = asyncssh.generate_private_key("ssh-ed25519")
        for options in (
            {"client_keys": [other]},
            {"user": "i-0123456789abcdef0.port0"},
            {"user": f"{scene.instance}.port1"},
            {"user": scene.instance},
            {"client_keys": None, "password": "secret"},
        ):
            with pytest.raises(asyncssh.PermissionDenied):
                async with scene.connected(**options):
                    pass
        assert not scene.sessions

    play(tmp_path, act)


def test_a_key_is_good_for_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        now = scene.cloud.world.clock.now()
        monkeypatch.setattr(scene.cloud.world.clock, "now", lambda: now + 61)
        with pytest.raises(asyncssh.PermissionDenied):
            async with scene.connected():
                pass
        await scene.send_key()
        assert len(scene.cloud.world.client.all(serial_keys.SerialKey, SCOPE)) == 1, "one that is over is not kept"
        async with scene.connected():
            pass

    play(tmp_path, act)


def test_a_session_is_the_only_one_of_its_instance(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        async with scene.connected() as first, scene.connected() as second:
            shell = await scene.shell(first)
            refused: Any = await second.create_process(encoding=None)
            assert LIMIT_TEXT.encode() in await refused.stderr.read()
            assert (await refused.wait()).exit_status == 1
            with pytest.raises(asyncssh.ChannelOpenError):
                await first.create_process()
            with pytest.raises(AwsError, match="SerialConsoleSessionLimitExceeded"):
                await scene.send_key()
            shell.stdin.write(b"on\n")
            assert await shell.stdout.readuntil(b"\n") == b"ON\n"
        await scene.until(lambda: not scene.sessions)
        await scene.send_key()

    play(tmp_path, act)


def test_nothing_but_a_console_is_to_be_had(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        for ask in (lambda one: one.run("id"), lambda one: one.start_sftp_client()):
            async with scene.connected() as connection:
                with pytest.raises(asyncssh.ChannelOpenError):
                    await ask(connection)
        async with scene.connected() as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", scene.port)
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 9)
        assert not scene.sessions

    play(tmp_path, act)


def test_taking_access_away_cuts_sessions_and_keys(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        async with scene.connected() as connection:
            shell = await scene.shell(connection)
            await scene.cloud.ask("DisableSerialConsoleAccess")
            assert b"disabled" in await shell.stderr.read()
        with pytest.raises(asyncssh.PermissionDenied):
            async with scene.connected():
                pass
        with pytest.raises(AwsError, match="SerialConsoleAccessDisabled"):
            await scene.send_key()

    play(tmp_path, act)


def test_a_session_ends_with_its_instance_and_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        monkeypatch.setattr(serial_sessions, "SESSION_S", 0.0)
        async with scene.connected() as connection:
            shell: Any = await connection.create_process(encoding=None)
            assert b"an hour" in await shell.stderr.read()
        monkeypatch.undo()
        async with scene.connected() as connection:
            shell = await scene.shell(connection)
            await scene.cloud.ask("TerminateInstances", InstanceIds=[scene.instance])
            assert b"gone" in await shell.stderr.read()

    play(tmp_path, act)


def test_what_is_refused_before_a_key_is_taken(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        with pytest.raises(AwsError, match="SerialConsoleAccessDisabled"):
            await scene.send_key()
        await scene.cloud.ask("EnableSerialConsoleAccess")
        with pytest.raises(AwsError, match="EC2InstanceNotFound"):
            await scene.send_key(InstanceId="i-0123456789abcdef0")
        with pytest.raises(AwsError, match="InvalidArgs"):
            await scene.send_key(SSHPublicKey="ssh-ed25519 nonsense")
        await scene.cloud.ask("StopInstances", InstanceIds=[scene.instance])
        await scene.until(lambda: scene.state == "stopped")
        with pytest.raises(AwsError, match="EC2InstanceStateInvalid"):
            await scene.send_key()
        await scene.cloud.ask("ModifyInstanceAttribute", InstanceId=scene.instance, InstanceType={"Value": "t2.micro"})
        await scene.cloud.ask("StartInstances", InstanceIds=[scene.instance])
        await scene.until(lambda: scene.state == "running")
        with pytest.raises(AwsError, match="EC2InstanceTypeInvalid"):
            await scene.send_key()
        assert scene.cloud.world.client.all(serial_keys.SerialKey, SCOPE) == []

    play(tmp_path, act, enabled=False)


def test_a_session_of_a_daemon_that_died_holds_nobody_up(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.send_key()
        async with scene.connected() as connection:
            await scene.shell(connection)
            (session,) = scene.sessions
            await scene.service.close()
            await scene.until(lambda: not scene.sessions)
        transaction = scene.cloud.world.client.transaction()
        transaction.create(session)
        await transaction.commit()
        scene.cloud.world._parts.clear()  # another daemon's
        await serial_sessions.forget_sessions(scene.cloud.world)
        assert not scene.sessions

    play(tmp_path, act)


def test_the_host_key_is_kept_for_its_owner(tmp_path: Path) -> None:
    made = host_key(tmp_path / "keys")
    assert made == host_key(tmp_path / "keys")
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert asyncssh.read_private_key(made.path).get_fingerprint() == made.fingerprint
