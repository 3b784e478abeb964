"""Events: what controllers tell the user. The same one again is counted in the one that is there."""

from __future__ import annotations

import asyncio
import hashlib
import uuid

from gureum.kube.controllers.client import Client
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.times import timestamp
from gureum.store.contract import Conflict, Unchanged


def record(client: Client, about: Object, type_: str, reason: str, message: str, component: str) -> None:
    """Beside everything else: nobody waits for it, and it may get lost."""
    task = asyncio.get_running_loop().create_task(_record(client, about, type_, reason, message, component))
    client.tasks.add(task)
    task.add_done_callback(client.tasks.discard)


async def _record(client: Client, about: Object, type_: str, reason: str, message: str, component: str) -> None:
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    same = hashlib.sha256(f"{metadata['uid']}{type_}{reason}{message}{component}".encode()).hexdigest()[:16]
    name = f"{metadata['name'][:200]}.{same}"
    now = timestamp(client.clock.now())

    def again(event: Object) -> Object:
        return {**event, "count": int(event.get("count") or 1) + 1, "lastTimestamp": now}

    objects = client.objects
    try:
        known = objects.entry("core/events", namespace, name)
        if known is not None:
            await objects.replace("core/events", again(objects.decode(known)), known)
            return
        home = objects.entry("core/namespaces", "", namespace)
        if home is None or client.index.facts[home.key].deleting:
            return
        made = _event(about, namespace, name, now, type_, reason, message, component)
        await objects.create("core/events", made, Unchanged(home.key, home.revision))
    except (Conflict, StatusError):
        return


def _event(
    about: Object, namespace: str, name: str, now: str, type_: str, reason: str, message: str, component: str
) -> Object:
    metadata = about["metadata"]
    involved = {
        "apiVersion": about["apiVersion"],
        "kind": about["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }
    if metadata.get("namespace"):
        involved["namespace"] = metadata["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now},
        "involvedObject": involved,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": type_,
        "reportingComponent": component,
        "reportingInstance": "",
    }
