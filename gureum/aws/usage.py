"""What an account uses of what is limited in a region: the table behind the metrics of AWS/Usage and metric math's SERVICE_QUOTA. Pure.

AWS: "AWS usage metrics". A usage metric has the dimensions Service, Type, Resource and Class; ResourceCount (Type "Resource") tells how much there
is, CallCount (Type "API") how often an operation was called. The names of vCPU, of load balancing and of Auto Scaling are AWS's; those that AWS
keeps quotas of without publishing their use (Service "VPC", addresses) are named after the quota in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from gureum.aws.autoscaling import limits as scaling_limits
from gureum.aws.autoscaling.kinds import Group, LaunchConfiguration
from gureum.aws.ec2.endpoints.kinds import VpcEndpoint
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.vcpu_quota import vcpus_of
from gureum.aws.ec2.networks.kinds import Address, InternetGateway, NetworkInterface, PrefixList, SecurityGroup, Vpc
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.kinds import LoadBalancer, TargetGroup
from gureum.base.settings import Settings
from gureum.engine.client import Client
from gureum.engine.resource import Resource

NAMESPACE, RESOURCES, CALLS = "AWS/Usage", "ResourceCount", "CallCount"
EC2, VPC, BALANCING, SCALING = "EC2", "VPC", "Elastic Load Balancing", "AutoScaling"
SERVICES = {
    "acm": "ACM",
    "autoscaling": SCALING,
    "cloudwatch": "CloudWatch",
    "ebs": "EBS",
    "ec2": EC2,
    "ec2-instance-connect": "EC2 Instance Connect",
    "elbv2": BALANCING,
    "logs": "Logs",
    "ssm": "SSM",
    "sts": "STS",
}
"""botocore's name of a service that gureum builds → the dimension Service."""

T = TypeVar("T", bound=Resource)
Dimensions = tuple[tuple[str, str], ...]
Counts = Mapping[str, int]
"""By scope ("account/region")."""


class Usage(NamedTuple):
    """`class_`: the dimension Class. `used`: how much there is. `quota`: how much there may be; None: no limit but the machine's own."""

    service: str
    resource: str
    used: Callable[[Client], Counts]
    quota: Callable[[Settings], int] | None = None
    class_: str = "None"

    @property
    def dimensions(self) -> Dimensions:
        return dimensions_of(self.service, "Resource", self.resource, self.class_)


def dimensions_of(service: str, type_: str, resource: str, class_: str = "None") -> Dimensions:
    """Sorted, as a series has them."""
    return (("Class", class_), ("Resource", resource), ("Service", service), ("Type", type_))


def usages(client: Client) -> Iterator[tuple[str, Usage, int]]:
    """(scope, usage, how much): all usages of each scope that has something of any, also what there is none of."""
    counted = [(usage, usage.used(client)) for usage in USAGES]
    for scope in sorted({scope for _, counts in counted for scope in counts}):
        for usage, counts in counted:
            yield scope, usage, counts.get(scope, 0)


def quota_of(metric: str, dimensions: Dimensions, settings: Settings) -> int | None:
    """The quota that a metric of AWS/Usage counts against. None: it has none."""
    if metric != RESOURCES:
        return None
    quota = _QUOTAS.get(tuple(sorted(dimensions)))
    return (quota(settings) or None) if quota is not None else None


def _all(cls: type[Resource]) -> Callable[[Client], Counts]:
    return lambda client: client.sizes(cls)


def _vcpus(*, spot: bool) -> Callable[[Client], Counts]:
    return _sum(Instance, lambda instance: vcpus_of(instance, spot=spot))


def _sum(cls: type[T], weigh: Callable[[T], int]) -> Callable[[Client], Counts]:
    return lambda client: {scope: sum(map(weigh, client.all(cls, scope))) for scope in client.sizes(cls)}


def _balancers(type_: str) -> Callable[[Client], Counts]:
    return _sum(LoadBalancer, lambda balancer: balancer.spec.type == type_)


def _is_gateway(endpoint: VpcEndpoint) -> bool:
    return endpoint.spec.type == "Gateway"


USAGES = (
    Usage(EC2, "vCPU", _vcpus(spot=False), lambda settings: settings.quota_on_demand_vcpus, "Standard/OnDemand"),
    Usage(EC2, "vCPU", _vcpus(spot=True), class_="Standard/Spot"),
    Usage(EC2, "ElasticIPsPerRegion", _all(Address), lambda settings: settings.quota_elastic_ips),
    Usage(VPC, "VPCsPerRegion", _all(Vpc), lambda settings: settings.quota_vpcs),
    Usage(VPC, "NetworkInterfacesPerRegion", _all(NetworkInterface), lambda s: s.quota_network_interfaces),
    Usage(VPC, "SecurityGroupsPerRegion", _all(SecurityGroup), lambda settings: settings.quota_security_groups),
    Usage(VPC, "InternetGatewaysPerRegion", _all(InternetGateway), lambda settings: settings.quota_internet_gateways),
    Usage(
        VPC,
        "GatewayEndpointsPerRegion",
        _sum(VpcEndpoint, _is_gateway),
        lambda settings: settings.quota_gateway_endpoints,
    ),
    Usage(VPC, "PrefixListsPerRegion", _all(PrefixList), lambda settings: settings.quota_prefix_lists),
    Usage(
        BALANCING,
        "ApplicationLoadBalancersPerRegion",
        _balancers("application"),
        lambda _: limits.APPLICATION_LOAD_BALANCERS,
    ),
    Usage(BALANCING, "NetworkLoadBalancersPerRegion", _balancers("network"), lambda _: limits.NETWORK_LOAD_BALANCERS),
    Usage(BALANCING, "TargetGroupsPerRegion", _all(TargetGroup), lambda _: limits.TARGET_GROUPS),
    Usage(SCALING, "NumberOfAutoScalingGroup", _all(Group), lambda _: scaling_limits.GROUPS),
    Usage(
        SCALING,
        "NumberOfLaunchConfiguration",
        _all(LaunchConfiguration),
        lambda _: scaling_limits.LAUNCH_CONFIGURATIONS,
    ),
)
_QUOTAS = {usage.dimensions: usage.quota for usage in USAGES}
