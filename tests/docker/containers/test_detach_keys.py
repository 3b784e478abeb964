"""Keys that leave a terminal. Docker's documents of `docker attach --detach-keys`."""

from __future__ import annotations

import asyncio

import pytest

from gureum.docker.containers.detach_keys import DetachKeys, bytes_of


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("", b""),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a,ctrl-@,DEL", b"a\x00\x7f"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
    ],
)
def test_keys_are_what_a_terminal_sends_for_them(text: str, typed: bytes) -> None:
    assert bytes_of(text) == typed


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-P", "ab", "ctrl-p,", "é"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Unknown character"):
        bytes_of(text)


def test_keys_that_only_begin_alike_are_the_programs() -> None:
    left = asyncio.Event()
    keys = DetachKeys(b"\x10\x11", left)
    assert keys(b"a\x10") + keys(b"\x10b") == b"a\x10\x10b"
    assert not left.is_set()
    assert keys(b"c\x10\x11d") == b"c"
    assert left.is_set()
