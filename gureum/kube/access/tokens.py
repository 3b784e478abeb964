"""Tokens of service accounts: JSON Web Tokens signed with the cluster's key (ES256), bound to an audience, a time, and the account's uid.

Source: Kubernetes, "Managing Service Accounts", "Configure Service Accounts for Pods"; RFC 7515, 7519.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gureum.kube.access.issuers import ISSUER, encoded, key_id, key_set
from gureum.kube.objects import Object, Objects
from gureum.kube.requests import User
from gureum.ports.clock import Clock

ACCOUNTS, SECRETS = "core/serviceaccounts", "core/secrets"
SECRET_ISSUER = "kubernetes/serviceaccount"
"""Of tokens that are kept in Secrets and do not end."""
TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_KEPT = "kubernetes.io/serviceaccount/"
SHORTEST_S, LONGEST_S = 600, 2**32
LIMIT_TOKEN = 8192
_SIZE = 32


class Tokens:
    """`key`: None makes a cluster without tokens (tests). `issuer`: what they say of who made them; tokens of before, when all clusters had one
    name, are good by their key."""

    def __init__(
        self, objects: Objects, key: ec.EllipticCurvePrivateKey | None, clock: Clock, issuer: str = ISSUER
    ) -> None:
        self.issuer = issuer
        self._objects = objects
        self._key = key
        self._clock = clock
        self._id = "" if key is None else key_id(key)

    @property
    def signs(self) -> bool:
        return self._key is not None

    def issue(
        self, account: Object, audiences: list[str], seconds: int, bound: Object | None = None
    ) -> tuple[str, float]:
        """A token and when it ends. `bound`: a pod, secret or node it ends with."""
        metadata = account["metadata"]
        now = int(self._clock.now())
        about: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound is not None:
            about[bound["kind"].lower()] = {"name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"]}
        claims: dict[str, Any] = {
            "aud": audiences or [self.issuer],
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": about,
            "nbf": now,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        }
        return self._sign(claims), float(now + seconds)

    def issue_kept(self, account: Object, secret: Object) -> str:
        """A token that is good for as long as the Secret holds it."""
        metadata = account["metadata"]
        about = {"namespace": metadata["namespace"], "secret.name": secret["metadata"]["name"]}
        about |= {"service-account.name": metadata["name"], "service-account.uid": metadata["uid"]}
        claims = {"iss": SECRET_ISSUER} | {f"{_KEPT}{name}": value for name, value in about.items()}
        return self._sign(claims | {"sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}"})

    def public_keys(self) -> dict[str, Any]:
        """What the tokens' signatures can be checked with (RFC 7517)."""
        return {"keys": []} if self._key is None else key_set(self._key)

    def user_of(self, token: str, audiences: tuple[str, ...] = ()) -> User | None:
        """Who the token is of, if it was made for one of `audiences` (unsaid: for this cluster); None when it is none of ours, has ended, or its
        account (or what it is bound to) is gone."""
        claims = self._verify(token)
        if claims is None:
            return None
        audiences = audiences or (self.issuer, ISSUER)
        if claims["iss"] == SECRET_ISSUER:
            return self._kept_by(claims, token, audiences)
        now = self._clock.now()
        meant = claims.get("aud") or []
        if not claims.get("nbf", 0) - 60 <= now < claims.get("exp", 0) or not set(meant) & set(audiences):
            return None
        about = claims["kubernetes.io"]
        namespace, account = about["namespace"], about["serviceaccount"]
        if not self._is_there(ACCOUNTS, namespace, account):
            return None
        for kind, storage, place in (("pod", "core/pods", namespace), ("secret", "core/secrets", namespace)):
            if kind in about and not self._is_there(storage, place, about[kind]):
                return None
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
        if "pod" in about:
            extra["authentication.kubernetes.io/pod-name"] = [about["pod"]["name"]]
            extra["authentication.kubernetes.io/pod-uid"] = [about["pod"]["uid"]]
        return _user(namespace, account["name"], account["uid"], extra)

    def _kept_by(self, claims: dict[str, Any], token: str, audiences: tuple[str, ...]) -> User | None:
        about = [str(claims.get(f"{_KEPT}{name}")) for name in ("namespace", "service-account.name", "secret.name")]
        namespace, name, secret_name = about
        uid = str(claims.get(f"{_KEPT}service-account.uid"))
        secret = self._objects.get(SECRETS, namespace, secret_name)
        kept = ((secret or {}).get("data") or {}).get("token", "")
        known = self._is_there(ACCOUNTS, namespace, {"name": name, "uid": uid})
        if not {self.issuer, ISSUER} & set(audiences) or not known or kept != base64.b64encode(token.encode()).decode():
            return None
        return _user(namespace, name, uid, {})

    def _is_there(self, storage: str, namespace: str, who: dict[str, str]) -> bool:
        obj = self._objects.get(storage, namespace, who["name"])
        return obj is not None and obj["metadata"]["uid"] == who["uid"]

    def _sign(self, claims: dict[str, Any]) -> str:
        assert self._key is not None
        head = encoded(msgspec.json.encode({"alg": "ES256", "kid": self._id}))
        text = f"{head}.{encoded(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{encoded(r.to_bytes(_SIZE) + s.to_bytes(_SIZE))}"

    def _verify(self, token: str) -> dict[str, Any] | None:
        if self._key is None or len(token) > LIMIT_TOKEN:
            return None
        head, _, rest = token.partition(".")
        body, _, signature = rest.partition(".")
        try:
            raw = _decode(signature)
            if len(raw) != 2 * _SIZE or msgspec.json.decode(_decode(head)).get("alg") != "ES256":
                return None
            pair = encode_dss_signature(int.from_bytes(raw[:_SIZE]), int.from_bytes(raw[_SIZE:]))
            self._key.public_key().verify(pair, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            claims: dict[str, Any] = msgspec.json.decode(_decode(body))
        except (InvalidSignature, binascii.Error, ValueError, AttributeError):
            return None
        return claims if claims.get("iss") in (self.issuer, ISSUER, SECRET_ISSUER) else None


def _user(namespace: str, name: str, uid: str, extra: dict[str, list[str]]) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra)


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
