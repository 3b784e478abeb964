"""Outputs of commands and sessions on their way to a bucket: files below the home, which become objects when they are whole (neighbours/uploads.py).

A file is written under a name with a point before it, which nobody carries away, and takes its own at the end. Where a daemon was killed, the next
one goes on at a place that was stored (`at`), and what lies behind it comes again; or, where nothing comes again, at the end of what is there.

AWS: "Configuring S3 for command output", "Logging session data using Amazon S3".
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from pathlib import Path

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.core.neighbours import NeighbourRefused

log = logging.getLogger("gureum.ssm")
FOLDER = "s3-local"
LIMIT_BYTES = 64 * 1024 * 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[\w!.*'()/=+@:,-]{0,500}", re.ASCII)


class Bucket(msgspec.Struct, frozen=True):
    """`prefix`: "a/b" or ""."""

    name: str
    prefix: str = ""

    def key(self, *parts: str) -> str:
        return "/".join((*((self.prefix,) if self.prefix else ()), *parts))

    def url(self, region: str, *parts: str) -> str:
        """AWS: StandardOutputUrl."""
        return f"https://s3.{region}.amazonaws.com/{self.name}/{self.key(*parts)}"


def checked_bucket(name: str, prefix: str, code: str) -> Bucket:
    """By its form alone."""
    parts = [part for part in prefix.split("/") if part]
    if _PREFIX.fullmatch(prefix) is None or any(part.startswith(".") for part in parts):
        raise AwsError(code, "The S3 key prefix is not valid.")
    if _BUCKET.fullmatch(name) is None or ".." in name:
        raise AwsError(code, "The S3 bucket does not exist.")
    return Bucket(name, "/".join(parts))


def find_bucket(call: Call, name: str, prefix: str, code: str) -> Bucket:
    """The bucket as it is to be used; `code`: of the error when there is none. A machine that asks must have it in its account. Unasked."""
    need_s3(call)
    bucket = checked_bucket(name, prefix, code)
    try:
        call.known.answer("s3", "HeadBucket", call.account, call.region, Bucket=name)
        own = call.known.answer("s3", "ListBuckets", call.account, call.region)["Buckets"] if call.guest else ()
    except NeighbourRefused as refused:
        raise AwsError(code, "The S3 bucket does not exist.") from refused
    if call.guest and all(one["Name"] != name for one in own):
        raise AwsError(code, "The S3 bucket does not exist.")
    return bucket


def need_s3(call: Call) -> None:
    if not call.known.answers("s3"):
        raise AwsError("NotImplemented", "Output to S3 needs S3, which nobody answers here.", status=501)


class OutputFile:
    """`key`: of the object. `at`: how much of it was written for good before; None: what is there is. What cannot be written is told in the log,
    once, and left out."""

    def __init__(self, home: str, bucket: Bucket, key: str, at: int | None = 0) -> None:
        self._path = Path(home) / FOLDER / bucket.name / key
        self._part = self._path.with_name(f".{self._path.name}.part")
        self.size = _size(self._part) if at is None else at
        self._waiting: list[bytes] = []
        self._open = False
        self._failed = False

    def add(self, data: bytes) -> None:
        room = LIMIT_BYTES - self.size
        if data and room > 0 and not self._failed:
            self._waiting.append(data[:room])
            self.size += min(len(data), room)

    async def flush(self) -> None:
        """Everything is on the disk."""
        data, self._waiting = b"".join(self._waiting), []
        if not data or self._failed:
            return
        try:
            await asyncio.to_thread(self._write, data)
        except OSError as failed:
            self._failed = True
            log.warning("an output was not written", extra={"file": str(self._path), "why": str(failed)})

    async def finish(self) -> None:
        """It is whole. Of no output there is no file."""
        await self.flush()
        if self.size and not self._failed:
            await asyncio.to_thread(self._give_name)

    def _write(self, data: bytes) -> None:
        self._part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = self.size - len(data)
        if not self._open and before > _size(self._part):
            # It was whole already, and is in the bucket or on its way; what comes now came before.
            self._failed = True
            return
        with open(os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            if not self._open:
                file.truncate(before)
                self._open = True
            file.seek(0, os.SEEK_END)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _give_name(self) -> None:
        try:
            self._part.replace(self._path)
        except FileNotFoundError:
            pass  # a daemon before had come so far
        except OSError as failed:
            log.warning("an output was not written", extra={"file": str(self._path), "why": str(failed)})


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
