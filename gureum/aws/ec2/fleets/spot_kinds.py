"""The stored shape of Spot Instance requests.

open ──launched──► active ──its instance ends──► closed (one-time), or open again (persistent)
  └───────────┴── cancelled by the user (its instance goes on) ──► cancelled
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gureum.engine.resource import Resource, kind

State = Literal["open", "active", "closed", "cancelled", "failed", "disabled"]


class SpotRequestSpec(msgspec.Struct, frozen=True):
    """`launch`: parameters of RunInstances for the one instance. `max_price`: dollars an hour, as it was given, "" for any. `valid_from`,
    `valid_until`: Unix seconds, 0.0 for none. `behavior`: what an interruption does."""

    launch: dict[str, Any]
    type: Literal["one-time", "persistent"] = "one-time"
    behavior: Literal["terminate", "stop"] = "terminate"
    max_price: str = ""
    valid_from: float = 0.0
    valid_until: float = 0.0
    launch_group: str = ""
    zone_group: str = ""


class SpotRequestStatus(msgspec.Struct, frozen=True):
    """`code`: AWS's status code ("fulfilled", "price-too-low" …), `message`: its words; `updated`: Unix seconds."""

    state: State = "open"
    code: str = "pending-evaluation"
    message: str = "Your Spot request has been submitted for review, and is pending evaluation."
    updated: float = 0.0
    instance: str = ""
    zone: str = ""
    fault: tuple[str, str] = ("", "")


@kind("ec2.SpotRequest", indexes={"instance": lambda one: one.status.instance or ()})
class SpotRequest(Resource, frozen=True):
    """Its tags are those of the request, not of the instance."""

    spec: SpotRequestSpec
    status: SpotRequestStatus = SpotRequestStatus()
