"""Amounts. Source: k8s.io/apimachinery/pkg/api/resource: canonical forms."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.kinds.quantities import BadQuantity, canonical, is_quantity, kept, value_of


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0", "0"), ("0.0Gi", "0"), ("1", "1"), ("0.5", "500m"), ("1000m", "1"), ("1500m", "1500m"), ("1024Mi", "1Gi"), ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"), ("0.5Gi", "512Mi"), ("1000", "1k"), ("1000Ki", "1000Ki"), ("2e3", "2e3"), ("1.5e3", "1500"), ("100M", "100M"),
        ("-1", "-1"), ("+5", "5"), (".5", "500m"), ("1.", "1"), ("0.0000000001", "1n"), ("12E", "12E"), ("1Ei", "1Ei"),
    ],
)  # fmt: skip
def test_the_form_in_which_an_amount_is_kept(text, kept):
    assert canonical(text) == kept


@pytest.mark.parametrize("text", ["", "a", "1x", "1 Gi", "Gi", "1..5", "--1", "1e", "9" * 70, "1e99", "٣"])
def test_what_is_no_amount(text):
    assert not is_quantity(text)
    with pytest.raises(BadQuantity):
        canonical(text)


@given(st.integers(-(10**9), 10**9), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))
def test_the_kept_form_has_the_same_value_and_is_kept_as_it_is(number, suffix):
    text = f"{number}{suffix}"
    assert value_of(canonical(text)) == value_of(text)
    assert canonical(canonical(text)) == canonical(text)


def test_values():
    assert value_of("250m") == Fraction("0.25")
    assert value_of("1Ki") == 1024


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.5", "500m"), ("1024Mi", "1Gi"), ("0.1", "100m"), ("1000m", "1"), ("1.5Gi", "1536Mi"), ("250000", "250k"), ("100e1", "1e3"), (" 5 ", "5"),
        # What looks canonical to the original's reader is not made anew.
        ("1.500", "1.500"), ("1.125", "1.125"), ("+5", "+5"), ("01", "01"), ("2E3", "2E3"), ("1.", "1."), ("1000Ki", "1000Ki"),
        ("8Ei", "9223372036854775807"), ("-0.5", "-500m"), ("-0.9n", "-1n"),
    ],
)  # fmt: skip
def test_what_is_written_back_of_an_amount(text, written):
    assert kept(text) == written
    assert kept(written) == written


@pytest.mark.parametrize("text", ["1K", "1mi"])
def test_a_suffix_that_is_none_is_told_of(text):
    with pytest.raises(BadQuantity, match="unable to parse quantity's suffix"):
        kept(text)
