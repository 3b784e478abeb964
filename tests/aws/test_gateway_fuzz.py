"""Bad input at the gateway, on every protocol and with every operation that is built: the API's own error, nothing changed, no surprise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.gateway import Gateway
from gureum.aws.protocols import Request, Response, load_service
from gureum.aws.services import Services, built_services
from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.world import World
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics


class AbsentLink:
    """No agent: what is asked of the machine is refused."""

    synced = connected = False

    def __init__(self, *_: Any) -> None:
        self.seen: dict[str, Any] = {}

    def change(self, put: Any, remove: Any) -> None: ...


class Fuzzed:
    """A gateway on a store in memory, in a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = self.loop.run_until_complete(self._build(folder))
        services = Services(self.world)
        services.load_stored()
        self.operations = {service: sorted(services.levels(service)) for service in built_services()}
        self.gateway = Gateway(self.world, services)

    async def _build(self, folder: Path) -> World:
        return World(
            MemoryStore(),
            SystemClock(),
            Settings(pool="198.18.16.0/20"),
            Sealer(folder / "key"),
            AbsentLink,
            metrics=MemoryMetrics(),
            logs=MemoryLogs(SystemClock()),
        )

    def send(self, request: Request) -> Response:
        async def once() -> Response:
            return await asyncio.wait_for(self.gateway.handle(request), 20)

        return self.loop.run_until_complete(once())

    def settle(self) -> None:
        """What follows from earlier requests is done: its commits are not the next one's."""

        async def idle() -> None:
            await asyncio.sleep(0)
            await asyncio.wait_for(self.world.loop.idle(), 20)

        self.loop.run_until_complete(idle())

    @property
    def revision(self) -> int:
        return self.world.client.store.revision


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    made = Fuzzed(tmp_path_factory.mktemp("keys"))
    made.send(form("ec2", {"Action": "DescribeVpcs"}))
    yield made
    made.loop.run_until_complete(made.world.close())
    made.loop.close()


def headers(service: str, **more: str) -> dict[str, str]:
    scope = f"000000000000/20260101/us-east-1/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00", **more}


def form(service: str, fields: dict[str, str]) -> Request:
    version = load_service(service).metadata.api_version
    body = "&".join(f"{quote(name)}={quote(value)}" for name, value in {"Version": version, **fields}.items())
    return Request(
        "POST", "/", "", headers(service, **{"content-type": "application/x-www-form-urlencoded"}), body.encode()
    )


texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "99999999999999999999",
            "1e400",
            "NaN",
            "true",
            "vpc-1",
            "vpc-0123456789abcdef0",
            "i-0123456789abcdef0",
        ]
    ),
    st.sampled_from(
        [
            "10.0.0.0/16",
            "0.0.0.0/0",
            "300.1.1.1/8",
            "10.0.0.0/33",
            "::/0",
            "tcp",
            "$Latest",
            "../../etc/passwd",
            "a" * 3000,
            "\x00",
        ]
    ),
)


def members(service: str, operation: str) -> list[str]:
    """Wire names to try: of the input's members, with and without an index."""
    model = load_service(service)
    shape = model.operations[operation].input
    names = list(model.shape(shape.shape).members) if shape else []
    return [
        *names,
        *(f"{name}.1" for name in names),
        *(f"{name[:-1]}.1" for name in names),
        "Filter.1.Name",
        "Filter.1.Value.1",
        "Nonsense",
    ]


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_form_is_answered_with_the_services_own_words(fuzzed: Fuzzed, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(fuzzed.operations["ec2"]))
    fields = data.draw(st.dictionaries(st.sampled_from(members("ec2", operation)), texts, max_size=6))
    check(fuzzed, form("ec2", {"Action": operation, **fields}))


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_sts_form_and_any_ssm_document(fuzzed: Fuzzed, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(fuzzed.operations["sts"]))
    fields = data.draw(st.dictionaries(st.sampled_from(members("sts", operation)), texts, max_size=4))
    check(fuzzed, form("sts", {"Action": operation, **fields}))
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), texts),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
    document = data.draw(
        st.dictionaries(
            st.sampled_from(["Name", "Names", "Path", "WithDecryption", "NextToken", "x"]), values, max_size=4
        )
    )
    for name in fuzzed.operations.get("ssm", []):
        kind = {"x-amz-target": f"AmazonSSM.{name}", "content-type": "application/x-amz-json-1.1"}
        check(fuzzed, Request("POST", "/", "", headers("ssm", **kind), json.dumps(document).encode()))


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "X"]),
    path=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=255), max_size=40),
    query=st.text(max_size=60),
    kind=st.sampled_from(
        ["", "application/x-www-form-urlencoded", "application/x-amz-json-1.1", "application/cbor", "text/xml"]
    ),
    target=st.sampled_from(["", "AmazonSSM.GetParameter", "X.Y", "Logs_20140328.CreateLogGroup", "."]),
    encoding=st.sampled_from(["", "gzip", "br", "aws-chunked"]),
    service=st.sampled_from(["ec2", "sts", "ssm", "s3", "monitoring", "nothing"]),
    body=st.binary(max_size=300),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_at_all(fuzzed: Fuzzed, **parts: Any) -> None:
    found = headers(parts["service"])
    for name, value in (
        ("content-type", parts["kind"]),
        ("x-amz-target", parts["target"]),
        ("content-encoding", parts["encoding"]),
    ):
        if value:
            found[name] = value
    if parts["kind"] == "application/cbor":
        found["smithy-protocol"] = "rpc-v2-cbor"
    check(fuzzed, Request(parts["method"], "/" + parts["path"], parts["query"], found, parts["body"]))


def check(fuzzed: Fuzzed, request: Request) -> None:
    fuzzed.settle()
    before, faults = fuzzed.revision, fuzzed.gateway.counters.faults
    response = fuzzed.send(request)
    assert 200 <= response.status < 600
    assert fuzzed.gateway.counters.faults == faults, f"unexpected exception for {request}"
    if response.status >= 400:
        assert fuzzed.revision == before, f"an error changed something: {request}"


def test_made_up_names_do_not_grow_the_counters(fuzzed: Fuzzed) -> None:
    before = len(fuzzed.gateway.counters.calls)
    for number in range(200):
        check(fuzzed, form("ec2", {"Action": f"Nonsense{number}"}))
    assert len(fuzzed.gateway.counters.calls) <= before + 2
