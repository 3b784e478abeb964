"""Texts of label selectors. Source: k8s.io/apimachinery/pkg/labels (selector.go, Parse)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.errors import StatusError
from gureum.kube.label_parser import Unreadable, read
from gureum.kube.selectors import parse_labels


def one(key, operator, *values):
    return key, operator, frozenset(values)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("  ", []),
        ("a=b,c in (d, e),!f", [one("a", "in", "b"), one("c", "in", "d", "e"), one("f", "!exists")]),
        ("a==", [one("a", "in", "")]),
        ("a!=b", [one("a", "notin", "b")]),
        ("a>1,b<2", [one("a", "gt", "1"), one("b", "lt", "2")]),
        ("a in ()", [one("a", "in", "")]),
        ("a notin (,b,,c)", [one("a", "notin", "", "b", "c")]),
        ("in in (in)", [one("in", "in", "in")]),
    ],
)
def test_what_a_text_says(text, found):
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!a b", "found 'b', expected: ',' or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
    ],
)
def test_what_no_text_says(text, error):
    with pytest.raises(Unreadable) as raised:
        read(text)
    assert str(raised.value) == error


@given(st.text(alphabet="ab=!,()<> in\t\0", max_size=40))
def test_any_text_is_read_or_refused(text):
    with suppress(StatusError):
        parse_labels(text)
