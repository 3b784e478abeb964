"""Quotas of load balancing, as a new account on AWS has them (docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
and …/network/load-balancer-limits.html), and how much one call may name."""

from __future__ import annotations

APPLICATION_LOAD_BALANCERS = 50
NETWORK_LOAD_BALANCERS = 50
TARGET_GROUPS = 3000
LISTENERS_PER_LOAD_BALANCER = 50
CERTIFICATES_PER_APPLICATION_LOAD_BALANCER = 25
"""Default certificates are not counted."""
CERTIFICATES_PER_NETWORK_LISTENER = 25
RULES_PER_LOAD_BALANCER = 100
"""Default rules are not counted."""
CONDITION_VALUES_PER_RULE = 5
WILDCARDS_PER_RULE = 5
GROUPS_PER_ACTION = 5
GROUPS_PER_APPLICATION_LOAD_BALANCER = 100
TARGETS_PER_APPLICATION_LOAD_BALANCER = 1000
TARGETS_PER_NETWORK_LOAD_BALANCER = 3000
TARGETS_PER_ZONE_OF_NETWORK_LOAD_BALANCER = 500
BALANCER_AS_TARGET = {False: 50, True: 100}
"""For how many targets an application load balancer counts behind a network one; by whether that crosses zones."""
TARGETS_PER_GROUP = 1000
TAGS_PER_RESOURCE = 50
RESOURCES_PER_CALL = 20
"""Load balancers, target groups, listeners and rules that a Describe operation names; of DescribeTags and tag changes all together."""
PAGE = 400

SHOWN = {
    "application-load-balancers": APPLICATION_LOAD_BALANCERS,
    "certificates-per-application-load-balancer": CERTIFICATES_PER_APPLICATION_LOAD_BALANCER,
    "certificates-per-network-load-balancer": CERTIFICATES_PER_NETWORK_LISTENER,
    "condition-values-per-alb-rule": CONDITION_VALUES_PER_RULE,
    "condition-wildcards-per-alb-rule": WILDCARDS_PER_RULE,
    "listeners-per-application-load-balancer": LISTENERS_PER_LOAD_BALANCER,
    "listeners-per-network-load-balancer": LISTENERS_PER_LOAD_BALANCER,
    "network-load-balancers": NETWORK_LOAD_BALANCERS,
    "rules-per-application-load-balancer": RULES_PER_LOAD_BALANCER,
    "target-groups": TARGET_GROUPS,
    "target-groups-per-action-on-application-load-balancer": GROUPS_PER_ACTION,
    "target-groups-per-action-on-network-load-balancer": GROUPS_PER_ACTION,
    "target-groups-per-application-load-balancer": GROUPS_PER_APPLICATION_LOAD_BALANCER,
    "targets-per-application-load-balancer": TARGETS_PER_APPLICATION_LOAD_BALANCER,
    "targets-per-availability-zone-per-network-load-balancer": TARGETS_PER_ZONE_OF_NETWORK_LOAD_BALANCER,
    "targets-per-network-load-balancer": TARGETS_PER_NETWORK_LOAD_BALANCER,
    "targets-per-target-group": TARGETS_PER_GROUP,
}
"""What DescribeAccountLimits tells. AWS: elbv2 Limit."""
