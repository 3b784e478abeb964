"""VPCs and what belongs to them.

    kinds.py  lowering.py                           what is stored; what a VPC and its interfaces are on the machine
    vpcs.py  subnets.py  cidrs.py  cidr_reservations.py  dhcp_options.py
    route_tables.py  routes.py  route_associations.py
    internet_gateways.py  block_public_access.py  vpn_gateways.py, customer_gateways.py (vpn_kinds.py)
    nat_gateways.py  nat_gateway_addresses.py  nat_metrics.py
    peering_connections.py  prefix_lists.py
    security_groups.py  security_group_rules.py  group_associations.py
    network_acls.py  network_acl_entries.py
    addresses.py  address_transfers.py  public_pool.py           Elastic IPs, and the home's public addresses
    insights.py  path_analysis.py                   Reachability Analyzer

Interfaces are in ec2/interfaces, endpoints in ec2/endpoints, flow logs in ec2/flow_logs.
"""
