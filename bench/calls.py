"""What one API call costs the daemon: its CPU time, and calls per second over one kept connection. gureum alone, simulated, durable store.

    python -m bench.calls [--seconds 1] [--rounds 3] [--only PutMetricData]

The client is the light one (wires.py), so the figure is the server's.
CPU time is that of all the daemon's threads (/proc/PID/task/*/schedstat): it tells much the same on a busy machine, calls per second do not. Rounds
go through all operations in turn; CPU is the least of the rounds, calls per second those of the best.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3

from bench.api import prepare
from bench.clouds import Cloud, Gureum, body, machine
from bench.cloudwatch import BODIES, DATA, datums, puts
from bench.wires import FORM, JSON_RPC, Wire, cpu_seconds, request

EVENTS = 100
GROUP, STREAM = "/bench/calls", "i-0123456789abcdef0"


def ec2(action: str, **parameters: object) -> bytes:
    return request("ec2", FORM, body(action, **parameters))


def logs(operation: str, **params: Any) -> bytes:
    target = {"x-amz-target": f"Logs_20140328.{operation}", **JSON_RPC}
    return request("logs", target, json.dumps(params).encode())


def event_requests(wire: Wire) -> dict[str, list[bytes]]:
    """A group with 20,000 events is made for what reads them."""
    wire.send(logs("CreateLogGroup", logGroupName=GROUP))
    names = {"logGroupName": GROUP, "logStreamName": STREAM}
    wire.send(logs("CreateLogStream", **names))
    start = int(time.time() * 1000) - 100_000
    for first in range(0, 20_000, 1000):
        wire.send(logs("PutLogEvents", **names, logEvents=events(start, first, 1000)))
    puts = [logs("PutLogEvents", **names, logEvents=events(start, 20_000 + n * EVENTS, EVENTS)) for n in range(BODIES)]
    window = {**names, "startTime": start, "endTime": start + 20_000, "startFromHead": True, "limit": 1000}
    gets = [logs("GetLogEvents", **window | {"startTime": start + n * 250}) for n in range(BODIES)]
    return {"GetLogEvents(1,000)": gets, f"PutLogEvents({EVENTS})": puts}


def events(start: int, first: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "timestamp": start + n,
            "message": f"2026-11-28T12:00:00.000Z INFO request {n} GET /api/v1/items/{n % 977} 200 12.5ms user={n % 4099}",
        }
        for n in range(first, first + count)
    ]


def boto3_calls(port: int, seconds: float) -> float:
    """PutMetricData a second as boto3 makes them, one after the other."""
    names = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("cloudwatch", endpoint_url=f"http://127.0.0.1:{port}", **names)
    data, done, begin = datums(1), 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        client.put_metric_data(Namespace="bench", MetricData=data)
        done += 1
    return done / (time.perf_counter() - begin)


class Spent(NamedTuple):
    calls: int
    seconds: float
    cpu_s: float


def measure(wire: Wire, pid: int, requests: Iterator[bytes], seconds: float, most: int = 1 << 62) -> Spent:
    done, cpu, begin = 0, cpu_seconds(pid), time.perf_counter()
    while done < most and time.perf_counter() - begin < seconds:
        wire.send(next(requests))
        done += 1
    return Spent(done, time.perf_counter() - begin, cpu_seconds(pid) - cpu)


def loads(cloud: Cloud, wire: Wire) -> dict[str, tuple[Iterator[bytes], int]]:
    """By name: what to send, and how many at most in one round."""
    image = prepare(cloud).image
    run = ec2("RunInstances", ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    sts = request("sts", FORM, body("GetCallerIdentity").replace(b"2016-11-15", b"2011-06-15"))
    once = {
        "GetCallerIdentity": [sts],
        "DescribeRegions": [ec2("DescribeRegions")],
        "DescribeInstances(100)": [ec2("DescribeInstances", MaxResults=100)],
        **{f"PutMetricData({DATA}), {protocol}": requests for protocol, requests in puts().items()},
        **event_requests(wire),
    }
    found = {name: (itertools.cycle(requests), 1 << 62) for name, requests in once.items()}
    return found | {"RunInstances": (itertools.repeat(run), 20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    print(machine())
    gureum = Gureum(simulate=True, memory_promise="16.0")
    try:
        gureum.start()
        pid = gureum.processes()["daemon"][0]
        wire = Wire(gureum.port)
        wanted = {name: one for name, one in loads(gureum, wire).items() if arguments.only in name}
        found: dict[str, list[Spent]] = {}
        for _ in range(arguments.rounds):
            for name, (requests, most) in wanted.items():
                found.setdefault(name, []).append(measure(wire, pid, requests, arguments.seconds, most))
        for name, rounds in found.items():
            cpu = min(one.cpu_s / one.calls for one in rounds)
            rate = max(one.calls / one.seconds for one in rounds)
            print(f"  {name:26} {cpu * 1e6:8.0f} µs of the daemon's CPU   {rate:8.0f} calls/s")
        by_boto3 = max(boto3_calls(gureum.port, arguments.seconds) for _ in range(arguments.rounds))
        print(f"  PutMetricData({DATA}) by boto3, which is the limit itself: {by_boto3:.0f} calls/s")
    finally:
        gureum.remove()
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
