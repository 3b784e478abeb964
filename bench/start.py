"""`gureum up` until its first answered call, and what its processes and its idle machines hold of the memory. Needs root.

    python -m bench.start [--rounds 10] [--machines 20]

The start is from the command to the answer of DescribeVpcs, by processes that have run before (files in the page cache), beside MiniStack
and moto_server in turn. Memory is the proportional set size: a page that several processes share is counted once. One idle machine is its
processes, its monitor and what the kernel has more of for each of many (slabs, stacks, page tables, tables of its network, the metadata of
its disk). What the host has less available for each should come near it, but also tells of all else that ran meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from pathlib import Path

from bench.clouds import Cloud, Gureum, command_of, machine, peers, tree
from bench.launch import PROMISE, Launcher, page_served

KIB = 1024
SETTLE_S = 3.0


def memory_kib(pid: int) -> dict[str, int]:
    """ "Pss", "Rss", "Private" of a process in KiB."""
    fields: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value = line.split(":")
            fields[name] = int(value.split()[0])
    return {
        "Pss": fields.get("Pss", 0),
        "Rss": fields.get("Rss", 0),
        "Private": fields.get("Private_Dirty", 0) + fields.get("Private_Clean", 0),
    }


def show_memory(cloud: Cloud) -> None:
    total = 0
    for name, pids in cloud.processes().items():
        for pid in pids:
            memory = memory_kib(pid)
            total += memory["Pss"]
            what = name if pid == pids[0] else f"  {name}'s {helper_name(pid)}"
            print(
                f"    {what:34} PSS {memory['Pss'] / KIB:6.1f} MiB   RSS {memory['Rss'] / KIB:6.1f}   own {memory['Private'] / KIB:6.1f}"
            )
    print(f"    {'together':34} PSS {total / KIB:6.1f} MiB")


def helper_name(pid: int) -> str:
    words = command_of(pid).split()
    return next(
        (word.rsplit(".", 1)[-1] for word in words if "worker" in word),
        words[0].rsplit("/", 1)[-1] if words else "helper",
    )


def bench_starts(clouds: list[Cloud], rounds: int) -> None:
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for cloud in clouds:
            times.setdefault(cloud.name, []).append(cloud.start())
            cloud.stop()
    print(f"start until the first answered call, {rounds} times in turn")
    for name, each in times.items():
        print(f"  {name:20} median {statistics.median(each):6.3f} s   least {min(each):6.3f}   most {max(each):6.3f}")


def bench_memory(clouds: list[Cloud]) -> None:
    print("memory when idle, after the first call")
    for cloud in clouds:
        cloud.start()
        time.sleep(SETTLE_S)
        print(f"  {cloud.name}")
        show_memory(cloud)
        cloud.stop()


KERNEL_FIELDS = ("SUnreclaim", "KernelStack", "PageTables", "Percpu", "VmallocUsed", "Buffers")


def kernel_kib() -> dict[str, int]:
    """The host's memory: "available", and what the "kernel" holds."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    numbers = {name: int(value.split()[0]) for name, value in fields.items()}
    return {"available": numbers["MemAvailable"], "kernel": sum(numbers[name] for name in KERNEL_FIELDS)}


def bench_machines(gureum: Gureum, count: int) -> None:
    """What one idle machine takes: less memory available to others, and where the larger parts of that are."""
    gureum.start()
    launcher = Launcher(gureum)
    warm = launcher.run(1)
    page_served(*warm.values())
    time.sleep(SETTLE_S)
    before = kernel_kib()
    launched = launcher.run(count)
    for address in launched.values():
        page_served(address)
    time.sleep(SETTLE_S)
    after = kernel_kib()
    folders = [Path(f"/run/gureum/{gureum.identity['id']}/containers/{instance}") for instance in launched]
    inits = [int((folder / "pid").read_text()) for folder in folders]
    parts = {
        "its processes, PSS": sum(memory_kib(pid)["Pss"] for init in inits for pid in tree(init)) / count,
        "its monitor, PSS": sum(memory_kib(int((one / "conmon.pid").read_text()))["Pss"] for one in folders) / count,
        "kernel": (after["kernel"] - before["kernel"]) / count,
    }
    print(f"one idle small machine that serves its page, mean of {count}")
    for what, kib in (*parts.items(), ("together", sum(parts.values()))):
        print(f"    {what:34} {kib / KIB:6.2f} MiB")
    print(
        f"    {'(less available on the host':34} {(before['available'] - after['available']) / count / KIB:6.2f} MiB)"
    )
    print("  with them running")
    show_memory(gureum)
    launcher.end([*warm, *launched])
    gureum.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--machines", type=int, default=20)
    arguments = parser.parse_args()
    print(machine())
    real, simulated = Gureum(memory_promise=PROMISE), Gureum(simulate=True)
    clouds: list[Cloud] = [real, simulated, *peers()]
    try:
        bench_starts(clouds, arguments.rounds)
        bench_memory(clouds)
        bench_machines(real, arguments.machines)
    finally:
        for cloud in clouds:
            cloud.remove()
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
