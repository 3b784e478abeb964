"""ServiceCIDRs are ready at once, and stay until no service has an address of theirs; IPAddresses come back as long as their service has them.

Source: Kubernetes, pkg/controller/servicecidrs; the repair loop of pkg/registry/core/service/ipallocator.
"""

from __future__ import annotations

import ipaddress

from gureum.kube.admission.addresses import claim_key
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.kinds.addresses import ADDRESSES, CIDRS, FINALIZER, READY, address_of, condition, networks_of
from gureum.kube.objects import Object
from gureum.kube.times import timestamp

NAME = "service-cidr-controller"
_HELD = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
)


def _of_address(seen: Seen) -> list[str]:
    """An address that went may have been what a CIDR waited for, or its service's still."""
    return ["", f"ip/{seen.place.name}"] if seen.after is None else []


async def reconcile(client: Client, key: str) -> None:
    if key.startswith("ip/"):
        await _repair(client, key.removeprefix("ip/"))
        return
    names = [key.removeprefix("/")] if key else [one["metadata"]["name"] for one in client.objects.all(CIDRS)]
    for name in names:
        one = client.get(CIDRS, "", name)
        if one is not None:
            await _settle(client, name, one)


async def _settle(client: Client, name: str, one: Object) -> None:
    finalizers = one["metadata"].get("finalizers") or []
    if one["metadata"].get("deletionTimestamp"):
        if _used(client, one):
            await client.set_status(CIDRS, "", name, _status(client, one, _HELD), NAME)
        elif FINALIZER in finalizers:
            await client.update(CIDRS, "", name, lambda obj: _finalized(obj, held=False), NAME)
        return
    if FINALIZER not in finalizers:
        await client.update(CIDRS, "", name, lambda obj: _finalized(obj, held=True), NAME)
    await client.set_status(CIDRS, "", name, _status(client, one, READY), NAME)


def _used(client: Client, one: Object) -> bool:
    """Whether a service has an address that no other CIDR has."""
    own = networks_of(one)
    others = [
        network
        for other in client.objects.all(CIDRS)
        if other["metadata"]["name"] != one["metadata"]["name"] and not other["metadata"].get("deletionTimestamp")
        for network in networks_of(other)
    ]
    for entry in client.objects.store.range(client.objects.prefix(ADDRESSES)):
        address = ipaddress.ip_address(client.objects.place(entry.key).name)
        if any(address in network for network in own) and not any(address in network for network in others):
            return True
    return False


def _finalized(obj: Object, *, held: bool) -> Object:
    others = [one for one in obj["metadata"].get("finalizers") or () if one != FINALIZER]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": [*others, FINALIZER] if held else others}}


def _status(client: Client, one: Object, words: tuple[str, str, str]) -> Object:
    known = ((one.get("status") or {}).get("conditions") or [{}])[0]
    now = timestamp(client.clock.now())
    since = known.get("lastTransitionTime", now) if known.get("status") == words[0] else now
    return {"conditions": [condition(words, since)]}


async def _repair(client: Client, address: str) -> None:
    entry = client.objects.store.get(claim_key(client.objects, "ip", address))
    if entry is not None and client.get(ADDRESSES, "", address) is None:
        namespace, _, name = entry.value.decode().partition("/")
        await client.create(ADDRESSES, address_of(address, namespace, name), NAME)


CONTROLLER = Controller(
    "service-cidrs", {CIDRS: lambda seen: [f"/{seen.place.name}"], ADDRESSES: _of_address}, reconcile
)
