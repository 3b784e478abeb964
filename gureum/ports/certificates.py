"""Certificates: the home's own certificate authority, for what needs TLS, and the signer of instance identities."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

KeyType = Literal["ec", "ec384", "rsa"]
"""ECDSA on P-256, on P-384, or RSA of 2048 bits."""


class Issued(msgspec.Struct, frozen=True):
    """`chain_pem`: the certificate, then the CA's. `key_pem`: PKCS #8, not encrypted: keep it secret. `not_after`: Unix
    seconds; whoever asked renews in time."""

    chain_pem: bytes
    key_pem: bytes
    not_after: float


class IdentitySignatures(msgspec.Struct, frozen=True):
    """Three signatures of one instance identity document, base64 without header lines, as IMDS shows them
    (AWS: verify-iid). `signature`: RSA with SHA-256 of the bare document; `pkcs7` and `rsa2048`: PKCS #7 with the
    document inside. AWS uses a DSA key for `pkcs7`; here all are of one RSA-2048 key, whose certificate is
    `identity_pem()`."""

    signature: str
    pkcs7: str
    rsa2048: str


class Certificates(Protocol):
    """Every verb makes what it needs on first use; several processes of one home may call at once."""

    async def ca_pem(self) -> bytes:
        """The CA's certificate; the CA is made on first use and then stays."""

    async def issue(
        self, names: tuple[str, ...], ips: tuple[str, ...] = (), *, days: int = 397, key_type: KeyType = "ec"
    ) -> Issued:
        """A certificate for TLS servers and clients with a new key. `names`: DNS names, `*.` in front allowed; at least
        one name or address. PortError (not to be tried again) for one outside what the CA may sign for."""

    async def identity_pem(self) -> bytes:
        """The certificate that verifies instance identity documents."""

    async def sign_identity(self, document: bytes) -> IdentitySignatures: ...
