"""PutMetricData with ten data points, and alarms: gureum (simulated) beside MiniStack and moto_server, in one run, interleaved.

    python -m bench.cloudwatch [--seconds 2] [--rounds 4]

Every cloud gets the same bytes (the query protocol, which all of them speak) over one kept connection. Rounds follow each other without a reset,
so that calls/s of the first and the last tell whether they fall as data grow. Then 1,000 alarms, each on a metric with data, are evaluated in one
process: the time of a tick.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.clouds import Cloud, Gureum, machine, peers
from gureum.aws.cloudwatch.alarm_evaluator import Evaluator
from gureum.aws.cloudwatch.alarm_kinds import Actions, MetricAlarm, MetricAlarmSpec
from gureum.aws.cloudwatch.queries import Query
from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.world import World
from gureum.engine.resource import Meta, key_of
from gureum.ports.telemetry import Datum, Series
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics

DATA, ALARMS, TICKS = 10, 1000, 5
SCOPE = "000000000000/us-east-1"
HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Authorization": "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=0",
}


def datums(number: int) -> list[dict[str, Any]]:
    """As JSON and CBOR have them."""
    where = [{"Name": "host", "Value": f"h{number % 20}"}]
    return [
        {"MetricName": f"m{n}", "Value": float(number + n), "Unit": "Count", "Dimensions": where}
        for n in range(1, DATA + 1)
    ]


def body(number: int) -> bytes:
    """The same as a form."""
    fields: dict[str, Any] = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "bench"}
    for n in range(1, DATA + 1):
        where = f"MetricData.member.{n}"
        fields |= {f"{where}.MetricName": f"m{n}", f"{where}.Value": number + n, f"{where}.Unit": "Count"}
        fields |= {f"{where}.Dimensions.member.1.Name": "host", f"{where}.Dimensions.member.1.Value": f"h{number % 20}"}
    return urlencode(fields).encode()


def calls_per_second(cloud: Cloud, numbers: itertools.count[int], seconds: float) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60)
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        connection.request("POST", "/", body(next(numbers)), HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        done += 1
    connection.close()
    return done / (time.perf_counter() - begin)


async def ticks() -> list[tuple[float, float]]:
    """Seconds of each tick over all alarms, and of CPU."""
    clock, metrics = SystemClock(), MemoryMetrics()
    with tempfile.TemporaryDirectory() as folder:
        world = World(
            MemoryStore(),
            clock,
            Settings(),
            Sealer(Path(folder) / "key"),
            lambda *_: None,  # type: ignore[arg-type,return-value]
            metrics=metrics,
            logs=MemoryLogs(clock),
        )
        world.load("gureum.aws.cloudwatch")
        transaction = world.client.transaction()
        alarms = [_alarm(n, clock.now()) for n in range(ALARMS)]
        for alarm in alarms:
            transaction.create(alarm)
        await transaction.commit()
        minute = int(clock.now()) // 60 * 60_000
        for alarm in alarms:
            query = alarm.watched
            series = Series(SCOPE, query.namespace, query.metric)
            times = [minute - n * 60_000 for n in range(60)]
            await metrics.write([Datum(series, at, 1.0, 1.0, 1.0, 1.0, (1.0,), (1.0,)) for at in times])
        evaluator = Evaluator(world)
        found = []
        for _ in range(TICKS):
            begin, cpu = time.perf_counter(), time.process_time()
            for alarm in alarms:
                evaluator.loop.poke(key_of(alarm))
            await evaluator.loop.idle()
            found.append((time.perf_counter() - begin, time.process_time() - cpu))
            await world.loop.idle()
        await evaluator.close()
        await world.close()
    return found


def _alarm(number: int, now: float) -> MetricAlarm:
    watch = (Query(id="m1", namespace="bench", metric=f"m{number}", stat="Average", period_s=60),)
    spec = MetricAlarmSpec(f"a{number}", watch, True, 3, 10.0, "GreaterThanThreshold", Actions(), now)
    return MetricAlarm(meta=Meta(SCOPE, f"a{number}", f"{number:032}", now), spec=spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    print(machine())
    gureum = Gureum(simulate=True, folder="/var/tmp")
    gureum.name = "gureum"
    clouds: list[Cloud] = [gureum, *peers()]
    rates: dict[str, list[float]] = {}
    try:
        for cloud in clouds:
            cloud.start()
        numbers = itertools.count()
        for _ in range(arguments.rounds):
            for cloud in clouds:
                rates.setdefault(cloud.name, []).append(calls_per_second(cloud, numbers, arguments.seconds))
    finally:
        for cloud in clouds:
            cloud.remove()
    print(f"PutMetricData({DATA}), 1 connection, calls/s by round")
    for name, found in rates.items():
        print(f"  {name:10} {'  '.join(f'{rate:7.0f}' for rate in found)}")
    first, *later = asyncio.run(ticks())
    (seconds, cpu), (first_s, first_cpu) = min(later), first
    print(
        f"a tick over {ALARMS} alarms: first (all change) {first_s * 1000:.0f} ms ({first_cpu * 1000:.0f} of CPU), "
        f"then {seconds * 1000:.0f} ms ({cpu * 1000:.0f} of CPU)"
    )


if __name__ == "__main__":
    main()
