"""Simulated volumes: a claim of a class whose provisioner is ours gets a volume that says that it is there. Nothing is kept on it.

What charts need that claim storage, on nodes on which pods are said to run. `gureum kube nodes --simulated N` makes such a class.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.controllers.volumes.volumes import PROVISIONERS
from gureum.kube.errors import StatusError
from gureum.kube.scheduling.claims import CLAIMS, CLASSES, VOLUMES

PROVISIONER = "gureum.dev/simulated"
NAME = "simulated-provisioner"
_DRIVER = f'"driver":"{PROVISIONER}"'.encode()


def _of_claim(seen: Seen) -> list[str]:
    entry = seen.event.entry or seen.event.previous
    # At the start there is no event: what was begun is looked at again.
    ours = entry is None or PROVISIONER.encode() in entry.value
    return [f"{seen.place.namespace}/{seen.place.name}"] if ours else []


def _of_volume(seen: Seen) -> list[str]:
    entry = seen.event.entry
    ours = seen.after is not None and (entry is None or _DRIVER in entry.value)
    return [f"/{seen.place.name}"] if ours else []


async def reconcile(client: Client, key: str) -> None:
    namespace, _, name = key.partition("/")
    if not namespace:
        await _end_released(client, name)
        return
    claim = client.get(CLAIMS, namespace, name)
    if claim is None or claim["metadata"].get("deletionTimestamp") or claim["spec"].get("volumeName"):
        return
    annotations = claim["metadata"].get("annotations") or {}
    if annotations.get(PROVISIONERS[1]) != PROVISIONER:
        return
    found = client.get(CLASSES, "", claim["spec"].get("storageClassName") or "") or {}
    meta, spec = claim["metadata"], claim["spec"]
    holder = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name}
    made: dict[str, Any] = {
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
        "accessModes": spec["accessModes"],
        "volumeMode": spec.get("volumeMode") or "Filesystem",
        "storageClassName": spec.get("storageClassName"),
        "persistentVolumeReclaimPolicy": found.get("reclaimPolicy") or "Delete",
        "claimRef": {**holder, "uid": meta["uid"]},
        "csi": {"driver": PROVISIONER, "volumeHandle": f"pvc-{meta['uid']}"},
    }
    marks = {"pv.kubernetes.io/provisioned-by": PROVISIONER}
    volume = {"metadata": {"name": f"pvc-{meta['uid']}", "annotations": marks}, "spec": made}
    try:
        await client.create(VOLUMES, msgspec.json.decode(msgspec.json.encode(volume)), NAME)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise


async def _end_released(client: Client, name: str) -> None:
    volume = client.get(VOLUMES, "", name)
    if volume is None or (volume.get("status") or {}).get("phase") != "Released":
        return
    ours = (volume["spec"].get("csi") or {}).get("driver") == PROVISIONER
    if ours and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        await client.delete(VOLUMES, "", name, NAME, uid=volume["metadata"]["uid"])


SIMULATED_VOLUMES = Controller("simulated-volumes", {CLAIMS: _of_claim, VOLUMES: _of_volume}, reconcile)
