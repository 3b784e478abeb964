"""The network worker: does the verbs of NetnsNetworks, one after another, in a process with one thread.

It holds nothing that the kernel does not tell: when it dies, the next one reads the machine and goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from gureum.drivers.networks import namespaces, passages, sandboxes
from gureum.drivers.networks.edges import Edge
from gureum.drivers.networks.network_names import HomeNames
from gureum.drivers.networks.routers import Router
from gureum.drivers.workers.worker_loop import Verbs, serve
from gureum.ports import PortError
from gureum.ports.networks import (
    EdgeSpec,
    InterfaceCounters,
    InterfaceSpec,
    NetworkSpec,
    Observed,
    Passage,
    SandboxPaths,
    SandboxSpec,
)


class Machine:
    """All networks of one home."""

    def __init__(self, names: HomeNames) -> None:
        self._names = names
        self._edge = Edge(names)
        self._routers: dict[str, Router] = {}
        self._home_of: dict[str, str] = {}  # interface -> its network
        self._public: dict[str, frozenset[str]] = {}  # wished public addresses of attached interfaces
        namespaces.prepare_netns_dir()

    def ensure_edge(self, spec: EdgeSpec) -> None:
        self._edge.ensure(spec)

    def remove_edge(self, _: None) -> None:
        self._edge.remove()

    def ensure_network(self, spec: NetworkSpec) -> None:
        if spec.uplink and not self._edge.exists:
            raise PortError("the edge does not exist yet")
        router = self._routers.get(spec.name) or Router(spec.name, self._names.network(spec.name))
        pinned = [(one, self._names.network(one.network)) for one in spec.peers]
        peers = {one.name: path for one, path in pinned if namespaces.is_pinned(path)}
        before = router.peers
        changed = router.ensure(spec, self._names.edge if spec.uplink else None, peers)
        self._remember(router)
        self._tell_peers({one.network for one in (*before, *spec.peers)})
        if changed:
            self._edge.forget()
            for interface in router.placed:
                self._publish(interface)

    def remove_network(self, name: str) -> None:
        path = self._names.network(name)
        if namespaces.is_pinned(path):
            router = self._router(name)
            router.cut_uplink()
            router.cut_peers()
            self._tell_peers({one.network for one in router.peers})
            for interface in list(router.placed):
                self._forget_interface(interface)
        self._routers.pop(name, None)
        self._edge.forget()
        namespaces.unpin(path)

    def ensure_sandbox(self, spec: SandboxSpec) -> SandboxPaths:
        return sandboxes.ensure(self._names, spec)

    def remove_sandbox(self, name: str) -> None:
        sandboxes.remove(self._names, name)

    def ensure_passage(self, wanted: tuple[str, Passage]) -> None:
        name, passage = wanted
        net = self._names.sandbox(name)
        if not namespaces.is_pinned(net):
            raise PortError(f"sandbox {name} does not exist yet")
        passages.ensure(net, passage)

    def ensure_interface(self, spec: InterfaceSpec) -> None:
        if not namespaces.is_pinned(self._names.network(spec.network)):
            raise PortError(f"network {spec.network} does not exist yet")
        if spec.sandbox and not namespaces.is_pinned(self._names.sandbox(spec.sandbox)):
            raise PortError(f"sandbox {spec.sandbox} does not exist yet")
        router = self._router(spec.network)
        if self._network_of(spec.name) not in (None, spec.network):
            self.remove_interface(spec.name)
        if not spec.sandbox:
            self.remove_interface(spec.name)
            return
        router.attach(spec, self._names.sandbox(spec.sandbox))
        self._home_of[spec.name] = spec.network
        self._public[spec.name] = frozenset(public for _, public in spec.public)
        self._publish(spec.name)

    def remove_interface(self, name: str) -> None:
        network = self._network_of(name)
        if network is not None:
            self._edge.publish(name, network, frozenset())
            self._router(network).detach(name)
            self._forget_interface(name)

    def observe(self, _: None) -> Observed:
        networks = [name for name in self._names.pinned_networks() if namespaces.is_pinned(self._names.network(name))]
        found: set[str] = set()
        for name in networks:
            router = self._router(name)
            router.observe()
            found.update(router.placed)
        pinned = self._names.pinned_sandboxes()
        held = frozenset(name for name in pinned if namespaces.is_pinned(self._names.sandbox(name)))
        return Observed(self._edge.exists, frozenset(networks), held, frozenset(found))

    def counters(self, _: None) -> dict[str, InterfaceCounters]:
        found: dict[str, InterfaceCounters] = {}
        for name in self._names.pinned_networks():
            path = self._names.network(name)
            if namespaces.is_pinned(path):
                for interface, sandbox, counters in Router(name, path).counters():
                    translation = sandboxes.translation_counts(self._names, sandbox)
                    found[interface] = msgspec.structs.replace(counters, translation=translation)
        return found

    def _tell_peers(self, networks: set[str]) -> None:
        """Links into these routers have come or gone. One that is not known yet looks when it is wished anew."""
        for name in networks:
            if name in self._routers and namespaces.is_pinned(self._names.network(name)):
                self._routers[name].look_at_peers()

    def _router(self, network: str) -> Router:
        """The router of a network that exists; after a restart it reads its namespace first."""
        if network not in self._routers:
            router = Router(network, self._names.network(network))
            router.observe()
            self._remember(router)
        return self._routers[network]

    def _remember(self, router: Router) -> None:
        self._routers[router.name] = router
        self._home_of.update(dict.fromkeys(router.placed, router.name))

    def _network_of(self, interface: str) -> str | None:
        """The network an interface is in. After a restart one must look into each."""
        if interface not in self._home_of:
            for name in self._names.pinned_networks():
                if name not in self._routers and namespaces.is_pinned(self._names.network(name)):
                    self._router(name)
        return self._home_of.get(interface)

    def _publish(self, interface: str) -> None:
        if interface in self._public:  # else unknown since a restart: what is there stays until it is wished anew
            self._edge.publish(interface, self._home_of[interface], self._public[interface])

    def _forget_interface(self, name: str) -> None:
        self._home_of.pop(name, None)
        self._public.pop(name, None)


def main() -> None:
    machine = Machine(HomeNames(sys.argv[1], Path(sys.argv[2])))
    decode = msgspec.msgpack.decode
    verbs: Verbs = {
        "ensure_edge": lambda data: machine.ensure_edge(decode(data, type=EdgeSpec)),
        "remove_edge": lambda data: machine.remove_edge(decode(data, type=None)),
        "ensure_network": lambda data: machine.ensure_network(decode(data, type=NetworkSpec)),
        "remove_network": lambda data: machine.remove_network(decode(data, type=str)),
        "ensure_sandbox": lambda data: machine.ensure_sandbox(decode(data, type=SandboxSpec)),
        "remove_sandbox": lambda data: machine.remove_sandbox(decode(data, type=str)),
        "ensure_passage": lambda data: machine.ensure_passage(decode(data, type=tuple[str, Passage])),
        "ensure_interface": lambda data: machine.ensure_interface(decode(data, type=InterfaceSpec)),
        "remove_interface": lambda data: machine.remove_interface(decode(data, type=str)),
        "counters": lambda data: machine.counters(decode(data, type=None)),
        "observe": lambda data: machine.observe(decode(data, type=None)),
    }
    serve(verbs)


if __name__ == "__main__":
    main()
