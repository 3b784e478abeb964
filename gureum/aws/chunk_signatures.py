"""Bodies that are signed chunk by chunk, each with the signature before it, and their trailers. Pure.

AWS: S3, "Signature calculations for the Authorization header: transferring payload in multiple chunks", and "… Including trailing headers".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable

from gureum.aws.errors import AwsError
from gureum.aws.protocols import chunks_of

SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_WITH_TRAILER = f"{SIGNED}-TRAILER"
UNSIGNED_WITH_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_NOTHING = hashlib.sha256(b"").hexdigest()
_SIGNATURE = re.compile(rb"chunk-signature=([0-9a-f]{64})$")
_OF_TRAILER, _CHECKSUM = "x-amz-trailer-signature", "x-amz-checksum-"
_MADE: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda content: zlib.crc32(content).to_bytes(4),
    "sha1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
    "sha256": lambda content: hashlib.sha256(content).digest(),
}


def verify_chunks(body: bytes, kind: str, seed: str, key: bytes, when: str, scope: str) -> None:
    """`kind`: x-amz-content-sha256; `seed`: the head's signature; `key`: derived for `scope`; `when`: x-amz-date. AWS: SignatureDoesNotMatch (403),
    IncompleteBody (400)."""

    def signature(of: str, *parts: str) -> str:
        text = "\n".join([f"AWS4-HMAC-SHA256-{of}", when, scope, before, *parts])
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    before = seed
    for data, extension, trailer in chunks_of(body):
        found = _SIGNATURE.search(extension)
        made = signature("PAYLOAD", _NOTHING, hashlib.sha256(data).hexdigest())
        if found is None or not hmac.compare_digest(made.encode(), found[1]):
            raise _mismatch()
        before = made
        if data or kind != SIGNED_WITH_TRAILER:
            continue
        told = trailers_of(trailer)
        given = told.pop(_OF_TRAILER, "")
        text = "".join(f"{name}:{value}\n" for name, value in told.items())
        if not hmac.compare_digest(signature("TRAILER", hashlib.sha256(text.encode()).hexdigest()), given):
            raise _mismatch()


def checksums(body: bytes, content: bytes) -> dict[str, str]:
    """Those that the trailer of `body` tells of its `content`, as headers, with what they are called; CRC-32, SHA-1 and SHA-256 are right, others
    are not computed here. AWS: BadDigest (400)."""
    (*_, (_, _, trailer)) = chunks_of(body)
    told = {name: value for name, value in trailers_of(trailer).items() if name.startswith(_CHECKSUM)}
    for name, value in told.items():
        algorithm = name.removeprefix(_CHECKSUM)
        made = _MADE[algorithm](content) if algorithm in _MADE else b""
        if made and base64.b64encode(made).decode() != value:
            text = f"The {algorithm.upper()} you specified did not match the calculated checksum."
            raise AwsError("BadDigest", text, status=400)
    named = {"x-amz-sdk-checksum-algorithm": next(iter(told)).removeprefix(_CHECKSUM).upper()} if told else {}
    return {**told, **named}


def trailers_of(text: bytes) -> dict[str, str]:
    """Lower-case names and values."""
    pairs = (line.partition(":") for line in text.decode("latin-1").splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _mismatch() -> AwsError:
    text = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    return AwsError("SignatureDoesNotMatch", text, status=403)
