"""What an export task writes, and how it ends. S3 is a dictionary here; with the real neighbour: tests/wire/neighbours/test_used_by_others.py."""

from __future__ import annotations

import asyncio
import gzip
from types import SimpleNamespace
from typing import Any

import pytest

from gureum.aws.logs import export_writing
from gureum.aws.logs.export_tasks import ExportSpec, ExportTask
from gureum.aws.logs.export_writing import reconcile_export
from gureum.core.neighbours import NeighbourRefused
from gureum.engine.errors import Retry
from tests.aws.logs.conftest import Logs


class Bucket:
    """`refuses`: the code with which it takes nothing."""

    def __init__(self, refuses: str = "") -> None:
        self.objects: dict[str, bytes] = {}
        self.refuses = refuses

    async def ask(self, service: str, operation: str, account: str, region: str, params: dict[str, Any]) -> Any:
        assert (service, operation, params["Bucket"]) == ("s3", "PutObject", "exports")
        if self.refuses:
            raise NeighbourRefused(self.refuses, "refused")
        self.objects[params["Key"]] = params["Body"]


def export(logs: Logs, bucket: Bucket, **spec: Any) -> dict[str, Any]:
    """The task after it was worked on once."""
    world = SimpleNamespace(client=logs.client, logs=logs.events, clock=logs.clock, neighbours=bucket)

    async def both() -> dict[str, Any]:
        call = logs.call("CreateExportTask")
        transaction = call.transaction()
        base = {"group": "/app", "first_ms": 0, "last_ms": logs.now_ms + 1, "bucket": "exports"}
        task = transaction.create(ExportTask(meta=call.meta("t1"), spec=ExportSpec(**(base | spec))))
        await call.commit(transaction)
        await reconcile_export(world, task)  # type: ignore[arg-type]
        return dict((await logs.run("DescribeExportTasks", taskId="t1"))["exportTasks"][0])

    return asyncio.run(both())


def test_events_become_lines_of_an_object_of_their_stream(logs: Logs) -> None:
    logs.group("/app", "web/1", "db")
    logs.put("/app", "web/1", "a", "b", "c")
    logs.put("/app", "db", "d")
    bucket = Bucket()
    told = export(logs, bucket, last_ms=logs.now_ms + 1, prefix="p", streams="web")
    assert told["status"] == {"code": "COMPLETED", "message": "Completed successfully"}
    assert told["executionInfo"]["completionTime"] >= told["executionInfo"]["creationTime"]
    assert bucket.objects.pop("p/aws-logs-write-test") == b"Permission Check Successful"
    ((key, data),) = bucket.objects.items()
    assert key == "p/t1/web-1/000000.gz"
    times, texts = zip(*(line.split(" ", 1) for line in gzip.decompress(data).decode().splitlines()), strict=True)
    assert texts == ("a", "b")
    assert all(time.endswith("Z") and len(time) == len("2026-11-29T16:38:12.000Z") for time in times)


def test_many_events_become_several_objects_and_names_do_not_collide(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_writing, "LIMIT_OBJECT_BYTES", 1)
    monkeypatch.setattr(export_writing, "PAGE_BYTES", 1)
    logs.group("/app", "a/b", "a-b")
    logs.put("/app", "a/b", "1", "2")
    logs.put("/app", "a-b", "3")
    bucket = Bucket()
    export(logs, bucket, last_ms=logs.now_ms + 10)
    written = {key: gzip.decompress(data)[-2:-1] for key, data in bucket.objects.items() if key.endswith(".gz")}
    assert sorted(written) == [f"exportedlogs/t1/a-b/00000{n}.gz" for n in range(3)]
    assert sorted(written.values()) == [b"1", b"2", b"3"]


def test_it_fails_where_the_bucket_takes_nothing(logs: Logs) -> None:
    logs.group("/app", "a")
    assert export(logs, Bucket("AccessDenied"))["status"] == {"code": "FAILED", "message": "refused"}


def test_it_waits_where_nobody_answers(logs: Logs) -> None:
    logs.group("/app", "a")
    with pytest.raises(Retry):
        export(logs, Bucket("ServiceUnavailable"))
    assert logs("DescribeExportTasks", statusCode="RUNNING")["exportTasks"][0]["taskId"] == "t1"
    logs("CancelExportTask", taskId="t1")
    assert logs("DescribeExportTasks", taskId="t1")["exportTasks"][0]["status"]["code"] == "CANCELLED"
    finished = ("InvalidOperationException", "The specified export task has already finished")
    assert logs.refused("CancelExportTask", taskId="t1") == finished


def test_a_group_that_has_gone_fails_it(logs: Logs) -> None:
    status = export(logs, Bucket())["status"]
    assert status == {"code": "FAILED", "message": "The specified log group does not exist."}


def test_what_is_refused(logs: Logs) -> None:
    none = ("ResourceNotFoundException", "The specified export task does not exist.")
    assert logs.refused("CancelExportTask", taskId="t") == none
    assert logs("DescribeExportTasks", taskId="t")["exportTasks"] == []
    params = {"from": 0, "to": 1, "destination": "exports"}
    assert logs.code("CreateExportTask", logGroupName="/none", **params) == "ResourceNotFoundException"
    logs.group("/app")
    assert logs.code("CreateExportTask", logGroupName="/app", **params) == "NotImplemented"
    assert logs.code("CreateExportTask", logGroupName="/app", **(params | {"from": 2})) == "InvalidParameterException"
