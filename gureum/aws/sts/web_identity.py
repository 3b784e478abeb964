"""AssumeRoleWithWebIdentity: a role's credentials for whom a provider of IAM vouches with a token, as pods have them of their service account.

    token ─► its issuer is a provider in the role's account ─► audience ─► keys ─► signature ─► time ─► the role's trust policy ─► session

The call is not signed: the token is all that it rests on.
"""

from __future__ import annotations

import re
from typing import Any

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.aws.sts.issuer_keys import Unreachable, fetch_keys
from gureum.aws.sts.issuing import issue
from gureum.aws.sts.roles import ROLE_ARN, UNSAID_S, context_of, judged_role, transitive_tags, values
from gureum.aws.sts.session_policies import packed_size
from gureum.aws.sts.trust import Asking
from gureum.aws.sts.web_tokens import WebToken, is_signed_by, read_token
from gureum.core.neighbours import NeighbourRefused

TAGS, SOURCE_IDENTITY = "https://aws.amazon.com/tags", "https://aws.amazon.com/source_identity"
"""Claims. AWS: "Pass session tags in AWS STS" (IAM user guide)."""
LIMIT_TAGS, LIMIT_KEY, LIMIT_VALUE = 50, 128, 256
_ISSUER = re.compile(r"https://[\w.\[\]:-]{1,200}(?:/[\w.~%/-]*)?")
_IDENTITY = re.compile(r"[\w+=,.@-]{2,64}")
_NO_KEY = (
    "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity "
    "documentation for requirements"
)


@operation("AssumeRoleWithWebIdentity")
async def assume_role_with_web_identity(call: Call) -> dict[str, Any]:
    """AWS: sts AssumeRoleWithWebIdentity; 900 s to what the role allows, 1 h if unsaid. InvalidIdentityToken, ExpiredTokenException,
    IDPCommunicationError (400), AccessDenied (403). Unasked."""
    params = call.params
    found = ROLE_ARN.fullmatch(params["RoleArn"])
    if found is None:
        raise AwsError("ValidationError", f"{params['RoleArn']} is invalid")
    if not call.known.answers("iam"):
        text = "Identity providers are IAM's, which is not answered here (setting neighbours)."
        raise AwsError("NotImplemented", text, status=501)
    account, _, role = found.groups()
    token = read_token(params["WebIdentityToken"])
    if token is None or params.get("ProviderId"):
        raise _invalid("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
    provider_arn, audience = await _vouched(call, token, account)
    session = _session_of(token, params["RoleSessionName"])
    size = packed_size({**params, **session})
    seconds = int(params.get("DurationSeconds", UNSAID_S))
    asking = _asking(call, account, token, audience, provider_arn, session)
    actions = ["sts:AssumeRoleWithWebIdentity"]
    actions += ["sts:TagSession"] if session.get("Tags") else []
    actions += ["sts:SetSourceIdentity"] if session.get("SourceIdentity") else []
    id_ = judged_role(call, account, role, asking, actions, seconds, _denied)
    name = session["RoleSessionName"]
    arn, user_id = f"arn:{call.partition}:sts::{account}:assumed-role/{role}/{name}", f"{id_}:{name}"
    identity = session.get("SourceIdentity", "")
    more = {"role_arn": found.group(0), "source_identity": identity, "transitive": transitive_tags(session, None)}
    return {
        "Credentials": await issue(call, account, arn, user_id, float(seconds), **more),
        "SubjectFromWebIdentityToken": token.text("sub"),
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn},
        "Provider": provider_arn,
        "Audience": audience,
        **({} if size is None else {"PackedPolicySize": size}),
        **({"SourceIdentity": identity} if identity else {}),
    }


async def _vouched(call: Call, token: WebToken, account: str) -> tuple[str, str]:
    """The ARN of the provider whose token it really is, and for whom it was made."""
    issuer = token.text("iss")
    if not _ISSUER.fullmatch(issuer) or len(issuer) > 255:
        raise _invalid("Issuer must be a valid URL")
    arn = f"{call.params['RoleArn'].partition(':role/')[0]}:oidc-provider/{issuer.removeprefix('https://')}"
    try:
        provider = call.known.answer(
            "iam", "GetOpenIDConnectProvider", account, call.region, OpenIDConnectProviderArn=arn
        )
    except NeighbourRefused as refused:
        raise _invalid(f"No OpenIDConnect provider found in your account for {issuer}") from refused
    meant = (token.text("azp"),) if token.text("azp") else token.audiences
    audience = next((one for one in meant if one in provider.get("ClientIDList", ())), "")
    if not audience:
        raise _invalid("Incorrect token audience")
    judged = is_signed_by(token, await _keys(call, issuer, tuple(provider.get("ThumbprintList", ()))))
    if not judged:
        raise _invalid(_NO_KEY if judged is None else "The provided token's signature is not valid")
    _check_times(token, call.now)
    if not token.text("sub"):
        raise _invalid("Missing a required claim: sub")
    return arn, audience


async def _keys(call: Call, issuer: str, thumbprints: tuple[str, ...]) -> dict[str, Any]:
    """Machines of the cloud do not have the daemon connect anywhere."""
    keys = await call.issuers.keys(issuer)
    try:
        if keys is None and not call.guest:
            keys = await fetch_keys(issuer, thumbprints, call.settings.pool)
    except Unreachable as error:
        text = "Identity provider could not be reached to verify the incoming identity token."
        raise AwsError("IDPCommunicationError", text, status=400) from error
    if keys is None:
        raise _invalid(_NO_KEY)
    return keys


def _check_times(token: WebToken, now: float) -> None:
    ends, begins = token.seconds("exp"), token.seconds("nbf")
    for name in ("exp", "iat"):
        if token.seconds(name) is None:
            raise _invalid(f"Missing a required claim: {name}")
    if ends is not None and now >= ends:
        text = f"Token expired: current date/time {int(now)} must be before the expiration date/time {int(ends)}"
        raise AwsError("ExpiredTokenException", text, status=400)
    if begins is not None and now < begins:
        raise _invalid(f"Token is not valid before {int(begins)}")


def _session_of(token: WebToken, name: str) -> dict[str, Any]:
    """What the token says of the session, as AssumeRole's parameters say it."""
    session: dict[str, Any] = {"RoleSessionName": name}
    identity = token.claims.get(SOURCE_IDENTITY)
    if identity is not None:
        if not isinstance(identity, str) or not _IDENTITY.fullmatch(identity):
            raise _invalid("The source identity of the token is none")
        session["SourceIdentity"] = identity
    told = token.claims.get(TAGS)
    if told is None:
        return session
    tags = told.get("principal_tags") if isinstance(told, dict) else None
    if not isinstance(tags, dict) or len(tags) > LIMIT_TAGS:
        raise _invalid("The session tags of the token are none")
    session["Tags"] = [{"Key": key, "Value": _tag(key, value)} for key, value in tags.items()]
    transitive = told.get("transitive_tag_keys") or []
    if not isinstance(transitive, list) or not all(isinstance(one, str) for one in transitive):
        raise _invalid("The session tags of the token are none")
    session["TransitiveTagKeys"] = transitive
    return session


def _tag(key: str, value: Any) -> str:
    """Values stand in lists of one."""
    text = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(text, str) or not 0 < len(key) <= LIMIT_KEY or len(text) > LIMIT_VALUE:
        raise _invalid("The session tags of the token are none")
    return text


def _asking(call: Call, account: str, token: WebToken, audience: str, provider: str, session: dict[str, Any]) -> Asking:
    """AWS: "IAM and AWS STS condition context keys", OIDC federation: `aud` is whom the token was made for, `oaud` its audience where that is
    another."""
    name = provider.partition("/")[2].lower()
    amr = token.claims.get("amr")
    context = {
        **context_of(call, session),
        **dict.fromkeys(("sts:externalid", "aws:principalarn", "aws:principalaccount", "aws:username", "aws:userid")),
        "aws:federatedprovider": provider,
        f"{name}:aud": audience,
        f"{name}:sub": token.text("sub"),
        f"{name}:amr": [one for one in amr if isinstance(one, str)] if isinstance(amr, list) else None,
        f"{name}:oaud": list(token.audiences) if token.text("azp") else None,
    }
    return Asking(account, frozenset(), {key: values(value) for key, value in context.items()}, provider)


def _denied(action: str) -> AwsError:
    return AwsError("AccessDenied", f"Not authorized to perform {action}", status=403)


def _invalid(text: str) -> AwsError:
    return AwsError("InvalidIdentityToken", text, status=400)
