"""STS: GetCallerIdentity, GetSessionToken, GetFederationToken, GetAccessKeyInfo, DecodeAuthorizationMessage.

Temporary keys are stored with their secret sealed; they carry the account they were made for. Who calls with a key that IAM made is its user;
identity of a plain key is its account's root, as on AWS for root keys.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from gureum.aws.call import Call
from gureum.aws.credentials import SCOPE, Session
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.aws.sts.issuing import issue
from gureum.aws.sts.session_policies import packed_size

UNSAID_S, LONGEST_OF_ROOT_S = 43200.0, 3600.0
"""AWS: sessions of root's keys are cut to an hour, which is also what they have if nothing is said."""


@operation("GetCallerIdentity")
def get_caller_identity(call: Call) -> dict[str, Any]:
    return {"UserId": call.principal.id, "Account": call.account, "Arn": call.principal.arn}


@operation("GetSessionToken")
async def get_session_token(call: Call) -> dict[str, Any]:
    """AWS: sts GetSessionToken; 900 s to 36 h, 12 h if unsaid, of the account's root an hour at most. Not with credentials that are temporary
    themselves."""
    _refuse_sessions(call)
    return {"Credentials": await issue(call, call.account, call.principal.arn, call.principal.id, _seconds(call))}


@operation("GetFederationToken")
async def get_federation_token(call: Call) -> dict[str, Any]:
    """AWS: sts GetFederationToken; as long as GetSessionToken's. Not with temporary credentials."""
    _refuse_sessions(call)
    size = packed_size(call.params)
    name = call.params["Name"]
    arn, user_id = f"arn:{call.partition}:sts::{call.account}:federated-user/{name}", f"{call.account}:{name}"
    return {
        "Credentials": await issue(call, call.account, arn, user_id, _seconds(call)),
        "FederatedUser": {"FederatedUserId": user_id, "Arn": arn},
        "PackedPolicySize": size or 0,
    }


def _seconds(call: Call) -> float:
    wanted = float(call.params.get("DurationSeconds", UNSAID_S))
    return min(wanted, LONGEST_OF_ROOT_S) if call.principal.id == call.account else wanted


def _refuse_sessions(call: Call) -> None:
    if call.client.get(Session, SCOPE, call.access_key) is not None:
        raise AwsError("AccessDenied", f"Cannot call {call.operation} with session credentials", status=403)


@operation("DecodeAuthorizationMessage")
def decode_authorization_message(call: Call) -> dict[str, Any]:
    """AWS: sts DecodeAuthorizationMessage. Nobody's authorization is judged here, so no message was ever made: each is another's, or none."""
    text = "The authorization message is not valid: no refusal of this cloud has one."
    raise AwsError("InvalidAuthorizationMessageException", text, status=400)


@operation("GetAccessKeyInfo")
def get_access_key_info(call: Call) -> dict[str, Any]:
    """AWS: sts GetAccessKeyInfo: the account of a key, be it good or not."""
    key = call.params["AccessKeyId"]
    session = call.client.get(Session, SCOPE, key)
    if session is not None:
        return {"Account": session.spec.account}
    if re.fullmatch(r"\d{12}", key):
        return {"Account": key}
    return {"Account": account_in(key) or call.settings.default_account}


def account_in(key: str) -> str:
    """The account that AWS (and moto) write into the id of a key; "" for ids of before 2019, and for what is no id."""
    if re.fullmatch(r"A(KIA|SIA)[A-Z2-7]{16}", key) is None:
        return ""
    bits = int.from_bytes(base64.b32decode(key[4:20])[:6], "big")
    account = f"{(bits & 0x7FFFFFFFFF80) >> 7:012d}"
    return account if bits >> 47 and len(account) == 12 else ""
