"""Launch configurations: what groups launched from before there were launch templates. They never change."""

from __future__ import annotations

import uuid
from typing import Any

from gureum.aws.autoscaling.faults import exists, in_use, invalid, not_built
from gureum.aws.autoscaling.from_instance import find_model, taken_over
from gureum.aws.autoscaling.kinds import ConfigurationSpec, Group, LaunchConfiguration, object_name
from gureum.aws.autoscaling.limits import LAUNCH_CONFIGURATIONS
from gureum.aws.autoscaling.lookup import page
from gureum.aws.call import Call
from gureum.aws.ec2.fleets.spot_options import check_price
from gureum.aws.ec2.images.images import find_image
from gureum.aws.ec2.instances.types import find_instance_type
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.partitions import partition_of

_NOT_BUILT = ("ClassicLinkVPCId", "ClassicLinkVPCSecurityGroups", "KernelId", "RamdiskId")


@operation("CreateLaunchConfiguration")
async def create_launch_configuration(call: Call) -> Result:
    """AWS: autoscaling CreateLaunchConfiguration. AlreadyExists, LimitExceeded, ValidationError."""
    params = {key: value for key, value in call.params.items() if key not in ("LaunchConfigurationName", "InstanceId")}
    if model := call.params.get("InstanceId"):
        params = taken_over(call, find_model(call, model)) | params
    configuration = new_configuration(call, call.params["LaunchConfigurationName"], params)
    transaction = call.transaction()
    transaction.create(configuration)
    await call.commit(transaction)
    return {}


def new_configuration(call: Call, name: str, params: dict[str, Any]) -> LaunchConfiguration:
    """Of CreateLaunchConfiguration's parameters without name and instance, checked. AWS: AlreadyExists, LimitExceeded, ValidationError."""
    for refused in _NOT_BUILT:
        if params.get(refused):
            raise not_built(f"A launch configuration with {refused}")
    if call.get(LaunchConfiguration, object_name(name)) is not None:
        raise exists(
            f"Launch Configuration by this name already exists - A launch configuration already exists with the name {name}"
        )
    if len(call.all(LaunchConfiguration)) >= LAUNCH_CONFIGURATIONS:
        raise AwsError(
            "LimitExceeded", f"You have reached the limit of {LAUNCH_CONFIGURATIONS} launch configurations.", status=400
        )
    if not params.get("ImageId") or not params.get("InstanceType"):
        raise invalid(
            "Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters."
        )
    if find_instance_type(params["InstanceType"]) is None:
        raise invalid(f"Invalid instance type: {params['InstanceType']}")
    _check_image(call, params["ImageId"])
    _check_price(params.get("SpotPrice"))
    return LaunchConfiguration(
        meta=call.meta(object_name(name)), spec=ConfigurationSpec(name, str(uuid.uuid4()), dict(params))
    )


@operation("DeleteLaunchConfiguration")
async def delete_launch_configuration(call: Call) -> Result:
    """AWS: autoscaling DeleteLaunchConfiguration. ResourceInUse while a group launches from it."""
    name = call.params["LaunchConfigurationName"]
    found = call.get(LaunchConfiguration, object_name(name))
    if found is None:
        raise invalid(f"Launch configuration name not found - Launch configuration {name} not found")
    if call.by(Group, "configuration", name):
        raise in_use(f"Cannot delete launch configuration {name} because it is attached to an AutoScalingGroup")
    transaction = call.transaction()
    transaction.require_no_newer(Group, call.scope)
    transaction.delete(found)
    await call.commit(transaction)
    return {}


@operation("DescribeLaunchConfigurations")
def describe_launch_configurations(call: Call) -> Result:
    """AWS: autoscaling DescribeLaunchConfigurations."""
    names = call.params.get("LaunchConfigurationNames")
    found = [one for one in call.all(LaunchConfiguration) if not names or one.spec.name in names]
    shown, token = page(call, found, lambda one: one.spec.name)
    return {"LaunchConfigurations": [_show(one) for one in shown]} | token


def _check_price(text: str | None) -> None:
    try:
        check_price(text)
    except AwsError as error:
        raise invalid(error.message) from error


def _check_image(call: Call, image: str) -> None:
    try:
        found = find_image(call, image)
    except AwsError as error:
        raise invalid(error.message) from error
    if found is None and not call.settings.ami_fallback:
        raise invalid(f"AMI ID {image} does not exist")


def _show(configuration: LaunchConfiguration) -> dict[str, Any]:
    """API form. AWS: autoscaling LaunchConfiguration."""
    spec, scope = configuration.spec, configuration.meta.scope
    account, region = scope.split("/")
    defaults: dict[str, Any] = {
        "KeyName": "",
        "SecurityGroups": [],
        "UserData": "",
        "KernelId": "",
        "RamdiskId": "",
        "BlockDeviceMappings": [],
        "InstanceMonitoring": {"Enabled": True},
        "EbsOptimized": False,
        "ClassicLinkVPCSecurityGroups": [],
    }
    arn = f"arn:{partition_of(region)}:autoscaling:{region}:{account}:launchConfiguration:{spec.uuid}:launchConfigurationName/{spec.name}"
    own = {
        "LaunchConfigurationName": spec.name,
        "LaunchConfigurationARN": arn,
        "CreatedTime": configuration.meta.created,
    }
    return defaults | spec.params | own
