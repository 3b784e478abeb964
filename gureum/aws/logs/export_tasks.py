"""Export tasks: the events of a group, within a time, as objects of a bucket. They are written by export_writing.py.

AWS: CloudWatch Logs User Guide, "Exporting log data to Amazon S3". One task of an account and region runs at a time.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import find_group, invalid, milliseconds, not_built, paged
from gureum.aws.marks import Result, operation
from gureum.core.neighbours import NeighbourRefused
from gureum.engine.resource import Resource, kind

DEFAULT_PREFIX = "exportedlogs"
KEPT = 500
"""Tasks that are told of; older ones that have finished are forgotten."""
ACTIVE = ("PENDING", "RUNNING")


class ExportSpec(msgspec.Struct, frozen=True):
    """Events with first_ms <= time <= last_ms, of streams whose names begin with `streams`. `prefix`: of objects' keys, "" when none was given."""

    group: str
    first_ms: int
    last_ms: int
    bucket: str
    prefix: str = ""
    streams: str = ""
    name: str = ""


class ExportStatus(msgspec.Struct, frozen=True):
    """`code`: AWS's ExportTaskStatusCode. `finished`: Unix seconds."""

    code: str = "PENDING"
    message: str = ""
    finished: float = 0.0


@kind("logs.ExportTask")
class ExportTask(Resource, frozen=True):
    spec: ExportSpec
    status: ExportStatus = ExportStatus()


@operation("CreateExportTask")
async def create_export_task(call: Call) -> Result:
    """AWS: logs CreateExportTask. InvalidParameterException, LimitExceededException, ResourceNotFoundException."""
    params = call.params
    group = find_group(call, params["logGroupName"])
    if params["from"] > params["to"]:
        raise invalid("The start of the time range must not be after its end.")
    _check_bucket(call, params["destination"])
    tasks = call.all(ExportTask)
    if any(one.status.code in ACTIVE for one in tasks):
        raise AwsError("LimitExceededException", "Resource limit exceeded.")
    spec = ExportSpec(
        group.spec.name,
        params["from"],
        params["to"],
        params["destination"],
        params.get("destinationPrefix") or "",
        params.get("logStreamNamePrefix") or "",
        params.get("taskName") or "",
    )
    transaction = call.transaction()
    transaction.require_no_newer(ExportTask, call.scope)
    task = transaction.create(ExportTask(meta=call.meta(str(uuid.uuid4())), spec=spec))
    for old in sorted(tasks, key=_age)[: max(0, len(tasks) + 1 - KEPT)]:
        transaction.delete(old)
    await call.commit(transaction)
    return {"taskId": task.meta.name}


@operation("DescribeExportTasks")
def describe_export_tasks(call: Call) -> Result:
    """AWS: logs DescribeExportTasks. Newest first; none for an id that is not there."""
    id_, code = call.params.get("taskId"), call.params.get("statusCode")
    found = [one for one in call.all(ExportTask) if id_ in (None, one.meta.name) and code in (None, one.status.code)]
    shown, token = paged(call, found, _age, descending=True)
    return {"exportTasks": [_show(one) for one in shown]} | token


@operation("CancelExportTask")
async def cancel_export_task(call: Call) -> Result:
    """AWS: logs CancelExportTask. Objects that are there stay. InvalidOperationException for one that has finished."""
    task = _find(call, call.params["taskId"])
    if task.status.code not in ACTIVE:
        raise AwsError("InvalidOperationException", "The specified export task has already finished")
    transaction = call.transaction()
    transaction.update(
        msgspec.structs.replace(task, status=ExportStatus("CANCELLED", "Cancelled by user", finished=call.now))
    )
    await call.commit(transaction)
    return {}


def _check_bucket(call: Call, bucket: str) -> None:
    """A machine that asks must have it in its account. Unasked."""
    if not call.known.answers("s3"):
        raise not_built("CreateExportTask without S3, which nobody answers here,")
    refused = invalid("The given bucket does not exist. Please make sure the bucket is valid.")
    try:
        call.known.answer("s3", "HeadBucket", call.account, call.region, Bucket=bucket)
        own = call.known.answer("s3", "ListBuckets", call.account, call.region)["Buckets"] if call.guest else ()
    except NeighbourRefused as none:
        raise refused from none
    if call.guest and all(one["Name"] != bucket for one in own):
        raise refused


def _find(call: Call, id_: str) -> ExportTask:
    found = call.get(ExportTask, id_)
    if found is None:
        raise AwsError("ResourceNotFoundException", "The specified export task does not exist.")
    return found


def _age(task: ExportTask) -> str:
    return f"{task.meta.created:020.6f} {task.meta.name}"


def _show(task: ExportTask) -> dict[str, Any]:
    """API form. AWS: logs ExportTask."""
    spec, status = task.spec, task.status
    times = {"creationTime": milliseconds(task.meta.created)}
    shown: dict[str, Any] = {
        "taskId": task.meta.name,
        "logGroupName": spec.group,
        "from": spec.first_ms,
        "to": spec.last_ms,
        "destination": spec.bucket,
        "destinationPrefix": spec.prefix or DEFAULT_PREFIX,
        "status": {"code": status.code} | ({"message": status.message} if status.message else {}),
        "executionInfo": times | ({"completionTime": milliseconds(status.finished)} if status.finished else {}),
    }
    return shown | ({"taskName": spec.name} if spec.name else {})
