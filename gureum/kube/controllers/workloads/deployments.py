"""Deployments: a ReplicaSet per revision of the template, and the way from one to the next.

Source: Kubernetes, "Deployments"; k8s.io/kubernetes/pkg/controller/deployment.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.controllers.client import Client, owner_reference
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, its_controller, itself
from gureum.kube.controllers.workloads.deployment_status import Seen, is_complete, status_of
from gureum.kube.controllers.workloads.pods import HASH, PODS, claim, copied, count, is_active
from gureum.kube.controllers.workloads.replica_set_facts import (
    REVISION,
    available_of,
    hash_of,
    replicas_of,
    revision_of,
    status_number,
    template_of,
)
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.selectors import from_object

DEPLOYMENTS, SETS = "apps/deployments", "apps/replicasets"
NAME = "deployment-controller"
PREFIX = "deployment.kubernetes.io/"
DESIRED, MAXIMUM = f"{PREFIX}desired-replicas", f"{PREFIX}max-replicas"
REVISION_HISTORY = f"{PREFIX}revision-history"
_OWN = frozenset({REVISION, DESIRED, MAXIMUM, REVISION_HISTORY, "kubectl.kubernetes.io/last-applied-configuration"})


async def reconcile(client: Client, key: str) -> float | None:
    namespace, _, name = key.partition("/")
    deployment = client.get(DEPLOYMENTS, namespace, name)
    if deployment is None:
        return None
    selector = from_object(deployment["spec"]["selector"]) or ()
    sets = await claim(client, deployment, SETS, selector, NAME)
    one = _Deployment(client, deployment, sets)
    if not deployment["metadata"].get("deletionTimestamp"):
        await one.roll()
    return await one.tell()


class _Deployment:
    """One look at a deployment and its sets."""

    def __init__(self, client: Client, deployment: Object, sets: list[Object]) -> None:
        self._client = client
        self._obj = deployment
        self._spec: Object = deployment["spec"]
        self._wished = int(self._spec.get("replicas", 1))
        self._sets = sorted(sets, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
        self._new = next((one for one in self._sets if template_of(one) == template_of(deployment)), None)
        self._paused = bool(self._spec.get("paused"))

    @property
    def _old(self) -> list[Object]:
        return [one for one in self._sets if one is not self._new]

    async def roll(self) -> None:
        if self._paused or await self._resize_when_asked():
            await self._scale_in_proportion()
            return
        if self._new is None:
            recreate = self._spec["strategy"]["type"] == "Recreate"
            if recreate and (await self._scale_down_all() or self._old_pods_left()):
                return
            await self._make_new()
        else:
            await self._number_new()
        if self._spec["strategy"]["type"] == "Recreate":
            if await self._scale_down_all() or self._old_pods_left():
                return
            await self._scale(self._current_new(), self._wished)
        else:
            await self._roll_up()
            await self._roll_down()
        if is_complete(self._seen()):
            await self._forget_oldest()

    # The new set

    async def _make_new(self) -> None:
        revision = max([0, *(revision_of(one) for one in self._sets)]) + 1
        template = copied(self._spec["template"])
        for _ in range(10):
            hash_ = hash_of(template_of(self._obj), (self._obj.get("status") or {}).get("collisionCount") or 0)
            template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = hash_
            selector = copied(self._spec["selector"])
            selector.setdefault("matchLabels", {})[HASH] = hash_
            first = 0 if self._spec["strategy"]["type"] == "Recreate" else self._room_for_new(0)
            made = {
                "metadata": {
                    "name": f"{self._obj['metadata']['name']}-{hash_}",
                    "namespace": self._obj["metadata"]["namespace"],
                    "labels": template["metadata"]["labels"],
                    "annotations": self._annotations(str(revision)),
                    "ownerReferences": [owner_reference(self._obj)],
                },
                "spec": {"replicas": first, "selector": selector, "template": template},
            }
            if self._spec.get("minReadySeconds"):
                made["spec"]["minReadySeconds"] = self._spec["minReadySeconds"]
            try:
                self._new = await self._client.create(SETS, made, NAME)
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                await self._count_collision()
                continue
            self._sets.append(self._new)
            if first:
                self._tell_scaled("up", self._new, 0, first)
            await self._note_revision(str(revision))
            return

    async def _count_collision(self) -> None:
        status = {**(self._obj.get("status") or {})}
        status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
        self._obj = {**self._obj, "status": status}
        await self._client.set_status(DEPLOYMENTS, *self._place, status, NAME, self._obj["metadata"]["uid"])

    async def _number_new(self) -> None:
        """The new set has the highest revision, also after a roll back to an old template."""
        new = self._current_new()
        highest = max([0, *(revision_of(one) for one in self._old)])
        revision = str(max(revision_of(new), highest + 1))
        wanted = self._annotations(revision)
        known = new["metadata"].get("annotations") or {}
        if any(known.get(name) != value for name, value in wanted.items()):
            if known.get(REVISION, revision) != revision:
                history = [*filter(None, known.get(REVISION_HISTORY, "").split(",")), known[REVISION]]
                wanted[REVISION_HISTORY] = ",".join(history[-20:])
            self._replace_set(await self._annotate(new, {**known, **wanted}))
        await self._note_revision(revision)

    async def _note_revision(self, revision: str) -> None:
        def change(obj: Object) -> Object | None:
            annotations = obj["metadata"].get("annotations") or {}
            if annotations.get(REVISION) == revision:
                return None
            return {**obj, "metadata": {**obj["metadata"], "annotations": {**annotations, REVISION: revision}}}

        changed = await self._client.update(DEPLOYMENTS, *self._place, change, NAME)
        if changed is not None:
            self._obj = {**self._obj, "metadata": changed["metadata"]}

    def _annotations(self, revision: str) -> dict[str, str]:
        own = self._obj["metadata"].get("annotations") or {}
        found = {name: value for name, value in own.items() if name not in _OWN}
        return found | {REVISION: revision, **self._sizes()}

    def _sizes(self) -> dict[str, str]:
        return {DESIRED: str(self._wished), MAXIMUM: str(self._wished + self._surge())}

    async def _annotate(self, one: Object, annotations: dict[str, str]) -> Object | None:
        def change(obj: Object) -> Object:
            return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}

        return await self._client.update(SETS, one["metadata"]["namespace"], one["metadata"]["name"], change, NAME)

    # How many where

    def _surge(self) -> int:
        rolling = (self._spec.get("strategy") or {}).get("rollingUpdate") or {}
        return count(rolling.get("maxSurge"), self._wished, up=True)

    def _unavailable(self) -> int:
        rolling = (self._spec.get("strategy") or {}).get("rollingUpdate") or {}
        allowed = count(rolling.get("maxUnavailable"), self._wished, up=False)
        if not allowed and not self._surge():
            allowed = 1
        return min(allowed, self._wished)

    def _room_for_new(self, has: int) -> int:
        total = sum(replicas_of(one) for one in self._sets)
        room = self._wished + self._surge() - total
        return min(has + max(room, 0), self._wished) if room > 0 else has

    async def _roll_up(self) -> None:
        new = self._current_new()
        has = replicas_of(new)
        if has > self._wished:
            await self._scale(new, self._wished)
        elif has < self._wished:
            await self._scale(new, self._room_for_new(has))

    async def _roll_down(self) -> None:
        old = [one for one in self._old if replicas_of(one)]
        if not old:
            return
        new = self._current_new()
        total = sum(replicas_of(one) for one in self._sets)
        least = self._wished - self._unavailable()
        unready_new = replicas_of(new) - available_of(new)
        most = total - least - unready_new
        if most <= 0:
            return
        # First those that do no work, then others as far as enough stay available.
        for one in old:
            broken = min(most, replicas_of(one) - available_of(one))
            if broken > 0:
                await self._scale(one, replicas_of(one) - broken)
                most -= broken
        spare = sum(available_of(one) for one in self._sets) - least
        for one in [one for one in self._old if replicas_of(one)]:
            gone = min(replicas_of(one), spare)
            if gone > 0:
                await self._scale(one, replicas_of(one) - gone)
                spare -= gone

    async def _scale_down_all(self) -> bool:
        scaled = False
        for one in [one for one in self._old if replicas_of(one)]:
            await self._scale(one, 0)
            scaled = True
        return scaled

    def _old_pods_left(self) -> bool:
        for one in self._old:
            pods = self._client.many(self._client.index.dependents(one["metadata"]["uid"], PODS))
            if any(is_active(pod) or pod["metadata"].get("deletionTimestamp") for pod in pods):
                return True
        return False

    async def _resize_when_asked(self) -> bool:
        """Whether the deployment was scaled while it rolls: then all sets change in proportion."""
        for one in self._sets:
            desired = (one["metadata"].get("annotations") or {}).get(DESIRED)
            if replicas_of(one) and desired is not None and desired != str(self._wished):
                return self._new is not None
        return False

    async def _scale_in_proportion(self) -> None:
        active = [one for one in self._sets if replicas_of(one)]
        if len(active) <= 1:
            one = active[0] if active else self._new
            if one is not None:
                await self._scale(one, self._wished)
            return
        if self._new is not None and replicas_of(self._new) == available_of(self._new) == self._wished:
            await self._scale_down_all()
            return
        total = sum(replicas_of(one) for one in active)
        allowed = self._wished + self._surge()
        left = allowed - total
        order = sorted(active, key=replicas_of, reverse=True)
        for one in order:
            before = int((one["metadata"].get("annotations") or {}).get(MAXIMUM) or total) or 1
            share = round(replicas_of(one) * allowed / before) - replicas_of(one)
            share = max(min(share, left), 0) if left > 0 else min(max(share, left), 0)
            left -= share
            await self._scale(one, replicas_of(one) + share)
        if left and order:
            first = next(each for each in self._sets if each["metadata"]["name"] == order[0]["metadata"]["name"])
            await self._scale(first, max(0, replicas_of(first) + left))

    async def _scale(self, one: Object, replicas: int) -> None:
        sizes = self._sizes()
        before = replicas_of(one)

        def change(obj: Object) -> Object:
            metadata = {**obj["metadata"], "annotations": {**(obj["metadata"].get("annotations") or {}), **sizes}}
            return {**obj, "metadata": metadata, "spec": {**obj["spec"], "replicas": replicas}}

        annotations = one["metadata"].get("annotations") or {}
        if replicas == before and all(annotations.get(name) == value for name, value in sizes.items()):
            return
        changed = await self._client.update(SETS, one["metadata"]["namespace"], one["metadata"]["name"], change, NAME)
        self._replace_set(changed)
        if replicas != before:
            self._tell_scaled("up" if replicas > before else "down", one, before, replicas)

    def _tell_scaled(self, way: str, one: Object, before: int, after: int) -> None:
        text = f"Scaled {way} replica set {one['metadata']['name']} from {before} to {after}"
        record(self._client, self._obj, "Normal", "ScalingReplicaSet", text, NAME)

    def _replace_set(self, changed: Object | None) -> None:
        if changed is None:
            return
        name = changed["metadata"]["name"]
        was_new = self._new is not None and self._new["metadata"]["name"] == name
        self._sets = [changed if one["metadata"]["name"] == name else one for one in self._sets]
        if was_new:
            self._new = changed

    def _current_new(self) -> Object:
        assert self._new is not None
        return self._new

    # What is told

    async def _forget_oldest(self) -> None:
        limit = self._spec.get("revisionHistoryLimit", 10)
        idle = [one for one in self._old if not replicas_of(one) and not status_number(one, "replicas")]
        idle = [one for one in idle if not one["metadata"].get("deletionTimestamp")]
        for one in sorted(idle, key=revision_of)[: max(0, len(idle) - limit)]:
            await self._client.delete(SETS, one["metadata"]["namespace"], one["metadata"]["name"], NAME)

    async def tell(self) -> float | None:
        now = self._client.clock.now()
        status, again = status_of(self._seen(), now)
        await self._client.set_status(DEPLOYMENTS, *self._place, status, NAME, self._obj["metadata"]["uid"])
        return again

    def _seen(self) -> Seen:
        return Seen(self._obj, self._sets, self._new, self._wished, self._unavailable(), self._paused)

    @property
    def _place(self) -> tuple[str, str]:
        return self._obj["metadata"]["namespace"], self._obj["metadata"]["name"]


def _pods_deployment(seen: Any) -> list[str]:
    """Recreate waits for the last pod of the old sets to be gone."""
    owner = seen.facts.controller
    if seen.after is not None or owner is None or owner.kind != "ReplicaSet":
        return []
    return [f"{seen.place.namespace}/{owner.name.rpartition('-')[0]}"]


CONTROLLER = Controller(
    "deployment",
    {DEPLOYMENTS: itself, SETS: its_controller("Deployment"), PODS: _pods_deployment},
    reconcile,
)
