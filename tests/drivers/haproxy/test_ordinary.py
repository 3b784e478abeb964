"""Which requests are spared a closer look: the expression, as HAProxy's engine and Python's read it alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.drivers.haproxy.desync import _LOOKS_LIKE_LENGTH, _ODD
from gureum.drivers.haproxy.ordinary import block

HOST = "host: shop.example.com\r\n"
END = "\r\n"


def ordinary(headers: str, *, bodiless: bool = True, valid_names: bool = False) -> bool:
    return re.search(block(bodiless=bodiless, valid_names=valid_names), headers) is not None


@pytest.mark.parametrize(
    ("headers", "get", "post"),
    [
        (HOST, True, True),
        ("user-agent: x\r\naccept: */*\r\n" + HOST + "cookie: a=b\t c\r\n", True, True),
        (HOST + "content-length: 5\r\n", False, True),
        (HOST + "content-length2: 5\r\n", False, False),
        (HOST + "x-forwarded-for: 1.2.3.4\r\n", False, False),
        (HOST + "x-forwarded-fort: 1\r\n", True, True),
        (HOST + "x-amzn-trace-id: Root=1-2-3\r\n", False, False),
        ("upgrade: websocket\r\n" + HOST, False, False),
        (HOST + "transfer-encoding: chunked\r\n", False, False),
        (HOST + "transfer_encoding: chunked\r\n", False, False),
        (HOST + ".content.length.: 1\r\n", False, False),
        (HOST + "x-content-length: 1\r\n", True, True),
        (HOST + "x: \xe4\r\n", False, False),
        (HOST + "x: a\x01b\r\n", False, False),
        (HOST + "x: a\0b\r\n", False, False),
        ("host: Shop.example.com\r\n", False, False),
        ("x: Y\r\n" + HOST + "z: Y\r\n", True, True),
        (HOST + "expect: 100-continue\r\n", False, False),
        (HOST + "content-type: application/grpc+proto\r\n", False, False),
        (HOST + "content-type: application/json\r\n", True, True),
        ("user-agent: x\r\n", False, False),
        ("x-host: a\r\n", False, False),
        ("", False, False),
    ],
)
def test_which_requests_are_ordinary(headers: str, get: bool, post: bool) -> None:
    assert (ordinary(headers + END), ordinary(headers + END, bodiless=False)) == (get, post)


def test_headers_that_are_continued_may_be_there_once_they_have_been() -> None:
    headers = HOST + "x-forwarded-for: 1.2.3.4\r\nx-amzn-trace-id: Root=1-2-3\r\n"
    looked_at = block(bodiless=True, valid_names=False, continued=True)
    assert re.search(looked_at, headers + END)
    assert not re.search(looked_at, headers + "upgrade: websocket\r\n" + END)
    assert not re.search(looked_at, headers + "transfer-encoding: chunked\r\n" + END)


def test_a_block_without_its_end_is_not_ordinary() -> None:
    """What was cut off could hold anything."""
    assert not ordinary(HOST)
    assert not ordinary((HOST + "x: " + "a" * 20000 + END + END)[:15900])
    assert not ordinary((HOST + 1000 * "x: aaaaaaaaaaa\r\n" + END)[: len(HOST) + 16 * 500])


def test_odd_names_are_looked_at_where_they_are_to_be_dropped() -> None:
    assert ordinary(HOST + "x_y: 1\r\n" + END)
    assert not ordinary(HOST + "x_y: 1\r\n" + END, valid_names=True)
    assert ordinary(HOST + "x-y2: 1\r\n" + END, valid_names=True)


PIECES = st.sampled_from(["transfer", "content", "encoding", "length", "-", "_", ".", "!", "x", "host", "upgrade", "1"])
NAMES = st.lists(PIECES, min_size=1, max_size=5).map("".join)
LINES = st.tuples(NAMES, st.text(st.characters(max_codepoint=0x17F, exclude_characters="\r\n"), max_size=5))


@given(st.lists(LINES, max_size=4), st.booleans())
def test_an_ordinary_request_is_of_no_class_of_desync(lines: list[tuple[str, str]], bodiless: bool) -> None:
    headers = HOST + "".join(f"{name}: {value}\r\n" for name, value in lines) + END
    if not ordinary(headers, bodiless=bodiless):
        return
    names = ["host", *(name for name, _ in lines)]
    assert not re.search(_ODD, headers)
    assert not re.search(_LOOKS_LIKE_LENGTH, ",".join(names), re.IGNORECASE)
    assert "transfer-encoding" not in names
    assert not (bodiless and "content-length" in names)
