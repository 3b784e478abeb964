"""The routes of a router: what each route table means, and what a detached interface leaves."""

from __future__ import annotations

from gureum.drivers.networks.netlink import BLACKHOLE, MAIN_TABLE, THROW, UNREACHABLE, Route, Rule
from gureum.drivers.networks.network_names import node_mark, stable_number
from gureum.drivers.networks.routes import Placed, own, plan, subnet_table
from gureum.ports import networks

CIDR = "10.0.0.0/16"
UPLINK = 7
GATE = Placed(3, "egate", "gate@m#1", ("10.0.0.7", "10.0.0.8"), "10.0.0.1")


def table_of(
    *routes: networks.Route, uplink: int = UPLINK, placed: dict[str, Placed] | None = None
) -> dict[str, Route]:
    """The table of a subnet with these routes, by destination."""
    subnet = networks.Subnet("a", "10.0.0.0/24", "10.0.0.1", routes)
    found = plan(networks.NetworkSpec("vpc", (CIDR,), (subnet,)), placed or {}, uplink)
    return {route.destination: route for route in found.routes if route.table == subnet_table("a")}


def test_own_addresses_are_local_and_the_rest_unreachable() -> None:
    assert {destination: route.kind for destination, route in table_of().items()} == {
        CIDR: THROW,
        "0.0.0.0/0": UNREACHABLE,
    }


def test_internet_leads_to_the_uplink_or_nowhere() -> None:
    route = networks.Route("0.0.0.0/0", "internet")
    assert (table_of(route)["0.0.0.0/0"].link, table_of(route)["0.0.0.0/0"].gateway) == (UPLINK, "169.254.0.1")
    assert table_of(route, uplink=0)["0.0.0.0/0"].kind == BLACKHOLE


def test_interface_route_leads_to_its_primary_address_or_nowhere() -> None:
    route = networks.Route("172.16.0.0/12", "interface:gate")
    found = table_of(route, placed={"gate": GATE})["172.16.0.0/12"]
    assert (found.link, found.gateway, found.onlink) == (3, "10.0.0.7", True)
    assert table_of(route)["172.16.0.0/12"].kind == BLACKHOLE


def test_route_within_the_network_wins_over_local() -> None:
    found = table_of(networks.Route("10.0.1.0/24", "interface:gate"), placed={"gate": GATE})
    assert found["10.0.1.0/24"].link == 3
    assert found[CIDR].kind == THROW


def test_what_stays_in_the_subnet_meets_no_route() -> None:
    for destination in ("10.0.0.0/24", CIDR):
        found = table_of(networks.Route(destination, "interface:gate"), placed={"gate": GATE})
        assert found["10.0.0.0/24"].kind == THROW
        assert destination != CIDR or found[CIDR].link == 3


def test_entrance_leads_what_comes_by_the_uplink() -> None:
    entrance = (networks.Route(CIDR, "local"), networks.Route("10.0.1.0/24", "interface:gate"))
    spec = networks.NetworkSpec("vpc", (CIDR,), uplink=True, entrance=entrance)
    (rule,) = (rule for rule in plan(spec, {"gate": GATE}, UPLINK).rules if rule.incoming == "up")
    found = {one.destination: one for one in plan(spec, {"gate": GATE}, UPLINK).routes if one.table == rule.table}
    assert (found["10.0.1.0/24"].link, found[CIDR].kind) == (3, THROW)
    lost = {one.destination: one for one in plan(spec, {}, UPLINK).routes if one.table == rule.table}
    assert lost["10.0.1.0/24"].kind == BLACKHOLE
    assert not [rule for rule in plan(spec, {"gate": GATE}, 0).rules if rule.incoming]


def test_ipv6_routes_are_left_out() -> None:
    assert set(table_of(networks.Route("::/0", "internet"))) == {CIDR, "0.0.0.0/0"}


def test_addresses_that_nobody_has_stay_inside() -> None:
    found = plan(networks.NetworkSpec("vpc", (CIDR, "10.9.0.0/16")), {"gate": GATE}, 0)
    assert {Route(CIDR, kind=UNREACHABLE), Route("10.9.0.0/16", kind=UNREACHABLE)} <= found.routes
    assert {route.destination for route in found.routes if route.link} == {"10.0.0.7/32", "10.0.0.8/32"}


def test_forwarding_interface_has_its_table_by_link() -> None:
    forwarding = Placed(3, "egate", "gate@m#1", ("10.0.0.7",), "10.0.0.1", forward_table=subnet_table("a"))
    back = stable_number("replies to gate")
    assert own(forwarding).rules == {
        Rule(1000, subnet_table("a"), incoming="egate"),
        Rule(1500, MAIN_TABLE, incoming="egate"),  # and no other subnet's, by the source of what it forwards
        Rule(500, back, mark=node_mark("gate"), mask=0xFFFF_FFFF),
    }
    assert Route("0.0.0.0/0", back, link=3, gateway="10.0.0.7", onlink=True) in own(forwarding).routes
    assert own(GATE).rules == frozenset()


def test_marked_replies_leave_by_the_uplink_and_stay_inside_where_they_can() -> None:
    spec = networks.NetworkSpec("vpc", (CIDR,), (networks.Subnet("a", "10.0.0.0/24", "10.0.0.1"),))
    (rule,) = (rule for rule in plan(spec, {}, UPLINK).rules if rule.mark)
    assert rule.priority < 1000  # before any subnet's
    found = {route.destination: route for route in plan(spec, {}, UPLINK).routes if route.table == rule.table}
    assert {destination: (one.kind, one.link) for destination, one in found.items()} == {
        CIDR: (THROW, 0),
        "0.0.0.0/0": (1, UPLINK),
    }
    assert not [rule for rule in plan(spec, {}, 0).rules if rule.mark]
