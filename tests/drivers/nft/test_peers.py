"""The entrance from a peered network, as rules: only its own addresses, only to this network's own."""

from __future__ import annotations

from gureum.drivers.networks.network_names import peer_link
from gureum.drivers.nft.expressions import ACCEPT, match, payload, prefix
from gureum.drivers.nft.table import plan, table
from gureum.ports.firewalls import PeerLink, RuleSet
from tests.drivers.nft.nft_model import Kernel

RULES = RuleSet("net", ("10.1.0.0/16", "10.9.0.0/16"), peers=(PeerLink("pcx-1", ("10.2.0.0/16",)),))


def test_what_comes_in_is_the_others_and_meant_for_this_network() -> None:
    made = table(RULES)
    link = peer_link("pcx-1")
    assert made.sets["sources"].entries[link] == {"goto": {"target": "from-pcx-1"}}
    accepting = [line for line in made.chains["from-pcx-1"].lines if ACCEPT in line]
    assert accepting == [
        (
            match(payload("ip", "saddr"), {"set": [prefix("10.2.0.0/16")]}),
            match(payload("ip", "daddr"), {"set": [prefix("10.1.0.0/16"), prefix("10.9.0.0/16")]}),
            ACCEPT,
        )
    ]
    assert made.chains["from-pcx-1"].lines[-1][-1] == {"drop": None}


def test_a_peering_comes_and_goes_by_differences() -> None:
    bare = RuleSet("net", RULES.cidrs)
    for old, new in ((None, RULES), (bare, RULES), (RULES, bare)):
        kernel = Kernel().run(plan(None, old)) if old is not None else Kernel()
        kernel.run(plan(old, new))
        fresh = Kernel().run(plan(None, new))
        assert (kernel.chains, kernel.sets) == (fresh.chains, fresh.sets)
