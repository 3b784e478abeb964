"""The keys and certificates of the API: each cluster has an authority of its own, an administrator's certificate and the key of its tokens; the
default cluster's authority made the server's certificate as well.

They are files (0600) in the home, made with the first start and renewed before they end. The authorities are not the one that guests' certificates
come from: whoever has one of their certificates with the right subject is an administrator here.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gureum.kube.kinds.certificates import EXTENDED_USAGES, KEY_USAGES, alternatives

Key = ec.EllipticCurvePrivateKey
AUTHORITY_DAYS, DAYS, RENEWED_BEFORE_DAYS = 3650, 365, 30
NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
ADDRESSES = ("127.0.0.1", "::1", "10.96.0.1")
AUTHORITY = "kubernetes"
ADMINISTRATOR, MASTERS = "kubernetes-admin", "system:masters"


class Pki:
    """All of a cluster's files in one folder. Opening it makes what is missing. `bind`: the address that is served; None: by somebody else's
    certificate. `name`: of the authority, by which the cluster knows its clients' certificates."""

    def __init__(self, folder: Path, bind: str | None, name: str = AUTHORITY) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.name = name
        self.authority_file = folder / "ca.crt"
        self.server_file = folder / "server.pem"
        self.admin_file = folder / "admin.pem"
        self.token_key = _load_key(_kept(folder / "sa.key", lambda: _pem(_new_key())))
        authority = _kept(folder / "ca.key", lambda: _pem(_new_key()))
        self._key = _load_key(authority)
        _renewed(self.authority_file, self._new_authority)  # by the same key: who knows the former knows this one
        self.authority = self.authority_file.read_bytes()
        self._certificate = x509.load_pem_x509_certificate(self.authority)
        if bind is not None:
            extra = (bind,) if bind not in ADDRESSES and bind not in ("0.0.0.0", "::", "") else ()
            _renewed(self.server_file, lambda: self._issue_server(extra))
        _renewed(self.admin_file, lambda: self.issue_client(ADMINISTRATOR, (MASTERS,)))

    def issue_client(self, name: str, groups: tuple[str, ...], days: int = DAYS) -> bytes:
        """A client's key and certificate, PEM. The name is the user, the organisations are his groups."""
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        key = _new_key()
        certificate = self._sign(x509.Name(subject), key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH, days, None)
        return _pem(key) + certificate

    def sign_request(self, request: x509.CertificateSigningRequest, usages: set[str], seconds: int) -> bytes:
        """The certificate that is asked for, PEM: its subject and names, the usages (certificates.k8s.io's words), never an authority's."""
        ends = min(datetime.now(UTC) + timedelta(seconds=seconds), self._certificate.not_valid_after_utc)
        builder = self._issued(_builder(request.subject, self._certificate.subject, request.public_key(), DAYS, ends))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        wanted = {KEY_USAGES[one] for one in usages if one in KEY_USAGES}
        if wanted:
            builder = builder.add_extension(
                x509.KeyUsage(**{name: name in wanted for name in sorted({*KEY_USAGES.values()})}), critical=True
            )
        extended = sorted({EXTENDED_USAGES[one] for one in usages if one in EXTENDED_USAGES})
        if extended:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([x509.ObjectIdentifier(one) for one in extended]), critical=False
            )
        others = alternatives(request)
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issue_server(self, extra: tuple[str, ...]) -> bytes:
        key = _new_key()
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(one)) for one in (*ADDRESSES, *extra)]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        return _pem(key) + self._sign(
            subject, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, DAYS, x509.SubjectAlternativeName(names)
        )

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        usage: x509.ObjectIdentifier,
        days: int,
        names: x509.SubjectAlternativeName | None,
    ) -> bytes:
        builder = self._issued(_builder(subject, self._certificate.subject, key, days))
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issued(self, builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        """Names the authority's key: RFC 5280 4.2.1.1, which Python 3.13 and others insist on."""
        return builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )

    def _new_authority(self) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        builder = _builder(name, name, self._key.public_key(), AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_file(path: Path, content: bytes) -> None:
    """Whole or not at all, for the owner's eyes."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, days: int, ends: datetime | None = None
) -> x509.CertificateBuilder:
    """`ends`: in place of the days."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(ends or now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> Key:
    return cast(Key, serialization.load_pem_private_key(path.read_bytes(), None))


def _kept(path: Path, make: object) -> Path:
    if not path.exists():
        write_file(path, make())  # type: ignore[operator]
    return path


def _renewed(path: Path, make: object) -> None:
    """Made anew when it is missing, ends soon or does not name its keys."""
    if path.exists():
        content = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(content[content.index(b"-----BEGIN CERTIFICATE") :])
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        named = any(isinstance(one.value, x509.SubjectKeyIdentifier) for one in certificate.extensions)
        if named and left > timedelta(days=RENEWED_BEFORE_DAYS):
            return
    write_file(path, make())  # type: ignore[operator]
