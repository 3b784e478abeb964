"""Layer-4 balancing beside a plain DNAT rule, beside no translation, and beside HAProxy in TCP mode, in one run. Needs root, wrk and haproxy.

    python bench/balancers.py [--seconds 2] [--rounds 3]

One client and two servers in a network with security groups, one network for each way. "routed": the client asks a server at its own address.
"plain rule": one nftables rule of a router without groups or anything else (`jhash … mod 2` into a map of two addresses). "grouped": the same rule
in a router with groups. "gureum": a balancer, with groups. "HAProxy": `mode tcp` in the node's sandbox. "new": a connection per request; "kept":
requests over 32 connections; "bulk": answers of a megabyte. The rounds go round the five, so that what the machine does meanwhile meets all; shown
is the median of each, and in brackets the median of its ratios to the plain rule of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import secrets
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gureum.drivers.networks.netns import NetnsNetworks, clean
from gureum.drivers.networks.network_names import HomeNames
from gureum.drivers.nft.firewalls import NftFirewalls
from gureum.ports.firewalls import BalancedPort, BalancedTarget, Balancer, Group, Port, Rule, RuleSet
from gureum.ports.networks import InterfaceSpec, NetworkSpec, SandboxSpec, Subnet

ADDRESSES = {"client": "10.0.0.10", "node": "10.0.0.5", "proxy": "10.0.0.6", "s1": "10.0.0.11", "s2": "10.0.0.12"}
PLAIN = ADDRESSES["node"]
OPEN = Group("open", (Rule("out", "all", cidr="0.0.0.0/0"), Rule("in", "all", cidr="0.0.0.0/0")))
# Each way has a network to itself: flows of the others that connection tracking still remembers would be in its way.
WAYS = {
    "plain rule": ("plain", PLAIN),
    "grouped": ("grouped", PLAIN),
    "gureum": ("ours", ADDRESSES["node"]),
    "routed": ("routed", ADDRESSES["s1"]),
    "HAProxy": ("proxied", ADDRESSES["proxy"]),
}
KINDS = {"new": ("/", "Connection: close"), "kept": ("/", "X-None: 1"), "bulk": ("/bulk", "X-None: 1")}

PLAIN_RULE = f"""table ip plain {{
  chain p {{ type nat hook prerouting priority dstnat;
    ip daddr {PLAIN} tcp dport 80 dnat to jhash ip saddr . tcp sport . ip daddr . tcp dport mod 2 map {{ 0 : 10.0.0.11, 1 : 10.0.0.12 }}
  }}
}}
"""


def rules(network: str) -> RuleSet:
    ports = tuple(Port(f"{network}-{name}", (address,), ("open",)) for name, address in ADDRESSES.items())
    targets = tuple(BalancedTarget(ADDRESSES[name], 80) for name in ("s1", "s2"))
    node = Balancer("ours-node", ADDRESSES["node"], (BalancedPort("tcp", 80, targets),))
    return RuleSet(network, ("10.0.0.0/16",), (OPEN,), ports, balancers=(node,) if network == "ours" else ())


async def build(networks: NetnsNetworks, firewalls: NftFirewalls, names: HomeNames) -> None:
    """Networks alike: all but `plain` with groups, `ours` with a balancer."""
    for network, _ in WAYS.values():
        await networks.ensure_network(
            NetworkSpec(network, ("10.0.0.0/16",), (Subnet(f"{network}-a", "10.0.0.0/24", "10.0.0.1"),))
        )
        for name, address in ADDRESSES.items():
            sandbox, mac = f"{network}-{name}", f"02:00:0a:00:00:{int(address.rpartition('.')[2]):02x}"
            await networks.ensure_sandbox(SandboxSpec(sandbox, guest=False))
            await networks.ensure_interface(
                InterfaceSpec(sandbox, network, f"{network}-a", mac, (address,), 24, "10.0.0.1", sandbox)
            )
        if network != "plain":
            await firewalls.apply(rules(network))
    settings = (
        "net.ipv4.ip_forward=1",
        "net.netfilter.nf_conntrack_tcp_timeout_time_wait=20",
        "net.netfilter.nf_conntrack_acct=1",
    )
    for network in ("plain", "grouped"):
        inside = ["nsenter", f"--net={names.network(network)}"]
        await asyncio.to_thread(run, *inside, "nft", "-f", "-", text=PLAIN_RULE)
        await asyncio.to_thread(run, *inside, "sysctl", "-qw", *settings)


def run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, input=text, text=True, check=True)


@contextlib.contextmanager
def servers(names: HomeNames, folder: Path) -> Iterator[None]:
    """HAProxy answers in each server's sandbox, and forwards in the proxy's."""
    (folder / "bulk").write_bytes(b"x" * 1_000_000)
    common = (
        "global\n maxconn 4000\n nbthread 1\n tune.bufsize 1200000\n"
        "defaults\n mode {}\n timeout connect 5s\n timeout client 9s\n timeout server 9s\n"
    )
    answering = f""" http-request return status 200 content-type text/plain file {folder}/bulk if {{ path /bulk }}
 http-request return status 200 content-type text/plain string ok
"""
    roles = {"s": common.format("http") + "frontend f\n bind :80\n" + answering}
    forward = "".join(f" server {name} {ADDRESSES[name]}:80\n" for name in ("s1", "s2"))
    roles["p"] = (
        common.replace(" tune.bufsize 1200000\n", "").format("tcp")
        + "listen f\n bind :80\n balance roundrobin\n"
        + forward
    )
    with contextlib.ExitStack() as stack:
        for network, name in [(n, s) for n, _ in WAYS.values() for s in ("s1", "s2")] + [("proxied", "proxy")]:
            config = folder / f"{network}-{name}.cfg"
            config.write_text(roles[name[0]])
            command = ["nsenter", f"--net={names.sandbox(f'{network}-{name}')}", "haproxy", "-db", "-f", str(config)]
            process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
        yield


def measured(names: HomeNames, way: str, kind: str, seconds: int) -> float:
    """Requests a second; of bulk megabytes a second, which is the same number."""
    network, address = WAYS[way]
    path, header = KINDS[kind]
    load = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-H", header, f"http://{address}{path}"]
    command = ["nsenter", f"--net={names.sandbox(f'{network}-client')}", *load]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 20).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    if "Non-2xx" in said:
        raise RuntimeError(said)
    return float(found[1])


def compare(names: HomeNames, rounds: int, seconds: int) -> None:
    print(f"{'per second':<12}" + "".join(f"{way:>22}" for way in WAYS))
    for kind in KINDS:
        figures: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds):
            order = list(WAYS) if number % 2 else list(reversed(WAYS))
            for way in order:
                figures[way].append(measured(names, way, kind, seconds))
        middle = {way: statistics.median(found) for way, found in figures.items()}
        plain = figures["plain rule"]
        paired = {
            way: statistics.median(one / other for one, other in zip(found, plain, strict=True))
            for way, found in figures.items()
        }
        cells = (f"{value:14.0f} ({paired[way]:.2f})" for way, value in middle.items())
        print(f"{kind:<12}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("namespaces need root")
    missing = [name for name in ("wrk", "haproxy") if shutil.which(name) is None]
    if missing:
        parser.error(f"needs {', '.join(missing)}")
    home_id = "b" + secrets.token_hex(8)[:5]
    with tempfile.TemporaryDirectory() as folder:
        names = HomeNames(home_id, Path(folder))
        networks, firewalls = NetnsNetworks(home_id, Path(folder)), NftFirewalls(home_id)
        try:
            await build(networks, firewalls, names)
            with servers(names, Path(folder)):
                await asyncio.sleep(1)
                await asyncio.to_thread(compare, names, arguments.rounds, arguments.seconds)
        finally:
            await networks.close()
            await firewalls.close()
            await clean(home_id, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
