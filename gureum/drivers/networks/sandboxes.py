"""Sandboxes: the pinned namespaces that a machine, pod or container lives in.

A guest's network namespace is owned by a user namespace of its own, so root inside has power over that network and
nothing else. Both are pinned: they outlive every process, and an interface put into one stays when its container
dies.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

from gureum.drivers.networks import namespaces, netlink, translators
from gureum.drivers.networks.network_names import HomeNames
from gureum.ports import PortError
from gureum.ports.networks import SandboxPaths, SandboxSpec, TranslationCounts

_HIGHEST_GID = 2_147_483_647
_MOST_LINKS = 256  # ours are some; a guest makes as many as it likes


def ensure(names: HomeNames, spec: SandboxSpec) -> SandboxPaths:
    """Makes the sandbox where it is missing or half made (a crash came between); of a whole one it is a look."""
    net, user = names.sandbox(spec.name), names.user(spec.name)
    whole = namespaces.is_pinned(net) and namespaces.is_pinned(user) == spec.guest
    if not whole:
        remove(names, spec.name)
        if spec.users and spec.guest:
            _make_joined(net, user, names.user(spec.users), names.uid_base(spec.users))
        elif spec.guest:
            _make_guest(net, user, names.uid_base(spec.name))
        else:
            _make_plain(net)
    if spec.translation is not None:
        translators.ensure(net, spec.translation)
    base = names.uid_base(spec.users or spec.name)
    return SandboxPaths(str(net), str(user), base) if spec.guest else SandboxPaths(str(net), "", 0)


def translation_counts(names: HomeNames, name: str) -> TranslationCounts | None:
    """What a translator has counted; None for other sandboxes. A guest's is not entered: what it has made there is its own."""
    net = names.sandbox(name)
    if namespaces.is_pinned(names.user(name)) or not namespaces.is_pinned(net):
        return None
    return translators.counts(net)


def remove(names: HomeNames, name: str) -> None:
    """Its interfaces go at once with it; processes that still live in it keep an empty network."""
    net = names.sandbox(name)
    if namespaces.is_pinned(net):
        # Where a guest has made so much in it that the kernel cannot tell, they go with the namespace, a moment later.
        with namespaces.entered(net), netlink.Netlink() as kernel, contextlib.suppress(OSError):
            links = [link.index for link in itertools.islice(kernel.each_link(), _MOST_LINKS) if link.peer_index]
            with netlink.Netlink() as other:
                other.send(map(netlink.delete_link, links))
    namespaces.unpin(net)
    namespaces.unpin(names.user(name))


def _make_guest(net: Path, user: Path, uid_base: int) -> None:
    with namespaces.guest_namespaces(uid_base) as pid:
        _keep_guest(pid, net, user, uid_base)


def _make_joined(net: Path, user: Path, users: Path, uid_base: int) -> None:
    """A network of its own that a user namespace that is there already owns. PortError where that is not."""
    if not namespaces.is_pinned(users):
        raise PortError(f"the user namespace {users.name} is not there")
    with namespaces.joined_namespaces(users) as pid:
        _keep_guest(pid, net, user, uid_base)


def _keep_guest(pid: int, net: Path, user: Path, uid_base: int) -> None:
    user.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    namespaces.pin(f"/proc/{pid}/ns/user", user)
    with namespaces.entered(Path(f"/proc/{pid}/ns/net")):
        _furnish(uid_base, uid_base + namespaces.GUEST_IDS - 1)
    namespaces.pin(f"/proc/{pid}/ns/net", net)


def _make_plain(net: Path) -> None:
    with namespaces.new_network():
        _furnish(0, _HIGHEST_GID)
        namespaces.pin("/proc/thread-self/ns/net", net)


def _furnish(first_gid: int, last_gid: int) -> None:
    """What a machine's network has at boot: loopback, and nothing that needs more power than a guest has."""
    namespaces.write_sysctls(
        {
            # A container's user need not be root to bind port 80 or to ping: it is alone in its network.
            "ipv4/ip_unprivileged_port_start": "0",
            "ipv4/ping_group_range": f"{first_gid} {last_gid}",
            # Not the host's values: a machine with two interfaces answers on both.
            "ipv4/conf/all/rp_filter": "0",
            "ipv4/conf/default/rp_filter": "0",
            "ipv4/ip_forward": "0",
            # The networks carry IPv4 only; ::1 stays, many servers bind it.
            "?ipv6/conf/default/disable_ipv6": "1",
        }
    )
    with netlink.Netlink() as kernel:
        kernel.send([netlink.set_up(netlink.LOOPBACK)])
