"""Key pairs, checked with the programs that users have: ssh-keygen, openssl's DER by `cryptography`, and PuTTY's puttygen."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
OPENSSH = serialization.PublicFormat.OpenSSH
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
ED_KEY = ed25519.Ed25519PrivateKey.generate().public_key()


def openssh(key, comment=""):
    text = key.public_bytes(serialization.Encoding.OpenSSH, OPENSSH)
    return text + b" " + comment.encode() if comment else text


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, **options).stdout


def colons(digest):
    return ":".join(f"{byte:02x}" for byte in digest)


def described(cloud, name):
    return cloud.one("DescribeKeyPairs", "KeyPairs", KeyNames=[name], IncludePublicKey=True)


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_the_private_key_fits_the_public_one(cloud, tmp_path, key_type):
    made = cloud("CreateKeyPair", KeyName="k 1", KeyType=key_type)
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_text(made["KeyMaterial"] + "\n")
    public = described(cloud, "k 1")["PublicKey"]
    assert run("ssh-keygen", "-y", "-f", str(path)).split()[:2] == public.split()[:2]
    assert public.split(" ", 2)[2] == "k 1"
    first = "-----BEGIN RSA PRIVATE KEY-----" if key_type == "rsa" else "-----BEGIN OPENSSH PRIVATE KEY-----"
    assert made["KeyMaterial"].splitlines()[0] == first


def test_fingerprint_of_a_created_rsa_key(cloud):
    made = cloud("CreateKeyPair", KeyName="k")
    key = serialization.load_pem_private_key(made["KeyMaterial"].encode(), None)
    der = key.private_bytes(DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    assert made["KeyFingerprint"] == colons(hashlib.sha1(der).digest())


@pytest.mark.parametrize("imported", [False, True])
def test_fingerprint_of_an_ed25519_key_is_that_of_openssh_padded(cloud, tmp_path, imported):
    path = tmp_path / "key.pub"
    if imported:
        path.write_bytes(openssh(ED_KEY))
        told = cloud("ImportKeyPair", KeyName="k", PublicKeyMaterial=path.read_bytes())["KeyFingerprint"]
    else:
        told = cloud("CreateKeyPair", KeyName="k", KeyType="ed25519")["KeyFingerprint"]
        path.write_text(described(cloud, "k")["PublicKey"])
    assert f"SHA256:{told.rstrip('=')}" == run("ssh-keygen", "-l", "-f", str(path)).split()[1]
    assert len(base64.b64decode(told)) == 32


@pytest.mark.skipif(not shutil.which("puttygen"), reason="puttygen (Debian putty-tools) is missing")
@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_putty_reads_the_ppk(cloud, tmp_path, key_type):
    made = cloud("CreateKeyPair", KeyName="mine", KeyType=key_type, KeyFormat="ppk")
    path = tmp_path / "key.ppk"
    path.write_text(made["KeyMaterial"])
    assert path.read_text().startswith("PuTTY-User-Key-File-2: ")
    assert run("puttygen", str(path), "-O", "public-openssh").strip() == described(cloud, "mine")["PublicKey"]
    private = run("puttygen", str(path), "-O", "private-openssh", "-o", "/dev/stdout")
    assert "PRIVATE KEY" in private


def test_forms_in_which_a_key_is_imported(cloud, tmp_path):
    blob = openssh(RSA_KEY).split()[1].decode()
    wrapped = "\n".join(blob[i : i + 70] for i in range(0, len(blob), 70))
    rfc4716 = f'---- BEGIN SSH2 PUBLIC KEY ----\nComment: "one \\\ntwo"\n{wrapped}\n---- END SSH2 PUBLIC KEY ----\n'
    forms = {
        "openssh": openssh(RSA_KEY, "me@here"),
        "der": base64.b64encode(RSA_KEY.public_bytes(DER, SPKI)),
        "rfc4716": rfc4716.encode(),
    }
    expected = colons(hashlib.md5(RSA_KEY.public_bytes(DER, SPKI)).digest())
    for name, material in forms.items():
        made = cloud("ImportKeyPair", KeyName=name, PublicKeyMaterial=material)
        assert made["KeyFingerprint"] == expected, name
        assert described(cloud, name)["PublicKey"] == f"ssh-rsa {blob} {name}"


OTHERS = {
    "empty": lambda: b"",
    "only a kind": lambda: b"ssh-rsa",
    "a kind and nothing": lambda: b"ssh-rsa AAAA",
    "no text": lambda: b"\xff\xfe",
    "words": lambda: b"no key at all",
    "ecdsa": lambda: openssh(ec.generate_private_key(ec.SECP256R1()).public_key()),
    "odd length": lambda: openssh(rsa.generate_private_key(public_exponent=65537, key_size=1536).public_key()),
    "pem": lambda: RSA_KEY.public_bytes(PEM, SPKI),
    "rfc4716 without end": lambda: b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA",
    "rfc4716 of nothing": lambda: b"---- BEGIN SSH2 PUBLIC KEY ----\n\n---- END SSH2 PUBLIC KEY ----",
    "der of a number": lambda: base64.b64encode(b"\x30\x03\x02\x01\x00"),
    "der of ecdsa": lambda: base64.b64encode(
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(DER, SPKI)
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_rsa_or_ed25519_key_is_refused(cloud, what):
    refused = cloud.refused("ImportKeyPair", KeyName="k", PublicKeyMaterial=OTHERS[what]())
    assert refused == ("InvalidKey.Format", "Key is not in valid OpenSSH public key format")


def test_names(cloud):
    cloud("CreateKeyPair", KeyName="a/b", KeyType="ed25519")
    assert cloud.code("CreateKeyPair", KeyName="a/b") == "InvalidKeyPair.Duplicate"
    assert cloud.code("ImportKeyPair", KeyName="a/b", PublicKeyMaterial=openssh(ED_KEY)) == "InvalidKeyPair.Duplicate"
    for bad in (" a", "a\n", "é", "x" * 256):
        assert cloud.code("CreateKeyPair", KeyName=bad) == "InvalidParameterValue"
    assert cloud.code("CreateKeyPair", KeyName="") == "MissingParameter"
    assert cloud.code("CreateKeyPair", KeyName="new", DryRun=True) == "DryRunOperation"
    cloud("DeleteKeyPair", KeyName="a/b")
    cloud("ImportKeyPair", KeyName="a/b", PublicKeyMaterial=openssh(ED_KEY))


def test_of_two_that_create_the_same_name_one_is_refused(cloud):
    async def both():
        calls = [cloud.run("CreateKeyPair", KeyName="k", KeyType="ed25519") for _ in range(2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(both())
    assert sorted(getattr(one, "code", "made") for one in found) == ["InvalidKeyPair.Duplicate", "made"]
    assert len(cloud("DescribeKeyPairs")["KeyPairs"]) == 1


def test_describe_and_delete(cloud, other_region):
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "team", "Value": "a"}]}]
    first = cloud("CreateKeyPair", KeyName="one", KeyType="ed25519", TagSpecifications=tags)
    cloud("ImportKeyPair", KeyName="two", PublicKeyMaterial=openssh(RSA_KEY))
    assert [pair["KeyName"] for pair in cloud("DescribeKeyPairs")["KeyPairs"]] == ["one", "two"]
    for name, value in (
        ("tag:team", "a"),
        ("key-name", "o*"),
        ("key-pair-id", first["KeyPairId"]),
        ("fingerprint", first["KeyFingerprint"]),
    ):
        found = cloud.one("DescribeKeyPairs", "KeyPairs", Filters=[{"Name": name, "Values": [value]}])
        assert found["KeyName"] == "one"
        assert "PublicKey" not in found
    assert found["Tags"] == [{"Key": "team", "Value": "a"}]
    assert other_region("DescribeKeyPairs") == {"KeyPairs": []}
    assert cloud.code("DescribeKeyPairs", KeyNames=["three"]) == "InvalidKeyPair.NotFound"
    assert cloud.code("DescribeKeyPairs", KeyPairIds=["key-0123456789abcdef0"]) == "InvalidKeyPair.NotFound"
    assert cloud("DeleteKeyPair", KeyPairId=first["KeyPairId"]) == {"Return": True, "KeyPairId": first["KeyPairId"]}
    assert cloud("DeleteKeyPair", KeyName="one") == {"Return": True}
    assert cloud.code("DeleteKeyPair") == "MissingParameter"


def test_no_private_key_is_stored(cloud):
    made = cloud("CreateKeyPair", KeyName="k", KeyType="ed25519")
    secret = made["KeyMaterial"].splitlines()[2]
    assert all(secret.encode() not in entry.value for entry in cloud.client.store.range(""))
