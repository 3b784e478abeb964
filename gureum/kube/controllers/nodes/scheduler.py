"""The scheduler: a node for every pod that has none, the most important first, then who came first.

    events ─► Known (who is where), who is to be looked at ─► reconcile: the whole queue, some pods at a time
       pod ─► scheduling/ says where ─► bound, with its event, in one commit
                               nowhere ─► told why; others go for it where that helps; looked at again when something it waits for changes

A pod counts on its node from the moment in which it was decided on: the next one is decided before the commit is durable.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Collection, Coroutine
from typing import Any

import msgspec

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.client import Seen as Found
from gureum.kube.controllers.events import event_of
from gureum.kube.controllers.index import PODS
from gureum.kube.controllers.loop import Controller, Seen
from gureum.kube.controllers.nodes.telling import Telling, tell
from gureum.kube.controllers.workloads.pods import disruption, with_condition
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.scheduling.claims import CLAIMS, VOLUMES, volumes_of
from gureum.kube.scheduling.facts import Known, NodeFacts, PodFacts, pod_facts
from gureum.kube.scheduling.filters import Misfit, Wish, misfit
from gureum.kube.scheduling.preemption import NOT_HELPFUL, Budget, Candidate, preempt, refusal
from gureum.kube.scheduling.scores import best_of
from gureum.kube.selectors import from_object
from gureum.kube.times import timestamp

log = logging.getLogger("gureum.kube.controllers")
NAME = "default-scheduler"
NODES, BUDGETS, NAMESPACES = "core/nodes", "policy/poddisruptionbudgets", "core/namespaces"
SELECTED = "volume.kubernetes.io/selected-node"
QUEUE = "queue"
AT_ONCE = 32
LIMIT_LOOKS = 12_000
"""How many nodes are looked at before others have their turn."""
PAUSE_AFTER = 100
ENOUGH = 100
AGAIN_S = 0.2


class _Metadata(msgspec.Struct, rename={"created": "creationTimestamp", "deleted": "deletionTimestamp"}):
    created: str = ""
    deleted: str | None = None


class _Spec(msgspec.Struct, rename={"node": "nodeName", "scheduler": "schedulerName", "gates": "schedulingGates"}):
    node: str | None = None
    scheduler: str | None = None
    gates: list[Any] | None = None
    priority: int | None = None


class _Pod(msgspec.Struct):
    """What the queue asks of a pod: there may be thousands in it."""

    metadata: _Metadata
    spec: _Spec


_decode = msgspec.json.Decoder(_Pod).decode


class Scheduler:
    def __init__(self) -> None:
        self._known = Known()
        self._client: Client | None = None
        self._woken: dict[str, None] = {}
        self._queue: list[tuple[int, str, str, int]] = []
        self._nowhere: dict[str, None] = {}
        self._sociable: set[str] = set()
        self._claiming: set[str] = set()
        self._gated: set[str] = set()
        self._next_node = 0
        self._telling = Telling(NAME)

    def controller(self) -> Controller:
        wakes = {PODS: self._on_pod, NODES: self._on_node, CLAIMS: self._on_volume, VOLUMES: self._on_volume}
        return Controller("scheduler", wakes, self.reconcile, self._initial)

    # What is known

    def _initial(self, client: Client) -> list[str]:
        self._client = client
        for node in client.objects.all(NODES):
            self._known.put_node(NodeFacts(node))
        for key, facts in client.index.facts.items():
            if facts.node and key.startswith(client.objects.prefix(PODS)):
                self._learn(client, key)
        self._woken |= dict.fromkeys(client.index.on_node(""))
        return [QUEUE]

    def _on_pod(self, seen: Seen) -> list[str]:
        if self._client is None:
            return []
        key, before, after = seen.event.key, seen.before, seen.after
        if after is None:
            self._woken.pop(key, None)
            self._settle(key)
            self._gated.discard(key)
            return self._free() if self._known.remove(key) or seen.facts.node else []
        if after.node:
            self._settle(key)
            known = self._known.pods.get(key)
            if known is not None and known.node == after.node and _is_like(known, seen):
                return []
            self._learn(self._client, key)
            if before is not None and before.node and key not in self._known.pods:
                return self._free()
            return self._look_again(self._sociable)
        # A change of its status alone (by us) asks for nothing new.
        if before is None or before.deleting != after.deleting or before.labels != after.labels or key in self._gated:
            self._woken[key] = None
            return [QUEUE]
        return []

    def _on_node(self, seen: Seen) -> list[str]:
        if self._client is None:
            return []
        node = None if seen.after is None else self._client.by_key(seen.event.key)
        if node is None:
            self._known.remove_node(seen.place.name)
            return []
        return self._free() if self._known.put_node(NodeFacts(node)) else []

    def _on_volume(self, _seen: Seen) -> list[str]:
        return self._look_again(self._claiming)

    def _free(self) -> list[str]:
        """There may be room now."""
        return self._look_again(self._nowhere)

    def _look_again(self, keys: Collection[str]) -> list[str]:
        self._woken |= dict.fromkeys(keys)
        return [QUEUE] if keys else []

    def _unsettle(self, facts: PodFacts) -> None:
        """It is nowhere, and what could change that."""
        self._nowhere[facts.key] = None
        if facts.spec.get("affinity") or facts.spec.get("topologySpreadConstraints"):
            self._sociable.add(facts.key)
        if any("persistentVolumeClaim" in one or "ephemeral" in one for one in facts.spec.get("volumes") or ()):
            self._claiming.add(facts.key)

    def _settle(self, key: str) -> None:
        self._nowhere.pop(key, None)
        self._sociable.discard(key)
        self._claiming.discard(key)
        self._telling.drop(key)

    def _learn(self, client: Client, key: str) -> None:
        pod = client.by_key(key)
        if pod is None:
            return
        facts = pod_facts(key, pod)
        if facts.ended or not facts.node:
            self._known.remove(key)
        else:
            self._known.place(facts, facts.node)

    def _labels_of_namespace(self, name: str) -> dict[str, str]:
        assert self._client is not None
        facts = self._client.index.facts.get(self._client.objects.key(NAMESPACES, "", name))
        return facts.labels if facts else {}

    # What is done

    async def reconcile(self, client: Client, _key: str) -> float | None:
        again: list[str] = []
        while await self._take_woken(client):
            binding: list[tuple[str, asyncio.Future[None]]] = []
            looks = 0
            while self._queue and len(binding) < AT_ONCE and looks < LIMIT_LOOKS:
                found = self._next(client)
                if found is None:
                    continue
                facts = pod_facts(found[0].key, found[1])
                looks += max(1, len(self._known.nodes))
                binding.append((facts.key, asyncio.ensure_future(self._decide(client, facts, found))))
            results = await asyncio.gather(*(one for _, one in binding), return_exceptions=True)
            for (key, _), result in zip(binding, results, strict=True):
                if isinstance(result, BaseException):
                    again.append(key)
                    if not isinstance(result, StatusError):
                        log.error("kube.schedule_failed", extra={"key": key}, exc_info=result)
        self._woken |= dict.fromkeys(again)
        return AGAIN_S if again else None

    async def _take_woken(self, client: Client) -> bool:
        """Brings those to be looked at into their order, with pauses for others. Whether there are any."""
        woken, self._woken = self._woken, {}
        for number, key in enumerate(woken, start=1):
            if number % PAUSE_AFTER == 0:
                await asyncio.sleep(0)
            entry = client.objects.store.get(key)
            pod = None if entry is None else _decode(client.objects.plain(entry))
            if entry is None or pod is None or pod.spec.node or pod.metadata.deleted:
                self._known.nominated.pop(key, None)
            elif pod.spec.scheduler == NAME and pod.spec.gates:
                self._gated.add(key)
            elif pod.spec.scheduler == NAME:
                self._gated.discard(key)
                heapq.heappush(self._queue, (-(pod.spec.priority or 0), pod.metadata.created, key, entry.revision))
        return bool(self._queue)

    def _next(self, client: Client) -> Found | None:
        """The first of the queue, if it is still what it was when it came there: it may be there twice, and bound meanwhile."""
        *_, key, revision = heapq.heappop(self._queue)
        entry = client.objects.store.get(key)
        if entry is None or key in self._known.pods:
            return None
        if entry.revision != revision:
            self._woken[key] = None
            return None
        return entry, client.objects.decode(entry)

    def _decide(self, client: Client, facts: PodFacts, found: Found) -> Coroutine[Any, Any, None]:
        """Where it goes; what is to be awaited then."""
        volumes, waiting, refused = volumes_of(client.objects, found[1])
        self._settle(facts.key)
        if facts.nominated:
            self._known.nominated[facts.key] = facts
        misfits: dict[str, Misfit] = {}
        wish = None
        if not refused and self._known.nodes:
            wish = Wish(facts, self._known, self._labels_of_namespace, volumes)
            nodes = self._fitting(wish, misfits)
            if nodes:
                node = best_of(wish, nodes, self._known, self._labels_of_namespace).name
                self._known.place(facts, node)
                return self._bind(client, facts, found, node, waiting)
        self._unsettle(facts)
        return self._refuse(client, facts, wish, misfits, refused)

    def _fitting(self, wish: Wish, misfits: dict[str, Misfit]) -> list[NodeFacts]:
        """Nodes that can have it, as many as are worth comparing, each time from another one on."""
        nodes = list(self._known.nodes.values())
        enough = len(nodes) if len(nodes) <= ENOUGH else max(ENOUGH, len(nodes) * max(5, 50 - len(nodes) // 125) // 100)
        start = self._next_node % len(nodes)
        found: list[NodeFacts] = []
        promised = self._known.nodes.get(wish.pod.nominated)
        if promised is not None and misfit(wish, promised, self._known) is None:
            return [promised]
        for at in range(len(nodes)):
            node = nodes[start - len(nodes) + at]
            why = misfit(wish, node, self._known)
            if why is not None:
                misfits[node.name] = why
                continue
            found.append(node)
            if len(found) >= enough:
                self._next_node = start + at + 1
                break
        return found

    async def _bind(self, client: Client, facts: PodFacts, found: Found, node: str, waiting: list[str]) -> None:
        pod = found[1]
        try:
            for name in waiting:
                await client.update(CLAIMS, facts.namespace, name, lambda claim: _selected(claim, node), NAME)
            text = f"Successfully assigned {facts.namespace}/{facts.name} to {node}"
            done = await client.update(
                PODS,
                facts.namespace,
                facts.name,
                lambda obj: bound(obj, node, client.clock.now()),
                NAME,
                "binding",
                lambda: event_of(client, pod, "Normal", "Scheduled", text, NAME),
                found,
            )
        except BaseException:
            self._known.remove(facts.key)
            raise
        if done is None:
            # Gone, or somebody else has bound it.
            self._known.remove(facts.key)
            self._learn(client, facts.key)

    async def _refuse(
        self,
        client: Client,
        facts: PodFacts,
        wish: Wish | None,
        misfits: dict[str, Misfit],
        refused: str,
    ) -> None:
        candidate: Candidate | None = None
        after = ""
        total = len(self._known.nodes)
        if total:
            after = refusal(facts, self._known)
            if not after:
                reasons = {NOT_HELPFUL: total}
                if wish is not None:
                    candidate, reasons = preempt(wish, misfits, self._known, _budgets(client))
                after = f"0/{total} nodes are available: {_counted(reasons)}."
        text = _told(total, misfits, refused, "" if candidate is not None else after)
        if candidate is not None:
            facts.nominated = candidate.node
            self._known.nominated[facts.key] = facts
        if candidate is None:
            self._telling.put(client, facts.key, text)
        else:
            await tell(client, facts.key, text, NAME, candidate.node)
            await asyncio.gather(*(_evict(client, victim, facts, candidate.node) for victim in candidate.victims))


def _is_like(known: PodFacts, seen: Seen) -> bool:
    """Whether a pod that is placed is still what it was to others."""
    after, entry = seen.after, seen.event.entry
    if after is None or entry is None or known.deleting != after.deleting or known.labels != after.labels:
        return False
    return b'"phase":"Succeeded"' not in entry.value and b'"phase":"Failed"' not in entry.value


def _told(total: int, misfits: dict[str, Misfit], refused: str, preemption: str) -> str:
    """Why it is nowhere, as the original says it."""
    if not total:
        return "no nodes available to schedule pods"
    reasons: dict[str, int] = {}
    for why in misfits.values():
        for reason in why.reasons:
            reasons[reason] = reasons.get(reason, 0) + 1
    text = f"0/{total} nodes are available: {refused or _counted(reasons)}."
    return f"{text} no new claims to deallocate, preemption: {preemption}" if preemption else text


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))


def _budgets(client: Client) -> list[Budget]:
    found = []
    for one in client.objects.all(BUDGETS):
        selector = from_object((one.get("spec") or {}).get("selector"))
        if selector:
            allowed = int((one.get("status") or {}).get("disruptionsAllowed") or 0)
            found.append(Budget(one["metadata"]["namespace"], selector, allowed))
    return found


async def _evict(client: Client, victim: PodFacts, for_: PodFacts, node: str) -> None:
    """Ends a pod for one that is more important."""
    message = f"{NAME}: preempting to accommodate a higher priority pod"
    made = disruption("PreemptionByScheduler", message, client.clock.now())
    text = f"Preempted by pod {for_.uid} on node {node}"
    pod = client.by_key(victim.key)
    if pod is None or pod["metadata"]["uid"] != victim.uid or victim.deleting:
        return
    await client.update(
        PODS,
        victim.namespace,
        victim.name,
        lambda obj: with_condition(obj, made),
        NAME,
        "status",
        lambda: event_of(client, pod, "Normal", "Preempted", text, NAME),
    )
    await client.delete(PODS, victim.namespace, victim.name, NAME, uid=victim.uid)


def _selected(claim: Object, node: str) -> Object:
    annotations = {**(claim["metadata"].get("annotations") or {}), SELECTED: node}
    return {**claim, "metadata": {**claim["metadata"], "annotations": annotations}}


def bound(pod: Object, node: str, now: float) -> Object | None:
    """The pod on its node; None when it is on one."""
    if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return None
    moment = timestamp(now)
    made = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
    changed = with_condition(pod, made)
    changed["status"].pop("nominatedNodeName", None)
    return {**changed, "spec": {**pod["spec"], "nodeName": node}}
