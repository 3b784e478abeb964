"""CloudWatch without HTTP: operations called on a store in memory with a world around it, results held against botocore's shapes."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from gureum.aws.call import Call
from gureum.aws.cloudwatch.alarm_evaluator import Evaluator
from gureum.aws.cloudwatch.alarm_kinds import CompositeAlarm, MetricAlarm, object_name
from gureum.aws.errors import AwsError
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.world import World
from gureum.engine.resource import key_of
from gureum.store.contract import Conflict
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics

ACCOUNT, REGION = "111122223333", "us-east-1"
NOON = 1_750_000_020.0
"""A whole minute; the next whole five minutes are 180 s later."""
_model = botocore.session.get_session().get_service_model("cloudwatch")


class StillClock:
    """Time stands still unless a test moves it; who sleeps sleeps on."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


class AbsentLink:
    """No agent."""

    synced = connected = False

    def __init__(self, *_: Any) -> None:
        self.seen: dict[str, Any] = {}

    def change(self, put: Any, remove: Any) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


class Watch:
    """One account and region, in a loop of its own. `watch("PutMetricData", …)` answers the result or raises AwsError."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = StillClock()
        self._sealer = Sealer(folder / "key")
        self.settings = Settings(pool="198.18.16.0/20", **settings)
        self.store, self.metrics = MemoryStore(), MemoryMetrics()
        self.start()

    def start(self) -> None:
        """A daemon's start: everything but the stores is new."""
        self.loop.run_until_complete(self._start())

    def stop(self) -> None:
        self.loop.run_until_complete(self._stop())

    def __call__(self, name: str, **params: Any) -> dict[str, Any]:
        return self.loop.run_until_complete(self._run(name, params))

    def refused(self, name: str, **params: Any) -> tuple[str, str]:
        """Code and message with which the call is refused; nothing may have changed."""
        revision = self.store.revision
        with pytest.raises(AwsError) as caught:
            self(name, **params)
        assert self.store.revision == revision
        return caught.value.code, caught.value.message

    def put(self, *values: float, at: float | None = None, name: str = "load", **more: Any) -> None:
        """Values of a metric in the namespace "app", one a datum."""
        stamp = stamp_of(self.clock.time if at is None else at)
        data = [{"MetricName": name, "Value": value, "Timestamp": stamp, **more} for value in values]
        self("PutMetricData", Namespace="app", MetricData=data)

    def alarm(self, name: str = "high", **params: Any) -> None:
        """An alarm on the metric "load" of "app" that is over 10, with a period of a minute."""
        base: dict[str, Any] = {"EvaluationPeriods": 1, "Threshold": 10.0, "ComparisonOperator": "GreaterThanThreshold"}
        if "Metrics" not in params:
            base |= {"MetricName": "load", "Namespace": "app", "Period": 60}
            if "ExtendedStatistic" not in params:
                base["Statistic"] = "Average"
        self("PutMetricAlarm", AlarmName=name, **(base | params))

    def evaluate(self) -> None:
        """One tick over all alarms, and what follows from it."""
        self.loop.run_until_complete(self._evaluate())

    def settle(self) -> None:
        """What follows from what has been committed."""
        self.loop.run_until_complete(self._settle())

    def look_again(self, name: str) -> None:
        """What a timer would do for a composite alarm."""

        async def poke() -> None:
            self.world.poke(key_of(self.stored(name)))
            await self._settle()

        self.loop.run_until_complete(poke())

    def state(self, name: str = "high") -> str:
        return str(self.shown(name)["StateValue"])

    def shown(self, name: str = "high") -> dict[str, Any]:
        found = self("DescribeAlarms", AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        alarms = found["MetricAlarms"] + found["CompositeAlarms"]
        assert len(alarms) == 1
        return dict(alarms[0])

    def history(self, name: str = "high", **params: Any) -> list[dict[str, Any]]:
        """Newest first."""
        found = self("DescribeAlarmHistory", AlarmName=name, AlarmTypes=["MetricAlarm", "CompositeAlarm"], **params)
        return list(found["AlarmHistoryItems"])

    def stored(self, name: str = "high") -> MetricAlarm | CompositeAlarm:
        client, scope, stored = self.world.client, f"{ACCOUNT}/{REGION}", object_name(name)
        found = client.get(MetricAlarm, scope, stored) or client.get(CompositeAlarm, scope, stored)
        assert found is not None
        return found

    async def _start(self) -> None:
        self.world = World(
            self.store,
            self.clock,
            self.settings,
            self._sealer,
            AbsentLink,
            metrics=self.metrics,
            logs=MemoryLogs(self.clock),
        )
        self.world.load("gureum.aws.call")
        self.world.load("gureum.aws.cloudwatch")
        self.evaluator = Evaluator(self.world)
        await self._settle()

    async def _stop(self) -> None:
        await self.evaluator.close()
        await self.world.close()

    async def _evaluate(self) -> None:
        for alarm in self.world.client.everywhere(MetricAlarm):
            self.evaluator.loop.poke(key_of(alarm))
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(50):
            await self.evaluator.loop.idle()
            await self.world.loop.idle()
            await asyncio.sleep(0)
            if not self.evaluator.loop.depth and not self.world.loop.depth:
                return
        raise AssertionError("it never settles")

    async def _run(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        function = self.world.registry.marks("operation")[f"cloudwatch:{name}"].target
        _check(params, _model.operation_model(name).input_shape, name)
        for _ in range(20):
            try:
                found = function(self._call(name, params))
                result = await found if inspect.isawaitable(found) else found
            except Conflict:
                continue
            if result:
                _check(result, _model.operation_model(name).output_shape, name)
            return dict(result)
        raise AssertionError("conflicts without end")

    def _call(self, name: str, params: dict[str, Any]) -> Call:
        world = self.world
        return Call(
            service="cloudwatch",
            operation=name,
            params=params,
            account=ACCOUNT,
            region=REGION,
            access_key=ACCOUNT,
            request_id="test",
            client=world.client,
            settings=world.settings,
            events=world.events,
            tracer=world.tracer,
            metrics=world.metrics,
            logs=world.logs,
        )


def stamp_of(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _check(value: dict[str, Any], shape: Any, name: str) -> None:
    if shape is not None:
        report = ParamValidator().validate(value, shape)
        assert not report.has_errors(), f"{name}: {report.generate_report()}"


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    made = Watch(tmp_path)
    yield made
    made.stop()
    assert made.world.loop.faults == made.evaluator.loop.faults == 0
    made.loop.close()
