"""PutMetricData with ten data points, reads of metrics, and alarms: gureum (simulated) beside MiniStack and moto_server, in one run, interleaved.

    python -m bench.cloudwatch [--seconds 2] [--rounds 4] [--connections 1 4 16] [--protocols query JSON CBOR]

Every cloud gets the same bytes, written beforehand, by the light client (wires.py) over kept connections; in the query protocol, which all of them
speak, and in the two that boto3 and the AWS CLI speak now. Rounds follow each other without a reset, and data only grow: how many data points a
cloud has taken stands beside its rates by round, which tell whether they fall. Then what reads them, and 100 alarms described, in the query protocol.
Last, 1,000 alarms, each on a metric with data, are evaluated in one process: the time of a tick.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import cbor2

from bench.clouds import Cloud, Gureum, machine, peers
from bench.wires import CBOR, FORM, Wire, calls_per_second, request
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

DATA, ALARMS, TICKS, DESCRIBED = 10, 1000, 5, 100
BODIES = 64
SCOPE = "000000000000/us-east-1"


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


def puts() -> dict[str, list[bytes]]:
    """PutMetricData in the three protocols that clients speak."""
    target = {
        "x-amz-target": "GraniteServiceVersion20100801.PutMetricData",
        "content-type": "application/x-amz-json-1.0",
    }
    path = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
    bodies = [{"Namespace": "bench", "MetricData": datums(n)} for n in range(BODIES)]
    return {
        "query": [request("monitoring", FORM, body(n)) for n in range(BODIES)],
        "JSON": [request("monitoring", target, json.dumps(one).encode()) for one in bodies],
        "CBOR": [request("monitoring", CBOR, cbor2.dumps(one), path) for one in bodies],
    }


def form(action: str, **fields: object) -> bytes:
    named = {name.replace("_", "."): value for name, value in fields.items()}
    return request("monitoring", FORM, urlencode({"Action": action, "Version": "2010-08-01", **named}).encode())


def reads() -> dict[str, list[bytes]]:
    """What dashboards and alarms' owners ask: of the last hour by minute, of the data that were put."""
    end = int(time.time()) // 60 * 60 + 60
    hour = {
        name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in (("StartTime", end - 3600), ("EndTime", end))
    }
    one = {"Namespace": "bench", "Dimensions_member_1_Name": "host", "Dimensions_member_1_Value": "h1"}
    statistics = form("GetMetricStatistics", MetricName="m1", Period=60, Statistics_member_1="Average", **one, **hour)
    queries: dict[str, object] = {}
    for n in range(1, DATA + 1):
        where = f"MetricDataQueries_member_{n}"
        queries |= {f"{where}_Id": f"q{n}", f"{where}_MetricStat_Period": 60, f"{where}_MetricStat_Stat": "Average"}
        queries |= {f"{where}_MetricStat_Metric_MetricName": f"m{n}"}
        queries |= {f"{where}_MetricStat_Metric_{name}": value for name, value in one.items()}
    return {
        "GetMetricStatistics": [statistics],
        f"GetMetricData({DATA})": [form("GetMetricData", **queries, **hour)],
        "ListMetrics": [form("ListMetrics", Namespace="bench", MetricName="m1")],
        f"DescribeAlarms({DESCRIBED})": [form("DescribeAlarms", MaxRecords=DESCRIBED)],
    }


def put_alarms(cloud: Cloud) -> None:
    wire = Wire(cloud.port)
    of = {"Namespace": "bench", "Period": 60, "EvaluationPeriods": 3, "Threshold": 1e9, "Statistic": "Average"}
    for n in range(DESCRIBED):
        compared = {"ComparisonOperator": "GreaterThanThreshold", "MetricName": f"m{n % DATA + 1}"}
        wire.send(form("PutMetricAlarm", AlarmName=f"a{n:03}", **of, **compared))
    wire.close()


class Rounds(NamedTuple):
    """Of one cloud: calls/s by round, and how many calls were made before each one and in the end."""

    rates: list[float]
    calls: list[float]


def measure(
    clouds: list[Cloud], requests: list[bytes], seconds: float, rounds: int, connections: int = 1
) -> dict[str, Rounds]:
    """Each round asks each cloud in turn, so that what else the machine does falls on all alike."""
    found: dict[str, Rounds] = {}
    able = list(clouds)
    for _ in range(rounds):
        for cloud in list(able):
            try:
                rate = calls_per_second(cloud.port, itertools.cycle(requests), seconds, connections)
            except AssertionError as refused:
                print(f"  {cloud.name} cannot: {str(refused)[:60]}")
                able.remove(cloud)
                continue
            one = found.setdefault(cloud.name, Rounds([], [0.0]))
            one.rates.append(rate)
            one.calls.append(one.calls[-1] + rate * seconds)
    return found


def show(what: str, found: dict[str, Rounds], *, data: int = 0) -> None:
    """`data`: points of a call."""
    ours = statistics.median(found["gureum"].rates) if "gureum" in found else 0.0
    print(f"{what}, calls/s by round")
    for name, one in found.items():
        ratio = f"gureum does {ours / statistics.median(one.rates):6.2f} times as many" if name != "gureum" else ""
        taken = f"   {one.calls[-1] * data / 1000:,.0f} thousand points" if data else ""
        print(
            f"  {name:10} {'  '.join(f'{rate:7.0f}' if rate > 10 else f'{rate:7.2f}' for rate in one.rates)}{taken}   {ratio}",
            flush=True,
        )


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
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--protocols", nargs="+", choices=list(puts()), default=list(puts()))
    given = parser.parse_args()
    print(machine())
    gureum = Gureum(simulate=True, folder="/var/tmp", memory_promise="16.0")
    gureum.name = "gureum"
    clouds: list[Cloud] = [gureum, *peers()]
    try:
        for cloud in clouds:
            cloud.start()
        for protocol, connections in itertools.product(given.protocols, given.connections):
            found = measure(clouds, puts()[protocol], given.seconds, given.rounds, connections)
            show(
                f"PutMetricData({DATA}), {protocol}, {connections} connection{'s'[: connections - 1]}", found, data=DATA
            )
        for cloud in clouds:
            put_alarms(cloud)
        for name, requests in reads().items():
            show(name, measure(clouds, requests, given.seconds / 2, given.rounds))
    finally:
        for cloud in clouds:
            cloud.remove()
    first, *later = asyncio.run(ticks())
    (seconds, cpu), (first_s, first_cpu) = min(later), first
    print(
        f"a tick over {ALARMS} alarms: first (all change) {first_s * 1000:.0f} ms ({first_cpu * 1000:.0f} of CPU), "
        f"then {seconds * 1000:.0f} ms ({cpu * 1000:.0f} of CPU)"
    )


if __name__ == "__main__":
    main()
