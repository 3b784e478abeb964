"""Certificates and keys out of PEM, checked as ACM checks what is imported, and put into words as ACM shows them.

AWS: acm "prerequisites for importing certificates", ImportCertificate. Nothing here trusts its input: sizes are bounded by the API's model, and the
library's refusals become the API's errors.
"""

from __future__ import annotations

import hashlib
import itertools
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gureum.aws.acm.certificates import Material
from gureum.aws.errors import AwsError
from gureum.base.sealing import Sealer

LIMIT_KEY_BYTES = 5120
LIMIT_CHAIN = 20
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]*CERTIFICATE-----")
_CURVES = {"secp256r1": "EC_prime256v1", "secp384r1": "EC_secp384r1", "secp521r1": "EC_secp521r1"}
_RSA_BITS = (1024, 2048, 3072, 4096)
_LEAST_RSA_BITS = 2048
_WEAK_DIGESTS = ("MD5", "SHA1WITH")
_EXTENDED = {
    ExtendedKeyUsageOID.SERVER_AUTH: "TLS_WEB_SERVER_AUTHENTICATION",
    ExtendedKeyUsageOID.CLIENT_AUTH: "TLS_WEB_CLIENT_AUTHENTICATION",
    ExtendedKeyUsageOID.CODE_SIGNING: "CODE_SIGNING",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "EMAIL_PROTECTION",
    ExtendedKeyUsageOID.TIME_STAMPING: "TIME_STAMPING",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSP_SIGNING",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "ANY",
    x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"): "IPSEC_END_SYSTEM",
    x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"): "IPSEC_TUNNEL",
    x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"): "IPSEC_USER",
}


class Imported:
    """What was imported, checked: `certificate`, `chain` (those above it) and `key`."""

    def __init__(self, certificate: bytes, key: bytes, chain: bytes, now: float) -> None:
        """AWS: ValidationException."""
        self.certificate = _one_certificate(certificate)
        self.key = _read_key(key)
        self.chain = _certificates(chain, "certificate chain") if chain.strip() else []
        _check_time(self.certificate, now)
        if self.certificate.public_key() != self.key.public_key():
            raise _invalid("The private key does not match the certificate.")
        _check_chain([self.certificate, *self.chain])


def material(
    id_: str, certificate: x509.Certificate, chain: list[x509.Certificate], key: PrivateKey, sealer: Sealer
) -> Material:
    """Ready to be stored in the certificate with this id."""
    pem = _pem(certificate)
    above = "".join(map(_pem, chain))
    name = "cert-" + hashlib.sha256((id_ + pem + above).encode()).hexdigest()[:32]
    return Material(
        name=name,
        certificate_pem=pem,
        chain_pem=above,
        sealed_key=sealer.seal(_key_pem(key), name),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        serial=_serial(certificate.serial_number),
        subject=_subject(certificate),
        issuer=_issuer(certificate),
        key_algorithm=algorithm_of(key.public_key()),
        signature_algorithm=_signature(certificate),
        key_usages=_key_usages(certificate),
        extended_usages=_extended_usages(certificate),
        weakness=_weakness(certificate, chain),
    )


def read_issued(chain_pem: str, key_pem: str) -> tuple[x509.Certificate, list[x509.Certificate], PrivateKey]:
    """What our own authority has issued."""
    certificate, *chain = x509.load_pem_x509_certificates(chain_pem.encode())
    return certificate, chain, _read_key(key_pem.encode())


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The subject's common name and the alternative DNS names, each once."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    names = [str(common[0].value)] if common else []
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += found.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        pass
    return tuple(dict.fromkeys(names))


def algorithm_of(key: object) -> str:
    """AWS's KeyAlgorithm, "" for one that ACM does not take."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA_{key.key_size}" if key.key_size in _RSA_BITS else ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, "")
    return ""


def encrypted_key(key_pem: str, passphrase: bytes) -> str:
    """AWS: ExportCertificate, "the encrypted private key" (PKCS #8)."""
    key = serialization.load_pem_private_key(key_pem.encode(), None)
    form = serialization.PrivateFormat.PKCS8
    encrypted = key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(passphrase))
    return encrypted.decode()


def _one_certificate(data: bytes) -> x509.Certificate:
    found = _certificates(data, "certificate")
    if len(found) > 1:
        raise _invalid(
            "The certificate field contains more than one certificate. You can specify only one certificate in this field."
        )
    return found[0]


def _certificates(data: bytes, field: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(data) if len(_BEGIN.findall(data)) <= LIMIT_CHAIN else []
        for one in found:
            one.public_key()  # as much as is used later is read now
            names_of(one)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _invalid(f"The {field} is not PEM-encoded or is not valid.") from error
    if not found:
        raise _invalid(f"The {field} is not PEM-encoded or is not valid.")
    return found


def _read_key(data: bytes) -> PrivateKey:
    if len(data) > LIMIT_KEY_BYTES:
        raise _invalid(f"The private key is larger than {LIMIT_KEY_BYTES} bytes.")
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError as error:
        raise _invalid("The private key is encrypted. You cannot import an encrypted private key.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _invalid("The private key is not PEM-encoded or is not valid.") from error
    if not isinstance(key, PrivateKey) or not algorithm_of(key.public_key()):
        raise _invalid("The private key is not supported.")
    return key


def _check_time(certificate: x509.Certificate, now: float) -> None:
    if certificate.not_valid_after_utc.timestamp() < now:
        raise _invalid("The certificate has expired, is not valid.")
    if certificate.not_valid_before_utc.timestamp() > now:
        raise _invalid("The certificate is not in effect yet, is not valid.")
    if not list(certificate.issuer):
        raise _invalid("The certificate's Issuer field is empty, is not valid.")


def _check_chain(certificates: list[x509.Certificate]) -> None:
    """Each is signed by the next. The root may be missing (RFC 8446 4.4.2)."""
    for lower, upper in itertools.pairwise(certificates):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise _invalid("Could not validate the certificate with the certificate chain.") from error


def _subject(certificate: x509.Certificate) -> str:
    """ "C=AU,O=Company,CN=www.example.com": in the certificate's own order, as AWS has it (a recording); RFC 4514 would begin at the end."""
    return ",".join(one.rfc4514_string() for one in certificate.subject.rdns)


def _issuer(certificate: x509.Certificate) -> str:
    """AWS: "the name of the certificate authority that issued and signed the certificate"."""
    for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        found = certificate.issuer.get_attributes_for_oid(oid)
        if found:
            return str(found[0].value)
    return certificate.issuer.rfc4514_string()


def _signature(certificate: x509.Certificate) -> str:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        digest = None
    names = {"rsassaPss": "RSASSA-PSS", "ecdsa-with": "ECDSA"}
    oid_name = str(getattr(certificate.signature_algorithm_oid, "_name", ""))
    kind = next((name for start, name in names.items() if oid_name.startswith(start)), "RSA")
    return f"{digest.name.upper()}WITH{kind}" if digest is not None else oid_name


def _weakness(certificate: x509.Certificate, chain: list[x509.Certificate]) -> str:
    """OpenSSL's security level 2: 112 bits, which are an RSA key of 2048 and a signature of a digest of 224. What a certificate has signed itself is
    not looked at."""
    for one in chain:
        key = one.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
            return f"an RSA key of {key.key_size} bits in its chain"
    for one in (certificate, *chain):
        signature = _signature(one)
        if one.issuer != one.subject and signature.startswith(_WEAK_DIGESTS):
            return f"the signature {signature}"
    return ""


def _key_usages(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    said = {
        "DIGITAL_SIGNATURE": usage.digital_signature,
        "NON_REPUDIATION": usage.content_commitment,
        "KEY_ENCIPHERMENT": usage.key_encipherment,
        "DATA_ENCIPHERMENT": usage.data_encipherment,
        "KEY_AGREEMENT": usage.key_agreement,
        "CERTIFICATE_SIGNING": usage.key_cert_sign,
        "CRL_SIGNING": usage.crl_sign,
        "ENCIPHER_ONLY": usage.key_agreement and usage.encipher_only,
        "DECIPHER_ONLY": usage.key_agreement and usage.decipher_only,
    }
    return tuple(name for name, set_ in said.items() if set_)


def _extended_usages(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple((_EXTENDED.get(one, "CUSTOM"), one.dotted_string) for one in usage)


def _serial(number: int) -> str:
    """ "0a:1b:…"."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big").hex(":")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: PrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def _invalid(text: str) -> AwsError:
    return AwsError("ValidationException", text)
