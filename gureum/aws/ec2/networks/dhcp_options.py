"""DHCP option sets: what a machine is told about names and clocks when it starts.

No DHCP is spoken: a machine's addresses are there before it runs, and the boot script of gureum's images fetches the options with the
metadata, at every start (on AWS a lease is renewed after some hours). Domain and name servers are written to its /etc/resolv.conf, all
options to /run/gureum/dhcp. A VPC whose set is "default" tells none.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.instances.host_names import private_domain
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.kinds import DhcpOptions, DhcpOptionsSpec, Vpc
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

AMAZON = "AmazonProvidedDNS"
AMAZON_ADDRESS = "169.254.169.253"
NONE = "default"
"""Names no set, in AssociateDhcpOptions."""
SERVERS = ("domain-name-servers", "ntp-servers", "netbios-name-servers")
MOST_SERVERS = 4
_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_. -]{0,253}[A-Za-z0-9_.])?", re.ASCII)


@operation("CreateDhcpOptions")
async def create_dhcp_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateDhcpOptions."""
    options: dict[str, tuple[str, ...]] = {}
    for one in call.params.get("DhcpConfigurations") or ():
        key = one.get("Key") or ""
        values = tuple(value for given in one.get("Values") or () for value in given.split(",") if value)
        if key in options:
            raise ids.invalid(f"The option {key} appears more than once.")
        _check(key, values)
        options[key] = values
    if not options:
        raise ids.missing("DhcpConfiguration")
    if len(call.all(DhcpOptions)) >= limits.DHCP_OPTIONS_PER_REGION:
        raise AwsError("DhcpOptionsLimitExceeded", "The maximum number of DHCP options sets has been reached.")
    made = DhcpOptions(
        meta=call.meta(new_id("dopt-"), tags=tags_of(call, "dhcp-options")),
        spec=DhcpOptionsSpec(tuple(sorted(options.items()))),
    )
    transaction = call.transaction()
    transaction.create(made)
    await call.commit(transaction)
    return {"DhcpOptions": show_dhcp_options(call, made)}


@operation("DeleteDhcpOptions")
async def delete_dhcp_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteDhcpOptions: not the region's default set, none that a VPC has."""
    found = ids.find(call, DhcpOptions, ids.DHCP_OPTIONS, ids.need(call, "DhcpOptionsId"))
    if found.spec.is_default or call.by(Vpc, "dhcp-options", found.meta.name):
        text = f"The dhcpOptions '{found.meta.name}' has dependencies and cannot be deleted."
        raise AwsError("DependencyViolation", text)
    transaction = call.transaction()
    transaction.require_no_newer(Vpc, call.scope)
    transaction.delete(found)
    await call.commit(transaction)
    return {}


@operation("AssociateDhcpOptions")
async def associate_dhcp_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 AssociateDhcpOptions; "default": none. Machines are told at their next start."""
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    name = ids.need(call, "DhcpOptionsId")
    transaction = call.transaction()
    if name != NONE:
        transaction.require(ids.find(call, DhcpOptions, ids.DHCP_OPTIONS, name))
    transaction.update(msgspec.structs.replace(vpc, spec=msgspec.structs.replace(vpc.spec, dhcp_options=name)))
    await call.commit(transaction)
    return {}


@operation("DescribeDhcpOptions")
def describe_dhcp_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeDhcpOptions."""
    found, token = listing(call, DhcpOptions, ids.DHCP_OPTIONS, "DhcpOptionsIds", _filters(call))
    return answer("DhcpOptions", [show_dhcp_options(call, one) for one in found], token)


def new_default_dhcp_options(call: Call, transaction: Transaction) -> DhcpOptions:
    """The region's default set: Amazon's DNS and the region's private domain."""
    options = (("domain-name", (private_domain(call.region),)), ("domain-name-servers", (AMAZON,)))
    return transaction.create(
        DhcpOptions(meta=call.meta(new_id("dopt-")), spec=DhcpOptionsSpec(options, is_default=True))
    )


def default_dhcp_options(call: Call) -> DhcpOptions:
    """The region's default set, which defaults.py made before the first call."""
    return call.by(DhcpOptions, "default", "default")[0]


def resolver_file(options: DhcpOptions | None) -> str:
    """resolv.conf(5) of a machine with these options; None: of one that is told none."""
    told = dict(options.spec.options) if options is not None else {}
    servers = [AMAZON_ADDRESS if one == AMAZON else one for one in told.get("domain-name-servers", ())]
    lines = [f"search {' '.join(told['domain-name'])}"] if told.get("domain-name") else []
    return "".join(f"{line}\n" for line in (*lines, *(f"nameserver {one}" for one in servers)))


def option_lines(options: DhcpOptions | None) -> str:
    """A line "key value …" per option."""
    told = options.spec.options if options is not None else ()
    return "".join(f"{key} {' '.join(values)}\n" for key, values in told)


def _check(key: str, values: tuple[str, ...]) -> None:
    """What is refused also keeps lines of files in machines from being other lines."""
    if not values:
        raise ids.missing("value")
    if key == "domain-name":
        if not all(_DOMAIN.fullmatch(value) for value in values):
            raise ids.invalid(f"Value ({', '.join(values)}) for parameter value is invalid. Invalid domain name.")
    elif key in SERVERS:
        if len(values) > MOST_SERVERS:
            raise ids.invalid(f"At most {MOST_SERVERS} values can be specified for {key}.")
        amazon = key == "domain-name-servers" and AMAZON in values
        if not all(_is_address(value) or (amazon and value == AMAZON) for value in values):
            raise ids.invalid(f"Value ({', '.join(values)}) for parameter value is invalid. Invalid server address.")
    elif key == "netbios-node-type":
        if len(values) != 1 or values[0] not in ("1", "2", "4", "8"):
            raise ids.invalid(f"Value ({', '.join(values)}) for parameter netbios-node-type is invalid.")
    elif key == "ipv6-address-preferred-lease-time":
        raise ids.not_built("CreateDhcpOptions with ipv6-address-preferred-lease-time")
    else:
        raise ids.invalid(f"Value ({key}) for parameter key is invalid. Unknown DHCP option.")


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


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
