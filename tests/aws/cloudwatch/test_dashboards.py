"""Dashboards: what is stored, what is refused and what is only said ("Dashboard body structure and syntax")."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.aws.cloudwatch.conftest import ACCOUNT, Watch

TEXT = {"type": "text", "x": 0, "y": 0, "width": 6, "height": 3, "properties": {"markdown": "hello"}}
ARN = f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/main"


def put(watch: Watch, *widgets: Any, name: str = "main", **params: Any) -> list[dict[str, str]]:
    body = json.dumps({"widgets": list(widgets)})
    found = watch("PutDashboard", DashboardName=name, DashboardBody=body, **params)
    return list(found["DashboardValidationMessages"])


def test_put_get_list_delete(watch: Watch) -> None:
    assert put(watch, TEXT, Tags=[{"Key": "a", "Value": "b"}]) == []
    found = watch("GetDashboard", DashboardName="main")
    assert found["DashboardArn"] == ARN
    assert json.loads(found["DashboardBody"]) == {"widgets": [TEXT]}
    put(watch, name="other")
    entries = watch("ListDashboards", DashboardNamePrefix="ma")["DashboardEntries"]
    assert [(one["DashboardName"], one["Size"]) for one in entries] == [("main", len(found["DashboardBody"]))]
    assert watch("ListTagsForResource", ResourceARN=ARN)["Tags"] == [{"Key": "a", "Value": "b"}]
    assert watch.refused("DeleteDashboards", DashboardNames=["main", "none"])[0] == "DashboardNotFoundError"
    watch("DeleteDashboards", DashboardNames=["main", "other"])
    assert watch("ListDashboards")["DashboardEntries"] == []
    assert watch.refused("GetDashboard", DashboardName="main")[0] == "DashboardNotFoundError"


def test_what_looks_wrong_is_stored_and_said(watch: Watch) -> None:
    assert put(watch, {"type": "metric", "properties": {}}) == [
        {"DataPath": "/widgets/0/properties", "Message": "Should have required property 'region'"},
        {"DataPath": "/widgets/0/properties", "Message": "Should have required property 'metrics'"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"widgets": 1}',
        '{"widgets": [1]}',
        '{"widgets": [{"type": "nosuch"}]}',
        '{"widgets": [{"type": []}]}',
        '{"widgets": [{"type": "text", "x": 24}]}',
        '{"widgets": [{"type": "text", "height": true}]}',
        '{"widgets": [{"type": "text", "properties": []}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_dashboard(watch: Watch, body: str) -> None:
    assert watch.refused("PutDashboard", DashboardName="main", DashboardBody=body)[0] == "DashboardInvalidInputError"


def test_names(watch: Watch) -> None:
    for name in ("", "a b", "a/b", "a" * 256):
        found = watch.refused("PutDashboard", DashboardName=name, DashboardBody='{"widgets": []}')
        assert found[0] == "DashboardInvalidInputError"
