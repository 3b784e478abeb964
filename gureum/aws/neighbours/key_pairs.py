"""Key pairs of KMS: made once, and only where AWS has one. moto makes one of RSA with each key, also with those that encrypt: up to a tenth of a
second a key, and again when the journal is played. A call that is made again gets the key that the journal holds.

AWS: KMS GetPublicKey, UnsupportedOperationException.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey as Rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from moto.core.exceptions import JsonRESTError
from moto.kms import models
from moto.kms.models import KmsBackend
from moto.kms.utils import KeySpec, RSAPrivateKey

_MAKE = vars(models)["generate_private_key"]
_PUBLIC = KmsBackend.get_public_key
_given: list[bytes] = []
"""Those that the call about to be made again will want; one thread makes calls (backends.py)."""


class _NoPair(JsonRESTError):
    code = 400

    def __init__(self, text: str) -> None:
        super().__init__("UnsupportedOperationException", text)


def lead() -> None:
    """Idempotent."""
    setattr(models, "generate_private_key", _make)  # noqa: B010 - moto has no other way in
    setattr(KmsBackend, "get_public_key", _get_public_key)  # noqa: B010


def give(pairs: list[bytes]) -> None:
    """PKCS #8, for the next call alone."""
    _given[:] = pairs


def opened(pair: bytes) -> Any:
    """It was checked when it was made."""
    return load_der_private_key(pair, None, unsafe_skip_rsa_key_validation=True)


def _make(key_spec: str) -> Any:
    if key_spec not in (*KeySpec.rsa_key_specs(), *KeySpec.ecc_key_specs()):
        return None
    pair = opened(_given.pop(0)) if _given else None
    if not isinstance(pair, Rsa):
        return _MAKE(key_spec)  # of elliptic curves they cost nothing
    made = object.__new__(RSAPrivateKey)
    made.key_size, made.private_key = pair.key_size, pair
    return made


def _get_public_key(state: Any, key_id: str) -> Any:
    key = state.describe_key(key_id)
    if key.private_key is None:
        raise _NoPair(f"{key.arn} key spec is {key.key_spec} which is not valid for GetPublicKey.")
    return _PUBLIC(state, key_id)
