"""Networks, interfaces and their rules: the drivers beside the `ip` and `nft` commands that make the same, in one run. Needs root.

    python bench/networks.py [--rounds 10] [--networks 60] [--interfaces 300]

"one network": router namespace, two subnets with their route tables, a security group. "one interface": a guest's namespaces, veth pair,
addresses, routes and its rules. The commands make a plain namespace (no user namespace) and are not netted of their own start:
starting them is what their users pay. Nothing reaches beyond the namespaces made here; all is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gureum.drivers.networks.netns import NetnsNetworks, clean
from gureum.drivers.networks.network_names import interface_link
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import Group, Port, Rule, RuleSet
from gureum.ports.networks import InterfaceSpec, NetworkSpec, Route, SandboxSpec, Subnet

CIDR = "10.0.0.0/16"
GROUP = Group(
    "sg-1",
    (
        Rule("out", "all", cidr="0.0.0.0/0"),
        Rule("in", "tcp", (22, 22), cidr="0.0.0.0/0"),
        Rule("in", "tcp", (80, 443), group="sg-1"),
    ),
)


def network_spec(name: str) -> NetworkSpec:
    blackhole = (Route("0.0.0.0/0", "blackhole"),)
    return NetworkSpec(
        name,
        (CIDR,),
        (Subnet(f"{name}-a", "10.0.0.0/24", "10.0.0.1", blackhole), Subnet(f"{name}-b", "10.0.1.0/24", "10.0.1.1")),
        ("10.0.0.2", "169.254.169.253", "169.254.169.254"),
    )


def interface_spec(network: str, number: int) -> InterfaceSpec:
    name, address = f"{network}-{number}", f"10.0.{number // 200}.{number % 200 + 10}"
    subnet, gateway = f"{network}-{'ab'[number // 200]}", f"10.0.{number // 200}.1"
    mac = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    return InterfaceSpec(name, network, subnet, mac, (address,), 24, gateway, name)


def used_s(pid: int | None) -> float:
    """CPU time of a process, proc(5); 0 for one that is not there."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Drivers:
    """The drivers' side; `rules` grows with each interface, as the agent's rule sets do."""

    def __init__(self, home_id: str, run_dir: Path) -> None:
        self.networks = NetnsNetworks(home_id, run_dir)
        self.firewalls = NftFirewalls(home_id)
        self._ports: dict[str, tuple[Port, ...]] = {}

    async def network(self, name: str) -> None:
        await self.networks.ensure_network(network_spec(name))
        self._ports[name] = ()
        await self.enforce(name)

    async def interface(self, network: str, number: int) -> None:
        spec = interface_spec(network, number)
        await self.networks.ensure_sandbox(SandboxSpec(spec.name))
        await self.networks.ensure_interface(spec)
        self._ports[network] += (Port(spec.name, spec.addresses, ("sg-1",)),)
        await self.enforce(network)

    def cpu_s(self) -> float:
        """What this process and both workers have used."""
        workers = (self.networks._worker.pid, self.firewalls._worker.pid)
        return time.process_time() + sum(used_s(pid) for pid in workers)

    async def enforce(self, network: str, group: Group = GROUP) -> None:
        await self.firewalls.apply(RuleSet(network, (CIDR,), (group,), self._ports[network]))

    async def close(self) -> None:
        await self.networks.close()
        await self.firewalls.close()


class Commands:
    """The same by commands, one process each."""

    def __init__(self, home_id: str) -> None:
        self._prefix = f"bm-{home_id}-"
        self._names: list[str] = []

    def network(self, name: str) -> None:
        space = self._add(name)
        sysctls = ("ip_forward=1", "conf.default.proxy_arp=1", "conf.all.send_redirects=0", "conf.default.rp_filter=0")
        run("ip", "netns", "exec", space, "sysctl", "-qw", *(f"net.ipv4.{one}" for one in sysctls))
        run("ip", "-n", space, "link", "set", "lo", "up")
        for address in ("10.0.0.1", "10.0.1.1", "10.0.0.2", "169.254.169.253", "169.254.169.254"):
            run("ip", "-n", space, "addr", "add", f"{address}/32", "dev", "lo")
        run("ip", "-n", space, "route", "add", "unreachable", CIDR)
        for table, subnet in ((101, "10.0.0.0/24"), (102, "10.0.1.0/24")):
            run("ip", "-n", space, "route", "add", "throw", CIDR, "table", str(table))
            run("ip", "-n", space, "route", "add", "blackhole", "default", "table", str(table))
            run("ip", "-n", space, "rule", "add", "from", subnet, "table", str(table), "priority", "2000")
        nft(space, NFT_NETWORK)

    def interface(self, network: str, number: int) -> None:
        name, address = f"{network}-{number}", f"10.0.0.{number + 10}"
        space, router, link = self._add(name), self._prefix + network, interface_link(name)
        run("ip", "-n", router, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "-n", router, "link", "set", link, "up")
        run("ip", "-n", router, "route", "add", f"{address}/32", "dev", link)
        run("ip", "netns", "exec", router, "sysctl", "-qw", f"net.ipv4.neigh.{link}.proxy_delay=0")
        run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", space, "link", "set", "eth0", "up")
        run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", space, "route", "add", "default", "via", "10.0.0.1")
        nft(router, nft_interface(name, link, address))

    def close(self) -> None:
        for name in self._names:
            run("ip", "netns", "del", name)

    def _add(self, name: str) -> str:
        space = self._prefix + name
        run("ip", "netns", "add", space)
        self._names.append(space)
        return space


NFT_NETWORK = """
table inet gureum {
  set group-sg-1 { type ipv4_addr; }
  map sources { type ifname : verdict; }
  map egress { type ifname : verdict; }
  map ingress { type ifname : verdict; }
  chain ingress { oifname vmap @ingress
    counter drop
  }
  chain raw-prerouting { type filter hook prerouting priority raw; policy drop; iifname vmap @sources
  }
  chain forward { type filter hook forward priority filter; policy drop; ct state established,related accept
    iifname vmap @egress
    counter drop
  }
  chain input { type filter hook input priority filter; policy drop; ct state established accept
    ip daddr 169.254.169.254 tcp dport 80 accept
    ip daddr { 10.0.0.2, 169.254.169.253 } udp dport 53 accept
  }
  chain group-out-sg-1 { goto ingress
  }
  chain group-in-sg-1 { tcp dport 22 accept
    ip saddr @group-sg-1 tcp dport 80-443 accept
  }
}
"""


def nft_interface(name: str, link: str, address: str) -> str:
    table = "inet gureum"
    return f"""
add chain {table} out-{name}
add rule {table} out-{name} jump group-out-sg-1
add chain {table} in-{name}
add rule {table} in-{name} jump group-in-sg-1
add chain {table} from-{name}
add rule {table} from-{name} ip saddr {address} accept
add rule {table} from-{name} counter drop
add element {table} sources {{ "{link}" : goto from-{name} }}
add element {table} egress {{ "{link}" : goto out-{name} }}
add element {table} ingress {{ "{link}" : goto in-{name} }}
add element {table} group-sg-1 {{ {address} }}
"""


def run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, input=text, text=True, check=True, capture_output=True)


def nft(space: str, text: str) -> None:
    run("ip", "netns", "exec", space, "nft", "-f", "-", text=text)


async def timed(step: Callable[[], Awaitable[None]]) -> float:
    start = time.perf_counter()
    await step()
    return (time.perf_counter() - start) * 1000


def timed_commands(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return (time.perf_counter() - start) * 1000


def row(what: str, ours: list[float], theirs: list[float] | None = None) -> None:
    shown = f"{what:<46} {statistics.median(ours):8.1f} ms"
    if theirs:
        shown += f" {statistics.median(theirs):8.1f} ms   {statistics.median(theirs) / statistics.median(ours):5.1f} x"
    print(shown, flush=True)


async def beside_commands(drivers: Drivers, commands: Commands, rounds: int) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        ours.append(await timed(lambda number=number: drivers.network(f"one-{number}")))  # type: ignore[misc]
        theirs.append(timed_commands(lambda number=number: commands.network(f"one-{number}")))  # type: ignore[misc]
    row("one network, 2 subnets, 1 group", ours, theirs)
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(await timed(lambda number=number: drivers.interface("one-0", number)))  # type: ignore[misc]
        theirs.append(timed_commands(lambda number=number: commands.interface("one-0", number)))  # type: ignore[misc]
    row("one interface: namespace, link, rules", ours, theirs)


async def many(drivers: Drivers, networks: int, interfaces: int) -> None:
    """Made, and asked for again: what is there already costs looking only."""
    each = interfaces // networks

    async def fill(name: str) -> None:
        await drivers.network(name)
        await asyncio.gather(*(drivers.interface(name, number) for number in range(each)))

    async def everything() -> None:
        await asyncio.gather(*(fill(f"many-{number}") for number in range(networks)))

    async def again() -> None:
        for name in (f"many-{number}" for number in range(networks)):
            await drivers.networks.ensure_network(network_spec(name))
            for number in range(each):
                await drivers.networks.ensure_sandbox(SandboxSpec(f"{name}-{number}"))
                await drivers.networks.ensure_interface(interface_spec(name, number))
            await drivers.enforce(name)

    what = f"{networks} networks with {networks * each} interfaces"
    for words, step in ((what, everything), ("the same again, nothing to do", again)):
        before = drivers.cpu_s()
        took = await timed(step)
        row(f"{words}, {drivers.cpu_s() - before:.2f} s of CPU", [took])


async def crowded(drivers: Drivers, rounds: int, size: int = 200) -> None:
    await drivers.network("crowd")
    await asyncio.gather(*(drivers.interface("crowd", number) for number in range(size)))
    row(f"one interface more among {size}", [await timed(lambda: drivers.interface("crowd", size))])
    changes, before = [], drivers.cpu_s()
    for number in range(rounds):
        group = Group("sg-1", (*GROUP.rules, Rule("in", "tcp", (8000 + number, 8000 + number), cidr="0.0.0.0/0")))
        changes.append(await timed(lambda group=group: drivers.enforce("crowd", group)))  # type: ignore[misc]
    spent = (drivers.cpu_s() - before) / rounds * 1000
    # One transaction of nftables: all interfaces enforce it at the same moment, which is when the driver returns.
    row(f"one rule changed for {size + 1} interfaces, {spent:.0f} ms of CPU", changes)
    await drivers.firewalls.close()
    drivers.firewalls = NftFirewalls(drivers.networks._names.home_id)
    row(f"all rules of {size + 1} interfaces anew, after a restart", [await timed(lambda: drivers.enforce("crowd"))])


def memory(drivers: Drivers) -> None:
    for what, worker in (("network", drivers.networks._worker), ("firewall", drivers.firewalls._worker)):
        for line in Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Rss", "Pss:")):
                print(f"{what} worker {line}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--interfaces", type=int, default=300)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    home_id = "b" + secrets.token_hex(8)[:5]
    with tempfile.TemporaryDirectory() as folder:
        drivers, commands = Drivers(home_id, Path(folder)), Commands(home_id)
        try:
            await drivers.networks.observe()  # starts the worker
            print(f"{'':<46} {'drivers':>11} {'ip, nft':>11}")
            await beside_commands(drivers, commands, arguments.rounds)
            await many(drivers, arguments.networks, arguments.interfaces)
            await crowded(drivers, arguments.rounds)
            memory(drivers)
        finally:
            await drivers.close()
            start = time.perf_counter()
            await clean(home_id, Path(folder))
            print(f"{'everything removed':<46} {(time.perf_counter() - start) * 1000:8.1f} ms")
            commands.close()


if __name__ == "__main__":
    asyncio.run(main())
