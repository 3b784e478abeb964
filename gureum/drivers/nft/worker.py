"""The firewall worker: owns libnftables, which may abort its process, and applies what it is given. It decides
nothing and keeps nothing but the loaded library."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import msgspec

from gureum.drivers.flows.conntrack import end_all_balanced_flows, end_balanced_flows, end_flows
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import HomeNames
from gureum.drivers.nft import counters as nft_counters
from gureum.drivers.nft import idle as nft_idle
from gureum.drivers.nft.expressions import Json
from gureum.drivers.nft.libnftables import Nftables
from gureum.drivers.nft.table import created
from gureum.drivers.workers.worker_loop import Verbs, serve
from gureum.ports import PortError

# After the first rule set, as before it nothing may pass, and connection tracking has no settings in a namespace
# before it is used.
_OPENED = {
    # Seconds; the kernel's 120 fill the table when connections are many and short.
    "?netfilter/nf_conntrack_tcp_timeout_time_wait": "20",
    "?netfilter/nf_conntrack_acct": "1",
    # Nearly all packets are somebody else's: to look for a socket of the router's own first costs more than it saves (Documentation/networking/
    # ip-sysctl: "may add an additional cost for pure routing workloads").
    "ipv4/ip_early_demux": "0",
    # A refusal takes the way that the refused packet's mark says.
    "ipv4/fwmark_reflect": "1",
    "ipv4/ip_forward": "1",
}
# Where there are balancers, a packet in the middle of an unknown flow opens none (so flows that were ended stay ended), and a known
# flow's is never taken for one, wherever its sequence numbers are: who resets unknown flows would cut it. Elsewhere as the kernel has it.
_STRICT = {"?netfilter/nf_conntrack_tcp_loose": "0", "?netfilter/nf_conntrack_tcp_be_liberal": "1"}
_LOOSE = {"?netfilter/nf_conntrack_tcp_loose": "1", "?netfilter/nf_conntrack_tcp_be_liberal": "0"}
# When a flow began is asked by nobody but who watches flows. Two looks at the clock for each flow were half a hundredth of a short connection.
_WATCHED, _UNWATCHED = ({"?netfilter/nf_conntrack_timestamp": value} for value in ("1", "0"))


class Change(msgspec.Struct, frozen=True):
    """One transaction. `commands`: libnftables-json(5). `whole`: it makes the whole table, so the network may forward
    from now on. `released`: addresses that lead elsewhere or nowhere afterwards. `strict`: whether unknown flows are
    refused from now on; `idle`: how long silent flows are remembered (nft_idle); `watched`: whether the kernel notes when a flow begins and
    ends; None: as before. `ended`: the last balancer has gone, and with it all its flows."""

    network: str
    commands: list[Json]
    whole: bool
    released: list[str] = []
    strict: bool | None = None
    idle: list[nft_idle.Limit] | None = None
    watched: bool | None = None
    ended: bool = False


class Ending(msgspec.Struct, frozen=True):
    """The flows to a target that came by the listeners with these marks shall end."""

    network: str
    address: str
    port: int
    marks: tuple[int, ...]


class Counted(msgspec.Struct, frozen=True):
    """`counters`: name -> (packets, bytes). `flows`: mark of a listener -> open ones."""

    counters: dict[str, tuple[int, int]]
    flows: dict[int, int] = {}


class Applier:
    """Applies changes to the networks of one home."""

    def __init__(self, names: HomeNames) -> None:
        self._names = names
        self._close = _closer()

    @functools.cached_property
    def _nftables(self) -> Nftables:
        """Loaded by the first change, so that a missing library is an answer and not a dead worker."""
        return Nftables(leave=self._close)

    def apply(self, change: Change) -> None:
        try:
            with namespaces.entered(self._names.network(change.network)):
                if change.idle is not None:
                    nft_idle.apply(change.idle)
                if change.whole:
                    self._apply_whole(change.commands)
                else:
                    self._nftables.run(change.commands)
                if change.strict is not None:
                    namespaces.write_sysctls(_STRICT if change.strict else _LOOSE)
                if change.watched is not None:
                    namespaces.write_sysctls(_WATCHED if change.watched else _UNWATCHED)
                if change.released:
                    end_flows(change.released)
                if change.ended:
                    end_all_balanced_flows()
        except FileNotFoundError as error:
            raise PortError(f"network {change.network} does not exist yet") from error

    def end_flows(self, ending: Ending) -> None:
        """In a network that is gone there are none."""
        with contextlib.suppress(FileNotFoundError), namespaces.entered(self._names.network(ending.network)):
            end_balanced_flows(ending.address, ending.port, ending.marks)

    def counted(self, network: str, *, flows: bool) -> Counted:
        """In a network that is gone nothing is."""
        with contextlib.suppress(FileNotFoundError), namespaces.entered(self._names.network(network)):
            return Counted(nft_counters.counters(), nft_counters.open_flows() if flows else {})
        return Counted({})

    def _apply_whole(self, commands: list[Json]) -> None:
        """First as for a new network: replacing a table, even one that is not there, costs ten times as much."""
        try:
            self._nftables.run(created(commands))
        except OSError:
            self._nftables.run(commands)
        namespaces.write_sysctls(_OPENED)


def _closer() -> Callable[[int], None]:
    """Closes descriptors in a thread of its own."""
    descriptors: SimpleQueue[int] = SimpleQueue()

    def close_all() -> None:
        while True:
            os.close(descriptors.get())

    threading.Thread(target=close_all, daemon=True).start()
    return descriptors.put


def main() -> None:
    """Serves until the agent is gone."""
    applier = Applier(HomeNames(sys.argv[1], Path("/nonexistent")))
    change, ending = msgspec.msgpack.Decoder(Change).decode, msgspec.msgpack.Decoder(Ending).decode
    name = msgspec.msgpack.Decoder(str).decode
    verbs: Verbs = {
        "apply": lambda data: applier.apply(change(data)),
        "end_flows": lambda data: applier.end_flows(ending(data)),
        "counters": lambda data: applier.counted(name(data), flows=False),
        "open_flows": lambda data: applier.counted(name(data), flows=True),
    }
    serve(verbs)


if __name__ == "__main__":
    main()
