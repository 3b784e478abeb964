"""JSON patch and merge patch: the examples of their RFCs, and what must hold of any."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.patches.errors import BadPatch, PatchFailed
from gureum.kube.patches.plain import json_patch, merge_patch

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=1), values, max_size=3)


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [  # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_as_its_rfc_has_it(document, patch, result):
    assert merge_patch(document, patch) == result


def test_what_a_json_patch_copies_is_limited():
    """Forty doublings of a thousand letters would be more than any memory holds."""
    start = {"op": "add", "path": "/data/a", "value": "x" * 1000}
    doublings = [{"op": "copy", "from": "/data", "path": f"/data/b{number}"} for number in range(40)]
    with pytest.raises(PatchFailed):
        json_patch({"data": {}}, [start, *doublings])
    assert len(json_patch({"data": {}}, [start, *doublings[:3]])["data"]) == 4


def test_a_json_patch_is_the_same_the_second_time():
    """A write that lost against another one applies it again."""
    patch = [{"op": "add", "path": "/a", "value": []}, {"op": "add", "path": "/a/-", "value": 1}]
    assert json_patch({}, patch) == json_patch({}, patch) == {"a": [1]}
    assert patch[0]["value"] == []


def without_null_members(value):
    if isinstance(value, dict):
        return {name: without_null_members(one) for name, one in value.items() if one is not None}
    return value


@given(objects, objects)
def test_a_merge_patch_counts_once_and_changes_nothing_given(document, patch):
    before = copy.deepcopy((document, patch))
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once
    assert (document, patch) == before


@given(objects)
def test_a_document_merged_into_nothing_is_itself_without_nulls(document):
    assert merge_patch({}, document) == without_null_members(document)


def test_json_patch_operations():
    document = {"a": {"b": [1, 2]}, "x/y": 1}
    result = json_patch(
        document,
        [
            {"op": "test", "path": "/a/b/0", "value": 1},
            {"op": "add", "path": "/a/b/-", "value": 3},
            {"op": "add", "path": "/a/b/0", "value": 0},
            {"op": "replace", "path": "/x~1y", "value": 2},
            {"op": "copy", "from": "/a/b/1", "path": "/c"},
            {"op": "move", "from": "/c", "path": "/d"},
            {"op": "remove", "path": "/a/b/3"},
        ],
    )
    assert result == {"a": {"b": [0, 1, 2]}, "x/y": 2, "d": 1}
    assert document == {"a": {"b": [1, 2]}, "x/y": 1}


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ([{"op": "test", "path": "/a", "value": 2}], PatchFailed),
        ([{"op": "remove", "path": "/b"}], PatchFailed),
        ([{"op": "replace", "path": "/b", "value": 1}], PatchFailed),
        ([{"op": "add", "path": "/b/c", "value": 1}], PatchFailed),
        ([{"op": "add", "path": "/l/7", "value": 1}], PatchFailed),
        ([{"op": "frob", "path": "/a"}], BadPatch),
        ([{"op": "add", "path": 5, "value": 1}], BadPatch),
        ([{"op": "add", "path": "/z"}], BadPatch),
        ({"op": "add"}, BadPatch),
        ([1], BadPatch),
        ([{"op": "add", "path": "/z", "value": 1}] * 10_001, BadPatch),
    ],
)
def test_a_json_patch_that_fails(patch, error):
    with pytest.raises(error):
        json_patch({"a": 1, "l": []}, patch)


paths = st.lists(st.sampled_from(["a", "b", "0", "-", "1", "~0", ""]), max_size=3).map(
    lambda parts: "".join("/" + one for one in parts)
)
operations = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": paths,
        "value": values,
        "from": paths,
    }
)


@given(objects, st.lists(operations, max_size=4))
def test_any_operations_work_or_are_refused_and_change_nothing_given(document, patch):
    before = copy.deepcopy(document)
    try:
        json_patch(document, patch)
    except (BadPatch, PatchFailed):
        pass
    assert document == before
