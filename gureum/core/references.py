"""References between core objects, read off their specs: what must be there before, and must stay as long as, an object is there."""

from __future__ import annotations

from collections.abc import Iterable

from gureum.core.specs import (
    Balancer,
    BalancerNames,
    Container,
    FirewallGroup,
    FlowLog,
    Gate,
    Interface,
    Passage,
    Proxy,
    Snapshot,
    TargetGroup,
    Volume,
)
from gureum.engine.lowering import Desired


def references(desired: Desired) -> tuple[str, ...]:
    """Ids of what `desired` refers to."""
    spec = desired.spec
    if isinstance(spec, Interface):
        sandbox = (f"Sandbox/{spec.interface.sandbox}",) if spec.interface.sandbox else ()
        return (f"Network/{spec.interface.network}", *sandbox)
    if isinstance(spec, FirewallGroup):
        return (f"Network/{spec.network}",)
    if isinstance(spec, FlowLog):
        return tuple(f"Network/{name}" for name in sorted({network for network, _ in spec.interfaces}))
    if isinstance(spec, Container):
        interfaces = tuple(f"Interface/{name}" for name in spec.interfaces)
        volume = (f"Volume/{spec.volume}",) if spec.volume else ()
        disks = tuple(f"Volume/{disk.volume}" for disk in spec.disks)
        place = (f"Sandbox/{spec.sandbox}", f"Image/{spec.image}") if spec.sandbox else ()
        shown = tuple(f"Volume/{name}" for name in spec.needs)
        return (*place, *volume, *disks, *shown, *interfaces)
    if isinstance(spec, Volume):
        snapshot = (f"Snapshot/{spec.volume.snapshot}",) if spec.volume.snapshot else ()
        return (*snapshot, *((f"Volume/{spec.volume.source}",) if spec.volume.source else ()))
    if isinstance(spec, Snapshot):
        together = (f"Volume/{volume}" for _, volume, _ in spec.snapshot.together)
        volumes = _unique((*([f"Volume/{spec.snapshot.volume}"] if spec.snapshot.volume else ()), *together))
        source = (f"Snapshot/{spec.snapshot.source}",) if spec.snapshot.source else ()
        return (*volumes, *source)
    if isinstance(spec, TargetGroup):
        return _unique(f"Sandbox/{place.sandbox}" for place in spec.places)
    if isinstance(spec, Proxy):
        groups = (*(use.group for use in spec.uses), *(group.name for group in spec.proxy.groups))
        return (f"Sandbox/{spec.sandbox}", f"Interface/{spec.interface}", *_target_groups(groups))
    if isinstance(spec, Balancer):
        groups = (*(use.group for use in spec.uses), *(name for one in spec.listeners for name, _ in one.groups))
        return (f"Network/{spec.network}", f"Interface/{spec.interface}", *_target_groups(groups))
    if isinstance(spec, Gate | Passage):
        return (f"Sandbox/{spec.sandbox}", *(f"Interface/{name}" for name in spec.interfaces))
    if isinstance(spec, BalancerNames):
        return _target_groups(name for node in spec.nodes for name in node.groups)
    return ()


def _target_groups(names: Iterable[str]) -> tuple[str, ...]:
    return _unique(f"TargetGroup/{name}" for name in names)


def _unique(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))
