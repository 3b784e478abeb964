"""A cluster's certificates, as strict clients look at them: Python's own are since 3.13 (VERIFY_X509_STRICT)."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gureum.kube.pki import Pki


def shake_hands(pki: Pki) -> None:
    """Raises SSLCertVerificationError where the client does not trust the server."""
    client = ssl.create_default_context(cafile=str(pki.authority_file))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.server_file)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up, server_hostname="127.0.0.1"), server.wrap_bio(up, down, server_side=True)]
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_a_strict_client_trusts_the_server(tmp_path: Path) -> None:
    shake_hands(Pki(tmp_path, "127.0.0.1"))


def test_certificates_that_do_not_name_their_keys_are_made_anew_by_the_same_keys(tmp_path: Path) -> None:
    pki = Pki(tmp_path, "127.0.0.1")
    former = x509.load_pem_x509_certificate(pki.authority)
    assert Pki(tmp_path, "127.0.0.1").authority == pki.authority
    builder = x509.CertificateBuilder(former.subject, former.subject, former.public_key(), former.serial_number)
    builder = builder.not_valid_before(former.not_valid_before_utc).not_valid_after(former.not_valid_after_utc)
    key = serialization.load_pem_private_key((tmp_path / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    pki.authority_file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    again = Pki(tmp_path, "127.0.0.1")
    assert x509.load_pem_x509_certificate(again.authority).public_key() == former.public_key()
    shake_hands(again)
