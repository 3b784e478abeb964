"""Formats of ids. All types have long ids for good, as on AWS since 2018; what would turn one back is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import nothing
from gureum.aws.marks import Result, operation

TYPES = (
    *("bundle", "conversion-task", "customer-gateway", "dhcp-options", "elastic-ip-allocation", "elastic-ip-association"),
    *("export-task", "flow-log", "image", "import-task", "instance", "internet-gateway", "network-acl"),
    *("network-acl-association", "network-interface", "network-interface-attachment", "prefix-list", "reservation"),
    *("route-table", "route-table-association", "security-group", "snapshot", "subnet", "subnet-cidr-block-association"),
    *("volume", "vpc", "vpc-cidr-block-association", "vpc-endpoint", "vpc-peering-connection", "vpn-connection"),
    "vpn-gateway",
)  # fmt: skip
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(root|user/.+|role/.+)|all", re.ASCII)


@operation("DescribeIdFormat", level="state")
def describe_id_format(call: Call) -> Result:
    """AWS: ec2 DescribeIdFormat."""
    wanted = _types(call.params.get("Resource"))
    return {"Statuses": _statuses(wanted)}


@operation("DescribeAggregateIdFormat", level="state")
def describe_aggregate_id_format(call: Call) -> Result:
    """AWS: ec2 DescribeAggregateIdFormat."""
    call.end_dry_run()
    return {"UseLongIdsAggregated": True, "Statuses": _statuses(TYPES)}


@operation("DescribeIdentityIdFormat", level="state")
def describe_identity_id_format(call: Call) -> Result:
    """AWS: ec2 DescribeIdentityIdFormat."""
    _principal(call)
    return {"Statuses": _statuses(_types(call.params.get("Resource")))}


@operation("DescribePrincipalIdFormat", level="state")
def describe_principal_id_format(call: Call) -> Result:
    """AWS: ec2 DescribePrincipalIdFormat: nobody has set anything by himself."""
    for name in call.params.get("Resources") or ():
        _types(name)
    return nothing(call, "Principals")


@operation("ModifyIdFormat", level="state")
def modify_id_format(call: Call) -> Result:
    """AWS: ec2 ModifyIdFormat."""
    _keep_long(call)
    return {}


@operation("ModifyIdentityIdFormat", level="state")
def modify_identity_id_format(call: Call) -> Result:
    """AWS: ec2 ModifyIdentityIdFormat."""
    _principal(call)
    _keep_long(call)
    return {}


def _keep_long(call: Call) -> None:
    if call.params["Resource"] != "all-current":
        _types(call.params["Resource"])
    if not call.params["UseLongIds"]:
        raise ids.invalid("Value (false) for parameter useLongIds is invalid. All resource types have longer IDs.")


def _types(name: str | None) -> tuple[str, ...]:
    if name is None:
        return TYPES
    if name not in TYPES:
        raise ids.invalid(f"Value ({name[:100]}) for parameter resource is invalid.")
    return (name,)


def _principal(call: Call) -> None:
    if _PRINCIPAL.fullmatch(call.params["PrincipalArn"]) is None:
        raise ids.invalid("The parameter principalArn is no ARN of a root user, a user or a role.")


def _statuses(types: Iterable[str]) -> list[dict[str, Any]]:
    return [{"Resource": name, "UseLongIds": True} for name in types]
