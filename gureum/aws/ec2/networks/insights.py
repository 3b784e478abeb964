"""Network Insights (Reachability Analyzer): paths that are kept, and analyses of them. What is found is path_analysis.py's.

An analysis is done when it is started, and keeps what it found then. Paths begin and end at instances, network interfaces and internet gateways.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.interfaces.interfaces import interfaces_of
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.cidrs import parse_address
from gureum.aws.ec2.networks.kinds import InternetGateway, NetworkInterface
from gureum.aws.ec2.networks.path_analysis import SOMEWHERE, Analysis, Place, analyse
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, boolean
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.resource import Resource, kind

LIMIT_PATHS, LIMIT_ANALYSES = 100, 1000
"""AWS: Reachability Analyzer quotas."""
DEFAULT_PORT = 443
"""Stands for any port where none is named."""


class InsightsPathSpec(msgspec.Struct, frozen=True):
    """`source`, `destination`: ids; `source_ip`, `destination_ip` "" for their own addresses; `port`, `source_port` 0 for any. `filters`: what was
    given of FilterAtSource and FilterAtDestination, API form."""

    source: str
    destination: str
    protocol: str
    port: int = 0
    source_port: int = 0
    source_ip: str = ""
    destination_ip: str = ""
    filters: dict[str, Any] = {}


@kind("ec2.NetworkInsightsPath")
class NetworkInsightsPath(Resource, frozen=True):
    """A question: does it reach."""

    spec: InsightsPathSpec


class InsightsAnalysisSpec(msgspec.Struct, frozen=True):
    path: str
    result: Analysis


@kind("ec2.NetworkInsightsAnalysis", indexes={"path": lambda one: one.spec.path})
class NetworkInsightsAnalysis(Resource, frozen=True):
    """An answer, as it was when it was asked for."""

    spec: InsightsAnalysisSpec


@operation("CreateNetworkInsightsPath")
async def create_network_insights_path(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateNetworkInsightsPath."""
    done = call.done_before()
    if done is not None:
        path = ids.find(call, NetworkInsightsPath, ids.INSIGHTS_PATH, done[0])
        return {"NetworkInsightsPath": show_path(call, path)}
    if len(call.all(NetworkInsightsPath)) >= LIMIT_PATHS:
        raise AwsError(
            "NetworkInsightsPathLimitExceeded", "The maximum number of network insights paths has been reached."
        )
    spec = _asked(call)
    _ends(call, spec)
    tags = tags_of(call, "network-insights-path")
    path = NetworkInsightsPath(meta=call.meta(new_id("nip-"), tags=tags), spec=spec)
    transaction = call.transaction()
    transaction.create(path)
    call.remember(transaction, (path.meta.name,))
    await call.commit(transaction)
    return {"NetworkInsightsPath": show_path(call, path)}


@operation("DeleteNetworkInsightsPath")
async def delete_network_insights_path(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNetworkInsightsPath: not while it has analyses."""
    path = ids.find(call, NetworkInsightsPath, ids.INSIGHTS_PATH, call.params["NetworkInsightsPathId"])
    if call.by(NetworkInsightsAnalysis, "path", path.meta.name):
        text = f"The network insights path '{path.meta.name}' has analyses and cannot be deleted."
        raise AwsError("DependencyViolation", text)
    transaction = call.transaction()
    transaction.require_no_newer(NetworkInsightsAnalysis, call.scope)
    transaction.delete(path)
    await call.commit(transaction)
    return {"NetworkInsightsPathId": path.meta.name}


@operation("DescribeNetworkInsightsPaths")
def describe_network_insights_paths(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNetworkInsightsPaths."""
    found, token = listing(
        call, NetworkInsightsPath, ids.INSIGHTS_PATH, "NetworkInsightsPathIds", _PATH_FILTERS, least=1, default=100
    )
    return answer("NetworkInsightsPaths", [show_path(call, one) for one in found], token)


@operation("StartNetworkInsightsAnalysis")
async def start_network_insights_analysis(call: Call) -> dict[str, Any]:
    """AWS: ec2 StartNetworkInsightsAnalysis."""
    done = call.done_before()
    if done is not None:
        analysis = ids.find(call, NetworkInsightsAnalysis, ids.INSIGHTS_ANALYSIS, done[0])
        return {"NetworkInsightsAnalysis": show_analysis(call, analysis)}
    for name in ("AdditionalAccounts", "FilterInArns", "FilterOutArns"):
        if call.params.get(name):
            raise ids.not_built(f"StartNetworkInsightsAnalysis with {name}")
    path = ids.find(call, NetworkInsightsPath, ids.INSIGHTS_PATH, call.params["NetworkInsightsPathId"])
    if len(call.all(NetworkInsightsAnalysis)) >= LIMIT_ANALYSES:
        text = "The maximum number of network insights analyses has been reached."
        raise AwsError("NetworkInsightsAnalysisLimitExceeded", text)
    spec = path.spec
    result = analyse(call, *_ends(call, spec), spec.protocol, spec.port or DEFAULT_PORT, spec.source_port)
    tags = tags_of(call, "network-insights-analysis")
    analysis = NetworkInsightsAnalysis(
        meta=call.meta(new_id("nia-"), tags=tags), spec=InsightsAnalysisSpec(path.meta.name, result)
    )
    transaction = call.transaction()
    transaction.require(path)
    transaction.create(analysis)
    call.remember(transaction, (analysis.meta.name,))
    await call.commit(transaction)
    return {"NetworkInsightsAnalysis": show_analysis(call, analysis)}


@operation("DeleteNetworkInsightsAnalysis")
async def delete_network_insights_analysis(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteNetworkInsightsAnalysis."""
    name = call.params["NetworkInsightsAnalysisId"]
    analysis = ids.find(call, NetworkInsightsAnalysis, ids.INSIGHTS_ANALYSIS, name)
    transaction = call.transaction()
    transaction.delete(analysis)
    await call.commit(transaction)
    return {"NetworkInsightsAnalysisId": name}


@operation("DescribeNetworkInsightsAnalyses")
def describe_network_insights_analyses(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeNetworkInsightsAnalyses."""
    wanted = call.params.get("NetworkInsightsPathId")
    if wanted:
        ids.find(call, NetworkInsightsPath, ids.INSIGHTS_PATH, wanted)
    for name in ("AnalysisStartTime", "AnalysisEndTime"):
        if call.params.get(name):
            raise ids.not_built(f"DescribeNetworkInsightsAnalyses with {name}")
    found, token = listing(
        call,
        NetworkInsightsAnalysis,
        ids.INSIGHTS_ANALYSIS,
        "NetworkInsightsAnalysisIds",
        _ANALYSIS_FILTERS,
        least=1,
        default=100,
    )
    kept: Iterable[NetworkInsightsAnalysis] = (one for one in found if wanted in (None, "", one.spec.path))
    return answer("NetworkInsightsAnalyses", [show_analysis(call, one) for one in kept], token)


def _asked(call: Call) -> InsightsPathSpec:
    """The path a call describes. AWS: InvalidParameterCombination for filters together with the parameters they replace."""
    params = call.params
    near, far = params.get("FilterAtSource") or {}, params.get("FilterAtDestination") or {}
    plain = [name for name in ("SourceIp", "DestinationIp", "DestinationPort") if params.get(name)]
    if near and plain:
        raise AwsError("InvalidParameterCombination", f"FilterAtSource cannot be specified together with {plain[0]}.")
    if far and params.get("DestinationIp"):
        text = "FilterAtDestination cannot be specified together with DestinationIp."
        raise AwsError("InvalidParameterCombination", text)
    _refuse_filters(near, far)
    if not params.get("Destination") and not (near.get("DestinationAddress") or params.get("DestinationIp")):
        raise ids.missing("Destination")
    port = (near.get("DestinationPortRange") or far.get("DestinationPortRange") or {}).get("FromPort", 0)
    spec = InsightsPathSpec(
        source=params["Source"],
        destination=params.get("Destination") or "",
        protocol=ids.choice(params, "Protocol", "tcp", "udp"),
        port=params.get("DestinationPort") or port,
        source_port=(near.get("SourcePortRange") or far.get("SourcePortRange") or {}).get("FromPort", 0),
        source_ip=params.get("SourceIp") or near.get("SourceAddress") or "",
        destination_ip=params.get("DestinationIp") or near.get("DestinationAddress") or "",
        filters={name: params[name] for name in ("FilterAtSource", "FilterAtDestination") if params.get(name)},
    )
    for value in (spec.source_ip, spec.destination_ip):
        if value:
            parse_address(value)
    if not all(0 <= value <= 65535 for value in (spec.port, spec.source_port)):
        raise ids.invalid(f"Value ({spec.port}) for parameter destinationPort is invalid.")
    return spec


def _refuse_filters(near: dict[str, Any], far: dict[str, Any]) -> None:
    """A path is looked at for one flow, which arrives as it was sent but for the addresses that the way translates."""
    if any(far.get(name) for name in ("SourceAddress", "DestinationAddress")):
        raise ids.not_built("FilterAtDestination with addresses")
    for one in (near, far):
        for name in ("SourcePortRange", "DestinationPortRange"):
            span = one.get(name) or {}
            if span.get("ToPort", span.get("FromPort")) != span.get("FromPort"):
                raise ids.not_built(f"{name} of several ports")
    for name in ("SourcePortRange", "DestinationPortRange"):
        if near.get(name) and far.get(name) and near[name] != far[name]:
            raise ids.not_built(f"{name} that is another at the destination")


def _ends(call: Call, spec: InsightsPathSpec) -> tuple[Place, Place]:
    source = _place(call, spec.source, spec.source_ip)
    if spec.destination:
        return source, _place(call, spec.destination, spec.destination_ip)
    if source.interface is None:
        raise ids.missing("Destination")
    found = call.by(InternetGateway, "vpc", source.interface.spec.vpc)
    holders = call.by(NetworkInterface, "vpc", source.interface.spec.vpc)
    for eni in holders:
        if any(one.address == spec.destination_ip for one in eni.spec.addresses):
            return source, Place(spec.destination_ip, interface=eni)
    return source, Place(spec.destination_ip, gateway=found[0].meta.name if found else "")


def _place(call: Call, name: str, address: str) -> Place:
    """AWS: InvalidParameterValue for what a path cannot begin or end at."""
    name = name.rpartition("/")[2]  # ids or ARNs
    if name.startswith("igw-"):
        return Place(
            address or SOMEWHERE, gateway=ids.find(call, InternetGateway, ids.INTERNET_GATEWAY, name).meta.name
        )
    if name.startswith("i-"):
        interfaces = interfaces_of(call, name)
        if not interfaces:
            raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")
        interface = interfaces[0]
    elif name.startswith("eni-"):
        interface = ids.find(call, NetworkInterface, ids.INTERFACE, name)
    elif name.partition("-")[0] in ("tgw", "tgwa", "vpce", "vgw", "pcx", "vpce-svc"):
        raise ids.not_built(f"{call.operation} from or to {name.partition('-')[0]}")
    else:
        raise ids.invalid(f"Value ({name}) is no source or destination of a path.")
    own = [one.address for one in interface.spec.addresses]
    if address and address not in own and address not in [one.public for one in interface.spec.addresses]:
        raise ids.invalid(f"The address {address} is not assigned to {interface.meta.name}.")
    return Place(address if address in own else own[0], interface=interface)


_PATH_FILTERS: FilterTable = {
    "destination": lambda one: one.spec.destination,
    "filter-at-source.source-address": lambda one: one.spec.filters.get("FilterAtSource", {}).get("SourceAddress"),
    "filter-at-source.destination-address": (
        lambda one: one.spec.filters.get("FilterAtSource", {}).get("DestinationAddress")
    ),
    "protocol": lambda one: one.spec.protocol,
    "source": lambda one: one.spec.source,
}
_ANALYSIS_FILTERS: FilterTable = {
    "path-found": lambda one: boolean(one.spec.result.found),
    "status": lambda _: "succeeded",
}


def show_path(call: Call, path: NetworkInsightsPath) -> dict[str, Any]:
    """API form. AWS: ec2 NetworkInsightsPath."""
    spec = path.spec
    shown = {
        "NetworkInsightsPathId": path.meta.name,
        "NetworkInsightsPathArn": call.arn(f"network-insights-path/{path.meta.name}", service="ec2"),
        "CreatedDate": path.meta.created,
        "Source": spec.source,
        "Protocol": spec.protocol,
        "Tags": show_tags(path.meta.tags),
        **spec.filters,
    }
    given = {
        "Destination": spec.destination,
        "DestinationPort": spec.port,
        "SourceIp": spec.source_ip,
        "DestinationIp": spec.destination_ip,
    }
    return shown | {name: value for name, value in given.items() if value}


def show_analysis(call: Call, analysis: NetworkInsightsAnalysis) -> dict[str, Any]:
    """API form. AWS: ec2 NetworkInsightsAnalysis."""
    result = analysis.spec.result
    return {
        "NetworkInsightsAnalysisId": analysis.meta.name,
        "NetworkInsightsAnalysisArn": call.arn(f"network-insights-analysis/{analysis.meta.name}", service="ec2"),
        "NetworkInsightsPathId": analysis.spec.path,
        "StartDate": analysis.meta.created,
        "Status": "succeeded",
        "NetworkPathFound": result.found,
        "ForwardPathComponents": _numbered(result.forward),
        "ReturnPathComponents": _numbered(result.back),
        "Explanations": list(result.explanations),
        "Tags": show_tags(analysis.meta.tags),
    }


def _numbered(steps: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"SequenceNumber": number} for number, one in enumerate(steps, 1)]
