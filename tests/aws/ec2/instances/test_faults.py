"""What becomes of an instance when the machine cannot do its part."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.lifecycle import reconcile_instance
from gureum.core.machine import Status
from tests.aws.ec2.conftest import Cloud

FAILED = Status("Container/x", "", "failed", reason="crun is not installed")
RUNNING = Status("Container/x", "", "ready", data={"state": "running"})


def told(cloud: Cloud, name: str, status: Status) -> dict[str, Any]:
    """The instance as the API shows it after the machine has told `status` of its container."""
    call = cloud.call()
    instance = call.get(Instance, name)
    assert instance is not None
    world: Any = SimpleNamespace(
        client=cloud.client,
        clock=cloud.client.clock,
        settings=call.settings,
        events=call.events,
        tracer=call.tracer,
        metrics=call.metrics,
        logs=call.logs,
        sealer=None,
        known=None,
        link=SimpleNamespace(synced=True),
        seen=lambda id_: status,
    )

    async def reconcile() -> None:
        await reconcile_instance(world, instance)

    asyncio.run(reconcile())
    found: dict[str, Any] = cloud("DescribeInstances", InstanceIds=[name])["Reservations"][0]["Instances"][0]
    return found


def launched(cloud: Cloud) -> str:
    made = cloud("RunInstances", ImageId=BUILTINS[0].id, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    return str(made["Instances"][0]["InstanceId"])


def test_launch_that_the_machine_refuses_ends_terminated(cloud: Cloud) -> None:
    """AWS: "Server.InternalError: Internal error on launch" (EC2 user guide, instance terminates immediately)."""
    seen = told(cloud, launched(cloud), FAILED)
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("shutting-down", "Server.InternalError")


def test_instance_that_has_run_is_stopped_and_keeps_its_disk_when_the_machine_refuses_it(cloud: Cloud) -> None:
    name = launched(cloud)
    assert told(cloud, name, RUNNING)["State"]["Name"] == "running"
    seen = told(cloud, name, FAILED)
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("stopping", "Server.InternalError")
    stopped = Status("Container/x", "", "ready", data={"state": "stopped"})
    assert told(cloud, name, stopped)["State"]["Name"] == "stopped"
    cloud("StartInstances", InstanceIds=[name])
    seen = told(cloud, name, FAILED)
    assert (seen["State"]["Name"], seen["StateReason"]["Code"]) == ("stopping", "Server.InternalError")
    assert seen["BlockDeviceMappings"]
