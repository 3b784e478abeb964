"""What is said of metadata that is wrong, in the original's words (IsLabelKey of k8s.io/apimachinery/pkg/api/validate/content)."""

from __future__ import annotations

import pytest

from gureum.kube.kinds.metadata import QUALIFIED_TEXT, SUBDOMAIN_TEXT, validate_labels, validate_metadata


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


@pytest.mark.parametrize(
    ("storage", "finalizer", "texts"),
    [
        ("core/pods", "kubernetes", []),
        ("core/pods", "example.com/a", []),
        ("core/pods", "a", ["name is neither a standard finalizer name nor is it fully qualified"]),
        ("apiextensions.k8s.io/customresourcedefinitions", "customresourcecleanup.apiextensions.k8s.io", []),
        ("example.com/things", "a", []),
    ],
)
def test_finalizers_of_built_in_kinds_have_a_domain(storage, finalizer, texts):
    obj = {"metadata": {"name": "a", "finalizers": [finalizer]}}
    expected = [f'Invalid value: "{finalizer}": {text}' for text in texts]
    assert [one.message for one in validate_metadata(storage, obj, namespaced=False)] == expected


def test_events_own_nothing():
    owner = {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}
    found = validate_metadata("core/pods", {"metadata": {"name": "a", "ownerReferences": [owner]}}, namespaced=False)
    assert [one.message.rpartition(": ")[2] for one in found] == ["/v1, Kind=Event is disallowed from being an owner"]
