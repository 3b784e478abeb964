"""Customer gateways: what AWS is told about a device at the other end of a VPN connection. It is remembered and no more, for there are no such
connections here. Deleted ones are shown for an hour."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, ip_address
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, listing, show_tags
from gureum.aws.ec2.networks.vpn_gateways import check_type, forget
from gureum.aws.ec2.networks.vpn_kinds import CustomerGateway, CustomerGatewaySpec
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.registry import reconcile

DEFAULT_ASN = 65000
_LARGEST = 2**31 - 1
"""The most that BgpAsn holds."""


@operation("CreateCustomerGateway", level="state")
async def create_customer_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateCustomerGateway. One that is like another is that other. CustomerGatewayLimitExceeded."""
    check_type(call)
    spec = CustomerGatewaySpec(
        asn=_asn(call),
        address=_address(call),
        certificate=call.params.get("CertificateArn") or "",
        device=call.params.get("DeviceName") or "",
    )
    if not spec.address and not spec.certificate:
        raise ids.missing("IpAddress")
    if len(spec.device) > 255:
        raise ids.invalid("The device name exceeds the maximum length of 255 characters.")
    tags = tags_of(call, "customer-gateway")
    present = [one for one in call.all(CustomerGateway) if not one.spec.deleted]
    same = next((one for one in present if one.spec.identity == spec.identity), None)
    transaction = call.transaction()
    transaction.require_no_newer(CustomerGateway, call.scope)
    if same is None and len(present) >= call.settings.quota_customer_gateways:
        raise AwsError("CustomerGatewayLimitExceeded", "The maximum number of customer gateways has been reached.")
    gateway = same or transaction.create(CustomerGateway(meta=call.meta(new_id("cgw-"), tags=tags), spec=spec))
    await call.commit(transaction)
    return {"CustomerGateway": show_gateway(gateway)}


@operation("DeleteCustomerGateway", level="state")
async def delete_customer_gateway(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteCustomerGateway. Again it is success."""
    id_ = ids.need(call, "CustomerGatewayId")
    gateway = ids.find(call, CustomerGateway, ids.CUSTOMER_GATEWAY, id_)
    transaction = call.transaction()
    if not gateway.spec.deleted:
        spec = msgspec.structs.replace(gateway.spec, deleted=call.now)
        transaction.update(msgspec.structs.replace(gateway, spec=spec))
    await call.commit(transaction)
    return {}


@operation("DescribeCustomerGateways", level="state")
def describe_customer_gateways(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeCustomerGateways."""
    found, token = listing(call, CustomerGateway, ids.CUSTOMER_GATEWAY, "CustomerGatewayIds", _FILTERS)
    return answer("CustomerGateways", [show_gateway(one) for one in found], token)


@reconcile(CustomerGateway)
async def reconcile_customer_gateway(world: World, gateway: CustomerGateway) -> None:
    """Forgets a deleted one after an hour."""
    await forget(world, gateway, gateway.spec.deleted)


def _asn(call: Call) -> int:
    short, long = call.params.get("BgpAsn"), call.params.get("BgpAsnExtended")
    if short is not None and long is not None:
        raise AwsError("InvalidParameterCombination", "Only one of bgpAsn and bgpAsnExtended can be specified.")
    if short is not None and not 1 <= short <= _LARGEST:
        raise ids.invalid(f"Value ({short}) for parameter bgpAsn is invalid.")
    if long is not None and not _LARGEST < long < 2**32:
        raise ids.invalid(f"Value ({long}) for parameter bgpAsnExtended is invalid.")
    return int(next((one for one in (short, long) if one is not None), DEFAULT_ASN))


def _address(call: Call) -> str:
    """`PublicIp` is the older name of `IpAddress`."""
    text = call.params.get("IpAddress") or call.params.get("PublicIp") or ""
    if not text:
        return ""
    try:
        address = ip_address(text)
    except (ValueError, AddressValueError) as error:
        raise ids.invalid(f"Value ({text[:50]}) for parameter ipAddress is invalid.") from error
    if not isinstance(address, IPv4Address):
        raise ids.not_built("CreateCustomerGateway with an IPv6 address")
    if address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
        raise ids.invalid(f"Value ({text}) for parameter ipAddress is invalid.")
    return str(address)


_FILTERS: FilterTable = {
    "bgp-asn": lambda one: str(one.spec.asn),
    "customer-gateway-id": lambda one: one.meta.name,
    "ip-address": lambda one: one.spec.address or (),
    "state": lambda one: one.spec.state,
    "type": lambda _: "ipsec.1",
}


def show_gateway(gateway: CustomerGateway) -> dict[str, Any]:
    """API form. AWS: ec2 CustomerGateway."""
    spec = gateway.spec
    shown: dict[str, Any] = {
        "CustomerGatewayId": gateway.meta.name,
        "Type": "ipsec.1",
        "State": spec.state,
        ("BgpAsn" if spec.asn <= _LARGEST else "BgpAsnExtended"): str(spec.asn),
        "Tags": show_tags(gateway.meta.tags),
    }
    told = {"IpAddress": spec.address, "CertificateArn": spec.certificate, "DeviceName": spec.device}
    return shown | {name: value for name, value in told.items() if value}
