"""EC2 held against its own reference: what botocore's model and its texts say of every operation that is built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

import gureum.aws
from gureum.engine.registry import Registry

_registry = Registry()
_registry.scan("gureum.aws.ec2")
MODEL = botocore.session.get_session().get_service_model("ec2")
BUILT = sorted(name.partition(":")[2] for name in _registry.marks("operation"))
# Parameters that no code names, and why.
NAMED_NOWHERE = {
    **dict.fromkeys(
        ("AssociatedSubnetIds", "DisableLniAtDeviceIndex", "EnableLniAtDeviceIndex", "Kernel", "Ramdisk"),
        "Modify… refuses every attribute that it does not know",
    ),
    **dict.fromkeys(
        (
            *("CapacityDurationHours", "EndDateRange", "InstanceTypePreferences", "StartDateRange", "UltraserverCount"),
            *("IncludeMarketplace", "MaxDuration", "MaxInstanceCount", "MinDuration", "OfferingClass", "OfferingType"),
            *("LimitPrice", "PurchaseTime", "SlotStartTimeRange", "UltraserverType"),
            *("AutoPlacement", "HostMaintenance", "HostRecovery"),
        ),
        "there are no offers and no dedicated hosts, whatever is asked of them",
    ),
    "IncludeLocalZones": "there are no Local Zones",
    "RemovePrivateDnsName": "no endpoint service has such a name",
    "AdditionalInfo": "reserved",
    "ClientData": "what the client says of its upload is for AWS's statistics",
    "RoleName": "the bucket is read without a role",
    "AllAvailabilityZones": "all zones are opted in to",
    "Force": "machines that do not stop by themselves are killed after seconds anyway",
    "IncludeManagedResources": "nothing is managed by a service",
    "IncludeUnsupportedInRegion": "every type is in every region",
    "Latest": "the console is always the latest",
    "MaxDrainDurationSeconds": "what is under way by an address that a NAT gateway gives up ends at once",
    "PresignedUrl": "copies need no second signature",
    "ServiceRegions": "services of other Regions are not offered",
    "SnapshotCopyCompletionDurationMinutes": "copies end in seconds",
    "WakeUp": "there is no screen",
    "MetadataOnly": "there is nothing else",
    "SkipOsShutdown": "see Force",
    "SourceSecurityGroupOwnerId": "groups are of the caller's account",
}
RETIRED = {"DescribeVpcClassicLink", "DescribeVpcClassicLinkDnsSupport"}
FURTHER = {
    "DescribeFleetInstances": {"FleetId": "fleet-00000000-0000-0000-0000-000000000000"},
    "DescribeLaunchTemplateVersions": {"Versions": ["$Latest"]},
    "DescribeVpcEndpointServicePermissions": {"ServiceId": "vpce-svc-0123456789abcdef0"},
}
"""What calls need beside their filters."""


def test_no_parameter_is_ignored_in_silence() -> None:
    """A parameter of the reference that no source names is one that has no effect, or one that was forgotten."""
    sources = "\n".join(path.read_text() for path in Path(gureum.aws.__file__).parent.glob("**/*.py"))
    named = set(re.findall(r'"([A-Za-z0-9]+)', sources)) | NAMED_NOWHERE.keys()
    shapes = [MODEL.operation_model(name).input_shape for name in BUILT]
    assert {member for shape in shapes if shape for member in shape.members} - named == set()


@pytest.fixture(scope="module")
def ec2(endpoint: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    session = boto3.Session("135791357913", "secret", region_name="us-east-1")
    return session.client("ec2", endpoint_url=endpoint.url, config=config)


def filter_member(operation: str) -> str:
    shape = MODEL.operation_model(operation).input_shape
    return next((name for name in shape.members if name in ("Filters", "Filter")), "") if shape else ""


def reference_filters(operation: str) -> list[str]:
    """The names that the reference lists, which it writes as `<li><p><code>name</code> - what it means`. Lists within lists are values;
    "tag" stands for tag:KEY."""
    text = MODEL.operation_model(operation).input_shape.members[filter_member(operation)].documentation
    inner = re.compile(r"(<li>(?:(?!</?li>).)*)<ul>(?:(?!</?ul>).)*</ul>", re.DOTALL)
    while inner.search(text):
        text = inner.sub(r"\1", text)
    found = re.findall(r"<li>\s*<p>\s*<code>([a-zA-Z0-9.-]+)</code>\s*[-–]", text)
    return [name if name != "tag" else "tag:key" for name in found]


def required(ec2: Any, operation: str) -> dict[str, Any]:
    subnet = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"][0]
    members = MODEL.operation_model(operation).input_shape.required_members
    return {name: subnet[name] for name in ("VpcId", "SubnetId") if name in members}


def known(ec2: Any, operation: str, name: str) -> bool:
    call = getattr(ec2, xform_name(operation))
    parameters = required(ec2, operation) | FURTHER.get(operation, {})
    try:
        call(**parameters, **{filter_member(operation): [{"Name": name, "Values": ["no-such-value"]}]})
    except ClientError as error:
        return "filter" not in error.response["Error"]["Message"].lower()
    return True


@pytest.mark.parametrize("operation", [name for name in BUILT if filter_member(name) and name not in RETIRED])
def test_every_filter_of_the_reference_is_known(ec2: Any, operation: str) -> None:
    names = reference_filters(operation)
    assert [name for name in names if not known(ec2, operation, name)] == []
    assert not known(ec2, operation, "no-such-filter")
