"""The supervisor with stand-ins for agent and daemon: real processes, no root needed."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gureum.base.fd_store import FdStore
from gureum.base.log_files import set_aside
from gureum.base.processes import start_ticks

# Serves its pid on a kept TCP socket. Files in the home steer it: NAME.fails, NAME.leaves (a process without a parent).
STAND_IN = """
import asyncio, json, os, signal, socket, sys
from pathlib import Path
from gureum.base.fd_store import FdStore
from gureum.base.supervised import Supervised

async def main():
    home, name, supervised = Path(os.environ["GUREUM_HOME"]), os.environ["GUREUM_PROCESS"], Supervised()
    if "--teardown" in sys.argv:
        (home / "torn-down").write_text("alone")
        return
    print(name, "starts", flush=True)
    if (home / f"{name}.fails").exists():
        supervised.failed("the disk is full")
        sys.exit(7)
    if (home / f"{name}.leaves").exists():
        os.system(f"sleep 1000 & echo $! > {home}/left")
    store = FdStore.from_environment()
    kept = store.get_all().get("api")
    if kept is None:
        kept = socket.create_server(("127.0.0.1", 0))
        store.put("api", kept)
    (home / f"{name}.port").write_text(str(kept.getsockname()[1]))
    async def answer(reader, writer):
        writer.write(str(os.getpid()).encode())
        writer.close()
    server = await asyncio.start_server(answer, sock=kept)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    if name == "agent":
        async def control(reader, writer):
            await reader.readline()
            (home / "torn-down").write_text("asked")
            writer.write(b'{"ok": true}\\n')
            writer.close()
        path = Path(os.environ["GUREUM_SUPERVISOR"]).with_name("agent.sock")
        path.unlink(missing_ok=True)
        await asyncio.start_unix_server(control, path)
    supervised.ready()
    await asyncio.wait([asyncio.create_task(ended.wait()), asyncio.create_task(supervised.orphaned())], return_when="FIRST_COMPLETED")

asyncio.run(main())
"""


class Stage:
    """A home with stand-ins, and the supervisors that a test starts in it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.run = folder / "home", folder / "run"
        for made in (self.home / "logs", self.run, folder / "stand_in"):
            made.mkdir(parents=True)
        (folder / "stand_in" / "__init__.py").touch()
        for name in ("agent", "daemon", "simulated"):
            (folder / "stand_in" / f"{name}.py").write_text(STAND_IN)
        self.environment = os.environ | {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}
        self.started: list[subprocess.Popen[bytes]] = []

    def up(self, **changed: object) -> dict[str, Any]:
        """Starts a supervisor; returns its last word to the one who started it."""
        options = {
            "home": str(self.home),
            "run": str(self.run),
            "package": "stand_in",
            "simulate": False,
            "foreground": False,
        }
        read, write = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "gureum.supervisor", json.dumps(options | {"log_bytes": 10**6} | changed)],
            env=self.environment | {"GUREUM_READY_FD": str(write)},
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        self.started.append(process)
        os.close(write)
        with open(read) as pipe:
            words = [json.loads(line) for line in pipe]
        return words[-1] if words else {"exit": process.wait(timeout=10)}

    def ask(self, **request: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(30)
            connection.connect(str(self.run / "supervisor.sock"))
            connection.send(json.dumps(request).encode())
            while "progress" in (answer := json.loads(connection.recv(65536) or b"{}")):
                pass
            return dict(answer)

    def pid(self, name: str) -> int:
        return next(one["pid"] for one in self.ask(op="status")["processes"] if one["name"] == name)

    def connect(self, name: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int((self.home / f"{name}.port").read_text())), timeout=10)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=30)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def until(reached: Callable[[], Any], limit_s: float = 20.0) -> Any:
    deadline = time.monotonic() + limit_s
    while not (found := reached()):
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)


def test_up_is_answered_when_both_are_ready_and_down_leaves_no_process(stage: Stage) -> None:
    answer = stage.up()
    assert answer["ok"]
    assert [(one["name"], one["state"]) for one in answer["processes"]] == [("agent", "ready"), ("daemon", "ready")]
    pids = [one["pid"] for one in answer["processes"]]
    assert stage.ask(op="down") == {"ok": True}
    assert stage.started[0].wait(timeout=10) == 0
    assert not any(map(start_ticks, pids))
    assert (stage.home / "torn-down").read_text() == "asked"
    assert not (stage.run / "supervisor.sock").exists()


def test_who_comes_up_while_it_goes_down_is_not_told_that_it_is_up(stage: Stage) -> None:
    daemon = next(one["pid"] for one in stage.up()["processes"] if one["name"] == "daemon")
    os.kill(daemon, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as going:
        going.settimeout(30)
        going.connect(str(stage.run / "supervisor.sock"))
        going.send(b'{"op": "down"}')
        until(lambda: stage.ask(op="status")["phase"] == "going down")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as coming:
            coming.settimeout(30)
            coming.connect(str(stage.run / "supervisor.sock"))
            coming.send(b'{"op": "wait"}')
            stage.ask(op="status")  # it has been heard
            os.kill(daemon, signal.SIGCONT)
            assert json.loads(coming.recv(65536)) == {"error": "gureum is going down: try again when it is down"}
    assert stage.started[0].wait(timeout=30) == 0


def test_killed_child_is_started_again_and_its_socket_keeps_those_who_wait(stage: Stage) -> None:
    stage.up()
    first = stage.pid("daemon")
    os.kill(first, signal.SIGSTOP)  # connections of now are accepted by nobody
    waiting = stage.connect("daemon")
    os.kill(first, signal.SIGKILL)
    later = stage.connect("daemon")
    answered = {int(connection.makefile().read() or 0) for connection in (waiting, later)}
    assert answered == {stage.pid("daemon")}
    assert first not in answered
    assert next(one for one in stage.ask(op="status")["processes"] if one["name"] == "daemon")["restarts"] == 1


def test_processes_whose_parent_has_ended_are_collected(stage: Stage) -> None:
    """Monitors of containers are such. Not every PID 1 collects them: in a container it may be `sleep`, and each would keep its pid."""
    (stage.home / "agent.leaves").touch()
    stage.up()
    left = int((stage.home / "left").read_text())
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{left}/status").read_text().splitlines())
    assert int(status["PPid"]) == stage.started[0].pid
    os.kill(left, signal.SIGKILL)
    until(lambda: not start_ticks(left))


def test_restart_gives_new_processes_and_refuses_no_connection(stage: Stage) -> None:
    stage.up()
    before = stage.pid("agent"), stage.pid("daemon")
    answer = stage.ask(op="restart", processes=["agent", "daemon"])
    assert answer["ok"]
    after = stage.pid("agent"), stage.pid("daemon")
    assert not set(before) & set(after)
    assert stage.connect("daemon").makefile().read() == str(after[1])
    assert not (stage.home / "torn-down").exists()


def test_first_start_that_fails_tells_why_and_leaves_nothing(stage: Stage) -> None:
    (stage.home / "daemon.fails").touch()
    assert stage.up() == {"error": "the daemon did not start: the disk is full"}
    assert stage.started[0].wait(timeout=20) == 1
    assert "daemon starts" in (stage.home / "logs" / "daemon.log").read_text()
    assert (stage.home / "torn-down").exists()


def test_restart_that_fails_tells_why_and_is_tried_again(stage: Stage) -> None:
    stage.up()
    (stage.home / "daemon.fails").touch()
    answer = stage.ask(op="restart", processes=["daemon"])
    assert answer["error"] == "the daemon did not start, it is tried again: the disk is full"
    (stage.home / "daemon.fails").unlink()
    assert stage.ask(op="wait")["ok"]


def test_second_supervisor_of_one_home_steps_back(stage: Stage) -> None:
    stage.up()
    assert stage.up() == {"exit": 3}
    assert stage.ask(op="status")["phase"] == "running"


def test_children_end_when_the_supervisor_is_killed_and_the_next_one_takes_over(stage: Stage) -> None:
    stage.up()
    orphans = [stage.pid("agent"), stage.pid("daemon")]
    stage.started[0].kill()
    stage.started[0].wait()
    assert all(map(gone, orphans))
    assert stage.up()["ok"]


def test_start_that_fails_lets_machines_run_that_a_killed_supervisor_left(stage: Stage) -> None:
    stage.up()
    stage.started[0].kill()
    stage.started[0].wait()
    (stage.home / "daemon.fails").touch()
    for _ in range(2):
        assert "the disk is full" in stage.up()["error"]
        stage.started[-1].wait(timeout=20)
    assert not (stage.home / "torn-down").exists()
    (stage.home / "daemon.fails").unlink()
    assert stage.up()["ok"]


def test_stopped_orphan_is_ended_by_the_next_supervisor(stage: Stage) -> None:
    stage.up()
    orphan = stage.pid("agent")
    os.kill(orphan, signal.SIGSTOP)  # it cannot notice that its supervisor dies
    stage.started[0].kill()
    stage.started[0].wait()
    os.kill(orphan, signal.SIGCONT)
    assert stage.up()["ok"]
    assert gone(orphan)


def test_sigterm_is_down(stage: Stage) -> None:
    stage.up()
    stage.started[0].terminate()
    assert stage.started[0].wait(timeout=20) == 0
    assert (stage.home / "torn-down").exists()


def test_machine_is_torn_down_without_an_agent_to_ask(stage: Stage) -> None:
    stage.up()
    (stage.home / "agent.fails").touch()
    os.kill(stage.pid("agent"), signal.SIGKILL)
    until(lambda: stage.ask(op="status")["processes"][0]["state"] == "waiting")
    assert stage.ask(op="down") == {"ok": True}
    assert (stage.home / "torn-down").read_text() == "alone"


def test_simulation_has_only_the_daemon(stage: Stage) -> None:
    assert [one["name"] for one in stage.up(simulate=True)["processes"]] == ["daemon"]
    assert stage.ask(op="down") == {"ok": True}
    assert not (stage.home / "torn-down").exists()


def test_kept_sockets_are_each_owners_own_and_can_be_forgotten(stage: Stage) -> None:
    stage.up()
    path = str(stage.run / "supervisor.sock")
    with (
        socket.create_server(("127.0.0.1", 0)) as served,
        FdStore(path, "test") as store,
        FdStore(path, "other") as other,
    ):
        store.put("one", served)
        store.put("two", served)
        store.put("two", served)
        found = store.get_all()
        assert sorted(found) == ["one", "two"]
        assert found["one"].getsockname() == served.getsockname()
        assert other.get_all() == {}
        store.remove("one")
        store.remove("one")
        assert sorted(store.get_all()) == ["two"]
        for kept in found.values():
            kept.close()


def test_nonsense_is_answered_with_an_error_and_harms_nobody(stage: Stage) -> None:
    stage.up()
    assert "error" in stage.ask(op="explode")
    assert "error" in stage.ask(no="op")
    assert "error" in stage.ask(op="put", owner="x", name="y")
    assert stage.ask(op="status")["phase"] == "running"


def test_log_is_set_aside_when_it_is_too_long(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    with open(log, "ab") as writer:
        writer.write(b"old\n")
        writer.flush()
        set_aside(str(log))
        writer.write(b"new\n")
    assert (tmp_path / "daemon.log.1").read_bytes() == b"old\n"
    assert log.read_bytes() == b"new\n"
