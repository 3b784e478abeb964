"""`gureum restart`: a new daemon and a new agent, from the code that is installed now. Machines and connections stay up."""

from __future__ import annotations

import argparse
import time

from gureum.cli.output import Failure, say
from gureum.cli.running import NOT_RUNNING, ask, current_home


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("process", nargs="?", choices=("agent", "daemon"), help="only this one (both if not given)")


def run(arguments: argparse.Namespace) -> int:
    home, started = current_home(), time.monotonic()
    names = [arguments.process] if arguments.process else ["agent", "daemon"]
    answer = ask(home, {"op": "restart", "processes": names}, "restarting")
    if answer is None:
        raise Failure("gureum is not running (`gureum up` starts it)", NOT_RUNNING)
    if "error" in answer:
        raise Failure(str(answer["error"]))
    said = "daemon" if home.simulate else " and ".join(names)
    say(f"restarted {said} in {time.monotonic() - started:.2f} s")
    return 0
