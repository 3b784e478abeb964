"""The account's default credit option of burstable families: what an instance gets that is launched without one."""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import settings_of, write_settings
from gureum.aws.ec2.instances.types import InstanceType
from gureum.aws.marks import Result, operation

FAMILIES = {"t2": "standard", "t3": "unlimited", "t3a": "unlimited", "t4g": "unlimited"}
"""AWS: "Unlimited mode for burstable performance instances"."""


@operation("GetDefaultCreditSpecification")
def get_default_credit_specification(call: Call) -> Result:
    """AWS: ec2 GetDefaultCreditSpecification."""
    family = ids.choice(call.params, "InstanceFamily", *FAMILIES)
    call.end_dry_run()
    return _show(family, dict(settings_of(call).credits).get(family, FAMILIES[family]))


@operation("ModifyDefaultCreditSpecification")
async def modify_default_credit_specification(call: Call) -> Result:
    """AWS: ec2 ModifyDefaultCreditSpecification: for instances that are launched from now on."""
    family = ids.choice(call.params, "InstanceFamily", *FAMILIES)
    credits_ = ids.choice(call.params, "CpuCredits", "standard", "unlimited")
    changed = dict(settings_of(call).credits) | {family: credits_}
    await write_settings(call, credits=tuple(sorted(changed.items())))
    return _show(family, credits_)


def default_credits(call: Call, type_: InstanceType) -> str:
    """ "" for a type that does not burst."""
    if not type_.default_credits:
        return ""
    return dict(settings_of(call).credits).get(type_.name.partition(".")[0], type_.default_credits)


def _show(family: str, credits_: str) -> Result:
    return {"InstanceFamilyCreditSpecification": {"InstanceFamily": family, "CpuCredits": credits_}}
