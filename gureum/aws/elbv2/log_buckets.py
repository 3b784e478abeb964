"""Buckets that load balancers log to: whether there is such a bucket, and the file that shows that it can be written to.

Where S3 is answered (aws/neighbours), the bucket must be there, as on AWS; its policy is not looked at, since policies are not enforced. Where
nobody answers S3, logs stay in the folder that stands for it. AWS: elb-application "enable access logs", "verify bucket permissions".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gureum.aws.call import Call
from gureum.aws.elbv2.faults import bad_configuration
from gureum.core.access_log_lines import LOGS, Kind, trial_file
from gureum.core.neighbours import NeighbourRefused

FOLDER = "s3-local"


def begun(before: Mapping[str, str], after: Mapping[str, str]) -> list[Kind]:
    """The kinds of logs that go to another place after a change, or to one at all. `before`, `after`: all attributes of a load balancer."""
    return [kind for kind in LOGS if (place := _place(kind, after)) and place != _place(kind, before)]


def check_buckets(call: Call, kinds: Iterable[Kind], attributes: Mapping[str, str]) -> None:
    """AWS: InvalidConfigurationRequest for a bucket that is not there. A machine that asks must have it in its account. Unasked."""
    if not call.known.answers("s3"):
        return
    for kind in kinds:
        bucket = attributes[f"{LOGS[kind]}.s3.bucket"]
        refused = bad_configuration(f"Access Denied for bucket: {bucket}. Please check S3bucket permission")
        try:
            call.known.answer("s3", "HeadBucket", call.account, call.region, Bucket=bucket)
            own = call.known.answer("s3", "ListBuckets", call.account, call.region)["Buckets"] if call.guest else ()
        except NeighbourRefused as none:
            raise refused from none
        if call.guest and bucket not in {one["Name"] for one in own}:
            raise refused


async def try_buckets(call: Call, kinds: Iterable[Kind], attributes: Mapping[str, str], name: str) -> None:
    """Writes AWS's test file of each kind. `name`: the load balancer's. AWS: InvalidConfigurationRequest where it cannot be written."""
    for kind in kinds:
        bucket, prefix = (attributes[f"{LOGS[kind]}.s3.{part}"] for part in ("bucket", "prefix"))
        path, text = trial_file(kind, bucket, prefix, call.account, name, call.now)
        try:
            await asyncio.to_thread(_write, Path(call.settings.home) / FOLDER / path, text)
        except OSError as failed:
            raise bad_configuration(f"Access Denied for bucket: {bucket}. Please check S3bucket permission") from failed


def _place(kind: Kind, attributes: Mapping[str, str]) -> tuple[str, str] | None:
    key = f"{LOGS[kind]}.s3"
    if attributes.get(f"{key}.enabled") != "true":
        return None
    return attributes[f"{key}.bucket"], attributes[f"{key}.prefix"]


def _write(path: Path, text: str) -> None:
    """Whole or not there: what is carried away has no point before its name."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.rename(path)
