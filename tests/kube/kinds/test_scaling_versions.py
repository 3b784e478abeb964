"""Autoscalers in two versions: what goes from one to the other comes back the same."""

from __future__ import annotations

import asyncio
import json

from gureum.kube.kinds.scaling_versions import ANNOTATIONS, METRICS, to_v1, to_v2
from tests.kube.api import Api

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
MEMORY = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}
PODS = {
    "type": "Pods",
    "pods": {
        "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
        "target": {"type": "AverageValue", "averageValue": "5"},
    },
}
INGRESS = {
    "type": "Object",
    "object": {
        "describedObject": {"kind": "Ingress", "name": "i"},
        "metric": {"name": "hits"},
        "target": {"type": "Value", "value": "1k"},
    },
}
QUEUE = {
    "type": "External",
    "external": {"metric": {"name": "length"}, "target": {"type": "AverageValue", "averageValue": "30"}},
}
V2 = {
    "metadata": {"name": "h", "annotations": {"mine": "stays"}},
    "spec": {
        "scaleTargetRef": TARGET, "minReplicas": 1, "maxReplicas": 5, "metrics": [CPU, MEMORY, PODS, INGRESS, QUEUE],
        "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
    },
    "status": {
        "currentReplicas": 2, "desiredReplicas": 2, "conditions": [{"type": "AbleToScale", "status": "True"}],
        "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}},
            {"type": "Pods", "pods": {"metric": {"name": "q"}, "current": {"averageValue": "4"}}},
        ],
    },
}  # fmt: skip
PATH = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"


def test_there_and_back_is_the_same():
    old = to_v1(V2)
    assert old["spec"] == {
        "scaleTargetRef": TARGET, "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60,
    }  # fmt: skip
    assert old["status"] == {"currentReplicas": 2, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 12}
    assert set(old["metadata"]["annotations"]) == {"mine", *ANNOTATIONS}
    assert json.loads(old["metadata"]["annotations"][METRICS])[:2] == [
        {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}},
        {
            "type": "Pods",
            "pods": {"targetAverageValue": "5", "metricName": "q", "selector": {"matchLabels": {"a": "b"}}},
        },
    ]
    assert to_v2(old) == V2


def test_annotations_that_are_not_understood_do_no_harm():
    for text in ("", "{", "[1]", "7", "[{}]", '[{"type":"Pods"}]', "null"):
        one = {"metadata": {"name": "h", "annotations": dict.fromkeys(ANNOTATIONS, text)}, "spec": {"maxReplicas": 1}}
        to_v2(one)


def test_what_is_made_in_one_version_is_read_and_changed_in_the_other():
    async def run():
        async with Api() as api:
            spec = {"scaleTargetRef": TARGET, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60}
            body = {"metadata": {"name": "h"}, "spec": spec}
            made = await api.ok("POST", PATH.format("v1"), body)
            assert made["spec"] == spec | {"minReplicas": 1}
            new = await api.ok("GET", PATH.format("v2") + "/h")
            assert new["spec"]["metrics"] == [CPU]
            new["spec"]["metrics"].append(MEMORY)
            await api.ok("PUT", PATH.format("v2") + "/h", new)
            old = await api.patch(PATH.format("v1") + "/h", {"spec": {"maxReplicas": 7}})
            assert old["metadata"]["annotations"].keys() == {METRICS}
            new = await api.ok("GET", PATH.format("v2") + "/h")
            assert (new["spec"]["maxReplicas"], new["spec"]["metrics"]) == (7, [CPU, MEMORY])
            spoiled = {"metadata": {"annotations": {METRICS: '[{"type":"Pods"}]'}}}
            status, answer = await api.call(
                "PATCH", PATH.format("v1") + "/h", spoiled, content_type="application/merge-patch+json"
            )
            assert status == 422, answer
            groups = await api.ok("GET", "/apis/autoscaling")
            assert groups["preferredVersion"]["version"] == "v2"
            table = await api.ok("GET", PATH.format("v1"), accept="application/json;as=Table;v=v1;g=meta.k8s.io")
            assert table["rows"][0]["cells"][:2] == ["h", "Deployment/d"]

    asyncio.run(run())
