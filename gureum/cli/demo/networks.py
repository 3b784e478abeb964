"""The tour's first part: a VPC with its subnets, and who may talk to whom."""

from __future__ import annotations

import os

from gureum.cli.demo.naming import NAME, tags
from gureum.cli.demo.tour import Tour

VPC_CIDR, PUBLIC_CIDR, PRIVATE_CIDR = "10.42.0.0/16", "10.42.1.0/24", "10.42.2.0/24"
PAGE_PORT = 80


def networks(tour: Tour) -> None:
    """A VPC with a public and a private subnet."""
    tour.title("A network: one VPC, a public and a private subnet")
    vpc = tour.make(
        "vpc", "ec2", "create-vpc", "--cidr-block", VPC_CIDR, "--tag-specifications", tags("vpc"), query="Vpc.VpcId"
    )
    for name, cidr in (("public subnet", PUBLIC_CIDR), ("private subnet", PRIVATE_CIDR)):
        tour.make(name, "ec2", "create-subnet", "--vpc-id", vpc, "--cidr-block", cidr, query="Subnet.SubnetId")
    tour.aws("ec2", "modify-subnet-attribute", "--subnet-id", tour.made["public subnet"], "--map-public-ip-on-launch")
    gateway = tour.make("internet gateway", "ec2", "create-internet-gateway", query="InternetGateway.InternetGatewayId")
    tour.aws("ec2", "attach-internet-gateway", "--vpc-id", vpc, "--internet-gateway-id", gateway)
    table = tour.make("route table", "ec2", "create-route-table", "--vpc-id", vpc, query="RouteTable.RouteTableId")
    tour.aws(
        "ec2",
        "create-route",
        "--route-table-id",
        table,
        "--destination-cidr-block",
        "0.0.0.0/0",
        "--gateway-id",
        gateway,
    )
    tour.aws("ec2", "associate-route-table", "--route-table-id", table, "--subnet-id", tour.made["public subnet"])


def security(tour: Tour) -> None:
    """Who may talk to whom, and the key to log in with."""
    tour.title("Who may talk to whom: two security groups and a key pair")
    for name in ("web", "inside"):
        make_group(tour, name)
    for port in (22, PAGE_PORT):
        allow(tour, "group web", port, "--cidr", "0.0.0.0/0")
    allow(tour, "group inside", PAGE_PORT, "--source-group", tour.made["group web"])
    key = tour.aws("ec2", "create-key-pair", "--key-name", NAME, "--key-type", "ed25519", query="KeyMaterial")
    path = tour.folder / f"{NAME}.pem"
    path.unlink(missing_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(key if key.endswith("\n") else key + "\n")
    tour.result(f"the private key is in {path}")


def make_group(tour: Tour, name: str) -> None:
    words = ("--group-name", f"{NAME}-{name}", "--description", name, "--vpc-id", tour.made["vpc"])
    tour.make(f"group {name}", "ec2", "create-security-group", *words, query="GroupId")


def allow(tour: Tour, group: str, port: int, *source: str, protocol: str = "tcp") -> None:
    words = ("--group-id", tour.made[group], "--protocol", protocol, "--port", str(port), *source)
    tour.aws("ec2", "authorize-security-group-ingress", *words)
