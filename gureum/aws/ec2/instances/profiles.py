"""Instance profiles of instances: which role's profile an instance has, and with it whose credentials (instances/credentials.py).

Where a neighbour answers for IAM, a profile must be there and have a role; else it is taken as existing. An association's id is made from the
instance and the profile, so nothing but the instance is stored.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import PROFILE_ASSOCIATION
from gureum.aws.ec2.instances.changes import change, living_instance
from gureum.aws.ec2.instances.credential_kinds import new_credentials, of_instance
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.show import profile_id
from gureum.aws.ec2.listing import answer
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.core.neighbours import NeighbourRefused

_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]{1,640}", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


class Profile(msgspec.Struct, frozen=True):
    """`id` "": nobody answers for IAM. `role`: its role's API form, of which "RoleName" is there at least; {} for none."""

    arn: str
    id: str
    role: dict[str, Any]


@operation("AssociateIamInstanceProfile")
async def associate_iam_instance_profile(call: Call) -> Result:
    """AWS: ec2 AssociateIamInstanceProfile: one that has none yet. IncorrectState."""
    instance = living_instance(call, call.params["InstanceId"])
    if instance.spec.profile_arn:
        text = f"There is an existing association for instance {instance.meta.name}"
        raise AwsError("IncorrectState", text)
    changed = await _give(call, instance, find_profile(call, call.params["IamInstanceProfile"]))
    return {"IamInstanceProfileAssociation": _show(changed, "associating")}


@operation("ReplaceIamInstanceProfileAssociation")
async def replace_iam_instance_profile_association(call: Call) -> Result:
    """AWS: ec2 ReplaceIamInstanceProfileAssociation: a new association takes the old one's place."""
    instance = _associated(call, call.params["AssociationId"])
    changed = await _give(call, instance, find_profile(call, call.params["IamInstanceProfile"]))
    return {"IamInstanceProfileAssociation": _show(changed, "associating")}


@operation("DisassociateIamInstanceProfile")
async def disassociate_iam_instance_profile(call: Call) -> Result:
    """AWS: ec2 DisassociateIamInstanceProfile."""
    instance = _associated(call, call.params["AssociationId"])
    await _give(call, instance, None)
    return {"IamInstanceProfileAssociation": _show(instance, "disassociating")}


@operation("DescribeIamInstanceProfileAssociations")
def describe_iam_instance_profile_associations(call: Call) -> Result:
    """AWS: ec2 DescribeIamInstanceProfileAssociations."""
    wanted = call.params.get("AssociationIds") or ()
    found = [_associated(call, id_) for id_ in dict.fromkeys(wanted)] if wanted else _all(call)
    found = apply_filters(found, call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, association_id, default=1000)
    return answer("IamInstanceProfileAssociations", [_show(one, "associated") for one in shown], token)


def find_profile(call: Call, wanted: dict[str, Any]) -> Profile:
    """The profile that `Arn` or `Name` in `wanted` names. AWS: InvalidParameterValue, InvalidParameterCombination, MissingParameter. Unasked."""
    arn, name = wanted.get("Arn") or "", wanted.get("Name") or ""
    if arn and name:
        text = "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'"
        raise AwsError("InvalidParameterCombination", text)
    if not arn and not name:
        raise ids.missing("IamInstanceProfile")
    good = _ARN.fullmatch(arn) if arn else _NAME.fullmatch(name)
    found = (
        iam_profile(call, arn or f"arn:{call.partition}:iam::{call.account}:instance-profile/{name}") if good else None
    )
    if found is None or (arn and found.arn != arn):
        member, form, value = ("arn", "ARN", arn) if arn else ("name", "name", name)
        text = (
            f"Value ({value}) for parameter iamInstanceProfile.{member} is invalid. Invalid IAM Instance Profile {form}"
        )
        raise ids.invalid(text)
    if not found.role:
        raise ids.invalid(f'IAM Instance Profile "{found.arn}" has no associated IAM Roles')
    return found


def iam_profile(call: Call, arn: str) -> Profile | None:
    """The account's profile that has the name in `arn`, as IAM knows it now; None when there is none. Unasked."""
    name = arn.rpartition("/")[2]
    if not call.known.answers("iam"):
        return Profile(arn, "", {"RoleName": name})
    if arn.split(":")[4] != call.account:
        return None
    try:
        answer = call.known.answer("iam", "GetInstanceProfile", call.account, call.region, InstanceProfileName=name)
    except NeighbourRefused:
        return None
    found = answer["InstanceProfile"]
    roles = found.get("Roles") or [{}]
    return Profile(found["Arn"], found["InstanceProfileId"], roles[0])


def association_id(instance: Instance) -> str:
    """The id of the association of an instance that has a profile."""
    text = f"{instance.meta.name}/{instance.spec.profile_arn}"
    return f"iip-assoc-0{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_FILTERS: FilterTable = {"instance-id": lambda one: one.meta.name, "state": lambda _: "associated"}


async def _give(call: Call, instance: Instance, profile: Profile | None) -> Instance:
    """One commit: the instance has this profile, and its credentials are to be made anew."""
    transaction = call.transaction()
    arn, id_ = (profile.arn, profile.id) if profile is not None else ("", "")
    changed = transaction.update(change(instance, profile_arn=arn, profile_id=id_))
    old = of_instance(call, instance.meta.name)
    if profile is not None:
        new = new_credentials(call, changed)
        if old is None:
            transaction.create(new)
        else:
            transaction.update(msgspec.structs.replace(old, spec=new.spec))
    elif old is not None:
        transaction.delete(old)
    await call.commit(transaction)
    return changed


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
        "IamInstanceProfile": {"Arn": instance.spec.profile_arn, "Id": profile_id(instance)},
        "State": state,
    }
