"""YAML from strangers: limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.base.hostile_yaml import HostileYaml, load


def test_plain_data_comes_out() -> None:
    assert load(b"a: [1, true, x]\nb: &x {c: d}\ne: *x\n") == {"a": [1, True, "x"], "b": {"c": "d"}, "e": {"c": "d"}}


def laughs(merge: str) -> bytes:
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [x, x, x, x]"]
    for index in range(1, 30):
        aliases = ", ".join([f"*a{index - 1}"] * 4)
        lines.append(f"a{index}: &a{index} " + (f"{{<<: [{aliases}]}}" if merge else f"[{aliases}]"))
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "text",
    [
        laughs(""),
        laughs("merge"),
        b"[" * 5000,
        b"{a: " * 5000,
        b"- " * 5000,
        b"a: &a [*a]",
        b"[" + b"x," * 30000 + b"]",
        b"a: !!python/object/apply:os.system [id]",
        b"a: [",
        b"\xff\xfe\x00",
        b"? [a]\n: b",
        b"a: " + b"9" * 5000,
        b"a: 2001-99-99",
        b"a: *nowhere",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_hostile_text_is_refused(text: bytes) -> None:
    with pytest.raises(HostileYaml):
        load(text)


@given(st.binary(max_size=300))
def test_any_bytes_give_data_or_a_refusal(text: bytes) -> None:
    try:
        load(text)
    except HostileYaml:
        pass


@given(st.text(alphabet="ab:&*<[]{}-,#!|>'\"\\ \n\t0?%", max_size=120))
def test_any_yaml_like_text_gives_data_or_a_refusal(text: str) -> None:
    try:
        load(text.encode())
    except HostileYaml:
        pass
