"""Where a flow log's records go: the rules of CreateFlowLogs on destinations, and how they are shown."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.errors import AwsError
from gureum.core.neighbours import NeighbourRefused

TYPES = ("cloud-watch-logs", "s3", "kinesis-data-firehose")
_GROUP_ARN = re.compile(r"arn:aws[a-z-]*:logs:([a-z0-9-]+):(\d{12}):log-group:([.\-_/#A-Za-z0-9]{1,512})(:\*)?")
_GROUP = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
_BUCKET_ARN = re.compile(r"arn:aws[a-z-]*:s3:::([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[A-Za-z0-9!_.*'()/=+@:-]{0,500})?")


class Destination(msgspec.Struct, frozen=True):
    """`group`: name of a log group; or `bucket` and the `folder` in it ("" or "a/b"). `hive`, `hourly`: how files are sorted into folders.
    `slash`: it was given with a slash at its end, and is shown so: Terraform's provider replaces what comes back otherwise."""

    type: str
    group: str = ""
    bucket: str = ""
    folder: str = ""
    hive: bool = False
    hourly: bool = False
    slash: bool = False


def destination_of(call: Call) -> Destination:
    """The destination that a call asks for. AWS: InvalidParameter for what does not go together."""
    type_ = ids.choice(call.params, "LogDestinationType", *TYPES)
    name, arn = call.params.get("LogGroupName"), call.params.get("LogDestination")
    if name and arn:
        raise _fault("Please only provide LogGroupName or only provide LogDestination.")
    if name and type_ != "cloud-watch-logs":
        raise _fault("LogDestination type must be cloud-watch-logs if LogGroupName is provided.")
    if not name and not arn:
        raise _fault("LogDestination can't be empty if LogGroupName is not provided.")
    if type_ == "kinesis-data-firehose":
        raise ids.not_built("Delivery of flow logs to kinesis-data-firehose")
    options = call.params.get("DestinationOptions") or {}
    if ids.choice(options, "FileFormat", "plain-text", "parquet") == "parquet":
        raise ids.not_built("The file format parquet for flow logs")
    if type_ == "s3":
        return _bucket(call, options)
    if options:
        raise _fault("DestinationOptions can't be provided if LogDestinationType is cloud-watch-logs.")
    return _group(call)


def _group(call: Call) -> Destination:
    name, arn = call.params.get("LogGroupName"), call.params.get("LogDestination")
    if not call.params.get("DeliverLogsPermissionArn"):
        raise _fault("DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.")
    if name:
        if _GROUP.fullmatch(name) is None:
            raise _fault(f"Invalid log group name: {name}")
        return Destination("cloud-watch-logs", group=name)
    found = _GROUP_ARN.fullmatch(arn or "")
    if found is None or (found[1], found[2]) != (call.region, call.account):
        raise _fault(f"LogDestination is not a log group of this account and Region: {arn}")
    return Destination("cloud-watch-logs", group=found[3])


def _bucket(call: Call, options: dict[str, Any]) -> Destination:
    arn = call.params["LogDestination"]
    found = _BUCKET_ARN.fullmatch(arn)
    folder = (found[2] or "").strip("/") if found else ""
    if found is None or any(part in ("", ".", "..") for part in folder.split("/") if folder):
        raise _fault(f"Invalid LogDestination: {arn}")
    if folder.split("/")[0] == "AWSLogs":
        raise _fault("AWSLogs is a reserved term and cannot be the name of the folder.")
    return Destination(
        "s3",
        bucket=found[1],
        folder=folder,
        hive=bool(options.get("HiveCompatiblePartitions")),
        hourly=bool(options.get("PerHourPartition")),
        slash=arn.endswith("/"),
    )


def refusal_of(call: Call, destination: Destination) -> str:
    """Why nothing can be delivered there, or "". A machine that asks must have the bucket in its account. Without S3 files stay here."""
    if destination.type != "s3" or not call.known.answers("s3"):
        return ""
    try:
        call.known.answer("s3", "HeadBucket", call.account, call.region, Bucket=destination.bucket)
        own = call.known.answer("s3", "ListBuckets", call.account, call.region)["Buckets"] if call.guest else ()
    except NeighbourRefused:
        return f"LogDestination: {destination.bucket} does not exist"
    if call.guest and all(one["Name"] != destination.bucket for one in own):
        return f"Access Denied for LogDestination: {destination.bucket}. Please check LogDestination permission"
    return ""


def show_destination(call: Call, destination: Destination) -> dict[str, Any]:
    if destination.type == "s3":
        parts = [destination.bucket, *filter(None, [destination.folder]), *([""] if destination.slash else [])]
        arn = f"arn:{call.partition}:s3:::{'/'.join(parts)}"
        return {"LogDestinationType": "s3", "LogDestination": arn}
    arn = call.arn(f"log-group:{destination.group}", service="logs")
    return {"LogDestinationType": destination.type, "LogDestination": arn, "LogGroupName": destination.group}


def destination_options(destination: Destination) -> dict[str, Any]:
    """AWS: shown for files only."""
    if destination.type != "s3":
        return {}
    return {
        "DestinationOptions": {
            "FileFormat": "plain-text",
            "HiveCompatiblePartitions": destination.hive,
            "PerHourPartition": destination.hourly,
        }
    }


def _fault(text: str) -> AwsError:
    return AwsError("InvalidParameter", text)
