"""References between core objects, read off their specs: what must be there before, and must stay as long as, an object is there."""

from __future__ import annotations

from gureum.core.specs import Container, FirewallGroup, FlowLog, Interface
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
        return (f"Sandbox/{spec.sandbox}", f"Image/{spec.image}", *volume, *interfaces)
    return ()
