"""What a cluster is called by its tokens, and the keys that they are checked with outside of it. Pure.

Clusters have keys of their own and so names of their own: who trusts the tokens of one does not trust another's.
Source: Kubernetes, "Configure Service Accounts for Pods", Service account issuer discovery; RFC 7517.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT = "default"
_OTHERS = f"{ISSUER}/clusters/"
_SIZE = 32


def issuer_of(cluster: str) -> str:
    return ISSUER if cluster == DEFAULT else _OTHERS + cluster


def cluster_of(issuer: str) -> str | None:
    """The cluster that is called so, be there one or not; None for what is no cluster's name."""
    if issuer == ISSUER:
        return DEFAULT
    name = issuer.removeprefix(_OTHERS)
    return name if name not in (issuer, DEFAULT) else None


def openid_configuration(issuer: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


def key_id(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded(hashlib.sha256(public).digest())


def key_set(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """A JWK Set of the one key."""
    numbers = key.public_key().public_numbers()
    point = {name: encoded(getattr(numbers, name).to_bytes(_SIZE)) for name in ("x", "y")}
    return {"keys": [{"use": "sig", "kty": "EC", "kid": key_id(key), "crv": "P-256", "alg": "ES256", **point}]}


def encoded(content: bytes) -> str:
    """RFC 7515's base64url."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
