"""Checks: one look at a target or at machines, from a place in the cloud. When to look again and what follows is decided elsewhere
(core/balancers.py, aws/ec2/instances/status_checks.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Probe(msgspec.Struct, frozen=True):
    """How to ask. `matcher`: "200", "200,202", "200-399"; of GRPC the codes of the call ("12", "0-99"). `path`: of GRPC "/package.Service/method".
    `version`: of HTTP and HTTPS: HTTP1, HTTP2. Certificates are not verified (AWS: target groups, "the load balancer does not validate these
    certificates"). `announced`: a request comes behind the header of PROXY protocol 2 that says the connection is the load balancer's own."""

    protocol: Literal["HTTP", "HTTPS", "TCP", "GRPC", "GRPCS"]
    path: str = "/"
    matcher: str = "200"
    timeout_s: float = 5.0
    version: Literal["HTTP1", "HTTP2"] = "HTTP1"
    user_agent: str = "ELB-HealthChecker/2.0"
    announced: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """`reason` "" when it passed; else AWS's code (elbv2 TargetHealth: Target.ResponseCodeMismatch, Target.Timeout,
    Target.FailedHealthChecks) and its words. `fault`: why it did not pass, more exactly, as health check logs tell it (elb-application "error
    reason codes"). `status`: what was answered, HTTP's or of GRPC the call's; -1 for nothing."""

    passed: bool
    reason: str = ""
    description: str = ""
    fault: str = ""
    status: int = -1


class Asked(msgspec.Struct, frozen=True):
    """An interface that is asked by ARP whether it is there: in a machine that is well its kernel answers for `address`. `gateway`: who asks."""

    interface: str
    address: str
    gateway: str


class Checks(Protocol):
    async def check(self, sandbox: str, source: str, address: str, port: int, probe: Probe) -> Outcome:
        """Asks once, from the sandbox's namespace with `source` as address. Never raises for what the target does; PortError when there is no
        such place to ask from. Takes `probe.timeout_s` at most."""

    async def answering(self, network: str, asked: Sequence[Asked]) -> frozenset[str]:
        """Names of those interfaces of the network that answer its router now, within a second. PortError when there is no such network."""

    async def close(self) -> None: ...
