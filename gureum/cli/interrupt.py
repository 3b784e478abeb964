"""`gureum interrupt ID`: gives a Spot Instance its interruption notice, as AWS does when it wants the capacity back."""

from __future__ import annotations

import argparse
import time

from gureum.cli.api import post, segment
from gureum.cli.output import say
from gureum.cli.running import current_home


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instance", help="i-…, a Spot Instance that runs")


def run(arguments: argparse.Namespace) -> int:
    told = post(current_home(), f"interrupt/{segment(arguments.instance)}")
    what = {"terminate": "is terminated", "stop": "is stopped"}[told["action"]]
    say(f"{told['instance']} has its notice; it {what} in {max(0.0, told['at'] - time.time()):.0f} s")
    return 0
