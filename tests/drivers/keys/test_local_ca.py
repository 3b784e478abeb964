"""The local CA as TLS clients and openssl see it."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import ssl
import stat
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from gureum.drivers.keys.local_ca import PERMITTED_NAMES, LocalCa, may_sign
from gureum.ports import PortError
from gureum.ports.certificates import Issued, KeyType


class WallClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def new_ca(folder: Path) -> LocalCa:
    return LocalCa(folder / "ca", WallClock())


def handshake(issued: Issued, ca_pem: bytes, name: str) -> None:
    """A TLS handshake in memory: a server with `issued`, a client that trusts `ca_pem` and asks for `name`."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(issued.chain_pem + issued.key_pem)
        file.flush()
        server_context.load_cert_chain(file.name)
    client_context = ssl.create_default_context(cadata=ca_pem.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    client = client_context.wrap_bio(client_in, client_out, server_hostname=name)
    server = server_context.wrap_bio(server_in, server_out, server_side=True)
    done = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
        server_in.write(client_out.read())
        client_in.write(server_out.read())
    assert len(done) == 2


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_tls_client_that_trusts_the_ca_accepts_its_names_and_addresses(tmp_path: Path, key_type: KeyType) -> None:
    async def body() -> None:
        ca = new_ca(tmp_path)
        names = ("aws.gureum.test", "*.eu-west-1.elb.amazonaws.com", "localhost")
        issued = await ca.issue(names, ("127.0.0.1", "::1"), key_type=key_type)
        for name in ("aws.gureum.test", "lb-1.eu-west-1.elb.amazonaws.com", "localhost", "127.0.0.1", "::1"):
            handshake(issued, await ca.ca_pem(), name)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(issued, await ca.ca_pem(), "other.gureum.test")
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(issued, await new_ca(tmp_path / "other").ca_pem(), "localhost")

    asyncio.run(body())


def test_name_constraints_keep_the_ca_s_key_from_speaking_for_others(tmp_path: Path) -> None:
    """What issue() would refuse is signed by force, as a thief of the key would."""

    async def body() -> None:
        ca = new_ca(tmp_path)
        for subject, name in (
            (x509.DNSName("bank.com"), "bank.com"),
            (x509.IPAddress(ipaddress.ip_address("9.9.9.9")), "9.9.9.9"),
        ):
            forged = ca._issue([subject], 30, "ec")
            with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
                handshake(forged, await ca.ca_pem(), name)

    asyncio.run(body())


def test_certificate_says_what_it_is_for(tmp_path: Path) -> None:
    async def body() -> None:
        ca = new_ca(tmp_path)
        issued = await ca.issue(("A.gureum.test",), ("10.0.0.5",), days=30)
        leaf, root = x509.load_pem_x509_certificates(issued.chain_pem)
        leaf.verify_directly_issued_by(root)
        assert x509.load_pem_x509_certificate(await ca.ca_pem()) == root
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["a.gureum.test"]
        assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.5")]
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        now = dt.datetime.now(dt.UTC)
        assert leaf.not_valid_before_utc < now
        assert abs(leaf.not_valid_after_utc - now - dt.timedelta(days=30)) < dt.timedelta(minutes=5)
        assert issued.not_after == leaf.not_valid_after_utc.timestamp()
        assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
        assert root.not_valid_after_utc - now > dt.timedelta(days=3650)
        again = x509.load_pem_x509_certificate((await ca.issue(("a.gureum.test",))).chain_pem)
        assert again.serial_number != leaf.serial_number

    asyncio.run(body())


def test_ca_stays_and_its_keys_are_for_root_only(tmp_path: Path) -> None:
    async def body() -> None:
        first = await new_ca(tmp_path).ca_pem()
        identity = await new_ca(tmp_path).identity_pem()
        assert await new_ca(tmp_path).ca_pem() == first
        assert await new_ca(tmp_path).identity_pem() == identity
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca").iterdir()}
        assert modes == {".lock": 0o600, "ca.key": 0o600, "ca.pem": 0o644, "identity.key": 0o600, "identity.pem": 0o644}
        assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700

    asyncio.run(body())


MAKE_CA = """
import asyncio, sys, time, pathlib
from gureum.drivers.keys.local_ca import LocalCa
class WallClock:
    now = staticmethod(time.time)
sys.stdout.buffer.write(asyncio.run(LocalCa(pathlib.Path(sys.argv[1]), WallClock()).ca_pem()))
"""


def test_processes_that_start_at_once_share_one_ca(tmp_path: Path) -> None:
    async def make() -> bytes:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", MAKE_CA, str(tmp_path / "ca"), stdout=-1)
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
        return output

    async def body() -> None:
        found = set(await asyncio.gather(*(make() for _ in range(4))))
        assert found == {(tmp_path / "ca" / "ca.pem").read_bytes()}

    asyncio.run(body())


def test_crash_between_key_and_certificate_is_made_good(tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "ca").mkdir()
        (tmp_path / "ca" / "ca.key").write_text("left by a crash")
        (tmp_path / "ca" / ".ca.pem.new").write_text("left by a crash")
        issued = await new_ca(tmp_path).issue(("localhost",))
        handshake(issued, await new_ca(tmp_path).ca_pem(), "localhost")

    asyncio.run(body())


@pytest.mark.parametrize("damage", ["missing", "other", "garbage"])
def test_damaged_ca_is_reported_and_never_replaced_in_silence(tmp_path: Path, damage: str) -> None:
    async def body() -> None:
        pem = await new_ca(tmp_path).ca_pem()
        key = tmp_path / "ca" / "ca.key"
        if damage == "missing":
            key.unlink()
        elif damage == "garbage":
            key.write_text("x")
        else:
            await new_ca(tmp_path / "b").ca_pem()
            key.write_bytes((tmp_path / "b" / "ca" / "ca.key").read_bytes())
        with pytest.raises(PortError, match=r"ca\.key"):
            await new_ca(tmp_path).ca_pem()
        assert (tmp_path / "ca" / "ca.pem").read_bytes() == pem

    asyncio.run(body())


@pytest.mark.parametrize(
    ("names", "ips", "days"),
    [
        ((), (), 30),
        (("bank.com",), (), 30),
        (("evilamazonaws.com",), (), 30),
        (("a..test",), (), 30),
        (("*.*.test",), (), 30),
        (("*",), (), 30),
        (("-a.test",), (), 30),
        (("a.test\n",), (), 30),
        (("ü.test",), (), 30),
        (("a.test",), ("8.8.8.8",), 30),
        (("a.test",), ("10.0.0",), 30),
        (("a.test",), (), 0),
        (("a.test",), (), 826),
    ],
)
def test_what_the_ca_may_not_sign_is_refused(
    tmp_path: Path, names: tuple[str, ...], ips: tuple[str, ...], days: int
) -> None:
    with pytest.raises(PortError) as refusal:
        asyncio.run(new_ca(tmp_path).issue(names, ips, days=days))
    assert not refusal.value.retry


def test_further_domains_of_a_home_are_permitted(tmp_path: Path) -> None:
    async def body() -> None:
        ca = LocalCa(tmp_path / "ca", WallClock(), permitted_names=(*PERMITTED_NAMES, "corp.example.kr"))
        handshake(await ca.issue(("www.corp.example.kr",)), await ca.ca_pem(), "www.corp.example.kr")

    asyncio.run(body())


def test_long_name_fits(tmp_path: Path) -> None:
    async def body() -> None:
        ca = new_ca(tmp_path)
        name = ".".join(["a" * 60, "b" * 60, "c" * 60, "gureum.test"])
        handshake(await ca.issue((name,)), await ca.ca_pem(), name)

    asyncio.run(body())


def test_identity_signature_verifies_and_its_certificate_is_the_ca_s(tmp_path: Path) -> None:
    async def body() -> None:
        ca = new_ca(tmp_path)
        document = b'{\n  "instanceId" : "i-1"\n}'
        made = await ca.sign_identity(document)
        certificate = x509.load_pem_x509_certificate(await ca.identity_pem())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(await ca.ca_pem()))
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(base64.b64decode(made.signature), document, padding.PKCS1v15(), hashes.SHA256())
        assert "-----" not in made.pkcs7

    asyncio.run(body())


@given(st.text(max_size=40))
def test_no_odd_name_is_permitted(name: str) -> None:
    if may_sign(name, ("test",)):
        assert name == "test" or name.endswith(".test")
        assert name.isascii()
        assert not set(name) & set(" \t\n/\\:@\0")
