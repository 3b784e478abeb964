"""Kinds of the ends of VPN connections: a VPC's own, and the one that stands for a device of the customer's."""

from __future__ import annotations

import msgspec

from gureum.engine.resource import Resource, kind


class VpnGatewaySpec(msgspec.Struct, frozen=True):
    """`vpc` "": attached to none; `left`: the VPC it was attached to before, "" for none. `asn`: of Amazon's side of BGP sessions. `zone`: as it was
    asked for. `deleted`: Unix seconds, 0 while it is there."""

    asn: int
    zone: str = ""
    vpc: str = ""
    left: str = ""
    deleted: float = 0.0

    @property
    def state(self) -> str:
        return "deleted" if self.deleted else "available"


@kind("ec2.VpnGateway", indexes={"vpc": lambda gateway: (gateway.spec.vpc,) if gateway.spec.vpc else ()})
class VpnGateway(Resource, frozen=True):
    """A VPC's end of VPN connections, of which there are none: what is routed to it is dropped."""

    spec: VpnGatewaySpec


class CustomerGatewaySpec(msgspec.Struct, frozen=True):
    """What its owner told of the device: `asn` of its side of BGP sessions, `address` "" for one that is known by its certificate, `device`: a name.
    `deleted`: Unix seconds, 0 while it is there."""

    asn: int
    address: str = ""
    certificate: str = ""
    device: str = ""
    deleted: float = 0.0

    @property
    def state(self) -> str:
        return "deleted" if self.deleted else "available"

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """AWS makes no second one of the same."""
        return self.asn, self.address, self.certificate, self.device


@kind("ec2.CustomerGateway")
class CustomerGateway(Resource, frozen=True):
    """What AWS is told about a device at the other end of a VPN connection."""

    spec: CustomerGatewaySpec
