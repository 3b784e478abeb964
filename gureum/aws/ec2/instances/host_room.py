"""The memory of the host: how much of it is promised to instances and to capacity reservations, and how much can still be."""

from __future__ import annotations

from pathlib import Path

from gureum.aws.call import Call
from gureum.aws.ec2.instances.capacity_kinds import CapacityReservation, free_in
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.types import find_instance_type

PROMISING_STATES = ("pending", "running", "stopping")


def room_bytes(call: Call) -> float:
    """What may still be promised."""
    return host_memory_bytes() * call.settings.memory_promise - promised_bytes(call)


def promised_bytes(call: Call) -> int:
    """Memory promised to the instances of all accounts and regions that run or are about to, and to what is reserved and not used."""
    total = 0
    for instance in call.client.everywhere(Instance):
        if instance.status.state in PROMISING_STATES:
            total += memory_of(instance.spec.type)
    for reservation in call.client.everywhere(CapacityReservation):
        total += free_in(call, reservation) * memory_of(reservation.spec.type)
    return total


def memory_of(type_name: str) -> int:
    """Bytes."""
    type_ = find_instance_type(type_name)
    return type_.memory_bytes if type_ else 0


def host_memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0
