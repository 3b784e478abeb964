"""The way out of the host: what stands on the host itself while guests may go out by it (`egress`).

    network ─► edge (which destinations, edges.py) ─► host's link ─► this table ─► the host's routes ─► the world

One table, `gureum-<home>`, and forwarding on the links it needs (forwarding.py); nothing of either while the way is
closed. The table lets out only what comes from the home's pool and, where one is named, only by that link; what leaves
carries the host's address. To the host itself and from outside to guests only answers pass. All of it is the kernel's:
it goes on without us.

Where gureum has switched on forwarding on a link, nothing but answers, and what some NAT of the host leads inside,
is forwarded from it: what the host did not forward before it does not forward now.
"""

from __future__ import annotations

from pathlib import Path

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.forwarding import Forwarding
from gureum.drivers.networks.network_names import HomeNames
from gureum.drivers.nft.expressions import ACCEPT, Json, Line, hook, match, meta, payload, prefix
from gureum.drivers.nft.libnftables import Nftables
from gureum.ports.networks import EdgeSpec

_FAMILY = "ip"
_OUR_LINKS = "gm*"
_NOWHERE = "00000000"
_DROP: Line = ({"counter": None}, {"drop": None})
REFUSE: Line = ({"counter": None}, {"reject": {"type": "icmp", "expr": "admin-prohibited"}})
"""Who asks hears at once that it must not."""
_KNOWN = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}


class HostWay:
    """The way out of one home. The present namespace is the host's."""

    def __init__(self, names: HomeNames) -> None:
        self._names = names
        self._table = f"gureum-{names.home_id}"
        self._forwarding = Forwarding(names.home_id, names.forwarding_dir)

    def bring(self, spec: EdgeSpec) -> None:
        """The host as `spec` says; its link to the edge is there."""
        if spec.way_out is None:
            self.remove()
            return
        links = [spec.way_out.link] if spec.way_out.link else outward_links()
        self._mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark.touch()
        claimed = self._forwarding.claim(links)
        # The table first: nothing is forwarded before it says what.
        Nftables().run(rules(self._table, self._names.host_link, spec, claimed))
        self._forwarding.switch_on([*claimed, self._names.host_link])

    def remove(self) -> None:
        """Nothing of it remains; the link to the edge may be gone already."""
        if self._mark.exists():
            namespaces.write_sysctls({f"?ipv4/conf/{self._names.host_link}/forwarding": "0"})
            self._forwarding.release()
            Nftables().run([_table("add", self._table), _table("delete", self._table)])
            self._mark.unlink()

    @property
    def _mark(self) -> Path:
        """Stands while there may be something: where there never was, nothing of the host is touched."""
        return self._names.forwarding_dir / self._table


def outward_links() -> list[str]:
    """The links by which the host's routes lead beyond its own subnets: default routes, and routes with a gateway (proc(5),
    /proc/net/route: name, destination, gateway, …, mask in column 8)."""
    lines = [line.split() for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]]
    outward = {words[0] for words in lines if words[2] != _NOWHERE or words[1] == words[7] == _NOWHERE}
    return sorted(name for name in outward if not name.startswith((_OUR_LINKS.rstrip("*"), "*")))


def rules(table: str, link: str, spec: EdgeSpec, switched: frozenset[str]) -> list[Json]:
    """The commands that make the table anew, as one transaction. `link`: the host's end of the link to the edge. `switched`:
    links that would not forward without us."""
    inside, outside = match(meta("iifname"), link), match(meta("oifname"), link)
    to_guests = match(meta("oifname"), _OUR_LINKS)
    named = spec.way_out.link if spec.way_out is not None else ""
    forward: list[Line] = [
        (inside, match(payload("ip", "saddr"), prefix(spec.pool), "!="), *_DROP),
        (inside, to_guests, *_DROP),
        *([(inside, match(meta("oifname"), named, "!="), *REFUSE)] if named else []),
        (inside, ACCEPT),
        (outside, _KNOWN, ACCEPT),
        (outside, *_DROP),
    ]
    if switched:
        new = match({"ct": {"key": "state"}}, "new", "in")
        led_inside = match({"ct": {"key": "status"}}, "dnat", "in")
        forward.append((match(meta("iifname"), {"set": sorted(switched)}), new, led_inside, ACCEPT))
        forward.append((match(meta("iifname"), {"set": sorted(switched)}), new, *_DROP))
    from_pool = match(payload("ip", "saddr"), prefix(spec.pool))
    chains: dict[str, tuple[Json, list[Line]]] = {
        "forward": (hook("filter", "forward", 0, "accept"), forward),
        "input": (hook("filter", "input", 0, "accept"), [(inside, _KNOWN, ACCEPT), (inside, *_DROP)]),
        "postrouting": (
            hook("nat", "postrouting", 100, "accept"),
            [(from_pool, match(meta("oifname"), _OUR_LINKS, "!="), {"masquerade": None})],
        ),
    }
    commands = [_table(verb, table) for verb in ("add", "delete", "add")]
    for name, (base, lines) in chains.items():
        place = {"family": _FAMILY, "table": table}
        commands.append({"add": {"chain": place | {"name": name} | base}})
        commands += [{"add": {"rule": place | {"chain": name, "expr": list(line)}}} for line in lines]
    return commands


def _table(verb: str, name: str) -> Json:
    return {verb: {"table": {"family": _FAMILY, "name": name}}}
