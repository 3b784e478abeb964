"""STS: GetCallerIdentity, AssumeRole, GetSessionToken, GetFederationToken, GetAccessKeyInfo.

Temporary keys are stored with their secret sealed; they carry the account they were made for. There is no IAM yet, so a role is taken as existing.
Identity of a plain key is its account's root, as on AWS for root keys.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.credentials import SCOPE, Session, new_session, role_id
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/((?:[\w+=,.@-]+/)*)([\w+=,.@-]{1,64})")
LONGEST_OF_ROOT_S = 3600.0
"""AWS: sessions of root's keys are cut to an hour."""


@operation("GetCallerIdentity")
def get_caller_identity(call: Call) -> dict[str, Any]:
    return _identity(call)


def _identity(call: Call) -> dict[str, Any]:
    session = call.client.get(Session, SCOPE, call.access_key)
    if session is not None:
        return {"UserId": session.spec.user_id, "Account": session.spec.account, "Arn": session.spec.arn}
    return {"UserId": call.account, "Account": call.account, "Arn": f"arn:{call.partition}:iam::{call.account}:root"}


@operation("AssumeRole")
async def assume_role(call: Call) -> dict[str, Any]:
    """AWS: sts AssumeRole. The role's own account is the new credentials' account; 900 s to 12 h, 1 h if unsaid."""
    found = _ROLE_ARN.fullmatch(call.params["RoleArn"])
    if found is None:
        raise AwsError("ValidationError", f"{call.params['RoleArn']} is invalid")
    account, _, role = found.groups()
    if call.guest and account != call.account:
        me = _identity(call)["Arn"]
        text = f"User: {me} is not authorized to perform: sts:AssumeRole on resource: {found.group(0)}"
        raise AwsError("AccessDenied", text, status=403)
    _check_tags(call)
    name = call.params["RoleSessionName"]
    arn = f"arn:{call.partition}:sts::{account}:assumed-role/{role}/{name}"
    user_id = f"{role_id(found.group(0))}:{name}"
    credentials = await _issue(call, account, arn, user_id, float(call.params.get("DurationSeconds", 3600)))
    return {"Credentials": credentials, "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn}}


def _check_tags(call: Call) -> None:
    """Recorded by LocalStack's test_assume_role_tag_validation."""
    keys = [one["Key"].lower() for one in call.params.get("Tags") or ()]
    if len(set(keys)) != len(keys):
        text = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
        raise AwsError("InvalidParameterValue", text)
    if not {one.lower() for one in call.params.get("TransitiveTagKeys") or ()} <= set(keys):
        text = "The specified transitive tag key must be included in the requested tags."
        raise AwsError("InvalidParameterValue", text)


@operation("GetSessionToken")
async def get_session_token(call: Call) -> dict[str, Any]:
    """AWS: sts GetSessionToken; 900 s to 36 h, 12 h if unsaid. Not with credentials that are temporary themselves."""
    _refuse_sessions(call)
    arn = f"arn:{call.partition}:iam::{call.account}:root"
    seconds = float(call.params.get("DurationSeconds", 43200))
    return {"Credentials": await _issue(call, call.account, arn, call.account, seconds)}


@operation("GetFederationToken")
async def get_federation_token(call: Call) -> dict[str, Any]:
    """AWS: sts GetFederationToken; 900 s to 36 h, 12 h if unsaid, of the account's root an hour at most. Not with temporary credentials."""
    _refuse_sessions(call)
    name = call.params["Name"]
    arn, user_id = f"arn:{call.partition}:sts::{call.account}:federated-user/{name}", f"{call.account}:{name}"
    seconds = min(float(call.params.get("DurationSeconds", LONGEST_OF_ROOT_S)), LONGEST_OF_ROOT_S)
    return {
        "Credentials": await _issue(call, call.account, arn, user_id, seconds),
        "FederatedUser": {"FederatedUserId": user_id, "Arn": arn},
        "PackedPolicySize": 0,
    }


def _refuse_sessions(call: Call) -> None:
    if call.client.get(Session, SCOPE, call.access_key) is not None:
        raise AwsError("AccessDenied", f"Cannot call {call.operation} with session credentials", status=403)


@operation("GetAccessKeyInfo")
def get_access_key_info(call: Call) -> dict[str, Any]:
    key = call.params["AccessKeyId"]
    session = call.client.get(Session, SCOPE, key)
    account = (
        session.spec.account if session else key if re.fullmatch(r"\d{12}", key) else call.settings.default_account
    )
    return {"Account": account}


async def _issue(call: Call, account: str, arn: str, user_id: str, seconds: float) -> dict[str, Any]:
    transaction = call.transaction()
    issued = new_session(call.client, transaction, call.sealer, account, arn, user_id, call.now, seconds)
    await call.commit(transaction)
    return {
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.token,
        "Expiration": datetime.fromtimestamp(issued.expires, UTC),
    }
