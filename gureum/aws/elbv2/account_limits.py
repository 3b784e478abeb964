"""DescribeAccountLimits: the quotas that the other operations keep (limits.py)."""

from __future__ import annotations

from gureum.aws.call import Call
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.paging import page
from gureum.aws.marks import Result, operation


@operation("DescribeAccountLimits")
def describe_account_limits(call: Call) -> Result:
    """AWS: elbv2 DescribeAccountLimits."""
    shown, more = page(call.params, list(limits.SHOWN.items()), lambda limit: limit[0])
    return {"Limits": [{"Name": name, "Max": str(most)} for name, most in shown], **more}
