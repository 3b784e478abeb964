"""EC2's quotas, as a new account on AWS has them (docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html), and how many
things one call may make.

VPCs, internet gateways and Elastic IPs per region, and NAT gateways per zone, are more than AWS's 5, since a test cloud is there to make many.
"""

from __future__ import annotations

VPCS_PER_REGION = 100
CIDRS_PER_VPC = 5
SUBNETS_PER_VPC = 200
ROUTE_TABLES_PER_VPC = 200
ROUTES_PER_TABLE = 50
INTERNET_GATEWAYS_PER_REGION = 100
ADDRESSES_PER_REGION = 100
NAT_GATEWAYS_PER_ZONE = 50
PEERINGS_PER_VPC = 50
OUTSTANDING_PEERINGS = 25
ADDRESSES_PER_NAT_GATEWAY = 8
GROUPS_PER_REGION = 2500
RULES_PER_GROUP = 60
"""Inbound, and as many outbound."""
GROUPS_PER_INTERFACE = 5
GATEWAY_ENDPOINTS_PER_REGION = 20
DHCP_OPTIONS_PER_REGION = 100
PREFIX_LISTS_PER_REGION = 100
ENTRIES_PER_PREFIX_LIST = 1000
KEPT_PREFIX_ENTRIES = 10_000
"""Of earlier versions together; AWS names no limit."""
ACLS_PER_VPC = 200
ENTRIES_PER_ACL = 20
"""Inbound, and as many outbound; the closing deny is not counted."""
ADDRESSES_PER_INTERFACE = 50
TAGS_PER_RESOURCE = 50
RESOURCES_PER_TAG_CALL = 1000
ATTACHMENTS_PER_INSTANCE = 28
"""Volumes of an instance, the root among them (AWS: most Nitro instances, interfaces not counted)."""
SNAPSHOTS_PER_REGION = 100_000
PENDING_SNAPSHOTS_PER_VOLUME = 5
PLACEMENT_GROUPS_PER_REGION = 500
SPREAD_INSTANCES_PER_ZONE = 7
PARTITIONS_PER_ZONE = 7
