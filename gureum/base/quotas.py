"""Quotas that can be set; the defaults of the network's are AWS's for a new account
(docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html), as that of certificates is
(docs.aws.amazon.com/acm/latest/userguide/acm-limits.html).

They are keys of `Settings`. What gureum counts is told with each; a limit that cannot be raised on AWS is no setting (aws/ec2/limits.py).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Quotas(msgspec.Struct, frozen=True):
    """The default of each is AWS's, but for vCPUs: what limits instances on one machine is its memory."""

    quota_vpcs: Annotated[
        int, Meta(ge=0, le=100_000, description="Most VPCs in an account and region, the default one among them.")
    ] = 5
    quota_cidrs_per_vpc: Annotated[
        int, Meta(ge=1, le=50, description="Most IPv4 CIDR blocks of a VPC, the primary one among them.")
    ] = 5
    quota_subnets_per_vpc: Annotated[int, Meta(ge=0, le=10_000, description="Most subnets of a VPC.")] = 200
    quota_route_tables_per_vpc: Annotated[
        int, Meta(ge=1, le=10_000, description="Most route tables of a VPC, the main one among them.")
    ] = 200
    quota_routes_per_table: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Most routes of a route table besides the local ones; a prefix list counts as its most entries.",
        ),
    ] = 50
    quota_internet_gateways: Annotated[
        int, Meta(ge=0, le=100_000, description="Most internet gateways in an account and region.")
    ] = 5
    quota_vpn_gateways: Annotated[
        int, Meta(ge=0, le=100_000, description="Most virtual private gateways in an account and region.")
    ] = 5
    quota_customer_gateways: Annotated[
        int, Meta(ge=0, le=100_000, description="Most customer gateways in an account and region.")
    ] = 50
    quota_elastic_ips: Annotated[
        int, Meta(ge=0, le=4096, description="Most Elastic IP addresses in an account and region.")
    ] = 5
    quota_nat_gateways_per_zone: Annotated[
        int, Meta(ge=0, le=10_000, description="Most NAT gateways of an account in an Availability Zone.")
    ] = 5
    quota_elastic_ips_per_nat_gateway: Annotated[
        int, Meta(ge=1, le=8, description="Most Elastic IP addresses of a public NAT gateway.")
    ] = 2
    quota_addresses_per_nat_gateway: Annotated[
        int, Meta(ge=1, le=32, description="Most private addresses of a NAT gateway.")
    ] = 8
    quota_peerings_per_vpc: Annotated[
        int, Meta(ge=0, le=125, description="Most active peering connections of a VPC.")
    ] = 50
    quota_outstanding_peerings: Annotated[
        int, Meta(ge=0, le=10_000, description="Most peering connections of an account that wait for acceptance.")
    ] = 25
    quota_network_interfaces: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Most network interfaces in an account and region.")
    ] = 5000
    quota_security_groups: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Most security groups in an account and region.")
    ] = 2500
    quota_rules_per_security_group: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="Most inbound rules of a security group, and as many outbound; a prefix list counts as its most entries.",
        ),
    ] = 60
    quota_security_groups_per_interface: Annotated[
        int, Meta(ge=1, le=16, description="Most security groups of a network interface.")
    ] = 5
    quota_network_acls_per_vpc: Annotated[int, Meta(ge=1, le=10_000, description="Most network ACLs of a VPC.")] = 200
    quota_rules_per_network_acl: Annotated[
        int, Meta(ge=1, le=40, description="Most inbound rules of a network ACL, and as many outbound.")
    ] = 20
    quota_gateway_endpoints: Annotated[
        int, Meta(ge=0, le=10_000, description="Most gateway VPC endpoints in an account and region.")
    ] = 20
    quota_interface_endpoints_per_vpc: Annotated[
        int, Meta(ge=0, le=10_000, description="Most interface VPC endpoints of a VPC.")
    ] = 50
    quota_prefix_lists: Annotated[
        int, Meta(ge=0, le=10_000, description="Most managed prefix lists in an account and region.")
    ] = 100
    quota_entries_per_prefix_list: Annotated[
        int, Meta(ge=1, le=1000, description="Most entries that a managed prefix list may be made for.")
    ] = 1000
    quota_names_per_certificate: Annotated[
        int, Meta(ge=1, le=100, description="Most domain names of a certificate that is requested from ACM.")
    ] = 10
    quota_on_demand_vcpus: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Most vCPUs of On-Demand Instances that run in an account and region; AWS: 5. 0: only the host's memory limits them.",
        ),
    ] = 0
    quota_volume_modifications: Annotated[
        int,
        Meta(
            ge=0, le=10_000, description="Most modifications of an EBS volume within 24 hours. 0: as many as one likes."
        ),
    ] = 4
