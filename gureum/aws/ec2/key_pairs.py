"""Key pairs: made here or imported; the private key is handed out once and never kept. AWS: ec2 CreateKeyPair, ImportKeyPair …"""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.engine.resource import Resource, kind


class KeyPairSpec(msgspec.Struct, frozen=True):
    """`public_key`: OpenSSH form "ssh-ed25519 AAAA… name"."""

    key_name: str
    key_type: str
    fingerprint: str
    public_key: str


@kind("ec2.KeyPair", indexes={"name": lambda pair: pair.spec.key_name})
class KeyPair(Resource, frozen=True):
    """Its name in the store is the key pair id."""

    spec: KeyPairSpec


def find_key_pair(call: Call, key_name: str) -> KeyPair:
    """AWS: InvalidKeyPair.NotFound."""
    found = call.by(KeyPair, "name", key_name)
    if not found:
        raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    return found[0]
