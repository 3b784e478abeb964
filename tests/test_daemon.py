"""How the daemon's answers leave, and what it says when it cannot listen."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from gureum.connections import Corked
from gureum.telemetry import wal
from tests.cloud.running import Cloud


class Wire:
    """What a transport was told, in order."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def is_closing(self) -> bool:
        return "close" in self.told

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")


def test_head_and_body_leave_in_one_piece() -> None:
    async def answer() -> list[bytes | str]:
        wire = Wire()
        corked = Corked(wire)
        corked.write(b"head")
        corked.write(b"body")
        assert wire.told == []
        await asyncio.sleep(0)
        corked.write(b"next")
        await asyncio.sleep(0)
        return wire.told

    assert asyncio.run(answer()) == [b"headbody", b"next"]


def test_what_was_written_leaves_before_the_end_and_nothing_after() -> None:
    async def answer() -> list[bytes | str]:
        wire = Wire()
        corked = Corked(wire)
        corked.write(b"last")
        corked.close()
        corked.write(b"late")
        await asyncio.sleep(0)
        return wire.told

    assert asyncio.run(answer()) == [b"last", "close"]


def test_everything_else_is_the_transports() -> None:
    wire = Wire()
    Corked(wire).abort()
    assert wire.told == ["abort"]


def test_a_port_that_another_program_has_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        cloud = Cloud(tmp_path / "home", simulate="true", aws_port=str(port))
        done = cloud.command("up", check=False)
        assert done.returncode != 0
        assert f"another program listens there: 127.0.0.1:{port} (settings bind and aws_port)" in done.stderr
    cloud.command("up")
    cloud.command("down", "--purge")


def test_a_home_of_another_version_is_refused_with_what_cannot_be_read(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "home", simulate="true")
    cloud.command("up")
    cloud.command("down")
    log, _ = wal.open_wal(cloud.home / "telemetry" / "wal-logs", 0)
    log.append([b"\x07as nobody writes it"])
    log.close()
    done = cloud.command("up", check=False)
    assert done.returncode != 0
    assert f"{cloud.home}/telemetry/wal-logs/" in done.stderr
    assert "was written by another version of gureum" in done.stderr
    assert "Traceback" not in done.stderr + (cloud.home / "logs" / "daemon.log").read_text()
    cloud.command("down", "--purge")
