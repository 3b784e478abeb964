"""Dashboards: stored and checked; the console draws them. They belong to the account, not to a region.

AWS: "Dashboard body structure and syntax". What cannot be is refused (DashboardInvalidInputError); what only looks wrong is stored, and said.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.cloudwatch.refusals import invalid
from gureum.aws.cloudwatch.tag_sets import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.engine.resource import Resource, kind

GLOBAL = "aws-global"
LIMIT_BODY_BYTES, LIMIT_WIDGETS, LIMIT_DELETED, PAGE = 1024 * 1024, 500, 100, 1000
LIMIT_MESSAGES = 100
COLUMNS = 24
TYPES = frozenset({"metric", "text", "log", "alarm", "explorer", "custom", "trace"})
_NAME = re.compile(r"[0-9A-Za-z\-_]{1,255}", re.ASCII)
Messages = list[dict[str, str]]


class DashboardSpec(msgspec.Struct, frozen=True):
    """`modified`: Unix seconds."""

    body: str
    modified: float


@kind("cloudwatch.Dashboard")
class Dashboard(Resource, frozen=True):
    spec: DashboardSpec


@operation("PutDashboard", level="state")
async def put_dashboard(call: Call) -> Result:
    """AWS: cloudwatch PutDashboard. Tags only count when it is new."""
    params = call.params
    name, body = params.get("DashboardName", ""), params.get("DashboardBody", "")
    if not _NAME.fullmatch(name):
        allowed = "It can only contain alphanumerics, dash (-) and underscore (_)."
        text = f"The value {name[:255]} for field DashboardName contains invalid characters. {allowed}"
        raise _refuse(text, [{"Message": text}])
    messages = _check_body(body)
    spec = DashboardSpec(body, call.now)
    old = call.client.get(Dashboard, dashboards_scope(call), name)
    transaction = call.transaction()
    if old is None:
        meta = msgspec.structs.replace(call.meta(name, tags=tags_of(params)), scope=dashboards_scope(call))
        transaction.create(Dashboard(meta=meta, spec=spec))
    else:
        transaction.update(msgspec.structs.replace(old, spec=spec))
    await call.commit(transaction)
    return {"DashboardValidationMessages": messages}


@operation("GetDashboard", level="state")
def get_dashboard(call: Call) -> Result:
    """AWS: cloudwatch GetDashboard. ResourceNotFound."""
    found = _find(call, call.params.get("DashboardName", ""))
    return {
        "DashboardArn": _arn(call, found.meta.name),
        "DashboardName": found.meta.name,
        "DashboardBody": found.spec.body,
    }


@operation("ListDashboards", level="state")
def list_dashboards(call: Call) -> Result:
    """AWS: cloudwatch ListDashboards."""
    prefix = call.params.get("DashboardNamePrefix", "")
    all_ = call.client.all(Dashboard, dashboards_scope(call))
    found = [one for one in all_ if one.meta.name.startswith(prefix)]
    shown, token = page(call.params, found, lambda one: one.meta.name, default=PAGE)
    entries = [
        {
            "DashboardName": one.meta.name,
            "DashboardArn": _arn(call, one.meta.name),
            "LastModified": one.spec.modified,
            "Size": len(one.spec.body.encode()),
        }
        for one in shown
    ]
    return {"DashboardEntries": entries} | ({"NextToken": token} if token else {})


@operation("DeleteDashboards", level="state")
async def delete_dashboards(call: Call) -> Result:
    """AWS: cloudwatch DeleteDashboards: all or none; DashboardNotFoundError."""
    names = list(dict.fromkeys(call.params.get("DashboardNames") or ()))
    if not 1 <= len(names) <= LIMIT_DELETED:
        raise invalid(f"The collection DashboardNames must have 1 to {LIMIT_DELETED} members.")
    transaction = call.transaction()
    for name in names:
        transaction.delete(_find(call, name))
    await call.commit(transaction)
    return {}


def dashboards_scope(call: Call) -> str:
    return f"{call.account}/{GLOBAL}"


def _find(call: Call, name: str) -> Dashboard:
    found = call.client.get(Dashboard, dashboards_scope(call), name)
    if found is None:
        raise AwsError("DashboardNotFoundError", f"Dashboard {name[:255]} does not exist")
    return found


def _arn(call: Call, name: str) -> str:
    return call.arn(f"dashboard/{name}", region="")


def _refuse(text: str, messages: Messages) -> AwsError:
    fields = {"dashboardValidationMessages": messages}
    return AwsError("DashboardInvalidInputError", text, fields=fields)


def _check_body(body: str) -> Messages:
    """What looks wrong, by path ("/widgets/0/properties"). Raises for what is no dashboard at all."""
    if not body or len(body.encode()) > LIMIT_BODY_BYTES:
        text = f"The field DashboardBody must have 1 to {LIMIT_BODY_BYTES} bytes."
        raise _refuse(text, [{"Message": text}])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        text = "The dashboard body is invalid, there are 1 validation errors: The field DashboardBody must be a valid JSON object."
        raise _refuse(text, [{"Message": "The field DashboardBody must be a valid JSON object."}]) from error
    messages = _fatal(found)
    if messages:
        text = f"The dashboard body is invalid, there are {len(messages)} validation errors."
        raise _refuse(text, messages[:LIMIT_MESSAGES])
    warnings = []
    for number, widget in enumerate(found["widgets"]):
        warnings += _warnings(f"/widgets/{number}", widget)
    return warnings[:LIMIT_MESSAGES]


def _fatal(found: Any) -> Messages:
    if not isinstance(found, dict):
        return [{"Message": "The field DashboardBody must be a valid JSON object."}]
    widgets = found.get("widgets")
    if not isinstance(widgets, list):
        return [{"DataPath": "/widgets", "Message": "Should have required property 'widgets', an array."}]
    if len(widgets) > LIMIT_WIDGETS:
        return [{"DataPath": "/widgets", "Message": f"Should not have more than {LIMIT_WIDGETS} items."}]
    messages: Messages = []
    for number, widget in enumerate(widgets):
        where = f"/widgets/{number}"
        if not isinstance(widget, dict):
            messages.append({"DataPath": where, "Message": "Should be object"})
        elif not isinstance(widget.get("type"), str) or widget["type"] not in TYPES:
            allowed = ", ".join(sorted(TYPES))
            messages.append(
                {"DataPath": f"{where}/type", "Message": f"Should be equal to one of the allowed values: {allowed}"}
            )
        elif not isinstance(widget.get("properties", {}), dict):
            messages.append({"DataPath": f"{where}/properties", "Message": "Should be object"})
        else:
            messages += _fatal_place(where, widget)
    return messages


def _fatal_place(where: str, widget: dict[str, Any]) -> Messages:
    """AWS: 24 columns, heights of 1 to 1000."""
    bounds = (("x", 0, COLUMNS - 1), ("y", 0, 10**6), ("width", 1, COLUMNS), ("height", 1, 1000))
    return [
        {"DataPath": f"{where}/{name}", "Message": f"Should be an integer from {least} to {most}"}
        for name, least, most in bounds
        if name in widget and not (type(widget[name]) is int and least <= widget[name] <= most)
    ]


def _warnings(where: str, widget: dict[str, Any]) -> Messages:
    properties = widget.get("properties", {})
    needed = {"text": ("markdown",), "log": ("query",), "alarm": ("alarms",), "metric": ("region",)}.get(
        widget["type"], ()
    )
    messages: Messages = [
        {"DataPath": f"{where}/properties", "Message": f"Should have required property '{name}'"}
        for name in needed
        if name not in properties
    ]
    if widget["type"] == "metric" and "metrics" not in properties and "annotations" not in properties:
        messages.append({"DataPath": f"{where}/properties", "Message": "Should have required property 'metrics'"})
    return messages
