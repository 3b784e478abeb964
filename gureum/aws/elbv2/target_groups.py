"""Target groups: where requests go, and how it is found out whether they can go there.

A group belongs to one VPC and is used by listeners and rules (actions.py) of one load balancer; its targets are in targets.py, what is
seen of them in target_health.py.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.networks.kinds import Vpc
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.arns import arn_of_balancer, arn_of_group, find_balancer, find_group
from gureum.aws.elbv2.faults import check_count, invalid, not_built, refuse
from gureum.aws.elbv2.health_settings import APPLICATION, change_health, new_health, show_health
from gureum.aws.elbv2.kinds import LoadBalancer, Rule, TargetGroup, TargetGroupSpec
from gureum.aws.elbv2.paging import page
from gureum.aws.elbv2.tagging import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id

PROTOCOLS = ("HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP")
VERSIONS = ("HTTP1", "HTTP2", "GRPC")
_NAME = re.compile(r"[A-Za-z0-9-]+", re.ASCII)


@operation("CreateTargetGroup")
async def create_target_group(call: Call) -> Result:
    """AWS: elbv2 CreateTargetGroup: a second call with the same settings answers the same group."""
    refuse("CreateTargetGroup", call.params, ("TargetControlPort",))
    spec, tags = _wanted(call), tags_of(call)
    known = call.by(TargetGroup, "name", spec.name)
    if known:
        return {"TargetGroups": [show_target_group(call, _same(known[0], spec))]}
    if len(call.all(TargetGroup)) >= limits.TARGET_GROUPS:
        raise AwsError("TooManyTargetGroups", f"The maximum number of target groups is {limits.TARGET_GROUPS}")
    group = TargetGroup(meta=call.meta(new_id("", 16), tags=tags), spec=spec)
    transaction = call.transaction()
    vpc = call.get(Vpc, spec.vpc)
    assert vpc is not None
    transaction.require(vpc)
    transaction.require_no_newer(TargetGroup, call.scope)
    transaction.create(group)
    await call.commit(transaction)
    return {"TargetGroups": [show_target_group(call, group)]}


@operation("ModifyTargetGroup")
async def modify_target_group(call: Call) -> Result:
    """AWS: elbv2 ModifyTargetGroup: its health check."""
    group = find_group(call, call.params["TargetGroupArn"])
    spec = group.spec
    health = change_health(spec.health, call.params, spec.type, spec.protocol, spec.version)
    group = msgspec.structs.replace(group, spec=msgspec.structs.replace(spec, health=health))
    transaction = call.transaction()
    transaction.update(group)
    await call.commit(transaction)
    return {"TargetGroups": [show_target_group(call, group)]}


@operation("DeleteTargetGroup")
async def delete_target_group(call: Call) -> Result:
    """AWS: elbv2 DeleteTargetGroup: with its targets; ResourceInUse while a listener or a rule uses it. One that is gone is success."""
    try:
        group = find_group(call, call.params["TargetGroupArn"])
    except AwsError as error:
        if error.code == "TargetGroupNotFound":
            return {}
        raise
    if users_of(call, group):
        arn = arn_of_group(group)
        raise AwsError("ResourceInUse", f"Target group '{arn}' is currently in use by a listener or a rule")
    transaction = call.transaction()
    transaction.require_no_newer(Rule, call.scope)
    transaction.delete(group)
    await call.commit(transaction)
    return {}


@operation("DescribeTargetGroups")
def describe_target_groups(call: Call) -> Result:
    """AWS: elbv2 DescribeTargetGroups: all, by ARN, by name, or those of a load balancer."""
    params = call.params
    arns, names, balancer = params.get("TargetGroupArns"), params.get("Names"), params.get("LoadBalancerArn")
    if sum(map(bool, (arns, names, balancer))) > 1:
        raise invalid(
            "Target group names, target group ARNs, and a load balancer ARN cannot be specified at the same time"
        )
    check_count(arns or names, "target groups")
    if arns:
        found = [find_group(call, arn, described=True) for arn in dict.fromkeys(arns)]
    elif names:
        found = [_named(call, name) for name in dict.fromkeys(names)]
    elif balancer:
        found = groups_of_balancer(call, find_balancer(call, balancer))
    else:
        found = call.all(TargetGroup)
    shown, more = page(params, found, lambda group: group.spec.name)
    return {"TargetGroups": [show_target_group(call, group) for group in shown], **more}


def users_of(call: Call, group: TargetGroup) -> list[LoadBalancer]:
    """The load balancers whose listeners or rules send requests to the group."""
    rules = call.by(Rule, "target-group", group.meta.name)
    names = sorted({rule.spec.load_balancer for rule in rules})
    return [found for name in names if (found := call.get(LoadBalancer, name)) is not None]


def groups_of_balancer(call: Call, balancer: LoadBalancer) -> list[TargetGroup]:
    """The groups that a load balancer uses, each once."""
    rules = call.by(Rule, "load-balancer", balancer.meta.name)
    names = {name for rule in rules for name in rule.groups}
    return [found for name in sorted(names) if (found := call.get(TargetGroup, name)) is not None]


def check_name(noun: str, name: str) -> str:
    """AWS: the rules of names of target groups and load balancers."""
    if len(name) > 32:
        raise invalid(f"{noun} name '{name}' cannot be longer than '32' characters")
    if not _NAME.fullmatch(name):
        raise invalid(
            f"{noun} name '{name}' can only contain characters that are alphanumeric characters or hyphens(-)"
        )
    if name.startswith("-") or name.endswith("-"):
        raise invalid(f"{noun} name '{name}' cannot begin or end with '-'")
    return name


def _wanted(call: Call) -> TargetGroupSpec:
    params = call.params
    name = check_name("Target group", params["Name"])
    type_: Any = params.get("TargetType") or "instance"
    if type_ not in ("instance", "ip", "alb"):
        raise not_built(f"A target group with target type {type_}")
    if params.get("IpAddressType", "ipv4") != "ipv4":
        raise not_built(f"A target group with IP address type {params['IpAddressType']}")
    for parameter, words in (("Protocol", "protocol"), ("Port", "port"), ("VpcId", "VPC ID")):
        if not params.get(parameter):
            raise invalid(f"A {words} must be specified")
    protocol = params["Protocol"]
    if protocol not in PROTOCOLS:
        raise not_built(f"A target group with protocol {protocol}")
    if type_ == "alb" and protocol != "TCP":
        raise invalid(f"Target group protocol '{protocol}' must be 'TCP' with target type 'alb'")
    if call.get(Vpc, params["VpcId"]) is None:
        raise invalid(f"The VPC ID '{params['VpcId']}' is not found")
    version = _version(params.get("ProtocolVersion"), protocol)
    return TargetGroupSpec(
        name=name,
        type=type_,
        protocol=protocol,
        port=params["Port"],
        vpc=params["VpcId"],
        version=version,
        health=new_health(params, type_, protocol, version),
    )


def _version(given: str | None, protocol: str) -> Any:
    if protocol not in APPLICATION:
        if given:
            raise invalid(f"You cannot specify a protocol version with the protocol '{protocol}'")
        return ""
    if given and given not in VERSIONS:
        raise invalid(f"Protocol version '{given}' must be one of '{', '.join(VERSIONS)}'")
    return given or "HTTP1"


def _same(known: TargetGroup, wanted: TargetGroupSpec) -> TargetGroup:
    """AWS: the same settings again are success, others DuplicateTargetGroupName."""
    bare = msgspec.structs.replace(known.spec, attributes={}, targets=())
    if bare != wanted:
        text = f"A target group with the same name '{wanted.name}' exists, but with different settings"
        raise AwsError("DuplicateTargetGroupName", text)
    return known


def _named(call: Call, name: str) -> TargetGroup:
    found = call.by(TargetGroup, "name", name)
    if not found:
        raise AwsError("TargetGroupNotFound", "One or more target groups not found")
    return found[0]


def show_target_group(call: Call, group: TargetGroup) -> dict[str, Any]:
    """API form. AWS: elbv2 TargetGroup."""
    spec = group.spec
    return {
        "TargetGroupArn": arn_of_group(group),
        "TargetGroupName": spec.name,
        "Protocol": spec.protocol,
        "Port": spec.port,
        "VpcId": spec.vpc,
        **show_health(spec.health, spec.version),
        "LoadBalancerArns": [arn_of_balancer(one) for one in users_of(call, group)],
        "TargetType": spec.type,
        **({"ProtocolVersion": spec.version} if spec.version else {}),
        "IpAddressType": "ipv4",
    }
