"""CIDR arithmetic of VPCs, pure: canonical forms, what overlaps, which addresses of a subnet may be given out.

AWS keeps five addresses of every subnet: the first four (network, router, DNS, reserved) and the last.
"""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from gureum.aws.errors import AwsError

RESERVED_FIRST = 4
RESERVED_LAST = 1


def parse_cidr(text: str, name: str = "cidrBlock") -> IPv4Network:
    """Canonical form: "100.68.0.18/18" is 100.68.0.0/18. AWS: InvalidParameterValue when it is no CIDR at all."""
    network = _network(text)
    if network is None:
        raise AwsError(
            "InvalidParameterValue", f"Value ({text}) for parameter {name} is invalid. This is not a valid CIDR block."
        )
    return network


def parse_cidr6(text: str, name: str = "ipv6CidrBlock") -> IPv6Network:
    """As `parse_cidr`, for IPv6."""
    try:
        if "/" not in text:
            raise ValueError(text)
        return IPv6Network(text, strict=False)
    except ValueError:
        message = f"Value ({text}) for parameter {name} is invalid. This is not a valid CIDR block."
        raise AwsError("InvalidParameterValue", message) from None


def parse_address(text: str, name: str = "address") -> IPv4Address:
    """AWS: InvalidParameterValue."""
    try:
        return IPv4Address(text)
    except ValueError:
        raise AwsError(
            "InvalidParameterValue", f"Value ({text}) for parameter {name} is invalid. Invalid IPv4 address."
        ) from None


@lru_cache(maxsize=4096)
def network_of(cidr: str) -> IPv4Network:
    """The network of a stored, and so valid, CIDR."""
    return IPv4Network(cidr)


def overlaps(cidr: IPv4Network, others: list[str]) -> bool:
    return any(cidr.overlaps(network_of(other)) for other in others)


def router_address(cidr: str) -> str:
    """Base + 1: where the router answers in a subnet."""
    return str(network_of(cidr).network_address + 1)


def resolver_address(cidr: str) -> str:
    """Base + 2 of a VPC's primary CIDR: its DNS resolver. AWS: "the VPC+2 resolver"."""
    return str(network_of(cidr).network_address + 2)


def usable_size(cidr: str) -> int:
    """How many addresses of a subnet can be given out: 251 of a /24."""
    return network_of(cidr).num_addresses - RESERVED_FIRST - RESERVED_LAST


def is_usable(cidr: str, address: IPv4Address) -> bool:
    """Whether the subnet has the address and AWS does not keep it for itself."""
    offset = int(address) - int(network_of(cidr).network_address)
    return RESERVED_FIRST <= offset < network_of(cidr).num_addresses - RESERVED_LAST


def free_address(
    cidr: str, taken: Container[str], start: int, *, first: int = RESERVED_FIRST, last: int = RESERVED_LAST
) -> str | None:
    """A free address that is not in `taken`, searched around from the one numbered `start` (any integer); None when there is none.
    The upper half comes first: people number by hand from below, and what they have not named yet is best left free.
    `first`, `last`: how many at either end are never given out."""
    network = network_of(cidr)
    size = max(network.num_addresses - first - last, 0)
    base = int(network.network_address) + first
    for low, high in ((size // 2, size), (0, size // 2)):
        for step in range(high - low):
            address = str(IPv4Address(base + low + (start + step) % (high - low)))
            if address not in taken:
                return address
    return None


def free_block(cidr: str, taken: list[str], prefix_length: int) -> str | None:
    """The lowest block of that length in `cidr` that overlaps none of `taken`; None when there is none."""
    network = network_of(cidr)
    if prefix_length < network.prefixlen:
        return None
    return next((str(block) for block in network.subnets(new_prefix=prefix_length) if not overlaps(block, taken)), None)


def _network(text: str) -> IPv4Network | None:
    address, slash, length = text.partition("/")
    if not slash or not length.isascii() or not length.isdigit():
        return None
    try:
        return IPv4Network((address, int(length)), strict=False)
    except ValueError:
        return None
