"""Key pairs: made here or imported; the private key is handed out once and never kept.

CreateKeyPair ─► private key in the answer, public key stored     ImportKeyPair ─► public key stored
RunInstances copies the public key into the instance: deleting the pair later changes no instance.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instance_ids import KEY_PAIR
from gureum.aws.ec2.instances.ssh_keys import (
    LIMIT_MATERIAL_BYTES,
    KeyFormat,
    KeyType,
    NotAPublicKey,
    imported_fingerprint,
    make_key,
    read_public_key,
    render_openssh,
)
from gureum.aws.ec2.listing import show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.resource import Resource, key_of, kind

LIMIT_NAME = 255
LIMIT_PAIRS = 5000


class KeyPairSpec(msgspec.Struct, frozen=True):
    """`public_key`: OpenSSH form "ssh-ed25519 AAAA… name"."""

    key_name: str
    key_type: KeyType
    fingerprint: str
    public_key: str


@kind("ec2.KeyPair", indexes={"name": lambda pair: pair.spec.key_name})
class KeyPair(Resource, frozen=True):
    """Its name in the store is the key pair id. The claim "key-name/<scope>" keeps key names unique."""

    spec: KeyPairSpec


@operation("CreateKeyPair")
async def create_key_pair(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateKeyPair: RSA of 2048 bits or Ed25519, as PEM or for PuTTY (PPK)."""
    name = _new_name(call)
    key_type = cast(KeyType, ids.choice(call.params, "KeyType", "rsa", "ed25519"))
    key_format = cast(KeyFormat, ids.choice(call.params, "KeyFormat", "pem", "ppk"))
    tags = tags_of(call, "key-pair")
    call.end_dry_run()
    key = await asyncio.to_thread(make_key, key_type, key_format, name)
    pair = await _keep(call, KeyPairSpec(name, key_type, key.fingerprint, f"{key.public_key} {name}"), tags)
    return _show_made(pair) | {"KeyMaterial": key.material}


@operation("ImportKeyPair")
async def import_key_pair(call: Call) -> dict[str, Any]:
    """AWS: ec2 ImportKeyPair: the public key in OpenSSH form, as base64 DER, or as RFC 4716."""
    name = _new_name(call)
    material = call.params["PublicKeyMaterial"]
    data = material.encode() if isinstance(material, str) else bytes(material)
    if len(data) > LIMIT_MATERIAL_BYTES:
        text = f"Value for parameter PublicKeyMaterial is invalid. Length exceeds maximum of {LIMIT_MATERIAL_BYTES}."
        raise AwsError("InvalidParameterValue", text)
    try:
        key = read_public_key(data)
    except NotAPublicKey as error:
        raise AwsError("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from error
    key_type: KeyType = "rsa" if isinstance(key, RSAPublicKey) else "ed25519"
    spec = KeyPairSpec(name, key_type, imported_fingerprint(key), f"{render_openssh(key)} {name}")
    return _show_made(await _keep(call, spec, tags_of(call, "key-pair")))


@operation("DeleteKeyPair")
async def delete_key_pair(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteKeyPair, by name or id; one that is not there is success."""
    name, id_ = call.params.get("KeyName"), call.params.get("KeyPairId")
    if not name and not id_:
        raise AwsError("MissingParameter", "The request must contain the parameter KeyName or KeyPairId")
    if id_:
        found = call.get(KeyPair, ids.check_id(KEY_PAIR, id_))
    else:
        found = next(iter(call.by(KeyPair, "name", str(name))), None)
    if found is None:
        return {"Return": True}
    transaction = call.transaction()
    transaction.delete(found)
    transaction.release(_name_space(call), _name_claim(found.spec.key_name))
    await call.commit(transaction)
    return {"Return": True, "KeyPairId": found.meta.name}


@operation("DescribeKeyPairs")
def describe_key_pairs(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeKeyPairs, by names or ids; the public key only with IncludePublicKey."""
    found = apply_filters(_wanted(call), call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    with_key = bool(call.params.get("IncludePublicKey"))
    return {"KeyPairs": [_show(pair, with_key=with_key) for pair in sorted(found, key=lambda one: one.spec.key_name)]}


def find_key_pair(call: Call, key_name: str) -> KeyPair:
    """AWS: InvalidKeyPair.NotFound."""
    found = call.by(KeyPair, "name", key_name)
    if not found:
        raise AwsError("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    return found[0]


def _wanted(call: Call) -> list[KeyPair]:
    names, pair_ids = call.params.get("KeyNames") or (), call.params.get("KeyPairIds") or ()
    if not names and not pair_ids:
        return call.all(KeyPair)
    named = [find_key_pair(call, name) for name in names]
    listed = ids.find_all(call, KeyPair, KEY_PAIR, pair_ids)
    return list({pair.meta.name: pair for pair in (*named, *listed)}.values())


_FILTERS: FilterTable = {
    "fingerprint": lambda pair: pair.spec.fingerprint,
    "key-name": lambda pair: pair.spec.key_name,
    "key-pair-id": lambda pair: pair.meta.name,
    "key-type": lambda pair: pair.spec.key_type,
}


async def _keep(call: Call, spec: KeyPairSpec, tags: dict[str, str]) -> KeyPair:
    if len(call.all(KeyPair)) >= LIMIT_PAIRS:
        raise AwsError("KeyPairLimitExceeded", "The maximum number of key pairs has been reached.")
    transaction = call.transaction()
    pair = transaction.create(KeyPair(meta=call.meta(new_id("key-"), tags=tags), spec=spec))
    transaction.claim(_name_space(call), _name_claim(spec.key_name), key_of(pair))
    await call.commit(transaction)
    return pair


def _new_name(call: Call) -> str:
    """AWS: up to 255 ASCII characters, no white space around them; InvalidKeyPair.Duplicate."""
    name = str(call.params.get("KeyName") or "")
    if not name:
        raise ids.missing("KeyName")
    if len(name) > LIMIT_NAME or not name.isascii() or not name.isprintable() or name != name.strip():
        text = f"Value for parameter KeyName is invalid. It must be up to {LIMIT_NAME} ASCII characters without leading or trailing spaces."
        raise AwsError("InvalidParameterValue", text)
    if call.by(KeyPair, "name", name):
        raise AwsError("InvalidKeyPair.Duplicate", "The keypair already exists")
    return name


def _name_space(call: Call) -> str:
    return f"key-name/{call.scope}"


def _name_claim(name: str) -> str:
    # Claims must not hold a "/", key names may.
    return hashlib.sha256(name.encode()).hexdigest()


def _show_made(pair: KeyPair) -> dict[str, Any]:
    return {
        "KeyPairId": pair.meta.name,
        "KeyName": pair.spec.key_name,
        "KeyFingerprint": pair.spec.fingerprint,
        "Tags": show_tags(pair.meta.tags),
    }


def _show(pair: KeyPair, *, with_key: bool) -> dict[str, Any]:
    """API form. AWS: ec2 KeyPairInfo."""
    shown = _show_made(pair) | {"KeyType": pair.spec.key_type, "CreateTime": pair.meta.created}
    return shown | ({"PublicKey": pair.spec.public_key} if with_key else {})
