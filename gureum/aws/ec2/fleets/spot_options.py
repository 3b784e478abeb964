"""InstanceMarketOptions of a launch: what makes an instance a Spot Instance. AWS: ec2 RunInstances."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.fleets.spot_kinds import SpotRequest, SpotRequestSpec, SpotRequestStatus
from gureum.aws.ec2.fleets.spot_prices import price_text, spot_price
from gureum.aws.errors import AwsError
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

FULFILLED = ("fulfilled", "Your spot request is fulfilled.")


def spot_options(params: dict[str, Any], type_name: str) -> SpotRequestSpec | None:
    """What InstanceMarketOptions ask for, None for an instance on demand. AWS: InvalidParameterValue, InvalidParameterCombination,
    SpotMaxPriceTooLow."""
    wanted = params.get("InstanceMarketOptions")
    if not wanted:
        return None
    market = wanted.get("MarketType")
    if market in ("capacity-block", "interruptible-capacity-reservation"):
        raise ids.not_built(f"InstanceMarketOptions of type {market}")
    if market != "spot":
        raise ids.invalid(f"Value ({market}) for parameter marketType is invalid.")
    options = wanted.get("SpotOptions") or {}
    if options.get("BlockDurationMinutes"):
        raise AwsError("UnsupportedOperation", "Spot Instances with a defined duration are no longer offered.")
    kind = ids.choice(options, "SpotInstanceType", "one-time", "persistent")
    behavior = check_behavior(options.get("InstanceInterruptionBehavior"))
    if kind == "persistent" and behavior == "terminate":
        text = "Persistent Spot Instances of RunInstances need the interruption behavior stop or hibernate."
        raise AwsError("InvalidParameterCombination", text)
    if kind == "one-time" and behavior == "stop":
        raise AwsError("InvalidParameterCombination", "One-time Spot Instances can only be terminated.")
    if options.get("ValidUntil") and kind == "one-time":
        raise AwsError("InvalidParameterCombination", "ValidUntil is for persistent requests only.")
    price = check_price(options.get("MaxPrice"))
    least = spot_price(type_name)
    if price and float(price) < least:
        raise AwsError("SpotMaxPriceTooLow", too_low(price, least))
    return SpotRequestSpec(
        launch={},
        type="persistent" if kind == "persistent" else "one-time",
        behavior="stop" if behavior == "stop" else "terminate",
        max_price=price,
        valid_until=seconds(options.get("ValidUntil")),
    )


def new_spot_request(
    call: Call, transaction: Transaction, spec: SpotRequestSpec, tags: dict[str, str], status: SpotRequestStatus
) -> SpotRequest:
    """A request, in this transaction."""
    name = f"sir-{new_id('', 8)}"
    return transaction.create(SpotRequest(meta=call.meta(name, tags=tags), spec=spec, status=status))


def check_behavior(wanted: str | None) -> str:
    """AWS: InvalidParameterValue."""
    if wanted == "hibernate":
        raise ids.not_built("Hibernation")
    if wanted not in (None, "", "stop", "terminate"):
        raise ids.invalid(f"Value ({wanted}) for parameter instanceInterruptionBehavior is invalid.")
    return wanted or "terminate"


def check_price(text: str | None) -> str:
    """A price as it was given. AWS: InvalidParameterValue."""
    if not text:
        return ""
    try:
        price = float(text)
    except ValueError:
        price = 0.0
    if not 0.001 <= price < 1000 or not math.isfinite(price):
        raise ids.invalid(f"Invalid value '{text}' for price.")
    return text


def too_low(offered: str, price: float) -> str:
    """AWS's words."""
    least = price_text(price)
    return f"Your Spot request price of {offered} is lower than the minimum required Spot request fulfillment price of {least}."


def seconds(time: Any) -> float:
    return time.timestamp() if isinstance(time, datetime) else float(time or 0.0)
