"""SSH keys: made, read in every form that EC2 imports, fingerprinted as EC2 does, and written for PuTTY.

Pure functions on bytes; generating an RSA key takes tens of milliseconds to seconds, so callers run it in a thread. Nothing here keeps a private key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_ssh_public_key,
)

KeyType = Literal["rsa", "ed25519"]
KeyFormat = Literal["pem", "ppk"]
PublicKey = RSAPublicKey | Ed25519PublicKey
PrivateKey = RSAPrivateKey | Ed25519PrivateKey
RSA_BITS = 2048
LIMIT_MATERIAL_BYTES = 2048
IMPORTED_RSA_BITS = (1024, 2048, 4096)
RFC4716_BEGIN, RFC4716_END = "---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2 PUBLIC KEY ----"


class NewKey(msgspec.Struct, frozen=True):
    """A key that has just been made. `material`: the private key as text; `public_key`: OpenSSH form without a comment."""

    material: str
    public_key: str
    fingerprint: str


class NotAPublicKey(ValueError):
    """The bytes are no public key of a kind and form that can be imported."""


def make_key(key_type: KeyType, key_format: KeyFormat, comment: str) -> NewKey:
    """A new key; `comment` stands in the PuTTY form. AWS: ec2 CreateKeyPair (PKCS#1 PEM for RSA, OpenSSH for Ed25519, PPK version 2)."""
    if key_type == "rsa":
        key: PrivateKey = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        private_format = PrivateFormat.TraditionalOpenSSL
    else:
        key = Ed25519PrivateKey.generate()
        private_format = PrivateFormat.OpenSSH
    if key_format == "ppk":
        material = render_ppk(key, comment)
    else:
        # OpenSSH refuses its own format without the last line's end; AWS's RSA keys have none.
        material = key.private_bytes(Encoding.PEM, private_format, NoEncryption()).decode()
        material = material if key_type == "ed25519" else material.rstrip("\n")
    return NewKey(material, render_openssh(key.public_key()), created_fingerprint(key))


def read_public_key(material: bytes) -> PublicKey:
    """A public key in OpenSSH form, as DER (base64), or as RFC 4716. NotAPublicKey for all else; EC2 takes RSA of 1024, 2048 and 4096 bits
    and Ed25519."""
    try:
        text = material.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise NotAPublicKey("not ASCII") from error
    try:
        key = _load(text)
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as error:
        raise NotAPublicKey(str(error)) from error
    if isinstance(key, RSAPublicKey) and key.key_size in IMPORTED_RSA_BITS:
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise NotAPublicKey("neither RSA of 1024, 2048 or 4096 bits nor Ed25519")


def render_openssh(key: PublicKey) -> str:
    """ "ssh-ed25519 AAAA…", without a comment."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def created_fingerprint(key: PrivateKey) -> str:
    """RSA: SHA-1 of the private key as PKCS#8 DER. AWS: "Verify the fingerprint of your key pair" (EC2 user guide)."""
    if isinstance(key, Ed25519PrivateKey):
        return _ed25519_fingerprint(key.public_key())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return _colons(hashlib.sha1(der, usedforsecurity=False).hexdigest())


def imported_fingerprint(key: PublicKey) -> str:
    """RSA: MD5 of the public key as DER SubjectPublicKeyInfo."""
    if isinstance(key, Ed25519PublicKey):
        return _ed25519_fingerprint(key)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _colons(hashlib.md5(der, usedforsecurity=False).hexdigest())


def render_ppk(key: PrivateKey, comment: str) -> str:
    """PuTTY's private key file, version 2, not encrypted. Source: PuTTY user manual, appendix C.3."""
    algorithm, _, encoded = render_openssh(key.public_key()).partition(" ")
    public = base64.b64decode(encoded)
    private = _ppk_private(key)
    signed = b"".join(_string(part) for part in (algorithm.encode(), b"none", comment.encode(), public, private))
    mac_key = hashlib.sha1(b"putty-private-key-file-mac-key", usedforsecurity=False).digest()
    lines = [f"PuTTY-User-Key-File-2: {algorithm}", "Encryption: none", f"Comment: {comment}"]
    for name, blob in (("Public", public), ("Private", private)):
        text = base64.b64encode(blob).decode()
        rows = [text[start : start + 64] for start in range(0, len(text), 64)]
        lines += [f"{name}-Lines: {len(rows)}", *rows]
    lines.append(f"Private-MAC: {hmac.new(mac_key, signed, 'sha1').hexdigest()}")
    return "\n".join(lines) + "\n"


def _load(text: str) -> object:
    if text.startswith(RFC4716_BEGIN):
        return _load_blob(_rfc4716_body(text))
    if " " in text or "\t" in text:
        return load_ssh_public_key(text.encode())
    der = base64.b64decode("".join(text.split()), validate=True)
    return load_der_public_key(der)


def _load_blob(encoded: str) -> object:
    blob = base64.b64decode(encoded, validate=True)
    (size,) = struct.unpack_from(">I", blob.ljust(4, b"\0"))
    algorithm = blob[4 : 4 + min(size, 64)].decode("ascii", "replace")
    return load_ssh_public_key(f"{algorithm} {encoded}".encode())


def _rfc4716_body(text: str) -> str:
    """What stands between the markers, without headers ("Comment: …", which a backslash continues). RFC 4716, section 3."""
    lines = text.splitlines()
    if lines[-1].strip() != RFC4716_END:
        raise NotAPublicKey("no end marker")
    body, in_header = [], False
    for line in lines[1:-1]:
        if not in_header and ":" not in line:
            body.append(line.strip())
        in_header = (in_header or ":" in line) and line.endswith("\\")
    return "".join(body)


def _ppk_private(key: PrivateKey) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return _string(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    numbers = key.private_numbers()
    return b"".join(_mpint(number) for number in (numbers.d, numbers.p, numbers.q, numbers.iqmp))


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _mpint(number: int) -> bytes:
    """RFC 4251, section 5: a leading zero byte keeps a positive number positive."""
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _ed25519_fingerprint(key: Ed25519PublicKey) -> str:
    blob = base64.b64decode(render_openssh(key).split()[1])
    return base64.b64encode(hashlib.sha256(blob).digest()).decode()


def _colons(digits: str) -> str:
    return ":".join(digits[start : start + 2] for start in range(0, len(digits), 2))
