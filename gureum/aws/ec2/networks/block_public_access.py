"""VPC Block Public Access: no way through internet gateways in this account and region, but for VPCs and subnets that are excluded.

    mode               off      block-ingress             block-bidirectional
    no exclusion       all      NAT gateways alone        nothing
    allow-egress       all      NAT gateways alone        what begins inside
    allow-bidirectional all     all                       all

A subnet's own exclusion counts before its VPC's. Routes stay as they are; what is blocked is refused at the uplink, and stands in flow logs as
REJECT. It is part of the VPC's core Network (`passing`, called by networks/lowering.py).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.kinds import Subnet, Vpc
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Client
from gureum.engine.lowering import Reader
from gureum.engine.resource import Resource, kind

Mode = Literal["off", "block-bidirectional", "block-ingress"]
Exclusion = Literal["allow-bidirectional", "allow-egress"]
Passing = Literal["all", "egress", "nat", "nothing"]
LIMIT_EXCLUSIONS = 50
"""AWS: VPC quotas, "VPC BPA exclusions"."""


class BlockOptionsSpec(msgspec.Struct, frozen=True):
    """`changed`: Unix seconds."""

    mode: Mode
    changed: float


@kind("ec2.BlockPublicAccess")
class BlockPublicAccess(Resource, frozen=True):
    """The mode of an account and region; its name is "options". Without it the mode is "off"."""

    spec: BlockOptionsSpec


class BlockExclusionSpec(msgspec.Struct, frozen=True):
    """`resource`: id of a VPC or subnet. `changed`: Unix seconds of the last modification, 0.0 for none."""

    resource: str
    mode: Exclusion
    changed: float = 0.0


@kind("ec2.BlockPublicAccessExclusion", indexes={"resource": lambda one: one.spec.resource})
class BlockPublicAccessExclusion(Resource, frozen=True):
    """A VPC or subnet that the mode does not hold for."""

    spec: BlockExclusionSpec


@operation("ModifyVpcBlockPublicAccessOptions")
async def modify_vpc_block_public_access_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcBlockPublicAccessOptions. In force with the next rules of each VPC."""
    mode = ids.choice(call.params, "InternetGatewayBlockMode", "off", "block-bidirectional", "block-ingress")
    spec = msgspec.convert({"mode": mode, "changed": call.now}, BlockOptionsSpec)
    old = call.get(BlockPublicAccess, "options")
    transaction = call.transaction()
    if old is None:
        options = transaction.create(BlockPublicAccess(meta=call.meta("options"), spec=spec))
    else:
        options = transaction.update(msgspec.structs.replace(old, spec=spec))
    await call.commit(transaction)
    return {"VpcBlockPublicAccessOptions": _show_options(call, options)}


@operation("DescribeVpcBlockPublicAccessOptions")
def describe_vpc_block_public_access_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcBlockPublicAccessOptions."""
    call.end_dry_run()
    return {"VpcBlockPublicAccessOptions": _show_options(call, call.get(BlockPublicAccess, "options"))}


@operation("CreateVpcBlockPublicAccessExclusion")
async def create_vpc_block_public_access_exclusion(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpcBlockPublicAccessExclusion: of a VPC or of a subnet, one each."""
    params = call.params
    mode = ids.choice(params, "InternetGatewayExclusionMode", "allow-bidirectional", "allow-egress")
    if bool(params.get("VpcId")) == bool(params.get("SubnetId")):
        code = "InvalidParameterCombination" if params.get("VpcId") else "MissingParameter"
        raise AwsError(code, "Exactly one of vpcId and subnetId must be specified.")
    resource: Vpc | Subnet
    if params.get("VpcId"):
        resource = ids.find(call, Vpc, ids.VPC, params["VpcId"])
    else:
        resource = ids.find(call, Subnet, ids.SUBNET, params["SubnetId"])
    if call.by(BlockPublicAccessExclusion, "resource", resource.meta.name):
        text = f"An exclusion already exists for the resource {resource.meta.name}."
        raise AwsError("VpcBlockPublicAccessExclusionAlreadyExists", text)
    if len(call.all(BlockPublicAccessExclusion)) >= LIMIT_EXCLUSIONS:
        text = "The maximum number of VPC Block Public Access exclusions has been reached."
        raise AwsError("VpcBlockPublicAccessExclusionLimitExceeded", text)
    tags = tags_of(call, "vpc-block-public-access-exclusion")
    exclusion = BlockPublicAccessExclusion(
        meta=call.meta(new_id("vpcbpa-exclude-"), owner=resource, tags=tags),
        spec=msgspec.convert({"resource": resource.meta.name, "mode": mode}, BlockExclusionSpec),
    )
    transaction = call.transaction()
    transaction.require(resource)
    transaction.require_no_newer(BlockPublicAccessExclusion, call.scope)
    transaction.create(exclusion)
    await call.commit(transaction)
    return {"VpcBlockPublicAccessExclusion": show_exclusion(call, exclusion)}


@operation("ModifyVpcBlockPublicAccessExclusion")
async def modify_vpc_block_public_access_exclusion(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcBlockPublicAccessExclusion."""
    exclusion = _find(call)
    mode = ids.choice(call.params, "InternetGatewayExclusionMode", "allow-bidirectional", "allow-egress")
    changed = {"resource": exclusion.spec.resource, "mode": mode, "changed": call.now}
    exclusion = msgspec.structs.replace(exclusion, spec=msgspec.convert(changed, BlockExclusionSpec))
    transaction = call.transaction()
    transaction.update(exclusion)
    await call.commit(transaction)
    return {"VpcBlockPublicAccessExclusion": show_exclusion(call, exclusion)}


@operation("DeleteVpcBlockPublicAccessExclusion")
async def delete_vpc_block_public_access_exclusion(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteVpcBlockPublicAccessExclusion."""
    exclusion = _find(call)
    transaction = call.transaction()
    transaction.delete(exclusion)
    await call.commit(transaction)
    gone = {"State": "delete-complete", "DeletionTimestamp": call.now}
    return {"VpcBlockPublicAccessExclusion": show_exclusion(call, exclusion) | gone}


@operation("DescribeVpcBlockPublicAccessExclusions")
def describe_vpc_block_public_access_exclusions(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcBlockPublicAccessExclusions."""
    found, token = listing(call, BlockPublicAccessExclusion, ids.BPA_EXCLUSION, "ExclusionIds", _filters(call))
    return answer("VpcBlockPublicAccessExclusions", [show_exclusion(call, one) for one in found], token)


def passing(subnet: Subnet, read: Reader) -> Passing:
    """What may pass between the subnet and an internet gateway."""
    options = read.get(BlockPublicAccess, subnet.meta.scope, "options")
    if options is None or options.spec.mode == "off":
        return "all"
    found = None
    for resource in (subnet.meta.name, subnet.spec.vpc):
        found = found or next(iter(read.by(BlockPublicAccessExclusion, subnet.meta.scope, "resource", resource)), None)
    return _passing(options.spec.mode, found.spec.mode if found is not None else None)


def _passing(mode: Mode, exclusion: Exclusion | None) -> Passing:
    if mode == "off" or exclusion == "allow-bidirectional":
        return "all"
    if mode == "block-ingress":
        return "nat"
    return "egress" if exclusion == "allow-egress" else "nothing"


def show_states(client: Client, scope: str, *resources: str) -> dict[str, str]:
    """API form, of the mode that holds for a subnet or VPC: `resources`: its id, and its VPC's. AWS: ec2 BlockPublicAccessStates."""
    options = client.get(BlockPublicAccess, scope, "options")
    mode: str = options.spec.mode if options is not None else "off"
    if mode != "off":
        found = (client.by(BlockPublicAccessExclusion, scope, "resource", one) for one in resources)
        exclusion = next((few[0].spec.mode for few in found if few), None)
        if exclusion == "allow-bidirectional":
            mode = "off"
        elif exclusion == "allow-egress":
            mode = "block-ingress"
    return {"InternetGatewayBlockMode": mode}


def _find(call: Call) -> BlockPublicAccessExclusion:
    return ids.find(call, BlockPublicAccessExclusion, ids.BPA_EXCLUSION, call.params["ExclusionId"])


def _arn(call: Call, exclusion: BlockPublicAccessExclusion) -> str:
    resource = exclusion.spec.resource
    return call.arn(f"{resource.partition('-')[0]}/{resource}", service="ec2")


def _state(exclusion: BlockPublicAccessExclusion) -> str:
    return "update-complete" if exclusion.spec.changed else "create-complete"


def _filters(call: Call) -> FilterTable:
    return {
        "resource-arn": lambda one: _arn(call, one),
        "internet-gateway-exclusion-mode": lambda one: one.spec.mode,
        "state": _state,
    }


def _show_options(call: Call, options: BlockPublicAccess | None) -> dict[str, Any]:
    """API form. AWS: ec2 VpcBlockPublicAccessOptions."""
    shown: dict[str, Any] = {
        "AwsAccountId": call.account,
        "AwsRegion": call.region,
        "State": "update-complete" if options else "default-state",
        "InternetGatewayBlockMode": options.spec.mode if options else "off",
        "ManagedBy": "account",
        "ExclusionsAllowed": "allowed",
    }
    return shown | ({"LastUpdateTimestamp": options.spec.changed} if options else {})


def show_exclusion(call: Call, exclusion: BlockPublicAccessExclusion) -> dict[str, Any]:
    """API form. AWS: ec2 VpcBlockPublicAccessExclusion."""
    return {
        "ExclusionId": exclusion.meta.name,
        "InternetGatewayExclusionMode": exclusion.spec.mode,
        "ResourceArn": _arn(call, exclusion),
        "State": _state(exclusion),
        "CreationTimestamp": exclusion.meta.created,
        "LastUpdateTimestamp": exclusion.spec.changed or exclusion.meta.created,
        "Tags": show_tags(exclusion.meta.tags),
    }
