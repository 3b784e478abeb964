"""VPCs and what belongs to them: subnets, routes, gateways, access lists, security groups, peering, Elastic IPs."""
