"""Who calls, and where: read off the request's signature (Signature Version 4, header or presigned).

An access key of 12 digits is that account; a key that STS handed out belongs to the account it was made for, one that IAM made to its user; any
other key is the default account's. Without a signature the caller is the default account in the default region.
AWS: Signature Version 4 signing process.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import secrets
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.partitions import partition_of
from gureum.aws.protocols import Request, Scope, credential_scope
from gureum.aws.signatures import verify_signature
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.engine.client import Client, Transaction
from gureum.engine.resource import Meta, Resource, kind

SCOPE = "-/-"
SWEPT_AFTER_S, SWEPT_AT_ONCE = 3600.0, 50
USER_KEY_PREFIX = "AKIA"
"""AWS: IAM identifiers, "Understanding unique ID prefixes"."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-\d{1,2}|aws-global")
_ACCOUNT = re.compile(r"\d{12}")


class SessionSpec(msgspec.Struct, frozen=True):
    """A key that STS handed out. `expires`: Unix seconds. `secret` is stored encrypted by the key outside the store, never logged. `role_arn`: of
    the role that was assumed, with its path. `source_identity` and `transitive` (tags: key and value) go on to roles that are assumed with it."""

    account: str
    arn: str
    user_id: str
    expires: float
    sealed_secret: str
    sealed_token: str
    role_arn: str = ""
    source_identity: str = ""
    transitive: tuple[tuple[str, str], ...] = ()


@kind("sts.Session", indexes={"account": lambda one: one.spec.account})
class Session(Resource, frozen=True):
    """Temporary credentials; the name is the access key id."""

    spec: SessionSpec


class Issued(msgspec.Struct, frozen=True):
    """Temporary credentials as their owner gets them. `expires`: Unix seconds."""

    access_key: str
    secret: str
    token: str
    expires: float


def new_session(
    client: Client,
    transaction: Transaction,
    sealer: Sealer,
    account: str,
    arn: str,
    user_id: str,
    now: float,
    seconds: float,
    **more: Any,
) -> Issued:
    """Temporary credentials of `account`, written with the transaction; some that have ended long ago go with it. `more`: further fields of
    their SessionSpec."""
    access_key = "ASIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
    secret, token = secrets.token_urlsafe(30)[:40], secrets.token_urlsafe(192)
    expires = float(int(now + seconds))
    spec = SessionSpec(
        account=account,
        arn=arn,
        user_id=user_id,
        expires=expires,
        sealed_secret=sealer.seal(secret, access_key),
        sealed_token=sealer.seal(token, f"{access_key}/token"),
        **more,
    )
    over = [one for one in client.all(Session, SCOPE) if one.spec.expires < now - SWEPT_AFTER_S]
    for old in over[:SWEPT_AT_ONCE]:
        transaction.delete(old)
    transaction.create(Session(meta=Meta(scope=SCOPE, name=access_key, uid=access_key, created=now), spec=spec))
    return Issued(access_key, secret, token, expires)


def role_id(arn: str) -> str:
    """For a role that IAM does not tell of: the same one has the same id, AROA and 17 characters made from its ARN."""
    digest = hashlib.sha256(arn.encode()).digest()
    return "AROA" + "".join(_ALPHABET[byte % 32] for byte in digest[:17])


class Principal(msgspec.Struct, frozen=True):
    """Who calls, as GetCallerIdentity tells it. `id`: "AIDA…" of a user, "AROA…:SESSION" of a role's session, the account's number of its root."""

    arn: str
    id: str


class UserKey(msgspec.Struct, frozen=True):
    """A key that IAM made for a user, as it is now. `state`: "Active", "Inactive", or "Deleted", of which nothing else is told."""

    state: str
    account: str = ""
    arn: str = ""
    user_id: str = ""
    secret: str = ""


class Proof(Protocol):
    """What a request has of who made it, where it is no signature of Version 4: S3's forms and its older addresses. `token`: of a session."""

    @property
    def access_key(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def region(self) -> str: ...
    def verify(self, secret: str, now: float) -> None:
        """AwsError where it was not made with `secret`, or is good no longer."""
        ...


class Caller(msgspec.Struct, frozen=True):
    """`access_key` "": the request was not signed. `session`: when the key is a temporary one; `user`: when it is an IAM user's. `guest`: a
    machine of the cloud called."""

    access_key: str
    account: str
    region: str
    session: Session | None = None
    guest: bool = False
    user: UserKey | None = None

    @property
    def principal(self) -> Principal:
        if self.session is not None:
            return Principal(self.session.spec.arn, self.session.spec.user_id)
        if self.user is not None:
            return Principal(self.user.arn, self.user.user_id)
        return _root_of(self.account, self.region)


@functools.lru_cache(maxsize=1024)
def _root_of(account: str, region: str) -> Principal:
    return Principal(f"arn:{partition_of(region)}:iam::{account}:root", account)


def anonymous(settings: Settings, *, guest: bool) -> Caller:
    """Who calls without a signature."""
    return Caller("", settings.default_account, settings.default_region, guest=guest)


def identify_caller(
    request: Request,
    settings: Settings,
    client: Client,
    sealer: Sealer,
    *,
    guest: bool = False,
    user: UserKey | None = None,
    proof: Proof | None = None,
) -> Caller:
    """AWS: IncompleteSignature when there is an Authorization header that is none; ExpiredToken for a session that has ended;
    InvalidClientTokenId for a key that IAM has deleted or turned off. `guest`: who calls is a machine of the cloud, which everybody's key would
    make anybody: only keys that STS handed out or IAM made are good, whatever the settings say. `user`: what IAM tells of the key. `proof`:
    what stands for a signature."""
    scope = credential_scope(request) or _scope_of(proof, settings)
    verify = guest or settings.verify_signatures
    if scope is None:
        if verify:
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
        return anonymous(settings, guest=guest)
    if _REGION.fullmatch(scope.region) is None:
        text = f"Credential should be scoped to a valid region, not '{scope.region[:40]}'."
        raise AwsError("SignatureDoesNotMatch", text, status=403)
    access_key = scope.access_key
    session = client.get(Session, SCOPE, access_key)
    if session is not None and session.spec.expires < client.clock.now():
        raise AwsError("ExpiredToken", "The security token included in the request is expired", status=403)
    if (guest and session is None and user is None) or (user is not None and user.state != "Active"):
        raise _invalid_token()
    known = session.spec.account if session else user.account if user else ""
    account = known or (access_key if _ACCOUNT.fullmatch(access_key) else settings.default_account)
    caller = Caller(access_key, account, scope.region, session, guest, user)
    if verify:
        own = _secret_of(request, session, sealer, proof) if session else user.secret if user else settings.secret_key
        if proof is None:
            verify_signature(request, own, client.clock.now())
        else:
            proof.verify(own, client.clock.now())
    return caller


def _scope_of(proof: Proof | None, settings: Settings) -> Scope | None:
    return None if proof is None else Scope(proof.access_key, "", proof.region or settings.default_region, "s3")


def _secret_of(request: Request, session: Session, sealer: Sealer, proof: Proof | None) -> str:
    """The session's secret, when the request carries its token. AWS: InvalidClientTokenId."""
    key = session.meta.name
    query = parse_qs(request.query)
    sent = request.headers.get("x-amz-security-token") or query.get("X-Amz-Security-Token", [""])[0]
    sent = sent if proof is None else proof.token
    if not hmac.compare_digest(sent.encode(), sealer.open(session.spec.sealed_token, f"{key}/token").encode()):
        raise _invalid_token()
    return sealer.open(session.spec.sealed_secret, key)


def _invalid_token() -> AwsError:
    return AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", status=403)


def check_guest_key(request: Request, client: Client, service: str = "", user: UserKey | None = None) -> None:
    """What can be told of a guest's request by its head alone: that its key is one that STS handed out or IAM made, and that it is signed for
    `service`, if that is named. Raises as `identify_caller`."""
    scope = credential_scope(request)
    if scope is None:
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
    if service and scope.signing_name != service:
        text = f"Credential should be scoped to correct service: '{service}'."
        raise AwsError("SignatureDoesNotMatch", text, status=403)
    if client.get(Session, SCOPE, scope.access_key) is None and (user is None or user.state != "Active"):
        raise _invalid_token()
