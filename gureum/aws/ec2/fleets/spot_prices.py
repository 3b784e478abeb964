"""What a Spot Instance costs here. Nobody pays; there is no market, so a price is a type's size and stays what it is.

A type's on-demand figure is 0.011 dollars an hour for a virtual processor and 0.0028 for a GiB; Spot is three tenths of that. So MaxPrice, price
history and allocation by price have something to compare that is the same on every host.
"""

from __future__ import annotations

from gureum.aws.ec2.instances.types import InstanceType, find_instance_type

PROCESSOR, GIB, SPOT_SHARE = 0.011, 0.0028, 0.3
CHANGED_EVERY_S = 24 * 3600.0
PRODUCT = "Linux/UNIX"


def on_demand_price(type_: InstanceType) -> float:
    """Dollars an hour."""
    return type_.vcpus * PROCESSOR + type_.memory_mib / 1024 * GIB


def spot_price(name: str) -> float:
    """Dollars an hour; of a type that is not known, infinite."""
    type_ = find_instance_type(name)
    return round(on_demand_price(type_) * SPOT_SHARE, 6) if type_ else float("inf")


def price_text(price: float) -> str:
    """As EC2 writes prices."""
    return f"{price:.6f}"
