"""Load balancing without HTTP: operations of elbv2 and EC2 on one store in memory, results held against botocore's shapes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import botocore.session
import msgspec
import pytest

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import BlockDevice, Instance, InstanceSpec, InstanceStatus
from gureum.aws.ec2.interfaces.interfaces import new_interface
from gureum.aws.ec2.networks.kinds import Attachment, Subnet
from gureum.aws.elbv2.kinds import TargetGroup
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.base.settings import Settings
from gureum.core.machine import Status
from gureum.core.neighbours import Known, Unasked
from gureum.engine.client import Client
from gureum.engine.events import Events
from gureum.engine.lowering import Desired, Lowering
from gureum.engine.registry import Registry
from gureum.engine.tracing import Tracer
from gureum.store.contract import Conflict
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.aws.model_shapes import check_shape

_registry = Registry()
_registry.scan("gureum.aws.call")
_registry.scan("gureum.aws.ec2")
_registry.scan("gureum.aws.acm")
_registry.scan("gureum.aws.elbv2")
_models = {name: botocore.session.get_session().get_service_model(name) for name in ("ec2", "elbv2")}


class FixedClock:
    """Time stands still unless a test moves it."""

    def __init__(self) -> None:
        self.time = 1_750_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


class Cloud:
    """One account and region. `cloud("CreateLoadBalancer", Name=…)` answers the operation's result or raises AwsError; EC2's operations the
    same, `cloud("ec2:CreateVpc", …)`. `agent.seen`: what a test says the agent sees."""

    def __init__(self, home: str = "/dev/null") -> None:
        self.clock, self.home = FixedClock(), home
        self.client = Client(MemoryStore(), self.clock, _registry.kinds.values())
        self.region, self.account = "us-east-1", "111122223333"
        self.agent = SimpleNamespace(seen={})
        self.known: Known | None = None
        self.sealer: Any = None
        self.lowering = Lowering(self.client, _registry.lower_functions(), lambda changed, removed: None)
        asyncio.run(_registry.marks("prepare")["ec2"].target(self.call("ec2")))
        self.vpc = self("ec2:CreateVpc", CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self("ec2:CreateSubnet", VpcId=self.vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"us-east-1{letter}")[
                "Subnet"
            ]["SubnetId"]
            for i, letter in enumerate("abc", 1)
        ]
        gateway = self("ec2:CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self("ec2:AttachInternetGateway", InternetGatewayId=gateway, VpcId=self.vpc)

    def __call__(self, name: str, **params: Any) -> dict[str, Any]:
        return asyncio.run(self.run(name, **params))

    async def run(self, name: str, **params: Any) -> dict[str, Any]:
        service, _, operation = name.rpartition(":")
        service = service or "elbv2"
        function = _registry.marks("operation")[f"{service}:{operation}"].target
        model = _models[service].operation_model(operation)
        check_shape(params, model.input_shape, operation)
        for _ in range(20):
            call = self.call(service, operation, **params)
            try:
                found = function(call)
                result = await found if inspect.isawaitable(found) else found
            except Conflict:
                continue
            except Unasked as unasked:
                assert self.known is not None
                await self.known.ask(unasked.question)
                continue
            check_shape(result, model.output_shape, operation)
            return result
        raise AssertionError("conflicts without end")

    def call(self, service: str = "elbv2", operation: str = "", **params: Any) -> Call:
        return Call(
            service=service,
            operation=operation,
            params=params,
            account=self.account,
            region=self.region,
            access_key=self.account,
            request_id="test",
            client=self.client,
            settings=Settings(pool="198.18.16.0/20", home=self.home),
            known=self.known,
            sealer=self.sealer,
            events=Events(),
            tracer=Tracer(),
            metrics=MemoryMetrics(),
            logs=MemoryLogs(self.clock),
            agent=self.agent,
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

    def desired(self) -> list[Desired]:
        return self.lowering.desired()

    # What many tests start from

    def application(self, name: str = "web", **params: Any) -> dict[str, Any]:
        params.setdefault("Subnets", self.subnets[:2])
        return self("CreateLoadBalancer", Name=name, **params)["LoadBalancers"][0]

    def network(self, name: str = "net", **params: Any) -> dict[str, Any]:
        if "SubnetMappings" not in params:
            params.setdefault("Subnets", self.subnets[:2])
        return self("CreateLoadBalancer", Name=name, Type="network", **params)["LoadBalancers"][0]

    @staticmethod
    def forward(*groups: str, **params: Any) -> dict[str, Any]:
        """A forward action, by the short form when it is to one group."""
        return forward(*groups, **params)

    def group(self, name: str = "targets", protocol: str = "HTTP", port: int = 80, **params: Any) -> str:
        params.setdefault("VpcId", self.vpc)
        made = self("CreateTargetGroup", Name=name, Protocol=protocol, Port=port, **params)
        return made["TargetGroups"][0]["TargetGroupArn"]

    def listener(self, balancer: dict[str, Any], group: str, protocol: str = "HTTP", port: int = 80) -> str:
        made = self(
            "CreateListener",
            LoadBalancerArn=balancer["LoadBalancerArn"],
            Protocol=protocol,
            Port=port,
            DefaultActions=[forward(group)],
        )
        return made["Listeners"][0]["ListenerArn"]

    def rule(self, listener: str, group: str, priority: int, path: str = "/a/*") -> str:
        made = self(
            "CreateRule",
            ListenerArn=listener,
            Priority=priority,
            Conditions=[{"Field": "path-pattern", "Values": [path]}],
            Actions=[forward(group)],
        )
        return made["Rules"][0]["RuleArn"]

    def instance(self, subnet: str | None = None, state: str = "running") -> str:
        """A machine with its interface, as EC2 stores it."""

        async def make() -> str:
            call = self.call("ec2")
            place = call.get(Subnet, subnet or self.subnets[0])
            assert place is not None
            name = new_id("i-")
            transaction = call.transaction()
            attachment = Attachment(new_id("eni-attach-"), name, 0, call.now)
            new_interface(call, transaction, place, attachment=attachment, sandbox=name)
            spec = InstanceSpec(
                reservation="r-1",
                launch_index=0,
                image="ami-1",
                image_source="builtin:busybox",
                type="t3.micro",
                vpc=place.spec.vpc,
                subnet=place.meta.name,
                zone=place.spec.zone,
                wish="running",
                launched=call.now,
                root_device="/dev/xvda",
                block_devices=(BlockDevice("/dev/xvda", "vol-1", call.now),),
            )
            transaction.create(Instance(meta=call.meta(name), spec=spec, status=InstanceStatus("terminated")))
            await transaction.commit()
            return name

        name = asyncio.run(make())
        self.move(name, state)
        return name

    def move(self, instance: str, state: str) -> None:
        """The instance's state is this from now on."""

        async def change() -> None:
            found = self.call("ec2").get(Instance, instance)
            assert found is not None
            transaction = self.client.transaction()
            transaction.update(msgspec.structs.replace(found, status=InstanceStatus(state)))  # type: ignore[arg-type]
            await transaction.commit()

        asyncio.run(change())

    def address(self, instance: str) -> str:
        shown = self(
            "ec2:DescribeNetworkInterfaces", Filters=[{"Name": "attachment.instance-id", "Values": [instance]}]
        )
        return shown["NetworkInterfaces"][0]["PrivateIpAddress"]

    def register(self, group: str, *ids: str, **params: Any) -> None:
        self("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": id_, **params} for id_ in ids])

    def deregister(self, group: str, *ids: str) -> None:
        self("DeregisterTargets", TargetGroupArn=group, Targets=[{"Id": id_} for id_ in ids])

    def health(self, group: str, **params: Any) -> dict[str, tuple[str, ...]]:
        """Target → (state, reason, description), shorter where there is nothing to tell."""
        shown = self("DescribeTargetHealth", TargetGroupArn=group, **params)["TargetHealthDescriptions"]
        return {one["Target"]["Id"]: tuple(one["TargetHealth"].values()) for one in shown}

    def sees(self, group: str, told: dict[str, list[str]], **more: Any) -> None:
        """What the agent tells of a group's targets ("i-1:80"), and whatever else."""
        id_ = f"TargetGroup/tg-{group.rpartition('/')[2]}"
        self.agent.seen[id_] = Status(id_, "", "ready", data={"targets": told, **more})

    def stored_group(self, arn: str) -> TargetGroup:
        found = self.call().get(TargetGroup, arn.rpartition("/")[2])
        assert found is not None
        return found

    def interfaces(self, balancer: dict[str, Any]) -> list[dict[str, Any]]:
        short = "app" if balancer["Type"] == "application" else "net"
        label = f"ELB {short}/{balancer['LoadBalancerName']}/{balancer['LoadBalancerArn'].rpartition('/')[2]}"
        filters = [{"Name": "description", "Values": [label]}]
        found = self("ec2:DescribeNetworkInterfaces", Filters=filters)["NetworkInterfaces"]
        return sorted(found, key=lambda one: one["AvailabilityZone"])


def forward(*groups: str, **params: Any) -> dict[str, Any]:
    if len(groups) == 1 and not params:
        return {"Type": "forward", "TargetGroupArn": groups[0]}
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": one} for one in groups], **params}}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    yield made
    made.lowering.close()
    made.client.close()


@pytest.fixture(scope="session")
def new_cloud() -> type[Cloud]:
    """For tests that need many clouds, or one for longer than a test."""
    return Cloud


@pytest.fixture
def certificate(monkeypatch: pytest.MonkeyPatch) -> str:
    """An ARN under which there is a certificate, as ACM's would be found."""
    arn = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"
    monkeypatch.setattr("gureum.aws.elbv2.certificates.find_certificate", lambda call, transaction, wanted: wanted)
    return arn


@pytest.fixture(scope="session")
def operations() -> list[str]:
    """Names of elbv2's operations that are built."""
    marks = _registry.marks("operation").values()
    return sorted(one.options["operation"] for one in marks if one.target.__module__.startswith("gureum.aws.elbv2."))
