"""`gureum down`: stops machines and gureum itself. Nothing remains on the host but the state; with `--purge` that goes too."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys

from gureum.base.homes import Home, HomeError, former_kube_seals, kube_seals, load_home, release_pool
from gureum.base.settings import load_settings
from gureum.base.trees import remove_tree
from gureum.cli.output import Failure, say
from gureum.cli.running import ask


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
    if answer is None:
        tear_down_lost(home)
        say("gureum is not running")
    elif "error" in answer:
        raise Failure(str(answer["error"]))
    else:
        say("gureum is down" + ("" if arguments.purge else "; its state is kept"))
    shutil.rmtree(home.run, ignore_errors=True)
    if arguments.purge:
        purge(home)
    return 0


def tear_down_lost(home: Home) -> None:
    """No supervisor: one that was killed, or a reboot, may have left things behind that only the agent knows to remove."""
    if home.simulate or os.geteuid() != 0 or not home.run.exists():
        return
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gureum.agent", "--teardown"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failure(f"cleaning up failed: {done.stderr.strip().splitlines()[-1:] or done.returncode}")


def purge(home: Home) -> None:
    """Removes the home. What is still mounted below is not entered: that would empty a disk in use."""
    mounted = [line.split()[4] for line in open("/proc/self/mountinfo") if line.split()[4].startswith(f"{home.path}/")]  # noqa: SIM115
    if mounted:
        raise HomeError(f"{mounted[0]} is still mounted: run `gureum doctor --clean`, then purge again")
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
