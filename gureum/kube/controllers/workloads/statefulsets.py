"""StatefulSets: pods with numbers, each with its name and its claims, made and ended in order.

Source: Kubernetes, "StatefulSets"; k8s.io/kubernetes/pkg/controller/statefulset.
"""

from __future__ import annotations

import re

from gureum.base.numerals import natural
from gureum.kube.controllers.client import Client, owner_reference
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, its_controller, itself
from gureum.kube.controllers.workloads.pods import PODS, available_in, copied, is_ready, phase, pod_of
from gureum.kube.controllers.workloads.revised import RevisedSet, reconciler
from gureum.kube.controllers.workloads.revisions import LABEL, Revisions, label_of
from gureum.kube.objects import Object

SETS, CLAIMS = "apps/statefulsets", "core/persistentvolumeclaims"
NAME = "statefulset-controller"
POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"
_NUMBER = re.compile(r"(.*)-(\d+)")


class _Set(RevisedSet):
    """One look at a set and its pods."""

    def __init__(self, client: Client, owner: Object, pods: list[Object], revisions: Revisions) -> None:
        super().__init__(client, owner, pods, revisions)
        self._first = int((self._spec.get("ordinals") or {}).get("start") or 0)
        self._wished = range(self._first, self._first + int(self._spec.get("replicas", 1)))
        self._in_order = self._spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        status = owner.get("status") or {}
        known = {one["metadata"]["name"] for one in revisions.known}
        before = status.get("currentRevision", "")
        self.current_name = before if before in known else self._new

    @property
    def in_use(self) -> set[str]:
        return {self.current_name}

    def _by_number(self) -> dict[int, Object]:
        found = {}
        for pod in self.pods:
            match = _NUMBER.fullmatch(pod["metadata"]["name"])
            if match and match[1] == self._meta["name"]:
                found[int(match[2])] = pod
        return found

    async def act(self) -> None:
        """The next steps; with pods in order one that waits holds up all behind it."""
        by_number = self._by_number()
        await self._claims_of_the_gone(by_number)
        for number in self._wished:
            pod = by_number.get(number)
            if pod is None:
                await self._make(number)
                if self._in_order:
                    return
            elif phase(pod) in ("Failed", "Succeeded") and not pod["metadata"].get("deletionTimestamp"):
                await self._end(
                    pod, f"delete Pod {pod['metadata']['name']} in StatefulSet {self._meta['name']} successful"
                )
                if self._in_order:
                    return
            elif self._in_order and not self._is_up(pod):
                return
        surplus = sorted((number for number in by_number if number not in self._wished), reverse=True)
        for number in surplus:
            pod = by_number[number]
            if not pod["metadata"].get("deletionTimestamp"):
                await self._end(
                    pod, f"delete Pod {pod['metadata']['name']} in StatefulSet {self._meta['name']} successful"
                )
            if self._in_order:
                return
        if not surplus:
            await self._roll(by_number)

    def _is_up(self, pod: Object) -> bool:
        return phase(pod) == "Running" and self._is_available(pod)

    async def _roll(self, by_number: dict[int, Object]) -> None:
        """From the highest number down, one at a time, to the new revision."""
        strategy = self._spec.get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        for number in sorted(by_number, reverse=True):
            pod = by_number[number]
            if number < partition:
                return
            if pod["metadata"].get("deletionTimestamp"):
                return
            if self._revisions.name_of(pod) != self._new:
                await self._end(
                    pod, f"delete Pod {pod['metadata']['name']} in StatefulSet {self._meta['name']} successful"
                )
                return
            if not self._is_up(pod):
                return

    async def _make(self, number: int) -> None:
        strategy = self._spec.get("updateStrategy") or {}
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        old = next((one for one in self._revisions.known if label_of(one) == self.current_name), None)
        rolls = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        revision = old if old is not None and rolls and number < partition else self._revisions.current
        template = {name: one for name, one in revision["data"]["spec"]["template"].items() if name != "$patch"}
        name = f"{self._meta['name']}-{number}"
        pod = pod_of(template, self._owner, name)
        pod["metadata"].setdefault("labels", {}).update(
            {POD_NAME: name, POD_INDEX: str(number), LABEL: label_of(revision)}
        )
        spec = pod["spec"]
        spec["hostname"] = name
        if self._spec.get("serviceName"):
            spec["subdomain"] = self._spec["serviceName"]
        await self._claims(number, spec)
        made = await self._client.create(PODS, pod, NAME)
        self.pods.append(made)
        text = f"create Pod {name} in StatefulSet {self._meta['name']} successful"
        record(self._client, self._owner, "Normal", "SuccessfulCreate", text, NAME)

    async def _claims(self, number: int, spec: Object) -> None:
        """The claims of a number: made once, and taken again by each pod of that number."""
        volumes = [*(spec.get("volumes") or ())]
        for template in self._spec.get("volumeClaimTemplates") or ():
            short = template["metadata"]["name"]
            name = self._claim_name(short, number)
            volumes = [one for one in volumes if one.get("name") != short]
            volumes.append({"name": short, "persistentVolumeClaim": {"claimName": name}})
            if self._client.get(CLAIMS, self._meta["namespace"], name) is None:
                wanted = {key: copied(one) for key, one in template.items() if key in ("metadata", "spec")}
                labels = {
                    **((wanted["metadata"].get("labels")) or {}),
                    **(self._spec["selector"].get("matchLabels") or {}),
                }
                wanted["metadata"] |= {"name": name, "namespace": self._meta["namespace"], "labels": labels}
                if self._retention("whenDeleted") == "Delete":
                    wanted["metadata"]["ownerReferences"] = [owner_reference(self._owner)]
                await self._client.create(CLAIMS, wanted, NAME)
                text = (
                    f"create Claim {name} Pod {self._meta['name']}-{number} in StatefulSet {self._meta['name']} success"
                )
                record(self._client, self._owner, "Normal", "SuccessfulCreate", text, NAME)
        if volumes:
            spec["volumes"] = volumes

    async def _claims_of_the_gone(self, by_number: dict[int, Object]) -> None:
        """Claims of numbers that are wished no more go, where the set says so."""
        if self._retention("whenScaled") != "Delete":
            return
        for template in self._spec.get("volumeClaimTemplates") or ():
            prefix = self._claim_name(template["metadata"]["name"], 0)[:-1]
            for one in self._client.objects.all(CLAIMS, self._meta["namespace"]):
                name = one["metadata"]["name"]
                number = natural(name.removeprefix(prefix)) if name.startswith(prefix) else None
                if number is None:
                    continue
                if number not in self._wished and number not in by_number:
                    await self._client.delete(CLAIMS, self._meta["namespace"], name, NAME, uid=one["metadata"]["uid"])

    def _claim_name(self, short: str, number: int) -> str:
        return f"{short}-{self._meta['name']}-{number}"

    def _retention(self, when: str) -> str:
        return str((self._spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(when, "Retain"))

    async def _end(self, pod: Object, text: str) -> None:
        metadata = pod["metadata"]
        await self._client.delete(PODS, metadata["namespace"], metadata["name"], NAME, uid=metadata["uid"])
        record(self._client, self._owner, "Normal", "SuccessfulDelete", text, NAME)

    async def tell(self) -> float | None:
        """Writes the status; in how many seconds a pod will have been ready for long enough."""
        pods = list(self._by_number().values())
        now = self._client.clock.now()
        waits = [available_in(pod, self._min_ready_s, now) for pod in pods]
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        updated = sum(self._revisions.name_of(pod) == self._new for pod in alive)
        ready = sum(is_ready(pod) for pod in pods)
        current = self.current_name
        if updated == len(self._wished) == ready == len(pods):
            current = self._new  # the way is gone
        status: Object = {
            "observedGeneration": self._meta.get("generation", 1),
            "replicas": len(pods),
            "readyReplicas": ready,
            "currentReplicas": sum(self._revisions.name_of(pod) == current for pod in alive),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": self._new,
            "collisionCount": 0,
            "availableReplicas": sum(wait == 0 for wait in waits),
        }
        kept = ("replicas", "availableReplicas", "collisionCount", "observedGeneration")
        status = {name: value for name, value in status.items() if value or name in kept}
        await self._set_status(SETS, status, NAME)
        self.current_name = current
        later = [wait for wait in waits if wait]
        return min(later) if later else None


CONTROLLER = Controller(
    "statefulset", {SETS: itself, PODS: its_controller("StatefulSet")}, reconciler(SETS, _Set, NAME)
)
