"""The public address pool of the home (`settings.pool`, e.g. "198.18.16.0/20"), shared by all accounts and regions.

Every address in use is a claim in the space "public", so no two things can ever have the same one. The first two addresses belong to
the host and to the edge router; the first and last of the pool are never given out.
"""

from __future__ import annotations

import secrets
from collections.abc import Container

from gureum.aws.call import Call
from gureum.aws.ec2.networks.cidrs import free_address, is_usable, parse_address
from gureum.aws.errors import AwsError
from gureum.engine.client import CLAIM, Transaction
from gureum.engine.resource import make_key

SPACE = "public"
RESERVED_FIRST = 3
"""The pool's own address, the host's and the edge router's."""


class Claims(Container[str]):
    """Values of a claim space that are taken: in the store, or by this very transaction."""

    def __init__(self, call: Call, transaction: Transaction, space: str) -> None:
        self._call = call
        self._space = space
        self._written = frozenset(transaction.written)

    def __contains__(self, value: object) -> bool:
        text = str(value)
        return (
            make_key(CLAIM, self._space, text) in self._written
            or self._call.client.claimed(self._space, text) is not None
        )


def take_public(call: Call, transaction: Transaction, holder: str, wanted: str = "") -> str:
    """A public address for the object with key `holder`, starting the search anywhere so that concurrent calls seldom meet.
    `wanted`: exactly this one. AWS: InvalidAddress.NotFound, AddressInUse, InsufficientAddressCapacity."""
    taken = Claims(call, transaction, SPACE)
    pool = call.settings.pool
    if wanted:
        _check_wanted(pool, wanted, taken)
    address = wanted or (pool and free_address(pool, taken, secrets.randbelow(1 << 16), first=RESERVED_FIRST))
    if not address:
        raise AwsError("InsufficientAddressCapacity", "Not enough addresses available to satisfy the request")
    transaction.claim(SPACE, address, holder)
    return address


def give_back(transaction: Transaction, address: str) -> None:
    """The address may be given to others once the transaction is committed."""
    transaction.release(SPACE, address)


def _check_wanted(pool: str, wanted: str, taken: Container[str]) -> None:
    if not pool or not is_usable(pool, parse_address(wanted, "address")):
        raise AwsError("InvalidAddress.NotFound", f"Address '{wanted}' not found.")
    if wanted in taken:
        raise AwsError("AddressInUse", f"Address {wanted} is in use.")
