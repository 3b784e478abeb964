"""`gureum up`: makes the home ready, starts the supervisor apart from the terminal, waits until the APIs answer."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from gureum.base.homes import Home, load_home, open_home
from gureum.base.settings import Settings, load_settings
from gureum.cli.output import Failure, called, say
from gureum.cli.running import ask, require_root, tail, wait_for_answer

BUSY_EXIT = 3


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--foreground", action="store_true", help="stay in the foreground, logs on standard error")
    parser.add_argument("--simulate", action="store_true", help="simulated machine: nothing really runs; needs no root")
    parser.add_argument("--ephemeral", action="store_true", help="allow POST /_gureum/reset, which empties everything")


def run(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    for name in ("simulate", "ephemeral"):
        if getattr(arguments, name):
            # The environment is how settings reach the daemon and the agent, also after their restarts.
            os.environ[f"GUREUM_{name.upper()}"] = "true"
    settings = load_settings()
    require_root(settings)
    known = load_home(settings)
    if known and (answer := ask(known, {"op": "wait"})):
        return already_running(known, settings, answer)
    home = open_home(settings)
    if arguments.foreground:
        os.execv(sys.executable, command(home, settings, foreground=True))
    answer = start(home, settings)
    if "error" in answer:
        raise Failure(explain_failure(home, answer["error"]))
    say(
        f"gureum is up at {home.endpoint} in {time.monotonic() - started:.2f} s{' (simulated: nothing runs)' * home.simulate}"
    )
    say(
        f'next: eval "$({called()} env)" makes aws, {"" if home.simulate else "docker, "}kubectl and Terraform of this shell use it'
    )
    return 0


def already_running(home: Home, settings: Settings, answer: dict[str, Any]) -> int:
    if "error" in answer:
        raise Failure(str(answer["error"]))
    if home.simulate != settings.simulate:
        raise Failure(
            f"{home.path} runs a {'simulated' if home.simulate else 'real'} cloud: choose another GUREUM_HOME"
        )
    say(f"gureum is already up at {home.endpoint}")
    return 0


def start(home: Home, settings: Settings) -> dict[str, Any]:
    """Starts the supervisor and returns its last word: {"ok": …} or {"error": …}."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    output = os.open(home.logs / "supervisor.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    pid = os.posix_spawn(
        sys.executable,
        command(home, settings, foreground=False),
        os.environ | {"GUREUM_READY_FD": str(write)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
    )
    os.close(write)
    os.close(output)
    answer = wait_for_answer(lambda: read_messages(read), read, "starting")
    if answer:
        return answer
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == BUSY_EXIT:
        return ask(home, {"op": "wait"}) or {
            "error": "another `gureum up` of this home was just interrupted: try again"
        }
    return {"error": f"the supervisor ended: {tail(home.logs / 'supervisor.log', 1)}"}


def read_messages(pipe: int) -> list[dict[str, Any]]:
    # The supervisor writes whole lines of less than PIPE_BUF bytes, so they arrive whole.
    return [json.loads(line) for line in os.read(pipe, 65536).splitlines()]


def command(home: Home, settings: Settings, *, foreground: bool) -> list[str]:
    options = {
        "home": str(home.path),
        "run": str(home.run),
        "package": "gureum",
        "simulate": home.simulate,
        "foreground": foreground,
        "log_bytes": settings.log_bytes,
    }
    return [sys.executable, "-P", "-m", "gureum.supervisor", json.dumps(options)]


def explain_failure(home: Home, why: str) -> str:
    """The reason with what to do about it, or with the end of the log of the process it names."""
    if why.endswith("is not installed"):
        return f"{why}: `{called()} doctor` tells what this host lacks, and its packages"
    name = next((name for name in ("agent", "daemon") if f"the {name} " in why), "supervisor")
    text = tail(home.logs / f"{name}.log")
    return f"{why}\n{text}\n(all of it: {home.logs / f'{name}.log'})" if "exit code" in why and text else why
