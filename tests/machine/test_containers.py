"""Real containers: what they print, how they end, what limits do to them, programs run inside."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gureum.drivers.containers import cgroups
from gureum.ports import PortError
from gureum.ports.containers import ROOT, Limits, Mount, User
from tests.machine.container_host import DEADLINE_S, UID_BASE, Host, host_test

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root")]

MIB = 1 << 20


@host_test
async def test_output_and_exit_code_are_told(host: Host) -> None:
    await host.start("web", "echo hello; echo sorry >&2; exit 7")
    assert (await host.containers.exited("web")).exit_code == 7
    assert (await host.containers.console("web")).replace(b"\r", b"") == b"hello\nsorry\n"


@host_test
async def test_console_gives_the_last_bytes_over_all_runs(host: Host) -> None:
    for run in (1, 2):
        assert (await host.start("web", "echo 0123456789")).run == run
        await host.containers.exited("web")
    assert (await host.containers.console("web")).count(b"0123456789") == 2
    assert (await host.containers.console("web", 5)).replace(b"\r", b"")[-4:] == b"789\n"
    assert await host.containers.console("web", 0) == b""


@host_test
async def test_container_without_a_terminal_keeps_both_outputs(host: Host) -> None:
    await host.start("web", "printf out; printf err >&2; test -t 0 || echo no-terminal", machine=False)
    assert (await host.containers.exited("web")).exit_code == 0
    output = await host.containers.console("web")
    assert b"out" in output
    assert b"err" in output
    assert b"no-terminal" in output


@host_test
async def test_signal_that_the_init_catches_reaches_it(host: Host) -> None:
    await host.start("web", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 1000 & wait; done")
    await host.console_says("web", "up")
    await host.containers.kill("web", signal.SIGTERM)
    assert (await host.containers.exited("web")).exit_code == 3
    assert b"bye" in await host.containers.console("web")


@host_test
async def test_reboot_inside_exits_129_and_power_off_130(host: Host) -> None:
    # A child calls it: in a pid namespace reboot(2) ends the namespace's init whoever calls.
    await host.start("web", "sh -c 'reboot -f'; sleep 1000")
    assert (await host.containers.exited("web")).exit_code == 129
    await host.containers.remove("web")
    await host.start("web", "sh -c 'poweroff -f'; sleep 1000")
    assert (await host.containers.exited("web")).exit_code == 130


@host_test
async def test_program_that_does_not_exist_is_told_in_words(host: Host) -> None:
    root = await host.root("web")
    with pytest.raises(PortError, match="no-such-program"):
        await host.containers.start(host.spec("web", root, "no-such-program"))
    assert await host.containers.observe() == ()
    state = await host.containers.start(host.spec("web", root, "sh", "-c", "exit 0"))
    assert state.run == 1


@host_test
async def test_memory_limit_kills_and_is_told(host: Host) -> None:
    Path("oom").unlink(missing_ok=True)  # conmon makes one where it stands
    await host.start("web", "tail -c 200000000 /dev/zero", limits=Limits(memory_bytes=16 * MIB))
    ended = await host.containers.exited("web")
    assert ended.oom
    assert not Path("oom").exists()
    assert ended.exit_code != 0


@host_test
async def test_memory_limit_can_be_raised_while_it_runs(host: Host) -> None:
    await host.start("web", "sleep 1000", limits=Limits(memory_bytes=16 * MIB))
    eat = "head -c 40000000 /dev/zero | tail -c 40000000 | wc -c"
    assert "40000000" not in (await host.sh("web", eat))[1]
    await host.containers.update("web", Limits(memory_bytes=256 * MIB))
    assert (await host.sh("web", eat))[1].strip() == "40000000"


@host_test
async def test_cpu_quota_holds_it_back(host: Host) -> None:
    """The kernel's own count of throttled periods, not a measurement of time."""
    await host.start("web", "while :; do :; done", limits=Limits(cpus=0.05))
    tree = cgroups.ROOT / ("cpu" if cgroups.Cgroups(host.home_id).version == 1 else "")
    statistics = tree / f"gureum-{host.home_id}/web/cpu.stat"
    deadline = time.monotonic() + DEADLINE_S
    while "nr_throttled 0\n" in statistics.read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await host.containers.update("web", Limits(cpus=0.5))
    usage = await host.containers.usage("web")
    assert usage is not None
    assert usage.cpu_ns > 0


@host_test
async def test_pids_limit_stops_forks(host: Host) -> None:
    await host.start("web", "sleep 1000", limits=Limits(pids=8))
    code, output = await host.sh("web", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done")
    assert code != 0
    assert "can't fork" in output
    usage = await host.containers.usage("web")
    assert usage is not None
    assert usage.pids <= 8


@host_test
async def test_usage_counts_memory_and_processes(host: Host) -> None:
    await host.start("web", "sleep 1000 & sleep 1000 & echo up; wait")
    await host.console_says("web", "up")
    usage = await host.containers.usage("web")
    assert usage is not None
    assert usage.pids == 3
    assert 0 < usage.memory_bytes < 32 * MIB


@host_test
async def test_exec_carries_input_outputs_and_code(host: Host) -> None:
    await host.start("web", "sleep 1000", env=("COLOUR=blue",))
    data = os.urandom(300_000)
    result = await host.containers.exec("web", ("sh", "-c", "cat; echo $COLOUR >&2; exit 9"), stdin=data)
    assert (result.exit_code, result.stdout, result.stderr) == (9, data, b"blue\n")


@host_test
async def test_program_inside_opens_its_streams_by_name(host: Host) -> None:
    await host.start("web", "sleep 1000")
    script = "cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr"
    for user in (ROOT, User(1000, 1000)):
        result = await host.containers.exec("web", ("sh", "-c", script), stdin=b"in\n", user=user)
        assert (result.exit_code, result.stdout, result.stderr) == (0, b"in\nout\n", b"err\n")


@host_test
async def test_exec_lives_in_the_same_namespaces_group_and_filter(host: Host) -> None:
    await host.start("web", "sleep 1000", hostname="web-1")
    _, output = await host.sh("web", "hostname; id -u; grep -E '^(Seccomp|CapEff|CapBnd):' /proc/self/status")
    name, uid, *status = output.split("\n")
    assert (name, uid) == ("web-1", "0")
    _, init = await host.sh("web", "grep -E '^(Seccomp|CapEff|CapBnd):' /proc/1/status")
    assert status == init.split("\n")
    assert "Seccomp:\t2" in init
    session = await host.containers.attach("web", ("sleep", "1000"), terminal=False)
    groups = Path(f"/proc/{(await host.containers.observe())[0].pid}/cgroup").read_text()
    pids = await asyncio.to_thread(cgroups_of, host, "web")
    assert len(pids) == 2
    assert {Path(f"/proc/{pid}/cgroup").read_text() for pid in pids} == {groups}
    await session.close()


def cgroups_of(host: Host, name: str) -> list[int]:
    groups = cgroups.Cgroups(host.home_id)
    groups.prepare()
    deadline = time.monotonic() + DEADLINE_S
    while len(pids := groups.processes(name)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return pids


@host_test
async def test_exec_that_does_not_end_is_killed(host: Host) -> None:
    await host.start("web", "sleep 1000")
    with pytest.raises(PortError, match="did not end"):
        await host.containers.exec("web", ("sleep", "77"), timeout_s=0.3)
    deadline = time.monotonic() + DEADLINE_S
    while "sleep 77" in (await host.sh("web", "ps"))[1]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@host_test
async def test_exec_ends_though_a_child_in_the_background_keeps_its_output(host: Host) -> None:
    await host.start("web", "sleep 1000")
    result = await host.containers.exec("web", ("sh", "-c", "sleep 1000 & echo done"), timeout_s=10)
    assert result.stdout == b"done\n"


@host_test
async def test_terminal_has_a_size_that_changes_and_a_name(host: Host) -> None:
    await host.start("web", "sleep 1000")
    session = await host.containers.attach("web", ("sh",), terminal=True, env=("GREETING=hello",))
    await session.resize(101, 31)
    await session.write(b"tty; stty size; echo $GREETING; exit 4\n")
    output = b"".join([chunk async for chunk in session.output()]).replace(b"\r", b"")
    assert b"\n/dev/pts/" in output
    assert b"\n31 101\n" in output
    assert b"\nhello\n" in output
    assert await session.wait() == 4
    await session.close()


@host_test
async def test_terminal_gives_job_control_and_interrupts(host: Host) -> None:
    await host.start("web", "sleep 1000")
    session = await host.containers.attach(
        "web", ("sh", "-c", "trap 'echo caught; exit 5' INT; echo up; while :; do sleep 0.1; done"), terminal=True
    )
    output = session.output()
    seen = b""
    while b"up" not in seen:
        seen += await anext(output)
    await session.write(b"\x03")
    async for chunk in output:
        seen += chunk
    assert b"caught" in seen
    assert await session.wait() == 5
    await session.close()


@host_test
async def test_session_writes_no_faster_than_the_program_reads(host: Host) -> None:
    await host.start("web", "sleep 1000")
    session = await host.containers.attach("web", ("sh", "-c", "read go; cat | wc -c"), terminal=False)
    data = b"x" * (4 * MIB)
    writing = asyncio.ensure_future(session.write(data))
    done, _ = await asyncio.wait([writing], timeout=0.1)
    assert not done, "4 MiB went into a pipe that nobody reads"
    writing.cancel()
    await session.close()
    session = await host.containers.attach("web", ("wc", "-c"), terminal=False)
    await session.write(data)
    await session.close_input()
    assert b"".join([chunk async for chunk in session.output()]).strip() == str(len(data)).encode()
    await session.close()


@host_test
async def test_without_a_terminal_errors_come_apart(host: Host) -> None:
    """Also when nobody reads one of the two: what the other says still comes."""
    await host.start("web", "sleep 1000")
    said = "for n in 1 2 3; do echo out$n; echo err$n >&2; done"
    session = await host.containers.attach("web", ("sh", "-c", said), terminal=False)
    assert b"".join([chunk async for chunk in session.output()]) == b"out1\nout2\nout3\n"
    assert b"".join([chunk async for chunk in session.errors()]) == b"err1\nerr2\nerr3\n"
    assert await session.wait() == 0
    await session.close()
    session = await host.containers.attach("web", ("sh", "-c", said), terminal=True)
    assert b"err1" in b"".join([chunk async for chunk in session.output()])
    assert [chunk async for chunk in session.errors()] == []
    await session.close()


@pytest.mark.parametrize("terminal", [True, False])
def test_attach_to_a_missing_program_is_told_in_words(terminal: bool, tmp_path: Path) -> None:
    @host_test
    async def test(host: Host) -> None:
        await host.start("web", "sleep 1000")
        session = await host.containers.attach("web", ("no-such-program",), terminal=terminal)
        told = session.output() if terminal else session.errors()
        assert b"no-such-program" in b"".join([chunk async for chunk in told])
        assert await session.wait() != 0
        await session.close()

    test(tmp_path)


@pytest.mark.parametrize("terminal", [True, False])
def test_closed_session_leaves_no_program_but_those_that_made_themselves_independent(
    terminal: bool, tmp_path: Path
) -> None:
    @host_test
    async def test(host: Host) -> None:
        await host.start("web", "sleep 1000")
        script = "trap '' TERM; (trap : HUP; while :; do sleep 97; done) & sh -c 'sleep 98 & sleep 98' & "
        script += "(trap '' HUP; touch /dev/shm/up; exec sleep 95) & setsid sleep 96 & "
        script += "until [ -e /dev/shm/up ]; do :; done; echo up; sleep 99"
        session = await host.containers.attach("web", ("sh", "-c", script), terminal=terminal)
        await anext(session.output())
        await session.close()
        assert await session.wait() in (129, 137)
        deadline = time.monotonic() + DEADLINE_S
        running = (await host.sh("web", "ps"))[1]
        while any(f"sleep {number}" in running for number in (97, 98, 99)):
            assert time.monotonic() < deadline
            running = (await host.sh("web", "ps"))[1]
        assert "sleep 95" in running
        assert "sleep 96" in running or not terminal

    test(tmp_path)


@host_test
async def test_container_without_user_namespace_has_dockers_rights(host: Host) -> None:
    options = {"machine": False, "sandbox_user": "", "sandbox_net": "", "uid_base": 0}
    await host.start("web", "sleep 1000", **options)
    _, output = await host.sh("web", "grep CapEff /proc/self/status; cat /proc/self/uid_map")
    assert output.split()[:2] == ["CapEff:", "00000000a80425fb"]  # what `docker run` shows
    assert output.split()[2:] == ["0", "0", "4294967295"]
    for refused in (
        "mount -t tmpfs x /tmp",
        "hostname x",
        "ip link set lo down",
        "unshare -m true",
        "echo 1 > /proc/sys/vm/swappiness",
    ):
        assert (await host.sh("web", refused))[0] != 0, refused


@host_test
async def test_bound_folder_and_tmpfs_are_mounted(host: Host) -> None:
    source = host.run_dir / "shared"
    source.mkdir()
    (source / "file").write_text("from the host")
    mounts = (Mount("/shared", "bind", str(source), ("ro",)), Mount("/scratch", "tmpfs", "", ("size=1m",)))
    await host.start(
        "web",
        "cat /shared/file; touch /shared/new || echo read-only; dd if=/dev/zero of=/scratch/x bs=1M count=4",
        mounts=mounts,
    )
    await host.containers.exited("web")
    output = await host.containers.console("web")
    assert b"from the host" in output
    assert b"read-only" in output
    assert b"No space left" in output


@host_test
async def test_user_of_the_image_finds_shared_ids(host: Host) -> None:
    """On the host its processes have ids of the guest's own range."""
    state = await host.start("web", "sleep 1000")
    assert Path(f"/proc/{state.pid}").stat().st_uid == UID_BASE


@host_test
async def test_lost_control_group_monitor_does_not_hide_the_end(host: Host) -> None:
    state = await host.start("web", "trap '' HUP; sleep 1000")
    monitor = int((host.run_dir / "containers/web/conmon.pid").read_text())
    waiting = asyncio.ensure_future(host.containers.exited("web"))
    os.kill(monitor, signal.SIGKILL)
    await asyncio.sleep(0)
    os.kill(state.pid, signal.SIGKILL)
    ended = await asyncio.wait_for(waiting, DEADLINE_S)
    assert (ended.state, ended.exit_code) == ("exited", 255)


@host_test
async def test_twenty_at_once(host: Host) -> None:
    names = [f"m{number}" for number in range(20)]
    states = await asyncio.gather(*(host.start(name, "echo up; sleep 1000") for name in names))
    assert len({state.pid for state in states}) == 20
    await asyncio.gather(*(host.console_says(name, "up") for name in names))
    await asyncio.gather(*(host.containers.remove(name) for name in names))
    assert await host.containers.observe() == ()
    assert subprocess.run(["pgrep", "-f", f"{host.home_id}-m"], capture_output=True, check=False).stdout == b""


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@host_test
async def test_runc_carries_machines_where_control_groups_are_not_for_crun(host: Host) -> None:
    def refuse(self: cgroups.Cgroups) -> None:
        raise PortError("a controller is left in the unified tree")

    real, cgroups.Cgroups.prepare = cgroups.Cgroups.prepare, refuse  # type: ignore[method-assign]
    try:
        await host.start(
            "web", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done", limits=Limits(64 * MIB, 0.5, 512, 50)
        )
    finally:
        cgroups.Cgroups.prepare = real  # type: ignore[method-assign]
    await host.console_says("web", "up")
    assert (await host.sh("web", "id -u; exit 6"))[0] == 6
    with pytest.raises(PortError, match="only runc"):
        await host.containers.attach("web", ("sh",), terminal=True)
    await host.containers.close()
    host.containers = host.new_containers()
    assert (await host.sh("web", "grep Seccomp: /proc/self/status"))[1] == "Seccomp:\t2\n"
    await host.containers.kill("web", signal.SIGTERM)
    assert (await host.containers.exited("web")).exit_code == 3
    await host.start("web", "sh -c 'reboot -f'; sleep 1000")
    assert (await host.containers.exited("web")).exit_code == 129
