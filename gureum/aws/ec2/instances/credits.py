"""CPU credits of burstable instances: what a type earns, what an instance starts with and what it keeps while it is stopped.

    launch, start ─► spec.balance ─► lowered ─► the agent keeps the account (core/credit_accounts.py) ─► stopped: what is left ─► spec.balance

AWS: "Key concepts for burstable performance instances", "Standard mode concepts" (EC2 user guide). AWS gives launch credits to 100 starts a day and
account; here each start of a T2 gets them.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.ec2.instances.kinds import CpuBalance, Instance
from gureum.aws.ec2.instances.types import InstanceType, find_instance_type
from gureum.core.cpu_credits import CpuCredits

LAUNCH_CREDITS = 30
"""Of a standard T2, for each of its virtual processors."""
KEPT_S = 7 * 24 * 3600.0
"""A stopped instance keeps what it had earned for so long, but a T2, which loses it at once."""
_T2 = {"nano": 3.0, "micro": 6.0, "small": 12.0, "medium": 24.0, "large": 36.0, "xlarge": 54.0, "2xlarge": 81.6}
_NEWER = {"nano": 6.0, "micro": 12.0, "small": 24.0, "medium": 24.0, "large": 36.0, "xlarge": 96.0, "2xlarge": 192.0}


def credits_per_hour(type_: InstanceType) -> float:
    """0.0 for a type that does not burst."""
    if not type_.default_credits:
        return 0.0
    family, _, size = type_.name.partition(".")
    return (_T2 if family == "t2" else _NEWER).get(size, 0.0)


def launch_balance(type_: InstanceType, cpu_credits: str) -> CpuBalance | None:
    """Of a new instance; None for a type that does not burst."""
    return CpuBalance(launch=_launch_credits(type_, cpu_credits)) if credits_per_hour(type_) else None


def start_balance(instance: Instance, start: int, now: float) -> CpuBalance | None:
    """Of one that is started again, as its `start`-th boot: what it kept, and what each start gives."""
    type_ = find_instance_type(instance.spec.type)
    if type_ is None or not credits_per_hour(type_):
        return instance.spec.balance
    kept = instance.spec.balance
    earned = kept.earned if kept is not None and kept.left and now - kept.left <= KEPT_S else 0.0
    return CpuBalance(start, earned, _launch_credits(type_, instance.spec.cpu_credits))


def left_balance(instance: Instance, data: dict[str, Any], now: float) -> CpuBalance | None:
    """Of one that has stopped, by what its machine told at its end. What it owed is charged, that is forgotten."""
    type_ = find_instance_type(instance.spec.type)
    if type_ is None or not credits_per_hour(type_):
        return instance.spec.balance
    lost = type_.name.startswith("t2.")
    return CpuBalance(instance.spec.boot, 0.0 if lost else float(data.get("credits", 0.0)), left=now)


def wished_credits(instance: Instance) -> CpuCredits | None:
    """What the machine is told; None for one that does not burst."""
    type_ = find_instance_type(instance.spec.type)
    if type_ is None or not (per_hour := credits_per_hour(type_)):
        return None
    balance = instance.spec.balance or CpuBalance()
    unlimited = instance.spec.cpu_credits == "unlimited"
    return CpuCredits(per_hour, unlimited, balance.start, balance.earned, balance.launch)


def _launch_credits(type_: InstanceType, cpu_credits: str) -> float:
    standard = type_.name.startswith("t2.") and cpu_credits != "unlimited"
    return float(LAUNCH_CREDITS * type_.vcpus) if standard else 0.0
