"""DHCP option sets. Every region has a default one; machines get their addresses and names from gureum itself, so a set only tells which
names and servers they are shown. Making sets of one's own is not built yet.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.host_names import private_domain
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.network_kinds import DhcpOptions, DhcpOptionsSpec
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction


@operation("DescribeDhcpOptions")
def describe_dhcp_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeDhcpOptions."""
    found, token = listing(call, DhcpOptions, ids.DHCP_OPTIONS, "DhcpOptionsIds", _filters(call))
    return answer("DhcpOptions", [show_dhcp_options(call, one) for one in found], token)


def new_default_dhcp_options(call: Call, transaction: Transaction) -> DhcpOptions:
    """The region's default set: Amazon's DNS and the region's private domain."""
    options = (("domain-name", (private_domain(call.region),)), ("domain-name-servers", ("AmazonProvidedDNS",)))
    return transaction.create(
        DhcpOptions(meta=call.meta(new_id("dopt-")), spec=DhcpOptionsSpec(options, is_default=True))
    )


def default_dhcp_options(call: Call) -> DhcpOptions:
    """The region's default set, which defaults.py made before the first call."""
    return call.by(DhcpOptions, "default", "default")[0]


def _filters(call: Call) -> FilterTable:
    return {
        "dhcp-options-id": lambda one: one.meta.name,
        "key": lambda one: [key for key, _ in one.spec.options],
        "owner-id": lambda _: call.account,
        "value": lambda one: [value for _, values in one.spec.options for value in values],
    }


def show_dhcp_options(call: Call, one: DhcpOptions) -> dict[str, Any]:
    """API form. AWS: ec2 DhcpOptions."""
    return {
        "DhcpOptionsId": one.meta.name,
        "OwnerId": call.account,
        "DhcpConfigurations": [
            {"Key": key, "Values": [{"Value": value} for value in values]} for key, values in one.spec.options
        ],
        "Tags": show_tags(one.meta.tags),
    }
