"""The memory of the host (of one that is made up, in a simulation): how much of it is promised to instances and to capacity
reservations, and how much can still be."""

from __future__ import annotations

from pathlib import Path

from gureum.aws.call import Call
from gureum.aws.ec2.instances.capacity_kinds import CapacityReservation, free_in
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.types import find_instance_type

PROMISING_STATES = ("pending", "running", "stopping")
SIMULATED_MEMORY_BYTES = 64 << 40
"""Nothing takes memory there: enough for a course or a template of any size, and an end."""


def room_bytes(call: Call) -> float:
    """What may still be promised: of the host's memory, or where machines are simulated, of a host that has 64 TiB."""
    memory = SIMULATED_MEMORY_BYTES if call.settings.simulate else host_memory_bytes()
    return memory * call.settings.memory_promise - promised_bytes(call)


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
