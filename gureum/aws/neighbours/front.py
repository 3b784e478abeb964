"""The way of a call to a neighbour: refuse what is not answered, let moto answer in its thread, make it durable, then acknowledge.

A call whose journal entry cannot be written has happened in moto all the same. Then state and journal differ, so the state is thrown away and made
anew from the journal before anybody else is answered. Refused calls are kept, too: some of moto's refusals come after a part was done.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from gureum.aws.credentials import Principal, UserKey
from gureum.aws.errors import AwsError
from gureum.aws.neighbours import implied_users, refusals, waiting
from gureum.aws.neighbours.checks import check, fault_of
from gureum.aws.neighbours.journal import Entry, Journal, JournalBroken, JournalFull, Sent
from gureum.aws.neighbours.mends import BY_ADDRESS, OF_OBJECTS, OPERATION, error_of, mend, prepared
from gureum.aws.neighbours.offered import OFFERED, changes, chosen, is_installed
from gureum.aws.neighbours.user_keys import UserKeys
from gureum.aws.protocols import Request, Response
from gureum.base.sealing import Sealer
from gureum.core.neighbours import SERVER_CERTIFICATE, NeighbourRefused

log = logging.getLogger("gureum.neighbours")
FILE = "neighbours/journal"
LIMIT_WAITING = 1000
NOWHERE = b"Not yet implemented"
"""moto's answer where no address of its fits."""
UNMET = b"ConditionalCheckFailedException"
"""In an answer of DynamoDB: nothing was changed, and programs that wait for a lock hear it often."""
COPY_SOURCE = "x-amz-copy-source"
"""A "+" in it is a space for S3, as Terraform writes it, and not for moto."""
OF_XML = ("route53", "s3control")
NO_BODY = ("HEAD", "OPTIONS")
UPLOADING = "UploadServerCertificate"
BY_THEIR_ADDRESS = (*OF_XML, "resource-groups")
NOT_PASSED = frozenset({"host", "connection", "expect", OPERATION, *OF_OBJECTS.values()})
NO_FORM = "x-gureum=json"
"""The query of calls in JSON, which have none: without one moto reads any body as a form, and a text in it that looks like one as parameters."""
SEED_BYTES = 32
_HOSTS = {
    "iam": "iam.amazonaws.com",
    "route53": "route53.amazonaws.com",
    "organizations": "organizations.us-east-1.amazonaws.com",
}
_LABELS = {
    "dynamodbstreams": "streams.dynamodb",
    "ecr": "api.ecr",
    "s3control": "s3-control",
    "ses": "email",
}


class Wanted(msgspec.Struct, frozen=True):
    """A call. `operation`: "" where only the address tells it (S3). `guest`: it may not reach what is another account's. `protocol`: "" of calls
    that gureum itself makes, whose parameters are right. `caller`: who calls, where that was told."""

    service: str
    operation: str
    account: str
    region: str
    request: Request
    guest: bool = False
    protocol: str = ""
    caller: Principal | None = None


class Neighbours:
    """`setting`: which services (offered.py); `endpoint_name`: names below it may carry a bucket's name."""

    def __init__(
        self, home: Path | None, sealer: Sealer, *, setting: str, limit_bytes: int, endpoint_name: str
    ) -> None:
        self.services = chosen(setting)
        self._endpoint_name = endpoint_name
        path = (home or Path()) / FILE
        self._journal = Journal(path, sealer, limit_bytes)
        self._sealer = sealer
        self._keys = UserKeys()
        self._prepared: set[str] = set()
        self._to_replay = home is not None and path.exists() and path.stat().st_size > 0 and bool(self.services)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="neighbours")
        self._backends: Any = None
        self._broken = ""
        self._waiting = 0
        self._revisions: dict[str, int] = {}

    def start(self) -> None:
        """Begins to play the journal, if there is one; calls wait until it is done."""
        if self._to_replay and is_installed():
            self._thread.submit(self._ready)

    @property
    def has_state(self) -> bool:
        """Whether anything was ever made here."""
        return self._backends is not None or self._to_replay

    def offers(self, service: str) -> bool:
        """Whether the service is a neighbour's, be moto installed or not."""
        return service in self.services

    def answers(self, service: str) -> bool:
        return service in self.services and is_installed()

    def revision(self, service: str) -> int:
        """As `core.neighbours.Neighbours` promises."""
        return self._revisions.get(service, 0) + self._revisions.get("", 0)

    async def user_key(self, access_key: str) -> UserKey | None:
        """What IAM tells of a key that it made; None for others, and while the journal cannot be read."""
        if "iam" not in self.services:
            return None
        if self._backends is None and self._to_replay and is_installed():
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._ready)
            except AwsError:
                return None
        return self._keys.get(access_key)

    async def ask(
        self, service: str, operation: str, account: str, region: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        """As `core.neighbours.Neighbours` promises."""
        if operation == SERVER_CERTIFICATE:
            return await self._server_certificate(account, region, params)
        asking = await asyncio.to_thread(importlib.import_module, "gureum.aws.neighbours.asking")
        try:
            request = asking.request_of(service, operation, params)
            response = await self.handle(Wanted(service, operation, account, region, request))
        except AwsError as error:
            raise NeighbourRefused(error.code, error.message) from error
        result: dict[str, Any] = asking.result_of(service, operation, response)
        return result

    async def handle(self, wanted: Wanted) -> Response:
        """The answer of moto, after it is durable. AwsError: NotImplemented, ServiceUnavailable."""
        if not is_installed():
            text = f"{wanted.service} is answered by moto, which is not installed: `make neighbours`, or pip install 'gureum[neighbours]'."
            raise AwsError("NotImplemented", text, status=501)
        check(wanted.service, wanted.operation, wanted.protocol, wanted.request)
        refusals.refuse(wanted.service, wanted.operation, wanted.request)
        if wanted.operation == UPLOADING:
            await asyncio.to_thread(_check_upload, wanted.request)
        if wanted.service == "s3":
            refusals.refuse_post(wanted.operation, self._path(wanted), wanted.request)
            refusals.refuse_policy(wanted.operation, wanted.request)
            refusals.refuse_subresource(wanted.operation, self._path(wanted), wanted.request)
        if wanted.service == "iam" and wanted.caller is not None:
            completed = implied_users.complete(wanted.operation, wanted.request, wanted.caller)
            if isinstance(completed, Response):
                return completed
            wanted = msgspec.structs.replace(wanted, request=completed)
        return await (self._receive(wanted) if _is_receive(wanted) else self._run(wanted))

    async def _server_certificate(self, account: str, region: str, params: dict[str, Any]) -> dict[str, Any]:
        def find() -> dict[str, str] | None:
            self._ready()
            found: dict[str, str] | None = self._backends.server_certificate(account, region, params)
            return found

        if not self.answers("iam"):
            raise NeighbourRefused("NotImplemented", "iam is not answered here")
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, find)
        except AwsError as error:
            raise NeighbourRefused(error.code, error.message) from error
        if found is None:
            raise NeighbourRefused("NoSuchEntity", "The Server Certificate cannot be found.")
        return found

    async def reset(self) -> None:
        """Forgets everything, durably."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reset)

    async def close(self) -> None:
        """Waits for the call that runs; others that wait are not made, and not acknowledged."""
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)
        self._journal.close()

    async def _receive(self, wanted: Wanted) -> Response:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        wait_s = waiting.wait_of(wanted.request)
        if wait_s != 0:
            wanted = msgspec.structs.replace(wanted, request=waiting.without_wait(wanted.request))
        while True:
            response = await self._run(wanted)
            if response.status != 200 or waiting.has_message(response.body):
                return response
            if wait_s is None:
                wait_s = await loop.run_in_executor(self._thread, self._queue_wait, wanted)
            if loop.time() - begun >= wait_s:
                return response
            await asyncio.sleep(waiting.LOOK_S)

    async def _run(self, wanted: Wanted) -> Response:
        if self._waiting >= LIMIT_WAITING:
            raise AwsError("ServiceUnavailable", "Too many calls wait for moto. Try again.", status=503)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, wanted)
        finally:
            self._waiting -= 1

    # What follows is called in the thread.

    def _call(self, wanted: Wanted) -> Response:
        self._ready()
        request = wanted.request
        writes = changes(wanted.service, request.method, wanted.operation)
        if writes and not self._journal.has_room(len(request.body)):
            raise _full()
        if missing := refusals.missing_destination(wanted.service, request, self._is_there):
            raise missing
        if wanted.service == "iam" and wanted.operation == "UpdateUser":
            users = self._backends.backend("iam", wanted.account, wanted.region).users
            if taken := refusals.taken_name(request, users):
                raise taken
        seed = os.urandom(SEED_BYTES) if writes else b""
        self._prepare(wanted.service)
        at = time.time()
        body = prepared(wanted.service, wanted.operation, wanted.account, wanted.region, request.body)
        sent = Sent(request.method, self._url(wanted), _headers(wanted), body)
        answer = self._backends.call(wanted.account, sent, seed, at, own_only=wanted.guest)
        if writes:
            self._changed(wanted.service)
        changed = writes and UNMET not in answer.body and not self._found_nothing(wanted, answer)
        made_key = self._backends.looks_changed() and self._journal.has_room(len(request.body))
        if changed or made_key:
            kept = self._backends.kept(wanted.service, wanted.account, wanted.region)
            place = (wanted.service, wanted.account, wanted.region)
            self._keep(Entry(*place, sent, at, seed, answer.status, kept, apart=True, fixed=True))
            if wanted.service == "iam" and answer.status < 400 and self._keys.note(sent):
                self._keys.read(self._backends.states("iam"))
        if answer.status == 403 and not answer.body and wanted.service == "s3" and request.method not in NO_BODY:
            raise AwsError("AccessDenied", "Access Denied", status=403)
        nowhere = answer.body == NOWHERE or (not answer.body and request.method not in NO_BODY)
        if answer.failed or (answer.status == 404 and nowhere):
            raise self._fault(wanted, answer.failed)
        return _response(wanted, answer)

    def _is_there(self, service: str, account: str, region: str, arn: str) -> bool:
        """Whether a queue or topic is; True where its service is not answered here."""
        if service not in self.services:
            return True
        state = self._backends.backend(service, account, region)
        return arn in state.topics if service == "sns" else arn.rpartition(":")[2] in state.queues

    def _prepare(self, service: str, made: Any = None) -> None:
        if service not in self._prepared:
            (made or self._backends).prepare(service)
            self._prepared.add(service)

    def _fault(self, wanted: Wanted, failed: str) -> AwsError:
        """`failed`: as moto tells it; "" where it knows no such address."""
        fault = fault_of(wanted.service, wanted.operation, wanted.protocol, wanted.request)
        if failed or fault is not None:
            names = (wanted.service, wanted.operation, wanted.request.method)
            return error_of(*names, failed, fault, account=wanted.account)
        text = f"moto does not build {wanted.operation or wanted.request.method} of {wanted.service}."
        return AwsError("NotImplemented", text, status=501)

    def _found_nothing(self, wanted: Wanted, answer: Any) -> bool:
        """A look into a queue that found nothing and moved nothing to a dead-letter queue: consumers make many of them."""
        if not _is_receive(wanted) or waiting.has_message(answer.body):
            return False
        return not getattr(self._queue(wanted), "redrive_policy", None)

    def _queue_wait(self, wanted: Wanted) -> float:
        self._ready()  # another call may have thrown the state away meanwhile
        return float(getattr(self._queue(wanted), "receive_message_wait_time_seconds", 0) or 0)

    def _queue(self, wanted: Wanted) -> Any:
        queues = self._backends.backend("sqs", wanted.account, wanted.region).queues
        return queues.get(waiting.queue_name(wanted.request))

    def _changed(self, service: str) -> None:
        """`service` "": all."""
        self._revisions[service] = self._revisions.get(service, 0) + 1

    def _keep(self, entry: Entry) -> None:
        try:
            self._journal.append(entry)
        except JournalBroken as broken:
            log.exception("a neighbour's call cannot be kept; its state is made anew")
            self._backends.reset()
            self._backends = None
            self._to_replay = True
            self._changed("")
            raise (_full() if isinstance(broken, JournalFull) else _cannot_write()) from broken

    def _ready(self) -> None:
        """Loads moto and plays the journal, once."""
        if self._broken:
            raise AwsError("InternalFailure", f"The neighbours' journal is damaged: {self._broken}", status=500)
        if self._backends is not None:
            return
        self._prepared.clear()
        made = importlib.import_module("gureum.aws.neighbours.backends").Backends(self._sealer.derive)
        if self._to_replay:
            try:
                self._replay(made)
            except JournalBroken as broken:
                self._broken = str(broken)
                log.error("the neighbours' journal is damaged", extra={"why": self._broken})
                raise AwsError(
                    "InternalFailure", f"The neighbours' journal is damaged: {broken}", status=500
                ) from broken
        self._backends = made

    def _replay(self, made: Any) -> None:
        begun, count, other, users = time.monotonic(), 0, 0, False
        self._keys.clear()
        made.playing = True
        for entry in self._journal.entries():
            self._prepare(entry.service, made)
            how = {"apart": entry.apart, "fixed": entry.fixed}
            made.give(entry.service, entry.kept)
            answer = made.call(entry.account, entry.sent, entry.seed, entry.time, **how)
            made.restore(entry.service, entry.account, entry.region, entry.kept)
            count += 1
            users = (entry.service == "iam" and entry.status < 400 and self._keys.note(entry.sent)) or users
            if answer.status != entry.status:
                other += 1
                names = {"service": entry.service, "number": count, "was": entry.status, "is": answer.status}
                log.error("a neighbour's call ended otherwise than it had", extra=names)
        made.playing = False
        made.looks_changed()
        if users:
            self._keys.read(made.states("iam"))
        took = round(time.monotonic() - begun, 3)
        log.info("neighbours are back", extra={"calls": count, "other": other, "seconds": took})

    def _reset(self) -> None:
        if self._backends is not None:
            self._backends.reset()
        self._journal.clear()
        self._keys.clear()
        self._to_replay = False
        self._broken = ""
        self._changed("")

    def _url(self, wanted: Wanted) -> str:
        """The address that AWS has for the call: moto finds the service by it."""
        service, region, request = wanted.service, wanted.region, wanted.request
        path = self._path(wanted)
        host = _HOSTS.get(service) or f"{_LABELS.get(service, service)}.{region}.amazonaws.com"
        if service == "s3control":
            host = f"{wanted.account}.{host}"
        query = NO_FORM if _is_json(wanted) else request.query
        return f"https://{host}{path}" + (f"?{query}" if query else "")

    def bucket_of_host(self, request: Request) -> str:
        """The bucket that a request's host names; "" where its path does."""
        return _bucket_of_host(request.headers.get("host", ""), self._endpoint_name)

    def _path(self, wanted: Wanted) -> str:
        """With the bucket that a host may name."""
        bucket = self.bucket_of_host(wanted.request) if wanted.service == "s3" else ""
        return f"/{bucket}{wanted.request.path}" if bucket else wanted.request.path


def _check_upload(request: Request) -> None:
    importlib.import_module("gureum.aws.neighbours.certificate_files").check_upload(request)


def _is_json(wanted: Wanted) -> bool:
    """By what told its operation (`identify`)."""
    return wanted.service not in ("s3", *BY_THEIR_ADDRESS) and "x-amz-target" in wanted.request.headers


def _is_receive(wanted: Wanted) -> bool:
    return wanted.service == "sqs" and wanted.operation == "ReceiveMessage"


def _bucket_of_host(host: str, endpoint_name: str) -> str:
    """AWS: virtual-hosted style, "BUCKET.s3.REGION.HOST" or "BUCKET.HOST"; "" for path style."""
    name = host.rpartition(":")[0] if ":" in host else host
    for base in (endpoint_name, "localhost", "amazonaws.com", "localhost.localstack.cloud"):
        if not name.endswith(f".{base}"):
            continue
        labels = name.removesuffix(f".{base}")
        for mark in (".s3.", ".s3-"):
            if mark in f"{labels}.":
                return f"{labels}.".partition(mark)[0]
        if labels == "s3" or labels.startswith(("s3.", "s3-")):
            return ""
        return labels
    return ""


def _headers(wanted: Wanted) -> dict[str, str]:
    """moto reads a body as a form, or as compressed, when its headers say so, also an object's: those are told to it by other names."""
    request = wanted.request
    headers = {name: value for name, value in request.headers.items() if name not in NOT_PASSED}
    if wanted.service in BY_THEIR_ADDRESS:
        headers[OPERATION] = BY_ADDRESS
        return {**headers, "content-type": "text/xml"} if wanted.service in OF_XML else headers
    if wanted.service != "s3":
        kind = headers.get("content-type", "")
        if _is_json(wanted) and not kind.startswith(("application/x-amz-json-", "application/json")):
            headers["content-type"] = "application/x-amz-json-1.1"
        return {**headers, OPERATION: wanted.operation}
    if request.method == "POST" and not wanted.operation:
        return headers  # S3's only real forms are browsers', which are no operation
    if COPY_SOURCE in headers:
        headers[COPY_SOURCE] = headers[COPY_SOURCE].replace("+", "%20")
    return {OF_OBJECTS.get(name, name): value for name, value in headers.items()}


def _response(wanted: Wanted, answer: Any) -> Response:
    body = mend(wanted.service, wanted.operation, wanted.region, wanted.request, answer.body)
    # A HEAD request is told the length of the body that it does not get.
    length = answer.headers.get("content-length") if not body else None
    return Response(answer.status, {**answer.headers, "content-length": length or str(len(body))}, body)


def _full() -> AwsError:
    text = "The neighbours' journal, or its disk, is full (setting neighbours_journal_bytes); nothing was changed."
    return AwsError("ServiceUnavailable", text, status=503)


def _cannot_write() -> AwsError:
    return AwsError("InternalFailure", "The neighbours' journal cannot be written; nothing was changed.", status=500)


__all__ = ["OFFERED", "Neighbours"]
