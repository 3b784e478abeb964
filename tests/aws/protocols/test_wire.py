"""Bodies behind content encodings: gzip and S3's chunks, within limits."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.errors import AwsError
from gureum.aws.protocols import decode_body

LIMIT = 1000


def decode(body: bytes, encoding: str = "gzip") -> bytes:
    return decode_body({"content-encoding": encoding}, body, LIMIT)


def test_plain_body_is_itself() -> None:
    assert decode_body({}, b"x", LIMIT) == b"x"


def test_gzip_of_several_members() -> None:
    assert decode(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


def test_bomb_is_never_unpacked() -> None:
    with pytest.raises(AwsError) as caught:
        decode(gzip.compress(b"\0" * 50_000_000))
    assert (caught.value.code, caught.value.status) == ("RequestEntityTooLarge", 413)


def test_many_small_members_are_limited_together() -> None:
    with pytest.raises(AwsError, match="RequestEntityTooLarge"):
        decode(gzip.compress(b"\0" * 300) * 4)


def test_exactly_the_limit_passes() -> None:
    assert decode(gzip.compress(b"\0" * LIMIT)) == b"\0" * LIMIT


def test_broken_and_unknown_encodings() -> None:
    for body, encoding in ((b"x", "gzip"), (gzip.compress(b"x")[:-4], "gzip"), (b"x", "br")):
        with pytest.raises(AwsError, match="InvalidRequest"):
            decode(body, encoding)


def test_chunks_with_signatures_and_trailers() -> None:
    body = b"3;chunk-signature=ab\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
    assert decode(body, "aws-chunked") == b"abcde"


@pytest.mark.parametrize(
    "body",
    [b"", b"3\r\nab", b"5\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n", b"x\r\n", b"3\r\nabcXX0\r\n\r\n", b"f" * 17 + b"\r\n"],
)
def test_broken_chunks(body: bytes) -> None:
    with pytest.raises(AwsError, match="IncompleteBody"):
        decode(body, "aws-chunked")


@given(st.binary(max_size=200), st.sampled_from(["gzip", "aws-chunked", "gzip,aws-chunked", "identity", "a,b"]))
def test_any_body_is_decoded_or_refused(body: bytes, encoding: str) -> None:
    try:
        assert len(decode(body, encoding)) <= LIMIT
    except AwsError:
        pass
