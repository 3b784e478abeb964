"""Server-side apply, as "Server-Side Apply" of Kubernetes' documents describes it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.patches import managers as managed
from gureum.kube.patches.apply import LAST_APPLIED, apply
from gureum.kube.patches.errors import BadPatch, Conflict
from gureum.kube.patches.field_sets import compare, difference, fields_of, intersection, paths, union, without
from gureum.kube.schemas import definition, of_kind, structural

DEPLOYMENT = of_kind("apps", "v1", "Deployment")
CONFIG_MAP = of_kind("", "v1", "ConfigMap")
SERVICE = of_kind("", "v1", "Service")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"


def config(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def applied(live, wished, manager="one", schema=CONFIG_MAP, **more):
    more = {"api_version": wished["apiVersion"], "now": NOW, **more}
    return apply(live, wished, schema, manager=manager, **more)


def changed(live, new, manager="editor", schema=CONFIG_MAP, now=NOW, **more):
    """The object after an update by another client, with its managed fields."""
    entries = managed.updated(live, new, schema, manager=manager, api_version=new["apiVersion"], now=now, **more)
    return {**new, "metadata": {**new["metadata"], "managedFields": entries}}


def owners(found):
    return {one["manager"]: one["fieldsV1"] for one in found["metadata"]["managedFields"]}


def test_the_applier_owns_what_it_applies():
    found = applied(None, config(a="1", b="2"))
    assert found["data"] == {"a": "1", "b": "2"}
    assert found["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}},
        }
    ]


def test_items_that_are_alike_stay_until_one_of_them_is_applied():
    """Clients other than server-side apply may make them: charts that name a variable twice (structured-merge-diff: AllowDuplicates)."""
    both = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    live = changed(None, deployment({"name": "c", "env": [*both, {"name": "B"}]}), "helm", DEPLOYMENT)
    env = {'k:{"name":"A"}': {}, 'k:{"name":"B"}': {".": {}, "f:name": {}}}
    assert env_of(owners(live)["helm"]) == env
    other = applied(live, deployment({"name": "c", "env": [{"name": "C"}]}), "two", DEPLOYMENT)
    assert [one["name"] for one in container_of(other)["env"]] == ["A", "A", "B", "C"]
    assert env_of(owners(other)["helm"]) == env
    wished = deployment({"name": "c", "env": [{"name": "A", "value": "3"}]})
    with pytest.raises(Conflict, match=r'env\[name="A"\]'):
        applied(other, wished, "three", DEPLOYMENT)
    taken = applied(other, wished, "three", DEPLOYMENT, force=True)
    assert [one for one in container_of(taken)["env"] if one["name"] == "A"] == [{"name": "A", "value": "3"}]
    assert 'k:{"name":"A"}' not in env_of(owners(taken)["helm"])
    more = changed(live, deployment({"name": "c", "env": [*both, both[0], {"name": "B"}]}), "editor", DEPLOYMENT)
    assert env_of(owners(more)["editor"]) == {'k:{"name":"A"}': {}}
    assert 'k:{"name":"A"}' not in env_of(owners(more)["helm"])


def container_of(obj):
    return obj["spec"]["template"]["spec"]["containers"][0]


def env_of(fields):
    return fields["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"c"}']["f:env"]


def test_what_is_applied_no_more_goes():
    found = applied(applied(None, config(a="1", b="2")), config(a="1"))
    assert found["data"] == {"a": "1"}
    assert owners(found) == {"one": {"f:data": {"f:a": {}}}}


def test_metadata_stays_when_the_last_label_goes():
    """Also where nobody else has a field of it."""
    made = {**config(a="1"), "metadata": {"name": "c", "namespace": "n", "labels": {"a": "b"}}}
    live = applied(None, made)
    live["metadata"] |= {"uid": "u", "creationTimestamp": NOW}
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n"}}
    found = applied(live, bare)
    assert found["metadata"] == {"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": NOW}
    assert "data" not in found


def test_what_others_have_stays():
    first = applied(None, config(a="1", b="2"))
    second = applied(first, config(b="2"), manager="two")
    assert owners(second) == {"one": {"f:data": {"f:a": {}, "f:b": {}}}, "two": {"f:data": {"f:b": {}}}}
    third = applied(second, config(a="1"))
    assert third["data"] == {"a": "1", "b": "2"}


def test_an_apply_that_changes_nothing_is_the_same_object():
    first = applied(None, config(a="1"))
    assert applied(first, config(a="1"), now=LATER) is first


def test_a_field_of_another_is_a_conflict_and_force_takes_it():
    first = applied(None, config(a="1", b="2"))
    with pytest.raises(Conflict) as caught:
        applied(first, config(a="3"), manager="two")
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert [(one.field, one.message) for one in caught.value.causes] == [(".data.a", 'conflict with "one"')]
    taken = applied(first, config(a="3"), manager="two", force=True)
    assert taken["data"] == {"a": "3", "b": "2"}
    assert owners(taken) == {"one": {"f:data": {"f:b": {}}}, "two": {"f:data": {"f:a": {}}}}


def test_conflicts_with_several_managers_are_all_named():
    live = changed(None, config(a="1", b="1"))
    live = applied(live, config(c="1"), manager="zed")
    with pytest.raises(Conflict) as caught:
        applied(live, config(a="2", b="2", c="2"))
    assert str(caught.value) == (
        'Apply failed with 3 conflicts: conflicts with "editor" using v1:\n- .data.a\n- .data.b\n'
        'conflicts with "zed":\n- .data.c'
    )


def test_an_update_takes_the_field_from_its_applier():
    live = changed(applied(None, config(a="1", b="2")), config(a="9", b="2"))
    assert owners(live) == {"one": {"f:data": {"f:b": {}}}, "editor": {"f:data": {"f:a": {}}}}
    with pytest.raises(Conflict, match=r'conflict with "editor" using v1: \.data\.a'):
        applied(live, config(a="1", b="2"))


def test_an_update_that_removes_a_field_leaves_it_to_nobody():
    live = changed(applied(None, config(a="1", b="2")), config(b="2"))
    assert owners(live) == {"one": {"f:data": {"f:b": {}}}}


def test_an_object_without_managers_belongs_to_whoever_was_before():
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using v1: \.data\.a'):
        applied(config(a="1"), config(a="2"))
    found = applied(config(a="1"), config(b="2"))
    assert set(owners(found)) == {"before-first-apply", "one"}
    assert all(one["time"] == NOW for one in found["metadata"]["managedFields"])


def test_coming_from_client_side_apply_needs_no_force():
    annotation = {LAST_APPLIED: '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}'}
    live = changed(
        None, {**config(a="1"), "metadata": {"name": "c", "annotations": annotation}}, "kubectl-client-side-apply"
    )
    assert applied(live, config(a="2"), manager="kubectl")["data"] == {"a": "2"}
    with pytest.raises(Conflict):
        applied(live, config(a="2"), manager="other")


def test_kubectls_annotation_keeps_up_with_what_kubectl_applies():
    annotation = {LAST_APPLIED: '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}'}
    live = {**config(a="1"), "metadata": {"name": "c", "annotations": annotation}}
    found = applied(live, config(a="1", b="2"), manager="kubectl", force=True)
    text = found["metadata"]["annotations"][LAST_APPLIED]
    assert text == '{"apiVersion":"v1","data":{"a":"1","b":"2"},"kind":"ConfigMap","metadata":{"name":"c"}}\n'
    assert applied(found, config(a="1", b="2"), manager="kubectl") == found
    assert applied(live, config(b="2"), manager="other")["metadata"]["annotations"] == annotation
    assert "annotations" not in applied(config(a="1"), config(b="2"), manager="kubectl")["metadata"]


def deployment(*containers, **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"app": "d"}},
        "spec": {"template": {"spec": {"containers": list(containers)}}, **spec},
    }


def test_items_of_a_list_have_owners_by_their_keys():
    found = applied(None, deployment({"name": "a", "ports": [{"containerPort": 80}]}, replicas=1), schema=DEPLOYMENT)
    assert owners(found)["one"] == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"a"}': {
                            ".": {},
                            "f:name": {},
                            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                        }
                    }
                }
            },
        },
    }


def test_an_item_applied_no_more_goes_with_its_defaults_and_another_one_stays():
    live = applied(None, deployment({"name": "a", "image": "1"}, {"name": "b", "image": "1"}), schema=DEPLOYMENT)
    for one in live["spec"]["template"]["spec"]["containers"]:
        one["imagePullPolicy"] = "Always"  # a default: nobody's
    other = applied(live, deployment({"name": "s", "image": "9"}), manager="two", schema=DEPLOYMENT)
    found = applied(other, deployment({"name": "a", "image": "1"}), schema=DEPLOYMENT)
    assert found["spec"]["template"]["spec"]["containers"] == [
        {"name": "a", "image": "1", "imagePullPolicy": "Always"},
        {"name": "s", "image": "9"},
    ]


def test_a_field_in_an_item_of_anothers_keeps_the_item():
    live = applied(None, deployment({"name": "a", "image": "1"}), schema=DEPLOYMENT)
    live = applied(live, deployment({"name": "a", "tty": True}), manager="two", schema=DEPLOYMENT)
    found = applied(live, deployment(), schema=DEPLOYMENT)
    assert found["spec"]["template"]["spec"]["containers"] == [{"name": "a", "tty": True}]


def test_a_port_without_protocol_is_the_one_with_tcp():
    def service(*ports):
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": list(ports)}}

    live = applied(None, service({"port": 80, "targetPort": 1}), schema=SERVICE)
    live["spec"]["ports"][0]["protocol"] = "TCP"
    found = applied(live, service({"port": 80, "protocol": "TCP", "targetPort": 2}), schema=SERVICE)
    assert found["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 2}]


@pytest.mark.parametrize(
    ("wished", "text"),
    [
        (deployment({"image": "1"}), "omits key field"),
        (deployment({"name": "a"}, {"name": "a"}), "duplicate entries for key"),
        ({**deployment(), "metadata": {"managedFields": [{}]}}, "managedFields must be nil"),
    ],
)
def test_a_configuration_that_is_none(wished, text):
    with pytest.raises(BadPatch, match=text):
        applied(None, wished, schema=DEPLOYMENT)


def test_an_atomic_value_has_one_owner():
    schema = structural(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "whole": {
                            "type": "object",
                            "x-kubernetes-map-type": "atomic",
                            "properties": {"a": {"type": "string"}},
                        },
                        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            },
        }
    )
    spec = {"whole": {"a": "1"}, "set": ["x", "y"], "free": {"q": {"r": [1]}}}
    found = applied(None, {"apiVersion": "e.x/v1", "kind": "T", "metadata": {"name": "t"}, "spec": spec}, schema=schema)
    assert owners(found)["one"] == {
        "f:spec": {
            "f:whole": {},
            "f:set": {'v:"x"': {}, 'v:"y"': {}},
            "f:free": {"f:q": {".": {}, "f:r": {}}},
        }
    }


def test_one_empty_entry_takes_all_managers_away():
    live = applied(None, config(a="1"))
    new = {**live, "metadata": {**live["metadata"], "managedFields": [{}]}}
    assert changed(live, new)["metadata"]["managedFields"] == []


def test_managers_without_number_are_put_together():
    live = None
    for number in range(25):
        now = f"2026-01-01T00:00:{number:02}Z"
        new = {**config(**{**(live or config())["data"], f"k{number}": "1"})}
        if live:
            new["metadata"] = {**live["metadata"]}
        live = changed(live, new, manager=f"m{number}", now=now)
    entries = live["metadata"]["managedFields"]
    assert len(entries) == managed.LIMIT_UPDATERS
    assert managed.ANCIENT in owners(live)
    everything = {}
    for one in entries:
        everything = union(everything, one["fieldsV1"])
    assert len(everything["f:data"]) == 25


# The algebra of sets

letters = st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"'])
nodes = st.recursive(
    st.just({}), lambda inner: st.dictionaries(letters | st.just("."), inner, min_size=1, max_size=3).map(
        lambda node: {name: {} if name == "." else one for name, one in node.items()}
    ).filter(lambda node: set(node) != {"."}), max_leaves=6,
)  # fmt: skip
sets = st.dictionaries(letters, nodes, max_size=3)


def plain_set(fields):
    return set(paths(fields))


@given(sets, sets)
def test_sets_are_sets(one, other):
    assert plain_set(union(one, other)) == plain_set(one) | plain_set(other)
    assert plain_set(intersection(one, other)) == plain_set(one) & plain_set(other)
    assert plain_set(difference(one, other)) == plain_set(one) - plain_set(other)


texts = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(texts, texts)
def test_what_is_compared_explains_the_whole_difference(old, new):
    found = compare(config(**old), config(**new), CONFIG_MAP)
    left = without(config(**new), found.changed, CONFIG_MAP)
    same = without(config(**old), union(found.removed, found.modified), CONFIG_MAP)
    assert left.get("data", {}) == same.get("data", {})


@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), texts), max_size=6))
def test_appliers_with_force_always_have_what_they_applied_last(history):
    live = None
    last = {}
    for manager, data in history:
        given_ = copy.deepcopy(live)
        after = applied(live, config(**data), manager=manager, force=True)
        assert live == given_
        assert data.items() <= after.get("data", {}).items()
        last[manager] = set(data)
        # Nothing is there that nobody applies now.
        assert set(after.get("data", {})) <= set().union(*last.values())
        live = after


def test_definitions_are_walked_whole():
    fields_of({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"properties": {"a": {"type": "x"}}}}}]}},
              of_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))  # fmt: skip
    assert definition("nothing") is None
