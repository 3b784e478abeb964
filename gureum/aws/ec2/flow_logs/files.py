"""Flow log files: the names that AWS gives them, and their text. They lie under the home, in the folder that stands for S3 (pure but for `write`).

    <home>/s3-local/BUCKET/FOLDER/AWSLogs/ACCOUNT/vpcflowlogs/REGION/2026/11/28/ACCOUNT_vpcflowlogs_REGION_fl-…_20261128T2215Z_HASH.log.gz

AWS: VPC User Guide, "Flow log files" (publish flow logs to Amazon S3).
"""

from __future__ import annotations

import gzip
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

from gureum.aws.ec2.flow_logs.destinations import Destination
from gureum.aws.ec2.flow_logs.records import FIELDS

S3_FOLDER = "s3-local"


def file_name(destination: Destination, account: str, region: str, log: str, start: int, text: bytes) -> str:
    """The object's key. `start`: when the interval began (Unix seconds). Equal content has an equal name: a second delivery changes nothing."""
    time = datetime.fromtimestamp(start, UTC)
    parts = [destination.folder] if destination.folder else []
    if destination.hive:
        parts += ["AWSLogs", f"aws-account-id={account}", "aws-service=vpcflowlogs", f"aws-region={region}"]
        parts += [time.strftime("year=%Y"), time.strftime("month=%m"), time.strftime("day=%d")]
    else:
        parts += ["AWSLogs", account, "vpcflowlogs", region, *time.strftime("%Y %m %d").split()]
    if destination.hourly:
        parts.append(time.strftime("hour=%H" if destination.hive else "%H"))
    mark = hashlib.sha256(text).hexdigest()[:8]
    return "/".join([*parts, f"{account}_vpcflowlogs_{region}_{log}_{time.strftime('%Y%m%dT%H%MZ')}_{mark}.log.gz"])


def file_text(fields: tuple[str, ...], records: list[str]) -> bytes:
    """A heading with the fields' names, then the records."""
    assert all(name in FIELDS for name in fields)
    return "\n".join([" ".join(fields), *records, ""]).encode()


def write(home: Path, bucket: str, name: str, text: bytes) -> None:
    """Durable when it returns; the file is there whole or not at all. OSError."""
    path = home / S3_FOLDER / bucket / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(gzip.compress(text, 6, mtime=0))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
