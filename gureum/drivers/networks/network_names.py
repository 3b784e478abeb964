"""Names of everything the network drivers make on the machine, computed from the home's id.

All names carry the home's id, so several gureums live side by side and a lost home can be cleaned by name alone.

    /run/netns/gm-a1b2-edge          the edge (public pool, one link per network)
    /run/netns/gm-a1b2-n-<network>   a network's router
    /run/netns/gm-a1b2-s-<sandbox>   a sandbox
    gma1b2                           the host's link to the edge
    gureum-a1b2                      the host's nftables table, while there is a way out

Link names hold 15 characters at most, interface names up to 40: a link is named by a hash, its alias tells the full
name. Inside a network `up` is the link to the edge. This module computes names; it never looks at the machine.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

NETNS_DIR = Path("/run/netns")
UPLINK = "up"
HOST_LINK_IN_EDGE = "host"
NFT_TABLE = "gureum"
INNER_ZONE = 1  # of connection tracking: the legs of flows between an appliance and whom it guards (nft_appliances)
DENIED_LOG_GROUP = 1  # of NFLOG, in each network's namespace: packets that its rules refused

# Marks of packets and flows in a network's namespace. UPLINK_MARK: it leaves by the uplink, whatever the route table says.
# BALANCED_MARK stands in the number of every listener of a balancer, NODE_MARK in that of every node whose proxy speaks from its clients'
# addresses. JUDGED_MARK: security groups let it come to the balancer.
UPLINK_MARK, JUDGED_MARK, BALANCED_MARK, NODE_MARK = 0x8000_0000, 0x4000_0000, 0x2000_0000, 0x1000_0000
ALL_BITS = 0xFFFF_FFFF

_NAME = re.compile(r"[a-z0-9-]{1,40}")
_HOME_ID = re.compile(r"[a-z0-9]{4,6}")
_FIRST_GUEST_UID = 1_000_000_000
_GUEST_UIDS = 65_536
_GUEST_RANGES = 16_384  # below the highest uid that every tool takes for one, 2^31 - 1


def checked_name(name: str) -> str:
    """`name` when it is one the control plane may give (`[a-z0-9-]{1,40}`); else ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a valid name: {name!r}")
    return name


def checked_home(home_id: str) -> str:
    """`home_id` when it is 4-6 lower-case letters and digits; else ValueError."""
    if not _HOME_ID.fullmatch(home_id):
        raise ValueError(f"not a valid home id: {home_id!r}")
    return home_id


def interface_link(interface: str) -> str:
    """The router's end of an interface, e.g. "e7c0f2a91d3b4e5". 56 bits of hash: no clash within one network in
    practice."""
    return f"e{_hash(interface):014x}"


def interface_number(interface: str) -> int:
    """The number (group) of the router's end of an interface: rules find it faster than a name. Above 0, which all other links have. Two
    interfaces of a network may have the same one: those are known by their names alone."""
    return 1 + _hash(interface) % 0x7FFF_FFFF


def network_link(network: str) -> str:
    """The edge's end of a network's uplink."""
    return f"n{_hash(network):014x}"


def peer_link(peering: str) -> str:
    """Both ends of the link between two peered networks."""
    return f"p{_hash(peering):014x}"


def _hash(text: str) -> int:
    """FNV-1a, folded to 56 bits. Not hashlib: it would load OpenSSL into each worker, 4 MB, to name links within one network."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return (value >> 56) ^ (value & 0xFF_FFFF_FFFF_FFFF)


def stable_number(text: str) -> int:
    """A 31-bit number above 1000 that stands for `text` where the kernel stores only numbers (tables, metrics)."""
    return 1001 + zlib.crc32(text.encode()) % 0x7FFF_0000


def balanced_mark(number: int) -> int:
    """The mark that stands for the listener of that number."""
    return BALANCED_MARK | number & (NODE_MARK - 1)


def node_zone(interface: str) -> int:
    """The zone of connection tracking in which what that interface sends from clients' addresses is known."""
    first = INNER_ZONE + 1
    return first + zlib.crc32(interface.encode()) % (0x10000 - first)


def node_mark(interface: str) -> int:
    """The mark of flows that come from that interface with clients' addresses; their replies go back there."""
    return NODE_MARK | zlib.crc32(interface.encode()) & (NODE_MARK - 1)


class HomeNames:
    """The names of one home."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self.home_id = checked_home(home_id)
        self.users_dir = run_dir / "userns"
        self.forwarding_dir = run_dir.parent / "forwarding"  # all homes': they share the host's links
        self.prefix = f"gm-{home_id}-"
        self.edge = NETNS_DIR / f"{self.prefix}edge"
        self.host_link = f"gm{home_id}"
        # The mark of the host's routes that name no link (the pool's blackhole), and a metric that any real route
        # beats.
        self.host_metric = 0x8000_0000 | stable_number(home_id)

    def network(self, name: str) -> Path:
        return NETNS_DIR / f"{self.prefix}n-{checked_name(name)}"

    def sandbox(self, name: str) -> Path:
        return NETNS_DIR / f"{self.prefix}s-{checked_name(name)}"

    def user(self, name: str) -> Path:
        return self.users_dir / checked_name(name)

    def uid_base(self, sandbox: str) -> int:
        """The host uid that is root in that guest. Each guest has a range of its own, as the kernel counts much by uid:
        who takes all must take it from himself. (Two guests of one range, one time in 16,384, share limits, nothing
        else.)"""
        number = zlib.crc32(f"{self.home_id}/{checked_name(sandbox)}".encode()) % _GUEST_RANGES
        return _FIRST_GUEST_UID + number * _GUEST_UIDS

    def pinned_networks(self) -> list[str]:
        return self._pinned("n-")

    def pinned_sandboxes(self) -> list[str]:
        return self._pinned("s-")

    def _pinned(self, kind: str) -> list[str]:
        start = self.prefix + kind
        return sorted(path.name.removeprefix(start) for path in NETNS_DIR.glob(f"{start}*"))
