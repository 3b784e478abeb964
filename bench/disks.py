"""EBS: a hundred volumes, volumes that come to a machine, snapshots of a disk with a GiB of data, the first and the next, what is made of them, and
an image of the machine. Needs root.

    python -m bench.disks [--volumes 100] [--data-mib 1024]

Times are from the API call until the API says that it is done (available, attached, completed), asked every few milliseconds. "stored" is what
the snapshot added to the host's disk. The data are random, in one file of a running machine's disk; between the snapshots 16 MiB are changed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench.clouds import Ec2, Gureum, found, machine

LIMIT_S = 300.0
ATTACHED = 10
CHANGED_MIB = 16
ZONE = "us-east-1a"


def until(look: Callable[[], bool], begin: float) -> float:
    """Seconds since `begin` when `look` is first true."""
    while not look():
        if time.perf_counter() - begin > LIMIT_S:
            raise TimeoutError
        time.sleep(0.003)
    return time.perf_counter() - begin


def volumes(gureum: Gureum, ec2: Ec2, count: int) -> list[str]:
    made, calls = [], []
    begin = time.perf_counter()
    for _ in range(count):
        start = time.perf_counter()
        made += found(ec2.call("CreateVolume", AvailabilityZone=ZONE, Size=8), "volumeId")
        calls.append((time.perf_counter() - start) * 1000)
    folder = Path(gureum.home) / "volumes"
    seconds = until(lambda: all((folder / f"{name}.img").exists() for name in made), begin)
    print(
        f"  {count} volumes of 8 GiB                 all on disk after {seconds:6.2f} s   a call {statistics.median(calls):5.1f} ms"
    )
    return made


def attached(ec2: Ec2, instance: str, names: list[str]) -> None:
    times = []
    for number, name in enumerate(names):
        begin = time.perf_counter()
        ec2.call("AttachVolume", VolumeId=name, InstanceId=instance, Device=f"/dev/sd{chr(ord('f') + number)}")
        ask = {"VolumeId_1": name}
        times.append(until(lambda ask=ask: "<status>attached<" in ec2.call("DescribeVolumes", **ask), begin) * 1000)  # type: ignore[misc]
    print(f"  AttachVolume → attached                median {statistics.median(times):7.1f} ms")


def snapshot(gureum: Gureum, ec2: Ec2, volume: str, what: str) -> str:
    begin = time.perf_counter()
    (name,) = found(ec2.call("CreateSnapshot", VolumeId=volume), "snapshotId")
    answered = (time.perf_counter() - begin) * 1000
    seconds = until(lambda: "<status>completed<" in ec2.call("DescribeSnapshots", SnapshotId_1=name), begin)
    stored = sum(path.stat().st_blocks * 512 for path in (Path(gureum.home) / "snapshots").glob(f"{name}.*")) >> 20
    print(f"  {what:36} completed {seconds:6.2f} s   answered {answered:5.1f} ms   stored {stored} MiB")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--volumes", type=int, default=100)
    parser.add_argument("--data-mib", type=int, default=1024)
    arguments = parser.parse_args()
    print(machine())
    gureum = Gureum()
    gureum.start()
    try:
        ec2 = Ec2(gureum.port)
        image = found(ec2.call("DescribeImages", Filter_1_Name="name", Filter_1_Value_1="gureum-busybox-*"), "imageId")[
            0
        ]
        wanted = {"ImageId": image, "InstanceType": "t3.micro", "Placement_AvailabilityZone": ZONE}
        started = ec2.call("RunInstances", MinCount=1, MaxCount=1, **wanted)
        instance = found(started, "instanceId")[0]
        begin = time.perf_counter()
        until(lambda: "<name>running<" in ec2.call("DescribeInstances", InstanceId_1=instance), begin)
        root = found(ec2.call("DescribeInstances", InstanceId_1=instance), "volumeId")[0]
        names = volumes(gureum, ec2, arguments.volumes)
        attached(ec2, instance, names[:ATTACHED])
        write = "dd if=/dev/urandom of={} bs=1M count={} conv=notrunc 2>/dev/null; sync"
        gureum.command("exec", instance, "--", "sh", "-c", write.format("/data", arguments.data_mib))
        snapshot(gureum, ec2, root, f"snapshot of {arguments.data_mib} MiB, the first")
        gureum.command("exec", instance, "--", "sh", "-c", write.format("/data", CHANGED_MIB))
        last = snapshot(gureum, ec2, root, f"snapshot after {CHANGED_MIB} MiB changed")
        begin = time.perf_counter()
        (copy,) = found(ec2.call("CreateVolume", AvailabilityZone=ZONE, SnapshotId=last), "volumeId")
        seconds = until(lambda: "<status>available<" in ec2.call("DescribeVolumes", VolumeId_1=copy), begin)
        print(f"  {'volume from it':36} available {seconds:6.2f} s")
        begin = time.perf_counter()
        (secret,) = found(
            ec2.call("CreateVolume", AvailabilityZone=ZONE, SnapshotId=last, Encrypted="true"), "volumeId"
        )
        seconds = until(lambda: "<status>available<" in ec2.call("DescribeVolumes", VolumeId_1=secret), begin)
        print(f"  {'volume from it, encrypted':36} available {seconds:6.2f} s")
        begin = time.perf_counter()
        made = ec2.call("CreateImage", InstanceId=instance, Name="benchmark", NoReboot="true")
        (image,) = found(made, "imageId")
        answered = (time.perf_counter() - begin) * 1000
        ask = {"ImageId_1": image}
        seconds = until(lambda: "<imageState>available<" in ec2.call("DescribeImages", **ask), begin)
        print(f"  {'CreateImage without reboot':36} available {seconds:6.2f} s   answered {answered:5.1f} ms")
    finally:
        gureum.remove()


if __name__ == "__main__":
    main()
