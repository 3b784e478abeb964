"""The documents, where kubectl reads them: references that lead somewhere, marks that stayed, parameters of PATCH."""

from __future__ import annotations

import pytest

from gureum.kube.openapi.definitions import definition, references
from gureum.kube.openapi.documents import Described, index3, version2, version3
from gureum.kube.schemas import definition_names

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
DEPLOYMENT = Described("apps", "v1", "Deployment", "deployments", True, VERBS, ("status", "scale"))
POD = Described("", "v1", "Pod", "pods", True, VERBS, ("status", "eviction", "binding", "log"))
NODE = Described("", "v1", "Node", "nodes", False, VERBS, ("status",))
THING = Described(
    "example.com", "v1", "Thing", "things", True, VERBS, ("status",),
    own_schema={"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}},
)  # fmt: skip


@pytest.mark.parametrize("make", [version2, version3])
def test_every_reference_leads_somewhere(make):
    document = make([DEPLOYMENT, POD, NODE, THING], "v1.34.0")
    schemas = document["definitions"] if make is version2 else document["components"]["schemas"]
    assert set(references(document)) <= set(schemas)
    assert {"io.k8s.api.apps.v1.Deployment", "io.k8s.api.core.v1.PodSpec", "com.example.v1.Thing"} <= set(schemas)


def test_patch_says_that_the_server_checks_fields():
    paths = version3([DEPLOYMENT, THING], "v1.34.0")["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= {one["name"] for one in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    custom = paths["/apis/example.com/v1/namespaces/{namespace}/things/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in custom["requestBody"]["content"]


def test_subresources_have_the_kind_that_they_take():
    paths = version3([POD, DEPLOYMENT], "v1.34.0")["paths"]
    eviction = paths["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"]
    assert eviction["x-kubernetes-group-version-kind"]["group"] == "policy"
    assert paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert "/api/v1/namespaces/{namespace}/pods/{name}/log" not in paths


def test_what_the_validators_edition_changed_is_undone():
    container = definition("io.k8s.api.core.v1.Container", 3)
    assert container["properties"]["env"]["type"] == "array"
    assert container["properties"]["env"]["x-kubernetes-patch-merge-key"] == "name"
    assert container["properties"]["resources"]["allOf"] == [
        {"$ref": "#/components/schemas/io.k8s.api.core.v1.ResourceRequirements"}
    ]
    assert "enum" not in definition("io.k8s.api.apps.v1.Deployment", 2)["properties"]["kind"]
    assert definition("io.k8s.apimachinery.pkg.util.intstr.IntOrString", 2) == {
        "type": "string",
        "format": "int-or-string",
    }
    for name in definition_names():
        for version in (2, 3):
            assert "null" not in str(definition(name, version).get("type"))


def test_the_index_names_documents_by_their_hash():
    assert index3([("api/v1", "AB")])["paths"]["api/v1"] == {"serverRelativeURL": "/openapi/v3/api/v1?hash=AB"}
