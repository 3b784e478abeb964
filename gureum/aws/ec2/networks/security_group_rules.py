"""Rules of security groups: how a call's permissions become rules, how rules are compared and shown, and the operations on single rules.

A rule is one protocol, one port range and one source or destination; an `IpPermission` of the API is several rules with the first two in
common. Two rules are the same when all but id, description and tags is equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.endpoints.service_prefix_lists import find_list
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.networks.cidrs import parse_cidr, parse_cidr6
from gureum.aws.ec2.networks.kinds import FarGroup, GroupRule, PrefixEntry, PrefixList, SecurityGroup, VpcPeering
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.ports.firewalls import Rule

PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}
WITH_PORTS = ("tcp", "udp")
WITH_TYPES = ("icmp", "icmpv6")
OLD_FORM = ("IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupName", "SourceSecurityGroupOwnerId")
"""Parameters that stand for one permission."""
_DESCRIPTION = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}", re.ASCII)


@operation("DescribeSecurityGroupRules")
def describe_security_group_rules(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeSecurityGroupRules."""
    rows = [RuleRow(rule, group.meta.name) for group in call.all(SecurityGroup) for rule in group.spec.rules]
    wanted = call.params.get("SecurityGroupRuleIds")
    if wanted:
        by_id = {row.rule.id: row for row in rows}
        missing = [id_ for id_ in wanted if ids.check_id(ids.GROUP_RULE, id_) not in by_id]
        if missing:
            raise ids.not_found(ids.GROUP_RULE, *missing)
        rows = [by_id[id_] for id_ in dict.fromkeys(wanted)]
    _check_groups(call.params.get("Filters") or ())
    found: list[RuleRow] = apply_filters(rows, call.params.get("Filters"), _FILTERS)  # type: ignore[type-var]
    call.end_dry_run()
    shown, token = page(call.params, found, lambda row: row.rule.id)
    return answer("SecurityGroupRules", [show_rule(call, row.rule, row.group) for row in shown], token)


def _check_groups(filters: Iterable[dict[str, Any]]) -> None:
    """Groups that a filter names need not be there, but must be ids, where they are no patterns. AWS: InvalidGroupId.Malformed."""
    for one in filters:
        for value in (one.get("Values") or ()) if one.get("Name") == "group-id" else ():
            if not ids.is_id(ids.SECURITY_GROUP, value) and not set("*?").intersection(value):
                raise AwsError(ids.SECURITY_GROUP.malformed, f"The security group ID '{value}' is malformed")


@operation("ModifySecurityGroupRules")
async def modify_security_group_rules(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifySecurityGroupRules: what a rule says is replaced, its direction, id and tags stay."""
    group = ids.find(call, SecurityGroup, ids.SECURITY_GROUP, ids.need(call, "GroupId"))
    rules = {rule.id: rule for rule in group.spec.rules}
    for update in call.params.get("SecurityGroupRules") or ():
        id_ = ids.check_id(ids.GROUP_RULE, update.get("SecurityGroupRuleId") or "")
        if id_ not in rules:
            raise ids.not_found(ids.GROUP_RULE, id_)
        rules[id_] = _modified(call, group, rules[id_], update.get("SecurityGroupRule") or {})
    seen = [identity(rule) for rule in rules.values()]
    if len(set(seen)) != len(seen):
        raise AwsError("InvalidPermission.Duplicate", "The specified rule already exists in this security group.")
    transaction = call.transaction()
    transaction.update(with_rules(group, rules.values()))
    await call.commit(transaction)
    return {"Return": True}


class _Envelope(msgspec.Struct, frozen=True):
    tags: dict[str, str]


class RuleRow(msgspec.Struct, frozen=True):
    """A rule as filters look at it, with the id of its group."""

    rule: GroupRule
    group: str

    @property
    def meta(self) -> _Envelope:
        """Where filters find tags."""
        return _Envelope(self.rule.tags)


_FILTERS: FilterTable = {
    "group-id": lambda row: row.group,
    "security-group-rule-id": lambda row: row.rule.id,
}


def allow_own_group(group_id: str) -> GroupRule:
    """What a VPC's default group allows in: everything from its own members."""
    return GroupRule(new_id("sgr-"), egress=False, protocol="-1", group=group_id)


def allow_all_out() -> GroupRule:
    """What every new group allows out: everything."""
    return GroupRule(new_id("sgr-"), egress=True, protocol="-1", cidr="0.0.0.0/0")


def identity(rule: GroupRule) -> tuple[Any, ...]:
    """What makes two rules the same rule."""
    return rule.egress, rule.protocol, rule.from_port, rule.to_port, rule.cidr, rule.cidr6, rule.prefix_list, rule.group


def with_rules(group: SecurityGroup, rules: Iterable[GroupRule]) -> SecurityGroup:
    """A copy with these rules."""
    return msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, rules=tuple(rules)))


def asked_rules(call: Call, group: SecurityGroup, *, egress: bool) -> list[GroupRule]:
    """The rules that a call's permissions name, without ids, each once. AWS: InvalidParameterValue, InvalidPermission.Malformed,
    InvalidGroup.NotFound."""
    permissions = call.params.get("IpPermissions")
    if permissions:
        refuse_together(call, "IpPermissions", *OLD_FORM)
    else:
        permissions = _old_form(call)
    rules = [rule for permission in permissions for rule in parse_permission(call, group, permission, egress=egress)]
    if len({identity(rule) for rule in rules}) != len(rules):
        raise ids.invalid("The same permission must not appear multiple times")
    return rules


def parse_permission(call: Call, group: SecurityGroup, permission: dict[str, Any], *, egress: bool) -> list[GroupRule]:
    """The rules of one IpPermission."""
    protocol, from_port, to_port = parse_ports(
        permission.get("IpProtocol"), permission.get("FromPort"), permission.get("ToPort")
    )
    base = GroupRule("", egress, protocol, from_port, to_port)
    rules = [
        *(_rule(base, one, cidr=str(_cidr(one.get("CidrIp")))) for one in permission.get("IpRanges") or ()),
        *(_rule(base, one, cidr6=_cidr6(one.get("CidrIpv6"))) for one in permission.get("Ipv6Ranges") or ()),
        *(_rule(base, one, prefix_list=_listed(call, one)) for one in permission.get("PrefixListIds") or ()),
        *(_rule(base, one, **_referenced(call, group, one)) for one in permission.get("UserIdGroupPairs") or ()),
    ]
    if not rules:
        raise AwsError(
            "MissingParameter",
            "The request must contain a source or destination: a CIDR block, prefix list or security group",
        )
    return rules


def parse_ports(protocol: str | None, from_port: int | None, to_port: int | None) -> tuple[str, int, int]:
    """Protocol and range as they are stored: ports for tcp and udp, type and code for icmp, else -1, -1."""
    if not protocol:
        raise ids.invalid(
            "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly."
        )
    name = PROTOCOLS.get(protocol.lower(), protocol.lower())
    if name in WITH_PORTS:
        if from_port is None or to_port is None:
            raise ids.invalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
        for port in (from_port, to_port):
            if not 0 <= port <= 65535:
                raise ids.invalid(f"TCP/UDP port ({port}) out of range")
        if from_port > to_port:
            raise ids.invalid(f"Invalid TCP/UDP port range ({from_port}:{to_port})")
        return name, from_port, to_port
    if name in WITH_TYPES:
        type_, code = -1 if from_port is None else from_port, -1 if to_port is None else to_port
        if not (-1 <= type_ <= 255 and -1 <= code <= 255) or (type_ == -1 and code != -1):
            raise ids.invalid(
                f"ICMP code ({code}) out of range" if -1 <= type_ <= 255 else f"ICMP type ({type_}) out of range"
            )
        return name, type_, code
    if name != "-1" and not (name.isascii() and name.isdigit() and len(name) <= 3 and int(name) <= 255):
        raise ids.invalid(f"Invalid value '{protocol}' for IP protocol. Unknown protocol.")
    return name, -1, -1


def referenced_group(call: Call, group: SecurityGroup, pair: dict[str, Any]) -> SecurityGroup:
    """The group that a UserIdGroupPair names by id or, in the same VPC, by name; by id and account also one of a VPC that is peered in the
    same region. AWS: InvalidGroup.NotFound, also for one of another VPC."""
    id_, name = pair.get("GroupId"), pair.get("GroupName")
    if id_:
        account = pair.get("UserId") or call.account
        found = call.client.get(SecurityGroup, f"{account}/{call.region}", ids.check_id(ids.SECURITY_GROUP, id_))
        if found is None:
            raise ids.not_found(ids.SECURITY_GROUP, id_)
        if found.spec.vpc != group.spec.vpc and peering_between(call, group, found) is None:
            raise AwsError(
                "InvalidGroup.NotFound", "You have specified two resources that belong to different networks."
            )
        return found
    for one in call.by(SecurityGroup, "vpc", group.spec.vpc):
        if name and one.spec.group_name == name:
            return one
    raise AwsError("InvalidGroup.NotFound", f"The security group '{name or ''}' does not exist")


def check_description(text: str | None) -> str:
    """AWS: InvalidParameterValue for a rule's description of other characters or over 255."""
    if text and _DESCRIPTION.fullmatch(text) is None:
        raise ids.invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: "
            "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )
    return text or ""


def _rule(base: GroupRule, one: dict[str, Any], **fields: Any) -> GroupRule:
    return msgspec.structs.replace(base, description=check_description(one.get("Description")), **fields)


def _cidr(text: str | None) -> Any:
    try:
        return parse_cidr(text or "")
    except AwsError:
        raise ids.invalid(f"CIDR block {text} is malformed") from None


def _cidr6(text: str | None) -> str:
    return str(parse_cidr6(text or "", "cidrIpv6"))


def _listed(call: Call, one: dict[str, Any]) -> str:
    return find_list(call, one.get("PrefixListId") or "").meta.name


def weights(call: Call, names: Iterable[str]) -> int:
    """As how many rules or routes these count: what names a prefix list as its most entries, all else as one."""
    lists = (call.get(PrefixList, name) if name.startswith("pl-") else None for name in names)
    return sum(one.spec.max_entries if one is not None else 1 for one in lists)


def peering_between(call: Call, group: SecurityGroup, other: SecurityGroup) -> VpcPeering | None:
    """The active peering of two groups' VPCs."""
    for one in call.by(VpcPeering, "vpc", group.spec.vpc):
        side = one.spec.other_than(group.meta.scope, group.spec.vpc)
        if one.status.state == "active" and (side.scope, side.vpc) == (other.meta.scope, other.spec.vpc):
            return one
    return None


def _referenced(call: Call, group: SecurityGroup, pair: dict[str, Any]) -> dict[str, Any]:
    """The fields of a rule that say which group is meant. One that exists already may name a peering that is gone."""
    id_ = pair.get("GroupId")
    for rule in group.spec.rules:
        if id_ and rule.group == id_ and rule.far is not None:
            return {"group": id_, "far": rule.far}
    found = referenced_group(call, group, pair)
    if found.spec.vpc == group.spec.vpc:
        return {"group": found.meta.name}
    peering = peering_between(call, group, found)
    assert peering is not None, "looked up just now"
    account = found.meta.scope.partition("/")[0]
    return {"group": found.meta.name, "far": FarGroup(account, found.spec.vpc, peering.meta.name)}


def refuse_together(call: Call, name: str, *others: str) -> None:
    """AWS: InvalidParameterCombination for a parameter that stands for the same as another."""
    for other in others:
        if call.params.get(name) and call.params.get(other) is not None:
            told = [one[0].lower() + one[1:] for one in (name, other)]
            text = f"The parameter {told[0]} cannot be used with the parameter {told[1]}"
            raise AwsError("InvalidParameterCombination", text)


def _old_form(call: Call) -> list[dict[str, Any]]:
    """The parameters that stood for one permission before `IpPermissions`."""
    params = call.params
    refuse_together(call, "SourceSecurityGroupName", "CidrIp")
    permission: dict[str, Any] = {name: params[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in params}
    if params.get("CidrIp"):
        permission["IpRanges"] = [{"CidrIp": params["CidrIp"]}]
    elif params.get("SourceSecurityGroupName"):
        permission.setdefault("IpProtocol", "-1")
        named = {"GroupName": params["SourceSecurityGroupName"]}
        if params.get("SourceSecurityGroupOwnerId", call.account) != call.account:
            text = f"The security group '{named['GroupName']}' does not exist"
            raise AwsError("InvalidGroup.NotFound", text)
        permission["UserIdGroupPairs"] = [named]
    elif not permission:
        raise ids.missing("ipPermissions")
    return [permission]


def _modified(call: Call, group: SecurityGroup, rule: GroupRule, request: dict[str, Any]) -> GroupRule:
    ports = request.get("FromPort"), request.get("ToPort")
    name = str(request.get("IpProtocol")).lower()
    if None in ports and PROTOCOLS.get(name, name) in WITH_PORTS:
        raise ids.invalid("Invalid value for portRange. Must specify both from and to ports with TCP/UDP.")
    protocol, from_port, to_port = parse_ports(request.get("IpProtocol"), *ports)
    given = [name for name in ("CidrIpv4", "CidrIpv6", "PrefixListId", "ReferencedGroupId") if request.get(name)]
    kinds_of_end = "cidrIp, cidrIpv6, prefixListId, or referencedGroupId"
    if not given:
        raise AwsError("MissingParameter", f"The request must contain exactly one of: {kinds_of_end}")
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", f"Only one of {kinds_of_end} can be specified")
    kinds = {"CidrIpv4": rule.cidr, "CidrIpv6": rule.cidr6, "PrefixListId": rule.prefix_list}
    if any(bool(present) != (name in given) for name, present in kinds.items()):
        raise ids.invalid("The source or destination type of a security group rule cannot be changed.")
    return msgspec.structs.replace(
        rule,
        protocol=protocol,
        from_port=from_port,
        to_port=to_port,
        cidr=str(_cidr(request["CidrIpv4"])) if "CidrIpv4" in given else "",
        cidr6=str(parse_cidr6(request["CidrIpv6"])) if "CidrIpv6" in given else "",
        prefix_list=_listed(call, request) if "PrefixListId" in given else "",
        **(
            {"group": "", "far": None} | _referenced(call, group, {"GroupId": request["ReferencedGroupId"]})
            if "ReferencedGroupId" in given
            else {"group": "", "far": None}
        ),
        description=check_description(request.get("Description")),
    )


# Lowering and showing


def lower_rule(rule: GroupRule, entries: Iterable[PrefixEntry] = ()) -> list[Rule]:
    """The firewall's form, of a rule that names a prefix list one per entry; none for IPv6, which no interface has here."""
    if rule.cidr6 or rule.protocol == "icmpv6":
        return []
    ports = None
    if rule.protocol in WITH_PORTS and (rule.from_port, rule.to_port) != (0, 65535):
        ports = (rule.from_port, rule.to_port)
    if rule.protocol == "icmp" and rule.from_port != -1:
        ports = (rule.from_port, rule.to_port)
    protocol = "all" if rule.protocol == "-1" else rule.protocol
    direction: Literal["in", "out"] = "out" if rule.egress else "in"
    if rule.prefix_list:
        return [Rule(direction, protocol, ports, cidr=one.cidr) for one in entries if ":" not in one.cidr]
    return [Rule(direction, protocol, ports, cidr=rule.cidr, group=rule.group)]


def show_rule(call: Call, rule: GroupRule, group_id: str) -> dict[str, Any]:
    """API form. AWS: ec2 SecurityGroupRule."""
    shown: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id,
        "SecurityGroupRuleArn": call.arn(f"security-group-rule/{rule.id}", service="ec2"),
        "GroupId": group_id,
        "GroupOwnerId": call.account,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "Tags": show_tags(rule.tags),
    }
    if rule.cidr:
        shown["CidrIpv4"] = rule.cidr
    if rule.cidr6:
        shown["CidrIpv6"] = rule.cidr6
    if rule.prefix_list:
        shown["PrefixListId"] = rule.prefix_list
    if rule.group:
        # AWS adds the account's own id. Terraform, told not to ask who it is (as is usual against a local endpoint), takes
        # any id for a foreign account's and would plan a change for ever.
        shown["ReferencedGroupInfo"] = {"GroupId": rule.group}
        if rule.far is not None:
            shown["ReferencedGroupInfo"] |= show_far(call, rule.far)
    if rule.description:
        shown["Description"] = rule.description
    return shown


def show_revoked(rule: GroupRule, group_id: str) -> dict[str, Any]:
    """API form. AWS: ec2 RevokedSecurityGroupRule."""
    texts = {
        "CidrIpv4": rule.cidr,
        "CidrIpv6": rule.cidr6,
        "PrefixListId": rule.prefix_list,
        "ReferencedGroupId": rule.group,
        "Description": rule.description,
    }
    return {
        "SecurityGroupRuleId": rule.id,
        "GroupId": group_id,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
    } | {name: text for name, text in texts.items() if text}


def show_far(call: Call, far: FarGroup) -> dict[str, Any]:
    """Members of AWS's UserIdGroupPair and ReferencedSecurityGroup for a group of a peered VPC."""
    peering = call.get(VpcPeering, far.peering)
    return {
        "UserId": far.account,
        "VpcId": far.vpc,
        "VpcPeeringConnectionId": far.peering,
        "PeeringStatus": peering.status.state if peering is not None else "deleted",
    }


def show_permissions(call: Call, rules: Iterable[GroupRule]) -> list[dict[str, Any]]:
    """Rules of one direction as IpPermissions: those with one protocol and range together."""
    permissions: dict[tuple[str, int, int], dict[str, Any]] = {}
    for rule in rules:
        permission = permissions.get((rule.protocol, rule.from_port, rule.to_port))
        if permission is None:
            permission = {
                "IpProtocol": rule.protocol,
                "IpRanges": [],
                "Ipv6Ranges": [],
                "PrefixListIds": [],
                "UserIdGroupPairs": [],
            }
            if rule.protocol in (*WITH_PORTS, *WITH_TYPES):
                permission |= {"FromPort": rule.from_port, "ToPort": rule.to_port}
            permissions[rule.protocol, rule.from_port, rule.to_port] = permission
        description = {"Description": rule.description} if rule.description else {}
        if rule.cidr:
            permission["IpRanges"].append({"CidrIp": rule.cidr} | description)
        elif rule.cidr6:
            permission["Ipv6Ranges"].append({"CidrIpv6": rule.cidr6} | description)
        elif rule.prefix_list:
            permission["PrefixListIds"].append({"PrefixListId": rule.prefix_list} | description)
        elif rule.group:
            pair = {"GroupId": rule.group, "UserId": call.account}
            far = show_far(call, rule.far) if rule.far is not None else {}
            permission["UserIdGroupPairs"].append(pair | far | description)
    return list(permissions.values())
