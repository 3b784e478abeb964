"""Why pods have no node: told to those who look at them, at a pace that leaves the loop to who waits for an answer.

    decided ► put ► some at once ► a pause, the longer the more the others had to do meanwhile ► the next

Telling costs more than deciding: a status and an event for each pod. Where a pod is decided on again before it was told of, its newest reason counts.
"""

from __future__ import annotations

import asyncio
import logging

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.events import event_of
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.workloads.pods import condition, with_condition
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.times import timestamp

log = logging.getLogger("gureum.kube.controllers")
AT_ONCE = 16
SHARE = 4
"""The pause after some were told is so many times as long as telling took."""
LONGEST_PAUSE_S = 1.0


class Telling:
    """Of one scheduler, whose name is `manager`."""

    def __init__(self, manager: str) -> None:
        self._manager = manager
        self._reasons: dict[str, str] = {}
        self._running = False

    def put(self, client: Client, key: str, reason: str) -> None:
        """Tells of the pod at that key of the store, at once if there is nothing else to tell."""
        self._reasons[key] = reason
        if not self._running:
            self._running = True
            task = asyncio.get_running_loop().create_task(self._work(client), name="telling")
            client.tasks.add(task)
            task.add_done_callback(client.tasks.discard)

    def drop(self, key: str) -> None:
        """It has a node, or is decided on anew."""
        self._reasons.pop(key, None)

    async def _work(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._reasons:
                begun = loop.time()
                some = {key: self._reasons.pop(key) for key in list(self._reasons)[:AT_ONCE]}
                results = await asyncio.gather(
                    *(tell(client, key, reason, self._manager) for key, reason in some.items()), return_exceptions=True
                )
                for (key, reason), result in zip(some.items(), results, strict=True):
                    if isinstance(result, StatusError):
                        self._reasons.setdefault(key, reason)
                    elif isinstance(result, BaseException):
                        log.error("kube.telling_failed", extra={"key": key}, exc_info=result)
                await asyncio.sleep(min((loop.time() - begun) * SHARE, LONGEST_PAUSE_S))
        finally:
            self._running = False


async def tell(client: Client, key: str, reason: str, manager: str, nominated: str | None = None) -> None:
    """Writes down why the pod has no node, with an event; `nominated`: where room is made for it. Nothing when it says so already."""
    seen = client.seen(key)
    if seen is None:
        return
    pod = seen[1]
    made = {
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(client.clock.now()),
        "reason": "Unschedulable",
        "message": reason,
    }

    def change(obj: Object) -> Object | None:
        known = condition(obj, "PodScheduled")
        told = known is not None and known.get("message") == reason and nominated is None
        if told or obj["spec"].get("nodeName") or obj["metadata"]["uid"] != pod["metadata"]["uid"]:
            return None
        changed = with_condition(obj, made)
        if nominated is not None:
            changed["status"]["nominatedNodeName"] = nominated
        return changed

    place = client.objects.place(key)
    await client.update(
        PODS,
        place.namespace,
        place.name,
        change,
        manager,
        "status",
        lambda: event_of(client, pod, "Warning", "FailedScheduling", reason, manager),
        seen,
    )
