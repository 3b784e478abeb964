"""Ids of EC2 resources: their form, the words and codes with which EC2 refuses them, and how an operation finds what an id names.

AWS's spelling of the codes follows no rule ("InvalidVpcID.Malformed", "InvalidRouteTableId.Malformed"), so each stands here as it is
(docs.aws.amazon.com/ec2/latest/devguide/ec2-api-errors.html).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.engine.resource import Resource

MOST_DESCRIPTION = 255
_ACCOUNT = re.compile(r"[0-9]{12}")
T = TypeVar("T", bound=Resource)
_DIGITS = re.compile(r"[0-9a-f]{8}|[0-9a-f]{17}", re.ASCII)


class IdForm(msgspec.Struct, frozen=True):
    """`prefix`: "vpc". `noun`: as in "The vpc ID 'vpc-1' does not exist". `type`: resource type in tags, "" when it cannot be tagged."""

    prefix: str
    noun: str
    type: str
    not_found: str
    malformed: str


VPC = IdForm("vpc", "vpc ID", "vpc", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed")
CIDR_ASSOCIATION = IdForm(
    "vpc-cidr-assoc",
    "vpc CIDR block association ID",
    "",
    "InvalidVpcCidrBlockAssociationID.NotFound",
    "InvalidAssociationID.Malformed",
)
SUBNET = IdForm("subnet", "subnet ID", "subnet", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed")
CIDR_RESERVATION = IdForm(
    "scr",
    "subnet CIDR reservation ID",
    "subnet-cidr-reservation",
    "InvalidSubnetCidrReservationID.NotFound",
    "InvalidSubnetCidrReservationId.Malformed",
)
BPA_EXCLUSION = IdForm(
    "vpcbpa-exclude",
    "VPC Block Public Access exclusion ID",
    "vpc-block-public-access-exclusion",
    "InvalidVpcBlockPublicAccessExclusionId.NotFound",
    "InvalidVpcBlockPublicAccessExclusionId.Malformed",
)
INSIGHTS_PATH = IdForm(
    "nip",
    "network insights path ID",
    "network-insights-path",
    "InvalidNetworkInsightsPathId.NotFound",
    "InvalidNetworkInsightsPathId.Malformed",
)
INSIGHTS_ANALYSIS = IdForm(
    "nia",
    "network insights analysis ID",
    "network-insights-analysis",
    "InvalidNetworkInsightsAnalysisId.NotFound",
    "InvalidNetworkInsightsAnalysisId.Malformed",
)
ROUTE_TABLE = IdForm(
    "rtb", "routeTable ID", "route-table", "InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed"
)
ROUTE_ASSOCIATION = IdForm(
    "rtbassoc", "association ID", "", "InvalidAssociationID.NotFound", "InvalidRouteTableAssociationId.Malformed"
)
INTERNET_GATEWAY = IdForm(
    "igw",
    "internetGateway ID",
    "internet-gateway",
    "InvalidInternetGatewayID.NotFound",
    "InvalidInternetGatewayId.Malformed",
)
VPN_GATEWAY = IdForm(
    # AWS's list of codes has none for a malformed one.
    "vgw",
    "vpnGateway ID",
    "vpn-gateway",
    "InvalidVpnGatewayID.NotFound",
    "InvalidVpnGatewayID.NotFound",
)
CUSTOMER_GATEWAY = IdForm(
    "cgw",
    "customerGateway ID",
    "customer-gateway",
    "InvalidCustomerGatewayID.NotFound",
    "InvalidCustomerGatewayId.Malformed",
)
NAT_GATEWAY = IdForm("nat", "NAT gateway ID", "natgateway", "NatGatewayNotFound", "NatGatewayMalformed")
PEERING = IdForm(
    "pcx",
    "vpcPeeringConnection ID",
    "vpc-peering-connection",
    "InvalidVpcPeeringConnectionID.NotFound",
    "InvalidVpcPeeringConnectionId.Malformed",
)
ENDPOINT = IdForm(
    "vpce", "vpc endpoint ID", "vpc-endpoint", "InvalidVpcEndpointId.NotFound", "InvalidVpcEndpointId.Malformed"
)
ADDRESS = IdForm(
    "eipalloc", "allocation ID", "elastic-ip", "InvalidAllocationID.NotFound", "InvalidElasticIpID.Malformed"
)
ADDRESS_ASSOCIATION = IdForm(
    "eipassoc", "association ID", "", "InvalidAssociationID.NotFound", "InvalidAssociationID.Malformed"
)
INTERFACE = IdForm(
    "eni",
    "networkInterface ID",
    "network-interface",
    "InvalidNetworkInterfaceID.NotFound",
    "InvalidNetworkInterfaceId.Malformed",
)
ATTACHMENT = IdForm(
    "eni-attach", "attachment ID", "", "InvalidAttachmentID.NotFound", "InvalidNetworkInterfaceAttachmentId.Malformed"
)
SECURITY_GROUP = IdForm("sg", "security group", "security-group", "InvalidGroup.NotFound", "InvalidGroupId.Malformed")
GROUP_RULE = IdForm(
    "sgr",
    "security group rule ID",
    "security-group-rule",
    "InvalidSecurityGroupRuleId.NotFound",
    "InvalidSecurityGroupRuleId.Malformed",
)
NETWORK_ACL = IdForm(
    "acl", "networkAcl ID", "network-acl", "InvalidNetworkAclID.NotFound", "InvalidNetworkAclId.Malformed"
)
ENDPOINT_SERVICE = IdForm(
    "vpce-svc",
    "VpcEndpointService Id",
    "vpc-endpoint-service",
    "InvalidVpcEndpointServiceId.NotFound",
    "InvalidVpcEndpointServiceId.Malformed",
)
ACL_ASSOCIATION = IdForm(
    "aclassoc", "association ID", "", "InvalidAssociationID.NotFound", "InvalidAssociationID.Malformed"
)
DHCP_OPTIONS = IdForm(
    "dopt", "dhcpOption ID", "dhcp-options", "InvalidDhcpOptionID.NotFound", "InvalidDhcpOptionsId.Malformed"
)
PREFIX_LIST = IdForm(
    "pl", "prefix list ID", "prefix-list", "InvalidPrefixListID.NotFound", "InvalidPrefixListId.Malformed"
)


def is_id(form: IdForm, id_: str) -> bool:
    """Whether it has the form of its kind."""
    return id_.startswith(f"{form.prefix}-") and _DIGITS.fullmatch(id_[len(form.prefix) + 1 :]) is not None


def check_id(form: IdForm, id_: str) -> str:
    """`id_` when it has the form of its kind. AWS: Invalid….Malformed."""
    if not is_id(form, id_):
        raise AwsError(form.malformed, f'Invalid id: "{id_}" (expecting "{form.prefix}-...")')
    return id_


def not_found(form: IdForm, *ids: str) -> AwsError:
    """AWS names all that are missing in one message."""
    joined = ", ".join(ids)
    if len(ids) == 1:
        return AwsError(form.not_found, f"The {form.noun} '{joined}' does not exist")
    return AwsError(form.not_found, f"The {form.noun}s '{joined}' do not exist")


def find(call: Call, cls: type[T], form: IdForm, id_: str) -> T:
    """The object that `id_` names. AWS: Malformed, NotFound."""
    obj = call.get(cls, check_id(form, id_))
    if obj is None:
        raise not_found(form, id_)
    return obj


def find_all(call: Call, cls: type[T], form: IdForm, ids: Sequence[str]) -> list[T]:
    """The objects that `ids` name, each once. AWS: one NotFound for all that are missing."""
    found = {id_: call.get(cls, check_id(form, id_)) for id_ in ids}
    missing = [id_ for id_, obj in found.items() if obj is None]
    if missing:
        raise not_found(form, *missing)
    return [obj for obj in found.values() if obj is not None]


def need(call: Call, name: str) -> str:
    """A parameter that the model calls optional and EC2 wants. AWS: MissingParameter."""
    value = call.params.get(name)
    if not value:
        raise missing(name)
    return str(value)


def check_users(users: Sequence[str], *words: str) -> None:
    """Accounts that a call names, or one of `words` ("self", "all" …). AWS: InvalidUserID.Malformed."""
    for user in users:
        if user not in words and _ACCOUNT.fullmatch(user) is None:
            raise AwsError("InvalidUserID.Malformed", f'Invalid user id: "{user[:50]}"')


def choice(params: dict[str, Any], name: str, *allowed: str) -> str:
    """The value of an enumeration, which EC2's protocol lets through as it came; the first of `allowed` when none is given.
    AWS: InvalidParameterValue."""
    value = params.get(name) or allowed[0]
    if value not in allowed:
        raise invalid(f"Value ({value}) for parameter {name[:1].lower()}{name[1:]} is invalid.")
    return str(value)


def missing(name: str) -> AwsError:
    """`name`: as the model spells it; EC2 answers with its first letter small."""
    return AwsError("MissingParameter", f"The request must contain the parameter {name[:1].lower()}{name[1:]}")


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValue", message)


def description(params: Mapping[str, Any], name: str = "Description") -> str:
    """What is said of a thing, "" for nothing. AWS: InvalidParameterValue above 255 characters."""
    text = str(params.get(name) or "")
    if len(text) > MOST_DESCRIPTION:
        parameter = name[:1].lower() + name[1:]
        raise invalid(f"Value ({text}) for parameter {parameter} is invalid. It exceeds {MOST_DESCRIPTION} characters")
    return text


def not_built(what: str) -> AwsError:
    """What gureum has not: an honest refusal, never a pretence."""
    return AwsError("NotImplemented", f"{what} is not implemented by gureum.", status=501)
