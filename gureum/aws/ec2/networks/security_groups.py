"""Security groups: what may reach the interfaces that are in them, and what those may reach. Stateful.

A group is lowered to a core FirewallGroup while its VPC is in use. The rules themselves: security_group_rules.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.listing import answer, listing, show_own_tags, show_tags
from gureum.aws.ec2.networks.group_associations import GroupAssociation, in_vpc
from gureum.aws.ec2.networks.kinds import (
    GroupRule,
    NetworkInterface,
    PrefixList,
    SecurityGroup,
    SecurityGroupSpec,
    Vpc,
    VpcPeering,
)
from gureum.aws.ec2.networks.security_group_rules import (
    OLD_FORM,
    allow_all_out,
    asked_rules,
    check_description,
    identity,
    lower_rule,
    refuse_together,
    show_permissions,
    show_revoked,
    show_rule,
    weights,
    with_rules,
)
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.core.specs import FirewallGroup
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import key_of
from gureum.ports.firewalls import Group


@operation("CreateSecurityGroup")
async def create_security_group(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateSecurityGroup. Without a VPC in the default one. It allows nothing in and everything out."""
    name, description = ids.need(call, "GroupName"), ids.need(call, "Description")
    _check_name(name)
    _check_text(description, "GroupDescription")
    vpc = ids.find(call, Vpc, ids.VPC, call.params["VpcId"]) if call.params.get("VpcId") else default_vpc(call)
    if any(group.spec.group_name == name for group in call.by(SecurityGroup, "vpc", vpc.meta.name)):
        text = f"The security group '{name}' already exists for VPC '{vpc.meta.name}'"
        raise AwsError("InvalidGroup.Duplicate", text)
    room = call.settings.quota_security_groups - len(call.all(SecurityGroup))
    if room <= 0:
        raise AwsError("SecurityGroupLimitExceeded", "The maximum number of security groups has been reached.")
    group_id = new_id("sg-")
    group = SecurityGroup(
        meta=call.meta(group_id, tags=tags_of(call, "security-group")),
        spec=SecurityGroupSpec(name, description, vpc.meta.name, (allow_all_out(),)),
    )
    transaction = call.transaction()
    transaction.require(vpc)
    count_at_commit(call, transaction, SecurityGroup, room)
    transaction.claim(_name_space(vpc.meta.name), name, key_of(group))
    transaction.create(group)
    await call.commit(transaction)
    tags = {"Tags": show_tags(group.meta.tags)} if group.meta.tags else {}
    return {"GroupId": group_id, "SecurityGroupArn": group_arn(call, group_id)} | tags


@operation("DeleteSecurityGroup")
async def delete_security_group(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteSecurityGroup. Not the default one, none that is in use or that another group refers to."""
    group = named_group(call)
    name = group.meta.name
    if group.spec.group_name == "default":
        text = f'the specified group: "{name}" name: "default" cannot be deleted by a user'
        raise AwsError("CannotDelete", text)
    used = call.by(NetworkInterface, "group", name)
    associated = call.by(GroupAssociation, "group", name)
    if used or associated or any(one.meta.name != name for one in call.by(SecurityGroup, "refers", name)):
        raise AwsError("DependencyViolation", f"resource {name} has a dependent object")
    transaction = call.transaction()
    transaction.require_no_newer(NetworkInterface, call.scope)
    transaction.require_no_newer(SecurityGroup, call.scope)
    transaction.require_no_newer(GroupAssociation, call.scope)
    transaction.release(_name_space(group.spec.vpc), group.spec.group_name)
    transaction.delete(group)
    await call.commit(transaction)
    return {"Return": True, "GroupId": name}


@operation("DescribeSecurityGroups")
def describe_security_groups(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeSecurityGroups. Names are looked up in the default VPC."""
    found, token = listing(call, SecurityGroup, ids.SECURITY_GROUP, "GroupIds", _filters(call))
    names = call.params.get("GroupNames")
    if names:
        vpc = default_vpc(call).meta.name
        known = {group.spec.group_name for group in call.by(SecurityGroup, "vpc", vpc)}
        for name in names:
            if name not in known:
                raise AwsError(
                    "InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC '{vpc}'"
                )
        found = [group for group in found if group.spec.vpc == vpc and group.spec.group_name in names]
    shown = [call.fragment("SecurityGroup", group, partial(show_group, call, group)) for group in found]
    return answer("SecurityGroups", shown, token)


@operation("AuthorizeSecurityGroupIngress")
async def authorize_security_group_ingress(call: Call) -> dict[str, Any]:
    """AWS: ec2 AuthorizeSecurityGroupIngress."""
    return await _authorize(call, egress=False)


@operation("AuthorizeSecurityGroupEgress")
async def authorize_security_group_egress(call: Call) -> dict[str, Any]:
    """AWS: ec2 AuthorizeSecurityGroupEgress."""
    return await _authorize(call, egress=True)


@operation("RevokeSecurityGroupIngress")
async def revoke_security_group_ingress(call: Call) -> dict[str, Any]:
    """AWS: ec2 RevokeSecurityGroupIngress."""
    return await _revoke(call, egress=False)


@operation("RevokeSecurityGroupEgress")
async def revoke_security_group_egress(call: Call) -> dict[str, Any]:
    """AWS: ec2 RevokeSecurityGroupEgress."""
    return await _revoke(call, egress=True)


@operation("UpdateSecurityGroupRuleDescriptionsIngress", level="state")
async def update_security_group_rule_descriptions_ingress(call: Call) -> dict[str, Any]:
    """AWS: ec2 UpdateSecurityGroupRuleDescriptionsIngress."""
    return await _describe_rules_anew(call, egress=False)


@operation("UpdateSecurityGroupRuleDescriptionsEgress", level="state")
async def update_security_group_rule_descriptions_egress(call: Call) -> dict[str, Any]:
    """AWS: ec2 UpdateSecurityGroupRuleDescriptionsEgress."""
    return await _describe_rules_anew(call, egress=True)


@operation("GetSecurityGroupsForVpc")
def get_security_groups_for_vpc(call: Call) -> dict[str, Any]:
    """AWS: ec2 GetSecurityGroupsForVpc."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    table = {**_filters(call), "primary-vpc-id": lambda group: group.spec.vpc}
    groups = apply_filters(in_vpc(call, vpc.meta.name), call.params.get("Filters"), table)
    call.end_dry_run()
    shown, token = page(call.params, groups, lambda group: group.meta.name)
    rows = [
        {
            "GroupId": group.meta.name,
            "GroupName": group.spec.group_name,
            "Description": group.spec.description,
            "OwnerId": call.account,
            "PrimaryVpcId": group.spec.vpc,
            "Tags": show_tags(group.meta.tags),
        }
        for group in shown
    ]
    return answer("SecurityGroupForVpcs", rows, token)


@operation("DescribeSecurityGroupReferences")
def describe_security_group_references(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeSecurityGroupReferences: rules of peered VPCs that name one of these groups."""
    wanted = ids.find_all(call, SecurityGroup, ids.SECURITY_GROUP, call.params.get("GroupId") or ())
    call.end_dry_run()
    found = []
    for group in wanted:
        name, vpc = group.meta.name, group.spec.vpc
        for peering in call.by(VpcPeering, "vpc", vpc):
            other = peering.spec.other_than(call.scope, vpc)
            if peering.status.state != "active":
                continue
            if any(one.spec.vpc == other.vpc for one in call.client.by(SecurityGroup, other.scope, "refers-far", name)):
                found.append(
                    {
                        "GroupId": name,
                        "ReferencingVpcId": other.vpc,
                        "VpcPeeringConnectionId": peering.meta.name,
                    }
                )
    return {"SecurityGroupReferenceSet": found}


@operation("DescribeStaleSecurityGroups")
def describe_stale_security_groups(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeStaleSecurityGroups: groups with rules that name a group of a peered VPC which is gone, or whose peering is."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    stale = []
    for group in call.by(SecurityGroup, "vpc", vpc.meta.name):
        rules = [rule for rule in group.spec.rules if _is_stale(call, rule)]
        if rules:
            stale.append((group, rules))
    call.end_dry_run()
    shown, token = page(call.params, stale, lambda one: one[0].meta.name)
    rows = [
        {
            "GroupId": group.meta.name,
            "GroupName": group.spec.group_name,
            "Description": group.spec.description,
            "VpcId": group.spec.vpc,
            "StaleIpPermissions": _stale(call, rules, egress=False),
            "StaleIpPermissionsEgress": _stale(call, rules, egress=True),
        }
        for group, rules in shown
    ]
    return answer("StaleSecurityGroupSet", rows, token)


def _is_stale(call: Call, rule: GroupRule) -> bool:
    if rule.far is None:
        return False
    peering = call.get(VpcPeering, rule.far.peering)
    gone = call.client.get(SecurityGroup, f"{rule.far.account}/{call.region}", rule.group) is None
    return gone or peering is None or peering.status.state != "active"


def _stale(call: Call, rules: list[GroupRule], *, egress: bool) -> list[dict[str, Any]]:
    """API form, which names no IPv6 ranges. AWS: ec2 StaleIpPermission."""
    shown = show_permissions(call, (rule for rule in rules if rule.egress == egress))
    stale = [{name: value for name, value in one.items() if name != "Ipv6Ranges"} for one in shown]
    return [one | {"IpRanges": [], "PrefixListIds": []} for one in stale]


def default_vpc(call: Call) -> Vpc:
    """The region's default VPC. AWS: VPCIdNotSpecified when it has been deleted."""
    found = call.by(Vpc, "default", "default")
    if not found:
        raise AwsError("VPCIdNotSpecified", "No default VPC for this user.")
    return found[0]


def named_group(call: Call) -> SecurityGroup:
    """The group that a call names by `GroupId` or, in the default VPC, by `GroupName`. AWS: InvalidGroup.NotFound, MissingParameter."""
    name = call.params.get("GroupName")
    if call.params.get("GroupId"):
        group = ids.find(call, SecurityGroup, ids.SECURITY_GROUP, call.params["GroupId"])
        if name and name != group.spec.group_name:
            text = "The parameter groupName cannot be used with the parameter groupId"
            raise AwsError("InvalidParameterCombination", text)
        return group
    if not name:
        raise AwsError("MissingParameter", "The request must contain the parameter groupName or groupId")
    return group_by_name(call, name)


def group_by_name(call: Call, name: str) -> SecurityGroup:
    """A group of the default VPC. AWS: InvalidGroup.NotFound."""
    vpc = default_vpc(call).meta.name
    for group in call.by(SecurityGroup, "vpc", vpc):
        if group.spec.group_name == name:
            return group
    raise AwsError("InvalidGroup.NotFound", f"The security group '{name}' does not exist in default VPC '{vpc}'")


def group_arn(call: Call, group_id: str) -> str:
    return call.arn(f"security-group/{group_id}", service="ec2")


async def _authorize(call: Call, *, egress: bool) -> dict[str, Any]:
    group = named_group(call)
    known = {identity(rule) for rule in group.spec.rules}
    tags = tags_of(call, "security-group-rule")
    new = []
    for rule in asked_rules(call, group, egress=egress):
        if identity(rule) in known:
            raise AwsError("InvalidPermission.Duplicate", f'the specified rule "{_peer(rule)}" already exists')
        new.append(msgspec.structs.replace(rule, id=new_id("sgr-"), tags=tags))
    rules = (*group.spec.rules, *new)
    if (
        weights(call, (rule.prefix_list for rule in rules if rule.egress == egress))
        > call.settings.quota_rules_per_security_group
    ):
        raise AwsError(
            "RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached."
        )
    transaction = call.transaction()
    for rule in new:
        listed = call.get(PrefixList, rule.prefix_list) if rule.prefix_list else None
        if listed is not None:
            transaction.require(listed)
        if rule.far is not None:
            transaction.require(ids.find(call, VpcPeering, ids.PEERING, rule.far.peering))
        elif rule.group and rule.group != group.meta.name:
            transaction.require(ids.find(call, SecurityGroup, ids.SECURITY_GROUP, rule.group))
    transaction.update(with_rules(group, rules))
    await call.commit(transaction)
    return {"Return": True, "SecurityGroupRules": [show_rule(call, rule, group.meta.name) for rule in new]}


async def _revoke(call: Call, *, egress: bool) -> dict[str, Any]:
    group = named_group(call)
    gone = _rules_meant(call, group, call.params.get("SecurityGroupRuleIds") or (), egress=egress)
    transaction = call.transaction()
    transaction.update(with_rules(group, (rule for rule in group.spec.rules if rule.id not in gone)))
    await call.commit(transaction)
    return {
        "Return": True,
        "RevokedSecurityGroupRules": [show_revoked(rule, group.meta.name) for rule in gone.values()],
    }


async def _describe_rules_anew(call: Call, *, egress: bool) -> dict[str, Any]:
    group = named_group(call)
    texts = {
        one.get("SecurityGroupRuleId"): one.get("Description")
        for one in call.params.get("SecurityGroupRuleDescriptions") or ()
    }
    meant = _rules_meant(call, group, [str(id_) for id_ in texts], egress=egress)
    if not texts:
        asked = {identity(rule): rule.description for rule in asked_rules(call, group, egress=egress)}
        texts = {rule.id: asked[identity(rule)] for rule in meant.values()}
    changed = [
        msgspec.structs.replace(rule, description=check_description(texts[rule.id])) if rule.id in meant else rule
        for rule in group.spec.rules
    ]
    transaction = call.transaction()
    transaction.update(with_rules(group, changed))
    await call.commit(transaction)
    return {"Return": True}


def _rules_meant(call: Call, group: SecurityGroup, rule_ids: Iterable[str], *, egress: bool) -> dict[str, GroupRule]:
    """Existing rules that a call means, by id or by permission. AWS: InvalidSecurityGroupRuleId.NotFound, InvalidPermission.NotFound."""
    own = {rule.id: rule for rule in group.spec.rules if rule.egress == egress}
    rule_ids = list(rule_ids)
    if rule_ids:
        for name in ("SecurityGroupRuleIds", "SecurityGroupRuleDescriptions"):
            refuse_together(call, name, "IpPermissions", *OLD_FORM)
        missing = [id_ for id_ in rule_ids if ids.check_id(ids.GROUP_RULE, id_) not in own]
        if missing:
            raise ids.not_found(ids.GROUP_RULE, *missing)
        return {id_: own[id_] for id_ in rule_ids}
    by_identity = {identity(rule): rule for rule in own.values()}
    found: dict[str, GroupRule] = {}
    for asked in asked_rules(call, group, egress=egress):
        rule = by_identity.get(identity(asked))
        if rule is None:
            raise AwsError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        found[rule.id] = rule
    return found


def _peer(rule: GroupRule) -> str:
    protocol = "ALL" if rule.protocol == "-1" else rule.protocol.upper()
    ports = f", from port: {rule.from_port}, to port: {rule.to_port}" if rule.from_port != -1 else ""
    return f"peer: {rule.cidr or rule.cidr6 or rule.prefix_list or rule.group}, {protocol}{ports}, ALLOW"


def _name_space(vpc_id: str) -> str:
    return f"group-name/{vpc_id}"


def _check_name(name: str) -> None:
    if name.lower() == "default":
        raise ids.invalid("Cannot use reserved security group name: default")
    if name.startswith("sg-"):
        raise ids.invalid(
            f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*."
        )
    _check_text(name, "GroupName")


def _check_text(text: str, name: str) -> None:
    if not text.isascii():
        raise ids.invalid(
            f"Value ({text}) for parameter {name} is invalid. Character sets beyond ASCII are not supported."
        )
    if len(text) > 255 or any(character not in _ALLOWED for character in text):
        what = "names" if name == "GroupName" else "descriptions"
        raise ids.invalid(
            f"Invalid security group {what[:-1]}. Valid {what} are strings less than 256 characters from the following "
            "set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )


_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789. _-:/()#,@[]+=&;{}!$*")


# Lowering and showing


@lower(SecurityGroup)
def lower_security_group(group: SecurityGroup, read: Reader) -> Iterable[Desired]:
    """The firewall's group in its VPC and in those it is associated with, while anything there is attached."""
    associated = [one.spec.vpc for one in read.by(GroupAssociation, group.meta.scope, "group", group.meta.name)]
    vpcs = [
        vpc
        for vpc in (group.spec.vpc, *sorted(associated))
        if read.by(NetworkInterface, group.meta.scope, "attached-vpc", vpc)
    ]
    if not vpcs:
        return
    lists = {name: read.get(PrefixList, group.meta.scope, name) for name in _lists(group)}
    entries = {name: one.spec.entries for name, one in lists.items() if one is not None}
    rules = tuple(one for rule in group.spec.rules for one in lower_rule(rule, entries.get(rule.prefix_list, ())))
    for vpc in vpcs:
        name = group.meta.name if vpc == group.spec.vpc else f"{group.meta.name}.{vpc}"
        spec = FirewallGroup(network=vpc, group=Group(name=group.meta.name, rules=rules))
        yield Desired("FirewallGroup", name, key_of(group), spec)
    if group.spec.vpc not in vpcs:
        return
    for rule in {rule.group: rule for rule in group.spec.rules if rule.far is not None}.values():
        far = Group(name=rule.group, members=tuple(_far_members(group, rule, read)))
        name = f"{group.meta.name}.{rule.group}"
        yield Desired("FirewallGroup", name, key_of(group), FirewallGroup(network=group.spec.vpc, group=far))


def _lists(group: SecurityGroup) -> set[str]:
    return {rule.prefix_list for rule in group.spec.rules if rule.prefix_list}


def _far_members(group: SecurityGroup, rule: GroupRule, read: Reader) -> list[str]:
    """Addresses of a group of a peered VPC; none once the peering has ended."""
    assert rule.far is not None, "a group of another VPC"
    peering = read.get(VpcPeering, group.meta.scope, rule.far.peering)
    if peering is None or peering.status.state != "active":
        return []
    scope = peering.spec.other_than(group.meta.scope, group.spec.vpc).scope
    found = (one for one in read.by(NetworkInterface, scope, "group", rule.group) if one.spec.attachment)
    return sorted(address for one in found for address in one.spec.held)


def _filters(call: Call) -> FilterTable:
    def of(look: Callable[[GroupRule], str], *, egress: bool) -> Any:
        return lambda group: [found for rule in group.spec.rules if rule.egress == egress and (found := look(rule))]

    def group_name(rule: GroupRule) -> str:
        found = call.get(SecurityGroup, rule.group) if rule.group else None
        return found.spec.group_name if found else ""

    looks: dict[str, Callable[[GroupRule], str]] = {
        "cidr": lambda rule: rule.cidr,
        "from-port": lambda rule: str(rule.from_port) if rule.protocol != "-1" else "",
        "group-id": lambda rule: rule.group,
        "group-name": group_name,
        "ipv6-cidr": lambda rule: rule.cidr6,
        "prefix-list-id": lambda rule: rule.prefix_list,
        "protocol": lambda rule: rule.protocol,
        "to-port": lambda rule: str(rule.to_port) if rule.protocol != "-1" else "",
        "user-id": lambda rule: call.account if rule.group else "",
    }
    table: dict[str, Any] = {
        "description": lambda group: group.spec.description,
        "group-id": lambda group: group.meta.name,
        "group-name": lambda group: group.spec.group_name,
        "owner-id": lambda _: call.account,
        "vpc-id": lambda group: group.spec.vpc,
    }
    for name, look in looks.items():
        table[f"ip-permission.{name}"] = of(look, egress=False)
        table[f"egress.ip-permission.{name}"] = of(look, egress=True)
    return table


def show_group(call: Call, group: SecurityGroup) -> dict[str, Any]:
    """API form. AWS: ec2 SecurityGroup."""
    return {
        "GroupId": group.meta.name,
        "GroupName": group.spec.group_name,
        "Description": group.spec.description,
        "OwnerId": call.account,
        "VpcId": group.spec.vpc,
        "SecurityGroupArn": group_arn(call, group.meta.name),
        "IpPermissions": show_permissions(call, (rule for rule in group.spec.rules if not rule.egress)),
        "IpPermissionsEgress": show_permissions(call, (rule for rule in group.spec.rules if rule.egress)),
        **show_own_tags(group.meta.tags),
    }
