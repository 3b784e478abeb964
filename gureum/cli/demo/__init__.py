"""`gureum demo`: a tour of what really runs, told with the stock AWS command line, and with Docker's and kubectl where there are some.

Each section is a function that prints the commands as a user would type them, runs them, and checks what it says. A section
takes the `Tour`, which remembers what earlier sections made; new parts of the cloud add a section to `SECTIONS`. The tour
makes a VPC of its own and touches nothing else; run again, it first removes what the last one left.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gureum.base.homes import Home, load_home
from gureum.base.settings import Settings, load_settings
from gureum.cli import up
from gureum.cli.demo.balancing import balancers, datagrams, spread
from gureum.cli.demo.clearing import clear
from gureum.cli.demo.containers import containers
from gureum.cli.demo.flows import flow_logs, watching
from gureum.cli.demo.kubernetes import kubernetes
from gureum.cli.demo.machines import machines, pages, restart, shell
from gureum.cli.demo.networks import networks, security
from gureum.cli.demo.scaling import QUICK, healing, scaling
from gureum.cli.demo.tour import Tour
from gureum.cli.output import Failure, called, table
from gureum.cli.running import ask

SECTIONS: tuple[Callable[[Tour], None], ...] = (
    networks,
    security,
    machines,
    pages,
    shell,
    balancers,
    watching,
    spread,
    datagrams,
    scaling,
    healing,
    flow_logs,
    containers,
    kubernetes,
    restart,
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave the machines running at the end")
    parser.add_argument("--quiet", action="store_true", help="only the results, not the commands")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    home = running_home(settings)
    settings = load_settings()
    if home.simulate:
        raise Failure("a simulated cloud runs nothing that could be shown: the demo needs a real one")
    tour = Tour(settings, home, quiet=arguments.quiet)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gureum-demo-") as folder:
        tour.folder = key_folder() if arguments.keep else Path(folder)
        clear(tour)
        for section in SECTIONS:
            section(tour)
        if not arguments.keep:
            tour.title("Clean up")
            clear(tour)
    finish(tour, time.monotonic() - started, kept=arguments.keep)
    return 0


def running_home(settings: Settings) -> Home:
    """The home, started if it was not: then with alarms and scaling by the second, unless the user has settings of his own for them."""
    home = load_home(settings)
    if home is None or ask(home, {"op": "status"}) is None:
        for name, value in QUICK.items():
            os.environ.setdefault(f"GUREUM_{name.upper()}", value)
        up.run(argparse.Namespace(foreground=False, simulate=False, ephemeral=False))
        home = load_home(settings)
    assert home is not None
    return home


def key_folder() -> Path:
    """Where `gureum ssh` looks for keys."""
    folder = Path("~/.gureum/keys").expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def finish(tour: Tour, seconds: float, *, kept: bool) -> None:
    tour.title("Times")
    for what, took in [
        *tour.times,
        (f"the whole tour, {tour.client_s:.0f} s of it in {tour.calls} starts of the aws program", seconds),
    ]:
        tour.say(f"  {took * 1000:8.1f} ms  {what}" if took < 1 else f"  {took:8.1f} s   {what}")
    tour.title("What to try next")
    gureum = called()
    if kept:
        front = tour.made["front"]
        hints = [
            (f"{gureum} explain {front}", "what the machine is made of"),
            (f"{gureum} ssh {front}", "log in to it"),
        ]
    else:
        hints = [(f"{gureum} demo --keep", "the same, and the machines stay")]
    hints += [
        (f'eval "$({gureum} env)"', "now `aws`, Terraform, `docker` and `kubectl` of this shell use gureum"),
        (f"{gureum} status", "what runs; `coverage ec2` and `doctor` tell more"),
        (f"{gureum} down", "stops all; the next `up` brings it back"),
    ]
    tour.say(table([(f"  {command}", text) for command, text in hints]))
