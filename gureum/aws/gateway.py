"""The AWS endpoint: the way of a request, as one readable list of steps.

    read → whose and where → which service and operation → load → parse and check → prepare the region → run (again on conflict) → answer

A user's fault leaves as the API's own error. An exception that nobody expected is answered as InternalFailure/500, logged with its request id
and counted: this is one of the two catch-alls of the project, and fuzzing asserts that the count stays zero.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from gureum.aws.call import Call
from gureum.aws.chunk_signatures import checksums
from gureum.aws.credential_errors import in_words_of
from gureum.aws.credentials import USER_KEY_PREFIX, Caller, Proof, UserKey, anonymous, check_guest_key, identify_caller
from gureum.aws.errors import AwsError
from gureum.aws.neighbours.front import Neighbours, Wanted
from gureum.aws.neighbours.guests import stay_in_account
from gureum.aws.neighbours.in_use import DELETING, check_unused
from gureum.aws.protocols import (
    Compiled,
    Request,
    Response,
    Target,
    compile_operation,
    credential_scope,
    decode_body,
    error_response,
    identify,
    load_service,
)
from gureum.aws.s3_forms import Form, is_form, read_form
from gureum.aws.s3_policies import judge, signed_form
from gureum.aws.s3_queries import SignedQuery, signed_query
from gureum.aws.services import Services
from gureum.aws.websockets import WebSocket
from gureum.base import tallies
from gureum.base.numerals import natural
from gureum.base.tallies import Tally
from gureum.core.neighbours import NeighbourRefused, Unasked
from gureum.core.world import World
from gureum.ports.telemetry import TelemetryBroken, TelemetryFull
from gureum.store.contract import Conflict, StoreBroken, StoreFull

log = logging.getLogger("gureum.aws")
LIMIT_BODY_BYTES = 64 * 1024 * 1024
LIMIT_SENT_BYTES = {("cloudwatch", "PutMetricData"): 1024 * 1024}
"""Of operations that take less, as it was sent (AWS: PutMetricData)."""
LIMIT_RUNS = 40
VOUCHED = frozenset({("sts", "AssumeRoleWithWebIdentity"), ("sts", "AssumeRoleWithSAML")})
"""Calls that carry what vouches for who makes them, and no signature. AWS: "Comparing AWS STS credentials"."""
DECODED_LENGTH = "x-amz-decoded-content-length"
OF_CHUNKS = (DECODED_LENGTH, "x-amz-trailer")
LIMIT_VOUCHED_BYTES = 64 * 1024


class Counters:
    """What `/metrics` tells of the gateway. `faults`: exceptions nobody expected. `latencies`: of the calls of each service, and `used`: how often
    (scope, service, operation) was called, until somebody takes them and puts an empty table in their place."""

    def __init__(self) -> None:
        self.faults = self.conflicts = 0
        self.calls: dict[tuple[str, str, str], int] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        self.latencies: dict[str, Tally] = {}
        self.used: dict[tuple[str, str, str], int] = {}


class Gateway:
    """`neighbours`: who answers the services that gureum does not build; None: nobody."""

    def __init__(self, world: World, services: Services, neighbours: Neighbours | None = None) -> None:
        self.counters = Counters()
        self._world = world
        self._services = services
        self._neighbours = neighbours
        self._prepared: set[tuple[str, str]] = set()
        self._preparing = asyncio.Lock()
        self._fragments: dict[Any, Any] = {}

    async def look_at_guest(self, head: Request, service: str = "") -> Response | None:
        """The refusal of a guest's request whose head shows that it cannot be good, before its body is read. `service`: the signing name of the
        only one that is asked where it comes from."""
        target = identify(head)
        if service in ("", "sts") and _may_be_vouched_for(head, target):
            return None
        try:
            check_guest_key(head, self._world.client, service, await self._user_of(head))
        except AwsError as error:
            return _refused(in_words_of(target, error), target, _new_request_id())
        return None

    async def handle(self, request: Request, *, guest: bool = False) -> Response:
        """`guest`: a machine of the cloud calls (guest_api.py)."""
        request_id = _new_request_id()
        target: Target | None = None
        outcome = "ok"
        started = asyncio.get_running_loop().time()
        try:
            sent, sent_bytes = request, len(request.body)
            request = _decoded(sent)
            target = identify(request)
            _check_size(target, sent_bytes)
            neighbours = self._neighbours
            if not target.service and neighbours and neighbours.offers("s3") and _may_be_bucket(request):
                target = Target("s3", "rest-xml", "")
            if (target.service, target.operation) in VOUCHED and credential_scope(sent) is None:
                return await self._answer(request, request_id, anonymous(self._world.settings, guest=guest), target)
            form, proof = self._browsers(sent, target)
            user = await self._user_of(sent, proof) if _may_be_user(sent, proof) else None
            caller = self._caller(sent, target, user, guest=guest, proof=proof)
            if form is not None:
                judge(form, self._bucket_of(request), self._world.clock.now())
                request = form.rebuilt(request)
            elif isinstance(proof, SignedQuery):
                request = proof.plain(request)
            return await self._answer(request, request_id, caller, target)
        except AwsError as error:
            outcome, target = error.code, target or identify(request)
            return _refused(error, target, request_id)
        except Exception:
            outcome = "InternalFailure"
            self.counters.faults += 1
            log.exception("call failed", extra={"request_id": request_id, "target": str(target)})
            fault = AwsError("InternalFailure", f"An internal error has occurred. Request id {request_id}.", status=500)
            return _refused(fault, target, request_id)
        finally:
            self._count(target, outcome, asyncio.get_running_loop().time() - started)

    def _browsers(self, request: Request, target: Target) -> tuple[Form | None, Proof | None]:
        """What S3 takes beside signatures of Version 4: browsers' forms and older addresses."""
        if target.service != "s3" or "authorization" in request.headers or credential_scope(request) is not None:
            return None, None
        assert self._neighbours is not None
        bucket = self._neighbours.bucket_of_host(request)
        form = read_form(request) if is_form(request, bucket) else None
        return form, signed_form(form) if form is not None else signed_query(request, bucket)

    def _bucket_of(self, request: Request) -> str:
        named = self._neighbours.bucket_of_host(request) if self._neighbours is not None else ""
        return named or unquote(request.path.strip("/").partition("/")[0])

    async def _user_of(self, request: Request, proof: Proof | None = None) -> UserKey | None:
        """What IAM tells of the request's key, if it made it. AwsError as `identify_caller` where the signature is none."""
        signed = (proof or credential_scope(request)) if self._neighbours is not None else None
        if self._neighbours is None or signed is None or not signed.access_key.startswith(USER_KEY_PREFIX):
            return None
        return await self._neighbours.user_key(signed.access_key)

    def _caller(
        self, request: Request, target: Target, user: UserKey | None, *, guest: bool, proof: Proof | None
    ) -> Caller:
        world = self._world
        try:
            return identify_caller(
                request, world.settings, world.client, world.sealer, guest=guest, user=user, proof=proof
            )
        except AwsError as error:
            raise in_words_of(target, error) from error

    async def _answer(self, request: Request, request_id: str, caller: Caller, target: Target) -> Response:
        if not target.service:
            raise AwsError("InvalidAction", "The service of this request cannot be told.", status=400)
        if self._neighbours is not None and self._neighbours.offers(target.service):
            return await self._ask_neighbour(self._neighbours, request, caller, target)
        compiled = compile_operation(target.service, target.operation, target.protocol)
        function = self._services.operation(target.service, target.operation)
        if function is None:
            raise _not_built(target)
        params = compiled.read(request)
        with self._world.tracer.span(f"{target.service} {target.operation}") as span:
            call = self._call(request_id, caller, target, params, compiled)
            used, key = self.counters.used, (call.scope, target.service, target.operation)
            used[key] = used.get(key, 0) + 1
            await self._prepare(call)
            try:
                result = await self._run(function, call)
            except AwsError as error:
                span.error = error.code
                raise
            return compiled.serialize(result, request_id)

    async def _ask_neighbour(
        self, neighbours: Neighbours, request: Request, caller: Caller, target: Target
    ) -> Response:
        with self._world.tracer.span(f"{target.service} {target.operation}"):
            if caller.guest:
                stay_in_account(target, request, caller.account)
            if target.operation == DELETING:
                await check_unused(neighbours, self._world.client, caller.account, caller.region, request)
            place = (caller.account, caller.region)
            named = (target.service, target.operation, *place, request, caller.guest, target.protocol)
            wanted = Wanted(*named, caller=caller.principal)
            return await neighbours.handle(wanted)

    async def channel(self, socket: WebSocket) -> bool:
        """Serves a WebSocket to its end; False when there is nothing on its path."""
        function = self._services.channel(socket.path)
        if function is None:
            return False
        try:
            await function(self._world, socket)
        except Exception:
            self.counters.faults += 1
            log.exception("a channel failed", extra={"path": socket.path})
        return True

    async def _run(self, function: Callable[[Call], Any], call: Call, *, dry: bool = True) -> Any:
        """Runs the operation; from its beginning again when what it had read was changed by another call meanwhile, or
        when it needs a neighbour's answer."""
        for _ in range(LIMIT_RUNS):
            try:
                found = function(call)
                result = found if found.__class__ is dict or not inspect.isawaitable(found) else await found
            except Conflict:
                self.counters.conflicts += 1
                continue
            except Unasked as unasked:
                await self._ask(unasked)
                continue
            except (StoreFull, TelemetryFull) as full:
                raise AwsError(
                    "InternalFailure", "The store's disk is full; nothing was changed.", status=500
                ) from full
            except (StoreBroken, TelemetryBroken) as broken:
                raise AwsError(
                    "InternalFailure", "The store cannot write; nothing was changed.", status=500
                ) from broken
            if dry:
                call.end_dry_run()
            return result
        raise AwsError("ServiceUnavailable", "The request lost against other changes too often. Try again.", status=503)

    async def _ask(self, unasked: Unasked) -> None:
        try:
            await self._world.known.ask(unasked.question)
        except NeighbourRefused as refused:
            raise AwsError(refused.code, refused.text, status=503) from refused

    async def _prepare(self, call: Call) -> None:
        for name, prepare in self._services.preparations(call.service):
            if (name, call.scope) in self._prepared:
                continue
            async with self._preparing:
                await self._run(prepare, call, dry=False)
                self._prepared.add((name, call.scope))

    def forget_prepared(self) -> None:
        """After a reset every region starts anew."""
        self._prepared.clear()

    def _call(
        self, request_id: str, caller: Caller, target: Target, params: dict[str, Any], compiled: Compiled
    ) -> Call:
        world = self._world
        return Call(
            service=target.service,
            operation=target.operation,
            params=params,
            account=caller.account,
            region=caller.region,
            access_key=caller.access_key,
            request_id=request_id,
            client=world.client,
            settings=world.settings,
            events=world.events,
            tracer=world.tracer,
            metrics=world.metrics,
            logs=world.logs,
            agent=world.link,
            compiled=compiled,
            sealer=world.sealer,
            fragments=self._fragments,
            tails=world.tails,
            known=world.known,
            issuers=world.issuers,
            guest=caller.guest,
            principal=caller.principal,
        )

    def _count(self, target: Target | None, outcome: str, seconds: float) -> None:
        """Names that clients made up are counted as one, so that the table of counters stays as long as the models."""
        known = target is not None and target.service and target.operation in load_service(target.service).operations
        service, operation = (target.service, target.operation) if target is not None and known else ("", "")
        counters = self.counters
        counters.calls[service, operation, outcome] = counters.calls.get((service, operation, outcome), 0) + 1
        counters.seconds[service, operation] = counters.seconds.get((service, operation), 0.0) + seconds
        tallies.add(counters.latencies.setdefault(service, {}), seconds)


def refuse(head: Request, error: AwsError) -> Response:
    """The answer to a request whose body was not taken, in the protocol of its head."""
    return _refused(error, identify(head), _new_request_id())


def _new_request_id() -> str:
    """A random UUID (RFC 9562, version 4), as AWS's are."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) & 3]}{text[17:20]}-{text[20:]}"


def _may_be_user(request: Request, proof: Proof | None) -> bool:
    """Sparing most calls the way to the neighbours' table."""
    return (
        proof is not None
        or USER_KEY_PREFIX in request.headers.get("authorization", "")
        or USER_KEY_PREFIX in request.query
    )


def _may_be_vouched_for(head: Request, target: Target) -> bool:
    """A guest's request without a signature that may be such a call: what its body says, nobody knows yet."""
    if credential_scope(head) is not None or "authorization" in head.headers:
        return False
    length = natural(head.headers.get("content-length", ""))
    form = head.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    small = form and length is not None and length <= LIMIT_VOUCHED_BYTES
    return (head.method == "POST" and small) or (head.method == "GET" and (target.service, target.operation) in VOUCHED)


def _may_be_bucket(request: Request) -> bool:
    """Without a signature: what browsers and curl do with a bucket's objects. Signed for S3's relatives (`s3express`):
    clients do so by the bucket's name. What is signed for another service is never S3's."""
    scope = credential_scope(request)
    return scope is None or scope.signing_name.startswith("s3")


def _check_size(target: Target, sent_bytes: int) -> None:
    limit = LIMIT_SENT_BYTES.get((target.service, target.operation), LIMIT_BODY_BYTES)
    if sent_bytes > limit:
        text = f"Request size {sent_bytes} exceeded {limit} bytes"
        raise AwsError("RequestEntityTooLarge", text, status=413)


def _decoded(request: Request) -> Request:
    """What was encoded for the way only. An object's own encoding is its writer's, and is kept with it. AWS: S3 PutObject, Content-Encoding."""
    encodings = [one.strip() for one in request.headers.get("content-encoding", "").split(",") if one.strip()]
    streamed = request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
    if _is_object(request):
        kept = [one for one in encodings if one.lower() != "aws-chunked"]
        encodings = ["aws-chunked"] if streamed or len(kept) < len(encodings) else []
    else:
        kept = []
    if not encodings:
        return request
    body = decode_body({"content-encoding": ",".join(encodings)}, request.body, LIMIT_BODY_BYTES)
    headers = {name: value for name, value in request.headers.items() if name != "content-encoding"}
    if encodings == ["aws-chunked"]:
        if headers.get(DECODED_LENGTH) and natural(headers[DECODED_LENGTH]) != len(body):
            text = "You did not provide the number of bytes specified by the x-amz-decoded-content-length header"
            raise AwsError("IncompleteBody", text, status=400)
        told = checksums(request.body, body) if "x-amz-trailer" in headers else {}
        headers = {name: value for name, value in headers.items() if name not in OF_CHUNKS}
        headers |= {**told, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "content-length": str(len(body))}
    if kept:
        headers["content-encoding"] = ",".join(kept)
    return Request(method=request.method, path=request.path, query=request.query, headers=headers, body=body)


def _is_object(request: Request) -> bool:
    """Of other services only signed requests have encoded bodies, and none of them by PUT."""
    scope = credential_scope(request)
    return scope.signing_name.startswith("s3") if scope is not None else request.method == "PUT"


def _not_built(target: Target) -> AwsError:
    text = f"gureum does not build {target.operation} of {target.service} yet."
    return AwsError("NotImplemented", text, status=501)


def _refused(error: AwsError, target: Target | None, request_id: str) -> Response:
    service, protocol = (target.service or None, target.protocol) if target else (None, "query")
    return error_response(service, protocol, error, request_id)
