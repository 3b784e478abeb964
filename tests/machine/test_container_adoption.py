"""What another process started and left behind, at any point, is found and kept by the next one."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import pytest

from gureum.drivers.containers import conmon, crun
from gureum.drivers.volumes import loop_volumes
from gureum.ports.containers import ContainerSpec
from tests.machine.container_host import DEADLINE_S, UID_BASE, Host, host_test, new_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root")]

LOOP = "trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"


async def start_in_another_process(
    host: Host, names: tuple[str, ...], ending: str, *, size_bytes: int = 1 << 26
) -> None:
    """A process of its own makes roots and containers and dies without a goodbye. `ending`: Python that ends it."""
    await host.containers.close()
    await host.volumes.close()
    code = f"""
        import asyncio, os, signal
        from pathlib import Path
        from gureum.drivers.containers import conmon, crun_bundles
        from gureum.drivers.containers.crun import CrunContainers
        from gureum.drivers.volumes.loop_volumes import LoopVolumes
        from gureum.ports.containers import ContainerSpec
        from gureum.ports.volumes import RootSpec, VolumeSpec
        from tests.machine.container_host import FolderImages

        async def main():
            run, home = Path({str(host.run_dir)!r}), Path({str(host.work / "home")!r})
            volumes = LoopVolumes({host.home_id!r}, run, home, FolderImages(Path({str(host.image)!r})), spares=1)
            containers = CrunContainers({host.home_id!r}, run, home / "logs")
            for name in {names!r}:
                await volumes.ensure_volume(VolumeSpec("vol-" + name, {size_bytes}))
                root = await volumes.ensure_root(RootSpec(name, "busybox", "vol-" + name, {UID_BASE}))
                args = ("sh", "-c", {LOOP!r})
                await containers.start(ContainerSpec(name, root, args, {str(host.net)!r}, {str(host.user)!r}, {UID_BASE}, machine=True))
        {ending}
        asyncio.run(main())
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code)]
    process = await asyncio.create_subprocess_exec(*arguments, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode in (9, -signal.SIGKILL), errors.decode()
    host.volumes, host.containers = host.new_volumes(), host.new_containers()


AFTER_START = (
    "start = main; main = lambda: leave(start)\n        async def leave(start):\n            await start(); os._exit(9)"
)


@host_test
async def test_running_containers_go_on_and_are_watched(host: Host) -> None:
    await start_in_another_process(host, ("web", "db"), AFTER_START)
    states = {state.name: state for state in await host.containers.observe()}
    assert {state.state for state in states.values()} == {"running"}
    assert set(states) == {"web", "db"}
    waiting = asyncio.ensure_future(host.containers.exited("web"))
    await host.console_says("web", "up")
    assert (await host.sh("web", "echo inside"))[1] == "inside\n"
    await host.containers.kill("web", signal.SIGTERM)
    assert (await waiting).exit_code == 5
    spec = host.spec("db", "", "unused")
    assert (await host.containers.start(spec)).pid == states["db"].pid


@host_test
async def test_programs_that_nobody_hears_any_more_are_ended(host: Host) -> None:
    """What the earlier process ran inside; a stale pid file that now means another process harms that in nothing."""
    lost = "session = await containers.attach('web', ('sh', '-c', 'echo on; sleep 971 & sleep 972'), terminal=False)"
    made = f"containers = CrunContainers({host.home_id!r}, Path({str(host.run_dir)!r}), Path({str(host.work / 'home')!r}) / 'logs')"
    ending = AFTER_START.replace("await start();", f"await start(); {made}; {lost}; await anext(session.output());")
    await start_in_another_process(host, ("web",), ending)
    stale = host.run_dir / "containers" / "web" / "exec-99.pid"
    stale.write_text(str(os.getpid()))
    await host.console_says("web", "up")
    deadline = time.monotonic() + DEADLINE_S
    while re.search(r"sleep 97\d", (await host.sh("web", "ps"))[1]):
        assert time.monotonic() < deadline
    assert not stale.exists()


@host_test
async def test_paused_container_is_known_as_such_and_goes_on(host: Host) -> None:
    await host.start("web", "while :; do echo tick; sleep 0.01; done")
    await host.start("db", "sleep 1000")
    await host.console_says("web", "tick")
    for name in ("web", "db"):
        await host.containers.pause(name, True)
    await host.containers.close()
    host.containers = host.new_containers()
    assert [state.paused for state in await host.containers.observe()] == [True, True]
    before = len(await host.containers.console("web"))
    await host.containers.pause("web", False)
    deadline = time.monotonic() + DEADLINE_S
    while len(await host.containers.console("web")) == before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    # The other one stays paused: removing everything must end it all the same.


@host_test
async def test_what_ended_meanwhile_is_told_with_its_code(host: Host) -> None:
    state = await host.start("web", "exec sleep 1000")
    await host.containers.close()
    os.kill(state.pid, signal.SIGKILL)
    host.containers = host.new_containers()
    ended = await host.containers.exited("web")
    assert (ended.exit_code, ended.run) == (137, 1)
    again = await host.containers.start(host.spec("web", await host.root("web"), "sleep", "1000"))
    assert (again.state, again.run) == ("running", 2)


DEATHS = {
    "before the monitor": "conmon.create = lambda *_: os._exit(9)",
    "while the monitor creates": "conmon._read_answer = lambda reader: os._exit(9)",
    "between creation and start": "crun_bundles.Bundles._release = lambda *_: os._exit(9)",
}


@pytest.mark.parametrize("ending", DEATHS.values(), ids=DEATHS)
def test_container_whose_start_was_cut_off_never_ran_and_starts_anew(ending: str, tmp_path: Path) -> None:
    @host_test
    async def test(host: Host) -> None:
        await start_in_another_process(host, ("web",), ending)
        assert await host.containers.observe() == ()
        root = await host.root("web", 1 << 26)
        assert (await host.containers.start(host.spec("web", root, "sh", "-c", LOOP))).run == 1
        await host.console_says("web", "up")
        await host.containers.kill("web", signal.SIGTERM)
        assert (await host.containers.exited("web")).exit_code == 5

    test(tmp_path)


@host_test
async def test_second_start_that_was_cut_off_leaves_the_first_run(host: Host) -> None:
    await host.start("web", "exit 4")
    await host.containers.exited("web")
    await start_in_another_process(host, ("web",), DEATHS["between creation and start"], size_bytes=1 << 30)
    (state,) = await host.containers.observe()
    assert (state.state, state.run, state.exit_code) == ("exited", 1, crun.UNKNOWN_EXIT_CODE)


@host_test
async def test_folder_without_a_record_is_dropped(host: Host) -> None:
    (host.run_dir / "containers/web").mkdir()
    assert await host.containers.observe() == ()
    assert not (host.run_dir / "containers/web").exists()


@host_test
async def test_pid_that_now_belongs_to_another_program_is_not_touched(host: Host) -> None:
    """After a pid has come round: the files of a dead container name a stranger."""
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        folder = host.run_dir / "containers/web"
        folder.mkdir()
        spec = ContainerSpec("web", "/", ("true",), "")
        (folder / "record.json").write_bytes(
            msgspec.json.encode({"spec": spec, "run": 3, "started": 1.0, "runtime": "/usr/bin/crun"})
        )
        for name in ("pid", "conmon.pid"):
            (folder / name).write_text(str(stranger.pid))
        bundle = conmon.Bundle("x", folder, folder / "log")
        assert conmon.monitor_pid(bundle) is None
        (state,) = await host.containers.observe()
        assert (state.state, state.run) == ("exited", 3)
        await host.containers.kill("web", signal.SIGKILL)
        await host.containers.remove("web")
        assert stranger.poll() is None
        stranger.kill()


def mounts_of(host: Host) -> list[str]:
    """This home's own: other tests mount meanwhile."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if host.home_id in line]


@host_test
async def test_mounted_roots_are_adopted_not_doubled(host: Host) -> None:
    await start_in_another_process(host, ("web",), AFTER_START)
    assert await host.volumes.mounted_roots() == {"web"}
    before = mounts_of(host)
    await host.root("web", 1 << 26)
    assert before
    assert mounts_of(host) == before
    await host.containers.remove("web")
    await host.volumes.release_root("web")
    await host.volumes.remove_volume("vol-web")
    assert host.home_id not in Path("/proc/self/mountinfo").read_text().replace(f"{host.run_dir}/ns", "")


@host_test
async def test_killing_the_starter_at_random_points_leaks_nothing(host: Host) -> None:
    """Whatever is left, the next process completes or replaces it; Host checks that cleaning leaves nothing."""
    for delay_ms in (1, 20, 40, 60, 80):
        ending = f"signal.setitimer(signal.ITIMER_REAL, {delay_ms / 1000 + 0.001}); signal.signal(signal.SIGALRM, signal.SIG_DFL)"
        await start_killed(host, ending)
        root = await host.root("web", 1 << 26)
        state = await host.containers.start(host.spec("web", root, "sh", "-c", LOOP))
        assert state.state == "running"
        await host.console_says("web", "up")
        await host.containers.remove("web")
        await host.volumes.release_root("web")
        await host.volumes.remove_volume("vol-web")


async def start_killed(host: Host, ending: str) -> None:
    try:
        await start_in_another_process(host, ("web",), f"{ending}\n        {AFTER_START}")
    except AssertionError:
        host.volumes, host.containers = host.new_volumes(), host.new_containers()


@host_test
async def test_disk_survives_the_death_of_everything(host: Host) -> None:
    state = await host.start("web", "echo precious > /file; echo written; sleep 1000")
    await host.console_says("web", "written")
    await host.containers.close()
    await host.volumes.close()
    for pid in (int((host.run_dir / "containers/web/conmon.pid").read_text()), state.pid):
        os.kill(pid, signal.SIGKILL)
    await crun.clean(host.home_id, host.run_dir)
    await loop_volumes.clean(host.home_id, host.run_dir)
    host.volumes, host.containers = host.new_volumes(), host.new_containers()
    await host.start("web", "cat /file")
    assert await host.containers.exited("web")
    assert b"precious" in await host.containers.console("web")


def test_cleaning_one_home_leaves_the_other_running(tmp_path: Path) -> None:
    @host_test
    async def test(host: Host) -> None:
        async with new_host(tmp_path / "other") as other:
            await host.start("web", LOOP)
            await other.start("web", LOOP)
            await other.containers.close()
            await crun.clean(other.home_id, other.run_dir)
            other.containers = other.new_containers()
            assert await other.containers.observe() == ()
            await host.console_says("web", "up")
            assert (await host.containers.observe())[0].state == "running"
            assert (await host.sh("web", "echo fine"))[1] == "fine\n"

    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    test(tmp_path / "one")
