"""The same reads on the store on disk, before and after it is opened anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gureum.base.clock import SystemClock
from gureum.telemetry.store import open_telemetry
from tests.aws.logs.conftest import Logs

GROUP, STREAM = "/app", "s"


def test_pages_tokens_and_searches_on_disk(tmp_path: Path) -> None:
    async def run() -> None:
        logs = Logs()
        logs.clock.time = SystemClock().now()
        telemetry = await open_telemetry(tmp_path / "telemetry", SystemClock())
        logs.events, logs.metrics = telemetry.logs, telemetry.metrics  # type: ignore[assignment]
        try:
            await logs.run("CreateLogGroup", logGroupName=GROUP)
            for stream in (STREAM, "t"):
                await logs.run("CreateLogStream", logGroupName=GROUP, logStreamName=stream)
            start = logs.now_ms - 20_000
            for first in range(0, 20_000, 5_000):
                for stream in (STREAM, "t"):
                    events = [
                        {"timestamp": start + n, "message": f"{'NEEDLE' if n % 1000 == 0 else 'hay'} {stream} {n}"}
                        for n in range(first, first + 5_000)
                    ]
                    await logs.run("PutLogEvents", logGroupName=GROUP, logStreamName=stream, logEvents=events)
            await look(logs, start)
        finally:
            await telemetry.close()
        telemetry = await open_telemetry(tmp_path / "telemetry", SystemClock())
        logs.events = telemetry.logs  # type: ignore[assignment]
        try:
            await look(logs, start)
            await logs.run("DeleteLogStream", logGroupName=GROUP, logStreamName="t")
            assert len(await found(logs, filterPattern="NEEDLE")) == 20
            await logs.run("DeleteLogGroup", logGroupName=GROUP)
            await logs.run("CreateLogGroup", logGroupName=GROUP)
            assert await found(logs) == []
        finally:
            await telemetry.close()

    asyncio.run(run())


async def found(logs: Logs, **params: object) -> list[str]:
    messages: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = await logs.run("FilterLogEvents", logGroupName=GROUP, **params, **token)
        messages += [event["message"] for event in page["events"]]
        if "nextToken" not in page:
            return messages
        token = {"nextToken": page["nextToken"]}


async def look(logs: Logs, start: int) -> None:
    needles = [f"NEEDLE {stream} {n}" for n in range(0, 20_000, 1_000) for stream in (STREAM, "t")]
    assert await found(logs, filterPattern="NEEDLE", limit=7) == needles
    newest = await found(logs, filterPattern="NEEDLE", limit=7, startFromHead=False, startTime=start)
    assert newest == needles[::-1]
    assert len(await found(logs, limit=3_000)) == 40_000
    ahead: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = await logs.run(
            "GetLogEvents", logGroupName=GROUP, logStreamName=STREAM, startFromHead=True, limit=3_000, **token
        )
        if page["nextForwardToken"] == token.get("nextToken"):
            break
        ahead += [event["message"].rpartition(" ")[2] for event in page["events"]]
        token = {"nextToken": page["nextForwardToken"]}
    assert ahead == [str(n) for n in range(20_000)]
    page = await logs.run("GetLogEvents", logGroupName=GROUP, logStreamName=STREAM, limit=2)
    page = await logs.run(
        "GetLogEvents", logGroupName=GROUP, logStreamName=STREAM, limit=2, nextToken=page["nextBackwardToken"]
    )
    assert [event["timestamp"] - start for event in page["events"]] == [19_996, 19_997]
    [group] = (await logs.run("DescribeLogGroups"))["logGroups"]
    assert group["storedBytes"] > 40_000 * 26
