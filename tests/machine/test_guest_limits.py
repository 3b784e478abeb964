"""What the kernel counts per user or per namespace must be a guest's own: one that takes all of it harms itself alone. Needs root."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from gureum.drivers.networks import namespaces
from gureum.ports.networks import SandboxPaths, SandboxSpec
from tests.machine.cloud_network import Cloud, on_a_cloud

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")]

_libc = ctypes.CDLL(None, use_errno=True)
MORE_THAN_A_USER_HAS = 1000


class Root:
    """The guest's own root, at work until the block ends. `work` says how many it got; what it got it holds."""

    def __init__(self, paths: SandboxPaths, work: Callable[[], int]) -> None:
        reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _become_root_of(paths)
                os.write(writer, work().to_bytes(4, "little"))
                signal.pause()
            finally:
                os._exit(1)
        os.close(writer)
        self.got = int.from_bytes(os.read(reader, 4), "little")
        os.close(reader)

    def __enter__(self) -> int:
        return self.got

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _become_root_of(paths: SandboxPaths) -> None:
    for path, kind in ((paths.user, namespaces.CLONE_NEWUSER), (paths.net, namespaces.CLONE_NEWNET)):
        namespaces.setns(os.open(path, os.O_RDONLY), kind)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)


def _watchers() -> int:
    """Takes inotify instances until there are no more."""
    return sum(1 for _ in iter(lambda: _libc.inotify_init() >= 0, False))


def _networks() -> int:
    for count in range(MORE_THAN_A_USER_HAS):
        try:
            namespaces.unshare(namespaces.CLONE_NEWNET)
            os.open("/proc/self/ns/net", os.O_RDONLY)
        except OSError:
            return count
    return MORE_THAN_A_USER_HAS


def _user_namespace() -> int:
    try:
        namespaces.unshare(namespaces.CLONE_NEWUSER)
    except OSError:
        return 0
    return 1


@on_a_cloud
async def test_guests_have_ids_of_their_own(one: Cloud) -> None:
    first, second = [await one.networks.ensure_sandbox(SandboxSpec(name)) for name in ("a", "b")]
    assert abs(first.uid_base - second.uid_base) >= namespaces.GUEST_IDS


@on_a_cloud
async def test_guest_that_takes_all_watchers_leaves_those_of_the_host_and_its_neighbours(one: Cloud) -> None:
    greedy, other = [await one.networks.ensure_sandbox(SandboxSpec(name)) for name in ("a", "b")]
    with Root(greedy, _watchers) as taken:
        assert taken > 0
        mine = _libc.inotify_init()
        assert mine >= 0, "the host has none left"
        os.close(mine)
        with Root(other, _watchers) as left:
            assert left > 0


@on_a_cloud
async def test_namespaces_of_a_guest_are_limited(one: Cloud) -> None:
    """A network namespace costs the kernel 200 KiB, of which a control group is charged half."""
    paths = await one.networks.ensure_sandbox(SandboxSpec("a"))
    with Root(paths, _networks) as made:
        assert 10 <= made <= 100
    with Root(paths, _user_namespace) as made:
        assert made == 0


def _tcp_buckets() -> int:
    """Negative where the table is shared with the host."""
    with open("/proc/sys/net/ipv4/tcp_ehash_entries") as file:
        return abs(int(file.read()))


@pytest.mark.skipif(not os.path.exists("/proc/sys/net/ipv4/tcp_child_ehash_entries"), reason="needs Linux 6.1")
@on_a_cloud
async def test_guest_looks_through_a_tcp_table_of_its_own(one: Cloud) -> None:
    """Of the host's it would look through all buckets each time, milliseconds of kernel time that nobody can interrupt."""
    paths = await one.networks.ensure_sandbox(SandboxSpec("a"))
    with Root(paths, _tcp_buckets) as buckets:
        assert buckets == 4096
