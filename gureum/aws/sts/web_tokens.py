"""JSON Web Tokens of identity providers: read, and checked with the provider's keys. Pure.

RFC 7515, 7517, 7518, 7519; AWS: IAM user guide, "Create an OpenID Connect (OIDC) identity provider" (algorithms and number of keys).
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

LIMIT_KEYS = 100
"""Of one kind."""
LIMIT_SECONDS = 1 << 53
RSA_BITS = range(1024, 8193)
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES: dict[str, tuple[str, ec.EllipticCurve, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), 32),
    "ES384": ("P-384", ec.SECP384R1(), 48),
    "ES512": ("P-521", ec.SECP521R1(), 66),
}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


class WebToken(msgspec.Struct, frozen=True):
    """`signed`: what the signature is of. Nothing of it is true before `is_signed_by`."""

    head: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    def text(self, name: str) -> str:
        """The claim, "" where it is none or no text."""
        found = self.claims.get(name)
        return found if isinstance(found, str) else ""

    def seconds(self, name: str) -> float | None:
        """A claim that is a time (RFC 7519 NumericDate); None where it is none."""
        found = self.claims.get(name)
        if not isinstance(found, int | float) or isinstance(found, bool) or abs(found) > LIMIT_SECONDS:
            return None
        return float(found)

    @property
    def audiences(self) -> tuple[str, ...]:
        found = self.claims.get("aud")
        several = found if isinstance(found, list) else [found]
        return tuple(one for one in several if isinstance(one, str))


def read_token(text: str) -> WebToken | None:
    """None where it is no signed token in the compact form."""
    parts = text.split(".")
    if len(parts) != 3 or not all(_BASE64URL.fullmatch(one) for one in parts):
        return None
    try:
        head, claims = msgspec.json.decode(_bytes(parts[0])), msgspec.json.decode(_bytes(parts[1]))
        signature = _bytes(parts[2])
    except (ValueError, RecursionError):
        return None
    if not isinstance(head, dict) or not isinstance(claims, dict) or "crit" in head:
        return None
    return WebToken(head, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def is_signed_by(token: WebToken, keys: dict[str, Any]) -> bool | None:
    """Whether one of the keys (a JWK Set) made the signature; None where none of them could have: there is none of that name and kind."""
    algorithm = token.head.get("alg")
    kind = {"RS": "RSA", "ES": "EC"}.get(str(algorithm)[:2], "")
    if not isinstance(algorithm, str) or not kind or algorithm[2:] not in _HASHES:
        return None
    several = keys.get("keys")
    fitting = [one for one in several if isinstance(one, dict)] if isinstance(several, list) else []
    fitting = [one for one in fitting if one.get("kty") == kind and one.get("use", "sig") == "sig"]
    if (name := token.head.get("kid")) is not None:
        fitting = [one for one in fitting if one.get("kid") == name]
    judged = [_verify(token, algorithm, one) for one in fitting[:LIMIT_KEYS]]
    return True in judged if any(one is not None for one in judged) else None


def _verify(token: WebToken, algorithm: str, key: dict[str, Any]) -> bool | None:
    """None: the key is none of this algorithm's."""
    if key.get("alg", algorithm) != algorithm:
        return None
    digest = _HASHES[algorithm[2:]]
    try:
        if algorithm.startswith("RS"):
            numbers = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"]))
            if numbers.n.bit_length() not in RSA_BITS:
                return None
            numbers.public_key().verify(token.signature, token.signed, padding.PKCS1v15(), digest)
            return True
        curve, made, size = _CURVES[algorithm]
        if key.get("crv") != curve:
            return None
        point = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), made).public_key()
        if len(token.signature) != 2 * size:
            return False
        pair = int.from_bytes(token.signature[:size]), int.from_bytes(token.signature[size:])
        point.verify(encode_dss_signature(*pair), token.signed, ec.ECDSA(digest))
        return True
    except InvalidSignature:
        return False
    except (KeyError, TypeError, ValueError, AttributeError, UnsupportedAlgorithm):
        return None


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
