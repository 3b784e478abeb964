"""VPC flow logs: CreateFlowLogs, DescribeFlowLogs, DeleteFlowLogs, and how one is lowered to what the agent counts.

    ec2.FlowLog ──lower──► core FlowLog: the interfaces that are plugged in now
         ▲ reconcile: windows that wait in the agent become records at the destination (flow_logs/delivery.py)

Destinations: a log group, or files under the home in the place of S3 (flow_logs/files.py).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Literal, cast

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.flow_logs.destinations import (
    Destination,
    destination_of,
    destination_options,
    refusal_of,
    show_destination,
)
from gureum.aws.ec2.flow_logs.records import DEFAULT_FORMAT, BadFormat, parse_format
from gureum.aws.ec2.ids import IdForm
from gureum.aws.ec2.listing import answer, listing, show_own_tags
from gureum.aws.ec2.networks.kinds import NetworkInterface, Subnet, Vpc
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core import specs
from gureum.engine.lowering import Desired, Reader
from gureum.engine.registry import lower
from gureum.engine.resource import Resource, key_of, kind

FLOW_LOG = IdForm("fl", "flow log ID", "vpc-flow-log", "InvalidFlowLogId.NotFound", "InvalidFlowLogId.Malformed")
RESOURCES: dict[str, tuple[type[Resource], IdForm]] = {
    "VPC": (Vpc, ids.VPC),
    "Subnet": (Subnet, ids.SUBNET),
    "NetworkInterface": (NetworkInterface, ids.INTERFACE),
}
NOT_BUILT_TYPES = (
    "TransitGateway", "TransitGatewayAttachment", "RegionalNatGateway", "CoreNetwork", "CoreNetworkEdge", "CoreNetworkAttachment",
)  # fmt: skip
NOT_BUILT = ("DeliverCrossAccountRole", "TagFieldSpecifications")
INTERVALS_S = (600, 60)
LIMIT_RESOURCES = 300
Traffic = Literal["ACCEPT", "REJECT", "ALL"]


class FlowLogSpec(msgspec.Struct, frozen=True):
    """`interval_s`: AWS's MaxAggregationInterval; `real_interval_s`: the one that is used here (setting flow_log_interval_s)."""

    resource_type: str
    resource: str
    traffic: Traffic
    destination: Destination
    log_format: str
    interval_s: int
    real_interval_s: float
    role: str = ""


class FlowLogStatus(msgspec.Struct, frozen=True):
    """AWS: DeliverLogsStatus and DeliverLogsErrorMessage."""

    delivery: Literal["SUCCESS", "FAILED"] = "SUCCESS"
    error: str = ""


@kind("ec2.FlowLog", indexes={"resource": lambda log: log.spec.resource})
class FlowLog(Resource, frozen=True):
    """A flow log of one resource."""

    spec: FlowLogSpec
    status: FlowLogStatus = FlowLogStatus()


@operation("CreateFlowLogs")
async def create_flow_logs(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateFlowLogs: one flow log for each resource, all or none. A bucket that is not there is told in Unsuccessful (recorded)."""
    before = call.done_before()
    if before is not None:
        return _created(call, before)
    template = _template(call)
    found = _resources(call, template.resource_type)
    text = refusal_of(call, template.destination)
    if text:
        call.end_dry_run()
        error = {"Code": "400", "Message": text}
        return _created(call, ()) | {"Unsuccessful": [{"ResourceId": one.meta.name, "Error": error} for one in found]}
    tags = tags_of(call, "vpc-flow-log")
    transaction = call.transaction()
    names: list[str] = []
    for resource in found:
        transaction.require(resource)
        spec = msgspec.structs.replace(template, resource=resource.meta.name)
        if any(_is_same(one.spec, spec) for one in call.by(FlowLog, "resource", resource.meta.name)):
            text = "Error. There is an existing Flow Log with the same configuration and log destination."
            raise AwsError("FlowLogAlreadyExists", text)
        made = transaction.create(FlowLog(meta=call.meta(new_id("fl-"), tags=tags), spec=spec))
        names.append(made.meta.name)
    call.remember(transaction, tuple(names))
    await call.commit(transaction)
    return _created(call, tuple(names))


def _created(call: Call, names: tuple[str, ...]) -> dict[str, Any]:
    """With a token also where none was given, as AWS has it here and hardly anywhere else: as long as AWS's, of what was made."""
    made = b64encode(sha256(" ".join(names).encode()).digest()).decode()
    return {"ClientToken": call.params.get("ClientToken") or made, "FlowLogIds": list(names), "Unsuccessful": []}


def _template(call: Call) -> FlowLogSpec:
    """What all flow logs of a call have in common."""
    params = call.params
    for name in NOT_BUILT:
        if params.get(name):
            raise ids.not_built(f"CreateFlowLogs with {name}")
    resource_type = ids.need(call, "ResourceType")
    if resource_type in NOT_BUILT_TYPES:
        raise ids.not_built(f"A flow log of a {resource_type}")
    ids.choice(params, "ResourceType", *RESOURCES)
    ids.need(call, "TrafficType")
    traffic = cast(Traffic, ids.choice(params, "TrafficType", "ALL", "ACCEPT", "REJECT"))
    interval = params.get("MaxAggregationInterval", INTERVALS_S[0])
    if interval not in INTERVALS_S:
        raise parameter_fault("Invalid Flow Log Max Aggregation Interval")
    log_format = params.get("LogFormat") or DEFAULT_FORMAT
    try:
        parse_format(log_format)
    except BadFormat as bad:
        raise parameter_fault(f"Unknown fields provided in LogFormat: {bad}") from bad
    return FlowLogSpec(
        resource_type=resource_type,
        resource="",
        traffic=traffic,
        destination=destination_of(call),
        log_format=log_format,
        interval_s=interval,
        real_interval_s=call.settings.flow_log_interval_s or interval,
        role=params.get("DeliverLogsPermissionArn") or "",
    )


def parameter_fault(text: str) -> AwsError:
    return AwsError("InvalidParameter", text)


def _resources(call: Call, resource_type: str) -> list[Resource]:
    names = list(dict.fromkeys(call.params.get("ResourceIds") or ()))
    if not names:
        raise ids.missing("ResourceId")
    if len(names) > LIMIT_RESOURCES:
        raise parameter_fault(f"The number of resources must not exceed {LIMIT_RESOURCES}.")
    cls, form = RESOURCES[resource_type]
    return ids.find_all(call, cls, form, names)


def _is_same(one: FlowLogSpec, other: FlowLogSpec) -> bool:
    """AWS: a resource has one flow log of a kind for a destination."""
    return (one.traffic, one.log_format, one.destination) == (other.traffic, other.log_format, other.destination)


@operation("DescribeFlowLogs")
def describe_flow_logs(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeFlowLogs."""
    params = {name: value for name, value in call.params.items() if name != "Filter"}
    filters = call.params.get("Filter")
    call = call.with_params(params | ({"Filters": filters} if filters is not None else {}))
    found, token = listing(call, FlowLog, FLOW_LOG, "FlowLogIds", _FILTERS, default=1000)
    return answer("FlowLogs", [_show(call, one) for one in found], token)


_FILTERS: FilterTable = {
    "deliver-log-status": lambda log: log.status.delivery,
    "log-destination-type": lambda log: log.spec.destination.type,
    "flow-log-id": lambda log: log.meta.name,
    "log-group-name": lambda log: log.spec.destination.group,
    "resource-id": lambda log: log.spec.resource,
    "traffic-type": lambda log: log.spec.traffic,
}


def _show(call: Call, log: FlowLog) -> dict[str, Any]:
    spec = log.spec
    shown: dict[str, Any] = {
        "FlowLogId": log.meta.name,
        "FlowLogStatus": "ACTIVE",
        "CreationTime": log.meta.created,
        "ResourceId": spec.resource,
        "TrafficType": spec.traffic,
        "LogFormat": spec.log_format,
        "MaxAggregationInterval": spec.interval_s,
        "DeliverLogsStatus": log.status.delivery,
        **show_destination(call, spec.destination),
        **destination_options(spec.destination),
        "Tags": [],
        **show_own_tags(log.meta.tags),
    }
    if log.status.error:
        shown["DeliverLogsErrorMessage"] = log.status.error
    if spec.role:
        shown["DeliverLogsPermissionArn"] = spec.role
    return shown


@operation("DeleteFlowLogs")
async def delete_flow_logs(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteFlowLogs. What was delivered stays."""
    names = list(dict.fromkeys(call.params.get("FlowLogIds") or ()))
    if not names:
        raise ids.missing("FlowLogId")
    found = {name: call.get(FlowLog, ids.check_id(FLOW_LOG, name)) for name in names}
    missing = [name for name, log in found.items() if log is None]
    if missing:
        listed = ", ".join(missing)
        text = f"These flow log ids in the input list are not found: [TotalCount: {len(missing)}] {listed}"
        raise AwsError(FLOW_LOG.not_found, text)
    transaction = call.transaction()
    for log in found.values():
        if log is not None:
            transaction.delete(log)
    await call.commit(transaction)
    return {"Unsuccessful": []}


@lower(FlowLog)
def lower_flow_log(log: FlowLog, read: Reader) -> Iterable[Desired]:
    """The interfaces of the resource that are plugged in now."""
    interfaces = sorted((one.spec.vpc, one.meta.name) for one in _interfaces(log, read) if one.spec.sandbox)
    if interfaces:
        spec = specs.FlowLog(tuple(interfaces), log.spec.traffic, log.spec.real_interval_s)
        yield Desired("FlowLog", log.meta.name, key_of(log), spec)


def _interfaces(log: FlowLog, read: Reader) -> list[NetworkInterface]:
    scope, resource = log.meta.scope, log.spec.resource
    if log.spec.resource_type == "NetworkInterface":
        found = read.get(NetworkInterface, scope, resource)
        return [found] if found is not None else []
    index = "vpc" if log.spec.resource_type == "VPC" else "subnet"
    return read.by(NetworkInterface, scope, index, resource)
