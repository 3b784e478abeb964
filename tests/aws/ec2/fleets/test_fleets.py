"""EC2 Fleets as calls see them; the wire tests show them at work."""

from __future__ import annotations

from typing import Any

import pytest

from gureum.aws.ec2.images.images import BUILTINS


@pytest.fixture
def wanted(cloud: Any) -> dict[str, Any]:
    data = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano"}
    template = cloud("CreateLaunchTemplate", LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    named = {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"}
    return {
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": named}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
    }


def test_a_fleet_that_was_deleted_without_its_instances_may_end_with_them_yet(cloud: Any, wanted: Any) -> None:
    """As in github.com/getmoto/moto, tests that were run against AWS."""
    fleet = cloud("CreateFleet", **wanted)["FleetId"]

    def delete(*, terminate: bool) -> tuple[list[Any], list[Any]]:
        told = cloud("DeleteFleets", FleetIds=[fleet], TerminateInstances=terminate)
        return told["SuccessfulFleetDeletions"], told["UnsuccessfulFleetDeletions"]

    (kept,), _ = delete(terminate=False)
    assert kept["CurrentFleetState"] == "deleted_running"
    none, (again,) = delete(terminate=False)
    assert (none, again["Error"]["Code"]) == ([], "fleetNotInDeletableState")
    (ended,), _ = delete(terminate=True)
    assert (ended["PreviousFleetState"], ended["CurrentFleetState"]) == ("deleted_running", "deleted_terminating")
    none, (again,) = delete(terminate=True)
    assert (none, again["Error"]["Code"]) == ([], "fleetNotInDeletableState")


def test_a_dry_run_of_a_fleet_does_not_look_at_its_times_and_policy(cloud: Any, wanted: Any) -> None:
    """As in github.com/getmoto/moto, tests that were run against AWS: a time that is over, a policy that is none."""
    said = {"ValidUntil": 1.0, "ExcessCapacityTerminationPolicy": "terminate"}
    assert cloud.code("CreateFleet", **wanted, **said) == "InvalidParameterValue"
    assert cloud.code("CreateFleet", **wanted, **said, DryRun=True) == "DryRunOperation"
    assert cloud("DescribeFleets")["Fleets"] == []
