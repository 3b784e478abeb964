"""How certificates are shown: DescribeCertificate, GetCertificate, ListCertificates, ExportCertificate."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec

from gureum.aws.acm.certificates import Certificate, Material, arn_of, found, users_of
from gureum.aws.acm.materials import encrypted_key
from gureum.aws.acm.requests import check_issued, is_renewable
from gureum.aws.acm.users import arns_of_users
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.aws.paging import page

DEFAULT_KEY_TYPES = ("RSA_1024", "RSA_2048")
"""AWS: "default filtering returns only RSA_1024 and RSA_2048 certificates that have at least one domain"."""
WILL_SIGN = {"Issuer": "gureum", "SignatureAlgorithm": "SHA256WITHECDSA"}
"""Told of what is requested before it is issued, too, as AWS tells "Amazon" (LocalStack's recording test_domain_validation): the home's authority."""
LIMIT_PAGE = 1000
LIMIT_SUMMARY_NAMES = 100
_MAILBOXES = ("admin", "administrator", "hostmaster", "postmaster", "webmaster")
_PASSPHRASE_NOT = b"#$%"


@operation("DescribeCertificate")
def describe_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm DescribeCertificate."""
    certificate = found(call)
    return {"Certificate": _show(call, certificate)}


@operation("GetCertificate")
def get_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm GetCertificate. RequestInProgressException before it is issued."""
    certificate = found(call)
    check_issued(certificate)
    return _pems(certificate)


@operation("ExportCertificate")
async def export_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm ExportCertificate, of one that was requested with Options.Export. The key is encrypted with the passphrase."""
    certificate, passphrase = found(call), bytes(call.params["Passphrase"])
    check_issued(certificate)
    if certificate.spec.imported or not certificate.spec.export:
        raise AwsError("ValidationException", f"Certificate {arn_of(certificate)} is not exportable.")
    if any(one in _PASSPHRASE_NOT for one in passphrase):
        raise AwsError("ValidationException", "The passphrase must not contain the characters #, $, or %.")
    material = certificate.material
    assert material is not None
    key = call.sealer.open(material.sealed_key, material.name)
    encrypted = await asyncio.to_thread(encrypted_key, key, passphrase)
    if not certificate.status.exported:
        status = msgspec.structs.replace(certificate.status, exported=True)
        transaction = call.transaction()
        transaction.update(msgspec.structs.replace(certificate, status=status))
        await call.commit(transaction)
    return _pems(certificate) | {"PrivateKey": encrypted}


@operation("ListCertificates")
def list_certificates(call: Call) -> dict[str, Any]:
    """AWS: acm ListCertificates. InvalidArgsException."""
    params = call.params
    if ("SortBy" in params) != ("SortOrder" in params):
        raise AwsError("InvalidArgsException", "SortBy and SortOrder must be given together.")
    chosen = [one for one in call.all(Certificate) if _passes(call, one)]
    descending = params.get("SortOrder") == "DESCENDING"

    def key(one: Certificate) -> str:
        created = one.meta.created
        return f"{10**12 - created if descending else created:020.6f}/{one.meta.name}"

    try:
        shown, token = page(params, chosen, key, limit_name="MaxItems", least=1, most=LIMIT_PAGE, default=LIMIT_PAGE)
    except AwsError as error:
        raise AwsError("InvalidArgsException", "The NextToken is not valid.") from error
    result: dict[str, Any] = {"CertificateSummaryList": [_summary(call, one) for one in shown]}
    return result | ({"NextToken": token} if token else {})


def _passes(call: Call, certificate: Certificate) -> bool:
    params, includes, material = call.params, call.params.get("Includes") or {}, certificate.material
    statuses, origins = params.get("CertificateStatuses"), params.get("CertificateKeyPairOrigins")
    if statuses and _state(certificate, call.now) not in statuses:
        return False
    if origins and _origin(certificate) not in origins:
        return False
    if _algorithm(certificate) not in (includes.get("keyTypes") or DEFAULT_KEY_TYPES):
        return False
    if not certificate.spec.domain and not includes.get("keyTypes"):
        return False
    if "exportOption" in includes and includes["exportOption"] != _enabled(certificate.spec.export):
        return False
    if "managedBy" in includes:  # CloudFront's: there are none
        return False
    usages = set(_key_usages(material))
    extended = {one["Name"] for one in _extended_usages(material)}
    return usages.issuperset(_wanted(includes.get("keyUsage"))) and extended.issuperset(
        _wanted(includes.get("extendedKeyUsage"))
    )


def _wanted(names: list[str] | None) -> set[str]:
    return set(names or ()) - {"ANY"}


def _show(call: Call, certificate: Certificate) -> dict[str, Any]:
    spec, status, material = certificate.spec, certificate.status, certificate.material
    shown: dict[str, Any] = {
        "CertificateArn": arn_of(certificate),
        "DomainName": spec.domain,
        "SubjectAlternativeNames": list(spec.names),
        "Subject": material.subject if material else f"CN={spec.domain}",
        "CreatedAt": certificate.meta.created,
        "Status": _state(certificate, call.now),
        "KeyAlgorithm": _shown_algorithm(certificate),
        "InUseBy": arns_of_users(call, users_of(call, certificate)),
        "Type": "IMPORTED" if spec.imported else "AMAZON_ISSUED",
        "RenewalEligibility": "ELIGIBLE" if is_renewable(call, certificate) else "INELIGIBLE",
        "CertificateKeyPairOrigin": _origin(certificate),
        "Options": {"CertificateTransparencyLoggingPreference": _enabled(spec.transparency and not spec.imported)},
        "KeyUsages": [{"Name": name} for name in _key_usages(material)],
        "ExtendedKeyUsages": _extended_usages(material),
    }
    if material is not None:
        shown |= _show_material(material)
    if spec.imported:
        domains = [{"DomainName": name} for name in spec.names]
        return shown | {"ImportedAt": spec.imported_at, "DomainValidationOptions": domains}
    shown = WILL_SIGN | shown
    shown["Options"]["Export"] = _enabled(spec.export)
    shown["DomainValidationOptions"] = _validations(certificate)
    if material is not None:
        shown["IssuedAt"] = status.issued_at
    if status.failure:
        shown["FailureReason"] = status.failure
    return shown | _renewal(certificate)


def _show_material(material: Material) -> dict[str, Any]:
    return {
        "Serial": material.serial,
        "Issuer": material.issuer,
        "NotBefore": material.not_before,
        "NotAfter": material.not_after,
        "SignatureAlgorithm": material.signature_algorithm,
    }


def _key_usages(material: Material | None) -> list[str]:
    """None before it is issued. AWS: a certificate without the extension may be used for ANY (recordings of imported ones)."""
    if material is None:
        return []
    return list(material.key_usages) or ["ANY"]


def _extended_usages(material: Material | None) -> list[dict[str, str]]:
    """API form. None before it is issued. AWS: a certificate without the extension has the one named NONE (recordings of imported ones)."""
    if material is None:
        return []
    return [{"Name": name, "OID": oid} for name, oid in material.extended_usages] or [{"Name": "NONE"}]


def _renewal(certificate: Certificate) -> dict[str, Any]:
    status = certificate.status
    waits = certificate.spec.renewals > status.renewals
    if not waits and not status.renewed_at:
        return {}
    return {
        "RenewalSummary": {
            "RenewalStatus": "PENDING_AUTO_RENEWAL" if waits else "SUCCESS",
            "DomainValidationOptions": _validations(certificate),
            "UpdatedAt": status.renewed_at or status.issued_at,
        }
    }


def _validations(certificate: Certificate) -> list[dict[str, Any]]:
    return [_validation(certificate, name) for name in certificate.spec.names]


def _validation(certificate: Certificate, name: str) -> dict[str, Any]:
    """AWS: a domain and its wildcard have the same record, in all certificates of an account."""
    spec, state = certificate.spec, certificate.status.state
    statuses = {"ISSUED": "SUCCESS", "FAILED": "FAILED"}
    domain = spec.validation_domains.get(name, name.removeprefix("*."))
    shown: dict[str, Any] = {
        "DomainName": name,
        "ValidationDomain": spec.validation_domains.get(name, name),
        "ValidationStatus": statuses.get(state, "PENDING_VALIDATION"),
        "ValidationMethod": spec.validation,
    }
    if spec.validation == "EMAIL":
        return shown | {"ValidationEmails": [f"{box}@{domain}" for box in _MAILBOXES]}
    account = certificate.meta.scope.partition("/")[0]
    left, right = (hashlib.sha256(f"{side} {account} {domain}".encode()).hexdigest()[:32] for side in "ab")
    record = {"Name": f"_{left}.{domain}.", "Type": "CNAME", "Value": f"_{right}.acm-validations.aws."}
    return shown | {"ResourceRecord": record}


def _summary(call: Call, certificate: Certificate) -> dict[str, Any]:
    spec, status, material = certificate.spec, certificate.status, certificate.material
    shown: dict[str, Any] = {
        "CertificateArn": arn_of(certificate),
        "DomainName": spec.domain,
        "SubjectAlternativeNameSummaries": list(spec.names[:LIMIT_SUMMARY_NAMES]),
        "HasAdditionalSubjectAlternativeNames": len(spec.names) > LIMIT_SUMMARY_NAMES,
        "Status": _state(certificate, call.now),
        "Type": "IMPORTED" if spec.imported else "AMAZON_ISSUED",
        "KeyAlgorithm": _shown_algorithm(certificate),
        "KeyUsages": _key_usages(material),
        "ExtendedKeyUsages": [one["Name"] for one in _extended_usages(material)],
        "InUse": bool(users_of(call, certificate)),
        "Exported": status.exported,
        "RenewalEligibility": "ELIGIBLE" if is_renewable(call, certificate) else "INELIGIBLE",
        "CreatedAt": certificate.meta.created,
        "CertificateKeyPairOrigin": _origin(certificate),
    }
    if material is not None:
        shown |= {"NotBefore": material.not_before, "NotAfter": material.not_after}
    if spec.imported:
        return shown | {"ImportedAt": spec.imported_at}
    shown["ExportOption"] = _enabled(spec.export)
    return shown | ({"IssuedAt": status.issued_at} if material else {})


def _pems(certificate: Certificate) -> dict[str, Any]:
    material = certificate.material
    assert material is not None
    chain = {"CertificateChain": material.chain_pem} if material.chain_pem else {}
    return {"Certificate": material.certificate_pem} | chain


def _state(certificate: Certificate, now: float) -> str:
    material = certificate.material
    return "EXPIRED" if material is not None and material.not_after < now else certificate.status.state


def _origin(certificate: Certificate) -> str:
    return "CUSTOMER_PROVIDED" if certificate.spec.imported else "AWS_MANAGED"


def _algorithm(certificate: Certificate) -> str:
    material = certificate.material
    return material.key_algorithm if material else certificate.spec.key_algorithm


def _shown_algorithm(certificate: Certificate) -> str:
    """ "RSA-2048", "EC-prime256v1": AWS answers with a hyphen what it is asked with an underscore (recordings; examples of the AWS CLI)."""
    return _algorithm(certificate).replace("_", "-")


def _enabled(yes: bool) -> str:
    return "ENABLED" if yes else "DISABLED"
