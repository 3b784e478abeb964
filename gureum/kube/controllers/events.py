"""Events: what controllers tell the user, for an hour. The same one again is counted in the one that is there; many that are alike but
for their words become one.

Source: k8s.io/client-go/tools/record (EventCorrelator); kube-apiserver, --event-ttl.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.times import seconds_of, timestamp
from gureum.store.contract import Check, Conflict, Unchanged, Write

EVENTS = "core/events"
LIMIT_ALIKE, ALIKE_S = 10, 600.0
COMBINED = "(combined from similar events): "
LIMIT_KEPT = 4096
KEPT_S, SWEEP_S = 3600.0, 60.0


def record(client: Client, about: Object, type_: str, reason: str, message: str, component: str) -> None:
    """Beside everything else: nobody waits for it, and it may get lost."""
    task = asyncio.get_running_loop().create_task(_record(client, about, type_, reason, message, component))
    client.tasks.add(task)
    task.add_done_callback(client.tasks.discard)


async def _record(client: Client, about: Object, type_: str, reason: str, message: str, component: str) -> None:
    try:
        checks_and_writes = event_of(client, about, type_, reason, message, component)
        if checks_and_writes:
            await client.objects.commit_all(checks_and_writes)
    except (Conflict, StatusError):
        return


def event_of(
    client: Client, about: Object, type_: str, reason: str, message: str, component: str
) -> list[Write | Check]:
    """What tells the event, for a commit of its own or that of what it tells. Nothing where its namespace is going."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    sort = f"{metadata['uid']}{type_}{reason}{component}"
    words = message
    if _is_one_of_many(client, sort, message):
        words, message = COMBINED, COMBINED + message
    same = hashlib.sha256(f"{sort}{words}".encode()).hexdigest()[:16]
    name = f"{metadata['name'][:200]}.{same}"
    now = timestamp(client.clock.now())
    objects = client.objects
    known = objects.entry(EVENTS, namespace, name)
    if known is not None:
        event = objects.decode(known)
        again = {**event, "count": int(event.get("count") or 1) + 1, "lastTimestamp": now, "message": message[:1024]}
        return [Unchanged(known.key, known.revision), objects.put(EVENTS, again)]
    home = objects.entry("core/namespaces", "", namespace)
    if home is None or client.index.facts[home.key].deleting:
        return []
    put = objects.put(EVENTS, _event(about, namespace, name, now, type_, reason, message, component))
    return [Unchanged(home.key, home.revision), Unchanged(put.key, 0), put]


def _is_one_of_many(client: Client, sort: str, message: str) -> bool:
    """Whether ten events of this sort have had different words lately. What is known of that is forgotten with the daemon."""
    now = client.clock.now()
    known = client.alike.pop(sort, None)
    messages = known[1] if known is not None and now - known[0] <= ALIKE_S else set()
    many = len(messages | {message}) >= LIMIT_ALIKE
    if not many:
        messages.add(message)
    client.alike[sort] = now, messages
    while len(client.alike) > LIMIT_KEPT:
        del client.alike[next(iter(client.alike))]
    return many


class _Ends:
    """Takes events away that nobody has repeated for an hour. One look after another, and none where there are no events."""

    def __init__(self) -> None:
        self._planned = False

    def wake(self, seen: Seen) -> list[str]:
        if self._planned or seen.after is None:
            return []
        self._planned = True
        return [""]

    async def reconcile(self, client: Client, key: str) -> float | None:
        del key
        now = client.clock.now()
        first: float | None = None
        for entry in client.objects.store.range(client.objects.prefix(EVENTS)):
            end = _last_told(client.objects.decode(entry)) + KEPT_S
            if end > now:
                first = end if first is None else min(first, end)
                continue
            with contextlib.suppress(Conflict):  # told again just now
                await client.objects.remove(entry)
        self._planned = first is not None
        return None if first is None else max(SWEEP_S, first - now)


def _last_told(event: Object) -> float:
    series = event.get("series") or {}
    told = (
        event["metadata"]["creationTimestamp"],
        *(event.get(name) for name in ("lastTimestamp", "deprecatedLastTimestamp", "eventTime")),
        series.get("lastObservedTime"),
    )
    return max(_seconds(one) for one in told)


def _seconds(text: object) -> float:
    try:
        return seconds_of(str(text)) if text else 0.0
    except ValueError:
        return 0.0


def controller() -> Controller:
    """Anew for each cluster: it keeps whether a look is planned."""
    ends = _Ends()
    return Controller("event", {EVENTS: ends.wake}, ends.reconcile)


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
        "eventTime": None,
        "count": 1,
        "type": type_,
        "reportingComponent": component,
        "reportingInstance": "",
    }
