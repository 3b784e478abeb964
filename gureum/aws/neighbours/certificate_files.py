"""What IAM looks at in a server certificate before it takes it; moto takes any text for one.

AWS: IAM UploadServerCertificate: MalformedCertificate, KeyPairMismatch; that a certificate has expired, or has a small key, is no reason.
"""

from __future__ import annotations

import itertools

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from gureum.aws.errors import AwsError
from gureum.aws.neighbours.refusals import parameters
from gureum.aws.protocols import Request

LIMIT_CHAIN = 20
_BEGIN = b"-----BEGIN"


def check_upload(request: Request) -> None:
    """AWS: MalformedCertificate, KeyPairMismatch. What is missing is told by others."""
    found = parameters(request)
    body, key, chain = (
        str(found.get(name, "")).encode() for name in ("CertificateBody", "PrivateKey", "CertificateChain")
    )
    if not body or not key:
        return
    (certificate, *more) = _certificates(body)
    if more:
        raise _malformed("Unable to parse certificate. Please ensure the certificate is in PEM format.")
    if certificate.public_key() != _public_half(key):
        raise AwsError("KeyPairMismatch", "Public key certificate and private key doesn't match.", status=400)
    if chain.strip():
        _check_chain([certificate, *_certificates(chain)])


def _certificates(data: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(data) if data.count(_BEGIN) <= LIMIT_CHAIN else []
        for one in found:
            one.public_key()
    except (ValueError, UnsupportedAlgorithm):
        found = []
    if not found:
        raise _malformed("Unable to parse certificate. Please ensure the certificate is in PEM format.")
    return found


def _public_half(data: bytes) -> object:
    try:
        return serialization.load_pem_private_key(data, None).public_key()
    except TypeError as encrypted:
        raise _malformed("Unable to parse key; the body is encrypted.") from encrypted
    except (ValueError, UnsupportedAlgorithm) as unreadable:
        raise _malformed("Private Key was in an unrecognized format.") from unreadable


def _check_chain(certificates: list[x509.Certificate]) -> None:
    for index, (lower, upper) in enumerate(itertools.pairwise(certificates)):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise _malformed(
                "Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, followed by any "
                f"intermediaries in order. The index within the chain of the invalid certificate is: {index}"
            ) from error


def _malformed(text: str) -> AwsError:
    return AwsError("MalformedCertificate", text, status=400)
