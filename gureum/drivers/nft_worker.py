"""The firewall worker: owns libnftables, which may abort its process, and applies what it is given. It decides
nothing and keeps nothing but the loaded library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from gureum.drivers import namespaces
from gureum.drivers.libnftables import Nftables
from gureum.drivers.network_names import HomeNames
from gureum.drivers.worker_loop import Verbs, serve
from gureum.ports import PortError

# After the first rule set, as before it nothing may pass, and connection tracking has no settings in a namespace
# before it is used.
_OPENED = {
    # Seconds; the kernel's 120 fill the table when connections are many and short.
    "?netfilter/nf_conntrack_tcp_timeout_time_wait": "20",
    "?netfilter/nf_conntrack_acct": "1",
    "?netfilter/nf_conntrack_timestamp": "1",
    "ipv4/ip_forward": "1",
}


class Change(msgspec.Struct, frozen=True):
    """One transaction. `commands`: libnftables-json(5). `whole`: it makes the whole table, so the network may forward
    from now on."""

    network: str
    commands: list[dict[str, Any]]
    whole: bool


class Applier:
    """Applies changes to the networks of one home."""

    def __init__(self, names: HomeNames) -> None:
        self._names = names
        self._nftables = Nftables()

    def apply(self, change: Change) -> None:
        try:
            with namespaces.entered(self._names.network(change.network)):
                self._nftables.run(change.commands)
                if change.whole:
                    namespaces.write_sysctls(_OPENED)
        except FileNotFoundError as error:
            raise PortError(f"network {change.network} does not exist yet") from error


def main() -> None:
    """Serves until the agent is gone."""
    applier = Applier(HomeNames(sys.argv[1], Path("/nonexistent")))
    decode = msgspec.msgpack.Decoder(Change).decode
    verbs: Verbs = {"apply": lambda data: applier.apply(decode(data))}
    serve(verbs)


if __name__ == "__main__":
    main()
