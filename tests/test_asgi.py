"""The front door: whose requests are let in, and that half of one is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gureum.asgi import Application, is_foreign_page
from gureum.aws.protocols import Request, Response

ENDPOINT = "aws.gureum.test"


def foreign(**headers: str) -> bool:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return is_foreign_page(pairs, ENDPOINT)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:4566",
        "localhost:4566",
        "[::1]:4566",
        "[::1]",
        "192.0.2.7:4566",
        "gureum:4566",
        "host.docker.internal:4566",
        "cloud.default.svc.cluster.local:4566",
        "x.localhost",
        "aws.gureum.test:4566",
        "stream-logs.aws.gureum.test:4566",
        "stream-aws.gureum.test:4566",
        "ec2.us-east-1.amazonaws.com",
        "localhost.localstack.cloud:4566",
        "s3.localhost.localstack.cloud:4566",
        "AWS.Gureum.Test",
        "",
    ],
)
def test_names_that_no_stranger_can_own_are_let_in(host: str) -> None:
    assert not foreign(host=host, user_agent="Boto3/1.40")


@pytest.mark.parametrize(
    "host", ["evil.example.com:4566", "127.0.0.1.nip.io", "amazonaws.com.evil.net", "aws.gureum.test.evil.net"]
)
def test_page_whose_name_was_made_to_point_here_is_refused(host: str) -> None:
    """DNS rebinding: a browser sends no Origin with a GET of its own site, and no Sec-Fetch-Site over plain HTTP."""
    assert foreign(host=host, user_agent="Mozilla/5.0")


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"origin": "http://127.0.0.1:4566", "host": "127.0.0.1:4566"}, False),
        ({"origin": "http://[::1]:4566", "host": "[::1]:4566"}, False),
        ({"origin": "https://evil.example.com", "host": "127.0.0.1:4566"}, True),
        ({"origin": "null", "host": "127.0.0.1:4566"}, True),
        ({"origin": "http://evil.example.com:4566", "host": "evil.example.com:4566"}, True),
        ({"sec_fetch_site": "cross-site", "host": "127.0.0.1:4566"}, True),
        ({"sec_fetch_site": "same-site", "host": "localhost:4566"}, True),
        ({"sec_fetch_site": "none", "host": "localhost:4566"}, False),
        ({"sec_fetch_site": "same-origin", "host": "localhost:4566"}, False),
    ],
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str], refused: bool) -> None:
    assert foreign(**headers) is refused


class Gate:
    """Answers as the gateway would and notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        return Response(200, {}, b"done")


def served(*messages: dict[str, Any]) -> tuple[list[Request], list[dict[str, Any]]]:
    """What the gateway got and what was sent, for a client that does `messages`."""
    gate, sent, waiting = Gate(), [], list(messages)
    anything: Any = gate
    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Application(anything, anything, "", ENDPOINT)(scope, receive, send))
    return gate.seen, sent


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_request_comes_in_parts() -> None:
    seen, sent = served(part(b"Action=", more=True), part(b"CreateVpc", more=False))
    assert [request.body for request in seen] == [b"Action=CreateVpc"]
    assert sent[0]["status"] == 200


def test_bodies_of_all_clients_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One large body is taken, a second beside it is not; what was taken is given back, also by a client that leaves."""
    monkeypatch.setattr("gureum.asgi.LIMIT_BODIES_BYTES", 100)

    async def run() -> None:
        gate, statuses = Gate(), []
        anything: Any = gate
        door = Application(anything, anything, "", ENDPOINT)

        async def call(*messages: Any) -> None:
            waiting = list(messages)

            async def receive() -> dict[str, Any]:
                message = waiting.pop(0)
                return await message if asyncio.isfuture(message) else message

            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
            await door(scope, receive, send)

        rest = asyncio.get_running_loop().create_future()
        slow = asyncio.create_task(call(part(b"x" * 90, more=True), rest))
        await asyncio.sleep(0)
        await call(part(b"x" * 20, more=False))
        assert statuses == [503]
        rest.set_result({"type": "http.disconnect"})
        await slow
        await call(part(b"x" * 90, more=False))
        await call(part(b"x" * 90, more=False))
        assert statuses == [503, 200, 200]

    asyncio.run(run())


def test_half_a_request_is_not_carried_out() -> None:
    """A client that dies on the way has asked for nothing: "…&InstanceId.1=i-1" might go on with "23"."""
    assert served(part(b"Action=CreateVpc&Cid", more=True), {"type": "http.disconnect"}) == ([], [])
