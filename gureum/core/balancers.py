"""Load balancing on the machine: reconcile and teardown of TargetGroup, Proxy, Balancer and BalancerNames.

    TargetGroup ──► TargetBook (targets.py) ◄── outcomes ── HealthChecks (health.py)
                        │ who is up, which zones are healthy: at each change the group's users are poked
            ┌───────────┼──────────────┐
          Proxy      Balancer     BalancerNames
       proxies.ensure  rules.enforce   names.replace

No poll and no daemon lies between a check's result and the proxy or the kernel. What was under way to a target that leaves, or that turned unhealthy
where its group wishes it ended, is cut after the change has been made: nothing new can reach it by then. A proxy takes other changes while it cuts.
UDP flows have no end of their own that would free them from a target: they leave an unhealthy one in any case, with their next packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from gureum.core.anomalies import WHOLE, AnomalyWatch
from gureum.core.application_ports import Later
from gureum.core.health import HealthChecks, Look, MadeSink, Watched
from gureum.core.machine import Machine
from gureum.core.networks import Rules
from gureum.core.specs import Balancer, BalancerNames, Interface, Proxy, Target, TargetGroup, Use
from gureum.core.targets import Node, TargetBook, looked_at_from
from gureum.engine.errors import Retry
from gureum.ports import PortError
from gureum.ports.checks import Outcome
from gureum.ports.firewalls import Entrance
from gureum.ports.proxies import Group, ProxySpec, Server

log = logging.getLogger("gureum.agent")
GROUP_WAIT_S = 10.0
QUICK_END_S = 1.0
"""A proxy that ends sooner than this after it was up may be one of a loop. What has served for longer is started again at once, as often as it
ends."""
FREE_QUICK_ENDS, UNBORN = 10, 3
"""So many quick ends in a row are answered at once, too: whoever kills a proxy as soon as it is back makes no loop yet. An end before it was up
counts as `UNBORN` of them."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 10.0
CUT_AGAIN_S = 0.2
FINISH_AGAIN_S = 1.0
KINDS = ("TargetGroup", "Proxy", "Balancer", "BalancerNames")

Ends = dict[tuple[str, str], Target]
"""By group and target: whose connections are to be cut."""


class BalancingKinds:
    """`start` first, with what is wished from before. Loaded groups are in `book` when it returns."""

    def __init__(self, machine: Machine, rules: Rules, book: TargetBook) -> None:
        self._machine = machine
        self._rules = rules
        self._book = book
        self._checks = HealthChecks(machine.ports.clock, machine.ports.checks, self._heard)
        self._anomalies = AnomalyWatch(machine, book)
        self._ends: dict[str, Ends] = {}
        self._moves: dict[str, Ends] = {}
        self._open: dict[str, frozenset[int]] = {}
        self._cuts: dict[str, tuple[Ends, asyncio.Task[None]]] = {}
        self._deaths: dict[str, _Deaths] = {}
        self._listening: dict[str, tuple[tuple[int, ...], bool]] = {}
        self._bringing: set[str] = set()
        self._hastening: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._draining: dict[str, asyncio.Task[None]] = {}
        self.failing_over: dict[str, frozenset[str]] = {}
        """By proxy: the ARNs of groups of which it sends to unhealthy targets, too."""

    def tell_looks(self, sink: MadeSink) -> None:
        """Every look at a target, from now on; one sink."""
        self._checks.made = sink

    def adopt(self, id_: str, spec: TargetGroup) -> None:
        """A group of before the agent's restart: what was healthy then still is, until a check says otherwise."""
        name = _name(id_)
        self._book.adopt(name, spec, self._machine.kept.get(f"health/{name}", ""))

    def adopt_names(self, id_: str, spec: BalancerNames) -> None:
        """Names of before the restart are answered from the first question on; their groups have been adopted."""
        self._machine.ports.names.replace(id_, self._book.records(spec))

    def start(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch_proxies())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        tasks = [*self._draining.values(), *self._hastening, *(task for _, task in self._cuts.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._checks.close()
        await self._anomalies.close()

    # --- target groups ---

    async def target_group(self, id_: str, spec: TargetGroup) -> None:
        machine, name = self._machine, _name(id_)
        change = self._book.put(name, spec)
        if change.left and spec.end_deregistered:
            self._end(name, change.left)
        if change.any:
            self._poke_users(id_)
        looks, waits = self._looks(id_, spec)
        self._checks.watch(name, looks)
        reason, now = waits[0].why if waits else "", machine.ports.clock.now()
        data: dict[str, Any] = {"targets": self._book.shown(name, now), "zones": self._book.zones(name)}
        data |= {"anomalies": anomalies} if (anomalies := self._anomalies.shown(name)) else {}
        machine.set_status(id_, "pending" if waits else "ready", reason, data)
        self._come_back(id_, self._book.next_end_of_draining(name, now) - now)
        await machine.keep(f"health/{name}", self._book.text(name) if spec.probe else "")
        if waits:
            raise waits[0]

    def _come_back(self, id_: str, delay_s: float) -> None:
        """Tells the group's state anew after so long; not at all where that is over."""
        before = self._draining.pop(id_, None)
        if before is not None:
            before.cancel()
        if delay_s > 0:
            self._draining[id_] = asyncio.get_running_loop().create_task(self._poke_later(id_, delay_s))

    async def _poke_later(self, id_: str, delay_s: float) -> None:
        await self._machine.ports.clock.sleep(delay_s)
        self._machine.poke(id_)

    async def target_group_gone(self, id_: str, spec: TargetGroup) -> None:
        name = _name(id_)
        self._come_back(id_, 0.0)
        self._checks.forget(name)
        self._book.forget(name)
        await self._machine.keep(f"health/{name}", "")

    def _looks(self, id_: str, spec: TargetGroup) -> tuple[dict[Watched, Look], list[Retry]]:
        """How each target is looked at from each place, and what those wait for whose place is not there yet."""
        looks: dict[Watched, Look] = {}
        waits: list[Retry] = []
        if spec.probe is None or not spec.places:
            return looks, waits
        ready: set[str] = set()
        interfaces = self._interfaces()
        for sandbox in {place.sandbox for place in spec.places}:
            found = self._missing(id_, sandbox, interfaces)
            if found is None:
                ready.add(sandbox)
            else:
                waits.append(found)
        for target in spec.targets:
            for place in looked_at_from(spec, target) if not target.draining else ():
                if place.sandbox in ready:
                    looks[target.name, place.sandbox] = Look(
                        place.sandbox,
                        place.address,
                        target.address,
                        target.check_port,
                        spec.probe,
                        spec.interval_s,
                        target.registration,
                    )
        return looks, waits

    def _missing(self, id_: str, sandbox: str, interfaces: dict[str, list[str]]) -> Retry | None:
        try:
            self._machine.need(id_, f"Sandbox/{sandbox}")
            for name in interfaces.get(sandbox, ()):
                self._machine.need(id_, f"Interface/{name}")
        except Retry as wait:
            return wait
        return None

    def _interfaces(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self._machine.of_kind("Interface"):
            if isinstance(one.spec, Interface) and one.spec.interface.sandbox:
                found.setdefault(one.spec.interface.sandbox, []).append(one.name)
        return found

    def _heard(self, group: str, target: str, sandbox: str, outcome: Outcome) -> None:
        noted = self._book.note(group, target, sandbox, outcome, self._machine.ports.clock.now())
        if noted is None:
            return
        before, after = noted
        id_ = f"TargetGroup/{group}"
        if before.state != after.state:
            extra = {"group": group, "target": target, "node": sandbox, "state": after.state}
            log.info("target health", extra=extra)
            if after.state == "unhealthy":
                self._end_unhealthy(group, target, sandbox)
            self._poke_users(id_, sandbox)
        if (before.state, before.reason, before.description) != (after.state, after.reason, after.description):
            self._machine.poke(id_)

    def _end_unhealthy(self, group: str, target: str, sandbox: str) -> None:
        wished = self._machine.desired.get(f"TargetGroup/{group}")
        if wished is not None and isinstance(wished.spec, TargetGroup):
            its = [one for one in wished.spec.targets if one.name == target]
            self._end(group, its, sandbox, datagrams=not wished.spec.end_unhealthy)

    def _end(self, group: str, targets: Iterable[Target], sandbox: str = "", *, datagrams: bool = False) -> None:
        """Notes for all who send to `group`, or for the node in `sandbox` alone, that what is under way to `targets` is to be cut. `datagrams`: only
        UDP flows are, whose next packet goes to another target."""
        noted, kinds = (self._moves, Balancer) if datagrams else (self._ends, Proxy | Balancer)
        for user in self._machine.users(f"TargetGroup/{group}"):
            wished = self._machine.desired.get(user)
            if wished is None or not isinstance(wished.spec, Proxy | Balancer) or not isinstance(wished.spec, kinds):
                continue
            if sandbox in ("", wished.spec.sandbox):
                noted.setdefault(user, {}).update({(group, one.name): one for one in targets})

    def _poke_users(self, id_: str, sandbox: str = "") -> None:
        """All, or only those to whom it matters what the node in `sandbox` sees."""
        for user in self._machine.users(id_):
            wished = self._machine.desired.get(user)
            seer = wished.spec.sandbox if wished and isinstance(wished.spec, Proxy | Balancer) else sandbox
            if sandbox not in ("", seer):
                continue
            self._machine.poke(user)
            if user in self._bringing:
                self._hasten(user)

    # --- proxies ---

    async def proxy(self, id_: str, spec: Proxy) -> None:
        machine = self._machine
        sandbox = machine.need(id_, f"Sandbox/{spec.sandbox}")
        machine.need(id_, f"Interface/{spec.interface}")
        self._need_groups([*(use.group for use in spec.uses), *(group.name for group in spec.proxy.groups)])
        self._hold_back(id_)
        wanted = self._proxy_spec(spec, str(sandbox.data["net"]))
        await self._let_listen(id_, spec)
        cutting, _ = self._cuts.get(id_, ({}, None))
        with self._ending(id_) as ends:
            self._bringing.add(id_)
            try:
                # What leaves is first taken out of rotation, then cut, and only then forgotten: nothing new may come in between.
                await machine.ports.proxies.ensure(_with_leaving(wanted, cutting | ends))
            finally:
                self._bringing.discard(id_)
            if ends:
                self._cut_meanwhile(id_, cutting | ends)
        if self._rules.handover.serves(spec.interface, frozenset(spec.listens_at)):
            await self._enforce_at(spec.interface)
        self._note_back(id_)
        machine.set_status(id_, "ready")
        self.failing_over[spec.proxy.name] = self._book.failing_over(spec)
        self._anomalies.look_soon()

    def _cut_meanwhile(self, id_: str, ends: Ends) -> None:
        """Cuts, and has the proxy looked at again, which forgets who has left. What could not be cut is noted for then."""
        _, before = self._cuts.get(id_, ({}, None))
        if before is not None:
            before.cancel()
        task = asyncio.get_running_loop().create_task(self._cut_all(id_, ends), name=f"cut {id_}")
        self._cuts[id_] = ends, task

    async def _cut_all(self, id_: str, ends: Ends) -> None:
        try:
            for group, target in ends:
                await self._cut(id_, group, target)
        except PortError as failed:
            log.info("connections are cut later", extra={"proxy": id_, "why": failed.why})
            await self._machine.ports.clock.sleep(CUT_AGAIN_S)
            self._ends[id_] = ends | self._ends.get(id_, {})
        del self._cuts[id_]
        self._machine.poke(id_)

    def _hasten(self, id_: str) -> None:
        """Who is up by now, for a proxy that is being brought to an earlier wish: that may take a reload. Its next run follows."""
        wished = self._machine.desired.get(id_)
        if wished is None or not isinstance(wished.spec, Proxy):
            return
        spec = wished.spec
        with contextlib.suppress(Retry):
            self._need_groups([*(use.group for use in spec.uses), *(group.name for group in spec.proxy.groups)])
            told = self._machine.ports.proxies.hasten(spec.proxy.name, self._groups(spec))
            task = asyncio.get_running_loop().create_task(told)
            self._hastening.add(task)
            task.add_done_callback(self._hastening.discard)

    async def proxy_gone(self, id_: str, spec: Proxy) -> None:
        self._ends.pop(id_, None)
        self._deaths.pop(id_, None)
        self.failing_over.pop(spec.proxy.name, None)
        _, cutting = self._cuts.pop(id_, ({}, None))
        if cutting is not None:
            cutting.cancel()
        self._listening.pop(id_, None)
        self._rules.handover.forget(spec.interface)
        await self._enforce_at(spec.interface)
        if spec.speaks_for_clients and await self._still_speaks(spec):
            raise Later("what is open at listeners that have gone may end by itself", FINISH_AGAIN_S)
        await self._machine.ports.proxies.remove(spec.proxy.name)
        if spec.speaks_for_clients:
            self._machine.poke(f"Interface/{spec.interface}")  # its rules, once this is forgotten

    async def _still_speaks(self, spec: Proxy) -> bool:
        """Whether connections go on at a node that stays though its last listener with a proxy has gone. AWS: "Delete a listener for your Network
        Load Balancer": existing connections remain open until they naturally close or time out; of application ones they are closed."""
        if f"Sandbox/{spec.sandbox}" not in self._machine.desired:
            return False
        try:
            return await self._machine.ports.proxies.finish(spec.proxy.name)
        except PortError as failed:
            log.warning("a proxy ends at once", extra={"proxy": spec.proxy.name, "why": failed.why})
            return False

    async def _let_listen(self, id_: str, spec: Proxy) -> None:
        """The rules are there before the first client, and before the first packet with a client's address; not once more for each change of
        servers."""
        wished = spec.listens_at, spec.speaks_for_clients
        if self._listening.get(id_) != wished:
            await self._enforce_at(spec.interface)
            self._listening[id_] = wished

    async def _enforce_at(self, interface: str) -> None:
        """The rules of that interface's network, which say where its proxy may listen, and whether it may speak from its clients' addresses."""
        found = self._machine.desired.get(f"Interface/{interface}")
        if found is not None and isinstance(found.spec, Interface):
            await self._rules.enforce(found.spec.interface.network)

    def _proxy_spec(self, spec: Proxy, net: str) -> ProxySpec:
        return msgspec.structs.replace(spec.proxy, sandbox_net=net, groups=self._groups(spec))

    def _groups(self, spec: Proxy) -> tuple[Group, ...]:
        """With their servers as the proxy's node sees them now."""
        uses, node = {use.group: use for use in spec.uses}, Node(spec.sandbox, spec.zone)
        return tuple(self._with_servers(one, uses.get(one.name, Use(one.name)), node) for one in spec.proxy.groups)

    def _with_servers(self, group: Group, use: Use, node: Node) -> Group:
        reach = self._book.in_reach(use, node)
        servers = tuple(
            Server(one.name, one.address, one.port, up, self._weight(use, node, one.name)) for one, up in reach
        )
        return msgspec.structs.replace(group, servers=servers)

    def _weight(self, use: Use, node: Node, target: str) -> int:
        return self._anomalies.weight(node.sandbox, use.group, target) if use.mitigates else WHOLE

    async def _cut(self, id_: str, group: str, target: str) -> None:
        """Not one that is up again by now."""
        wished = self._machine.desired.get(id_)
        if wished is None or not isinstance(wished.spec, Proxy) or group not in self._book:
            return
        spec = wished.spec
        use = next((one for one in spec.uses if one.group == group), Use(group))
        up = {one.name for one, up in self._book.in_reach(use, Node(spec.sandbox, spec.zone)) if up}
        if target not in up:
            await self._machine.ports.proxies.end_connections(spec.proxy.name, group, target)

    async def _watch_proxies(self) -> None:
        """A proxy whose process has ended is ensured again at once."""
        while True:
            died = await self._machine.ports.proxies.died()
            for one in self._machine.of_kind("Proxy"):
                if isinstance(one.spec, Proxy) and one.spec.proxy.name == died:
                    log.warning("a proxy has ended", extra={"proxy": died})
                    self._note_death(one.id)
                    self._machine.poke(one.id)

    def _note_death(self, id_: str) -> None:
        now, before = self._machine.ports.clock.now(), self._deaths.get(id_)
        quick = 0
        if before is not None and before.back is None:
            quick = before.quick + UNBORN
        elif before is not None and before.back is not None and 0 <= now - before.back < QUICK_END_S:
            quick = before.quick + 1
        self._deaths[id_] = _Deaths(now, quick, now + _pause_s(quick))

    def _note_back(self, id_: str) -> None:
        """The proxy is up."""
        deaths = self._deaths.get(id_)
        if deaths is not None and deaths.back is None:
            self._deaths[id_] = msgspec.structs.replace(deaths, back=self._machine.ports.clock.now())

    def _hold_back(self, id_: str) -> None:
        """Retry while a proxy that ends again and again as soon as it is up has to wait."""
        deaths, now = self._deaths.get(id_), self._machine.ports.clock.now()
        if deaths is not None and deaths.at <= now < deaths.until:
            raise Retry("its process ended again and again as soon as it was up", deaths.until - now)

    # --- layer 4 ---

    async def balancer(self, id_: str, spec: Balancer) -> None:
        machine = self._machine
        machine.need(id_, f"Network/{spec.network}")
        machine.need(id_, f"Interface/{spec.interface}")
        self._need_groups(
            [*(use.group for use in spec.uses), *(name for one in spec.listeners for name, _ in one.groups)]
        )
        failing_open = self._book.failing_open(spec)
        with self._ending(id_) as ends, self._ending(id_, self._moves) as moves:
            await self._rules.enforce(spec.network)
            for (group, _), target in ends.items():
                await self._end_flows(spec, target, self._given_up_by(spec, group, target))
            # What an earlier agent knew, and could not do any more, nobody knows: then it is all of them.
            recovered = self._open.get(id_, frozenset(one.port for one in spec.listeners)) - failing_open
            for (group, _), target in (moves | self._book.passed_over(spec, recovered)).items():
                by = [one for one in self._given_up_by(spec, group, target) if one[1] == "udp"]
                await self._end_flows(spec, target, by)
        self._open[id_] = failing_open
        machine.set_status(id_, "ready")

    async def _end_flows(self, spec: Balancer, target: Target, by: Collection[Entrance]) -> None:
        if by:
            await self._machine.ports.firewalls.end_flows(spec.network, target.address, target.port, by)

    def _given_up_by(self, spec: Balancer, group: str, target: Target) -> tuple[Entrance, ...]:
        """The node's listeners that forward to the group and send nothing to the target any more, not even by another group that it is in."""
        wished = zip(spec.listeners, self._book.balanced(spec).ports, strict=True)
        return tuple(
            (spec.interface, one.protocol, one.port)
            for one, now in wished
            if group in {name for name, _ in one.groups}
            and all((there.address, there.port) != (target.address, target.port) for there in now.targets)
        )

    async def balancer_gone(self, id_: str, spec: Balancer) -> None:
        for noted in (self._ends, self._moves, self._open):
            noted.pop(id_, None)
        await self._rules.enforce(spec.network)

    # --- names ---

    async def balancer_names(self, id_: str, spec: BalancerNames) -> None:
        self._need_groups([group for node in spec.nodes for group in node.groups])
        self._machine.ports.names.replace(id_, self._book.records(spec))
        self._machine.set_status(id_, "ready")

    async def balancer_names_gone(self, id_: str, spec: BalancerNames) -> None:
        self._machine.ports.names.forget(id_)

    # --- what they share ---

    def _need_groups(self, names: Iterable[str]) -> None:
        """Not their status: a group whose targets cannot be checked from one zone is still balanced in the others. Its first reconcile pokes us."""
        for name in names:
            if name not in self._book:
                raise Retry(f"waits for TargetGroup/{name}", GROUP_WAIT_S)

    @contextlib.contextmanager
    def _ending(self, id_: str, noted: dict[str, Ends] | None = None) -> Iterator[Ends]:
        """What is to be cut now; it is noted again when the block fails. What is noted meanwhile came with a poke, which makes the next run."""
        noted = self._ends if noted is None else noted
        ends = noted.pop(id_, {})
        done = False
        try:
            yield ends
            done = True
        finally:
            if ends and not done:
                noted[id_] = ends | noted.get(id_, {})


class _Deaths(msgspec.Struct, frozen=True):
    """`quick`: how many ends in a row came soon after a start; the next start may be at `until`. `back`: since when it is up again, if it is."""

    at: float
    quick: int
    until: float
    back: float | None = None


def _pause_s(quick: int) -> float:
    more = quick - FREE_QUICK_ENDS
    return min(FIRST_PAUSE_S * 2 ** min(more, 10), LAST_PAUSE_S) if more >= 0 else 0.0


def _with_leaving(wanted: ProxySpec, ends: Ends) -> ProxySpec:
    """`wanted`, with those still in it, out of rotation, who are about to leave."""
    groups = []
    for group in wanted.groups:
        there = {one.name for one in group.servers}
        leaving = tuple(
            Server(one.name, one.address, one.port)
            for (name, target), one in ends.items()
            if name == group.name and target not in there
        )
        groups.append(msgspec.structs.replace(group, servers=(*group.servers, *leaving)))
    return msgspec.structs.replace(wanted, groups=tuple(groups))


def _name(id_: str) -> str:
    return id_.split("/", 1)[1]
