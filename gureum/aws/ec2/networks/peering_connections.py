"""VPC peering: two VPCs, also of two accounts or regions, whose private addresses reach each other.

    CreateVpcPeeringConnection: pending-acceptance ─► Accept: active ─► Delete: deleted
                                                   └► Reject: rejected; a week passes: expired; what AWS cannot make: failed

The connection is stored once in the scope of each side, both written in one commit, so that each side finds and tags its own. An active one
is part of the core Network of both VPCs (networks/lowering.py), which are then joined by a link. Only routes lead there; nothing passes on to
a third network. Ended ones stay visible for some hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.listing import answer, iso_time, listing, show_tags
from gureum.aws.ec2.networks.cidrs import network_of, overlaps
from gureum.aws.ec2.networks.kinds import PeeringSide, PeeringState, Vpc, VpcPeering, VpcPeeringSpec, VpcPeeringStatus
from gureum.aws.ec2.regions import REGIONS
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable
from gureum.aws.marks import operation
from gureum.base.ids import new_id
from gureum.core.world import World
from gureum.engine.client import Transaction
from gureum.engine.registry import reconcile
from gureum.engine.resource import key_of

LIVES_UNACCEPTED_S = 7 * 86400.0
VISIBLE_S = {"expired": 2 * 86400.0, "failed": 7200.0, "rejected": 7200.0, "deleted": 7200.0}
"""AWS: "VPC peering connection lifecycle"."""
CLASSIC = ("AllowEgressFromLocalClassicLinkToRemoteVpc", "AllowEgressFromLocalVpcToRemoteClassicLink")
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_MESSAGES: dict[PeeringState, str] = {
    "pending-acceptance": "Pending Acceptance by {accepter}",
    "active": "Active",
    "deleted": "Deleted by {by}",
    "rejected": "Rejected by {by}",
    "failed": "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range",
    "expired": "Expired",
}


@operation("CreateVpcPeeringConnection")
async def create_vpc_peering_connection(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateVpcPeeringConnection. Another account's VPC that is not there, or ranges that overlap, end in "failed"."""
    params = call.params
    if params.get("RequesterPeeringConnectionOptions"):
        raise ids.not_built("CreateVpcPeeringConnection with RequesterPeeringConnectionOptions")
    vpc = ids.find(call, Vpc, ids.VPC, ids.need(call, "VpcId"))
    account, region = params.get("PeerOwnerId") or call.account, params.get("PeerRegion") or call.region
    if _ACCOUNT.fullmatch(account) is None:
        raise ids.invalid(f"Value ({account}) for parameter peerOwnerId is invalid.")
    if region not in REGIONS:
        raise ids.invalid(f"Value ({region}) for parameter peerRegion is invalid.")
    name = ids.check_id(ids.VPC, ids.need(call, "PeerVpcId"))
    requester = PeeringSide(call.account, call.region, vpc.meta.name, tuple(one.cidr for one in vpc.spec.cidrs))
    other = call.client.get(Vpc, f"{account}/{region}", name)
    if other is None and account == call.account:
        raise ids.not_found(ids.VPC, name)
    accepter = PeeringSide(account, region, name, tuple(one.cidr for one in other.spec.cidrs) if other else ())
    _check_room(call, requester, accepter)
    failed = other is None or overlaps_any(requester.cidrs, accepter.cidrs)
    peering = VpcPeering(
        meta=call.meta(new_id("pcx-"), tags=tags_of(call, "vpc-peering-connection")),
        spec=VpcPeeringSpec(requester, accepter),
        status=VpcPeeringStatus("failed" if failed else "pending-acceptance", changed=call.now),
    )
    transaction = call.transaction()
    transaction.require(vpc)
    # Two connections of the same two VPCs, asked for at once by either side, would be two links between them.
    for scope in {requester.scope, accepter.scope}:
        transaction.require_no_newer(VpcPeering, scope)
    transaction.create(peering)
    if other is not None:
        transaction.require(other)
        if accepter.scope != call.scope:
            meta = msgspec.structs.replace(peering.meta, scope=accepter.scope, uid=new_id("", 32), tags={})
            transaction.create(msgspec.structs.replace(peering, meta=meta))
    await call.commit(transaction)
    return {"VpcPeeringConnection": _show_asked(peering)}


@operation("AcceptVpcPeeringConnection")
async def accept_vpc_peering_connection(call: Call) -> dict[str, Any]:
    """AWS: ec2 AcceptVpcPeeringConnection: by the owner of the other VPC, in its region."""
    peering = _find(call)
    if call.scope != peering.spec.accepter.scope:
        text = f"User {call.account} cannot accept peering {peering.meta.name}"
        raise AwsError("OperationNotPermitted", text)
    _check_state(call, peering, "active", "pending-acceptance")
    transaction = call.transaction()
    sides = []
    for side in (peering.spec.requester, peering.spec.accepter):
        vpc = call.client.get(Vpc, side.scope, side.vpc)
        if vpc is None:
            raise ids.not_found(ids.VPC, side.vpc)
        transaction.require(vpc)
        sides.append(msgspec.structs.replace(side, cidrs=tuple(one.cidr for one in vpc.spec.cidrs)))
        if len(active_of(call, side)) >= call.settings.quota_peerings_per_vpc:
            text = "The maximum number of active peering connections for this VPC has been reached."
            raise AwsError("ActiveVpcPeeringConnectionPerVpcLimitExceeded", text)
    overlap = overlaps_any(sides[0].cidrs, sides[1].cidrs)
    changed = _move(call, transaction, peering, "failed" if overlap else "active", sides=sides)
    await call.commit(transaction)
    return {"VpcPeeringConnection": show_peering(changed)}


@operation("RejectVpcPeeringConnection")
async def reject_vpc_peering_connection(call: Call) -> dict[str, Any]:
    """AWS: ec2 RejectVpcPeeringConnection: by the owner of the other VPC, before it was accepted."""
    peering = _find(call)
    if call.scope != peering.spec.accepter.scope:
        text = f"User {call.account} cannot reject peering {peering.meta.name}"
        raise AwsError("OperationNotPermitted", text)
    _check_state(call, peering, "rejected", "pending-acceptance")
    transaction = call.transaction()
    _move(call, transaction, peering, "rejected")
    await call.commit(transaction)
    return {"Return": True}


@operation("DeleteVpcPeeringConnection")
async def delete_vpc_peering_connection(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteVpcPeeringConnection: an active one by either side, one not yet accepted by who asked for it."""
    peering = _find(call)
    state = state_of(peering, call.now)
    if state == "pending-acceptance" and call.scope != peering.spec.requester.scope:
        text = f"User {call.account} cannot delete peering {peering.meta.name}"
        raise AwsError("OperationNotPermitted", text)
    _check_state(call, peering, "deleted", "active", "pending-acceptance", "failed")
    transaction = call.transaction()
    _move(call, transaction, peering, "deleted")
    await call.commit(transaction)
    return {"Return": True}


@operation("ModifyVpcPeeringConnectionOptions")
async def modify_vpc_peering_connection_options(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyVpcPeeringConnectionOptions: whether the other side's machines are told private addresses for public names here."""
    peering = _find(call)
    if state_of(peering, call.now) != "active":
        text = f"Peering {peering.meta.name} is not active. Peering options can be added only to active peerings."
        raise AwsError("OperationNotPermitted", text)
    spec, shown = peering.spec, {}
    for role, member in (
        ("requester", "RequesterPeeringConnectionOptions"),
        ("accepter", "AccepterPeeringConnectionOptions"),
    ):
        wanted = call.params.get(member)
        if not wanted:
            continue
        side: PeeringSide = getattr(spec, role)
        if side.scope != call.scope:
            text = f"User {call.account} cannot modify {role} options of peering {peering.meta.name}"
            raise AwsError("OperationNotPermitted", text)
        if any(wanted.get(name) for name in CLASSIC):
            raise ids.invalid("ClassicLink is retired: no VPC has it.")
        if unknown := [name for name in wanted if name not in (*CLASSIC, "AllowDnsResolutionFromRemoteVpc")]:
            raise ids.not_built(f"ModifyVpcPeeringConnectionOptions with {unknown[0]}")
        side = msgspec.structs.replace(side, dns=wanted.get("AllowDnsResolutionFromRemoteVpc", side.dns))
        spec = msgspec.structs.replace(spec, **{role: side})
        shown[member] = _options(side)
    if not shown:
        raise AwsError("MissingParameter", "Either requester or accepter peering connection options must be specified.")
    transaction = call.transaction()
    for copy in copies(call, peering):
        transaction.update(msgspec.structs.replace(copy, spec=spec))
    await call.commit(transaction)
    return shown


@operation("DescribeVpcPeeringConnections")
def describe_vpc_peering_connections(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeVpcPeeringConnections: of either side."""
    found, token = listing(call, VpcPeering, ids.PEERING, "VpcPeeringConnectionIds", _filters(call))
    return answer("VpcPeeringConnections", [show_peering(one, call.now) for one in found], token)


# What VPCs, routes and security groups use


def state_of(peering: VpcPeering, now: float) -> PeeringState:
    """The state, also when nobody has noted yet that a week is over."""
    if peering.status.state == "pending-acceptance" and now >= peering.meta.created + LIVES_UNACCEPTED_S:
        return "expired"
    return peering.status.state


def active_of(call: Call, side: PeeringSide) -> list[VpcPeering]:
    return [one for one in call.client.by(VpcPeering, side.scope, "vpc", side.vpc) if one.status.state == "active"]


def overlaps_any(cidrs: Iterable[str], others: tuple[str, ...]) -> bool:
    return any(overlaps(network_of(cidr), list(others)) for cidr in cidrs)


def end_peerings(call: Call, transaction: Transaction, vpc: Vpc) -> None:
    """The VPC is deleted, and its peerings with it."""
    for peering in call.by(VpcPeering, "vpc", vpc.meta.name):
        if state_of(peering, call.now) in ("active", "pending-acceptance"):
            _move(call, transaction, peering, "deleted")


def follow_cidrs(call: Call, transaction: Transaction, vpc: Vpc) -> None:
    """Notes new ranges of a VPC in its active peerings. AWS refuses ranges that overlap with those of a peered VPC."""
    cidrs = tuple(one.cidr for one in vpc.spec.cidrs)
    transaction.require_no_newer(VpcPeering, call.scope)
    for peering in call.by(VpcPeering, "vpc", vpc.meta.name):
        if peering.status.state != "active":
            continue
        spec, here = peering.spec, peering.spec.side_of(call.scope, vpc.meta.name)
        other = spec.accepter if here is spec.requester else spec.requester
        if overlaps_any(cidrs, other.cidrs):
            raise ids.invalid(
                f"The CIDR conflicts with a CIDR of VPC {other.vpc}, which is peered by {peering.meta.name}."
            )
        role = "requester" if here is spec.requester else "accepter"
        spec = msgspec.structs.replace(spec, **{role: msgspec.structs.replace(here, cidrs=cidrs)})
        for copy in copies(call, peering):
            transaction.update(msgspec.structs.replace(copy, spec=spec))


def copies(call: Call, peering: VpcPeering) -> list[VpcPeering]:
    """The connection as it is stored for each side."""
    scopes = dict.fromkeys((peering.spec.requester.scope, peering.spec.accepter.scope))
    found = (call.client.get(VpcPeering, scope, peering.meta.name) for scope in scopes)
    return [one for one in found if one is not None]


def _find(call: Call) -> VpcPeering:
    return ids.find(call, VpcPeering, ids.PEERING, ids.need(call, "VpcPeeringConnectionId"))


def _check_state(call: Call, peering: VpcPeering, wanted: PeeringState, *allowed: PeeringState) -> None:
    state = state_of(peering, call.now)
    if state not in allowed:
        text = f"Invalid state transition for {peering.meta.name}, attempted to transition from {state} to {wanted}"
        raise AwsError("InvalidStateTransition", text)


def _check_room(call: Call, requester: PeeringSide, accepter: PeeringSide) -> None:
    pending = 0
    for one in call.by(VpcPeering, "vpc", requester.vpc):
        state = state_of(one, call.now)
        if state in ("active", "pending-acceptance") and {one.spec.requester.vpc, one.spec.accepter.vpc} == {
            requester.vpc,
            accepter.vpc,
        }:
            text = (
                f"A VPC peering connection between {requester.vpc} and {accepter.vpc} exists already: {one.meta.name}"
            )
            raise AwsError("VpcPeeringConnectionAlreadyExists", text)
        pending += state == "pending-acceptance" and one.spec.requester.scope == call.scope
    if pending >= call.settings.quota_outstanding_peerings:
        text = "The maximum number of outstanding peering connection requests has been reached."
        raise AwsError("OutstandingVpcPeeringConnectionLimitExceeded", text)


def _move(
    call: Call,
    transaction: Transaction,
    peering: VpcPeering,
    state: PeeringState,
    sides: list[PeeringSide] | None = None,
) -> VpcPeering:
    spec = VpcPeeringSpec(*sides) if sides else peering.spec
    status = VpcPeeringStatus(state, by=call.account, changed=call.now)
    moved = [
        transaction.update(msgspec.structs.replace(transaction.current(one), spec=spec, status=status))
        for one in copies(call, peering)
    ]
    return next(one for one in moved if one.meta.scope == call.scope)


@reconcile(VpcPeering)
async def reconcile_vpc_peering(world: World, peering: VpcPeering) -> None:
    """Lets it expire, and forgets ended ones when AWS does."""
    state, now = peering.status.state, world.clock.now()
    transaction = world.client.transaction()
    if state == "pending-acceptance":
        left = peering.meta.created + LIVES_UNACCEPTED_S - now
        status = VpcPeeringStatus("expired", changed=now)
        transaction.update(msgspec.structs.replace(peering, status=status))
    elif state in VISIBLE_S:
        left = peering.status.changed + VISIBLE_S[state] - now
        transaction.delete(peering)
    else:
        return
    if left > 0:
        world.poke(key_of(peering), left)
        return
    await transaction.commit()


# Show


def _filters(call: Call) -> FilterTable:
    table: dict[str, Any] = {
        "expiration-time": lambda one: iso_time(one.meta.created + LIVES_UNACCEPTED_S),
        "status-code": lambda one: state_of(one, call.now),
        "status-message": lambda one: _message(one, state_of(one, call.now)),
        "vpc-peering-connection-id": lambda one: one.meta.name,
    }
    table["accepter-vpc-info.cidr-block"] = lambda one: (
        one.spec.accepter.cidrs if state_of(one, call.now) == "active" else ()
    )
    table["requester-vpc-info.cidr-block"] = lambda one: one.spec.requester.cidrs
    for role in ("accepter", "requester"):
        table[f"{role}-vpc-info.owner-id"] = lambda one, role=role: getattr(one.spec, role).account
        table[f"{role}-vpc-info.vpc-id"] = lambda one, role=role: getattr(one.spec, role).vpc
    return table


def show_peering(peering: VpcPeering, now: float = 0.0) -> dict[str, Any]:
    """API form. AWS: ec2 VpcPeeringConnection. Who has not accepted shows nothing of his VPC but its id: CIDR blocks are "only returned when
    describing an active VPC peering connection"; recorded answers for pending ones have no options of his either."""
    state = state_of(peering, now)
    accepter = _show_side(peering.spec.accepter)
    if state != "active":
        accepter = {name: accepter[name] for name in ("OwnerId", "VpcId", "Region")}
    shown: dict[str, Any] = {
        "VpcPeeringConnectionId": peering.meta.name,
        "RequesterVpcInfo": _show_side(peering.spec.requester),
        "AccepterVpcInfo": accepter,
        "Status": {"Code": state, "Message": _message(peering, state)},
        "Tags": show_tags(peering.meta.tags),
    }
    if state == "pending-acceptance":
        shown["ExpirationTime"] = peering.meta.created + LIVES_UNACCEPTED_S
    return shown


def _show_asked(peering: VpcPeering) -> dict[str, Any]:
    """What who asks for one is answered: what becomes of it, failed or pending acceptance, AWS tells afterwards."""
    status = {"Code": "initiating-request", "Message": f"Initiating Request to {peering.spec.accepter.account}"}
    expires = peering.meta.created + LIVES_UNACCEPTED_S
    return show_peering(peering) | {"Status": status, "ExpirationTime": expires}


def _message(peering: VpcPeering, state: PeeringState) -> str:
    return _MESSAGES[state].format(accepter=peering.spec.accepter.account, by=peering.status.by)


def _show_side(side: PeeringSide) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "OwnerId": side.account,
        "VpcId": side.vpc,
        "Region": side.region,
        "PeeringOptions": _options(side),
    }
    if side.cidrs:
        shown |= {"CidrBlock": side.cidrs[0], "CidrBlockSet": [{"CidrBlock": cidr} for cidr in side.cidrs]}
    return shown


def _options(side: PeeringSide) -> dict[str, Any]:
    return {"AllowDnsResolutionFromRemoteVpc": side.dns} | dict.fromkeys(CLASSIC, False)
