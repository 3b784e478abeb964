"""Instance profiles of instances: which role's profile an instance has. There is no IAM behind it yet: a profile is taken as existing.

An association's id is made from the instance and the profile, so nothing but the instance is stored.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_changes import change, living_instance, write
from gureum.aws.ec2.instance_ids import PROFILE_ASSOCIATION
from gureum.aws.ec2.instance_kinds import Instance
from gureum.aws.ec2.listing import answer
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page

_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]{1,640}", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


@operation("AssociateIamInstanceProfile", level="state")
async def associate_iam_instance_profile(call: Call) -> Result:
    """AWS: ec2 AssociateIamInstanceProfile: one that has none yet. IncorrectState."""
    instance = living_instance(call, call.params["InstanceId"])
    if instance.spec.profile_arn:
        text = f"There is an existing association for instance {instance.meta.name}"
        raise AwsError("IncorrectState", text)
    changed = change(instance, profile_arn=profile_arn(call, call.params["IamInstanceProfile"]))
    await write(call, changed)
    return {"IamInstanceProfileAssociation": _show(changed, "associating")}


@operation("ReplaceIamInstanceProfileAssociation", level="state")
async def replace_iam_instance_profile_association(call: Call) -> Result:
    """AWS: ec2 ReplaceIamInstanceProfileAssociation: a new association takes the old one's place."""
    instance = _associated(call, call.params["AssociationId"])
    changed = change(instance, profile_arn=profile_arn(call, call.params["IamInstanceProfile"]))
    await write(call, changed)
    return {"IamInstanceProfileAssociation": _show(changed, "associating")}


@operation("DisassociateIamInstanceProfile", level="state")
async def disassociate_iam_instance_profile(call: Call) -> Result:
    """AWS: ec2 DisassociateIamInstanceProfile."""
    instance = _associated(call, call.params["AssociationId"])
    await write(call, change(instance, profile_arn=""))
    return {"IamInstanceProfileAssociation": _show(instance, "disassociating")}


@operation("DescribeIamInstanceProfileAssociations", level="state")
def describe_iam_instance_profile_associations(call: Call) -> Result:
    """AWS: ec2 DescribeIamInstanceProfileAssociations."""
    wanted = call.params.get("AssociationIds") or ()
    found = [_associated(call, id_) for id_ in dict.fromkeys(wanted)] if wanted else _all(call)
    found = apply_filters(found, call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, association_id, default=1000)
    return answer("IamInstanceProfileAssociations", [_show(one, "associated") for one in shown], token)


def profile_arn(call: Call, wanted: dict[str, Any]) -> str:
    """ARN of the profile that `Arn` or `Name` in `wanted` names. AWS: InvalidParameterValue, InvalidParameterCombination, MissingParameter."""
    arn, name = wanted.get("Arn") or "", wanted.get("Name") or ""
    if arn and name:
        text = "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'"
        raise AwsError("InvalidParameterCombination", text)
    if arn:
        if _ARN.fullmatch(arn) is None:
            raise ids.invalid(
                f"Value ({arn}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN"
            )
        return str(arn)
    if not name:
        raise ids.missing("IamInstanceProfile")
    if _NAME.fullmatch(name) is None:
        raise ids.invalid(
            f"Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
        )
    return f"arn:aws:iam::{call.account}:instance-profile/{name}"


def association_id(instance: Instance) -> str:
    """The id of the association of an instance that has a profile."""
    text = f"{instance.meta.name}/{instance.spec.profile_arn}"
    return f"iip-assoc-0{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_FILTERS: FilterTable = {"instance-id": lambda one: one.meta.name, "state": lambda _: "associated"}


def _all(call: Call) -> list[Instance]:
    return [one for one in call.all(Instance) if one.spec.profile_arn and one.status.state != "terminated"]


def _associated(call: Call, id_: str) -> Instance:
    ids.check_id(PROFILE_ASSOCIATION, id_)
    for instance in _all(call):
        if association_id(instance) == id_:
            return instance
    raise AwsError("InvalidAssociationID.NotFound", f"An invalid association-id of '{id_}' was given")


def _show(instance: Instance, state: str) -> dict[str, Any]:
    """API form. AWS: ec2 IamInstanceProfileAssociation."""
    return {
        "AssociationId": association_id(instance),
        "InstanceId": instance.meta.name,
        "IamInstanceProfile": {"Arn": instance.spec.profile_arn, "Id": f"AIPA{instance.meta.uid[:17].upper()}"},
        "State": state,
    }
