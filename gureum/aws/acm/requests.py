"""Certificates from the home's own authority: RequestCertificate, their issue and renewal (reconcile), RenewCertificate, UpdateCertificateOptions.

    requested ─► PENDING_VALIDATION ──the agent's authority signs──► ISSUED ──60 days before its end, or when asked──► signed anew
                        └──a name that the authority may not sign──► FAILED, DOMAIN_NOT_ALLOWED

The authority signs for names that are nobody's in the world (drivers/keys/local_ca.py), so that its root, once trusted on a developer's machine,
cannot speak for a bank. The key is made anew at each issue, in the agent, and comes here to be sealed.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any, cast

import msgspec

from gureum.aws.acm.certificates import (
    Certificate,
    CertificateSpec,
    CertificateStatus,
    Validation,
    arn_of,
    changed,
    found,
    not_built,
    users_of,
)
from gureum.aws.acm.materials import material, read_issued
from gureum.aws.acm.tags import new_tags
from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import operation
from gureum.core.world import World
from gureum.engine.errors import Retry
from gureum.engine.registry import reconcile
from gureum.ports import PortError

KEY_TYPES = {"RSA_2048": "rsa", "EC_prime256v1": "ec", "EC_secp384r1": "ec384"}
"""AWS: "algorithms supported for an ACM certificate request"."""
CERTIFICATES_PER_REGION = 2500
VALID_DAYS = 395
"""AWS: acm "certificate characteristics": 13 months."""
RENEW_BEFORE_S = 60 * 86400.0
TOKEN_LIFE_S = 3600.0
LOOK_AGAIN_S = 86400.0

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{0,62}[A-Za-z0-9]", re.ASCII)
_NAME_PATTERN = r"(\*\.)?(((?!-)[A-Za-z0-9-]{0,62}[A-Za-z0-9])\.)+((?!-)[A-Za-z0-9-]{1,62}[A-Za-z0-9])"
"""AWS: the acm model's DomainNameString."""


@operation("RequestCertificate")
async def request_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm RequestCertificate. InvalidDomainValidationOptionsException, LimitExceededException."""
    spec = _wished(call)
    again = _asked_before(call, spec)
    if again is not None:
        return {"CertificateArn": arn_of(again)}
    if len(spec.names) > call.settings.quota_names_per_certificate:
        raise AwsError("LimitExceededException", "Certificate has too many domains.")
    tags = new_tags(call)
    if len(call.all(Certificate)) >= CERTIFICATES_PER_REGION:
        text = f"Cannot request more certificates than the limit of {CERTIFICATES_PER_REGION}."
        raise AwsError("LimitExceededException", text)
    certificate = Certificate(meta=call.meta(str(uuid.uuid4()), tags=tags), spec=spec)
    transaction = call.transaction()
    transaction.create(certificate)
    if spec.token:
        transaction.require_no_newer(Certificate, call.scope)
    await call.commit(transaction)
    return {"CertificateArn": arn_of(certificate)}


@operation("RenewCertificate")
async def renew_certificate(call: Call) -> dict[str, Any]:
    """AWS: acm RenewCertificate, of one that was exported. RequestInProgressException, ValidationException."""
    certificate = found(call)
    check_issued(certificate)
    if certificate.spec.renewals > certificate.status.renewals:
        raise AwsError("RequestInProgressException", f"Certificate {arn_of(certificate)} is being renewed.")
    if certificate.spec.imported or not certificate.status.exported:
        raise AwsError("ValidationException", f"Certificate {arn_of(certificate)} is not eligible for renewal.")
    transaction = call.transaction()
    transaction.update(changed(certificate, renewals=certificate.spec.renewals + 1))
    await call.commit(transaction)
    return {}


@operation("UpdateCertificateOptions")
async def update_certificate_options(call: Call) -> dict[str, Any]:
    """AWS: acm UpdateCertificateOptions: export, logging (which is remembered: nothing here is logged in public), from EMAIL to DNS."""
    certificate, options = found(call), call.params["Options"]
    if certificate.spec.imported:
        raise AwsError(
            "ValidationException", f"Options of the imported certificate {arn_of(certificate)} cannot change."
        )
    if certificate.status.state == "FAILED":
        raise AwsError("InvalidStateException", f"Certificate {arn_of(certificate)} has failed.")
    changes: dict[str, Any] = _options(options)
    method = options.get("ValidationMethod")
    if method is not None and method != "DNS":
        raise AwsError("ValidationException", "Only DNS can replace another validation method.")
    if method is not None:
        changes |= {"validation": "DNS", "validation_domains": {}}
    if certificate.spec.export and changes.get("export") is False and certificate.status.exported:
        raise AwsError("ValidationException", f"Certificate {arn_of(certificate)} has been exported already.")
    transaction = call.transaction()
    transaction.update(changed(certificate, **changes))
    await call.commit(transaction)
    return {}


def check_issued(certificate: Certificate) -> None:
    """AWS: RequestInProgressException before it is issued, ValidationException for one that failed."""
    if certificate.material is None:
        if certificate.status.state == "FAILED":
            raise AwsError("ValidationException", f"Certificate {arn_of(certificate)} has failed.")
        raise AwsError(
            "RequestInProgressException", f"Certificate {arn_of(certificate)} is in PENDING_VALIDATION state."
        )


def is_renewable(call: Call, certificate: Certificate) -> bool:
    """AWS: acm managed renewal: one of ours that is used or was exported."""
    if certificate.spec.imported or certificate.status.issued is None:
        return False
    return certificate.status.exported or bool(users_of(call, certificate))


@reconcile(Certificate)
async def reconcile_certificate(world: World, certificate: Certificate) -> None:
    """Issues what is requested, and anew in time."""
    spec, status = certificate.spec, certificate.status
    if spec.imported is not None or status.state == "FAILED":
        return
    now = world.clock.now()
    asked = spec.renewals > status.renewals
    if status.issued is not None and not asked:
        due_s = status.issued.not_after - RENEW_BEFORE_S - now
        if due_s > 0:
            world.poke(f"acm.Certificate/{certificate.meta.scope}/{certificate.meta.name}", min(due_s, LOOK_AGAIN_S))
            return
    transaction = world.client.transaction()
    transaction.update(msgspec.structs.replace(certificate, status=await _issue(world, certificate, now)))
    await transaction.commit()


async def _issue(world: World, certificate: Certificate, now: float) -> CertificateStatus:
    """The status with a new certificate, or with the reason why there can be none. Retry while the agent is away."""
    spec, status = certificate.spec, certificate.status
    question = {"op": "issue", "names": spec.names, "days": VALID_DAYS, "key_type": KEY_TYPES[spec.key_algorithm]}
    try:
        answer = await world.link.ask(question)
    except PortError as away:
        raise Retry(away.why, 1.0) from away
    if "refused" in answer:
        return msgspec.structs.replace(status, state="FAILED", failure="DOMAIN_NOT_ALLOWED")
    issued = await asyncio.to_thread(read_issued, answer["chain_pem"], answer["key_pem"])
    made = material(certificate.meta.name, *issued, world.sealer)
    renewed = now if status.issued is not None else 0.0
    return msgspec.structs.replace(
        status,
        state="ISSUED",
        issued=made,
        issued_at=status.issued_at or now,
        renewed_at=renewed,
        renewals=spec.renewals,
    )


def _wished(call: Call) -> CertificateSpec:
    params = call.params
    for name in ("CertificateAuthorityArn", "ManagedBy"):
        if name in params:
            raise not_built(f"the parameter {name} of RequestCertificate")
    options, method = params.get("Options") or {}, params.get("ValidationMethod", "EMAIL")
    if "ValidationMethod" in options:
        raise AwsError("InvalidParameterException", "ValidationMethod is no option of a request.")
    if method == "HTTP":
        raise AwsError("InvalidParameterException", "HTTP validation is for certificates that CloudFront manages.")
    algorithm = params.get("KeyAlgorithm", "RSA_2048")
    if algorithm not in KEY_TYPES:
        raise AwsError("InvalidParameterException", f"Key algorithm {algorithm} is not supported for a request.")
    others = params.get("SubjectAlternativeNames") or ()
    _check_name(params["DomainName"], "domainName")
    for i, name in enumerate(others, 1):
        _check_name(name, f"subjectAlternativeNames.{i}.member")
    domain = params["DomainName"].lower()
    names = (domain, *(name.lower() for name in others))
    return CertificateSpec(
        domain,
        tuple(dict.fromkeys(names)),
        key_algorithm=algorithm,
        validation=cast(Validation, method),
        validation_domains=_validation_domains(params.get("DomainValidationOptions") or (), names),
        token=params.get("IdempotencyToken", ""),
        **_options(options),
    )


def _check_name(name: str, path: str) -> None:
    """As the model's pattern has it, which nests repeats and is tried label by label for that. AWS: ValidationException."""
    labels = name.removeprefix("*.").split(".")
    if len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)) or len(labels[-1]) < 2:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value '{name}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {_NAME_PATTERN}",
        )


def _options(options: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "CertificateTransparencyLoggingPreference" in options:
        found["transparency"] = options["CertificateTransparencyLoggingPreference"] == "ENABLED"
    if "Export" in options:
        found["export"] = options["Export"] == "ENABLED"
    return found


def _validation_domains(options: Any, names: tuple[str, ...]) -> dict[str, str]:
    """AWS: the validation domain must be the domain itself or one above it: InvalidDomainValidationOptionsException."""
    found: dict[str, str] = {}
    for one in options:
        domain, above = one["DomainName"].lower(), one["ValidationDomain"].lower()
        bare = domain.removeprefix("*.")
        if domain not in names or not (bare == above or bare.endswith(f".{above}")):
            text = f"Domain validation options of {domain} are not valid: {above}"
            raise AwsError("InvalidDomainValidationOptionsException", text)
        found[domain] = above
    return found


def _asked_before(call: Call, spec: CertificateSpec) -> Certificate | None:
    """AWS: "if you call RequestCertificate multiple times with the same idempotency token within one hour, ACM will issue only one"."""
    if not spec.token:
        return None
    for one in call.by(Certificate, "token", spec.token):
        same = (one.spec.domain, one.spec.names) == (spec.domain, spec.names)
        if same and one.meta.created > call.now - TOKEN_LIFE_S:
            return one
    return None
