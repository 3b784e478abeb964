"""Which private addresses and prefixes are given to interfaces, and how they are claimed. All acts inside the caller's transaction.

An address is a claim in its subnet's space, a prefix (16 addresses, "10.0.1.16/28") one claim, too. An address is only claimed while the
prefix around it is not, a prefix only while none of its addresses is: both are checked at the commit, so of two calls at once one is run
again.
"""

from __future__ import annotations

import secrets
from collections.abc import Container, Sequence
from ipaddress import IPv4Network

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.networks.cidr_reservations import PREFIX_LENGTH, reserved_in
from gureum.aws.ec2.networks.cidrs import free_address, is_usable, network_of, parse_address, parse_cidr
from gureum.aws.ec2.networks.kinds import Subnet
from gureum.aws.ec2.networks.public_pool import Claims
from gureum.aws.errors import AwsError
from gureum.engine.client import Transaction


def address_space(subnet_id: str) -> str:
    """The claim space of a subnet's private addresses and prefixes."""
    return f"address/{subnet_id}"


def prefix_of(address: str) -> str:
    """The prefix that an address lies in."""
    return str(IPv4Network((address, PREFIX_LENGTH), strict=False))


def pick_address(call: Call, transaction: Transaction, subnet: Subnet, wanted: str | None = None) -> str:
    """A private address of the subnet that nobody has; the caller claims it by `claim_address`. The search starts
    anywhere, so that launches at the same time seldom meet, and leaves out what is reserved. AWS: InvalidParameterValue,
    InvalidIPAddress.InUse, InsufficientFreeAddressesInSubnet."""
    taken = _Taken(call, transaction, subnet)
    if wanted is not None:
        return _check_wanted(subnet, wanted, taken)
    address = free_address(subnet.spec.cidr, taken, secrets.randbelow(1 << 16))
    if address is None:
        raise no_room()
    return address


def claim_address(transaction: Transaction, subnet_id: str, address: str, holder: str) -> None:
    space = address_space(subnet_id)
    transaction.claim(space, address, holder)
    transaction.require_unclaimed(space, prefix_of(address))


def release_address(transaction: Transaction, subnet_id: str, address: str) -> None:
    transaction.release(address_space(subnet_id), address)


def take_prefixes(
    call: Call, transaction: Transaction, subnet: Subnet, holder: str, named: Sequence[str], count: int = 0
) -> tuple[str, ...]:
    """Prefixes of the subnet, claimed: the named ones, or `count` that are free. AWS: InvalidParameterValue,
    InsufficientCidrBlocks, InvalidIPAddress.InUse."""
    if named and count:
        raise AwsError("InvalidParameterCombination", "Only one of ipv4Prefixes and ipv4PrefixCount can be specified.")
    if count < 0:
        raise ids.invalid(f"Value ({count}) for parameter ipv4PrefixCount is invalid.")
    if len(named) + count > limits.ADDRESSES_PER_INTERFACE:
        raise AwsError(
            "PrivateIpAddressLimitExceeded", "The maximum number of prefixes per interface has been reached."
        )
    space, given = address_space(subnet.meta.name), []
    for one in [*(_check_prefix(subnet, text) for text in dict.fromkeys(named)), *([""] * count)]:
        taken = Claims(call, transaction, space)
        if one and not _is_free(one, taken):
            raise AwsError("InvalidIPAddress.InUse", f"Prefix {one} is in use.")
        prefix = one or _free_prefix(call, subnet, taken)
        transaction.claim(space, prefix, holder)
        for address in network_of(prefix):
            transaction.require_unclaimed(space, str(address))
        given.append(prefix)
    return tuple(given)


def no_room() -> AwsError:
    text = "The specified subnet does not have enough free addresses to satisfy the request."
    return AwsError("InsufficientFreeAddressesInSubnet", text)


class _Taken(Container[str]):
    """Addresses that are not to be given: in use, in a prefix that is, or (`reserved`) in a reservation."""

    def __init__(self, call: Call, transaction: Transaction, subnet: Subnet) -> None:
        self._claims = Claims(call, transaction, address_space(subnet.meta.name))
        self._reserved = [network_of(cidr) for cidr in reserved_in(call, subnet.meta.name)]

    def __contains__(self, value: object) -> bool:
        text = str(value)
        return self.in_use(text) or any(parse_address(text) in one for one in self._reserved)

    def in_use(self, address: str) -> bool:
        return address in self._claims or prefix_of(address) in self._claims


def _check_wanted(subnet: Subnet, wanted: str, taken: _Taken) -> str:
    address = parse_address(wanted, "privateIpAddress")
    if address not in network_of(subnet.spec.cidr):
        raise ids.invalid(f"Address {wanted} does not fall within the subnet's address range")
    if not is_usable(subnet.spec.cidr, address):
        raise ids.invalid(f"Address {wanted} is in subnet's reserved address range")
    if taken.in_use(str(address)):
        raise AwsError("InvalidIPAddress.InUse", f"Address {wanted} is in use.")
    return str(address)


def _check_prefix(subnet: Subnet, text: str) -> str:
    prefix = parse_cidr(text, "ipv4Prefix")
    if prefix.prefixlen != PREFIX_LENGTH:
        raise ids.invalid(f"Value ({text}) for parameter ipv4Prefix is invalid. The prefix must be a /{PREFIX_LENGTH}.")
    if not _can_be_given(subnet, prefix):
        raise ids.invalid(f"Prefix {text} does not fall within the subnet's address range")
    return str(prefix)


def _can_be_given(subnet: Subnet, prefix: IPv4Network) -> bool:
    """Whether the subnet has all of it, and AWS keeps none of it for itself."""
    return prefix.subnet_of(network_of(subnet.spec.cidr)) and all(
        is_usable(subnet.spec.cidr, one) for one in (prefix[0], prefix[-1])
    )


def _free_prefix(call: Call, subnet: Subnet, taken: Claims) -> str:
    """One of the ranges that are reserved for prefixes; without any, of what is not reserved."""
    kept = [network_of(cidr) for cidr in reserved_in(call, subnet.meta.name, "prefix")]
    explicit = [network_of(cidr) for cidr in reserved_in(call, subnet.meta.name, "explicit")]
    for place in kept or [network_of(subnet.spec.cidr)]:
        if place.prefixlen > PREFIX_LENGTH:
            continue
        for prefix in place.subnets(new_prefix=PREFIX_LENGTH):
            usable = _can_be_given(subnet, prefix) and not any(prefix.overlaps(one) for one in explicit)
            if usable and _is_free(str(prefix), taken):
                return str(prefix)
    text = "The specified subnet does not have enough free cidr blocks to satisfy the request."
    raise AwsError("InsufficientCidrBlocks", text)


def _is_free(prefix: str, taken: Claims) -> bool:
    return prefix not in taken and not any(str(one) in taken for one in network_of(prefix))
