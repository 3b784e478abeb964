"""The neighbours' journal on a disk that is really full: a small tmpfs in a mount namespace of its own, which goes with the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")]

STORY = """
import asyncio, json, os, pathlib, subprocess, sys
from gureum.aws.neighbours.backends import Backends
from gureum.aws.neighbours.front import Neighbours
from gureum.base.sealing import Sealer
from gureum.core.neighbours import NeighbourRefused

folder = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "journal", str(folder)], check=True)
ballast = folder / "ballast"
made = []
begin = Backends.__init__

def counting(self, derive):
    made.append(self)
    begin(self, derive)

Backends.__init__ = counting

def fill() -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

def neighbours():
    return Neighbours(folder, Sealer(folder / "key"), setting="on", limit_bytes=1 << 30, endpoint_name="aws.gureum.test")

async def main() -> dict[str, object]:
    one = neighbours()

    async def s3(operation: str, **params: object) -> object:
        return await one.ask("s3", operation, "111122223333", "us-east-1", {"Bucket": "photos", **params})

    async def put(key: str, size: int) -> str:
        try:
            await s3("PutObject", Key=key, Body=os.urandom(size))
        except NeighbourRefused as refused:
            return refused.code
        return "kept"

    async def keys() -> list[str]:
        return [found["Key"] for found in (await s3("ListObjectsV2")).get("Contents", [])]

    await s3("CreateBucket")
    told = [await put("before", 1000)]
    fill()
    full = [await put(f"full-{number}", size) for number, size in enumerate((10, 100_000, 10))]
    seen = await keys()
    ballast.unlink()
    after = [await put("after", 100_000), await keys()]
    # What the disk refuses though there seemed to be room: there is less than the call's own size in the end.
    large = await put("large", 3_000_000)
    count = len(made)
    await one.close()
    one = neighbours()
    one.start()
    again = await keys()
    await one.close()
    return {"told": told, "full": full, "seen": seen, "after": after, "large": large, "made": count, "again": again}

print(json.dumps(asyncio.run(main())))
"""


def test_a_full_disk_refuses_changes_and_keeps_the_rest(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", STORY, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "told": ["kept"],
        "full": ["ServiceUnavailable"] * 3,
        "seen": ["before"],
        "after": ["kept", ["after", "before"]],
        "large": "ServiceUnavailable",
        # Nothing was done and thrown away: the journal was never played.
        "made": 1,
        "again": ["after", "before"],
    }
