"""Log events through the API: gureum (simulated: the same control plane) beside MiniStack and moto_server, in one run, interleaved.

    python -m bench.logs [--seconds 1.5] [--rounds 3] [--events 200000] [--only GetLogEvents]

"PutLogEvents": batches of 1,000 events of about 100 bytes. "FilterLogEvents": a word that one event in a thousand has, in a window of 20,000 of
the events put before; "GetLogEvents": 1,000 events from the head of such a window, the same few windows in turn; "pages": each 1,000 events
behind those before, as a client goes through a stream. "DescribeLogStreams": 50 of 200 streams. Every cloud gets the same bytes by the light client
(wires.py) over one kept connection; answers are read and not parsed. Each round asks each cloud in turn, so that what else the machine does
falls on all alike. By then gureum has most events in files. Pages that nobody has read before are in telemetry.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.api import Measured, together
from bench.clouds import Cloud, Gureum, machine, peers
from bench.wires import JSON_RPC, Wire, request

BATCH = 1_000
WINDOW = 20_000
BODIES = 60
STREAMS, DESCRIBED = 200, 50
RARE_EVERY = 1_000
GROUP, STREAM = "/bench/app", "i-0123456789abcdef0"


class Logs:
    """One kept connection to a cloud's CloudWatch Logs."""

    def __init__(self, port: int) -> None:
        self._wire = Wire(port)

    def send(self, operation: str, body: bytes) -> bytes:
        """The answer to a body. AssertionError when it is refused."""
        headers = {"x-amz-target": f"Logs_20140328.{operation}", **JSON_RPC}
        return self._wire.send(request("logs", headers, body))

    def call(self, operation: str, **params: Any) -> bytes:
        return self.send(operation, json.dumps(params).encode())


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
    for name in (STREAM, *(f"i-{number:017x}" for number in range(STREAMS - 1))):
        logs.call("CreateLogStream", logGroupName=GROUP, logStreamName=name)
    for first in range(0, events, BATCH):
        logs.send("PutLogEvents", batch(start, first))
    return Scene(cloud, start, events)


def put(scene: Scene, logs: Logs) -> Iterator[None]:
    """Events newer than all before them, written beforehand: making them costs the client nothing."""
    bodies = [batch(scene.start, scene.events + n * BATCH) for n in range(BODIES)]
    for body in itertools.cycle(bodies):
        logs.send("PutLogEvents", body)
        yield


def windows(scene: Scene, step: int) -> Iterator[dict[str, Any]]:
    for turn in itertools.count():
        start = scene.start + (turn * step) % max(1, scene.events - WINDOW)
        yield {"logGroupName": GROUP, "startTime": start, "endTime": start + WINDOW}


def search(scene: Scene, logs: Logs) -> Iterator[None]:
    for window in windows(scene, WINDOW):
        answer = logs.call("FilterLogEvents", **window, filterPattern="NEEDLE")
        assert answer.count(b"NEEDLE") >= WINDOW // RARE_EVERY, answer[:200]
        yield


def get(scene: Scene, logs: Logs, step: int = WINDOW) -> Iterator[None]:
    for window in windows(scene, step):
        answer = logs.call("GetLogEvents", **window, logStreamName=STREAM, startFromHead=True, limit=1000)
        assert answer.count(b" request ") == 1000
        yield


def pages(scene: Scene, logs: Logs) -> Iterator[None]:
    return get(scene, logs, 1000)


def describe(scene: Scene, logs: Logs) -> Iterator[None]:
    while True:
        answer = logs.call("DescribeLogStreams", logGroupName=GROUP, limit=DESCRIBED)
        assert answer.count(b'"logStreamName"') == DESCRIBED
        yield


LOADS = {
    f"PutLogEvents({BATCH:,})": (put, BATCH, "events"),
    f"FilterLogEvents(1 in {RARE_EVERY:,} of {WINDOW:,})": (search, 1, "calls"),
    "GetLogEvents(1,000)": (get, 1, "calls"),
    "GetLogEvents(1,000), pages": (pages, 1, "calls"),
    f"DescribeLogStreams({DESCRIBED})": (describe, 1, "calls"),
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
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    print(machine())
    gureum = Gureum(simulate=True)
    gureum.name = "gureum"
    clouds: list[Cloud] = [gureum, *peers()]
    try:
        for cloud in clouds:
            cloud.start()
        scenes = [prepare(cloud, arguments.events) for cloud in clouds]
        for load in [one for one in LOADS if arguments.only in one]:
            by_name: dict[str, list[Measured]] = {}
            for _ in range(arguments.rounds):
                for scene in scenes:
                    try:
                        part = measure(scene, load, arguments.seconds)
                    except AssertionError as failed:
                        print(f"  {scene.cloud.name} cannot: {str(failed)[:200]}")
                        continue
                    by_name.setdefault(scene.cloud.name, []).append(part)
            show(load, by_name)
    finally:
        for cloud in clouds:
            cloud.remove()


if __name__ == "__main__":
    main()
