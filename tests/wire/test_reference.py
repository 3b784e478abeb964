"""EC2 held against its own reference: what botocore's model and its texts say of every operation that is built; in part Systems Manager, too."""

from __future__ import annotations

import re
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from gureum.engine.registry import Registry
from tests.named_texts import named_texts

_registry = Registry()
_registry.scan("gureum.aws.ec2")
MODEL = botocore.session.get_session().get_service_model("ec2")
BUILT = sorted(name.partition(":")[2] for name in _registry.marks("operation"))
SERVICES = ("ec2", "ec2-instance-connect", "ssm")
KINDS_OF_OFFERS = "there are no offers, whatever is asked of them"
NO_OTHER = "Modify… refuses every attribute that it does not know"
# Parameters that an operation never looks at, and why: of all operations, then of one.
NEVER_LOOKED_AT = {
    "AdditionalInfo": "reserved",
    "AllAvailabilityZones": "all zones are opted in to",
    "ClientData": "what the client says of its upload is for AWS's statistics",
    "Context": "reserved",
    "Force": "machines that do not stop by themselves are killed after seconds anyway",
    "IncludeLocalZones": "there are no Local Zones",
    "IncludeManagedResources": "nothing is managed by a service",
    "IncludeUnsupportedInRegion": "every type is in every region",
    "Latest": "the console is always the latest",
    "PresignedUrl": "copies need no second signature",
    "RemovePrivateDnsName": "no endpoint service has such a name",
    "RoleName": "the bucket is read without a role",
    "SkipOsShutdown": "see Force",
    "SnapshotCopyCompletionDurationMinutes": "copies end in seconds",
    "WakeUp": "there is no screen",
}
NEVER_LOOKED_AT_BY = {
    "DeleteDocument": "no type of document needs to be forced",
    "DescribeCapacityBlockOfferings": KINDS_OF_OFFERS,
    "DescribeDocumentPermission": "the model knows one type of permission",
    "DescribeHostReservationOfferings": KINDS_OF_OFFERS,
    "DescribeMovingAddresses": "none moves, whichever is asked for",
    "DescribeReservedInstances": KINDS_OF_OFFERS,
    "DescribeReservedInstancesOfferings": KINDS_OF_OFFERS,
    "DescribeScheduledInstances": KINDS_OF_OFFERS,
    "DescribeVpcClassicLink": "it is retired, and refuses all",
    "DescribeVpcClassicLinkDnsSupport": "it is retired, and refuses all",
    "ModifyDocumentPermission": "the model knows one type of permission",
    "ModifyHosts": "there are no dedicated hosts",
    "ModifyInstanceAttribute": NO_OTHER,
    "ModifyInstanceEventStartTime": "no event is scheduled",
    "ModifyNetworkInterfaceAttribute": NO_OTHER,
    "ModifySubnetAttribute": NO_OTHER,
    "PurchaseReservedInstancesOffering": KINDS_OF_OFFERS,
    "ResetNetworkInterfaceAttribute": "its presence says all",
    "SendSerialConsoleSSHPublicKey": "the model knows one port",
}
RETIRED = {"DescribeVpcClassicLink", "DescribeVpcClassicLinkDnsSupport"}
FURTHER = {
    "DescribeFleetInstances": {"FleetId": "fleet-00000000-0000-0000-0000-000000000000"},
    "DescribeLaunchTemplateVersions": {"Versions": ["$Latest"]},
    "DescribeVpcEndpointServicePermissions": {"ServiceId": "vpce-svc-0123456789abcdef0"},
}
"""What calls need beside their filters."""


def never_named(service: str) -> list[tuple[str, str]]:
    """Operations with parameters of theirs that no code they reach names."""
    registry, model = Registry(), botocore.session.get_session().get_service_model(service)
    registry.scan(f"gureum.aws.{service.replace('-', '_')}")
    found = []
    for name, mark in sorted(registry.marks("operation").items()):
        operation = name.partition(":")[2]
        shape = model.operation_model(operation).input_shape
        named = named_texts(mark.target) | {"DryRun"}
        found += [(operation, member) for member in (shape.members if shape else ()) if member not in named]
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_no_parameter_is_ignored_in_silence(service: str) -> None:
    """A parameter of the reference that an operation's code cannot name is one that has no effect, or one that was forgotten."""
    found = [(operation, name) for operation, name in never_named(service) if operation not in NEVER_LOOKED_AT_BY]
    assert [one for one in found if one[1] not in NEVER_LOOKED_AT] == []


def test_what_is_said_to_be_never_looked_at_is_so() -> None:
    found = [one for service in SERVICES for one in never_named(service)]
    assert {operation for operation, _ in found} >= NEVER_LOOKED_AT_BY.keys()
    assert {name for _, name in found} >= NEVER_LOOKED_AT.keys()


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
