"""Services of AWS that VPC endpoints lead to: S3 and DynamoDB by a route, those that gureum or its neighbours answer by an interface."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.endpoints.kinds import EndpointService
from gureum.aws.ec2.endpoints.own_services import balancer_nodes, own_service_name, own_services
from gureum.aws.ec2.endpoints.service_prefix_lists import GATEWAY_SERVICES, list_id, service_name
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.regions import zones_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page


class InterfaceService(msgspec.Struct, frozen=True):
    """`name`: the end of the service's name ("ecr.api"). `signing`: the name that requests are signed for. `host`: the beginning of its own DNS name
    ("api.ecr"). `any_host`: names in front of it are its own too (buckets)."""

    name: str
    signing: str
    host: str
    any_host: bool = False


_SAME = (
    *(
        "autoscaling",
        "ebs",
        "ec2",
        "ec2messages",
        "elasticloadbalancing",
        "logs",
        "monitoring",
        "ssm",
        "ssmmessages",
        "sts",
    ),
    *("dynamodb", "events", "kms", "secretsmanager", "sns", "sqs"),
)
_OTHERS = (
    InterfaceService("ecr.api", "ecr", "api.ecr"),
    InterfaceService("kinesis-streams", "kinesis", "kinesis"),
    InterfaceService("s3", "s3", "s3", any_host=True),
)
_INTERFACE_SERVICES = {one.name: one for one in (*(InterfaceService(name, name, name) for name in _SAME), *_OTHERS)}


def interface_service(region: str, service: str) -> InterfaceService | None:
    """Of "com.amazonaws.us-east-1.ec2"; None when no interface endpoint leads to it."""
    prefix = service_name(region, "")
    return _INTERFACE_SERVICES.get(service.removeprefix(prefix)) if service.startswith(prefix) else None


def private_names(region: str, service: InterfaceService) -> tuple[str, ...]:
    """The service's own names, which clients have built in."""
    name = f"{service.host}.{region}.amazonaws.com"
    return (name, f"*.{name}") if service.any_host else (name,)


@operation("DescribeVpcEndpointServices")
def describe_vpc_endpoint_services(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcEndpointServices: those that have endpoints here. Other Regions offer none to this one."""
    details = [_shown(call, name, "Gateway", (f"{name}.{call.region}.amazonaws.com",)) for name in GATEWAY_SERVICES]
    for name, service in sorted(_INTERFACE_SERVICES.items()):
        details.append(_shown(call, name, "Interface", private_names(call.region, service)))
    details += [show_own_service(call, one) for one in own_services(call)]
    if call.region not in call.params.get("ServiceRegions", [call.region]):
        details = []
    wanted = call.params.get("ServiceNames")
    known = {one["ServiceName"] for one in details}
    for name in wanted or ():
        if name not in known:
            raise AwsError("InvalidServiceName", f"The Vpc Endpoint Service '{name}' does not exist")
    filters: FilterTable = {
        "owner": lambda row: row.shown["Owner"],
        "service-name": lambda row: row.shown["ServiceName"],
        "service-type": lambda row: row.shown["ServiceType"][0]["ServiceType"],
        "service-region": lambda _: call.region,
        "supported-ip-address-types": lambda _: "ipv4",
    }
    rows = [
        SimpleNamespace(shown=one, meta=SimpleNamespace(tags={tag["Key"]: tag["Value"] for tag in one["Tags"]}))
        for one in details
        if not wanted or one["ServiceName"] in wanted
    ]
    found: list[Any] = apply_filters(rows, call.params.get("Filters"), filters)
    call.end_dry_run()
    shown, token = page(
        call.params, found, lambda row: f"{row.shown['ServiceName']} {row.shown['ServiceType']}", capped=True
    )
    names = dict.fromkeys(row.shown["ServiceName"] for row in shown)
    return answer("ServiceDetails", [row.shown for row in shown], token) | {"ServiceNames": list(names)}


def show_own_service(call: Call, service: EndpointService) -> dict[str, Any]:
    """API form, as who may have endpoints sees it. AWS: ec2 ServiceDetail."""
    id_ = service.meta.name
    return {
        "ServiceName": own_service_name(call.region, id_),
        "ServiceId": id_,
        "ServiceType": [{"ServiceType": "Interface"}],
        "ServiceRegion": call.region,
        "AvailabilityZones": sorted(node.zone for _, node in balancer_nodes(call.client, service)),
        "Owner": service.meta.scope.partition("/")[0],
        "BaseEndpointDnsNames": [f"{id_}.{call.region}.vpce.amazonaws.com"],
        "VpcEndpointPolicySupported": False,
        "AcceptanceRequired": service.spec.acceptance,
        "ManagesVpcEndpoints": False,
        "SupportedIpAddressTypes": ["ipv4"],
        "Tags": show_tags(service.meta.tags),
    }


def _shown(call: Call, service: str, kind: str, names: tuple[str, ...]) -> dict[str, Any]:
    """API form. AWS: ec2 ServiceDetail."""
    name = service_name(call.region, service)
    digits = list_id(name if kind == "Gateway" else f"{name}/{kind}")[3:]
    shown: dict[str, Any] = {
        "ServiceName": name,
        "ServiceId": f"vpce-svc-{digits}",
        "ServiceType": [{"ServiceType": kind}],
        "ServiceRegion": call.region,
        "AvailabilityZones": [zone.name for zone in zones_of(call.region)],
        "Owner": "amazon",
        "BaseEndpointDnsNames": [f"{service}.{call.region}.{'' if kind == 'Gateway' else 'vpce.'}amazonaws.com"],
        "VpcEndpointPolicySupported": True,
        "AcceptanceRequired": False,
        "ManagesVpcEndpoints": False,
        "SupportedIpAddressTypes": ["ipv4"],
        "Tags": [],
    }
    if kind == "Interface":
        shown |= {
            "PrivateDnsName": names[0],
            "PrivateDnsNames": [{"PrivateDnsName": one} for one in names],
            "PrivateDnsNameVerificationState": "verified",
        }
    return shown
