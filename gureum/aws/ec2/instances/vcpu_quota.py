"""The quota of vCPUs of On-Demand Instances. AWS: "Amazon EC2 On-Demand Instance quotas"; all types that gureum knows are standard ones."""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.types import InstanceType, find_instance_type
from gureum.aws.errors import AwsError
from gureum.engine.client import Transaction

COUNTED_STATES = ("pending", "running")


def vcpus_of(instance: Instance, *, spot: bool) -> int:
    """Those that count as On-Demand's, or as Spot's: of an instance that runs or is about to."""
    if instance.status.state not in COUNTED_STATES or bool(instance.spec.spot_request) != spot:
        return 0
    type_ = find_instance_type(instance.spec.type)
    return type_.vcpus if type_ is not None else 0


def most_vcpus_allow(call: Call, type_: InstanceType, least: int, most: int, promised: int = 0) -> int:
    """How many of `most` On-Demand Instances the quota still allows; `promised`: vCPUs that others of the same commit take. AWS:
    VcpuLimitExceeded when they are fewer than `least`."""
    quota = call.settings.quota_on_demand_vcpus
    if not quota:
        return most
    used = promised + sum(vcpus_of(one, spot=False) for one in call.all(Instance))
    count = min(most, (quota - used) // type_.vcpus)
    if count < least:
        raise AwsError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows for the instance bucket that the specified "
            "instance type belongs to. The setting quota_on_demand_vcpus adjusts this limit.",
        )
    return count


def check_vcpus(call: Call, instance: Instance, started: int) -> None:
    """That a stopped instance may start beside so many others of its type that the same commit starts. AWS: VcpuLimitExceeded."""
    type_ = find_instance_type(instance.spec.type)
    if type_ is not None and not instance.spec.spot_request:
        most_vcpus_allow(call, type_, 1, 1, started * type_.vcpus)


def hold_vcpus(call: Call, transaction: Transaction) -> None:
    """Conflict where they have a quota and instances came or went since they were counted, by a call at the same time."""
    if call.settings.quota_on_demand_vcpus:
        transaction.require_no_newer(Instance, call.scope)
