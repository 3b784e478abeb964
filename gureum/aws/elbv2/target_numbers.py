"""How many targets a load balancer may have, whether they come to it, it comes to them, or it begins to cross zones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.elbv2 import attribute_tables as tables
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.kinds import LoadBalancer, Target, TargetGroup
from gureum.aws.errors import AwsError


def check_balancer(call: Call, balancer: LoadBalancer, groups: Iterable[TargetGroup]) -> None:
    """Whether a load balancer may have the targets of all these groups. AWS: TooManyTargets; "Quotas for your Network Load Balancers": what crosses
    zones has the targets of one, and an Application Load Balancer counts for fifty, or for a hundred where it does."""
    application = balancer.spec.type == "application"
    crosses = (
        tables.in_force(tables.of_balancer(balancer), balancer.spec.attributes)["load_balancing.cross_zone.enabled"]
        == "true"
    )
    each_balancer = limits.BALANCER_AS_TARGET[crosses]
    alive = [
        (group, target, each_balancer if group.spec.type == "alb" else 1)
        for group in groups
        for target in group.spec.targets
        if not target.draining_until
    ]
    number, per_zone = sum(count for _, _, count in alive), limits.TARGETS_PER_ZONE_OF_NETWORK_LOAD_BALANCER
    most = limits.TARGETS_PER_APPLICATION_LOAD_BALANCER
    if not application:
        most = per_zone if crosses else limits.TARGETS_PER_NETWORK_LOAD_BALANCER
    if number > most:
        raise AwsError("TooManyTargets", f"The maximum number of targets per load balancer is {most}")
    if application or number <= per_zone:
        return
    zones = Counter[str]()
    for group, target, count in alive:
        zones[_zone(call, group, target)] += count
    everywhere = zones.pop("", 0)  # in each zone
    if everywhere + max(zones.values(), default=0) > per_zone:
        text = f"The maximum number of targets per Availability Zone per load balancer is {per_zone}"
        raise AwsError("TooManyTargets", text)


def _zone(call: Call, group: TargetGroup, target: Target) -> str:
    """ "" for all zones, and where there is none to be found."""
    if group.spec.type == "instance":
        instance = call.get(Instance, target.id)
        return instance.spec.zone if instance is not None else ""
    return "" if target.zone == "all" else target.zone
