"""Cells, as `kubectl get` shows them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.tables.column import human, selector
from gureum.kube.tables.custom import json_path
from gureum.kube.tables.table import TABLES, cells, definitions, table_of

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
META = {"name": "x", "creationTimestamp": "2026-01-01T11:59:00Z"}


def shown(group, kind, wide=False, **thing):
    table = table_of(group, kind)
    found = cells(table, {"kind": kind, "metadata": META, **thing}, NOW)
    assert len(found) == len(table.columns)
    return {one.name: cell for one, cell in zip(table.columns, found, strict=True) if wide or not one.priority}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"),
        (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"), (8 * 3600, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"),
        (49 * 3600, "2d1h"), (8 * 86400, "8d"), (729 * 86400, "729d"), (730 * 86400, "2y"), (735 * 86400, "2y5d"), (3000 * 86400, "8y"),
    ],
)  # fmt: skip
def test_spans_as_people_say_them(seconds, text):
    assert human(seconds) == text


def pod(**status):
    spec = {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}
    return shown("", "Pod", spec=spec, status=status)


RUNNING = {"ready": True, "state": {"running": {}}, "restartCount": 0}


def test_a_running_pod():
    found = pod(phase="Running", containerStatuses=[{**RUNNING, "name": "a"}, {**RUNNING, "name": "b", "restartCount": 2,
                "lastState": {"terminated": {"finishedAt": "2026-01-01T11:55:00Z"}}}])  # fmt: skip
    assert found == {"Name": "x", "Ready": "2/2", "Status": "Running", "Restarts": "2 (5m ago)", "Age": "60s"}


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}, "SchedulingGated"),
        ({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, "CrashLoopBackOff"),
        ({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}, "Completed"),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"signal": 9, "exitCode": 0}}}]}, "Signal:9"),
        ({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}, "Init:0/0"),
        ({"phase": "Pending", "initContainerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}, "Init:Error"),
    ],
)  # fmt: skip
def test_what_a_pod_is_at(status, text):
    assert pod(**status)["Status"] == text


def test_a_pod_that_ends():
    table = table_of("", "Pod")
    dying = {"metadata": {**META, "deletionTimestamp": "2026-01-01T12:00:30Z"}, "status": {"phase": "Running"}}
    assert "Terminating" in cells(table, dying, NOW)


def test_workloads():
    template = {"spec": {"containers": [{"name": "a", "image": "i:1"}]}}
    spec = {"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "x"}}}
    found = shown("apps", "Deployment", wide=True, spec=spec, status={"readyReplicas": 1, "updatedReplicas": 2})
    assert found == {
        "Name": "x", "Ready": "1/3", "Up-to-date": 2, "Available": 0, "Age": "60s", "Containers": "a", "Images": "i:1", "Selector": "app=x",
    }  # fmt: skip
    job = shown("batch", "Job", spec={"completions": 2}, status={"succeeded": 1, "startTime": "2026-01-01T11:59:30Z"})
    assert job == {"Name": "x", "Status": "Running", "Completions": "1/2", "Duration": "30s", "Age": "60s"}
    scaler = shown(
        "autoscaling", "HorizontalPodAutoscaler",
        spec={"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5, "minReplicas": 1,
              "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}]},
    )  # fmt: skip
    assert (scaler["Targets"], scaler["Reference"]) == ("cpu: <unknown>/50%", "Deployment/d")


def test_services():
    spec = {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.9",
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}],
    }
    assert shown("", "Service", spec=spec)["External-IP"] == "<pending>"
    found = shown("", "Service", spec=spec, status={"loadBalancer": {"ingress": [{"ip": "198.18.0.9"}]}})
    assert (found["External-IP"], found["Port(s)"]) == ("198.18.0.9", "80:30080/TCP")
    assert shown("", "Service", spec={"clusterIP": "None"})["Cluster-IP"] == "None"


def test_nodes_and_events():
    node = shown("", "Node", spec={"unschedulable": True}, status={"conditions": [{"type": "Ready", "status": "True"}]})
    assert (node["Status"], node["Roles"]) == ("Ready,SchedulingDisabled", "<none>")
    event = shown("", "Event", involvedObject={"kind": "Pod", "name": "p"}, reason="Started", type="Normal", message="m\n",
                  lastTimestamp="2026-01-01T11:58:00Z")  # fmt: skip
    assert event == {"Last Seen": "2m", "Type": "Normal", "Reason": "Started", "Object": "pod/p", "Message": "m"}


def test_the_default_class_is_marked():
    marks = {"storageclass.kubernetes.io/is-default-class": "true"}
    table = table_of("storage.k8s.io", "StorageClass")
    assert cells(table, {"metadata": {**META, "annotations": marks}}, NOW)[0] == "x (default)"


def test_selectors():
    found = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["2", "1"]},
             {"key": "d", "operator": "DoesNotExist"}]}  # fmt: skip
    assert selector(found) == "a=b,c in (1,2),!d"


CUSTOM = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
    {"name": "Mark", "type": "string", "jsonPath": r".metadata.annotations.example\.com/mark"},
]


def test_columns_of_a_custom_resource():
    table = table_of("e.x", "Thing", CUSTOM)
    assert [one["name"] for one in definitions(table)] == ["Name", "Size", "Ready", "Since", "Mark"]
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    thing = {
        "metadata": {**META, "annotations": {"example.com/mark": "m"}},
        "spec": {"size": 3},
        "status": {"conditions": conditions},
    }
    assert cells(table, thing, NOW) == ["x", 3, "True", "60s", "m"]
    assert cells(table, {"metadata": META}, NOW) == ["x", None, None, "60s", None]
    assert cells(table_of("e.x", "Thing", []), {"metadata": META}, NOW) == ["x", "60s"]


@pytest.mark.parametrize("path", [".a[", "a.b", ".a[?(@.x)]", ".a..b"])
def test_paths_that_are_none(path):
    with pytest.raises(ValueError, match="invalid JSONPath"):
        json_path(path)


noise = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["spec", "status", "a"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.sampled_from(sorted(TABLES)), noise, noise)
def test_no_object_breaks_its_table(key, spec, status):
    table = TABLES[key]
    found = cells(table, {"metadata": META, "spec": spec, "status": status, "subsets": spec, "webhooks": status}, NOW)
    assert len(found) == len(table.columns)
