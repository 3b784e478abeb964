"""Log files (flow logs, access logs of load balancers, outputs of commands and sessions) on their way into buckets.

Who writes them puts them under `<home>/s3-local/BUCKET/KEY`, daemon or not. Where S3 is a neighbour and has the bucket, each file becomes an object
and is then removed; where it has none, files stay, and become objects when the bucket is made.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gureum.core.access_log_lines import TEST_FILES
from gureum.core.neighbours import NeighbourRefused
from gureum.core.world import World

log = logging.getLogger("gureum.neighbours")
FOLDER = "s3-local"
LOOK_S = 1.0
AFTER_REFUSAL_S = 10.0
LIMIT_FILES = 1000
SUFFIXES = (".log.gz", ".log", "/stdout", "/stderr", *(f"/{name}" for name in TEST_FILES))
TYPES = {".gz": "application/x-gzip"}
_ACCOUNT = re.compile(r"(?:^|/)AWSLogs/(?:aws-account-id=)?(\d{12})/")
_REGION = "us-east-1"


async def run_uploads(world: World, has_state: Callable[[], bool]) -> None:
    """Until cancelled. `has_state`: whether the neighbours hold anything; else there is no bucket, and moto need not be loaded to say so."""
    root = Path(world.settings.home) / FOLDER
    refused: dict[str, float] = {}
    while True:
        await asyncio.sleep(LOOK_S)
        if not has_state() or not world.neighbours.answers("s3"):
            continue
        now = asyncio.get_running_loop().time()
        for bucket in await asyncio.to_thread(_folders, root):
            if refused.get(bucket, 0.0) > now:
                continue
            try:
                await upload(world, root, bucket)
                refused.pop(bucket, None)
            except (NeighbourRefused, OSError) as why:
                refused[bucket] = now + AFTER_REFUSAL_S
                log.debug("log files wait", extra={"bucket": bucket, "why": str(why)})


async def upload(world: World, root: Path, bucket: str) -> int:
    """Puts the files of one bucket there; how many. NeighbourRefused when there is no such bucket, or it takes nothing. A file whose removal was
    lost in a crash is put again, with the same name and content."""
    account = world.settings.default_account
    await world.neighbours.ask("s3", "HeadBucket", account, _REGION, {"Bucket": bucket})
    files = await asyncio.to_thread(lambda: list(_files(root / bucket)))
    for path in files:
        key = str(path.relative_to(root / bucket))
        found = _ACCOUNT.search(key)
        params = {
            "Bucket": bucket,
            "Key": key,
            "Body": await asyncio.to_thread(path.read_bytes),
            "ContentType": TYPES.get(path.suffix, "text/plain"),
            "ACL": "bucket-owner-full-control",
        }
        await world.neighbours.ask("s3", "PutObject", found[1] if found else account, _REGION, params)
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return len(files)


def _folders(root: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _files(folder: Path) -> Iterator[Path]:
    """Whole ones: what is being written has a name that begins with a point."""
    count = 0
    for at, _, names in os.walk(folder):
        for name in sorted(names):
            if f"/{name}".endswith(SUFFIXES) and not name.startswith("."):
                yield Path(at) / name
                count += 1
                if count >= LIMIT_FILES:
                    return
