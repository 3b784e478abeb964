"""Which machines Systems Manager can act on: every EC2 instance that runs here, since gureum itself does what AWS's agent does in one.

AWS asks for an agent and a role in each; here neither is needed, and an instance is online as soon as it runs.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.show import host_name
from gureum.aws.ec2.networks.kinds import NetworkInterface
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.paging import page

AGENT_VERSION = "3.3.1802.0"
PLATFORMS = {"builtin:busybox": ("gureum busybox", "1"), "builtin:debian": ("Debian GNU/Linux", "12")}
"""Name and version of what an image is, as far as gureum knows its images."""
"""Of which clients take it that connections can share a session, and that nobody need keep them alive."""
_KEYS = (
    "InstanceIds",
    "AgentVersion",
    "PingStatus",
    "PlatformTypes",
    "ActivationIds",
    "IamRole",
    "ResourceType",
    "AssociationStatus",
)
_MORE_KEYS = ("SourceIds", "SourceTypes")
"""Of filters in their newer form only."""


def online(call: Call, name: str) -> Instance | None:
    """The instance, when it runs."""
    found = call.get(Instance, name)
    return found if found is not None and found.status.state == "running" else None


def need_online(call: Call, name: str) -> Instance:
    """AWS: TargetNotConnected."""
    found = online(call, name)
    if found is None:
        raise AwsError("TargetNotConnected", f"{name} is not connected.")
    return found


@operation("GetConnectionStatus")
def get_connection_status(call: Call) -> Result:
    """AWS: ssm GetConnectionStatus."""
    target = call.params["Target"]
    return {"Target": target, "Status": "connected" if online(call, target) is not None else "notconnected"}


@operation("DescribeInstanceInformation")
def describe_instance_information(call: Call) -> Result:
    """AWS: ssm DescribeInstanceInformation. InvalidFilterKey, InvalidInstanceId for ids that are none."""
    params = call.params
    if params.get("Filters") and params.get("InstanceInformationFilterList"):
        raise AwsError("ValidationException", "Use either Filters or InstanceInformationFilterList, not both.")
    filters = [(one["Key"], one["Values"]) for one in params.get("Filters") or ()]
    filters += [(one["key"], one["valueSet"]) for one in params.get("InstanceInformationFilterList") or ()]
    for key, _ in filters:
        if key not in (*_KEYS, *_MORE_KEYS) and not key.startswith("tag:") and key != "tag-key":
            raise AwsError("InvalidFilterKey", f"The filter key {key} is not valid.")
    found = [one for one in call.all(Instance) if one.status.state in ("running", "stopping", "stopped")]
    found = [one for one in found if all(_passes(one, key, values) for key, values in filters)]
    shown, token = page(params, found, lambda one: one.meta.name, least=5, most=50, default=10)
    result: Result = {"InstanceInformationList": [_show(call, one) for one in shown]}
    return result | ({"NextToken": token} if token else {})


def _passes(instance: Instance, key: str, values: list[str]) -> bool:
    if key.startswith("tag:"):
        return instance.meta.tags.get(key[4:]) in values
    if key == "tag-key":
        return any(value in instance.meta.tags for value in values)
    looks = {
        "InstanceIds": instance.meta.name,
        "AgentVersion": AGENT_VERSION,
        "PingStatus": _ping(instance),
        "PlatformTypes": "Linux",
        "ResourceType": "EC2Instance",
        "SourceIds": instance.meta.name,
        "SourceTypes": "AWS::EC2::Instance",
        "IamRole": instance.spec.profile_arn.rpartition("/")[2],
    }
    return looks.get(key, "") in values


def _ping(instance: Instance) -> str:
    return "Online" if instance.status.state == "running" else "ConnectionLost"


def _show(call: Call, instance: Instance) -> dict[str, Any]:
    address = primary_address(call, instance)
    platform, version = PLATFORMS.get(instance.spec.image_source, ("Linux", ""))
    shown: dict[str, Any] = {
        "InstanceId": instance.meta.name,
        "PingStatus": _ping(instance),
        "LastPingDateTime": call.now if instance.status.state == "running" else instance.status.changed,
        "AgentVersion": AGENT_VERSION,
        "IsLatestVersion": True,
        "PlatformType": "Linux",
        "PlatformName": platform,
        "ResourceType": "EC2Instance",
        "SourceId": instance.meta.name,
        "SourceType": "AWS::EC2::Instance",
    }
    if version:
        shown["PlatformVersion"] = version
    if address:
        shown["IPAddress"] = address
        shown["ComputerName"] = host_name(call.region, instance, address)
    return shown


def primary_address(call: Call, instance: Instance) -> str:
    """Its private IPv4 address, "" without an interface."""
    for interface in call.by(NetworkInterface, "instance", instance.meta.name):
        if interface.spec.attachment is not None and interface.spec.attachment.device_index == 0:
            return interface.spec.primary.address
    return ""
