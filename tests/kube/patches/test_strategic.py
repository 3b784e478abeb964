"""Strategic merge, as Kubernetes' documents describe it ("Update API Objects in Place Using kubectl patch")."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.patches.errors import BadPatch
from gureum.kube.patches.plain import merge_patch
from gureum.kube.patches.strategic import strategic
from gureum.kube.schemas import of_kind

DEPLOYMENT = of_kind("apps", "v1", "Deployment")
POD = of_kind("", "v1", "Pod")


def containers(*items, **more):
    return {"spec": {"containers": list(items), **more}}


@pytest.mark.parametrize(
    ("live", "patch", "result"),
    [
        pytest.param(
            containers({"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}),
            containers({"name": "b", "image": "2"}, {"name": "a", "env": [{"name": "Y", "value": "2"}]}),
            containers(
                {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
                {"name": "b", "image": "2"},
            ),
            id="a list of objects merges by its key",
        ),
        pytest.param(
            {"spec": {"tolerations": [{"key": "a"}]}},
            {"spec": {"tolerations": [{"key": "b"}]}},
            {"spec": {"tolerations": [{"key": "b"}]}},
            id="a list without a key is replaced",
        ),
        pytest.param(
            containers({"name": "a", "args": ["1", "2"]}),
            containers({"name": "a", "args": ["3"]}),
            containers({"name": "a", "args": ["3"]}),
            id="a list of texts is replaced",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["b", "c"]}},
            {"metadata": {"finalizers": ["a", "b", "c"]}},
            id="a set of texts grows",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            id="a set of texts shrinks",
        ),
        pytest.param(
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "a", "$patch": "delete"}),
            containers({"name": "b"}),
            id="an item is deleted",
        ),
        pytest.param(
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "c"}, {"$patch": "replace"}),
            containers({"name": "c"}),
            id="a list is replaced",
        ),
        pytest.param(
            {"metadata": {"labels": {"a": "1", "b": "2"}}},
            {"metadata": {"labels": {"$patch": "replace", "c": "3"}}},
            {"metadata": {"labels": {"c": "3"}}},
            id="an object is replaced",
        ),
        pytest.param(
            {"metadata": {"labels": {"a": "1"}}, "spec": {}},
            {"metadata": {"labels": {"$patch": "delete"}}},
            {"metadata": {}, "spec": {}},
            id="an object is deleted",
        ),
        pytest.param(
            {"metadata": {"labels": {"a": "1"}}},
            {"metadata": {"labels": {"a": None, "b": None}}},
            {"metadata": {"labels": {}}},
            id="null deletes a member",
        ),
        pytest.param(
            containers({"name": "a"}, {"name": "b"}, {"name": "c"}),
            {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}},
            containers({"name": "c"}, {"name": "a"}, {"name": "b"}),
            id="the order is set",
        ),
        pytest.param(
            containers({"name": "s"}, {"name": "a"}),
            {
                "spec": {
                    "$setElementOrder/containers": [{"name": "n"}, {"name": "a"}],
                    "containers": [{"name": "n"}, {"name": "a", "image": "1"}],
                }
            },
            containers({"name": "n"}, {"name": "s"}, {"name": "a", "image": "1"}),
            id="what the patch does not name stays before what it preceded",
        ),
    ],
)
def test_lists_and_directives(live, patch, result):
    given_ = copy.deepcopy((live, patch))
    assert strategic(live, patch, POD) == result
    assert (live, patch) == given_


def test_retained_keys_clear_the_others():
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        containers({"image": "no key"}),
        containers("text"),
        {"metadata": {"labels": {"$patch": "frob"}}},
        {"spec": {"$setElementOrder/containers": "a", "containers": [{"name": "a"}]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
        {"spec": {"$retainKeys": ["a"], "b": 1}},
    ],
)
def test_what_is_no_patch_is_refused(patch):
    with pytest.raises(BadPatch):
        strategic(containers({"name": "x"}), patch, POD)


plain = st.recursive(
    st.none() | st.integers(-3, 3) | st.text("xy", max_size=1),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=6,
)
annotations = st.dictionaries(st.sampled_from(["a", "b", "c"]), plain, max_size=3)


@given(annotations, annotations)
def test_without_lists_and_directives_it_is_a_merge_patch(live, patch):
    assert strategic(live, patch, None) == merge_patch(live, patch)


names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(names, names, st.data())
def test_any_order_that_is_asked_for_is_given(live, patched, data):
    order = data.draw(st.permutations(sorted(set(patched) | set(data.draw(names)) & set(live))))
    patch = {
        "spec": {
            "containers": [{"name": one} for one in patched],
            "$setElementOrder/containers": [{"name": one} for one in order],
        }
    }
    found = [
        one["name"] for one in strategic(containers(*({"name": one} for one in live)), patch, POD)["spec"]["containers"]
    ]
    assert set(found) == set(live) | set(patched)
    assert [one for one in found if one in order] == [one for one in order if one in found]
    others = [one for one in live if one not in order]
    assert [one for one in found if one in others] == others


class Counted(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("directive", [{}, {"$patch": "delete"}])
def test_long_lists_are_not_searched_for_each_item(directive):
    """A body may have a hundred thousand items: nobody may keep the server busy for minutes by one of them."""
    names = [Counted(f"c{number}") for number in range(1000)]
    live = containers(*({"name": name} for name in names))
    patch = containers(*({"name": name, **directive} for name in reversed(names)))
    Counted.compared = 0
    assert len(strategic(live, patch, POD)["spec"]["containers"]) == (0 if directive else 1000)
    assert Counted.compared < 10_000


def test_long_lists_of_plain_values_are_not_searched_either():
    names = [Counted(f"a/{number}") for number in range(1000)]
    live = {"metadata": {"finalizers": names}}
    Counted.compared = 0
    assert strategic(live, {"metadata": {"finalizers": [*reversed(names)]}}, POD) == live
    gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": [*reversed(names)]}}
    assert strategic(live, gone, POD) == {"metadata": {"finalizers": []}}
    assert Counted.compared < 10_000
