"""What one API call costs the daemon: its CPU time, and calls per second over one kept connection. gureum alone, simulated, durable store.

    python -m bench.calls [--seconds 1] [--rounds 3] [--only PutMetricData]

Every request is written whole beforehand (head, signature as a client sends it, body) and sent on a plain socket; of the answer only its status
and length are looked at. So the client costs some 20 µs a call, where boto3 costs 1,000 and `http.client` 150, and the figure is the server's.
CPU time is that of all the daemon's threads (/proc/PID/task/*/schedstat): it tells much the same on a busy machine, calls per second do not. Rounds
go through all operations in turn; CPU is the least of the rounds, calls per second those of the best.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import cbor2

from bench.api import prepare
from bench.clouds import Cloud, Gureum, body, machine
from bench.cloudwatch import DATA, datums
from bench.cloudwatch import body as metric_form

BODIES = 64
EVENTS = 100
GROUP, STREAM = "/bench/calls", "i-0123456789abcdef0"
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
JSON_RPC = {"content-type": "application/x-amz-json-1.1"}
CBOR = {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", "accept": "application/cbor"}


class Wire:
    """One kept connection on a plain socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> bytes:
        """Head and body of the answer to a request that was written before."""
        self._socket.sendall(request)
        data = self._socket.recv(1 << 20)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._socket.recv(1 << 20)
        head = data[:end].lower()
        at = head.find(b"content-length: ")
        length = int(head[at + 16 :].split(b"\r", 1)[0]) if at >= 0 else 0
        parts, missing = [data], end + 4 + length - len(data)
        while missing > 0:
            parts.append(self._socket.recv(1 << 20))
            missing -= len(parts[-1])
        assert data.startswith(b"HTTP/1.1 200"), b"".join(parts)[:2000]
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()


def request(service: str, headers: dict[str, str], content: bytes, path: str = "/") -> bytes:
    """As boto3 sends one: the same headers, a signature of the same length (which nobody checks by default)."""
    sent = {
        "host": f"{service}.us-east-1.localhost",
        "accept-encoding": "identity",
        **headers,
        "user-agent": "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.13 cfg/retry-mode#legacy Botocore/1.40.0",
        "x-amz-date": "20260101T000000Z",
        "authorization": (
            f"AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/{service}/aws4_request, "
            f"SignedHeaders=content-type;host;x-amz-date, Signature={'0' * 64}"
        ),
        "amz-sdk-invocation-id": "11111111-2222-3333-4444-555555555555",
        "amz-sdk-request": "attempt=1",
        "content-length": str(len(content)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


def metric_requests() -> dict[str, list[bytes]]:
    """PutMetricData in the three protocols that clients speak."""
    target = {
        "x-amz-target": "GraniteServiceVersion20100801.PutMetricData",
        "content-type": "application/x-amz-json-1.0",
    }
    path = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
    bodies = [{"Namespace": "bench", "MetricData": datums(n)} for n in range(BODIES)]
    return {
        f"PutMetricData({DATA}), query": [request("monitoring", FORM, metric_form(n)) for n in range(BODIES)],
        f"PutMetricData({DATA}), JSON": [request("monitoring", target, json.dumps(one).encode()) for one in bodies],
        f"PutMetricData({DATA}), CBOR": [request("monitoring", CBOR, cbor2.dumps(one), path) for one in bodies],
    }


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


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def loads(cloud: Cloud, wire: Wire) -> dict[str, tuple[Iterator[bytes], int]]:
    """By name: what to send, and how many at most in one round."""
    image = prepare(cloud).image
    run = ec2("RunInstances", ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    sts = request("sts", FORM, body("GetCallerIdentity").replace(b"2016-11-15", b"2011-06-15"))
    once = {
        "GetCallerIdentity": [sts],
        "DescribeRegions": [ec2("DescribeRegions")],
        "DescribeInstances(100)": [ec2("DescribeInstances", MaxResults=100)],
        **metric_requests(),
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
