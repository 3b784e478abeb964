"""EC2 without HTTP: operations called on a store in memory, results held against botocore's shapes, core objects lowered as they change."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.base.settings import Settings
from gureum.engine.client import Client
from gureum.engine.events import Events
from gureum.engine.lowering import Desired, Lowering
from gureum.engine.registry import Registry
from gureum.engine.tracing import Tracer
from gureum.store.contract import Conflict
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.aws.model_shapes import check_shape
from tests.quotas import ROOMY

POOL = "198.18.16.0/20"
_registry = Registry()
_registry.scan("gureum.aws.call")
_registry.scan("gureum.aws.ec2")
_model = botocore.session.get_session().get_service_model("ec2")


class FixedClock:
    """Time stands still unless a test moves it."""

    def __init__(self) -> None:
        self.time = 1_750_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class OpenSeals:
    """Hide nothing."""

    def seal(self, secret: str, context: str) -> str:
        return f"{context}/{secret}"


class Cloud:
    """One account and region. `cloud("CreateVpc", CidrBlock=…)` answers the operation's result or raises AwsError."""

    def __init__(self, client: Client | None = None, region: str = "us-east-1", account: str = "111122223333") -> None:
        self.client = client or Client(MemoryStore(), FixedClock(), _registry.kinds.values())
        self.settings = Settings(pool=POOL, **ROOMY)
        self.region = region
        self.account = account
        self.changes: list[tuple[list[Desired], list[str]]] = []
        functions = _registry.lower_functions()
        self.lowering = Lowering(
            self.client, functions, lambda changed, removed: self.changes.append((changed, removed))
        )
        asyncio.run(self._prepare())

    def __call__(self, name: str, **params: Any) -> dict[str, Any]:
        return asyncio.run(self.run(name, **params))

    async def run(self, name: str, **params: Any) -> dict[str, Any]:
        function = _registry.marks("operation")[f"ec2:{name}"].target
        check_shape(params, _model.operation_model(name).input_shape, name)
        for _ in range(20):
            call = self.call(name, **params)
            try:
                found = function(call)
                result = await found if inspect.isawaitable(found) else found
            except Conflict:
                continue
            call.end_dry_run()
            check_shape(result, _model.operation_model(name).output_shape, name)
            return result
        raise AssertionError("conflicts without end")

    def call(self, name: str = "", **params: Any) -> Call:
        return Call(
            service="ec2",
            operation=name,
            params=params,
            account=self.account,
            region=self.region,
            access_key=self.account,
            request_id="test",
            client=self.client,
            settings=self.settings,
            sealer=OpenSeals(),
            events=Events(),
            tracer=Tracer(),
            metrics=MemoryMetrics(),
            logs=MemoryLogs(self.client.clock),
        )

    def refused(self, name: str, **params: Any) -> tuple[str, str]:
        """Code and message with which the call is refused; nothing may have changed."""
        revision = self.client.store.revision
        with pytest.raises(AwsError) as caught:
            self(name, **params)
        assert self.client.store.revision == revision
        return caught.value.code, caught.value.message

    def code(self, name: str, **params: Any) -> str:
        return self.refused(name, **params)[0]

    def wished(self, kind: str) -> dict[str, Any]:
        """Core objects of a kind that are wished now: name → spec."""
        return {one.name: one.spec for one in self.lowering.desired() if one.kind == kind}

    def _prepare_again(self) -> None:
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        await _registry.marks("prepare")["ec2"].target(self.call())

    # What many tests start from

    def vpc(self, cidr: str = "10.0.0.0/16") -> str:
        return self("CreateVpc", CidrBlock=cidr)["Vpc"]["VpcId"]

    def subnet(self, vpc: str, cidr: str = "10.0.1.0/24", **params: Any) -> str:
        return self("CreateSubnet", VpcId=vpc, CidrBlock=cidr, **params)["Subnet"]["SubnetId"]

    def gateway(self, vpc: str) -> str:
        gateway = self("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
        return gateway

    def interface(self, subnet: str, **params: Any) -> str:
        return self("CreateNetworkInterface", SubnetId=subnet, **params)["NetworkInterface"]["NetworkInterfaceId"]

    def group(self, vpc: str, name: str = "web") -> str:
        return self("CreateSecurityGroup", VpcId=vpc, GroupName=name, Description="a group")["GroupId"]

    def one(self, name: str, member: str, **params: Any) -> dict[str, Any]:
        """The one item that a Describe call answers."""
        found = self(name, **params)[member]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    yield made
    made.lowering.close()
    made.client.close()


@pytest.fixture
def slow_commits(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a store on disk, calls at once have all read before the first of them is committed."""
    commit = cloud.client.store.commit

    async def later(*args: Any) -> int:
        await asyncio.sleep(0)
        return await commit(*args)

    monkeypatch.setattr(cloud.client.store, "commit", later)


@pytest.fixture
def registry() -> Registry:
    return _registry


@pytest.fixture
def other_region(cloud: Cloud) -> Cloud:
    """Another region of the same account, in the same store."""
    return Cloud(cloud.client, region="eu-west-1")


@pytest.fixture
def new_cloud() -> type[Cloud]:
    """For tests that need many clouds."""
    return Cloud


@pytest.fixture(scope="session")
def new_cloud_type() -> type[Cloud]:
    """For tests that keep a cloud longer than one test."""
    return Cloud
