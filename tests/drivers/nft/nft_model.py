"""A model of nftables: of how the kernel changes a table, refusals included, and of what its rules do with a packet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from gureum.drivers.networks.network_names import UPLINK, interface_link, interface_number
from gureum.drivers.nft.table import Table
from gureum.drivers.simulated.packets import Packet

# --- a model of the kernel's table ----------------------------------------------------------------------------------

Json = dict[str, Any]


class Kernel:
    """Applies commands as nftables does, with its refusals: nothing that is referred to goes, nothing is referred to that is not there."""

    def __init__(self) -> None:
        self.exists = False
        self.chains: dict[str, list[Json]] = {}
        self.bases: dict[str, Json] = {}
        self.sets: dict[str, dict[str, Any]] = {}
        self.counters: set[str] = set()
        self.counting: set[str] = set()
        self.arp: Kernel | None = None

    def run(self, commands: Iterable[Json]) -> Kernel:
        """Tables of the ARP family have names, chains and sets of their own."""
        for command in commands:
            ((verb, rest),) = command.items()
            ((kind, thing),) = rest.items()
            if thing["family"] == "arp":
                self.arp = self.arp or Kernel()
                getattr(self.arp, f"{verb}_{kind}")(thing)
            else:
                getattr(self, f"{verb}_{kind}")(thing)
        for chain in self.chains.values():
            self._check_references(chain)
        return self

    def add_table(self, thing: Json) -> None:
        self.exists = True

    def delete_table(self, thing: Json) -> None:
        assert self.exists
        self.exists, self.chains, self.bases, self.sets, self.counters = False, {}, {}, {}, set()

    def add_chain(self, thing: Json) -> None:
        assert self.exists
        assert thing["name"] not in self.chains
        self.chains[thing["name"]] = []
        self.bases[thing["name"]] = {key: thing[key] for key in ("type", "hook", "prio", "policy") if key in thing}

    def flush_chain(self, thing: Json) -> None:
        self.chains[thing["name"]].clear()

    def delete_chain(self, thing: Json) -> None:
        name = thing["name"]
        assert self.chains[name] == []
        assert name not in self._targets(), f"{name} is in use"
        del self.chains[name], self.bases[name]

    def add_rule(self, thing: Json) -> None:
        self._check_references([thing["expr"]])
        self.chains[thing["chain"]].append(thing["expr"])

    def add_set(self, thing: Json) -> None:
        assert thing["name"] not in self.sets
        self.sets[thing["name"]] = {}

    def add_map(self, thing: Json) -> None:
        self.add_set(thing)
        self.counting.discard(thing["name"])
        if thing["map"] == "counter":
            self.counting.add(thing["name"])

    def add_counter(self, thing: Json) -> None:
        assert thing["name"] not in self.counters
        self.counters.add(thing["name"])

    def delete_counter(self, thing: Json) -> None:
        used = {name for counting in self.counting & self.sets.keys() for name in self.sets[counting].values()}
        assert thing["name"] not in used, f"{thing['name']} is in use"
        self.counters.remove(thing["name"])

    def delete_set(self, thing: Json) -> None:
        name = thing["name"]
        assert f"@{name}" not in str(self.chains), f"{name} is in use"
        del self.sets[name]

    def add_element(self, thing: Json) -> None:
        entries = self.sets[thing["name"]]
        for element in thing["elem"]:
            key, value = element if isinstance(element, list) else (element, None)
            assert key not in entries, f"{key} is already in {thing['name']}"
            assert thing["name"] not in self.counting or value in self.counters
            for target in _targets(value):
                assert target in self.chains
            entries[key] = value

    def delete_element(self, thing: Json) -> None:
        entries = self.sets[thing["name"]]
        for element in thing["elem"]:
            del entries[element[0] if isinstance(element, list) else element]

    def _targets(self) -> set[str]:
        found = {target for chain in self.chains.values() for target in _targets(chain)}
        return found | {target for entries in self.sets.values() for target in _targets(list(entries.values()))}

    def _check_references(self, rules: list[Any]) -> None:
        for target in _targets(rules):
            assert target in self.chains, f"no chain {target}"
        for name in _set_names(rules):
            assert name in self.sets, f"no set {name}"

    def content(self) -> tuple[Any, ...]:
        return self.exists, self.chains, self.bases, self.sets, self.counters, self.arp and self.arp.content()


def _targets(thing: Any) -> set[str]:
    if isinstance(thing, dict):
        own = {thing["target"]} if isinstance(thing.get("target"), str) else set()
        return own.union(*(_targets(value) for value in thing.values()))
    if isinstance(thing, list | tuple):
        return set().union(*(_targets(one) for one in thing))
    return set()


def _set_names(thing: Any) -> set[str]:
    if isinstance(thing, str):
        return {thing[1:]} if thing.startswith("@") else set()
    if isinstance(thing, dict):
        return set().union(*(_set_names(value) for value in thing.values()))
    if isinstance(thing, list | tuple):
        return set().union(*(_set_names(one) for one in thing))
    return set()


# --- a model of its evaluation --------------------------------------------------------------------------------------

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}


class Evaluation:
    """What the rules do with one packet in one hook: "accept" or "drop"."""

    def __init__(self, rules: Table, packet: Packet) -> None:
        self._table = rules
        number = _NUMBERS.get(packet.protocol) or int(packet.protocol)
        self.hash = 0  # what the kernel's hash of any fields is
        self._meta: dict[str, Any] = {
            "mark": 0,
            "iifname": interface_link(packet.incoming) if packet.incoming else UPLINK,
            "iifgroup": interface_number(packet.incoming) if packet.incoming else 0,
            "oifname": interface_link(packet.outgoing) if packet.outgoing else UPLINK,
            "l4proto": number,
        }
        # From the uplink a packet is translated, when there is a public address that leads to its destination.
        translated = not packet.incoming and packet.destination in rules.sets["to-private"].entries.values()
        self._ct: dict[Any, Any] = {
            "mark": 0,
            "direction": "original",
            "state": ["established" if packet.known else "new"],
            "status": ["dnat"] if translated else [],
            ("original", "ip daddr"): packet.destination,
            ("original", "proto-dst"): packet.ports[1],
            ("reply", "proto-dst"): packet.ports[0],
        }
        self._payload: dict[tuple[str, str], Any] = {
            ("ip", "saddr"): packet.source,
            ("ip", "daddr"): packet.destination,
        }
        if packet.protocol == "icmp":
            self._payload |= {("icmp", "type"): packet.ports[0], ("icmp", "code"): packet.ports[1]}
        else:
            self._payload[packet.protocol, "dport"] = packet.ports[1]

    def hook(self, name: str) -> str:
        chain = self._table.chains[name]
        return self._walk(name) or chain.base["policy"]

    def known_reply(self, flow_mark: int) -> int:
        """The packet is a reply of a flow of that mark: its own when it is routed."""
        self._ct |= {"direction": "reply", "mark": flow_mark}
        if "balance-back" in self._table.chains:
            assert self.hook("balance-back") == "accept"
        return int(self._meta["mark"])

    def forwarded_reply(self, flow_mark: int, asked: tuple[str, int], answered_port: int) -> str:
        """As it is forwarded, a reply of the flow of that mark, to what was asked of an address and port; answered to that port."""
        self._ct |= {"direction": "reply", "mark": flow_mark, ("reply", "proto-dst"): answered_port}
        self._ct |= {("original", "ip daddr"): asked[0], ("original", "proto-dst"): asked[1]}
        return self.hook("forward")

    def _walk(self, name: str) -> str | None:
        for line in self._table.chains[name].lines:
            verdict, ends = self._rule(line)
            if ends:
                return verdict
        return None

    def _rule(self, line: tuple[Json, ...]) -> tuple[str | None, bool]:
        """(verdict, whether the chain ends here)."""
        for expression in line:
            ((kind, body),) = expression.items()
            if kind == "match":
                if not self._matches(body):
                    return None, False
            elif kind == "vmap":
                found = self._verdict(body)
                if found is not None:
                    return self._act(found)
            elif kind == "mangle":
                self._set(body["key"], self._value(body["value"]))
            elif kind in ("dnat", "snat"):
                return self._translate("daddr" if kind == "dnat" else "saddr", body)
            elif kind != "counter":
                return self._act(expression)
        return None, False

    def _act(self, verdict: Json) -> tuple[str | None, bool]:
        ((kind, body),) = verdict.items()
        if kind in ("accept", "drop", "reject"):
            return kind, True
        if kind == "return":
            return None, True
        found = self._walk(body["target"])
        return found, kind == "goto" or found is not None

    def _verdict(self, body: Json) -> Json | None:
        value = self._value(body["key"])
        if isinstance(body["data"], str):
            found: Json | None = self._table.sets[body["data"][1:]].entries.get(value)
            return found
        return next((verdict for key, verdict in body["data"]["set"] if _is_key(key, value)), None)

    def _set(self, key: Json, value: int) -> None:
        ((kind, body),) = key.items()
        (self._meta if kind == "meta" else self._ct)[body["key"]] = value

    def _translate(self, field: str, body: Json) -> tuple[str | None, bool]:
        """Without an entry in its map the rule does nothing."""
        address = body["addr"]
        if isinstance(address, dict):
            address = self._table.sets[address["map"]["data"][1:]].entries.get(self._value(address["map"]["key"]))
        if address is None:
            return None, False
        self._payload["ip", field] = address
        if "port" in body:
            protocol = next(name for name, number in _NUMBERS.items() if number == self._meta["l4proto"])
            self._payload[protocol, "dport"] = body["port"]
        if field == "daddr":
            self._ct["status"] = ["dnat"]
        return "accept", True

    def _value(self, left: Json | int | str) -> Any:
        if isinstance(left, int | str):
            return left
        ((kind, body),) = left.items()
        if kind in "&|":
            one, other = map(self._value, body)
            if one is None:  # another protocol's, or flags: no packet here has any
                return None
            return one & other if kind == "&" else one | other
        if kind == "jhash":
            return self.hash % body["mod"]
        if kind == "payload" and "base" in body:  # TCP's flags, of which no packet here has any
            return 0
        if kind == "payload":
            return self._payload.get((body["protocol"], body["field"]))
        if "dir" in body:
            return self._ct[body["dir"], body["key"]]
        return (self._meta if kind == "meta" else self._ct)[body["key"]]

    def _matches(self, body: Json) -> bool:
        value, right = self._value(body["left"]), body["right"]
        if value is None:  # another protocol
            return False
        if body["op"] == "in":
            return any(one in value for one in (right if isinstance(right, list) else [right]))
        if isinstance(value, list):  # states, of which a packet has one
            return bool(value == [right])
        if body["op"] == "!=":
            if isinstance(right, str) and right.startswith("@"):
                return value not in self._table.sets[right[1:]].entries
            return bool(value not in right["set"] if isinstance(right, dict) else value != right)
        if isinstance(right, str) and right.startswith("@"):
            return value in self._table.sets[right[1:]].entries
        if isinstance(right, dict) and "range" in right:
            return bool(right["range"][0] <= value <= right["range"][1])
        if isinstance(right, dict) and "prefix" in right:
            return _is_inside(value, right["prefix"])
        if isinstance(right, dict) and "set" in right:
            return any(
                _is_inside(value, one["prefix"]) if isinstance(one, dict) else one == value for one in right["set"]
            )
        return bool((_NUMBERS.get(right, right) if isinstance(right, str) else right) == value)


def _is_inside(address: str, prefix: Json) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}")


def _is_key(key: Any, value: Any) -> bool:
    if isinstance(value, list):
        return key in value
    return key["range"][0] <= value <= key["range"][1] if isinstance(key, dict) else bool(key == value)


class Journey(Evaluation):
    """The first packet of a flow, from hook to hook. From the uplink its destination is as it comes: nothing has been translated."""

    def __init__(self, rules: Table, packet: Packet, hashed: int, holders: dict[str, str]) -> None:
        """`holders`: address -> its interface."""
        super().__init__(rules, packet)
        self._ct["status"] = []
        self.hash, self._holders, self._source = hashed, holders, packet.source
        self.end = self._travel()

    @property
    def place(self) -> tuple[str, str, int]:
        """(source, destination, destination port) as they are now."""
        port = next(value for (_, field), value in self._payload.items() if field == "dport")
        return self._payload["ip", "saddr"], self._payload["ip", "daddr"], port

    @property
    def flow_mark(self) -> int:
        return int(self._ct["mark"])

    def repeated(self) -> tuple[str, int]:
        """(how it ends, its mark) when the same packet comes once more before there is an answer. The kernel translates it as the first one, and
        asks no chain of nat."""
        seen, self._payload["ip", "saddr"], self._meta["mark"] = self._payload["ip", "saddr"], self._source, 0
        met = []
        for name in ("balance-back", "forward", "shown"):
            if name == "shown":
                self._payload["ip", "saddr"] = seen
            met.append(self.hook(name) if name in self._table.chains else "accept")
        return next((one for one in met if one != "accept"), "accept"), int(self._meta["mark"])

    @property
    def mark(self) -> int:
        return int(self._meta["mark"])

    def _travel(self) -> str:
        """How it ends: "accept", "drop" or "reject"."""
        for name in ("raw-prerouting", "balance", "nat-prerouting", "forward", "nat-postrouting", "shown"):
            if name == "forward":
                self._meta["oifname"] = interface_link(self._holders.get(self._payload["ip", "daddr"], "nobody"))
            met = self.hook(name) if name in self._table.chains else "accept"
            if met != "accept":
                return met
        return "accept"


def rendered_passes(rendered: Table, packet: Packet) -> bool:
    walk = Evaluation(rendered, packet)
    names = ("raw-prerouting", "forward", *(("nat-postrouting",) if not packet.known else ()))
    return all(walk.hook(name) == "accept" for name in names)
