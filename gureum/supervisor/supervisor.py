"""What the supervisor does: one thread around one selector. Its life: "starting" (or "restarting") → "running" → "going down" → "down"."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from gureum.base.log_files import log, rotate
from gureum.base.predecessors import note_children
from gureum.supervisor.control import Answer, Client, Control, KeptSockets
from gureum.supervisor.process import FIRST_DELAY_S, Process, start

# Since the child's last word (progress) before it was ready.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
TEARDOWN_TIMEOUT_S = 60.0
ROTATE_EVERY_S = 30.0
ENDING = ("going down", "down", "failing", "failed")


class Supervisor:
    """`options`: see __main__.py. `waiting`: who is told when all runs."""

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
        self.sockets = KeptSockets()
        self.waiting = waiting
        self.next_rotation = time.monotonic() + ROTATE_EVERY_S
        # In a simulation the daemon holds the agent's part too.
        self.processes = [Process("daemon")] if self.simulate else [Process("agent"), Process("daemon")]
        self.selector = selectors.DefaultSelector()
        self.life, self.life_end = os.pipe()
        os.set_inheritable(self.life, True)
        self.control = Control(f"{self.run}/supervisor.sock", self.selector, self.obey)
        self.asked_to_end = False
        self.watch_signals()

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
        pid = self.start(process.name, "simulated" if self.simulate else process.name, ready=write)
        os.close(write)
        process.begin(pid, read, START_TIMEOUT_S)
        self.selector.register(read, selectors.EVENT_READ, lambda: self.hear(process))
        note_children(self.run, [one.pid for one in self.processes if one.pid])

    def start(self, name: str, module: str, *args: str, ready: int = -1) -> int:
        """Runs a module of the package as the child `name`, which says by the descriptor `ready` how far it is.

        `-P`: no import from the current folder.
        """
        added = {
            "GUREUM_HOME": self.home,
            "GUREUM_LIFE_FD": str(self.life),
            "GUREUM_PROCESS": name,
            "GUREUM_SUPERVISOR": f"{self.run}/supervisor.sock",
            **({"GUREUM_READY_FD": str(ready)} if ready >= 0 else {}),
        }
        log_file = "" if self.foreground else f"{self.home}/logs/{name}.log"
        return start([sys.executable, "-P", "-m", f"{self.package}.{module}", *args], added, log_file)

    def hear(self, process: Process) -> None:
        """Words of a child on its way to be ready."""
        data = os.read(process.pipe, 65536)
        if not data:
            self.hang_up(process)
            return
        for word, text in process.words(data):
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
        process.back_off()

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

    def obey(self, request: dict[str, Any], fds: list[int], client: Client) -> None:
        match request["op"]:
            case "put":
                client.send(self.sockets.put(str(request["owner"]), str(request["name"]), fds))
            case "get":
                for name, fd in self.sockets.of(str(request["owner"])):
                    client.send({"name": name}, fd)
                client.send({"ok": True})
            case "remove":
                self.sockets.remove(str(request["owner"]), str(request["name"]))
                client.send({"ok": True})
            case "status":
                client.send(self.show())
            case "wait":
                self.wait(client.send)
            case "restart":
                self.restart([p for p in self.processes if p.name in request["processes"]], client.send)
            case "down":
                self.down(client.send)
            case other:
                client.send({"error": f"unknown op {other!r}"})

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

    def wait(self, answer: Answer) -> None:
        """Who waits for all to run never hears that it is well when all has ended."""
        if self.phase in ENDING:
            answer({"error": "gureum is going down: try again when it is down"})
        else:
            self.waiting.append(answer)

    def tell_waiting(self, message: dict[str, Any]) -> None:
        for answer in self.waiting:
            answer(message)

    def finish_waiting(self, message: dict[str, Any]) -> None:
        self.tell_waiting(message)
        self.waiting.clear()

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
        ending = self.phase in ENDING
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
        process = Process("agent", wanted=False)
        self.processes.append(process)
        process.pid = self.start("agent", "agent", "--teardown")
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
            try:
                data = connection.recv(65536)
            except OSError:
                data = b""
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
