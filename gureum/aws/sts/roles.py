"""AssumeRole: a role's credentials for whom its trust policy names.

Roles are IAM's, which is a neighbour: where it is not answered, a role is taken as existing and as open to everybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.credentials import SCOPE, Session, role_id
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.aws.sts.issuing import issue
from gureum.aws.sts.session_policies import packed_size
from gureum.aws.sts.trust import Asking, lets
from gureum.core.neighbours import NeighbourRefused

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/((?:[\w+=,.@-]+/)*)([\w+=,.@-]{1,64})")
_SESSION_ARN = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/.*")
UNSAID_S = LONGEST_OF_CHAINED_S = 3600
"""AWS: "Role chaining" (IAM user guide): an hour at most."""
NEVER_TOLD = ("aws:sourcearn", "aws:sourceaccount", "aws:sourceorgid", "aws:sourceorgpaths", "aws:federatedprovider")
OF_MFA = ("aws:multifactorauthpresent", "aws:multifactorauthage")
"""AWS: "Global condition context keys": what only calls of services and of web identities have, and what only calls with MFA have."""


@operation("AssumeRole")
async def assume_role(call: Call) -> dict[str, Any]:
    """AWS: sts AssumeRole. The role's own account is the new credentials' account; 900 s to what the role allows, 1 h if unsaid. Unasked."""
    params = call.params
    found = ROLE_ARN.fullmatch(params["RoleArn"])
    if found is None:
        raise AwsError("ValidationError", f"{params['RoleArn']} is invalid")
    account, _, role = found.groups()
    if call.guest and account != call.account:
        raise _denied(call, "sts:AssumeRole")
    held = call.client.get(Session, SCOPE, call.access_key)
    if held is not None and ":federated-user/" in held.spec.arn:  # AWS: "Comparing AWS STS credentials"
        raise _denied(call, "sts:AssumeRole")
    tags = transitive_tags(params, held)
    size = packed_size(params)
    identity = _source_identity(call, held)
    seconds = int(params.get("DurationSeconds", UNSAID_S))
    _check_chain(held, seconds)
    id_ = _role_of_iam(call, account, role, held, seconds)
    name = params["RoleSessionName"]
    arn, user_id = f"arn:{call.partition}:sts::{account}:assumed-role/{role}/{name}", f"{id_}:{name}"
    more = {"role_arn": found.group(0), "source_identity": identity, "transitive": tags}
    answer: dict[str, Any] = {
        "Credentials": await issue(call, account, arn, user_id, float(seconds), **more),
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn},
    }
    if size is not None:
        answer["PackedPolicySize"] = size
    if identity:
        answer["SourceIdentity"] = identity
    return answer


def transitive_tags(params: dict[str, Any], held: Session | None) -> tuple[tuple[str, str], ...]:
    """Those that go on to further roles. Recorded by LocalStack's test_assume_role_tag_validation and
    test_iam_role_chaining_override_transitive_tags."""
    tags = {one["Key"].lower(): (one["Key"], one["Value"]) for one in params.get("Tags") or ()}
    if len(tags) != len(params.get("Tags") or ()):
        text = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
        raise AwsError("InvalidParameterValue", text)
    transitive = {one.lower() for one in params.get("TransitiveTagKeys") or ()}
    if not transitive <= tags.keys():
        text = "The specified transitive tag key must be included in the requested tags."
        raise AwsError("InvalidParameterValue", text)
    inherited = held.spec.transitive if held is not None else ()
    if tags.keys() & {key.lower() for key, _ in inherited}:
        text = (
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
        raise AwsError("InvalidParameterValue", text)
    return (*inherited, *(tag for key, tag in tags.items() if key in transitive))


def _source_identity(call: Call, held: Session | None) -> str:
    """AWS: "Monitor and control actions taken with assumed roles": once set it stays along the chain, and nobody may set another."""
    given: str = call.params.get("SourceIdentity", "")
    before = held.spec.source_identity if held is not None else ""
    if before and given and given != before:
        raise _denied(call, "sts:SetSourceIdentity")
    return given or before


def _check_chain(held: Session | None, seconds: int) -> None:
    chained = held is not None and _SESSION_ARN.fullmatch(held.spec.arn) is not None
    if chained and seconds > LONGEST_OF_CHAINED_S:
        text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        raise AwsError("ValidationError", text)


def _role_of_iam(call: Call, account: str, name: str, held: Session | None, seconds: int) -> str:
    actions = ["sts:AssumeRole"]
    actions += ["sts:TagSession"] if call.params.get("Tags") else []
    actions += ["sts:SetSourceIdentity"] if call.params.get("SourceIdentity") else []
    return judged_role(call, account, name, _asking(call, held), actions, seconds, lambda action: _denied(call, action))


def judged_role(
    call: Call,
    account: str,
    name: str,
    asking: Asking,
    actions: list[str],
    seconds: int,
    denied: Callable[[str], AwsError],
) -> str:
    """The role's id. AWS: AccessDenied for one that is not there or does not let who asks do all of `actions`, ValidationError for longer than it
    allows. Unasked."""
    arn = call.params["RoleArn"]
    if not call.known.answers("iam"):
        return role_id(arn)
    try:
        role = call.known.answer("iam", "GetRole", account, call.region, RoleName=name)["Role"]
    except NeighbourRefused as refused:
        raise denied(actions[0]) from refused
    if role["Arn"] != arn:
        raise denied(actions[0])
    for action in actions:
        if not lets(role["AssumeRolePolicyDocument"], asking, action):
            raise denied(action)
    if seconds > int(role.get("MaxSessionDuration") or UNSAID_S):
        raise AwsError(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return str(role["RoleId"])


def _asking(call: Call, held: Session | None) -> Asking:
    params = call.params
    arns = {call.principal.arn, held.spec.role_arn if held is not None else ""} - {""}
    caller = call.principal.arn
    context = {
        **context_of(call, params),
        "sts:externalid": params.get("ExternalId"),
        "aws:sourceidentity": held.spec.source_identity if held is not None else None,
        "aws:principalaccount": call.account,
        "aws:principalarn": (held.spec.role_arn if held is not None else "") or call.principal.arn,
        "aws:userid": call.principal.id,
        "aws:username": caller.rpartition("/")[2] if ":user/" in caller else None,
        "aws:principaltype": _type_of(caller),
    }
    if params.get("TokenCode"):  # whether it is right cannot be told: no device's seed is known here
        context = {key: value for key, value in context.items() if key not in OF_MFA}
    return Asking(call.account, frozenset(arns), {key: values(value) for key, value in context.items()})


def context_of(call: Call, params: dict[str, Any]) -> dict[str, Any]:
    """Condition keys that every call for a role has, whoever calls. `params`: name, tags and source identity of the session."""
    tags = params.get("Tags") or ()
    return {
        **dict.fromkeys((*NEVER_TOLD, *OF_MFA)),
        "sts:rolesessionname": params.get("RoleSessionName"),
        "sts:sourceidentity": params.get("SourceIdentity"),
        "aws:tagkeys": [one["Key"] for one in tags],
        "sts:transitivetagkeys": params.get("TransitiveTagKeys"),
        "aws:requestedregion": call.region,
        "aws:currenttime": datetime.fromtimestamp(call.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(call.now)),
        "aws:viaawsservice": "false",
        "aws:principalisawsservice": "false",
        **{f"aws:requesttag/{one['Key']}".lower(): one["Value"] for one in tags},
    }


def _type_of(arn: str) -> str:
    kinds = {":user/": "User", ":assumed-role/": "AssumedRole", ":federated-user/": "FederatedUser"}
    return next((kind for part, kind in kinds.items() if part in arn), "Account")


def values(value: Any) -> tuple[str, ...]:
    return () if not value else (value,) if isinstance(value, str) else tuple(value)


def _denied(call: Call, action: str) -> AwsError:
    text = f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {call.params['RoleArn']}"
    return AwsError("AccessDenied", text, status=403)
