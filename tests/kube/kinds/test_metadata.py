"""What is said of metadata that is wrong, in the original's words (IsLabelKey of k8s.io/apimachinery/pkg/api/validate/content)."""

from __future__ import annotations

import pytest

from gureum.kube.kinds.metadata import QUALIFIED_TEXT, SUBDOMAIN_TEXT, validate_labels


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("app", []),
        ("example.com/app", []),
        ("a b", [f"name part {QUALIFIED_TEXT}"]),
        ("", ["name part must be non-empty", f"name part {QUALIFIED_TEXT}"]),
        ("/app", ["prefix part must be non-empty"]),
        ("Example/app", [f"prefix part {SUBDOMAIN_TEXT}"]),
        ("a" * 64, ["name part must be no more than 63 bytes"]),
        (
            "a/b/c",
            [
                f"a valid label key {QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ],
        ),
    ],
)
def test_keys_of_labels(key, texts):
    expected = [f'Invalid value: "{key}": {text}' for text in texts]
    assert [one.message for one in validate_labels("metadata.labels", {key: "x"})] == expected
