"""Tags of certificates. AWS: acm AddTagsToCertificate and its relatives, TagResource (the newer names of the same)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.acm.certificates import Certificate, found
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation

LIMIT_TAGS = 50


@operation("AddTagsToCertificate")
async def add_tags_to_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm AddTagsToCertificate. InvalidTagException, TooManyTagsException."""
    return await _add(call, found(call), "TooManyTagsException")


@operation("TagResource")
async def tag_resource(call: Call) -> dict[str, Any]:
    """AWS: acm TagResource."""
    return await _add(call, found(call, "ResourceArn"), "ServiceQuotaExceededException")


@operation("RemoveTagsFromCertificate")
async def remove_tags_from_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm RemoveTagsFromCertificate: by key, and where a value is given only with that value."""
    certificate = found(call)
    _check_reserved((one["Key"] for one in call.params["Tags"]), "InvalidTagException")
    had = certificate.meta.tags
    gone = {one["Key"] for one in call.params["Tags"] if one.get("Value", had.get(one["Key"])) == had.get(one["Key"])}
    return await _put(call, certificate, {key: value for key, value in had.items() if key not in gone})


@operation("UntagResource")
async def untag_resource(call: Call) -> dict[str, Any]:
    """AWS: acm UntagResource."""
    certificate = found(call, "ResourceArn")
    keys = set(call.params["TagKeys"])
    _check_reserved(keys, "ValidationException")
    return await _put(
        call, certificate, {key: value for key, value in certificate.meta.tags.items() if key not in keys}
    )


@operation("ListTagsForCertificate")
def list_tags_for_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm ListTagsForCertificate."""
    return {"Tags": _show(found(call).meta.tags)}


@operation("ListTagsForResource")
def list_tags_for_resource(call: Call) -> dict[str, Any]:
    """AWS: acm ListTagsForResource."""
    return {"Tags": _show(found(call, "ResourceArn").meta.tags)}


def new_tags(call: Call) -> dict[str, str]:
    """Those of a call that makes a certificate. AWS: InvalidTagException, TooManyTagsException."""
    return _checked({}, call.params.get("Tags") or [], "TooManyTagsException")


async def _add(call: Call, certificate: Certificate, too_many: str) -> dict[str, Any]:
    return await _put(call, certificate, _checked(certificate.meta.tags, call.params["Tags"], too_many))


def _checked(had: dict[str, str], given: list[dict[str, str]], too_many: str) -> dict[str, str]:
    refusal = "InvalidTagException" if too_many == "TooManyTagsException" else "ValidationException"
    _check_reserved((one["Key"] for one in given), refusal)
    tags = {**had, **{one["Key"]: one.get("Value", "") for one in given}}
    if len(tags) > LIMIT_TAGS:
        raise AwsError(too_many, f"The request exceeds the limit of {LIMIT_TAGS} tags of a certificate.")
    return tags


def _check_reserved(keys: Iterable[str], code: str) -> None:
    for key in keys:
        if key.lower().startswith("aws:"):
            raise AwsError(code, f"AWS internal tags cannot be changed with this API: {key}")


async def _put(call: Call, certificate: Certificate, tags: dict[str, str]) -> dict[str, Any]:
    transaction = call.transaction()
    transaction.update(msgspec.structs.replace(certificate, meta=msgspec.structs.replace(certificate.meta, tags=tags)))
    await call.commit(transaction)
    return {}


def _show(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
