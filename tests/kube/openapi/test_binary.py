"""The binary form, read back field by field (numbers: gnostic-models, OpenAPIv2.proto). kubectl itself reads it in the wire tests."""

from __future__ import annotations

from gureum.kube.openapi.binary import document
from gureum.kube.openapi.documents import Described, version2
from gureum.kube.protobuf.decode import _wire

VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


def fields(message):
    found = {}
    for number, _, value in _wire(message):
        found.setdefault(number, []).append(value)
    return found


def by_name(parts):
    return {fields(one)[1][0].decode(): fields(one)[2][0] for one in parts}


def test_paths_and_definitions_are_there():
    kind = Described("apps", "v1", "Deployment", "deployments", True, VERBS)
    whole = fields(document(version2([kind], "v1.34.0")))
    assert whole[1] == [b"2.0"]
    assert fields(whole[2][0]) == {1: [b"Kubernetes"], 2: [b"v1.34.0"]}
    schemas = by_name(fields(whole[9][0])[1])
    spec = fields(schemas["io.k8s.api.apps.v1.DeploymentSpec"])
    assert set(spec[19]) == {b"selector", b"template"}
    template = fields(by_name(fields(spec[25][0])[1])["template"])
    assert template[1] == [b"#/definitions/io.k8s.api.core.v1.PodTemplateSpec"]
    marks = by_name(fields(schemas["io.k8s.api.apps.v1.Deployment"])[31])
    assert b"Deployment" in fields(marks["x-kubernetes-group-version-kind"])[2][0]
    item = fields(by_name(fields(whole[8][0])[2])["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"])
    assert {2, 3, 5, 8, 9} <= set(item)
