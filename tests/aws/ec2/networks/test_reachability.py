"""Who reaches whom: what is planned for the machine, from API calls to routes and rules, against AWS's words alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings, target

from tests.drivers.nft.planned_packets import Planned
from tests.topologies import PORTS, Built, Model, Topology, address_of, topologies


def planned(built: Built) -> Planned:
    wished = built.cloud.wished
    gateways = {name for (_, place), name in built.interfaces.items() if place == -1}
    return Planned(wished("Network"), list(wished("FirewallGroup").values()), wished("Interface"), gateways)


def questions(built: Built):
    """(source, target, port, whether by its public address)"""
    machines = built.topology.machines
    for source in machines:
        for end in machines:
            if source == end:
                continue
            for port in PORTS:
                yield source, end, port, False
                if end in built.publics:
                    yield source, end, port, True


def test_plans_let_pass_what_aws_lets_pass(new_cloud) -> None:
    seen: Counter[bool] = Counter()

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(topologies())
    def check(topology: Topology) -> None:
        cloud = new_cloud()
        try:
            built = Built(cloud, topology)
            plans, model = planned(built), Model(topology, built.publics)
            opened = 0
            for source, end, port, public in questions(built):
                address = built.publics[end] if public else address_of(end)
                found = plans.opens(built.interfaces[source], address, port)
                expected = model.reaches(source, end, port, public)
                assert found == (built.interfaces[end] if expected else ""), (source, end, port, address)
                seen[expected] += 1
                opened += expected
            target(opened)
        finally:
            cloud.lowering.close()
            cloud.client.close()

    check()
    assert min(seen[True], seen[False]) >= 10  # both happen, how often hangs on the examples
