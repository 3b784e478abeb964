"""`gureum down`: stops machines and gureum itself. Nothing remains on the host but the state; with `--purge` that goes too."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from gureum.base.homes import Home, HomeError, former_kube_seals, kube_seals, load_home, release_pool
from gureum.base.predecessors import end_predecessors
from gureum.base.settings import load_settings
from gureum.base.trees import remove_tree
from gureum.cli.output import Failure, say
from gureum.cli.running import ask

STOP_TIMEOUT_S = 15.0
"""For an agent or daemon whose supervisor is gone."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--purge", action="store_true", help="also remove all state: machines, disks, everything in the home"
    )


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    home = load_home(settings)
    if home is None:
        say(f"there is no gureum in {settings.home}")
        return 0
    answer = ask(home, {"op": "down"}, "stopping")
    if not answer:
        tear_down_lost(home)
        say(
            "gureum is not running"
            if answer is None
            else "gureum is down: its supervisor ended over it, the rest is done"
        )
    elif "error" in answer:
        raise Failure(str(answer["error"]))
    else:
        say("gureum is down" + ("" if arguments.purge else "; its state is kept"))
    refuse_mounted(home.run)
    shutil.rmtree(home.run, ignore_errors=True)
    if arguments.purge:
        purge(home)
    return 0


def tear_down_lost(home: Home) -> None:
    """No supervisor: one that was killed, perhaps just now, or a reboot, may have left things behind that only the agent knows to remove. An
    agent or daemon that has not noticed yet ends first."""
    if home.simulate or os.geteuid() != 0 or not home.run.exists():
        return
    end_predecessors(str(home.run), STOP_TIMEOUT_S)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gureum.agent", "--teardown"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failure(f"cleaning up failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")


def refuse_mounted(folder: Path) -> None:
    """HomeError where something is still mounted below: to remove the folder would empty a disk."""
    targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounted = [target for target in targets if target.startswith(f"{folder}/")]
    if mounted:
        raise HomeError(f"{mounted[0]} is still mounted: run `gureum doctor --clean`, then `gureum down` again")


def purge(home: Home) -> None:
    """Removes the home."""
    refuse_mounted(home.path)
    release_pool(home.id)
    settings = load_settings()
    seals = [kube_seals(settings, home), *former_kube_seals(settings, home)]  # elsewhere, and the home says where
    remove_tree(home.path)
    for folder in seals:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.name == "kube":  # ours alone, which the folder of a setting is not
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
    say(f"{home.path} is removed")
