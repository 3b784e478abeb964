"""Limits of EC2 that are no settings (those are in base/quotas.py): as AWS has them, and how many things one call may make."""

from __future__ import annotations

DHCP_OPTIONS_PER_REGION = 100
KEPT_PREFIX_ENTRIES = 10_000
"""Of earlier versions together; AWS names no limit."""
ADDRESSES_PER_INTERFACE = 50
TAGS_PER_RESOURCE = 50
RESOURCES_PER_TAG_CALL = 1000
SNAPSHOTS_PER_REGION = 100_000
PENDING_SNAPSHOTS_PER_VOLUME = 5
PLACEMENT_GROUPS_PER_REGION = 500
SPREAD_INSTANCES_PER_ZONE = 7
PARTITIONS_PER_ZONE = 7
