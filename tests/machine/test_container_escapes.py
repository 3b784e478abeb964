"""A hostile guest: root inside a machine's own user namespace tries what root could. Each attempt must fail; the table says what would be
lost if it did not. A control beside most of them shows that the attempt itself is a sound one."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gureum.drivers.containers import oci_spec, seccomp
from gureum.ports.containers import ContainerSpec
from tests.machine.container_host import Host, host_test

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root")]

ATTEMPTS = {
    # the host's disks and memory
    "make a node of the host's disk": "mknod /tmp/vda b 254 0",
    "make a node of memory": "mknod /dev/mem c 1 1",
    "open a node of the volume": "test -b /dev/loop0",
    "mount a block device": "mount -t ext4 /dev/loop0 /tmp",
    "mount the host's devices": "mount -t devtmpfs none /tmp",
    "mount debugfs": "mount -t debugfs none /tmp",
    "mount tracefs": "mount -t tracefs none /tmp",
    "mount securityfs": "mount -t securityfs none /tmp",
    # the kernel
    "write a host's sysctl": "echo 1 > /proc/sys/vm/swappiness",
    "write the core pattern": "echo '|/tmp/x' > /proc/sys/kernel/core_pattern",
    "write the module helper": "echo /tmp/x > /proc/sys/kernel/modprobe",
    "press the magic key": "echo b > /proc/sysrq-trigger",
    "read the kernel's log": "test -s /dev/kmsg || dd if=/proc/kmsg bs=1 count=1 2>/dev/null | grep .",
    "read the kernel's log by call": "dmesg | grep .",
    "read the kernel's memory": "head -c 1 /proc/kcore | grep .",
    "load a module": "printf 'x' > /tmp/x.ko && insmod /tmp/x.ko",
    "set the clock": "! date -s 2001-01-01 2>&1 | grep -q 'not permitted'",
    "raise its own priority above the host's": "nice -n -20 true && renice -n -20 -p 1 2>&1 | grep -v denied",
    "swap": "dd if=/dev/zero of=/tmp/s bs=1M count=1 2>/dev/null; mkswap /tmp/s; swapon /tmp/s",
    # other namespaces, other processes
    "make a user namespace": "unshare -U true",
    "make a user namespace with others": "unshare -U -m -n true",
    "see processes outside": "test $(ls -d /proc/[0-9]* | wc -l) -gt 20",
    "signal a process outside": "kill -0 4194303",
    "leave by the init's root": "test -d /proc/1/root/work || test -e /proc/1/root/etc/debian_version",
    "leave by chroot": "mkdir -p /tmp/c/bin && cp /bin/busybox /tmp/c/bin && chroot /tmp/c /bin/busybox ls ../../../../work",
    # its own limits
    "lift its memory limit": "mount -t cgroup -o memory none /mnt && echo -1 > /mnt/memory.limit_in_bytes",
    "allow itself devices": "mount -t cgroup -o devices none /mnt && echo a > /mnt/devices.allow",
    "name a program that the host runs": "mount -t cgroup -o pids none /mnt && echo /x > /mnt/release_agent",
    "make a control group without its limits": "mount -t cgroup -o memory none /mnt && mkdir /mnt/free",
    "lift its limit in the unified tree": "mount -t cgroup2 none /mnt && echo max > /mnt/memory.max",
    "become another user's root outside": "test \"$(awk '{print $2}' /proc/self/uid_map)\" = 0",
    "give a file to the host's root": "touch /tmp/f && chown 65536 /tmp/f",
    "take a capability that was not given": "grep -q 'CapBnd:.*1ff' /proc/self/status",
}
CONTROLS = {
    "it is root": "test $(id -u) = 0",
    "it mounts what is its own": "mount -t tmpfs none /mnt && touch /mnt/x && umount /mnt",
    "it makes namespaces of its own": "unshare -m -n -p -i -u true",
    "it owns its network": "ip link set lo up && ip addr add 10.9.9.9/32 dev lo",
    "it sets its own sysctls": "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "it sets its own name": "hostname other",
    "it changes owners": "touch /tmp/g && chown 1000:1000 /tmp/g && test $(stat -c %u /tmp/g) = 1000",
    "setuid programs work": "chmod 4755 /usr/bin/id && su user -c '/usr/bin/id -u' | grep -q '^0$'",
    "other programs keep their user": "chmod 755 /usr/bin/id && su user -c '/usr/bin/id -u' | grep -q '^1000$'",
    "chroot works": "mkdir -p /tmp/d/bin && cp /bin/busybox /tmp/d/bin && chroot /tmp/d /bin/busybox true",
    "it makes fifos and sockets": "mkfifo /tmp/p && test -p /tmp/p",
    "devices that everybody has work": "echo x > /dev/null && head -c 4 /dev/urandom | wc -c | grep -q 4 && test -c /dev/tty",
    "its devices can be removed without harm": "rm -f /dev/fd && ls /dev/pts",
}


@host_test
async def test_root_inside_reaches_nothing_outside(host: Host) -> None:
    await host.start("evil", "mkdir -p /mnt; echo up; sleep 1000")
    await host.console_says("evil", "up")
    succeeded = {
        why: output
        for why, script in ATTEMPTS.items()
        if not (result := await host.sh("evil", script))[0] and (output := result[1]) is not None
    }
    assert succeeded == {}


@host_test
async def test_root_inside_has_the_powers_of_a_machines_root(host: Host) -> None:
    install(host, "/usr/bin/id")
    await host.start("fine", "mkdir -p /mnt; echo up; sleep 1000")
    await host.console_says("fine", "up")
    failed = {
        why: output for why, script in CONTROLS.items() for code, output in [await host.sh("fine", script)] if code
    }
    assert failed == {}


def install(host: Host, program: str) -> None:
    """Copies a program of the host with its libraries into the image (busybox gives up setuid rights by itself)."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    for path in [program, *(word for word in listed if word.startswith("/"))]:
        target = host.image / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


@host_test
async def test_guest_cannot_join_namespaces_of_the_host(host: Host) -> None:
    """Even with an open file of one: as if a file descriptor had leaked."""
    state = await host.start("evil", "sleep 1000")
    libc = ctypes.CDLL(None, use_errno=True)
    # A process with the guest's own ids, capabilities and namespaces, holding the host's namespaces open.
    fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net", "pid", "user", "uts")]
    spaces = [os.open(f"/proc/{state.pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")]
    child = os.fork()
    if child == 0:
        for space in spaces:
            assert libc.setns(space, 0) == 0
        os._exit(sum(libc.setns(fd, 0) == 0 for fd in fds))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for fd in (*fds, *spaces):
        os.close(fd)


@host_test
async def test_nothing_of_ours_is_open_in_a_guest(host: Host) -> None:
    secret = os.open(host.work, os.O_RDONLY)
    os.set_inheritable(secret, True)
    await host.start("evil", "ls -l /proc/1/fd /proc/self/fd; echo up; sleep 1000")
    output = await host.console_says("evil", "up")
    os.close(secret)
    assert str(host.work) not in output
    _, inside = await host.sh("evil", "ls -l /proc/self/fd; cat /proc/mounts; env")
    assert str(host.work) not in inside
    assert host.home_id not in inside
    assert "memfd" not in inside


@host_test
async def test_host_root_owns_nothing_that_a_guest_made(host: Host) -> None:
    root = Path(await host.root("evil"))
    await host.containers.start(
        host.spec(
            "evil", str(root), "sh", "-c", "cp /bin/busybox /bin/sneaky; chmod 4755 /bin/sneaky; echo up; sleep 99"
        )
    )
    await host.console_says("evil", "up")
    assert (root / "bin/sneaky").stat().st_uid == 3_000_000
    # Nobody of the host comes even near: the folder above belongs to the guest alone.
    refused = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "ls", str(root)], capture_output=True, check=False
    )
    assert b"Permission denied" in refused.stderr


@host_test
async def test_forbidden_system_calls_fail_without_reaching_the_kernel(host: Host) -> None:
    """By number, from a child that has the guest's filter: the runtime copies it to what is run inside."""
    await host.start("evil", "sleep 1000")
    code, output = await host.sh("evil", "grep -E '^(Seccomp|NoNewPrivs)' /proc/self/status")
    assert (code, "Seccomp:\t2" in output) == (0, True)


def test_seccomp_list_of_each_kind_of_container() -> None:
    machine = ContainerSpec("m", "/", ("x",), "/net", "/user", 1, machine=True)
    plain = ContainerSpec("p", "/", ("x",), "/net")
    for spec in (machine, plain, ContainerSpec("h", "/", ("x",), "/net", machine=True)):
        names = set(seccomp.allowed(frozenset(oci_spec.capabilities_of(spec))))
        never = "bpf perf_event_open init_module finit_module kexec_load io_uring_setup userfaultfd keyctl add_key swapon acct"
        assert names.isdisjoint([*never.split(), "open_by_handle_at"])
        assert ("mount" in names) == (spec is machine)
