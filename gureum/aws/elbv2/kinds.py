"""The stored shapes of load balancing, and the indexes by which they are found.

They refer to each other by name: the 16 hex digits that end each one's ARN.

    LoadBalancer ◄─ Listener ◄─ Rule ─► TargetGroup (with its targets) ─► ec2.Instance, an address, or a LoadBalancer
         │ zones
         └─► ec2.NetworkInterface, one per zone

A listener's default action stands on its default rule (priority 0), so that one index tells who uses a target group. A listener and its
rules go away with what they stand on (owners). Targets stand inside their group: registering a thousand is one write; what draws
connections out of one that was deregistered is its own end of draining, kept here so that it outlives the daemon. What is seen of
targets' health is the agent's and never stored.

Names of load balancers and target groups, ports of a load balancer and priorities of a listener are each once; a call that takes one commits
only while nobody has made or changed another of the kind (`Transaction.require_no_newer`), so they need no claims that could be left over.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gureum.aws.acm.certificates import Material
from gureum.engine.resource import Resource, kind

LoadBalancerType = Literal["application", "network"]
Protocol = Literal["HTTP", "HTTPS", "TCP", "UDP", "TCP_UDP", "TLS"]
TargetType = Literal["instance", "ip", "alb"]


class ZoneNode(msgspec.Struct, frozen=True):
    """The load balancer's node in one zone. `interface`: its ENI, which also names the node's sandbox. `allocation`: of the user's Elastic IP
    there, `private`: the private address that the user chose; "" for none."""

    zone: str
    subnet: str
    interface: str
    allocation: str = ""
    private: str = ""


class LoadBalancerSpec(msgspec.Struct, frozen=True):
    """`name`: as the user gave it. `attributes`: those that were set, by AWS's keys; the others have their defaults (attributes.py).
    `dns_name`: in full. `groups`: security groups; none only with a network load balancer made without. `enforce_private_link`: AWS's
    EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic, "" where it has no groups."""

    name: str
    type: LoadBalancerType
    scheme: Literal["internet-facing", "internal"]
    vpc: str
    dns_name: str
    zones: tuple[ZoneNode, ...]
    groups: tuple[str, ...] = ()
    attributes: dict[str, str] = {}
    enforce_private_link: str = ""


class LoadBalancerStatus(msgspec.Struct, frozen=True):
    """AWS: LoadBalancerState. `reason`: of "active_impaired" and "failed"."""

    state: Literal["provisioning", "active", "active_impaired", "failed"] = "provisioning"
    reason: str = ""


@kind(
    "elbv2.LoadBalancer",
    indexes={
        "name": lambda one: one.spec.name,
        "vpc": lambda one: one.spec.vpc,
        "subnet": lambda one: tuple(node.subnet for node in one.spec.zones),
        "interface": lambda one: tuple(node.interface for node in one.spec.zones),
        "group": lambda one: one.spec.groups,
    },
)
class LoadBalancer(Resource, frozen=True):
    """Named by its id ("50dc6c495c0c9188")."""

    spec: LoadBalancerSpec
    status: LoadBalancerStatus = LoadBalancerStatus()


class ServerCertificate(msgspec.Struct, frozen=True):
    """A certificate of IAM's as it was when the listener got it, its key sealed: IAM is another's (aws/neighbours), and a listener serves also while
    that cannot be asked. `id`: by which IAM knows it also when it is renamed. `names`: of the subject and all alternative ones."""

    id: str
    material: Material
    names: tuple[str, ...]


class ListenerSpec(msgspec.Struct, frozen=True):
    """`default_rule`: name of the Rule with its default action. `certificates`: ARNs, the default one first; with `policy` only for HTTPS and
    TLS. `alpn`: AWS's AlpnPolicy, "" when none was given. `attributes`: those that were set. `of_iam`: by their ARNs, those certificates that are
    IAM's."""

    load_balancer: str
    protocol: Protocol
    port: int
    default_rule: str
    certificates: tuple[str, ...] = ()
    policy: str = ""
    alpn: str = ""
    attributes: dict[str, str] = {}
    of_iam: dict[str, ServerCertificate] = {}


@kind(
    "elbv2.Listener",
    indexes={
        "load-balancer": lambda one: one.spec.load_balancer,
        "certificate": lambda one: tuple(set(one.spec.certificates)),
        "server-certificate": lambda one: tuple({held.id for held in one.spec.of_iam.values()}),
    },
)
class Listener(Resource, frozen=True):
    """Named by the last 16 hex digits of its ARN; owned by its load balancer."""

    spec: ListenerSpec


class WeightedGroup(msgspec.Struct, frozen=True):
    """`group`: name of a TargetGroup. `weight`: 0-999; None when the user gave none, which counts as 1."""

    group: str
    weight: int | None = None

    @property
    def share(self) -> int:
        return 1 if self.weight is None else self.weight


class Forward(msgspec.Struct, frozen=True, tag="forward"):
    """`stickiness_s`: 0 for none (AWS: TargetGroupStickinessConfig)."""

    groups: tuple[WeightedGroup, ...]
    stickiness_s: int = 0
    order: int = 0


class Redirect(msgspec.Struct, frozen=True, tag="redirect"):
    """With AWS's placeholders. `status`: "HTTP_301" or "HTTP_302"."""

    status: str
    protocol: str = "#{protocol}"
    host: str = "#{host}"
    port: str = "#{port}"
    path: str = "/#{path}"
    query: str = "#{query}"
    order: int = 0


class FixedResponse(msgspec.Struct, frozen=True, tag="fixed-response"):
    status: str
    content_type: str = ""
    body: str = ""
    order: int = 0


Action = Forward | Redirect | FixedResponse
"""`order`: as given, 0 when none was."""


ConditionField = Literal[
    "host-header", "path-pattern", "http-header", "http-request-method", "query-string", "source-ip"
]


class Condition(msgspec.Struct, frozen=True):
    """`field`: AWS's. `values` are OR-ed. `name`: the header's, of "http-header". `pairs`: (key or "", value) of "query-string"."""

    field: ConditionField
    values: tuple[str, ...] = ()
    name: str = ""
    pairs: tuple[tuple[str, str], ...] = ()


class RuleSpec(msgspec.Struct, frozen=True):
    """`priority`: 1-50000, 0 for the default rule. `action`: the one that answers (others are not built)."""

    listener: str
    load_balancer: str
    priority: int
    action: Action
    conditions: tuple[Condition, ...] = ()


def groups_of(action: Action) -> tuple[str, ...]:
    """Names of the target groups that an action may send requests to, each once."""
    return tuple(dict.fromkeys(one.group for one in action.groups)) if isinstance(action, Forward) else ()


@kind(
    "elbv2.Rule",
    indexes={
        "listener": lambda one: one.spec.listener,
        "load-balancer": lambda one: one.spec.load_balancer,
        "target-group": lambda one: groups_of(one.spec.action),
    },
)
class Rule(Resource, frozen=True):
    """Named by the last 16 hex digits of its ARN; owned by its listener."""

    spec: RuleSpec

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the target groups that it may send requests to."""
        return groups_of(self.spec.action)


class HealthCheck(msgspec.Struct, frozen=True):
    """AWS: the HealthCheck… parameters of CreateTargetGroup. `port`: "traffic-port" or a number. `path`, `matcher`: "" for TCP. `matcher`:
    HTTP codes, or gRPC codes when the group's protocol version is GRPC."""

    protocol: Literal["HTTP", "HTTPS", "TCP"]
    port: str
    enabled: bool
    path: str
    interval_s: int
    timeout_s: int
    healthy_threshold: int
    unhealthy_threshold: int
    matcher: str


class Target(msgspec.Struct, frozen=True):
    """One registration. `id`: an instance's id, an IPv4 address, or the ARN of an Application Load Balancer. `zone`: as given with an address
    ("" for none, "all" for outside the VPC). `registered`: Unix seconds. `draining_until`: Unix seconds, 0.0 while it is registered."""

    id: str
    port: int
    zone: str = ""
    registered: float = 0.0
    draining_until: float = 0.0

    @property
    def name(self) -> str:
        """As core objects name it."""
        return f"{self.id}:{self.port}"


class TargetGroupSpec(msgspec.Struct, frozen=True):
    """`version`: AWS's ProtocolVersion, "" for layer 4. `attributes`: those that were set."""

    name: str
    type: TargetType
    protocol: Protocol
    port: int
    vpc: str
    health: HealthCheck
    version: Literal["", "HTTP1", "HTTP2", "GRPC"] = ""
    attributes: dict[str, str] = {}
    targets: tuple[Target, ...] = ()


@kind(
    "elbv2.TargetGroup",
    indexes={
        "name": lambda one: one.spec.name,
        "vpc": lambda one: one.spec.vpc,
        "registered": lambda one: tuple({target.id for target in one.spec.targets if not target.draining_until}),
        "draining": lambda one: ("draining",) if any(target.draining_until for target in one.spec.targets) else (),
    },
)
class TargetGroup(Resource, frozen=True):
    """Named by its id ("73e2d6bc24d8a067")."""

    spec: TargetGroupSpec
