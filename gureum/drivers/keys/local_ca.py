"""Certificates, filled by a certificate authority of the home's own: an ECDSA P-256 root in `<home>/ca/`.

    ca.key ca.pem               the root; name constraints keep a stolen key from speaking for the rest of the world
    identity.key identity.pem   RSA-2048, signs instance identity documents (AWS's verifiers expect RSA)

Each pair is written key first, certificate last, each file whole by rename: a certificate on disk means that its key is
there too. A file lock lets several processes of a home start at once. Keys never leave the folder, except those of
issued certificates, which are kept by whoever asked and not here.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gureum.drivers.keys.secret_files import locked, write_whole
from gureum.ports import PortError
from gureum.ports.certificates import IdentitySignatures, Issued, KeyType
from gureum.ports.clock import Clock

CA_DAYS = 3653
LEAF_DAYS_LIMIT = 825
"""Clients (Apple's first) refuse TLS certificates that are good for longer."""
BACKDATE_S = 3600
"""A certificate is good from an hour ago: a guest's clock may be a little behind."""

PERMITTED_NAMES = (
    *("test", "localhost", "local", "internal", "example", "invalid", "example.com", "example.net", "example.org"),
    *("svc", "amazonaws.com"),
)
"""Names reserved for such use (RFC 2606, 6761, 6762), Kubernetes' `svc`, and amazonaws.com, whose names guests' clients
have built in. A home's further domains come as `permitted_names`."""
PERMITTED_NETWORKS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
    *("198.18.0.0/15", "::1/128", "fc00::/7", "fe80::/10"),
)
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class LocalCa:
    """Fills ports.certificates.Certificates. The slow work (RSA keys, files) is done in threads."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        permitted_names: tuple[str, ...] = PERMITTED_NAMES,
        common_name: str = "gureum local CA",
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._permitted_names = permitted_names
        self._common_name = common_name
        self._root: tuple[PrivateKey, x509.Certificate] | None = None
        self._identity: tuple[rsa.RSAPrivateKey, x509.Certificate] | None = None

    async def ca_pem(self) -> bytes:
        _, certificate = await asyncio.to_thread(self._load_root)
        return pem(certificate)

    async def issue(
        self, names: tuple[str, ...], ips: tuple[str, ...] = (), *, days: int = 397, key_type: KeyType = "ec"
    ) -> Issued:
        subjects = self._check(names, ips, days)
        return await asyncio.to_thread(self._issue, subjects, days, key_type)

    async def identity_pem(self) -> bytes:
        _, certificate = await asyncio.to_thread(self._load_identity)
        return pem(certificate)

    async def sign_identity(self, document: bytes) -> IdentitySignatures:
        return await asyncio.to_thread(self._sign_identity, document)

    def _check(self, names: tuple[str, ...], ips: tuple[str, ...], days: int) -> list[x509.GeneralName]:
        if not names and not ips:
            raise PortError("a certificate needs at least one name or address", retry=False)
        if not 1 <= days <= LEAF_DAYS_LIMIT:
            raise PortError(f"a certificate is good for 1-{LEAF_DAYS_LIMIT} days, not {days}", retry=False)
        subjects: list[x509.GeneralName] = []
        for name in names:
            if not may_sign(name.lower(), self._permitted_names):
                raise PortError(f"the local CA may not sign for the name {name!r}", retry=False)
            subjects.append(x509.DNSName(name.lower()))
        for ip in ips:
            try:
                address = ipaddress.ip_address(ip)
            except ValueError as error:
                raise PortError(f"{ip!r} is not an address", retry=False) from error
            if not any(address in ipaddress.ip_network(network) for network in PERMITTED_NETWORKS):
                raise PortError(f"the local CA may not sign for the address {ip}", retry=False)
            subjects.append(x509.IPAddress(address))
        return subjects

    def _issue(self, subjects: list[x509.GeneralName], days: int, key_type: KeyType) -> Issued:
        root_key, root = self._load_root()
        key = new_key(key_type)
        now = self._now()
        until = min(now + dt.timedelta(days=days), root.not_valid_after_utc)
        first = subjects[0].value
        certificate = (
            # A common name holds 64 characters; clients read the alternative names only (RFC 9525).
            builder(common_name(str(first)[:64]), root.subject, key, now, until)
            .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signature=True, encipherment=key_type == "rsa"), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(issued_by(root), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        return Issued(pem(certificate) + pem(root), key_pem(key), until.timestamp())

    def _sign_identity(self, document: bytes) -> IdentitySignatures:
        key, certificate = self._load_identity()
        signature = key.sign(document, padding.PKCS1v15(), hashes.SHA256())
        envelope = (
            pkcs7.PKCS7SignatureBuilder()
            .set_data(document)
            .add_signer(certificate, key, hashes.SHA256())
            .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCerts])
        )
        return IdentitySignatures(signature=lines(signature), pkcs7=lines(envelope), rsa2048=lines(envelope))

    def _load_root(self) -> tuple[PrivateKey, x509.Certificate]:
        if self._root is None:
            with locked(self._folder):
                if (kept := read_pair(self._folder, "ca")) is None:
                    write_pair(self._folder, "ca", *self._new_root())
                    kept = read_pair(self._folder, "ca")
            assert kept is not None
            self._root = kept
        return self._root

    def _load_identity(self) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        if self._identity is None:
            root_key, root = self._load_root()
            with locked(self._folder):
                if (kept := read_pair(self._folder, "identity")) is None:
                    write_pair(self._folder, "identity", *self._new_identity(root_key, root))
                    kept = read_pair(self._folder, "identity")
            assert kept is not None
            key, certificate = kept
            if not isinstance(key, rsa.RSAPrivateKey):
                raise PortError(f"{self._folder / 'identity.key'} is not an RSA key; remove it and identity.pem")
            self._identity = (key, certificate)
        return self._identity

    def _new_root(self) -> tuple[PrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._now()
        name = common_name(self._common_name)
        permitted: list[x509.GeneralName] = [x509.DNSName(name) for name in self._permitted_names]
        permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in PERMITTED_NETWORKS]
        certificate = (
            builder(name, name, key, now, now + dt.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage(certificates=True), critical=True)
            .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        return key, certificate

    def _new_identity(self, root_key: PrivateKey, root: x509.Certificate) -> tuple[PrivateKey, x509.Certificate]:
        key = new_rsa_key()
        certificate = (
            builder(common_name("gureum instance identity"), root.subject, key, self._now(), root.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signature=True), critical=True)
            .add_extension(issued_by(root), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        return key, certificate

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(int(self._clock.now()), dt.UTC)


def may_sign(name: str, permitted: tuple[str, ...]) -> bool:
    """Whether `name` (lower case, `*.` in front allowed) is a DNS name at or under a permitted one."""
    bare = name.removeprefix("*.")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in bare.split(".")):
        return False
    return any(bare == suffix or bare.endswith("." + suffix) for suffix in permitted)


def builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: dt.datetime, until: dt.datetime
) -> x509.CertificateBuilder:
    """What all certificates have in common; valid from a little before `now`."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(seconds=BACKDATE_S))
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def common_name(text: str) -> x509.Name:
    """A subject that says just this."""
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "gureum"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def usage(*, signature: bool = False, encipherment: bool = False, certificates: bool = False) -> x509.KeyUsage:
    """RFC 5280 4.2.1.3; `certificates`: signs certificates and revocation lists."""
    return x509.KeyUsage(
        digital_signature=signature,
        key_encipherment=encipherment,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def issued_by(root: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Points at the root's key, so that a client with several roots of one name finds the right one."""
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def new_key(key_type: KeyType) -> PrivateKey:
    if key_type == "rsa":
        return new_rsa_key()
    return ec.generate_private_key(ec.SECP384R1() if key_type == "ec384" else ec.SECP256R1())


def new_rsa_key() -> rsa.RSAPrivateKey:
    """RSA-2048; takes 50-300 ms."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    """The key as PEM, PKCS #8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def lines(data: bytes) -> str:
    """Base64 in lines of 76 characters, no newline at the end, as IMDS shows signatures."""
    return base64.encodebytes(data).decode().rstrip("\n")


def read_pair(folder: Path, name: str) -> tuple[PrivateKey, x509.Certificate] | None:
    """None when there is none yet. PortError when what is there does not belong together: it is never replaced in
    silence, since guests and hosts trust the old one."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    except FileNotFoundError as missing:
        if missing.filename.endswith(".pem"):
            return None
        raise PortError(f"{missing.filename} is missing; restore it, or remove {name}.pem for a new one") from missing
    except ValueError as error:
        raise PortError(f"{folder}/{name}.key or .pem cannot be read: {error}") from error
    if (
        not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        or key.public_key() != certificate.public_key()
    ):
        raise PortError(f"{folder}/{name}.key is not the key of {name}.pem; remove both for new ones")
    return key, certificate


def write_pair(folder: Path, name: str, key: PrivateKey, certificate: x509.Certificate) -> None:
    """Key first, certificate last."""
    write_whole(folder / f"{name}.key", key_pem(key))
    write_whole(folder / f"{name}.pem", pem(certificate), 0o644)
