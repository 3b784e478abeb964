"""Certificates from elsewhere: ImportCertificate, also again over one that was imported; and DeleteCertificate, of any."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from gureum.aws.acm.certificates import (
    NOT_SERVED,
    Certificate,
    CertificateSpec,
    CertificateStatus,
    arn_of,
    changed,
    found,
    kinds_of_users,
    not_built,
    users_of,
)
from gureum.aws.acm.materials import Imported, material, names_of
from gureum.aws.acm.tags import new_tags
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation

CERTIFICATES_PER_REGION = 2500
"""AWS: acm quotas."""


@operation("ImportCertificate")
async def import_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm ImportCertificate. ValidationException for what is no certificate, no key, or not each other's; LimitExceededException.
    NotImplemented for a key that nobody would serve, over a certificate that is in use."""
    params = call.params
    before = _imported_before(call) if "CertificateArn" in params else None
    if before is not None and params.get("Tags"):
        raise AwsError("ValidationException", "Tags cannot be given when a certificate is imported again.")
    tags = new_tags(call)
    if before is None and len(call.all(Certificate)) >= CERTIFICATES_PER_REGION:
        text = f"Cannot import more certificates than the limit of {CERTIFICATES_PER_REGION}."
        raise AwsError("LimitExceededException", text)
    body, key, chain = (bytes(params.get(name) or b"") for name in ("Certificate", "PrivateKey", "CertificateChain"))
    # In a thread: to check an RSA key takes tens of milliseconds.
    given = await asyncio.to_thread(Imported, body, key, chain, call.now)
    id_ = before.meta.name if before else str(uuid.uuid4())
    kept = material(id_, given.certificate, given.chain, given.key, call.sealer)
    names = names_of(given.certificate)
    transaction = call.transaction()
    if before is not None and kept.key_algorithm in NOT_SERVED:
        if users_of(call, before):
            raise not_built(f"a certificate in use whose key is {kept.key_algorithm}")
        for kind in kinds_of_users(call):
            transaction.require_no_newer(kind.type, call.scope)
    if before is not None:
        again = changed(before, domain=_first(names), names=names, imported=kept, imported_at=call.now)
        transaction.update(again)
    else:
        spec = CertificateSpec(_first(names), names, kept, call.now, kept.key_algorithm)
        before = Certificate(meta=call.meta(id_, tags=tags), spec=spec, status=CertificateStatus("ISSUED"))
        transaction.create(before)
    await call.commit(transaction)
    return {"CertificateArn": arn_of(before)}


@operation("DeleteCertificate")
async def delete_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm DeleteCertificate. ResourceInUseException while a listener uses it."""
    certificate = found(call)
    if users_of(call, certificate):
        text = f"Certificate {arn_of(certificate)} in account {call.account} is in use."
        raise AwsError("ResourceInUseException", text)
    transaction = call.transaction()
    for kind in kinds_of_users(call):
        transaction.require_no_newer(kind.type, call.scope)
    transaction.delete(certificate)
    await call.commit(transaction)
    return {}


def _imported_before(call: Call) -> Certificate:
    certificate = found(call)
    if certificate.spec.imported is None:
        text = f"Certificate {arn_of(certificate)} was not imported, and cannot be imported again."
        raise AwsError("ValidationException", text)
    return certificate


def _first(names: tuple[str, ...]) -> str:
    return names[0] if names else ""
