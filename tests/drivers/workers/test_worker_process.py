"""Workers: answers in order, refusals, and what happens when one dies, hangs or loses its parent."""

from __future__ import annotations

import asyncio
import functools
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gureum.drivers.workers.worker_loop import Request, frame
from gureum.drivers.workers.worker_process import Worker, WorkerDiedError
from gureum.ports import PortError

PROGRAM = """
import os, sys, time
import msgspec
from gureum.drivers.workers.worker_loop import serve
from gureum.ports import PortError

decode = msgspec.msgpack.decode

def refuse(data):
    raise PortError("no", retry=False)

def missing(data):
    open("/nonexistent/file")

def note(data):
    time.sleep(0.05)
    with open(decode(data), "a") as file:
        file.write("x")

serve({
    "echo": decode,
    "pid": lambda data: os.getpid(),
    "refuse": refuse,
    "missing": missing,
    "die": lambda data: os._exit(3),
    "hang": lambda data: time.sleep(600),
    "note": note,
})
"""


def with_worker(test: Callable[[Worker], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def main() -> None:
            worker = Worker("echoing_worker", timeout_s=20)
            # The worker's module path is the package's; the test's program is added to it.
            worker._command = [sys.executable, str(tmp_path / "echoing_worker.py")]
            try:
                await test(worker)
            finally:
                await worker.close()

        (tmp_path / "echoing_worker.py").write_text(PROGRAM)
        asyncio.run(asyncio.wait_for(main(), timeout=60))

    del run.__wrapped__
    return run


@with_worker
async def test_answers_come_to_their_askers(worker: Worker) -> None:
    assert await asyncio.gather(*(worker.call("echo", n, int) for n in range(600))) == list(range(600))


@with_worker
async def test_refusals_are_port_errors(worker: Worker) -> None:
    with pytest.raises(PortError, match="no") as refused:
        await worker.call("refuse", None, type(None))
    assert not refused.value.retry
    with pytest.raises(PortError, match="No such file"):
        await worker.call("missing", None, type(None))
    assert await worker.call("echo", "still here", str) == "still here"


@with_worker
async def test_death_fails_what_it_owed_and_the_next_call_starts_another(worker: Worker) -> None:
    first = await worker.call("pid", None, int)
    answers = await asyncio.gather(
        worker.call("die", None, type(None)), worker.call("echo", 1, int), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [WorkerDiedError, WorkerDiedError]
    assert await worker.call("pid", None, int) != first


@with_worker
async def test_hanging_worker_is_killed(worker: Worker) -> None:
    pid = await worker.call("pid", None, int)
    worker._timeout_s = 0.1
    with pytest.raises(WorkerDiedError, match="did not answer"):
        await worker.call("hang", None, type(None))
    worker._timeout_s = 20
    assert await worker.call("pid", None, int) != pid


@with_worker
async def test_given_up_call_does_not_shift_the_answers(worker: Worker) -> None:
    await worker.call("echo", 0, int)
    asking = asyncio.create_task(worker.call("echo", 1, int))
    await asyncio.sleep(0)
    asking.cancel()
    assert await worker.call("echo", 2, int) == 2


def test_queued_requests_are_not_done_after_the_parent_died(tmp_path: Path) -> None:
    """The successor's driver decides then; a stale request would undo what it does."""
    (tmp_path / "echoing_worker.py").write_text(PROGRAM)
    notes = tmp_path / "notes"
    parent = f"""
import asyncio, os, sys
from gureum.drivers.workers.worker_process import Worker

async def main():
    worker = Worker("echoing_worker")
    worker._command = [sys.executable, {str(tmp_path / "echoing_worker.py")!r}]
    print(await worker.call("pid", None, int), flush=True)
    for _ in range(100):
        asyncio.ensure_future(worker.call("note", {str(notes)!r}, type(None)))
    while not os.path.exists({str(notes)!r}):
        await asyncio.sleep(0.01)
    print("noted", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert process.stdout.readline() == "noted\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    descriptor = os.pidfd_open(pid) if os.path.exists(f"/proc/{pid}") else None
    if descriptor is not None:
        wait_for_exit(descriptor)
    assert len(notes.read_text()) < 50


def wait_for_exit(descriptor: int) -> None:
    assert select.select([descriptor], [], [], 20)[0], "the worker did not end"
    os.close(descriptor)


def test_agent_that_dies_with_an_answer_unread_is_no_fault_of_the_worker(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(PROGRAM)
    ours, theirs = socket.socketpair()
    request = msgspec.msgpack.encode(Request("echo", msgspec.Raw(msgspec.msgpack.encode("x"))))
    with subprocess.Popen([sys.executable, tmp_path / "worker.py"], stdin=theirs, stderr=subprocess.PIPE) as worker:
        theirs.close()
        ours.sendall(frame(request))
        assert select.select([ours], [], [], 20)[0]
        ours.close()
        _, errors = worker.communicate(timeout=20)
    assert (worker.returncode, errors) == (0, b"")
