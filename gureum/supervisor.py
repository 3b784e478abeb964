"""The supervisor: starts the agent and the daemon, restarts what dies, keeps their sockets meanwhile.

    gureum up ──► supervisor ──► agent     DNS, metadata, the machine      (`python -m gureum.agent`)
                             └─► daemon    APIs, store, controllers        (`python -m gureum.daemon`)

It is one thread around one selector, and imports little: it is the process that must never be in need of anything.
It knows nothing of what its children do; it is told by them that they are `ready` (see base/supervised.py) and asked by
others over `<run>/supervisor.sock` (SOCK_SEQPACKET, a JSON object per datagram):

    {"op": "put", "owner", "name"} + a socket, {"op": "get", "owner"}, {"op": "remove", "owner", "name"}   base/fd_store.py
    {"op": "status"}                          one answer
    {"op": "wait"}                            answers when all are ready
    {"op": "restart", "processes": [...]}     new processes (from the code that is installed now); answers when they are ready
    {"op": "down"}                            stops all and tears the machine down; answers when done
    While one waits, {"progress": "..."} comes; the last word is {"ok": true, ...} or {"error": "..."}.

Invariants
- One supervisor per home: it holds a lock in the run folder for its whole life.
- A child lives no longer than its supervisor: the pipe GUREUM_LIFE_FD ends with it, and the next supervisor ends what still runs.
- SIGTERM to a child means: stop serving, leave the machine as it is. Only `down` tears the machine down, by asking the
  agent (`{"op": "down"}` on `<run>/agent.sock`), or, when there is none to ask, by `python -m gureum.agent --teardown`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from gureum.base.log_files import log, open_log, rotate
from gureum.base.predecessors import end_predecessors, note_children, take_lock

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
# A child that served this long did not die of its start: its back-off begins anew.
STEADY_S = 30.0
# Since the child's last word (progress) before it was ready.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
TEARDOWN_TIMEOUT_S = 60.0
ROTATE_EVERY_S = 30.0
LIMIT_MESSAGE_BYTES = 65536
LIMIT_SOCKETS = 2000
LIMIT_CLIENTS = 200
PR_SET_CHILD_SUBREAPER = 36

BUSY_EXIT = 3
Answer = Callable[[dict[str, Any]], None]


class Process:
    """A child: how to start it, what it is doing. State: "starting", "ready", "waiting" (to start again), "stopped"."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        self.state = "stopped"
        self.since = time.time()
        self.restarts = 0
        self.delay_s = FIRST_DELAY_S
        self.deadline = 0.0
        self.why = ""
        self.pipe = -1
        self.heard = b""
        self.wanted = True

    def become(self, state: str) -> None:
        self.state, self.since = state, time.time()
        log("process", name=self.name, state=state, pid=self.pid, why=self.why)

    def show(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "pid": self.pid,
            "state": self.state,
            "since": self.since,
            "restarts": self.restarts,
            "why": self.why,
        }


class Supervisor:
    """All state of the supervisor. `options`: see `main`."""

    def __init__(self, options: dict[str, Any], lock: int, waiting: list[Answer], *, adopting: bool) -> None:
        self.home: str = options["home"]
        self.run: str = options["run"]
        self.log_bytes: int = options["log_bytes"]
        self.foreground: bool = options["foreground"]
        self.simulate: bool = options["simulate"]
        self.package: str = options["package"]
        self.lock = lock
        self.adopting = adopting
        self.started = time.time()
        self.phase = "starting"
        self.sockets: dict[tuple[str, str], int] = {}
        self.waiting = waiting
        self.next_rotation = time.monotonic() + ROTATE_EVERY_S
        # In a simulation the daemon holds the agent's part too.
        self.processes = [Process("daemon")] if self.simulate else [Process("agent"), Process("daemon")]
        self.selector = selectors.DefaultSelector()
        self.life, self.life_end = os.pipe()
        os.set_inheritable(self.life, True)
        self.listener = self.listen()
        self.asked_to_end = False
        self.watch_signals()

    # Set-up

    def listen(self) -> socket.socket:
        path = f"{self.run}/supervisor.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(64)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        return listener

    def watch_signals(self) -> None:
        """Signals arrive as numbers in a pipe: nothing runs at unexpected moments."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

        def arrived() -> None:
            if not {signal.SIGTERM, signal.SIGINT}.isdisjoint(os.read(read, 1024)):
                self.asked_to_end = True

        self.selector.register(read, selectors.EVENT_READ, arrived)

    # The loop

    def serve(self) -> int:
        """Serves until `down`; returns the exit code."""
        for process in self.processes:
            self.spawn(process)
        while self.phase not in ("down", "failed"):
            self.turn()
            if self.asked_to_end:
                self.down()
        return 1 if self.phase == "failed" else 0

    def turn(self, limit_s: float = 3600.0) -> None:
        """One round: wait for something to happen, let it happen."""
        now = time.monotonic()
        due = [process.deadline for process in self.processes if process.state in ("starting", "waiting")]
        timeout = max(0.0, min([self.next_rotation, *due]) - now)
        for key, _ in self.selector.select(min(timeout, limit_s)):
            # A descriptor may have been closed by one that came before it in this round.
            if self.selector.get_map().get(key.fd) is key:
                key.data()
        self.reap()
        self.look_at_clock()
        self.answer_waiting()

    def look_at_clock(self) -> None:
        now = time.monotonic()
        for process in self.processes:
            if process.state == "waiting" and now >= process.deadline:
                process.restarts += 1
                self.spawn(process)
            elif process.state == "starting" and now >= process.deadline:
                process.why = f"not ready within {START_TIMEOUT_S:.0f} s"
                process.deadline = now + STOP_TIMEOUT_S
                os.kill(process.pid, signal.SIGKILL)
        if now >= self.next_rotation:
            self.next_rotation = now + ROTATE_EVERY_S
            self.rotate_logs()

    # Children

    def spawn(self, process: Process) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_inheritable(write, True)
        module = "simulated" if self.simulate else process.name
        process.pid = self.start([sys.executable, "-P", "-m", f"{self.package}.{module}"], process.name, write)
        os.close(write)
        process.pipe, process.heard, process.why = read, b"", ""
        process.deadline = time.monotonic() + START_TIMEOUT_S
        self.selector.register(read, selectors.EVENT_READ, lambda: self.hear(process))
        process.become("starting")
        note_children(self.run, [one.pid for one in self.processes if one.pid])

    def start(self, command: list[str], name: str, ready: int = -1) -> int:
        """A child in a session of its own, with its log as output. `-P`: no import from the current folder."""
        # Threads share the interpreter's lock anyway; heaps of their own would cost the agent 7 MiB.
        environment = {
            "MALLOC_ARENA_MAX": "1",
            **os.environ,
            "GUREUM_HOME": self.home,
            "GUREUM_LIFE_FD": str(self.life),
            "GUREUM_PROCESS": name,
            "GUREUM_SUPERVISOR": f"{self.run}/supervisor.sock",
        }
        if ready >= 0:
            environment["GUREUM_READY_FD"] = str(ready)
        output = 2 if self.foreground else open_log(f"{self.home}/logs/{name}.log")
        try:
            return os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigdef=[signal.SIGHUP],
            )
        finally:
            if output != 2:
                os.close(output)

    def hear(self, process: Process) -> None:
        """Words of a child on its way to be ready."""
        data = os.read(process.pipe, 65536)
        if not data:
            self.hang_up(process)
            return
        process.heard += data
        *lines, process.heard = process.heard.split(b"\n")
        for line in lines:
            word, _, text = line.decode(errors="replace").partition(" ")
            if word == "ready" and process.state == "starting":
                process.become("ready")
                self.hang_up(process)
                return
            if word == "failed":
                process.why = text
            elif word == "progress":
                process.deadline = time.monotonic() + START_TIMEOUT_S
                self.tell_waiting({"progress": text})

    def hang_up(self, process: Process) -> None:
        if process.pipe >= 0:
            self.selector.unregister(process.pipe)
            os.close(process.pipe)
            process.pipe = -1

    def reap(self) -> None:
        """Collects every child that has ended, also those that lost their own parents (`adopt_orphans`)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self.processes:
                if process.pid == pid:
                    self.ended(process, os.waitstatus_to_exitcode(status))

    def ended(self, process: Process, code: int) -> None:
        if process.pipe >= 0:
            with contextlib.suppress(BlockingIOError):
                self.hear(process)  # its last words may still be in the pipe
            self.hang_up(process)
        was, lived_s = process.state, time.time() - process.since
        process.pid = 0
        process.why = process.why or (f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}")
        if not process.wanted:
            process.become("stopped")
            return
        if self.phase == "starting":
            self.fail(process)
            return
        if self.phase == "restarting":
            self.finish_waiting({"error": f"the {process.name} did not start, it is tried again: {process.why}"})
        if was == "ready" and lived_s > STEADY_S:
            process.delay_s = FIRST_DELAY_S
        process.deadline = time.monotonic() + process.delay_s
        process.delay_s = min(process.delay_s * 2, LONGEST_DELAY_S)
        process.become("waiting")

    def fail(self, process: Process) -> None:
        """The first start did not succeed: `up` gets the reason, and nothing remains; but machines that ran before us run on."""
        why = f"the {process.name} did not start: {process.why}"
        self.phase = "failing"
        self.stop([one for one in self.processes if one.name == "daemon"])
        if not (self.simulate or self.adopting):
            self.tear_down()
        self.stop([one for one in self.processes if one.name == "agent"])
        self.phase = "failed"
        log("failed", why=why)
        self.finish_waiting({"error": why})

    def stop(self, processes: list[Process]) -> None:
        """Asks them to end, and makes them end. Other events go on being served meanwhile."""
        for process in processes:
            process.wanted = False
            if process.pid:
                os.kill(process.pid, signal.SIGTERM)
            else:
                process.become("stopped")
        self.turn_until(lambda: all(process.pid == 0 for process in processes), STOP_TIMEOUT_S)
        for process in processes:
            if process.pid:
                process.why = f"did not stop within {STOP_TIMEOUT_S:.0f} s, killed"
                os.kill(process.pid, signal.SIGKILL)
        self.turn_until(lambda: all(process.pid == 0 for process in processes), STOP_TIMEOUT_S)

    def turn_until(self, reached: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while not reached() and time.monotonic() < deadline:
            self.turn(deadline - time.monotonic())
        return reached()

    # Control

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.EINTR):
                raise
            return
        if len(self.selector.get_map()) > LIMIT_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.answer(connection))

    def answer(self, connection: socket.socket) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(connection, LIMIT_MESSAGE_BYTES, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self.selector.unregister(connection)
            connection.close()
            return
        try:
            self.obey(json.loads(data), list(fds), lambda message: send(connection, message), connection)
        except (ValueError, KeyError, TypeError) as error:
            send(connection, {"error": f"bad request: {error!r}"})
        finally:
            for fd in fds:
                if fd not in self.sockets.values():
                    os.close(fd)

    def obey(self, request: dict[str, Any], fds: list[int], answer: Answer, connection: socket.socket) -> None:
        match request["op"]:
            case "put":
                answer(self.keep(str(request["owner"]), str(request["name"]), fds))
            case "get":
                for (owner, name), fd in list(self.sockets.items()):
                    if owner == request["owner"]:
                        send(connection, {"name": name}, fd)
                answer({"ok": True})
            case "remove":
                self.forget(str(request["owner"]), str(request["name"]))
                answer({"ok": True})
            case "status":
                answer(self.show())
            case "wait":
                self.waiting.append(answer)
            case "restart":
                self.restart([p for p in self.processes if p.name in request["processes"]], answer)
            case "down":
                self.down(answer)
            case other:
                answer({"error": f"unknown op {other!r}"})

    def show(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "phase": self.phase,
            "since": self.started,
            "simulate": self.simulate,
            "sockets": len(self.sockets),
            "processes": [process.show() for process in self.processes],
        }

    def answer_waiting(self) -> None:
        if self.phase in ("starting", "restarting") and all(process.state == "ready" for process in self.processes):
            self.phase = "running"
            log("running", pids=[process.pid for process in self.processes])
        if self.phase == "running" and self.waiting:
            self.finish_waiting({"ok": True} | self.show())

    def tell_waiting(self, message: dict[str, Any]) -> None:
        for answer in self.waiting:
            answer(message)

    def finish_waiting(self, message: dict[str, Any]) -> None:
        self.tell_waiting(message)
        self.waiting.clear()

    # Kept sockets

    def keep(self, owner: str, name: str, fds: list[int]) -> dict[str, Any]:
        if len(fds) != 1:
            return {"error": "exactly one socket is put at a time"}
        if len(self.sockets) >= LIMIT_SOCKETS:
            return {"error": f"{LIMIT_SOCKETS} sockets are kept already"}
        self.forget(owner, name)
        self.sockets[owner, name] = fds[0]
        return {"ok": True}

    def forget(self, owner: str, name: str) -> None:
        fd = self.sockets.pop((owner, name), -1)
        if fd >= 0:
            os.close(fd)

    # Restart and down

    def restart(self, processes: list[Process], answer: Answer) -> None:
        if self.phase != "running":
            answer({"error": f"gureum is {self.phase}: try again later"})
            return
        self.phase = "stopping"
        self.stop(processes)
        if self.phase != "stopping":
            answer({"error": f"gureum is {self.phase}"})
            return
        self.phase = "restarting"
        self.waiting.append(answer)
        for process in processes:
            process.wanted, process.delay_s = True, FIRST_DELAY_S
            self.spawn(process)

    def down(self, answer: Answer | None = None) -> None:
        """Stops the daemon, tears the machine down, stops the agent. Runs once; further requests wait for its end."""
        ending = self.phase in ("going down", "down", "failing", "failed")
        if not ending:
            self.finish_waiting({"error": "gureum is going down"})
        if answer:
            self.waiting.append(answer)
        if ending:
            return
        self.phase = "going down"
        log("down")
        self.tell_waiting({"progress": "stopping the daemon"})
        self.stop([process for process in self.processes if process.name == "daemon"])
        why = "" if self.simulate else self.tear_down()
        self.stop([process for process in self.processes if process.name == "agent"])
        self.phase = "down"
        self.finish_waiting({"error": why} if why else {"ok": True})
        log("gone", why=why)

    def tear_down(self) -> str:
        """Nothing of the home may remain on the machine. Returns what went wrong, "" for success."""
        self.tell_waiting({"progress": "stopping machines"})
        agent = next(process for process in self.processes if process.name == "agent")
        if agent.state == "ready" and self.ask_agent():
            return ""
        self.stop([agent])
        process = Process("agent")
        process.wanted = False
        self.processes.append(process)
        process.pid = self.start([sys.executable, "-P", "-m", f"{self.package}.agent", "--teardown"], "agent")
        if not self.turn_until(lambda: process.pid == 0, TEARDOWN_TIMEOUT_S):
            os.kill(process.pid, signal.SIGKILL)
            self.turn_until(lambda: process.pid == 0, STOP_TIMEOUT_S)
            return f"the machine could not be cleaned up within {TEARDOWN_TIMEOUT_S:.0f} s: see `gureum doctor --clean`"
        return (
            "" if process.why == "ended with exit code 0" else f"cleaning up failed: {process.why}, see logs/agent.log"
        )

    def ask_agent(self) -> bool:
        """Whether the agent tore the machine down when asked to."""
        done: list[bool] = []
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(1.0)
            connection.connect(f"{self.run}/agent.sock")
            connection.sendall(b'{"op": "down"}\n')
        except OSError as error:
            log("agent does not listen", why=str(error))
            connection.close()
            return False
        connection.setblocking(False)
        heard: list[bytes] = []

        def listen() -> None:
            data = read_some(connection)
            heard.append(data)
            if not data or data.endswith(b"\n"):
                done.append(b'"ok"' in b"".join(heard))
                self.selector.unregister(connection)

        self.selector.register(connection, selectors.EVENT_READ, listen)
        if not self.turn_until(lambda: bool(done), TEARDOWN_TIMEOUT_S):
            self.selector.unregister(connection)
            log("agent does not answer")
        connection.close()
        return bool(done) and done[0]

    # Logs

    def rotate_logs(self) -> None:
        if not self.foreground:
            rotate(f"{self.home}/logs", ("agent", "daemon", "supervisor"), self.log_bytes)


# Pieces


def read_some(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def send(connection: socket.socket, message: dict[str, Any], fd: int = -1) -> None:
    """A client that does not read or is gone loses the message; its connection is noticed as closed by the selector."""
    with contextlib.suppress(OSError):
        socket.send_fds(connection, [json.dumps(message).encode()], [fd] if fd >= 0 else [])


def starter_answer() -> Answer | None:
    """How `gureum up`, which waits for us, is answered: lines of JSON into the pipe that it passed."""
    text = os.environ.pop("GUREUM_READY_FD", "")
    if not text:
        return None
    pipe = int(text)
    os.set_inheritable(pipe, False)

    def answer(message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            os.write(pipe, json.dumps(message).encode() + b"\n")
            if "progress" not in message:
                os.close(pipe)

    return answer


def adopt_orphans() -> None:
    """Who loses its parent becomes our child and is collected in the end: conmon, and what a killed agent ran. Else it would be PID 1's, and
    in a container that may be a program which collects nobody (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        log("no-orphans")


def main() -> int:
    """`python -m gureum.supervisor OPTIONS`, JSON: home, run (folders), package (whose `agent` and
    `daemon` it runs), simulate, foreground, log_bytes. Started by `gureum up`."""
    options = json.loads(sys.argv[1])
    lock = take_lock(options["run"])
    if lock is None:
        return BUSY_EXIT
    os.chdir("/")
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    adopting = end_predecessors(options["run"], STOP_TIMEOUT_S)
    supervisor = Supervisor(options, lock, [starter] if (starter := starter_answer()) else [], adopting=adopting)
    log("supervisor", pid=os.getpid(), home=options["home"])
    adopt_orphans()
    code = supervisor.serve()
    # The next one must know, too, that machines run.
    for name in ("supervisor.sock",) if code and adopting else ("supervisor.sock", "children.json"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{options['run']}/{name}")
    return code


if __name__ == "__main__":
    sys.exit(main())
