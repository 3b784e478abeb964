"""Log events through the API: gureum (simulated: the same control plane) beside MiniStack and moto_server, in one run, interleaved.

    python -m bench.logs [--seconds 1.5] [--rounds 3] [--events 200000]

"PutLogEvents": batches of 1,000 events of about 100 bytes. "FilterLogEvents": a word that one event in a thousand has, in a window of 20,000 of
the events put before; "GetLogEvents": 1,000 events from the head of such a window. Every cloud gets the same bytes over one kept connection;
answers are read and not parsed. Each round asks each cloud in turn, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.api import Measured, together
from bench.clouds import Cloud, Gureum, Refused, machine, peers

BATCH = 1_000
WINDOW = 20_000
BODIES = 60
RARE_EVERY = 1_000
GROUP, STREAM = "/bench/app", "i-0123456789abcdef0"


class Logs:
    """One kept connection to a cloud's CloudWatch Logs."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def send(self, operation: str, body: bytes) -> bytes:
        """The answer to a body that was written before. Refused."""
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"Logs_20140328.{operation}",
            "authorization": "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=0",
        }
        self._connection.request("POST", "/", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Refused(data.decode(errors="replace"))
        return data

    def call(self, operation: str, **params: Any) -> Any:
        return json.loads(self.send(operation, json.dumps(params).encode()) or b"{}")


class Scene(NamedTuple):
    """A cloud with a group that holds `events` events, one a millisecond from `start` on."""

    cloud: Cloud
    start: int
    events: int


def batch(start: int, first: int) -> bytes:
    events = [{"timestamp": start + n, "message": message(n)} for n in range(first, first + BATCH)]
    return json.dumps({"logGroupName": GROUP, "logStreamName": STREAM, "logEvents": events}).encode()


def message(number: int) -> str:
    word = "NEEDLE" if number % RARE_EVERY == 0 else "INFO"
    return f"2026-11-28T12:00:00.000Z {word} request {number} GET /api/v1/items/{number % 977} 200 12.5ms user={number % 4099}"


def prepare(cloud: Cloud, events: int) -> Scene:
    logs, start = Logs(cloud.port), int(time.time() * 1000) - events
    logs.call("CreateLogGroup", logGroupName=GROUP)
    logs.call("CreateLogStream", logGroupName=GROUP, logStreamName=STREAM)
    for first in range(0, events, BATCH):
        logs.send("PutLogEvents", batch(start, first))
    return Scene(cloud, start, events)


def put(scene: Scene, logs: Logs) -> Iterator[None]:
    """Events newer than all before them, written beforehand: making them costs the client nothing."""
    bodies = [batch(scene.start, scene.events + n * BATCH) for n in range(BODIES)]
    for body in itertools.cycle(bodies):
        logs.send("PutLogEvents", body)
        yield


def windows(scene: Scene) -> Iterator[dict[str, Any]]:
    for turn in itertools.count():
        start = scene.start + (turn * WINDOW) % max(1, scene.events - WINDOW)
        yield {"logGroupName": GROUP, "startTime": start, "endTime": start + WINDOW}


def search(scene: Scene, logs: Logs) -> Iterator[None]:
    for window in windows(scene):
        answer = logs.send("FilterLogEvents", json.dumps(window | {"filterPattern": "NEEDLE"}).encode())
        assert answer.count(b"NEEDLE") >= WINDOW // RARE_EVERY, answer[:200]
        yield


def get(scene: Scene, logs: Logs) -> Iterator[None]:
    for window in windows(scene):
        params = window | {"logStreamName": STREAM, "startFromHead": True, "limit": 1000}
        answer = logs.send("GetLogEvents", json.dumps(params).encode())
        assert answer.count(b" request ") == 1000
        yield


LOADS = {
    f"PutLogEvents({BATCH:,})": (put, BATCH, "events"),
    f"FilterLogEvents(1 in {RARE_EVERY:,} of {WINDOW:,})": (search, 1, "calls"),
    "GetLogEvents(1,000)": (get, 1, "calls"),
}


def measure(scene: Scene, load: str, seconds: float) -> Measured:
    latencies: list[float] = []
    steps = LOADS[load][0](scene, Logs(scene.cloud.port))
    next(steps)
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        next(steps)
        latencies.append(time.perf_counter() - now)
    return Measured(latencies, time.perf_counter() - begin)


def show(load: str, by_name: dict[str, list[Measured]]) -> None:
    _, times, unit = LOADS[load]
    ours = together(by_name["gureum"])
    print(load)
    for name, parts in by_name.items():
        one = together(parts)
        ratio = f"gureum does {ours.per_second / one.per_second:6.2f} times as many" if name != "gureum" else ""
        print(
            f"  {name:10} {one.per_second * times:10,.0f} {unit}/s   p50 {one.quantile_ms(0.5):8.2f} ms   "
            f"p99 {one.quantile_ms(0.99):8.2f} ms   {ratio}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=200_000)
    arguments = parser.parse_args()
    print(machine())
    gureum = Gureum(simulate=True)
    gureum.name = "gureum"
    clouds: list[Cloud] = [gureum, *peers()]
    try:
        for cloud in clouds:
            cloud.start()
        scenes = [prepare(cloud, arguments.events) for cloud in clouds]
        for load in LOADS:
            by_name: dict[str, list[Measured]] = {}
            for _ in range(arguments.rounds):
                for scene in scenes:
                    try:
                        part = measure(scene, load, arguments.seconds)
                    except (Refused, AssertionError) as failed:
                        print(f"  {scene.cloud.name} cannot: {str(failed)[:200]}")
                        continue
                    by_name.setdefault(scene.cloud.name, []).append(part)
            show(load, by_name)
    finally:
        for cloud in clouds:
            cloud.remove()


if __name__ == "__main__":
    main()
