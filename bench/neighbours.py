"""A journal of mixed calls to neighbours, played after `kill -9`: until EC2 answers, and until they do. And what a call costs.

    python -m bench.neighbours [--calls 10000] [--seed 1]

The calls are those of the tests (tests/wire/neighbours), by boto3 over one connection a service, account and region; a third of them are refused.
What the services hold of it afterwards is checked there, not here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import time
from pathlib import Path

from bench.clouds import Ec2, Gureum, Refused, machine
from tests.wire.neighbours.clients import patient_clients
from tests.wire.neighbours.mixed_calls import MixedCalls
from tests.wire.neighbours.mixed_services import CALLS

LIMIT_S = 600.0
BACK = re.compile(r"neighbours are back calls=(\d+) other=(\d+) seconds=([\d.]+)")


def daemon(cloud: Gureum) -> int:
    shown = json.loads(cloud.command("status", "--json"))["supervisor"]
    return next(int(one["pid"]) for one in shown["processes"] if one["name"] == "daemon")


def answers_again(cloud: Gureum, begin: float) -> float:
    """Seconds from `begin` until EC2 answers."""
    while True:
        client = Ec2(cloud.port)
        try:
            client.call("DescribeVpcs")
            return time.perf_counter() - begin
        except (OSError, Refused):
            if time.perf_counter() - begin > LIMIT_S:
                raise
            time.sleep(0.002)
        finally:
            client.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    print(machine())
    cloud = Gureum(simulate=True)
    cloud.start()
    try:
        client = patient_clients(lambda: f"http://127.0.0.1:{cloud.port}")
        calls = MixedCalls(client, wanted.seed, calls=CALLS)
        begin = time.perf_counter()
        calls.run(wanted.calls)
        took = time.perf_counter() - begin
        done = sum(count for (_, _, code), count in calls.outcomes.items() if not code)
        print(
            f"{wanted.calls} calls, {done} not refused: {took:.1f} s, {took / wanted.calls * 1000:.1f} ms each with boto3's own"
        )
        journal = Path(cloud.home) / "neighbours" / "journal"
        print(f"journal {journal.stat().st_size / 1e6:.1f} MB")
        sqs = client("sqs")
        begin = time.perf_counter()
        os.kill(daemon(cloud), signal.SIGKILL)
        ec2 = answers_again(cloud, begin)
        sqs.list_queues()
        back = time.perf_counter() - begin
        logs = "".join(path.read_text() for path in (Path(cloud.home) / "logs").glob("*.log"))
        count, other, seconds = BACK.findall(logs)[-1]
        print(f"after kill -9: EC2 answers in {ec2:.2f} s, neighbours in {back:.2f} s")
        print(
            f"{count} calls of the journal played in {seconds} s, {float(seconds) / int(count) * 1000:.2f} ms each; {other} ended otherwise"
        )
    finally:
        cloud.remove()


if __name__ == "__main__":
    main()
