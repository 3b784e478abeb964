"""Proxies: layer-7 load balancing, and what of layer 4 needs a program (TLS, the PROXY protocol). One proxy is one node of a load
balancer: a process in a sandbox of its own, with that node's interface, so that security groups, flow logs and source addresses are
those of an interface like any other.

The whole wish is handed over; the driver applies the difference, by the proxy's own run-time interface where it can and otherwise by a
reload. Neither loses a connection. Servers' health is not the proxy's business: who is `up` is part of the wish (core/balancers.py decides it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec


class Certificate(msgspec.Struct, frozen=True):
    """`name`: unique and changed with its content. `sealed_key`: the private key (PEM), sealed with `name` as context (base/sealing.py). `domains`:
    the host names it is for, "*.example.com" among them; () where they are not known."""

    name: str
    chain_pem: str
    sealed_key: str
    arn: str = ""
    domains: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True):
    """A target. `name`: "i-0abc:80". `up` False: no new request goes there; what is under way ends by itself. `weight`: 1 to 100, of what it would
    get beside others with 100."""

    name: str
    address: str
    port: int
    up: bool = False
    weight: int = 100


class Stickiness(msgspec.Struct, frozen=True):
    """AWS: elbv2 target group attributes stickiness.*. `cookie`: the application's own, of kind "app_cookie"."""

    kind: Literal["lb_cookie", "app_cookie", "source_ip"]
    duration_s: int = 86400
    cookie: str = ""


class Group(msgspec.Struct, frozen=True):
    """A target group as a backend. `name`: "tg-" and 16 hex digits; `arn`: for the log."""

    name: str
    arn: str
    protocol: Literal["HTTP", "HTTPS", "TCP", "TLS"]
    version: Literal["HTTP1", "HTTP2", "GRPC"] = "HTTP1"
    algorithm: Literal["round_robin", "least_outstanding_requests", "weighted_random"] = "round_robin"
    servers: tuple[Server, ...] = ()
    slow_start_s: int = 0
    stickiness: Stickiness | None = None
    preserve_client: bool = False
    proxy_protocol: bool = False


class Condition(msgspec.Struct, frozen=True):
    """`field`: AWS's name. `name`: the header's, of "http-header". `values`: patterns with `*` and `?`, OR-ed; of "query-string"
    `pairs` (key or "", value)."""

    field: Literal["host-header", "path-pattern", "http-header", "http-request-method", "query-string", "source-ip"]
    values: tuple[str, ...] = ()
    name: str = ""
    pairs: tuple[tuple[str, str], ...] = ()


class Forward(msgspec.Struct, frozen=True, tag="forward"):
    """`groups`: (name, weight 0-999). `stickiness_s`: 0 for none (AWS: TargetGroupStickinessConfig)."""

    groups: tuple[tuple[str, int], ...]
    stickiness_s: int = 0


class Redirect(msgspec.Struct, frozen=True, tag="redirect"):
    """With AWS's placeholders (#{host} …) in them. `status`: 301 or 302."""

    status: int
    protocol: str = "#{protocol}"
    host: str = "#{host}"
    port: str = "#{port}"
    path: str = "/#{path}"
    query: str = "#{query}"


class FixedResponse(msgspec.Struct, frozen=True, tag="fixed-response"):
    status: int
    content_type: str = ""
    body: str = ""


class Rule(msgspec.Struct, frozen=True):
    """Conditions are AND-ed. `priority` 0: the default rule, which has none and comes last."""

    priority: int
    action: Forward | Redirect | FixedResponse
    conditions: tuple[Condition, ...] = ()


class Listener(msgspec.Struct, frozen=True):
    """`rules` by priority, the default one last. `certificates`: names of the proxy's, the default one first. `policy`: AWS's name of the TLS
    policy. `alpn`: of TLS listeners, AWS's AlpnPolicy. `attributes`: of the listener (header names and values set in answers …), by
    AWS's keys."""

    port: int
    protocol: Literal["HTTP", "HTTPS", "TCP", "TLS"]
    arn: str
    rules: tuple[Rule, ...]
    certificates: tuple[str, ...] = ()
    policy: str = ""
    alpn: str = "None"
    attributes: dict[str, str] = {}


class ProxySpec(msgspec.Struct, frozen=True):
    """`sandbox_net`: path of the namespace. `address`: the interface's primary private one: the proxy listens there and speaks to targets from
    it. `label`: the log's name of the load balancer ("app/my-lb/50dc6c495c0c9188"). `attributes`: of the load balancer, by AWS's keys
    (idle_timeout.timeout_seconds …), the ones that are in force. `dns_name`: the load balancer's, for requests that name no host."""

    name: str
    sandbox_net: str
    address: str
    label: str
    listeners: tuple[Listener, ...] = ()
    groups: tuple[Group, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    attributes: dict[str, str] = {}
    dns_name: str = ""


SESSION_REUSED = "session-reused"
"""In the place of a certificate's ARN. AWS: "This value is set to session-reused if the session is reused"."""


class Record(msgspec.Struct, frozen=True):
    """One request (`kind` "http", "https", "h2", "grpcs", "ws", "wss") or TLS connection ("tls") as the proxy saw it; what AWS's access
    log tells (elb-*-access-logs). Times in seconds, -1.0 where the request got no further; `target` "" when it was sent nowhere. `error`:
    AWS's error_reason; of a TLS connection that failed (elb_status 0), why. `priority` -1: no rule was looked at. `certificate_arn` may be
    `SESSION_REUSED`. `connected`: there was a connection to the target. `evaluated`: how many rules were looked at, without the default one."""

    proxy: str
    kind: str
    time: float
    listener_arn: str
    client: str
    target: str
    group_arn: str
    request_time_s: float
    target_time_s: float
    response_time_s: float
    elb_status: int
    target_status: int
    received_bytes: int
    sent_bytes: int
    request: str
    user_agent: str
    tls_cipher: str
    tls_protocol: str
    trace_id: str
    domain_name: str
    certificate_arn: str
    priority: int
    actions: str
    redirect_url: str
    error: str
    classification: str = ""
    classification_reason: str = ""
    created: float = 0.0
    connection_s: float = 0.0
    handshake_s: float = 0.0
    extra: dict[str, str] = {}
    connected: bool = False
    evaluated: int = 0


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request, as what it has in common with others (`like`: one object for all of them; of the fields that stand here too it says nothing) and
    what is its own, as in `Record`. Times (microseconds since 1970) and sizes are decimal digits, as they came and as most of them are written.
    `plain`: what stands here is known to be printable ASCII without quotes and backslashes."""

    like: Record
    time_us: str
    created_us: str
    client: str
    received_bytes: str
    sent_bytes: str
    request: str
    user_agent: str
    trace_id: str
    plain: bool = False


def record_of(one: Record | Request) -> Record:
    if isinstance(one, Record):
        return one
    return msgspec.structs.replace(
        one.like,
        time=int(one.time_us) / 1_000_000,
        created=int(one.created_us) / 1_000_000,
        client=one.client,
        received_bytes=int(one.received_bytes),
        sent_bytes=int(one.sent_bytes),
        request=one.request,
        user_agent=one.user_agent,
        trace_id=one.trace_id,
    )


class Tally(msgspec.Struct, frozen=True):
    """`count` requests (or TLS connections) of one proxy that do not differ in what is counted by: fields as in `Record`."""

    proxy: str
    group_arn: str
    kind: str
    elb_status: int
    target_status: int
    target_time_s: float
    actions: str
    classified: bool
    count: int
    received_bytes: int
    sent_bytes: int
    connected: bool = False
    evaluated: int = 0


def tally_of(record: Record) -> Tally:
    return Tally(
        record.proxy,
        record.group_arn,
        record.kind,
        record.elb_status,
        record.target_status,
        record.target_time_s,
        record.actions,
        bool(record.classification),
        1,
        record.received_bytes,
        record.sent_bytes,
        record.connected,
        record.evaluated,
    )


class PortCounters(msgspec.Struct, frozen=True):
    """Of one listener. `bytes`: both ways, without headers of TCP and IP."""

    connections: int = 0
    active: int = 0
    bytes: int = 0


class ServerCounters(msgspec.Struct, frozen=True):
    """Of a server by HTTP. `errors`: of `requests`, those that it answered with 5XX, badly, not in time or not at all."""

    requests: int = 0
    errors: int = 0


class Counters(msgspec.Struct, frozen=True):
    """Since the proxy was first made, over all its reloads. `active`: connections now. `to_targets`, `active_to_targets`: those that the proxy has
    opened. `by_port`: by the listener's port. `by_server`: by "group/server", since the last reload."""

    connections: int = 0
    active: int = 0
    rejected: int = 0
    tls_errors: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    by_port: dict[int, PortCounters] = {}
    to_targets: int = 0
    active_to_targets: int = 0
    by_server: dict[str, ServerCounters] = {}


Sink = Callable[[Sequence[Record | Request]], None]
TallySink = Callable[[list[Tally]], None]


def everything(_: ProxySpec) -> bool:
    return True


class Proxies(Protocol):
    """Proxies of one home on one machine. They outlive the agent; a new agent adopts them."""

    async def ensure(self, spec: ProxySpec) -> None:
        """When it returns, new connections are served as wished. A proxy whose process has died is started again."""

    async def hasten(self, name: str, groups: tuple[Group, ...]) -> None:
        """While `ensure` is bringing about a slow change of the proxy: these servers get what is new, and those that are not `up` do not, before it
        is done, and so they are when it is. Best effort, and no wish: the next `ensure` says the same. Nothing where no such change is under way."""

    async def finish(self, name: str) -> bool:
        """It listens no more; what is open goes on. Whether something still is; of a proxy that does not run nothing is. PortError."""

    async def remove(self, name: str) -> None: ...
    async def end_connections(self, name: str, group: str, server: str) -> None:
        """Cuts what is still under way to a server that is not `up` (its deregistration delay is over); success when there is none."""

    async def died(self) -> str:
        """Waits until some proxy's process has ended that was not removed; its name. It is to be ensured again."""

    def subscribe(self, sink: Sink, wants: Callable[[ProxySpec], bool] = everything) -> Callable[[], None]:
        """`sink` gets the records of the proxies that it `wants`, in the loop, in batches. Returns the way to stop it."""

    def tally(self, sink: TallySink) -> Callable[[], None]:
        """`sink` gets counts of the records of all proxies; a proxy whose records nobody wants makes none. Returns the way to stop it."""

    def drain(self) -> None:
        """Gives sinks what proxies have told so far and what still waits to be read."""

    async def counters(self) -> dict[str, Counters]:
        """By proxy, connections of workers that a reload has replaced included. One that cannot tell just now is left out; it goes on counting."""

    async def observe(self) -> frozenset[str]:
        """Names of all that exist, also those of an earlier agent."""

    async def close(self) -> None:
        """Gives up sockets; proxies go on."""
