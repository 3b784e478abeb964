"""Volumes, roots and containers: the drivers beside bare `crun run` of the same bundle, in one run. Needs root.

    python -m bench.containers [--rounds 20] [--many 50]

"engine" is what gureum adds to and takes for one machine (a 8 GiB disk, an idmapped root, limits, seccomp, conmon); "first output" is
until its console has the line that its init prints. The bare runtime gets a plain folder as root, the same configuration and no disk,
log or monitor; its figure holds its own start, which is what its users pay. The namespaces (network, user) are made before, for both.
"many" starts machines at once, then measures what an idle one holds: processes (proportional set size), control group, kernel slabs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

import uvloop

from gureum.drivers.containers import oci_spec
from gureum.drivers.containers.cgroups import Cgroups
from gureum.drivers.containers.crun_bundles import host_facts
from gureum.ports.containers import Limits
from gureum.ports.volumes import RootSpec, VolumeSpec
from tests.machine.container_host import GIB, UID_BASE, Host, new_host

DISK_BYTES = 8 * GIB
SCRIPT = ("sh", "-c", "echo ready; exec sleep 1000")
LIMITS = Limits(memory_bytes=512 << 20, cpus=2, pids=1000)


async def timed(times: dict[str, list[float]], what: str, action: Awaitable[object]) -> None:
    begin = time.perf_counter()
    await action
    times.setdefault(what, []).append((time.perf_counter() - begin) * 1000)


async def ready(host: Host, name: str) -> None:
    while b"ready" not in await host.containers.console(name, 100):  # noqa: ASYNC110  the log gives no sign
        await asyncio.sleep(0.002)


async def machine(host: Host, name: str) -> None:
    await host.volumes.ensure_volume(VolumeSpec(f"vol-{name}", DISK_BYTES))
    root = await host.volumes.ensure_root(RootSpec(name, "busybox", f"vol-{name}", UID_BASE))
    await host.containers.start(host.spec(name, root, *SCRIPT, limits=LIMITS))


async def removed(host: Host, name: str) -> None:
    await host.containers.remove(name)
    await host.volumes.release_root(name)
    await host.volumes.remove_volume(f"vol-{name}")


async def one_by_one(host: Host, rounds: int, times: dict[str, list[float]]) -> None:
    for number in range(rounds):
        name = f"one-{number}"
        begin = time.perf_counter()
        await timed(times, "volume", host.volumes.ensure_volume(VolumeSpec(f"vol-{name}", DISK_BYTES)))
        spec = RootSpec(name, "busybox", f"vol-{name}", UID_BASE)
        await timed(times, "root", host.volumes.ensure_root(spec))
        root = str(host.run_dir / "roots" / name / "root")
        await timed(times, "container start", host.containers.start(host.spec(name, root, *SCRIPT, limits=LIMITS)))
        times.setdefault("engine, all three", []).append((time.perf_counter() - begin) * 1000)
        await ready(host, name)
        times.setdefault("first output", []).append((time.perf_counter() - begin) * 1000)
        await timed(times, "exec true", host.containers.exec(name, ("true",)))
        await timed(times, "remove", removed(host, name))


def bare(host: Host, rounds: int, times: dict[str, list[float]]) -> None:
    """`crun run` until the first line, and its end."""
    bundle = host.run_dir / "bare"
    bundle.mkdir()
    host.run_dir.chmod(0o711)
    spec = host.spec(
        "bare", str(host.image), "sh", "-c", "echo ready", limits=LIMITS, machine=False, sandbox_user="", uid_base=0
    )
    config = oci_spec.render(
        spec, host_facts(Cgroups(host.home_id).version), cgroup_path=f"/gureum-{host.home_id}/bare"
    )
    (bundle / "config.json").write_text(json.dumps(config))
    for number in range(rounds):
        command = ["crun", "--root", str(host.run_dir / "bare-state"), "run", "--bundle", str(bundle), f"bare-{number}"]
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            times.setdefault("bare crun, first output", []).append((time.perf_counter() - begin) * 1000)
        times.setdefault("bare crun, to its end", []).append((time.perf_counter() - begin) * 1000)


async def many(host: Host, count: int) -> None:
    before = kernel_bytes()
    names = [f"many-{number}" for number in range(count)]
    begin = time.perf_counter()
    await asyncio.gather(*(machine(host, name) for name in names))
    started = time.perf_counter() - begin
    await asyncio.gather(*(ready(host, name) for name in names))
    print(f"{count} at once: all started {started:.2f} s, all with output {time.perf_counter() - begin:.2f} s")
    states = await host.containers.observe()
    monitors = [int(path.read_text()) for path in (host.run_dir / "containers").glob("*/conmon.pid")]
    print(
        f"one idle machine: conmon {pss(monitors) / count / 1024:.0f} KiB, "
        f"its processes {pss([state.pid for state in states]) / count / 1024:.0f} KiB, "
        f"kernel {(kernel_bytes() - before) / count / 1024:.0f} KiB (slabs, stacks, page tables, per-cpu)"
    )
    begin = time.perf_counter()
    await asyncio.gather(*(removed(host, name) for name in names))
    print(f"{count} at once: all removed {time.perf_counter() - begin:.2f} s")


def pss(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def kernel_bytes() -> int:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("SUnreclaim", "KernelStack", "PageTables", "Percpu"))


async def run(rounds: int, count: int) -> None:
    # Not below a tmpfs: a disk that costs nothing would flatter.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        async with new_host(Path(folder)) as host:
            times: dict[str, list[float]] = {}
            await machine(host, "warm")
            await one_by_one(host, rounds, times)
            await asyncio.to_thread(bare, host, rounds, times)
            for what, each in times.items():
                print(
                    f"{what:26} median {statistics.median(each):6.1f} ms   p90 {sorted(each)[int(len(each) * 0.9)]:6.1f} ms"
                )
            print(f"load average {os.getloadavg()[0]:.1f}")
            await many(host, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--many", type=int, default=50)
    arguments = parser.parse_args()
    uvloop.run(run(arguments.rounds, arguments.many))


if __name__ == "__main__":
    main()
