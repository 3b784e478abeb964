"""CronJobs: a job at each time of a schedule.

Source: Kubernetes, "CronJob"; k8s.io/kubernetes/pkg/controller/cronjob.
"""

from __future__ import annotations

import re
from zoneinfo import ZoneInfoNotFoundError

from gureum.base.cron import next_time, parse_cron
from gureum.kube.controllers.client import Client, owner_reference
from gureum.kube.controllers.events import record
from gureum.kube.controllers.loop import Controller, its_controller, itself
from gureum.kube.controllers.workloads.pods import copied
from gureum.kube.errors import StatusError
from gureum.kube.objects import Object
from gureum.kube.times import seconds_of, timestamp

CRON_JOBS, JOBS = "batch/cronjobs", "batch/jobs"
NAME = "cronjob-controller"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
LIMIT_MISSED = 100
_EVERY = re.compile(r"@every (?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


async def reconcile(client: Client, key: str) -> float | None:
    namespace, _, name = key.partition("/")
    one = client.get(CRON_JOBS, namespace, name)
    if one is None or one["metadata"].get("deletionTimestamp"):
        return None
    jobs = client.many(client.index.dependents(one["metadata"]["uid"], JOBS))
    return await _CronJob(client, one, jobs).work()


class _CronJob:
    """One look at a cron job and its jobs."""

    def __init__(self, client: Client, cron_job: Object, jobs: list[Object]) -> None:
        self._client = client
        self._obj = cron_job
        self._spec: Object = cron_job["spec"]
        self._meta: Object = cron_job["metadata"]
        self._jobs = jobs
        self._status: Object = {**(cron_job.get("status") or {})}
        self._now = client.clock.now()

    async def work(self) -> float | None:
        open_ = [job for job in self._jobs if not _end_of(job)]
        running = [job for job in open_ if SCHEDULED in (job["metadata"].get("annotations") or {})]
        self._note_strangers([job for job in open_ if job not in running])
        self._note_ends()
        await self._keep_history()
        again = None if self._spec.get("suspend") else await self._run(running)
        self._status["active"] = [_reference(job) for job in sorted(running, key=lambda one: one["metadata"]["name"])]
        status = {name: value for name, value in self._status.items() if value}
        await self._client.set_status(
            CRON_JOBS, self._meta["namespace"], self._meta["name"], status, NAME, self._meta["uid"]
        )
        return again

    def _note_strangers(self, jobs: list[Object]) -> None:
        """Made from the cron job by hand (`kubectl create job --from`): they are its own, but none of its times'."""
        for job in jobs:
            text = f"Saw a job that the controller did not create or forgot: {job['metadata']['name']}"
            record(self._client, self._obj, "Warning", "UnexpectedJob", text, NAME)

    def _note_ends(self) -> None:
        active = {one.get("uid") for one in self._status.get("active") or ()}
        for job in self._jobs:
            end = _end_of(job)
            if end and job["metadata"]["uid"] in active:
                text = f"Saw completed job: {job['metadata']['name']}, condition: {end['type']}"
                record(self._client, self._obj, "Normal", "SawCompletedJob", text, NAME)
            done = (job.get("status") or {}).get("completionTime")
            if end and end["type"] == "Complete" and done and done > self._status.get("lastSuccessfulTime", ""):
                self._status["lastSuccessfulTime"] = done

    async def _keep_history(self) -> None:
        for type_, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            ended = [job for job in self._jobs if (end := _end_of(job)) and end["type"] == type_]
            ended.sort(
                key=lambda one: (one.get("status") or {}).get("startTime") or one["metadata"]["creationTimestamp"]
            )
            for job in ended[: max(0, len(ended) - int(self._spec.get(limit, 1)))]:
                await self._delete(job)

    async def _run(self, running: list[Object]) -> float | None:
        """Starts what is due; in how many seconds the next one is."""
        last = self._status.get("lastScheduleTime") or self._meta["creationTimestamp"]
        earliest = seconds_of(last)
        deadline = self._spec.get("startingDeadlineSeconds")
        if deadline is not None:
            earliest = max(earliest, self._now - float(deadline))
        try:
            due, upcoming = self._times(earliest)
        except (ValueError, ZoneInfoNotFoundError) as error:
            record(self._client, self._obj, "Warning", "UnparseableSchedule", f"unparseable schedule: {error}", NAME)
            return None
        if not upcoming:
            text = "time difference between two schedules is less than 1 second"  # as the original says that there is no next time
            text = f"invalid schedule: {self._spec['schedule']} : {text}"
            record(self._client, self._obj, "Warning", "InvalidSchedule", text, NAME)
        if due is not None and await self._start(due, running):
            self._status["lastScheduleTime"] = timestamp(due)
        return max(0.01, upcoming - self._now) if upcoming else None

    def _times(self, after: float) -> tuple[float | None, float]:
        """The last time that has come since, and the next one."""
        due: float | None = None
        moment = self._next(after)
        for _ in range(LIMIT_MISSED):
            if not moment or moment > self._now:
                return due, moment
            due, moment = moment, self._next(moment)
        record(
            self._client,
            self._obj,
            "Warning",
            "TooManyMissedTimes",
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
            NAME,
        )
        return due, self._next(self._now)

    def _next(self, after: float) -> float:
        schedule = self._spec["schedule"]
        every = _EVERY.fullmatch(schedule)
        if every:
            hours, minutes, seconds = (int(part or 0) for part in every.groups())
            return after + max(1, hours * 3600 + minutes * 60 + seconds)
        return next_time(parse_cron(schedule.replace("?", "*")), after, self._spec.get("timeZone") or "UTC")

    async def _start(self, due: float, running: list[Object]) -> bool:
        """Whether that time is dealt with."""
        policy = self._spec.get("concurrencyPolicy", "Allow")
        if running and policy == "Forbid":
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            record(self._client, self._obj, "Normal", "JobAlreadyActive", text, NAME)
            return False
        if policy == "Replace":
            for job in running:
                await self._delete(job)
            running.clear()
        name = f"{self._meta['name']}-{int(due) // 60}"
        template = copied(self._spec["jobTemplate"])
        inner = template.get("metadata") or {}
        moment = timestamp(due)
        job = {
            "metadata": {
                "name": name,
                "namespace": self._meta["namespace"],
                "labels": inner.get("labels") or {},
                "annotations": {
                    **(inner.get("annotations") or {}),
                    SCHEDULED: moment,
                },
                "ownerReferences": [owner_reference(self._obj)],
            },
            "spec": template["spec"],
        }
        try:
            made = await self._client.create(JOBS, job, NAME)
        except StatusError as error:
            # By its name a time has one job, whatever happened between making it and writing it down.
            if error.reason == "AlreadyExists":
                return True
            record(self._client, self._obj, "Warning", "FailedCreate", f"Error creating job: {error.message}", NAME)
            raise
        running.append(made)
        record(self._client, self._obj, "Normal", "SuccessfulCreate", f"Created job {name}", NAME)
        return True

    async def _delete(self, job: Object) -> None:
        metadata = job["metadata"]
        await self._client.delete(
            JOBS, metadata["namespace"], metadata["name"], NAME, uid=metadata["uid"], policy="Background"
        )
        record(self._client, self._obj, "Normal", "SuccessfulDelete", f"Deleted job {metadata['name']}", NAME)


def _end_of(job: Object) -> Object | None:
    found = (job.get("status") or {}).get("conditions") or ()
    return next((one for one in found if one["type"] in ("Complete", "Failed") and one["status"] == "True"), None)


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    return {
        "kind": "Job",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "apiVersion": "batch/v1",
        "resourceVersion": metadata["resourceVersion"],
    }


CONTROLLER = Controller("cronjob", {CRON_JOBS: itself, JOBS: its_controller("CronJob")}, reconcile)
