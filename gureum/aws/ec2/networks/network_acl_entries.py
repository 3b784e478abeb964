"""Entries of network ACLs: how a call's words become one, how they are shown, and what they are to the firewall.

Entries are told apart by direction and number. The last of each direction, 32767, denies what no other entry decided; it stands there from
the beginning and nobody can change it. Protocols are stored as numbers, as EC2 shows them.

Entries for IPv6 are kept and shown, as a VPC without an IPv6 block has them on AWS too; no interface here has an IPv6 address, so that there is
no packet for them to decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.networks.cidrs import parse_cidr, parse_cidr6
from gureum.aws.ec2.networks.kinds import AclEntry, NetworkAcl
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.ports import firewalls

CLOSING_NUMBER = 32767
ALL, ICMP, TCP, UDP, ICMP6 = "-1", "1", "6", "17", "58"
_NAMES = {ALL: "all", ICMP: "icmp", TCP: "tcp", UDP: "udp"}
_NUMBERS = {name: number for number, name in _NAMES.items()}
_ALL_PORTS = (0, 65535)


@operation("CreateNetworkAclEntry")
async def create_network_acl_entry(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateNetworkAclEntry."""
    acl = _find(call)
    entry = _asked_entry(call)
    if _entry(acl, entry.number, egress=entry.egress) is not None:
        text = f"The network acl entry identified by {entry.number} already exists."
        raise AwsError("NetworkAclEntryAlreadyExists", text)
    others = [one for one in acl.spec.entries if _counts_with(one, entry)]
    if len(others) >= call.settings.quota_rules_per_network_acl:
        raise AwsError("NetworkAclEntryLimitExceeded", "The maximum number of network acl entries has been reached.")
    return await _write(call, acl, (*acl.spec.entries, entry))


@operation("ReplaceNetworkAclEntry")
async def replace_network_acl_entry(call: Call) -> dict[str, Any]:
    """AWS: ec2 ReplaceNetworkAclEntry: the entry of that direction and number says something else."""
    acl = _find(call)
    entry = _asked_entry(call)
    old = _existing(acl, entry.number, egress=entry.egress)
    return await _write(call, acl, (entry if one is old else one for one in acl.spec.entries))


@operation("DeleteNetworkAclEntry")
async def delete_network_acl_entry(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNetworkAclEntry."""
    acl = _find(call)
    old = _existing(acl, _number(call), egress=_given(call, "Egress"))
    return await _write(call, acl, (one for one in acl.spec.entries if one is not old))


def closing_entries() -> tuple[AclEntry, AclEntry]:
    """What every ACL ends with in both directions."""
    return AclEntry(CLOSING_NUMBER, egress=True, allow=False), AclEntry(CLOSING_NUMBER, egress=False, allow=False)


def ordered(entries: Iterable[AclEntry]) -> list[AclEntry]:
    """As EC2 lists them: outbound first, by number."""
    return sorted(entries, key=lambda entry: (not entry.egress, entry.number))


def protocol_names(entry: AclEntry) -> tuple[str, ...]:
    """How a filter may call the entry's protocol: by number, and by name where it has one. AWS: entry.protocol."""
    name = _NAMES.get(entry.protocol)
    return (entry.protocol, name) if name else (entry.protocol,)


# What calls ask for


def _counts_with(one: AclEntry, entry: AclEntry) -> bool:
    """AWS: the quota is for each direction, and for IPv4 and IPv6 apart."""
    return (one.egress, bool(one.cidr6)) == (entry.egress, bool(entry.cidr6)) and one.number != CLOSING_NUMBER


def _find(call: Call) -> NetworkAcl:
    return ids.find(call, NetworkAcl, ids.NETWORK_ACL, ids.need(call, "NetworkAclId"))


def _entry(acl: NetworkAcl, number: int, *, egress: bool) -> AclEntry | None:
    return next((one for one in acl.spec.entries if (one.number, one.egress) == (number, egress)), None)


def _existing(acl: NetworkAcl, number: int, *, egress: bool) -> AclEntry:
    found = _entry(acl, number, egress=egress)
    if found is None:
        direction = "egress" if egress else "ingress"
        text = f"no {direction} entry with number {number} in network ACL {acl.meta.name}"
        raise AwsError("InvalidNetworkAclEntry.NotFound", text)
    return found


async def _write(call: Call, acl: NetworkAcl, entries: Iterable[AclEntry]) -> dict[str, Any]:
    spec = msgspec.structs.replace(acl.spec, entries=tuple(entries))
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(acl, spec=spec))
    await call.commit(transaction)
    return {}


def _asked_entry(call: Call) -> AclEntry:
    action = ids.need(call, "RuleAction")
    if action not in ("allow", "deny"):
        raise ids.invalid(f"Value ({action}) for parameter ruleAction is invalid. Unknown action.")
    number, egress, protocol = _number(call), _given(call, "Egress"), _protocol(ids.need(call, "Protocol"))
    cidr, cidr6 = _cidrs(call)
    return AclEntry(number, egress, action == "allow", protocol, cidr, _ports(call, protocol, six=bool(cidr6)), cidr6)


def _number(call: Call) -> int:
    number: int = _given(call, "RuleNumber")
    if not 1 <= number < CLOSING_NUMBER:
        text = f"Value ({number}) for parameter ruleNumber is invalid. Rule numbers must be between 1 and 32766."
        raise ids.invalid(text)
    return number


def _given(call: Call, name: str) -> Any:
    """A number or a truth value, of which 0 and false are values too."""
    value = call.params.get(name)
    if value is None:
        raise ids.missing(name)
    return value


def _protocol(text: str) -> str:
    found = _NUMBERS.get(text.lower(), text)
    if found != ALL and not (found.isascii() and found.isdigit() and len(found) <= 3 and int(found) <= 255):
        raise ids.invalid(f"Invalid value '{text}' for IP protocol. Unknown protocol.")
    return found if found == ALL else str(int(found))


def _cidrs(call: Call) -> tuple[str, str]:
    """For IPv4 and for IPv6, one of them empty."""
    cidr, cidr6 = call.params.get("CidrBlock"), call.params.get("Ipv6CidrBlock")
    if cidr and cidr6:
        raise AwsError("InvalidParameterCombination", "Both cidrBlock and ipv6CidrBlock cannot be specified.")
    if cidr6:
        return "", str(parse_cidr6(cidr6))
    return str(parse_cidr(ids.need(call, "CidrBlock"))), ""


def _ports(call: Call, protocol: str, *, six: bool) -> tuple[int, int] | None:
    """The range for tcp and udp, type and code for icmp (for IPv6's with an IPv6 block only); of other protocols what was given is ignored, as
    AWS does."""
    if protocol in (TCP, UDP):
        return _range(call.params.get("PortRange") or {})
    if protocol == ICMP or (protocol == ICMP6 and six):
        return _type_and_code(call.params.get("IcmpTypeCode") or {})
    return None


def _range(given: dict[str, Any]) -> tuple[int, int]:
    low, high = given.get("From"), given.get("To")
    if low is None or high is None:
        raise ids.missing("PortRange")
    for port in (low, high):
        if not 0 <= port <= 65535:
            raise ids.invalid(f"TCP/UDP port ({port}) out of range")
    if low > high:
        raise ids.invalid(f"Invalid TCP/UDP port range ({low}:{high})")
    return low, high


def _type_and_code(given: dict[str, Any]) -> tuple[int, int]:
    type_, code = given.get("Type"), given.get("Code")
    if type_ is None or code is None:
        raise ids.missing("IcmpTypeCode")
    if not -1 <= type_ <= 255:
        raise ids.invalid(f"ICMP type ({type_}) out of range")
    if not -1 <= code <= 255 or (type_ == -1 and code != -1):
        raise ids.invalid(f"ICMP code ({code}) out of range")
    return type_, code


# Lowering and showing


def lets_all_pass(acl: NetworkAcl) -> bool:
    """Whether in both directions everything is allowed before anything is denied."""
    return all(_open(entry for entry in ordered(acl.spec.entries) if entry.egress == way) for way in (True, False))


def _open(entries: Iterable[AclEntry]) -> bool:
    for entry in entries:
        if entry.cidr6:
            continue
        if not entry.allow:
            return False
        if entry.protocol == ALL and entry.cidr == "0.0.0.0/0":
            return True
    return False


def lower_acl(acl: NetworkAcl, subnets: Iterable[str]) -> firewalls.Acl:
    """The firewall's form. `subnets`: CIDRs of those that use it. The closing denies are implied there."""
    decided = (entry for entry in ordered(acl.spec.entries) if entry.number != CLOSING_NUMBER and not entry.cidr6)
    entries = (_lower_entry(entry) for entry in decided)
    return firewalls.Acl(acl.meta.name, tuple(subnets), tuple(entries))


def _lower_entry(entry: AclEntry) -> firewalls.AclEntry:
    every = entry.ports == _ALL_PORTS if entry.protocol in (TCP, UDP) else entry.ports == (-1, -1)
    return firewalls.AclEntry(
        direction="out" if entry.egress else "in",
        number=entry.number,
        allow=entry.allow,
        protocol=_NAMES.get(entry.protocol, entry.protocol),
        cidr=entry.cidr,
        ports=None if every else entry.ports,
    )


def show_entry(entry: AclEntry) -> dict[str, Any]:
    """API form. AWS: ec2 NetworkAclEntry."""
    shown: dict[str, Any] = {
        "RuleNumber": entry.number,
        "Protocol": entry.protocol,
        "RuleAction": "allow" if entry.allow else "deny",
        "Egress": entry.egress,
        **({"Ipv6CidrBlock": entry.cidr6} if entry.cidr6 else {"CidrBlock": entry.cidr}),
    }
    if entry.ports is None:
        return shown
    first, second = entry.ports
    if entry.protocol in (ICMP, ICMP6):
        return shown | {"IcmpTypeCode": {"Type": first, "Code": second}}
    return shown | {"PortRange": {"From": first, "To": second}}
