"""Target groups as the agent knows them: their wish and their targets' health together, and what follows from both.

`receiving` (pure) says who gets new requests and flows, `zone_is_healthy` (pure) whether a zone stays in the load balancer's names. AWS: elbv2
"target group health": below the wished number or share of healthy targets all are used ("fail open"); with cross-zone balancing all targets of
the group are counted, without it those of the zone. Targets that have not answered their first checks get nothing even then: AWS answers 503
while all are `initial`. Each node of a load balancer goes by what it has seen itself: a target that one zone cannot reach is unhealthy there alone.

The book never asks a target anything (health.py does) and changes nothing on the machine (balancers.py does).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import msgspec

from gureum.core.health import HEALTHY, REGISTERING, Health, judged, summed, told
from gureum.core.specs import Balancer, BalancerNames, Failover, NodeName, Place, Proxy, Target, TargetGroup, Use
from gureum.ports.checks import Outcome
from gureum.ports.firewalls import BalancedPort, BalancedTarget
from gureum.ports.firewalls import Balancer as RuledBalancer
from gureum.ports.names import Record


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What of a target's health outlives the agent; of one that has moved or was registered anew since it says nothing. `healths`: by the place's
    sandbox."""

    healths: dict[str, Health]
    address: str
    check_port: int
    registration: str = ""


class Group(msgspec.Struct, frozen=True):
    """`healths`: of each target by its name, at each place that looks at it by its sandbox. `returned`: targets that have come back from draining:
    a proxy may still have them."""

    spec: TargetGroup
    healths: dict[str, dict[str, Health]]
    returned: frozenset[str] = frozenset()

    def health(self, target: str, sandbox: str) -> Health:
        """A target's at a node. One that is new to the node has not answered it yet."""
        return self.healths[target].get(sandbox, _first(self.spec))

    def summed_health(self, target: str) -> Health:
        """A target's over all places."""
        return HEALTHY if self.spec.probe is None else summed(self.healths[target].values())


class Node(msgspec.Struct, frozen=True):
    """Who sends: a load balancer's node by its sandbox, and its zone."""

    sandbox: str
    zone: str


class Change(msgspec.Struct, frozen=True):
    """What a new wish changed. `left`: targets that are in the group no more."""

    any: bool
    left: tuple[Target, ...] = ()


_kept_decoder = msgspec.json.Decoder(dict[str, Kept])


class TargetBook:
    """All groups by name. Memory only."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._groups

    def adopt(self, name: str, spec: TargetGroup, kept: str) -> None:
        """As an earlier agent left it: what was healthy stays in use until a check says otherwise."""
        known = _kept(kept)
        healths = {
            target.name: known[target.name].healths
            for target in spec.targets
            if target.name in known and _is_same(known[target.name], target)
        }
        self._groups[name] = Group(
            spec, {one.name: _seen(spec, one, healths.get(one.name, {})) for one in spec.targets}
        )

    def put(self, name: str, spec: TargetGroup) -> Change:
        """This is wished now. Targets that stay keep their health; one that is registered anew starts anew, as on AWS."""
        before = self._groups.get(name)
        if before is not None and before.spec == spec:
            return Change(any=False)
        old = {one.name: one for one in before.spec.targets} if before else {}
        healths = {}
        for target in spec.targets:
            was = old.get(target.name)
            stays = was is not None and before is not None and _goes_on(was, target) and _is_looked_at(spec, target)
            healths[target.name] = _seen(spec, target, before.healths[target.name] if stays and before else {})
        self._groups[name] = Group(spec, healths, _returned(before, spec) if before else frozenset())
        left = tuple(one for name, one in old.items() if name not in healths)
        return Change(any=True, left=left)

    def note(self, name: str, target: str, sandbox: str, outcome: Outcome, now: float) -> tuple[Health, Health] | None:
        """One more look at a target from a place: its health there before and after. None when it is of no target that is looked at."""
        group = self._groups.get(name)
        before = group.healths.get(target, {}).get(sandbox) if group else None
        if group is None or before is None or group.spec.probe is None:
            return None
        after = judged(before, outcome, group.spec.healthy_threshold, group.spec.unhealthy_threshold)
        if before.state == "healthy" and after.state == "unhealthy" and group.spec.unhealthy_draining_s:
            after = msgspec.structs.replace(after, draining_until=now + group.spec.unhealthy_draining_s)
        group.healths[target][sandbox] = after
        return before, after

    def forget(self, name: str) -> None:
        self._groups.pop(name, None)

    def shown(self, name: str, now: float) -> dict[str, list[str]]:
        """As it stands in the status, over all places: {target: [state, reason, description, registration]}."""
        group = self._groups[name]
        return {one.name: [*told(group.summed_health(one.name), now), one.registration] for one in group.spec.targets}

    def zones(self, name: str) -> dict[str, list[bool]]:
        """As it stands in the status, by the sandbox of each place: whether the zone has enough healthy targets for the load balancer's names, and
        for sending to those alone."""
        group = self._groups[name]
        found = {}
        for place in group.spec.places:
            node = Node(place.sandbox, place.zone)
            named = zone_is_healthy(group, node, cross_zone=place.cross_zone)
            found[place.sandbox] = [named, not fails_open(group, node, cross_zone=place.cross_zone)]
        return found

    def next_end_of_draining(self, name: str, now: float) -> float:
        """When the next unhealthy target's draining ends; 0.0 for never."""
        ends = (one.draining_until for healths in self._groups[name].healths.values() for one in healths.values())
        return min((end for end in ends if end > now), default=0.0)

    def text(self, name: str) -> str:
        """What `adopt` takes."""
        group = self._groups[name]
        kept = {
            one.name: Kept(group.healths[one.name], one.address, one.check_port, one.registration)
            for one in group.spec.targets
        }
        return msgspec.json.encode(kept).decode()

    def in_reach(self, use: Use, node: Node) -> tuple[tuple[Target, bool], ...]:
        """The targets that a node may use at all, draining ones included, and whether they get anything new. One that has not answered its first
        checks is not among them: a proxy learns of it when it may be used, in one change instead of two. One that has come back from draining stays
        among them: a proxy that has it is not told to forget and to learn it again."""
        group = self._groups[use.group]
        receives = {one.name for one in receiving(group, node, cross_zone=use.cross_zone)}
        reach = _reach(group, node, cross_zone=use.cross_zone)
        return tuple(
            (one, one.name in receives)
            for one in reach
            if one.name in group.returned or group.health(one.name, node.sandbox).state != "initial"
        )

    def balanced(self, spec: Balancer) -> RuledBalancer:
        """A balancer's node as the rule set has it; of a group that is not known yet it has no targets."""
        uses, node = {use.group: use for use in spec.uses}, Node(spec.sandbox, spec.zone)
        ports = []
        for one in spec.listeners:
            shares = [
                (weight, [target for target, up in self.in_reach(uses.get(name, Use(name)), node) if up])
                for name, weight in one.groups
                if name in self._groups
            ]
            used = [uses.get(name, Use(name)) for name, weight in one.groups if name in self._groups and weight > 0]
            fails = bool(used) and all(
                fails_open(self._groups[use.group], node, cross_zone=use.cross_zone) for use in used
            )
            targets = weighted(shares)
            ports.append(BalancedPort(one.protocol, one.port, targets, one.by, one.preserve_client, one.idle_s, fails))
        return RuledBalancer(spec.interface, spec.address, tuple(ports), spec.public)

    def failing_over(self, spec: Proxy) -> frozenset[str]:
        """The ARNs of a proxy's groups of which unhealthy targets get what is new, too."""
        uses, node = {use.group: use for use in spec.uses}, Node(spec.sandbox, spec.zone)
        return frozenset(
            one.arn
            for one in spec.proxy.groups
            if one.name in self._groups
            and fails_open(self._groups[one.name], node, cross_zone=uses.get(one.name, Use(one.name)).cross_zone)
        )

    def failing_open(self, spec: Balancer) -> frozenset[int]:
        """The UDP ports of a balancer's node at which unhealthy targets get what is new, too."""
        if all(one.protocol != "udp" for one in spec.listeners):
            return frozenset()
        return frozenset(one.port for one in self.balanced(spec).ports if one.fail_open and one.protocol == "udp")

    def passed_over(self, spec: Balancer, ports: Collection[int]) -> dict[tuple[str, str], Target]:
        """By group and name: the targets behind these UDP ports that the node finds unhealthy."""
        udp = [one for one in spec.listeners if one.protocol == "udp" and one.port in ports]
        groups = {name for one in udp for name, _ in one.groups if name in self}
        return {
            (name, one.name): one
            for name in groups
            for one in self._groups[name].spec.targets
            if self._groups[name].health(one.name, spec.sandbox).state == "unhealthy"
        }

    def records(self, spec: BalancerNames) -> tuple[Record, ...]:
        """The names with the addresses of their healthy zones, of all their zones where none is healthy."""
        healthy = [all(self._zone_is_healthy(name, node) for name in node.groups) for node in spec.nodes]
        found = []
        for name, indexes in spec.names:
            up = [index for index in indexes if healthy[index]] or indexes
            addresses = tuple(spec.nodes[index].address for index in up)
            if addresses:
                found.append(Record(name, "A", addresses, spec.ttl, spec.view))
            if len(indexes) > 1:
                found += _by_zone(spec, name, [spec.nodes[index] for index in indexes if healthy[index]])
        return tuple(found)

    def _zone_is_healthy(self, name: str, node: NodeName) -> bool:
        group = self._groups.get(name)
        seen_from = Node(node.sandbox, node.zone)
        return group is not None and zone_is_healthy(group, seen_from, cross_zone=name not in node.zonal)


def _by_zone(spec: BalancerNames, name: str, healthy: list[NodeName]) -> list[Record]:
    """What those are told who ask from a zone with healthy nodes."""
    own = {zone: tuple(node.address for node in healthy if node.zone == zone) for zone, _ in spec.ranges}
    share = "" if spec.own_zone == 100 else f"%{spec.own_zone}"
    return [
        Record(name, "A", own[zone], spec.ttl, f"{spec.network}@{cidr}{share}")
        for zone, cidr in spec.ranges
        if own[zone]
    ]


def receiving(group: Group, node: Node, *, cross_zone: bool) -> list[Target]:
    """Who gets what is new from a node."""
    candidates, healthy = _candidates(group, node, cross_zone=cross_zone)
    if not fails_open(group, node, cross_zone=cross_zone):
        return healthy
    return [one for one in candidates if group.health(one.name, node.sandbox).state != "initial"]


def fails_open(group: Group, node: Node, *, cross_zone: bool) -> bool:
    """Whether too few are healthy, so that all get what is new (AWS: "routing failover")."""
    candidates, healthy = _candidates(group, node, cross_zone=cross_zone)
    failover = group.spec.failover
    return not _enough(len(healthy), len(candidates), failover.routing_count, failover.routing_percent)


def _candidates(group: Group, node: Node, *, cross_zone: bool) -> tuple[list[Target], list[Target]]:
    """In reach of a node and not leaving; those of them that it finds healthy."""
    found = [one for one in _reach(group, node, cross_zone=cross_zone) if not one.draining]
    return found, [one for one in found if group.health(one.name, node.sandbox).state == "healthy"]


def zone_is_healthy(group: Group, node: Node, *, cross_zone: bool) -> bool:
    """Whether the load balancer's name may lead to the node, as far as this group is concerned."""
    candidates = [one for one in _reach(group, node, cross_zone=cross_zone) if not one.draining]
    healthy = sum(group.health(one.name, node.sandbox).state == "healthy" for one in candidates)
    failover: Failover = group.spec.failover
    return _enough(healthy, len(candidates), failover.dns_count, failover.dns_percent)


def weighted(shares: Iterable[tuple[int, list[Target]]]) -> tuple[BalancedTarget, ...]:
    """Targets of several groups with weights as whole numbers: a group's targets together get its share, each within it by its own weight. A
    group without targets, or of weight 0, gets nothing."""
    used = [(weight, targets) for weight, targets in shares if weight > 0 and any(one.weight > 0 for one in targets)]
    sums = [sum(max(one.weight, 0) for one in targets) for _, targets in used]
    common = math.lcm(*sums) if sums else 1
    parts = [
        (one, weight * one.weight * (common // total))
        for (weight, targets), total in zip(used, sums, strict=True)
        for one in targets
        if one.weight > 0
    ]
    divisor = math.gcd(*(part for _, part in parts)) or 1
    return tuple(BalancedTarget(one.address, one.port, part // divisor) for one, part in parts)


def looked_at_from(spec: TargetGroup, target: Target) -> list[Place]:
    """The nodes that may send to the target, and so look at it."""
    return [one for one in spec.places if one.cross_zone or target.zone in ("", one.zone)]


def _seen(spec: TargetGroup, target: Target, before: dict[str, Health]) -> dict[str, Health]:
    return {one.sandbox: before.get(one.sandbox, _first(spec)) for one in looked_at_from(spec, target)}


def _reach(group: Group, node: Node, *, cross_zone: bool) -> list[Target]:
    return [one for one in group.spec.targets if cross_zone or one.zone in ("", node.zone)]


def _enough(healthy: int, total: int, count: int, percent: int) -> bool:
    """AWS: "the load balancer takes the action when either threshold is breached"."""
    return healthy >= count and healthy * 100 >= percent * total


def _first(spec: TargetGroup) -> Health:
    return HEALTHY if spec.probe is None else REGISTERING


def _goes_on(was: Target, now: Target) -> bool:
    moved = (was.address, was.check_port) != (now.address, now.check_port)
    return not moved and not _came_back(was, now)


def _came_back(was: Target, now: Target) -> bool:
    """Whether it was registered anew. What was wished before an update of gureum tells no registration."""
    return (was.draining and not now.draining) or was.registration not in ("", now.registration)


def _returned(before: Group, spec: TargetGroup) -> frozenset[str]:
    """Of the targets as they are wished now: those that come back with this wish, or had come back before."""
    answered = {
        one.name: one
        for one in before.spec.targets
        if one.name in before.returned or _has_answered(before.healths[one.name])
    }
    return frozenset(
        one.name
        for one in spec.targets
        if not one.draining
        and (was := answered.get(one.name)) is not None
        and (was.address, was.port) == (one.address, one.port)
        and (one.name in before.returned or _came_back(was, one))
    )


def _has_answered(healths: dict[str, Health]) -> bool:
    return any(one.state != "initial" for one in healths.values())


def _is_looked_at(spec: TargetGroup, target: Target) -> bool:
    """Of a group that no load balancer uses any more, nothing is known; a target that drains keeps what was known."""
    return spec.probe is not None and (bool(spec.places) or target.draining)


def _is_same(kept: Kept, target: Target) -> bool:
    return (kept.address, kept.check_port) == (target.address, target.check_port) and (
        kept.registration in ("", target.registration)
    )


def _kept(text: str) -> dict[str, Kept]:
    try:
        return _kept_decoder.decode(text) if text else {}
    except msgspec.DecodeError:  # of another version's form: the checks will tell
        return {}
