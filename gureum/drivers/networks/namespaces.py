"""Namespaces: making, pinning and entering them.

A pinned namespace is bind-mounted on a file, so it outlives the processes in it; pins of network namespaces lie in
/run/netns, where `ip netns` shows them. Everything here acts on the calling thread and returns it to where it was. A
user namespace needs a process with a single thread (unshare(2) says EINVAL otherwise): only the worker makes those.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from gureum.drivers.networks.network_names import NETNS_DIR

CLONE_NEWNET = 0x4000_0000
CLONE_NEWUSER = 0x1000_0000
GUEST_IDS = 65_536

# What a guest may have of each kind. All kernel memory of a network namespace is 200 KiB, only half of which its control
# group is charged; a system with services in sandboxes has some dozens. None of users': see seccomp.py.
_GUEST_NAMESPACES = {"user": 0, **dict.fromkeys(("cgroup", "ipc", "mnt", "net", "pid", "time", "uts"), 64)}

# Buckets of a guest's own TCP table (8 bytes each). Of the host's, which has one for every 100 KiB of memory, each look at
# /proc/net/tcp walks all: 4 ms on 24 GiB, and a guest's SSH server looks at each of its starts for randomness.
_GUEST_TCP_BUCKETS = "4096"

_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SHARED = 1 << 20
_MNT_DETACH = 2
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 4

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(descriptor: int, kind: int = CLONE_NEWNET) -> None:
    _call(_libc.setns(descriptor, kind), "setns")


def unshare(kinds: int) -> None:
    _call(_libc.unshare(kinds), "unshare")


def _mount(source: str, target: str, flags: int) -> None:
    _call(_libc.mount(source.encode(), target.encode(), b"none", flags, None), f"mount {target}")


@contextlib.contextmanager
def entered(path: Path) -> Iterator[int]:
    """Runs the block inside the network namespace pinned at `path`; yields the namespace's inode.

    The inode is asserted after the switch, so that a stale file can never make us act in the host's namespace. There
    must be no await in the block. Raises FileNotFoundError where there is no such namespace.
    """
    with _returning():
        target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            wanted = os.fstat(target)
            setns(target)
        except OSError as error:
            if error.errno == errno.EINVAL:  # a file without a namespace mounted on it
                raise FileNotFoundError(errno.ENOENT, "no namespace is mounted there", str(path)) from error
            raise
        finally:
            os.close(target)
        here = current_inode()
        assert here == wanted.st_ino, f"in namespace {here}, not in {path}"
        yield here


@contextlib.contextmanager
def new_network() -> Iterator[None]:
    """Runs the block inside a fresh network namespace, which ends with the block unless it was pinned."""
    with _returning():
        unshare(CLONE_NEWNET)
        yield


@contextlib.contextmanager
def _returning() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        # Failing to come back would leave this thread acting in a foreign network; let it be loud.
        setns(home)
        os.close(home)


def current_inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def is_pinned(path: Path) -> bool:
    """Whether a namespace is mounted on `path` (an empty file is left when a crash came between creating and
    mounting)."""
    try:
        return os.stat(path).st_dev == os.stat("/proc/thread-self/ns/net").st_dev
    except FileNotFoundError:
        return False


def pin(source: str, path: Path) -> None:
    """Mounts the namespace `source` (a /proc/…/ns/… path) on `path`, which is created."""
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o400))
    _mount(source, str(path), _MS_BIND)


def unpin(path: Path) -> None:
    """Takes the pin away; the namespace ends when nothing else holds it. Of a missing pin it is success."""
    while is_pinned(path):
        _call(_libc.umount2(str(path).encode(), _MNT_DETACH), f"umount {path}")
    path.unlink(missing_ok=True)


def prepare_netns_dir() -> None:
    """Makes /run/netns a shared mount of its own, as `ip netns` does: were it done later by `ip`, our pins would be
    mounted twice."""
    NETNS_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        _mount("", str(NETNS_DIR), _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(str(NETNS_DIR), str(NETNS_DIR), _MS_BIND | _MS_REC)
        _mount("", str(NETNS_DIR), _MS_SHARED | _MS_REC)


def write_sysctls(values: dict[str, str]) -> None:
    """Writes keys below /proc/sys/net of the present namespace, e.g. {"ipv4/ip_forward": "1"}. Keys that this kernel
    does not know are skipped when they start with "?"."""
    for key, value in values.items():
        try:
            _write("/proc/sys/net/" + key.removeprefix("?"), value)
        except FileNotFoundError:
            if not key.startswith("?"):
                raise


def _write(path: str, value: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


@functools.cache
def _nursery() -> int:
    """A descriptor of this process's own namespace in which guests' are made: the kernel reads the size of a new namespace's TCP
    table in the one that its maker is in, and the host's settings are not ours to change."""
    with new_network():
        write_sysctls({"?ipv4/tcp_child_ehash_entries": _GUEST_TCP_BUCKETS})
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def guest_namespaces(uid_base: int) -> Iterator[int]:
    """A process that holds a new user namespace, with `GUEST_IDS` ids from `uid_base`, that owns a new network
    namespace.

    Yields its pid for the time of the block; pin its namespaces to keep them. Must be called in a process with one
    thread. The namespace belongs to `uid_base`, so that what the kernel counts also by a namespace's owner (inotify
    instances, namespaces, processes) is taken from nobody else: were it the host's root, a guest with 128 inotify
    instances would leave none to the host.
    """
    nursery = _nursery()

    def become() -> None:
        setns(nursery)
        # Another user with root's capabilities: some systems let nobody else make user namespaces.
        _call(_libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "prctl")
        os.setresuid(uid_base, uid_base, uid_base)
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        for kind, most in _GUEST_NAMESPACES.items():
            _write(f"/proc/sys/user/max_{kind}_namespaces", str(most))

    with _holder(become) as pid:
        for kind in ("uid_map", "gid_map"):
            _write(f"/proc/{pid}/{kind}", f"0 {uid_base} {GUEST_IDS}")
        yield pid


@contextlib.contextmanager
def joined_namespaces(users: Path) -> Iterator[int]:
    """As guest_namespaces, for a new network namespace that the pinned user namespace `users` owns."""
    nursery = _nursery()
    descriptor = os.open(users, os.O_RDONLY | os.O_CLOEXEC)

    def become() -> None:
        setns(nursery)
        setns(descriptor, CLONE_NEWUSER)
        unshare(CLONE_NEWNET)

    try:
        with _holder(become) as pid:
            yield pid
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _holder(become: Callable[[], None]) -> Iterator[int]:
    """The pid of a child that has done that and waits. OSError with what it met."""
    ready, child_ready = os.pipe()
    child_hold, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold(become, child_ready, child_hold, hold)
    os.close(child_ready)
    os.close(child_hold)
    try:
        number = int.from_bytes(os.read(ready, 2), "little")
        if number:
            raise OSError(
                number, f"namespaces of a guest: {os.strerror(number)} (`gureum doctor` tells what this host lacks)"
            )
        yield pid
    finally:
        os.close(hold)
        os.close(ready)
        os.waitpid(pid, 0)


def _hold(become: Callable[[], None], ready: int, hold: int, hold_write: int) -> None:
    try:
        os.close(hold_write)
        answer = 0
        try:
            become()
        except OSError as error:
            answer = error.errno or errno.EINVAL
        os.write(ready, answer.to_bytes(2, "little"))
        os.read(hold, 1)
    finally:
        os._exit(0)
