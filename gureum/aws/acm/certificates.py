"""Certificates as they are stored, how they are found, and what others need of them. Reading and checking PEM is in materials.py.

A private key is never stored in the open: it is sealed, and only the machine that serves with it opens it. `Material.name` stands for the content, so
whoever uses a certificate sees by it that it was renewed or imported again.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.partitions import partition_of
from gureum.engine.resource import Kind, Resource, kind, kind_of, make_key
from gureum.ports.proxies import Certificate as ServedCertificate

Validation = Literal["DNS", "EMAIL"]
State = Literal["PENDING_VALIDATION", "ISSUED", "FAILED"]
INDEX_OF_USERS = "certificate"
"""Kinds that have an index of this name, of certificates' ARNs, use certificates (elbv2.Listener)."""


NOT_SERVED = ("RSA_1024",)
"""Keys that OpenSSL at the distribution's security level does not load: who serves certificates refuses them."""


class Material(msgspec.Struct, frozen=True):
    """A certificate and its key. `name`: changes with the content. `certificate_pem`: the one; `chain_pem`: those above it, "" for none.
    `sealed_key`: PKCS #8 PEM, sealed with `name` as context. Times in Unix seconds. `weakness`: for what OpenSSL at the distribution's security level
    does not load it, but for its own key; "" for nothing. The rest as AWS shows it."""

    name: str
    certificate_pem: str
    chain_pem: str
    sealed_key: str
    not_before: float
    not_after: float
    serial: str
    subject: str
    issuer: str
    key_algorithm: str
    signature_algorithm: str
    key_usages: tuple[str, ...] = ()
    extended_usages: tuple[tuple[str, str], ...] = ()
    weakness: str = ""


class CertificateSpec(msgspec.Struct, frozen=True):
    """`domain`, `names`: the subject and all alternative names, the subject's first. `imported`: of one that was, and `imported_at` when last. The
    others were requested: `key_algorithm`, `validation`, `validation_domains` (of EMAIL, where they differ), `token`: the call's IdempotencyToken.
    `renewals`: so many were asked for by RenewCertificate."""

    domain: str
    names: tuple[str, ...]
    imported: Material | None = None
    imported_at: float = 0.0
    key_algorithm: str = "RSA_2048"
    validation: Validation = "EMAIL"
    validation_domains: dict[str, str] = {}
    transparency: bool = True
    export: bool = False
    token: str = ""
    renewals: int = 0


class CertificateStatus(msgspec.Struct, frozen=True):
    """Of requested ones. `failure`: AWS's FailureReason. `renewed_at`: 0.0 for never. `renewals`: of the spec, so many are done. `exported`: its key
    has left by ExportCertificate."""

    state: State = "PENDING_VALIDATION"
    issued: Material | None = None
    issued_at: float = 0.0
    failure: str = ""
    renewed_at: float = 0.0
    renewals: int = 0
    exported: bool = False


@kind("acm.Certificate", indexes={"token": lambda one: one.spec.token or ()})
class Certificate(Resource, frozen=True):
    """Named by the id that ends its ARN, a UUID."""

    spec: CertificateSpec
    status: CertificateStatus = CertificateStatus()

    @property
    def material(self) -> Material | None:
        """What is served now; None before it is issued."""
        return self.spec.imported or self.status.issued


def arn_of(certificate: Certificate) -> str:
    account, _, region = certificate.meta.scope.partition("/")
    return f"arn:{partition_of(region)}:acm:{region}:{account}:certificate/{certificate.meta.name}"


def find(call: Call, arn: str) -> Certificate | None:
    """The caller's certificate with this very ARN, None when there is none. For other services too: also while this one is not loaded."""
    found = call.client.by_key(make_key(kind_of(Certificate).name, call.scope, arn.rpartition("/")[2]))
    return found if isinstance(found, Certificate) and arn_of(found) == arn else None


def found(call: Call, name: str = "CertificateArn") -> Certificate:
    """The one that a parameter names. AWS: ResourceNotFoundException, InvalidArnException for an ARN of something else."""
    arn = call.params[name]
    certificate = find(call, arn)
    if certificate is not None:
        return certificate
    parts = arn.split(":", 5)
    if len(parts) != 6 or not parts[5].startswith("certificate/"):
        raise AwsError("InvalidArnException", f"The ARN {arn} is not a valid certificate ARN.")
    account, _, region = call.scope.partition("/")
    if (parts[3], parts[4]) != (region, account):
        text = (
            f"Could not find certificate {arn} in account {account}." if parts[3] == region else _elsewhere(arn, region)
        )
        raise AwsError("ResourceNotFoundException", text)
    raise AwsError("ResourceNotFoundException", f"Could not find certificate {arn}.")


def served(certificate: Certificate) -> ServedCertificate | None:
    """As a proxy takes it (ports/proxies.py); None before it is issued."""
    material = certificate.material
    if material is None:
        return None
    chain = material.certificate_pem + material.chain_pem
    names = tuple(dict.fromkeys((certificate.spec.domain, *certificate.spec.names)))
    return ServedCertificate(material.name, chain, material.sealed_key, arn_of(certificate), names)


def kinds_of_users(call: Call) -> list[Kind]:
    """Kinds whose objects may use a certificate. A service that is not loaded has none."""
    return [one for one in call.client.kinds() if INDEX_OF_USERS in one.indexes]


def users_of(call: Call, certificate: Certificate) -> list[Resource]:
    arn = arn_of(certificate)
    return [one for kind in kinds_of_users(call) for one in call.by(kind.type, INDEX_OF_USERS, arn)]


def not_built(what: str) -> AwsError:
    return AwsError("NotImplemented", f"gureum does not build {what} yet.", status=501)


def changed(certificate: Certificate, **spec: Any) -> Certificate:
    return msgspec.structs.replace(certificate, spec=msgspec.structs.replace(certificate.spec, **spec))


def _elsewhere(arn: str, region: str) -> str:
    return f"Could not find certificate {arn}: it is not in the region {region} of this call."
