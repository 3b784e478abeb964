"""Certificates from elsewhere: ImportCertificate, also again over one that was imported; and DeleteCertificate, of any."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from gureum.aws.acm.certificates import (
    Certificate,
    CertificateSpec,
    CertificateStatus,
    Material,
    arn_of,
    changed,
    found,
    kinds_of_users,
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
    """AWS: acm ImportCertificate. ValidationException for what is no certificate, no key, or not each other's, and for what may not take another's
    place; LimitExceededException."""
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
    if before is not None:
        _check_again(before.spec, kept, names)
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


def _check_again(before: CertificateSpec, given: Material, names: tuple[str, ...]) -> None:
    """AWS: "Reimport a certificate": names come and go, but not all of them go; key type and size stay; usages may be added, and only the two that
    authorities have stopped to write may be left out. So a key that listeners serve stays one that they serve."""
    kept = before.imported
    assert kept is not None, "it was looked for"
    if given.key_algorithm != kept.key_algorithm:
        text = f"The key type and size cannot be changed: {kept.key_algorithm} to {given.key_algorithm}."
        raise AwsError("ValidationException", text)
    if given.weakness and not kept.weakness:
        raise AwsError("ValidationException", f"The certificate is not supported: {given.weakness}.")
    if before.names and not names:
        raise AwsError("ValidationException", "You cannot remove all of the domain names from a certificate.")
    missing = set(kept.key_usages) - set(given.key_usages)
    if given.key_algorithm.startswith("EC_"):
        missing.discard("KEY_ENCIPHERMENT")  # RFC 5480, section 3
    missing_extended = {oid for name, oid in kept.extended_usages if name != "TLS_WEB_CLIENT_AUTHENTICATION"}
    missing_extended -= {oid for _, oid in given.extended_usages}
    # Values are kept where there were any; an extension that was not there may come.
    for what, left_out in (("Key Usage", missing), ("Extended Key Usage", missing_extended)):
        if left_out:
            text = f"You cannot remove existing {what} values: {', '.join(sorted(left_out))}."
            raise AwsError("ValidationException", text)


def _first(names: tuple[str, ...]) -> str:
    return names[0] if names else ""
