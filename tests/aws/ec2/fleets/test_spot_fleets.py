"""Spot Fleet requests: what they launch from, in the form fleets have it; the wire tests show them at work."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gureum.aws.ec2.fleets.kinds import LIMIT_HISTORY, Fleet, FleetSpec, Record, recorded
from gureum.aws.ec2.fleets.launches import OWN_LAUNCH
from gureum.aws.ec2.fleets.spot_fleet_configs import configs_of
from gureum.aws.ec2.fleets.spot_kinds import SpotRequest
from gureum.aws.ec2.fleets.spot_requests import reconcile_request
from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.ec2.instances.kinds import Instance, InstanceStatus
from gureum.aws.errors import AwsError
from gureum.engine.events import Events
from gureum.engine.resource import Meta

PERSISTENT = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}


def test_each_subnet_of_a_specification_is_a_pool_and_prices_are_of_a_unit() -> None:
    groups = [{"GroupId": "sg-1"}, {"GroupName": "web"}]
    one = {"ImageId": "ami-1", "InstanceType": "t3.nano", "SubnetId": "subnet-1, subnet-2", "WeightedCapacity": 4.0}
    (config,) = configs_of({"SpotPrice": "0.5", "LaunchSpecifications": [{**one, "SecurityGroups": groups}]})
    assert config[OWN_LAUNCH] == {"ImageId": "ami-1", "SecurityGroupIds": ["sg-1"], "SecurityGroups": ["web"]}
    assert [override["SubnetId"] for override in config["Overrides"]] == ["subnet-1", "subnet-2"]
    assert {override["MaxPrice"] for override in config["Overrides"]} == {"2.000000"}


def test_what_is_empty_is_not_wished() -> None:
    """As Terraform's provider sends it."""
    empty = {"IamInstanceProfile": {"Name": ""}, "Placement": {"AvailabilityZone": ""}, "SpotPrice": "", "UserData": ""}
    (config,) = configs_of({"LaunchSpecifications": [{"ImageId": "ami-1", "InstanceType": "t3.nano", **empty}]})
    assert config == {OWN_LAUNCH: {"ImageId": "ami-1"}, "Overrides": [{"InstanceType": "t3.nano"}]}


def test_a_price_of_an_override_goes_before_that_of_the_request() -> None:
    template = {"LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "Version": "1"}}
    overrides = [{"InstanceType": "t3.nano", "SpotPrice": "0.25"}, {"InstanceType": "t3.micro"}]
    (config,) = configs_of({"SpotPrice": "0.5", "LaunchTemplateConfigs": [{**template, "Overrides": overrides}]})
    assert [one["MaxPrice"] for one in config["Overrides"]] == ["0.250000", "0.500000"]


@pytest.mark.parametrize("name", ["AddressingType", "KernelId", "RamdiskId"])
def test_what_is_not_built_is_refused(name: str) -> None:
    with pytest.raises(AwsError, match="not implemented"):
        configs_of({"LaunchSpecifications": [{"ImageId": "ami-1", "InstanceType": "t3.nano", name: "x"}]})


def test_history_is_bounded_and_says_nothing_twice_in_a_row() -> None:
    spec = FleetSpec("maintain", (), 1, 0, 1, "spot")
    fleet = Fleet(meta=Meta(name="fleet-1", scope="1/us-east-1", uid="1", created=0.0), spec=spec)
    fleet = recorded(fleet, *(Record(float(at), "information", "launchSpecUnusable", "", "no room") for at in range(9)))
    assert len(fleet.status.history) == 1
    fleet = recorded(fleet, *(Record(0.0, "instanceChange", "launched", f"i-{n}") for n in range(LIMIT_HISTORY)))
    assert [len(fleet.status.history), fleet.status.history[0].instance] == [LIMIT_HISTORY, "i-0"]


def test_a_fleet_with_nothing_new_in_its_history_is_the_same_fleet() -> None:
    """A copy was written, which woke the fleet's reconcile, which wrote: thousands of commits a second, and no call got in between to cancel it."""
    spec = FleetSpec("maintain", (), 1, 0, 1, "spot")
    fleet = Fleet(meta=Meta(name="fleet-1", scope="1/us-east-1", uid="1", created=0.0), spec=spec)
    told = recorded(fleet, Record(0.0, "information", "launchSpecUnusable", "", "no room"))
    assert told is not fleet
    assert recorded(told, Record(30.0, "information", "launchSpecUnusable", "", "no room")) is told


@pytest.mark.parametrize(("options", "code"), [({}, "UnsupportedOperation"), (PERSISTENT, "")])
def test_a_spot_instance_is_stopped_only_for_a_persistent_request(cloud, options, code):
    """AWS: "Stop a Spot Instance"; the words as diodonfrost/terraform-aws-lambda-scheduler-stop-start 8 has them."""
    market = {"MarketType": "spot", "SpotOptions": options}
    launch = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    name = cloud("RunInstances", **launch, InstanceMarketOptions=market)["Instances"][0]["InstanceId"]
    if not code:
        assert cloud("StopInstances", InstanceIds=[name])["StoppingInstances"][0]["CurrentState"]["Name"] == "stopping"
        return
    told, text = cloud.refused("StopInstances", InstanceIds=[name])
    assert told == code
    assert text.startswith(f"You can't stop the Spot Instance '{name}' because it is associated with a one-time Spot")
    cloud("TerminateInstances", InstanceIds=[name])


def test_a_request_follows_its_instance_as_it_is_stopped_and_started(cloud):
    """AWS: "Spot request states" and "status codes". A request that is open for it launches no second instance."""
    market = {"MarketType": "spot", "SpotOptions": PERSISTENT}
    launch = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    made = cloud("RunInstances", **launch, InstanceMarketOptions=market)["Instances"][0]
    name, id_ = made["InstanceId"], made["SpotInstanceRequestId"]
    scope, client = f"{cloud.account}/us-east-1", cloud.client
    world: Any = SimpleNamespace(client=client, clock=client.clock, events=Events(), poke=None)

    def after(state: Any, code: str = "") -> tuple[str, str, str]:
        instance = client.get(Instance, scope, name)
        transaction = client.transaction()
        transaction.update(msgspec.structs.replace(instance, status=InstanceStatus(state, code)))
        asyncio.run(transaction.commit())
        asyncio.run(reconcile_request(world, client.get(SpotRequest, scope, id_)))
        told = cloud.one("DescribeSpotInstanceRequests", "SpotInstanceRequests", SpotInstanceRequestIds=[id_])
        return told["State"], told["Status"]["Code"], told["InstanceId"]

    assert after("running") == ("active", "fulfilled", name)
    assert after("stopping", "Client.UserInitiatedShutdown") == ("active", "fulfilled", name)
    assert after("stopped", "Client.UserInitiatedShutdown") == ("disabled", "instance-stopped-by-user", name)
    assert after("pending") == ("active", "fulfilled", name)
    assert after("stopped", "Server.SpotInstanceShutdown") == ("open", "instance-stopped-no-capacity", name)
    assert len(client.all(Instance, scope)) == 1
    assert after("stopped", "Client.UserInitiatedShutdown")[0] == "disabled"
    cancelled = cloud("CancelSpotInstanceRequests", SpotInstanceRequestIds=[id_])["CancelledSpotInstanceRequests"]
    assert cancelled == [{"SpotInstanceRequestId": id_, "State": "cancelled"}]
    assert after("stopped", "Client.UserInitiatedShutdown")[1] == "instance-stopped-by-user"
    assert after("running")[0] == "cancelled"
