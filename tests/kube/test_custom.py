"""Custom resources: served at once, defaulted, checked, pruned, and gone with their definition."""

from __future__ import annotations

import asyncio
import json

import pytest

from gureum.kube.controllers.definition_status import status_of
from gureum.kube.kinds.catalog import Catalog
from gureum.kube.kinds.custom.custom import validate_definition
from tests.kube.api import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api
from tests.kube.patches.test_apply import owners
from tests.kube.test_controllers import until

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
THINGS = "/apis/example.com/v1/namespaces/default/things"
SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "replicas": {"type": "integer", "default": 1},
                "when": {"type": "string", "format": "date-time"},
                "none": {"type": "string", "nullable": True, "default": "x"},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def definition(**version):
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        **version,
    }
    names = {"plural": "things", "kind": "Thing", "shortNames": ["th"]}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "things.example.com"}, "spec": spec}


def thing(name="t", **spec):
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": 1, **spec}}


def test_a_custom_kind_is_like_any_other():
    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            made = await api.ok("POST", THINGS, thing(extra=1, free={"a": {"b": 1}}, color=None, none=None))
            assert made["spec"] == {"size": 1, "color": "red", "replicas": 1, "free": {"a": {"b": 1}}, "none": None}

            async def established():
                found = await api.ok("GET", f"{DEFINITIONS}/things.example.com")
                return {one["type"]: one["status"] for one in found["status"]["conditions"] or ()} == {
                    "NamesAccepted": "True",
                    "Established": "True",
                }

            await until(established)
            resources = (await api.ok("GET", "/apis/example.com/v1"))["resources"]
            assert [one["name"] for one in resources] == ["things", "things/status", "things/scale"]
            document = await api.ok("GET", "/openapi/v3/apis/example.com/v1")
            assert "com.example.v1.Thing" in document["components"]["schemas"]
            table = await api.ok("GET", THINGS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
            assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Size"]
            assert table["rows"][0]["cells"] == ["t", 1]
            assert (await api.ok("GET", f"{THINGS}/t/scale"))["spec"] == {"replicas": 1}
            applied = await api.patch(f"{THINGS}/t?fieldManager=m&force=true", thing(size=2), APPLY)
            assert applied["spec"]["size"] == 2

    asyncio.run(run())


def test_a_new_definition_says_what_is_stored():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", DEFINITIONS, definition())
            names = {"plural": "", "kind": ""}
            assert made["status"] == {"conditions": None, "acceptedNames": names, "storedVersions": ["v1"]}

    asyncio.run(run())


def test_its_schema_refuses_what_does_not_fit():
    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            status, answer = await api.call("POST", THINGS, thing(size="big", color="green"))
            assert (status, answer["reason"]) == (422, "Invalid")
            assert {one["field"]: one["message"] for one in answer["details"]["causes"]} == {
                "spec.size": 'Invalid value: "string": spec.size in body must be of type integer: "string"',
                "spec.color": 'Unsupported value: "green": supported values: "blue", "red"',
            }
            status, answer = await api.call("POST", THINGS, thing(when="tomorrow"))
            said = 'Invalid value: "tomorrow": spec.when in body must be of type date-time: "tomorrow"'
            assert [one["message"] for one in answer["details"]["causes"]] == [said]
            status, answer = await api.call("POST", THINGS, {**thing(), "spec": {}})
            assert answer["details"]["causes"][0]["message"] == "Required value"
            status, answer = await api.call("POST", f"{THINGS}?fieldValidation=Strict", thing(extra=1))
            assert 'unknown field "spec.extra"' in answer["message"]
            await api.ok("POST", THINGS, thing())
            assert (await api.call("PATCH", f"{THINGS}/t", {}, content_type=STRATEGIC))[0] == 415

    asyncio.run(run())


def test_what_stays_as_it_was_may_stay_wrong():
    """A definition may become stricter than what is there (Kubernetes: CRD validation ratcheting)."""
    spec = SCHEMA["properties"]["spec"]
    parts = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["id"],
        "items": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": {"type": "integer"}, "n": {"type": "integer"}, "w": {"type": "integer"}},
        },
    }
    open_ = {**SCHEMA, "properties": {"spec": {**spec, "properties": {**spec["properties"], "parts": parts}}}}
    strict = json.loads(json.dumps(open_))
    properties = strict["properties"]["spec"]["properties"]
    properties["size"]["minimum"] = 5
    properties["parts"]["items"]["properties"]["n"]["maximum"] = 3

    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition(schema={"openAPIV3Schema": open_}))
            await api.ok("POST", THINGS, thing(parts=[{"id": 1, "n": 9}, {"id": 2, "n": 1}]))
            path = f"{DEFINITIONS}/things.example.com"
            change = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": strict}]
            await api.patch(path, change, JSON_PATCH)
            await api.patch(f"{THINGS}/t", {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 2}})
            await api.patch(f"{THINGS}/t", [{"op": "add", "path": "/spec/parts/0/w", "value": 7}], JSON_PATCH)
            for field, value, told in (
                ("/spec/size", 2, "spec.size in body should be greater than or equal to 5"),
                ("/spec/size", True, "spec.size in body must be of type integer"),
                ("/spec/parts/0/n", 8, "spec.parts[0].n in body should be less than or equal to 3"),
            ):
                status, answer = await api.call(
                    "PATCH", f"{THINGS}/t", [{"op": "replace", "path": field, "value": value}], content_type=JSON_PATCH
                )
                assert (status, told in answer["message"]) == (422, True), answer
            assert (await api.call("POST", THINGS, thing("new")))[0] == 422

    asyncio.run(run())


def test_an_object_inside_another_has_a_head_that_nobody_writes_down():
    inner = {"type": "object", "properties": {"spec": {"type": "object"}}, "x-kubernetes-embedded-resource": True}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"template": inner}}}}

    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition(schema={"openAPIV3Schema": schema}))
            template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {}}
            whole = {**thing(), "spec": {"template": template}}
            made = await api.ok("POST", f"{THINGS}?fieldValidation=Strict", whole)
            assert made["spec"]["template"] == template
            await api.patch(f"{THINGS}/t?fieldManager=m&force=true&fieldValidation=Strict", whole, APPLY)
            for change, status, told in (
                ({"kind": None}, 422, "spec.template.kind: Required value: must not be empty"),
                ({"metadata": {"odd": 1}}, 422, 'unknown field "spec.template.metadata.odd"'),
            ):
                got, answer = await api.call(
                    "PATCH", f"{THINGS}/t?fieldValidation=Strict", {"spec": {"template": change}}, content_type=MERGE
                )
                assert (got, told in answer["message"]) == (status, True), answer

    asyncio.run(run())


def test_rules_that_are_not_judged_are_told():
    schema = json.loads(json.dumps(SCHEMA))
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.size < 10"}]

    async def run():
        async with Api() as api:
            response = await api.respond("POST", DEFINITIONS, definition(schema={"openAPIV3Schema": schema}))
            assert response.status == 201
            assert response.headers["warning"] == (
                '299 - "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations: '
                'kept, and not evaluated: CEL is not built"'
            )

    asyncio.run(run())


NO_TYPE = {"type": "object", "properties": {"spec": {"properties": {"a": {"type": "string"}}}}}


def of_spec(**properties):
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


@pytest.mark.parametrize(
    ("schema", "field", "text"),
    [
        ({"properties": {}}, "type", "Required value: must not be empty at the root"),
        (NO_TYPE, "properties[spec].type", "Required value: must not be empty for specified object fields"),
        (of_spec(a={"type": "strng"}), "properties[spec].properties[a].type", 'Unsupported value: "strng"'),
        (of_spec(a={"type": "array"}), "properties[spec].properties[a].items", "Required value: must be specified"),
        (of_spec(a={"type": "string", "default": 5}), "properties[spec].properties[a].default", "must be of type string"),
        (
            of_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": " "}]}),
            "properties[spec].properties[a].x-kubernetes-validations[0].rule",
            "Required value: rule is not specified",
        ),
        (
            of_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "a ||\n b"}]}),
            "properties[spec].properties[a].x-kubernetes-validations[0].message",
            "message must be specified if rule contains line breaks",
        ),
        (
            of_spec(a={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}),
            "properties[spec].properties[a].x-kubernetes-list-map-keys",
            "must not be empty if x-kubernetes-list-type is map",
        ),
        (
            of_spec(a={"type": "string", "anyOf": [{"type": "string"}]}),
            "properties[spec].properties[a].anyOf[0].type",
            "Forbidden: must be empty to be structural",
        ),
        (
            {**of_spec(a={"type": "string"}), "oneOf": [{"properties": {"b": {"minLength": 1}}}]},
            "properties[b]",
            "Required value: because it is defined in spec.versions[0].schema.openAPIV3Schema.oneOf[0].properties[b]",
        ),
        (
            of_spec(a={"type": "string", "not": {"x-kubernetes-validations": [{"rule": "true"}]}}),
            "properties[spec].properties[a].not.x-kubernetes-validations",
            "Forbidden: must be empty to be structural",
        ),
        (
            of_spec(a={"type": "string", "pattern": "+"}),
            "properties[spec].properties[a].pattern",
            "isn't: error parsing regexp: missing argument to repetition operator: `+`",
        ),
        (
            of_spec(a={"type": "string", "allOf": [{"pattern": "^(?=a)"}]}),
            "properties[spec].properties[a].allOf[0].pattern",
            "isn't: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
        ),
        (
            of_spec(a={"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                       "items": {"type": "object", "properties": {"n": {"type": "string"}}}}),
            "properties[spec].properties[a].items.properties[n].default",
            "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (of_spec(a={"type": "object", "default": {"b": 1}}), "properties[spec].properties[a].default", "must not have unknown fields"),
        (of_spec(a={"type": "string", "uniqueItems": True}), "properties[spec].properties[a].uniqueItems", "becomes quadratic"),
        (
            of_spec(a={"type": "object", "patternProperties": {"b": {"type": "string"}}}),
            "properties[spec].properties[a].patternProperties",
            "Forbidden: patternProperties is not supported",
        ),
        (
            of_spec(a={"type": "object", "x-kubernetes-preserve-unknown-fields": False}),
            "properties[spec].properties[a].x-kubernetes-preserve-unknown-fields",
            "Invalid value: false: must be true or undefined",
        ),
        (
            of_spec(a={"type": "object", "x-kubernetes-embedded-resource": True}),
            "properties[spec].properties[a].properties",
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
            "properties[metadata]",
            "must not specify anything other than name and generateName",
        ),
        ({**of_spec(), "default": {"apiVersion": "v1"}}, "default.kind", "Required value: must not be empty"),
        ({**of_spec(), "default": {"apiVersion": "v1", "kind": "A", "a": 1}}, "default", "must not have unknown fields"),
    ],
)  # fmt: skip
def test_schemas_are_structural(schema, field, text):
    made = definition(schema={"openAPIV3Schema": schema})
    wrong = validate_definition(made, None)
    assert [one.field for one in wrong] == [f"spec.versions[0].schema.openAPIV3Schema.{field}"]
    assert text in wrong[0].message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"names": {"plural": "things", "kind": "Thing", "singular": "A B"}}, "spec.names.singular"),
        ({"names": {"plural": "things", "kind": "Thing", "shortNames": ["t", "A_"]}}, "spec.names.shortNames[1]"),
        ({"names": {"plural": "things", "kind": "Thing", "listKind": "Thing"}}, "spec.names.listKind"),
        ({"conversion": {"strategy": "Odd"}}, "spec.conversion.strategy"),
        ({"preserveUnknownFields": True}, "spec.preserveUnknownFields"),
    ],
)
def test_definitions_are_checked_beside_their_schemas(change, field):
    made = definition()
    made["spec"] |= change
    assert [one.field for one in validate_definition(made, None)] == [field]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "Required value"),
        ("spec.a", "is an invalid path: expected [ or . but got: s"),
        (".spec.c", "is an invalid path: does not refer to a valid field"),
        (".metadata.name", "must not point to fields in metadata"),
        (".spec", "must point to a field of type string, boolean or integer"),
        (".spec.a", 'Duplicate value: ".spec.a"'),
    ],
)
def test_selectable_fields_are_of_the_schema(path, text):
    schema = of_spec(a={"type": "string"})
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    made = definition(
        schema={"openAPIV3Schema": schema}, selectableFields=[{"jsonPath": ".spec.a"}, {"jsonPath": path}]
    )
    wrong = validate_definition(made, None)
    assert [one.field for one in wrong] == ["spec.versions[0].selectableFields[1].jsonPath"]
    assert text in wrong[0].message


def test_columns_and_scales_are_checked():
    column = {"name": "A", "type": "text", "jsonPath": "spec.a"}
    scale = {"specReplicasPath": ".status.size", "labelSelectorPath": "status.selector"}
    made = definition(additionalPrinterColumns=[column], subresources={"scale": scale})
    assert [one.field.removeprefix("spec.versions[0].") for one in validate_definition(made, None)] == [
        "additionalPrinterColumns[0].type",
        "additionalPrinterColumns[0].jsonPath",
        "subresources.scale.specReplicasPath",
        "subresources.scale.statusReplicasPath",
        "subresources.scale.labelSelectorPath",
    ]


def test_choices_say_what_a_value_must_fulfil():
    numbers_or_texts = [{"type": "integer"}, {"type": "string"}]
    schema = of_spec(
        port={"x-kubernetes-int-or-string": True, "anyOf": numbers_or_texts},
        other={"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": numbers_or_texts}, {"pattern": "^a"}]},
        map={"type": "object", "additionalProperties": {"type": "string"}},
    )
    schema["properties"]["spec"]["oneOf"] = [{"required": ["port"]}, {"properties": {"map": {"properties": {"a": {}}}}}]
    assert validate_definition(definition(schema={"openAPIV3Schema": schema}), None) == []


@pytest.mark.parametrize("pattern", ["(?i)abc", r"^\p{L}+$", "[[:alpha:]]+"])
def test_a_pattern_beyond_the_engine_is_told_and_holds_nothing_against_anybody(pattern):
    schema = of_spec(a={"type": "string", "pattern": pattern})

    async def run():
        async with Api() as api:
            response = await api.respond("POST", DEFINITIONS, definition(schema={"openAPIV3Schema": schema}))
            assert response.status == 201
            assert "properties[spec].properties[a].pattern: kept, and not evaluated" in response.headers["warning"]
            await api.ok("POST", THINGS, {**thing(), "spec": {"a": "123"}})

    asyncio.run(run())


def test_protected_groups_need_an_approval():
    made = definition()
    made["spec"]["group"] = "x.k8s.io"
    made["metadata"] = {"name": "things.x.k8s.io"}
    assert [one.field for one in validate_definition(made, None)] == [
        "metadata.annotations[api-approved.kubernetes.io]"
    ]
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, experimental-only"}
    assert validate_definition(made, None) == []


def test_only_served_versions_are_served_and_deprecated_ones_say_so():
    async def run():
        async with Api() as api:
            made = definition(served=False)
            version = {**made["spec"]["versions"][0], "served": True, "storage": False}
            made["spec"]["versions"] += [{**version, "name": "v2"}, {**version, "name": "v1beta1", "deprecated": True}]
            webhook = {"clientConfig": {"url": "https://localhost/"}, "conversionReviewVersions": ["v1"]}
            made["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
            response = await api.respond("POST", DEFINITIONS, made)
            assert response.headers["warning"].startswith('299 - "spec.conversion: kept, and not asked')
            assert (await api.call("GET", THINGS))[0] == 404
            await api.ok("POST", THINGS.replace("v1", "v2"), {**thing(), "apiVersion": "example.com/v2"})
            response = await api.respond("GET", f"{THINGS.replace('v1', 'v1beta1')}/t")
            assert json.loads(response.body)["apiVersion"] == "example.com/v1beta1"
            assert response.headers["warning"] == '299 - "example.com/v1beta1 Thing is deprecated"'
            same = await api.patch(f"{THINGS.replace('v1', 'v2')}/t", {}, MERGE)
            assert same["apiVersion"] == "example.com/v2"

    asyncio.run(run())


def test_what_is_applied_by_another_way_is_nobodys():
    """Of the object a status, of the status a spec (the original's reset fields): no ownership, no conflict."""
    whole = {**thing(size=1), "status": {"phase": "a"}}

    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition(subresources={"status": {}}))
            made = await api.patch(f"{THINGS}/t?fieldManager=one", whole, APPLY)
            assert owners(made) == {"one": {"f:spec": {"f:size": {}}}}
            told = await api.patch(f"{THINGS}/t/status?fieldManager=two", {**whole, "spec": {"size": 2}}, APPLY)
            assert (told["spec"]["size"], told["status"]) == (1, {"phase": "a"})
            assert owners(told) == {"one": {"f:spec": {"f:size": {}}}, "two": {"f:status": {"f:phase": {}}}}

    asyncio.run(run())


def conditions_of(shown):
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in shown["status"]["conditions"] or ()}


def test_a_definition_without_a_served_version_has_objects_and_no_way_to_them():
    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            await api.ok("POST", THINGS, thing())
            off = [{"op": "replace", "path": "/spec/versions/0/served", "value": False}]
            await api.patch(f"{DEFINITIONS}/things.example.com", off, JSON_PATCH)
            for method in ("GET", "POST"):
                status, answer = await api.call(method, THINGS, thing() if method == "POST" else None)
                assert (status, answer["message"]) == (404, "the server could not find the requested resource")
            assert "example.com" not in [one["name"] for one in (await api.ok("GET", "/apis"))["groups"]]
            await api.patch(f"{DEFINITIONS}/things.example.com", [{**off[0], "value": True}], JSON_PATCH)
            assert [one["metadata"]["name"] for one in (await api.ok("GET", THINGS))["items"]] == ["t"]

    asyncio.run(run())


def test_nobody_takes_a_built_in_kind_over():
    """Nor what it has, when the definition goes again."""
    made = definition()
    made["metadata"] = {
        "name": "roles.rbac.authorization.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"},
    }
    made["spec"] |= {"group": "rbac.authorization.k8s.io", "names": {"plural": "roles", "kind": "Role"}}
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"

    async def run():
        async with Api() as api:
            await api.ok("POST", roles, {"metadata": {"name": "mine"}, "rules": []})
            await api.ok("POST", DEFINITIONS, made)

            async def told():
                shown = await api.ok("GET", f"{DEFINITIONS}/{made['metadata']['name']}")
                return shown.get("status") and conditions_of(shown).get("Established")

            assert (await until(told))[:2] == ("False", "NotAccepted")
            assert (await api.ok("GET", f"{roles}/mine"))["kind"] == "Role"
            await api.ok("DELETE", f"{DEFINITIONS}/{made['metadata']['name']}")

            async def gone():
                return (await api.call("GET", f"{DEFINITIONS}/{made['metadata']['name']}"))[0] == 404

            await until(gone)
            assert [one["metadata"]["name"] for one in (await api.ok("GET", roles))["items"]] == ["mine"]

    asyncio.run(run())


def test_who_comes_second_with_a_name_waits_until_it_is_free():
    async def run():
        async with Api() as api:

            async def said(name, type_):
                shown = await api.ok("GET", f"{DEFINITIONS}/{name}.example.com")
                return shown.get("status") and conditions_of(shown).get(type_)

            await api.ok("POST", DEFINITIONS, definition())
            await until(lambda: said("things", "Established"))
            other = definition()
            other["metadata"]["name"] = "others.example.com"
            other["spec"]["names"] = {"plural": "others", "kind": "Other", "shortNames": ["th"]}
            await api.ok("POST", DEFINITIONS, other)
            await until(lambda: said("others", "Established"))
            conflict = ("False", "ShortNamesConflict", '"th" is already in use')
            assert await said("others", "NamesAccepted") == conflict
            assert await said("others", "Established") == ("False", "NotAccepted", "not all names are accepted")
            accepted = (await api.ok("GET", f"{DEFINITIONS}/others.example.com"))["status"]["acceptedNames"]
            assert accepted == {"plural": "others", "singular": "other", "kind": "Other", "listKind": "OtherList"}
            assert (await api.call("GET", THINGS.replace("things", "others")))[0] == 404
            await api.ok("DELETE", f"{DEFINITIONS}/things.example.com")

            async def free():
                return (await said("others", "Established"))[0] == "True"

            await until(free)
            await api.ok("GET", THINGS.replace("things", "others"))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("annotation", "condition"),
    [
        ("https://github.com/x/y/pull/1", ("True", "ApprovedAnnotation", "approved in https://github.com/x/y/pull/1")),
        ("unapproved, a try", ("False", "UnapprovedAnnotation", 'not approved: "unapproved, a try"')),
    ],
)
def test_status_tells_of_approval_and_of_schemas_from_before(annotation, condition):
    made = definition(schema={"openAPIV3Schema": NO_TYPE})
    made["spec"]["group"] = "x.k8s.io"
    made["metadata"] |= {"annotations": {"api-approved.kubernetes.io": annotation}}
    status = status_of(Catalog(), made, "2026-01-01T00:00:00Z")
    found = conditions_of({"status": status})
    assert found["KubernetesAPIApprovalPolicyConformant"] == condition
    field = "spec.versions[0].schema.openAPIV3Schema.properties[spec].type"
    text = f"{field}: Required value: must not be empty for specified object fields"
    assert found["NonStructuralSchema"] == ("True", "Violations", text)
    assert status_of(Catalog(), {**made, "status": status}, "2026-02-02T00:00:00Z") == status


def test_status_and_spec_are_written_apart():
    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            made = await api.ok("POST", THINGS, {**thing(), "status": {"x": 1}})
            assert "status" not in made
            done = await api.ok("PUT", f"{THINGS}/t/status", {**made, "spec": {"size": 9}, "status": {"x": 2}})
            assert (done["spec"]["size"], done["status"], done["metadata"]["generation"]) == (1, {"x": 2}, 1)
            tried = await api.ok("PUT", f"{THINGS}/t/status?dryRun=All", {**done, "status": {"x": 3}})
            assert tried["status"] == {"x": 3}
            assert await api.ok("GET", f"{THINGS}/t") == done
            done["spec"]["size"] = 3
            done["status"] = {}
            changed = await api.ok("PUT", f"{THINGS}/t", done)
            assert (changed["spec"]["size"], changed["status"], changed["metadata"]["generation"]) == (3, {"x": 2}, 2)
            status, answer = await api.call("PUT", f"{THINGS}/t", thing())
            assert status == 422
            assert "metadata.resourceVersion" in answer["message"]

    asyncio.run(run())


def test_a_version_that_was_stored_stays_until_its_status_lets_it_go():
    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            path = f"{DEFINITIONS}/things.example.com"
            first = (await api.ok("GET", path))["spec"]["versions"][0]
            second = {**first, "name": "v2"}
            both = {"spec": {"versions": [{**first, "storage": False}, second]}}
            await api.patch(path, both)

            async def stored():
                return (await api.ok("GET", path))["status"]["storedVersions"] == ["v1", "v2"]

            await until(stored)
            alone = {"spec": {"versions": [second]}}
            status, answer = await api.call("PATCH", path, alone, content_type=MERGE)
            told = 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version'
            assert (status, told in answer["message"]) == (422, True), answer
            await api.patch(f"{path}/status", {"status": {"storedVersions": ["v2"]}})
            assert len((await api.patch(path, alone))["spec"]["versions"]) == 1

    asyncio.run(run())


def test_a_definition_takes_its_objects_with_it():
    async def run():
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            await api.ok("POST", THINGS, thing())

            async def held():
                return (await api.ok("GET", f"{DEFINITIONS}/things.example.com"))["metadata"].get("finalizers")

            await until(held)
            await api.ok("DELETE", f"{DEFINITIONS}/things.example.com")

            async def gone():
                return (await api.call("GET", f"{DEFINITIONS}/things.example.com"))[0] == 404

            await until(gone)
            assert (await api.call("GET", THINGS))[0] == 404
            assert not [entry.key for entry in api.store.range("kube/") if "/things/" in entry.key]

    asyncio.run(run())
