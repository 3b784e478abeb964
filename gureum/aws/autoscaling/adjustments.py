"""From what a policy says and a metric shows to a new desired capacity. Pure.

AWS: "Step and simple scaling policies" (adjustment types, rounding, step intervals), "Target tracking scaling policies".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gureum.aws.autoscaling.kinds import GroupSpec, PolicySpec, Step


def adjusted(policy: PolicySpec, adjustment: int, capacity: int) -> int:
    """The capacity after one adjustment, before bounds."""
    if policy.adjustment_type == "ExactCapacity":
        return adjustment
    if policy.adjustment_type == "ChangeInCapacity":
        return capacity + adjustment
    change = _rounded(capacity * adjustment / 100)
    if policy.min_magnitude and abs(change) < policy.min_magnitude:
        change = int(math.copysign(policy.min_magnitude, adjustment))
    return capacity + change


def _rounded(change: float) -> int:
    """AWS: values above 1 are rounded down, between 0 and 1 to 1, between 0 and -1 to -1, below -1 up (towards zero)."""
    if 0 < change < 1:
        return 1
    if -1 < change < 0:
        return -1
    return int(change)


def step_for(steps: Sequence[Step], distance: float, *, above: bool) -> Step | None:
    """The step whose interval has `distance` (metric minus threshold). AWS: above the threshold the lower bound is inclusive and the upper
    one exclusive, below it the other way round."""
    for step in steps:
        lower = -math.inf if step.lower is None else step.lower
        upper = math.inf if step.upper is None else step.upper
        if (above and lower <= distance < upper) or (not above and lower < distance <= upper):
            return step
    return None


def tracked(value: float, target: float, serving: int, desired: int) -> int:
    """The capacity that holds `target` when the load stays as it is: `value` is the average over `serving` instances. It grows at least by
    one when the metric is above the target."""
    if serving == 0:
        return max(desired, 1) if value > target else desired
    needed = math.ceil(round(serving * value / target, 6)) if target > 0 else desired
    if value > target:
        return max(needed, serving + 1, desired)
    return min(needed, desired)


def bounded(spec: GroupSpec, desired: int) -> int:
    return min(max(desired, spec.min), spec.max)
