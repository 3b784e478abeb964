"""Volumes that somebody made, and claims of them: bound to each other, released, and held while they are used.

    claim ─► the smallest volume that fits, those kept for it first ─► claimRef, then volumeName, then both phases
    volume ◄─ its claim has gone: Released, and what its reclaim policy says

Nothing makes or deletes what a volume stands for: a claim that finds none waits, for a volume or for a provisioner outside.
Source: Kubernetes, "Persistent Volumes"; k8s.io/kubernetes/pkg/controller/volume/persistentvolume (order of steps, texts).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.objects import Object
from gureum.kube.scheduling.claims import CLAIMS, CLASSES, NO_PROVISIONER, VOLUMES, fits, is_delayed, size_of, terms_of
from gureum.kube.scheduling.filters import matches_terms
from gureum.kube.times import timestamp

NAME = "persistentvolume-controller"
NODES = "core/nodes"
PROTECTION = "kubernetes.io/pv-protection"
COMPLETED, BY_CONTROLLER = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
SELECTED = "volume.kubernetes.io/selected-node"
PROVISIONERS = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
_VOLUME, _CLAIM = "volume:", "claim:"


def controller(client: Client) -> Controller:
    def of_volume(seen: Seen) -> list[str]:
        keys = [f"{_VOLUME}{seen.place.name}"]
        for entry in (seen.event.entry, seen.event.previous):
            holder = _decoded(entry).get("spec", {}).get("claimRef")
            keys += [f"{_CLAIM}{holder.get('namespace')}/{holder.get('name')}"] if holder else []
        if not seen.event.revision:
            return keys  # at the start every claim is looked at anyway
        volume = _decoded(seen.event.entry)
        if volume and not volume["spec"].get("claimRef"):
            keys += _unbound(client, volume)
        return keys

    def of_claim(seen: Seen) -> list[str]:
        keys = [f"{_CLAIM}{seen.place.namespace}/{seen.place.name}"]
        for entry in (seen.event.entry, seen.event.previous):
            name = _decoded(entry).get("spec", {}).get("volumeName")
            keys += [f"{_VOLUME}{name}"] if name else []
        return keys

    wakes = {VOLUMES: of_volume, CLAIMS: of_claim, CLASSES: lambda _seen: _unbound(client)}
    return Controller("volumes", wakes, reconcile)


def _decoded(entry: Any) -> Object:
    return {} if entry is None else msgspec.json.decode(entry.value)


def _unbound(client: Client, volume: Object | None = None) -> list[str]:
    """Claims that wait, all or those that the volume fits."""
    found = []
    for entry in client.objects.store.range(client.objects.prefix(CLAIMS)):
        if COMPLETED.encode() in entry.value or (volume is not None and not fits(volume, client.objects.decode(entry))):
            continue
        place = client.objects.place(entry.key)
        found.append(f"{_CLAIM}{place.namespace}/{place.name}")
    return found


async def reconcile(client: Client, key: str) -> None:
    kind, _, name = key.partition(":")
    if kind + ":" == _VOLUME:
        await _look_at_volume(client, name)
    else:
        await _look_at_claim(client, *name.split("/", 1))


# Volumes


async def _look_at_volume(client: Client, name: str) -> None:
    volume = client.get(VOLUMES, "", name)
    if volume is None:
        return
    holder = volume["spec"].get("claimRef")
    claim = client.get(CLAIMS, holder.get("namespace", ""), holder["name"]) if holder else None
    if volume["metadata"].get("deletionTimestamp") and not _is_held(holder, claim):
        await client.update(VOLUMES, "", name, _unprotected, NAME)
        return
    if not holder or not holder.get("uid"):
        await _set_phase(client, volume, "Available")
    elif claim is not None and claim["metadata"]["uid"] == holder["uid"]:
        if claim["spec"].get("volumeName") == name:
            await _set_phase(client, volume, "Bound")
    elif (volume.get("status") or {}).get("phase") != "Failed":
        await _release(client, volume)


def _is_held(holder: Object | None, claim: Object | None) -> bool:
    return holder is not None and claim is not None and claim["metadata"]["uid"] == holder.get("uid")


async def _release(client: Client, volume: Object) -> None:
    """Its claim has gone. What lies on it is nobody's to delete here, but a driver's."""
    await _set_phase(client, volume, "Released")
    policy, spec = volume["spec"].get("persistentVolumeReclaimPolicy"), volume["spec"]
    if policy == "Retain" or "csi" in spec:
        return
    reason = "VolumeFailedDelete" if policy == "Delete" else "VolumeFailedRecycle"
    verb = "deleter" if policy == "Delete" else "recycler"
    name = volume["metadata"]["name"]
    text = f'error getting {verb} volume plugin for volume "{name}": no volume plugin matched'
    await _set_phase(client, volume, "Failed", text)
    record(client, volume, "Warning", reason, text, NAME)


async def _set_phase(client: Client, volume: Object, phase: str, message: str = "") -> None:
    def change(obj: Object) -> Object | None:
        status = obj.get("status") or {}
        if status.get("phase") == phase and (status.get("message") or "") == message:
            return None
        told: Object = {"phase": phase, "lastPhaseTransitionTime": timestamp(client.clock.now())}
        return {**obj, "status": told | ({"message": message} if message else {})}

    await client.update(VOLUMES, "", volume["metadata"]["name"], change, NAME, "status")


def _unprotected(volume: Object) -> Object | None:
    left = [one for one in volume["metadata"].get("finalizers") or () if one != PROTECTION]
    return {**volume, "metadata": {**volume["metadata"], "finalizers": left}}


# Claims


async def _look_at_claim(client: Client, namespace: str, name: str) -> None:
    claim = client.get(CLAIMS, namespace, name)
    if claim is None:
        return
    annotations = claim["metadata"].get("annotations") or {}
    wanted = claim["spec"].get("volumeName")
    volume = client.get(VOLUMES, "", wanted) if wanted else None
    if COMPLETED in annotations:
        await _keep(client, claim, volume)
        return
    if claim["metadata"].get("deletionTimestamp"):
        return
    if wanted:
        if volume is not None and fits(volume, claim):
            await _bind(client, claim, volume, chosen=False)
        return
    delayed = is_delayed(client.objects, claim)
    node = annotations.get(SELECTED, "")
    found = None if delayed and not node else _best(client, claim, node)
    if found is not None:
        await _bind(client, claim, found, chosen=True)
    elif delayed and not node:
        text = "waiting for first consumer to be created before binding"
        record(client, claim, "Normal", "WaitForFirstConsumer", text, NAME)
    else:
        await _wait(client, claim)


async def _keep(client: Client, claim: Object, volume: Object | None) -> None:
    """A claim that is bound: its volume is there, and is its own."""
    holder = (volume or {"spec": {}})["spec"].get("claimRef") or {}
    if volume is not None and holder.get("uid") in (None, "", claim["metadata"]["uid"]):
        await _bind(client, claim, volume, chosen=False)
        return
    status = claim.get("status") or {}
    if status.get("phase") != "Lost":
        text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        if volume is not None:
            text = "Two claims are bound to the same volume, this one is bound incorrectly"
        where = claim["metadata"]["namespace"], claim["metadata"]["name"]
        lost = {"phase": "Lost"}
        await client.set_status(CLAIMS, *where, lost, NAME, claim["metadata"]["uid"])
        record(client, claim, "Warning", "ClaimLost" if volume is None else "ClaimMisbound", text, NAME)


def _best(client: Client, claim: Object, node: str) -> Object | None:
    """Those kept for the claim first, then the smallest."""
    fitting = [one for one in client.objects.all(VOLUMES) if fits(one, claim)]
    if node:
        found = client.get(NODES, "", node)
        labels = ((found or {}).get("metadata") or {}).get("labels") or {}
        fitting = [one for one in fitting if terms_of(one) is None or matches_terms(terms_of(one), labels, node)]
    return min(
        fitting, key=lambda one: (not one["spec"].get("claimRef"), size_of(one), one["metadata"]["name"]), default=None
    )


async def _bind(client: Client, claim: Object, volume: Object, *, chosen: bool) -> None:
    """Step by step, each of which may be done already. `chosen`: by us, which is noted."""
    meta, name = claim["metadata"], volume["metadata"]["name"]
    where = meta["namespace"], meta["name"]

    def hold(obj: Object) -> Object | None:
        holder = obj["spec"].get("claimRef") or {}
        if holder.get("uid") == meta["uid"] or not fits(obj, claim):
            return None
        made = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": where[0],
            "name": where[1],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        }
        noted = obj if holder else _noted(obj, BY_CONTROLLER)
        return {**noted, "spec": {**obj["spec"], "claimRef": made}}

    await client.update(VOLUMES, "", name, hold, NAME)
    held = client.get(VOLUMES, "", name)
    if held is None or (held["spec"].get("claimRef") or {}).get("uid") != meta["uid"]:
        return  # another claim was faster
    await _set_phase(client, held, "Bound")

    def take(obj: Object) -> Object | None:
        if obj["metadata"]["uid"] != meta["uid"] or COMPLETED in (obj["metadata"].get("annotations") or {}):
            return None
        noted = _noted(obj, COMPLETED, *([BY_CONTROLLER] if chosen else []))
        return {**noted, "spec": {**obj["spec"], "volumeName": name}}

    await client.update(CLAIMS, *where, take, NAME)
    status = {
        "phase": "Bound",
        "accessModes": held["spec"].get("accessModes") or [],
        "capacity": held["spec"].get("capacity") or {},
    }
    await client.set_status(CLAIMS, *where, status, NAME, meta["uid"])


def _noted(obj: Object, *names: str) -> Object:
    annotations = {**(obj["metadata"].get("annotations") or {}), **dict.fromkeys(names, "yes")}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


async def _wait(client: Client, claim: Object) -> None:
    """No volume fits: whoever provisions for the class is told, by the marks that he looks for."""
    name = claim["spec"].get("storageClassName") or ""
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        record(client, claim, "Normal", "FailedBinding", text, NAME)
        return
    found = client.get(CLASSES, "", name)
    if found is None:
        text = f'storageclass.storage.k8s.io "{name}" not found'
        record(client, claim, "Warning", "ProvisioningFailed", text, NAME)
        return
    provisioner = found["provisioner"]
    if provisioner == NO_PROVISIONER:
        return
    known = claim["metadata"].get("annotations") or {}
    if known.get(PROVISIONERS[1]) != provisioner:
        marks = dict.fromkeys(PROVISIONERS, provisioner)
        where = claim["metadata"]["namespace"], claim["metadata"]["name"]
        await client.update(
            CLAIMS,
            *where,
            lambda obj: {
                **obj,
                "metadata": {**obj["metadata"], "annotations": {**(obj["metadata"].get("annotations") or {}), **marks}},
            },
            NAME,
        )
        text = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. "
            "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        )
        record(client, claim, "Normal", "ExternalProvisioning", text, NAME)
