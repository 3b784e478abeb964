"""What policies make of a metric. Tables from AWS: "Step and simple scaling policies for Amazon EC2 Auto Scaling"."""

from __future__ import annotations

import pytest

from gureum.aws.autoscaling.adjustments import adjusted, step_for, tracked
from gureum.aws.autoscaling.kinds import PolicySpec, Step


@pytest.mark.parametrize(
    ("kind", "adjustment", "capacity", "magnitude", "expected"),
    [
        ("ChangeInCapacity", 5, 3, 0, 8),
        ("ChangeInCapacity", -2, 3, 0, 1),
        ("ExactCapacity", 5, 3, 0, 5),
        ("PercentChangeInCapacity", 10, 10, 0, 11),
        ("PercentChangeInCapacity", 25, 4, 2, 6),  # AWS's example of MinAdjustmentMagnitude: 1 becomes 2
        ("PercentChangeInCapacity", 10, 5, 0, 6),  # 0.5 is rounded to 1
        ("PercentChangeInCapacity", 35, 10, 0, 13),  # 3.5 is rounded down
        ("PercentChangeInCapacity", -6, 10, 0, 9),  # -0.6 is rounded to -1
        ("PercentChangeInCapacity", -67, 10, 0, 4),  # -6.7 is rounded to -6
    ],
)
def test_adjustment_types_and_rounding(
    kind: str, adjustment: int, capacity: int, magnitude: int, expected: int
) -> None:
    policy = PolicySpec("g", "p", "u", "StepScaling", adjustment_type=kind, min_magnitude=magnitude)
    assert adjusted(policy, adjustment, capacity) == expected


OUT = (Step(0, 0, 10), Step(10, 10, 20), Step(30, 20, None))
IN = (Step(0, -10, 0), Step(-10, -20, -10), Step(-30, None, -20))


@pytest.mark.parametrize(
    ("steps", "distance", "above", "expected"),
    [
        (OUT, 0, True, 0),
        (OUT, 9.9, True, 0),
        (OUT, 10, True, 10),
        (OUT, 20, True, 30),
        (OUT, 1e9, True, 30),
        (IN, 0, False, 0),
        (IN, -10, False, -10),
        (IN, -19.9, False, -10),
        (IN, -20, False, -30),
    ],
)
def test_bounds_are_inclusive_towards_the_threshold(
    steps: tuple[Step, ...], distance: float, above: bool, expected: int
) -> None:
    found = step_for(steps, distance, above=above)
    assert found is not None
    assert found.adjustment == expected


def test_a_value_outside_all_steps_changes_nothing() -> None:
    assert step_for((Step(1, 5, 10),), 3, above=True) is None


@pytest.mark.parametrize(
    ("value", "target", "serving", "desired", "expected"),
    [
        (80, 50, 2, 2, 4),
        (51, 50, 1, 1, 2),
        (50, 50, 3, 3, 3),
        (30, 50, 4, 4, 3),
        (1, 50, 4, 4, 1),
        (200, 50, 1, 4, 4),
        (90, 50, 0, 0, 1),
        (0, 50, 3, 3, 0),
    ],
)
def test_capacity_that_holds_the_target(value: float, target: float, serving: int, desired: int, expected: int) -> None:
    assert tracked(value, target, serving, desired) == expected
