"""Jobs: pods that run to their end, as often as wished.

A pod that has ended is counted once, also when it is deleted: it keeps a finalizer until its end stands in the job's status, where its
uid is noted until the finalizer is gone. Source: Kubernetes, "Jobs"; k8s.io/kubernetes/pkg/controller/job.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from gureum.base.numerals import natural
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, its_controller, itself
from gureum.kube.controllers.workloads.job_policies import (
    COUNT,
    FAILURES,
    IGNORE,
    Judged,
    ends_index,
    failed_by_indexes,
    failures,
    judge,
    success_rule,
)
from gureum.kube.controllers.workloads.pods import PODS, claim, deletion_rank, is_active, is_ready, phase, pod_of
from gureum.kube.objects import Object
from gureum.kube.selectors import from_object
from gureum.kube.times import seconds_of, timestamp

JOBS = "batch/jobs"
NAME = "job-controller"
TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_DELAY_S, LONGEST_DELAY_S = 10, 600
BATCH = 500
MOST_INDEXES = 1_000_000
"""That are told apart of what a status says: it is text that users may write, too."""


async def reconcile(client: Client, key: str) -> float | None:
    namespace, _, name = key.partition("/")
    job = client.get(JOBS, namespace, name)
    if job is None:
        await _release_orphans(client, namespace, name)
        return None
    if job["spec"].get("managedBy") not in (None, "kubernetes.io/job-controller"):
        return None
    pods = await claim(client, job, PODS, from_object(job["spec"].get("selector")) or (), NAME)
    look = _Job(client, job, pods)
    return await look.work()


async def _release_orphans(client: Client, namespace: str, name: str) -> None:
    """Pods of a job that is gone are counted by nobody any more: they may go, too."""
    prefix = client.objects.prefix(PODS, namespace)
    for key, facts in list(client.index.facts.items()):
        owner = facts.controller
        if (
            key.startswith(prefix)
            and TRACKING in facts.finalizers
            and owner
            and (owner.kind, owner.name) == ("Job", name)
        ):
            await client.update(*client.objects.place(key), _untracked, NAME)


class _Job:
    """One look at a job and its pods."""

    def __init__(self, client: Client, job: Object, pods: list[Object]) -> None:
        self._client = client
        self._job = job
        self._spec: Object = job["spec"]
        self._meta: Object = job["metadata"]
        self._pods = pods
        self._now = client.clock.now()
        self._status: Object = {**(job.get("status") or {})}
        self._conditions: list[Object] = [dict(one) for one in self._status.get("conditions") or ()]
        self._indexed = self._spec.get("completionMode") == "Indexed"
        self._failed_indexes = _numbers(self._status.get("failedIndexes", ""))
        self._ignored: set[str] = set()
        self._fails = ""

    def _has(self, type_: str) -> bool:
        return any(one["type"] == type_ and one["status"] == "True" for one in self._conditions)

    async def work(self) -> float | None:
        if self._has("Complete") or self._has("Failed"):
            await self._release()
            await self._settle()
            return await self._forget_late()
        if self._meta.get("deletionTimestamp"):
            await self._release()
            return None
        self._count_ended()
        suspended = bool(self._spec.get("suspend"))
        if "startTime" not in self._status and not suspended:
            self._status["startTime"] = timestamp(self._now)
        active = [pod for pod in self._pods if is_active(pod)]
        ended = self._verdict(active)
        again: float | None = None
        if ended is not None:
            await self._end_all(active, ended)
            active = []
        elif suspended:
            await self._suspend(active)
            active = []
        else:
            self._resume()
            again = await self._scale(active)
            active = [pod for pod in self._pods if is_active(pod)]
        await self._tell(active)
        await self._release()
        if self._has("Complete") or self._has("Failed"):
            return await self._forget_late()
        deadline = self._deadline()
        waits = [one for one in (again, deadline) if one is not None]
        return min(waits) if waits else None

    # Counting

    def _count_ended(self) -> None:
        noted = self._status.get("uncountedTerminatedPods") or {}
        succeeded, failed = set(noted.get("succeeded") or ()), set(noted.get("failed") or ())
        uids = {pod["metadata"]["uid"] for pod in self._pods if TRACKING in (pod["metadata"].get("finalizers") or ())}
        for pod in self._pods:
            uid = pod["metadata"]["uid"]
            if uid not in uids or uid in succeeded or uid in failed:
                continue
            if phase(pod) == "Succeeded":
                succeeded.add(uid)
                self._status["succeeded"] = self._status.get("succeeded", 0) + self._completes(pod)
            elif phase(pod) == "Failed" or pod["metadata"].get("deletionTimestamp"):
                if phase(pod) != "Failed" and self._spec.get("podReplacementPolicy") == "Failed":
                    continue
                judged = judge(self._spec, pod) if phase(pod) == "Failed" else Judged(COUNT)
                if judged.action == IGNORE:
                    self._ignored.add(uid)
                    continue
                self._fails = self._fails or judged.message
                if self._indexed and ends_index(self._spec, pod, judged):
                    self._failed_indexes.add(_index(pod))
                    self._status["failedIndexes"] = _ranges(self._failed_indexes)
                failed.add(uid)
                self._status["failed"] = self._status.get("failed", 0) + 1
        # Those without the finalizer are counted for good.
        left: Object = {}
        for name, found in (("succeeded", succeeded), ("failed", failed)):
            if found & uids:
                left[name] = sorted(found & uids)
        self._status["uncountedTerminatedPods"] = left

    def _completes(self, pod: Object) -> bool:
        """Whether its success brings the job nearer its end: of an indexed one, that of a number which none had completed."""
        if not self._indexed:
            return True
        index, done = _index(pod), _numbers(self._status.get("completedIndexes", ""))
        if not 0 <= index < int(self._spec.get("completions") or 0) or index in done:
            return False
        self._status["completedIndexes"] = _ranges(done | {index})
        return True

    async def _release(self) -> None:
        """Lets go of the pods whose end is counted; after the job's own end, of all that have ended."""
        noted = self._status.get("uncountedTerminatedPods") or {}
        counted = {*(noted.get("succeeded") or ()), *(noted.get("failed") or ()), *self._ignored}
        over = self._has("Complete") or self._has("Failed") or bool(self._meta.get("deletionTimestamp"))
        for pod in self._pods:
            metadata = pod["metadata"]
            if TRACKING not in (metadata.get("finalizers") or ()):
                continue
            if metadata["uid"] in counted or over:
                await self._client.update(PODS, metadata["namespace"], metadata["name"], _untracked, NAME)

    async def _settle(self) -> None:
        """After the job's own end, once nobody is tracked any more, nothing stands in its status as still to be let go."""
        tracked = any(TRACKING in (pod["metadata"].get("finalizers") or ()) for pod in self._pods)
        if self._status.get("uncountedTerminatedPods") and not tracked:
            await self._write({**self._status, "uncountedTerminatedPods": {}})

    # Verdict

    def _verdict(self, active: list[Object]) -> Object | None:
        """The condition by which the job ends; None while it goes on."""
        failed, succeeded = self._status.get("failed", 0), self._status.get("succeeded", 0)
        wished = self._spec.get("completions")
        restarts = sum(_restarts(pod) for pod in active) if self._restarts_in_place() else 0
        limit = int(self._spec.get("backoffLimit", 6))
        if self._fails:
            return _condition("Failed", "PodFailurePolicy", self._fails, self._now)
        if failed > limit or (restarts and restarts > limit):
            return _condition(
                "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit", self._now
            )
        if self._deadline() == 0:
            return _condition("Failed", "DeadlineExceeded", "Job was active longer than specified deadline", self._now)
        if self._indexed:
            through = _numbers(self._status.get("completedIndexes", ""))
            lost = failed_by_indexes(self._spec, len(through), len(self._failed_indexes))
            if lost is not None:
                return _condition("Failed", *lost, self._now)
            met = success_rule(self._spec, through, _numbers)
            if met is not None:
                return _condition("Complete", "SuccessPolicy", f"Matched rules at index {met}", self._now)
        if wished is None:
            done = succeeded > 0 and not active
        else:
            done = succeeded >= wished
        return (
            _condition("Complete", "CompletionsReached", "Reached expected number of succeeded pods", self._now)
            if done
            else None
        )

    def _restarts_in_place(self) -> bool:
        return (self._spec["template"].get("spec") or {}).get("restartPolicy") == "OnFailure"

    def _deadline(self) -> float | None:
        """In how many seconds the job has to be through; 0 when it had to."""
        limit, start = self._spec.get("activeDeadlineSeconds"), self._status.get("startTime")
        if limit is None or not start or self._spec.get("suspend"):
            return None
        return max(0.0, seconds_of(start) + float(limit) - self._now)

    async def _end_all(self, active: list[Object], verdict: Object) -> None:
        await asyncio.gather(*(self._delete(pod) for pod in active))
        for pod in active:
            noted = self._status["uncountedTerminatedPods"]
            noted.setdefault("failed", []).append(pod["metadata"]["uid"])
            self._status["failed"] = self._status.get("failed", 0) + (verdict["type"] == "Failed")
        first = "SuccessCriteriaMet" if verdict["type"] == "Complete" else "FailureTarget"
        self._conditions += [{**verdict, "type": first}, verdict]
        if verdict["type"] == "Complete":
            self._status["completionTime"] = timestamp(self._now)
            record(self._client, self._job, "Normal", "Completed", "Job completed", NAME)
        else:
            record(self._client, self._job, "Warning", verdict["reason"], verdict["message"], NAME)

    async def _suspend(self, active: list[Object]) -> None:
        await asyncio.gather(*(self._delete(pod) for pod in active))
        if not self._has("Suspended"):
            self._set_condition(_condition("Suspended", "JobSuspended", "Job suspended", self._now))
            record(self._client, self._job, "Normal", "Suspended", "Job suspended", NAME)
        self._status.pop("startTime", None)

    def _resume(self) -> None:
        if self._has("Suspended"):
            self._set_condition({**_condition("Suspended", "JobResumed", "Job resumed", self._now), "status": "False"})
            record(self._client, self._job, "Normal", "Resumed", "Job resumed", NAME)

    def _set_condition(self, condition: Object) -> None:
        self._conditions = [one for one in self._conditions if one["type"] != condition["type"]] + [condition]

    # Pods

    async def _scale(self, active: list[Object]) -> float | None:
        parallelism, wished = int(self._spec.get("parallelism", 1)), self._spec.get("completions")
        succeeded = self._status.get("succeeded", 0)
        if wished is None:
            target = len(active) if succeeded else parallelism
        else:
            target = min(parallelism, wished - succeeded - len(self._failed_indexes))
        if len(active) > target:
            surplus = sorted(active, key=deletion_rank)[: len(active) - target]
            await asyncio.gather(*(self._delete(pod) for pod in surplus))
            return None
        missing = min(target - len(active), BATCH)
        if missing <= 0:
            return None
        each = self._spec.get("backoffLimitPerIndex") is not None
        failed = [pod for pod in self._pods if phase(pod) == "Failed"]
        wait = 0.0 if each else self._back_off(failed)
        if wait > 0:
            return wait
        indexes: list[int | None] = [None] * missing
        if self._indexed:
            taken = _numbers(self._status.get("completedIndexes", "")) | {_index(pod) for pod in active}
            taken |= self._failed_indexes
            waits = self._waits(failed) if each else {}
            free = (number for number in range(int(wished or 0)) if number not in taken and number not in waits)
            indexes = list[int | None](itertools.islice(free, missing))
            wait = min(waits.values(), default=0.0)
        made = await asyncio.gather(*(self._make(index) for index in indexes), return_exceptions=True)
        self._pods += [one for one in made if isinstance(one, dict)]
        for one in made:
            if isinstance(one, BaseException):
                raise one
        return wait or None

    def _waits(self, failed: list[Object]) -> dict[int, float]:
        """In how many seconds which index may be tried again, where each waits for itself."""
        by_index: dict[int, list[Object]] = {}
        for pod in failed:
            by_index.setdefault(_index(pod), []).append(pod)
        found = {index: self._back_off(pods) for index, pods in by_index.items() if index not in self._failed_indexes}
        return {index: wait for index, wait in found.items() if wait > 0}

    def _back_off(self, failed: list[Object]) -> float:
        """After each failure in a row the next pod waits for longer."""
        ends = sorted(_ended_at(pod) for pod in failed)
        if not ends or not self._status.get("failed"):
            return 0
        delay: float = min(FIRST_DELAY_S * 2 ** (min(len(ends), 16) - 1), LONGEST_DELAY_S)
        return max(0.0, ends[-1] + delay - self._now)

    async def _make(self, index: int | None) -> Object:
        pod = pod_of(self._spec["template"], self._job)
        metadata = pod["metadata"]
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), TRACKING]
        if index is not None:
            metadata["generateName"] = f"{self._meta['name']}-{index}-"
            metadata.setdefault("annotations", {})[INDEX] = str(index)
            metadata.setdefault("labels", {})[INDEX] = str(index)
            if self._spec.get("backoffLimitPerIndex") is not None:
                metadata["annotations"][FAILURES] = str(self._failedof(index))
            pod["spec"]["hostname"] = f"{self._meta['name']}-{index}"
            variable = {"name": "JOB_COMPLETION_INDEX", "value": str(index)}
            for one in [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]:
                one["env"] = [*(one.get("env") or ()), variable]
        made = await self._client.create(PODS, pod, NAME)
        record(self._client, self._job, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}", NAME)
        return made

    async def _delete(self, pod: Object) -> None:
        metadata = pod["metadata"]
        await self._client.delete(PODS, metadata["namespace"], metadata["name"], NAME, uid=metadata["uid"])
        record(self._client, self._job, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}", NAME)

    def _failedof(self, index: int) -> int:
        """How often an index has failed."""
        ended = [pod for pod in self._pods if _index(pod) == index and phase(pod) == "Failed"]
        counts = (failures(pod) + (judge(self._spec, pod).action != IGNORE) for pod in ended)
        return max(counts, default=0)

    # Status and end

    async def _tell(self, active: list[Object]) -> None:
        status = self._status
        status["active"] = len(active)
        status["ready"] = sum(is_ready(pod) for pod in active)
        status["terminating"] = sum(bool(pod["metadata"].get("deletionTimestamp")) for pod in self._pods)
        if self._conditions:
            status["conditions"] = self._conditions
        kept = ("ready", "terminating", "uncountedTerminatedPods")
        status = {name: value for name, value in status.items() if value or name in kept}
        self._status = status
        await self._write(status)

    async def _write(self, status: Object) -> None:
        await self._client.set_status(
            JOBS, self._meta["namespace"], self._meta["name"], status, NAME, self._meta["uid"]
        )

    async def _forget_late(self) -> float | None:
        """A job that is through goes after its time (ttlSecondsAfterFinished)."""
        limit = self._spec.get("ttlSecondsAfterFinished")
        end = next((one for one in self._conditions if one["type"] in ("Complete", "Failed")), None)
        if limit is None or end is None or self._meta.get("deletionTimestamp"):
            return None
        left = seconds_of(end["lastTransitionTime"]) + float(limit) - self._now
        if left > 0:
            return left
        await self._client.delete(
            JOBS, self._meta["namespace"], self._meta["name"], NAME, uid=self._meta["uid"], policy="Foreground"
        )
        return None


def _untracked(pod: Object) -> Object | None:
    finalizers = pod["metadata"].get("finalizers") or []
    if TRACKING not in finalizers:
        return None
    metadata = {**pod["metadata"], "finalizers": [one for one in finalizers if one != TRACKING]}
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    return {**pod, "metadata": metadata}


def _condition(type_: str, reason: str, message: str, now: float) -> Object:
    moment = timestamp(now)
    return {
        "type": type_,
        "status": "True",
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }


def _restarts(pod: Object) -> int:
    return sum(one.get("restartCount", 0) for one in (pod.get("status") or {}).get("containerStatuses") or ())


def _ended_at(pod: Object) -> float:
    times = [
        ((one.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for one in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    found = [seconds_of(one) for one in times if one]
    return max(found) if found else seconds_of(pod["metadata"]["creationTimestamp"])


def _index(pod: Object) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    number = natural(text)
    return -1 if number is None else number


def _numbers(text: str) -> set[int]:
    """`1,3-5` → {1, 3, 4, 5}. What is no range is passed over, as by Kubernetes, and so are those after the first million numbers."""
    found: set[int] = set()
    for part in text.split(","):
        left, _, right = part.partition("-")
        first, last = natural(left), natural(right or left)
        if first is not None and last is not None:
            found.update(range(first, min(last + 1, first + MOST_INDEXES - len(found))))
    return found


def _ranges(numbers: set[int]) -> str:
    """{1, 3, 4, 5} → `1,3-5`."""
    parts: list[Any] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(
        str(first) if first == last else f"{first}-{last}" if last > first + 1 else f"{first},{last}"
        for first, last in parts
    )


CONTROLLER = Controller("job", {JOBS: itself, PODS: its_controller("Job")}, reconcile)
