"""StatefulSets, DaemonSets, Jobs and CronJobs, on simulated nodes."""

from __future__ import annotations

import asyncio

import pytest

from gureum.kube.controllers.workloads.cronjobs import _CronJob
from gureum.kube.controllers.workloads.jobs import MOST_INDEXES, TRACKING, _numbers, _ranges
from gureum.kube.controllers.workloads.pods import deletion_rank
from tests.kube.api import STRATEGIC, Api
from tests.kube.test_controllers import APPS, PODS, node, until
from tests.kube.test_volumes import volume as volume_of

INDEX = "batch.kubernetes.io/job-completion-index"
BATCH = "/apis/batch/v1/namespaces/default"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


def template(name="x", image="nginx:1", **spec):
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def stateful(name="db", replicas=3, **spec):
    spec = {
        "replicas": replicas,
        "serviceName": name,
        "selector": {"matchLabels": {"app": name}},
        "template": template(name),
        **spec,
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


async def named(api, path, prefix=""):
    return {
        one["metadata"]["name"]: one
        for one in (await api.ok("GET", path))["items"]
        if one["metadata"]["name"].startswith(prefix)
    }


def test_a_stateful_set_numbers_its_pods_and_keeps_its_claims():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            for name in ("v1", "v2", "v3"):
                await api.ok("POST", "/api/v1/persistentvolumes", volume_of(name))
            claim = {
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }
            await api.ok("POST", f"{APPS}/statefulsets", stateful(volumeClaimTemplates=[claim]))

            async def ready():
                found = (await api.ok("GET", f"{APPS}/statefulsets/db")).get("status", {})
                return found if found.get("availableReplicas") == 3 and found.get("updatedReplicas") == 3 else None

            status = await until(ready)
            assert status["currentRevision"] == status["updateRevision"]
            pods = await named(api, PODS)
            assert sorted(pods) == ["db-0", "db-1", "db-2"]
            second = pods["db-1"]
            assert second["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
            assert (second["spec"]["hostname"], second["spec"]["subdomain"]) == ("db-1", "db")
            volume = next(one for one in second["spec"]["volumes"] if one["name"] == "data")
            assert volume["persistentVolumeClaim"]["claimName"] == "data-db-1"
            # In order: none was there before the one before it.
            times = [pods[f"db-{number}"]["metadata"]["resourceVersion"] for number in range(3)]
            assert times == sorted(times, key=int)

            await api.patch(f"{APPS}/statefulsets/db", {"spec": {"replicas": 1}})
            await until(lambda: _only(api, ["db-0"]))
            assert sorted(await named(api, CLAIMS)) == ["data-db-0", "data-db-1", "data-db-2"]

            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
            await api.patch(f"{APPS}/statefulsets/db", change, STRATEGIC)

            async def rolled():
                found = await api.ok("GET", f"{APPS}/statefulsets/db")
                pod = (await named(api, PODS)).get("db-0")
                fits = pod is not None and pod["spec"]["containers"][0]["image"] == "nginx:2"
                return fits and found["status"].get("currentRevision") == found["status"]["updateRevision"]

            await until(rolled)
            revisions = (await api.ok("GET", f"{APPS}/controllerrevisions"))["items"]
            assert sorted(one["revision"] for one in revisions) == [1, 2]

    async def _only(api, names):
        return sorted(await named(api, PODS)) == names

    asyncio.run(run())


def test_a_partition_keeps_the_lower_numbers_as_they_were():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
            await api.ok(
                "POST",
                f"{APPS}/statefulsets",
                stateful(replicas=2, updateStrategy=strategy, podManagementPolicy="Parallel"),
            )

            async def images():
                found = await named(api, PODS)
                up = [
                    one
                    for one in found.values()
                    if one["status"].get("phase") == "Running" and "deletionTimestamp" not in one["metadata"]
                ]
                return {one["metadata"]["name"]: one["spec"]["containers"][0]["image"] for one in up}

            async def shows(wished):
                return await images() == wished

            await until(lambda: shows({"db-0": "nginx:1", "db-1": "nginx:1"}))
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
            await api.patch(f"{APPS}/statefulsets/db", change, STRATEGIC)
            await until(lambda: shows({"db-0": "nginx:1", "db-1": "nginx:2"}))
            # A pod below the partition comes back as it was.
            await api.ok("DELETE", f"{PODS}/db-0")
            await until(lambda: shows({"db-0": "nginx:1", "db-1": "nginx:2"}))

    asyncio.run(run())


def test_a_daemon_set_has_a_pod_on_every_node_that_fits():
    async def run():
        async with Api() as api:
            for name in ("n1", "n2"):
                await api.ok("POST", "/api/v1/nodes", node(name))
            tainted = node("n3")
            tainted["spec"] = {"taints": [{"key": "only", "value": "db", "effect": "NoSchedule"}]}
            await api.ok("POST", "/api/v1/nodes", tainted)
            spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template()}
            daemon = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": spec}
            await api.ok("POST", f"{APPS}/daemonsets", daemon)

            async def on(nodes, image="nginx:1"):
                pods = await named(api, PODS)
                up = [one for one in pods.values() if "deletionTimestamp" not in one["metadata"]]
                status = (await api.ok("GET", f"{APPS}/daemonsets/d")).get("status", {})
                return (
                    sorted(one["spec"]["nodeName"] for one in up) == nodes
                    and {one["spec"]["containers"][0]["image"] for one in up} == {image}
                    and status.get("numberAvailable") == status.get("updatedNumberScheduled") == len(nodes)
                )

            await until(lambda: on(["n1", "n2"]))
            await api.ok("POST", "/api/v1/nodes", node("n4"))
            await until(lambda: on(["n1", "n2", "n4"]))
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
            await api.patch(f"{APPS}/daemonsets/d", change, STRATEGIC)
            await until(lambda: on(["n1", "n2", "n4"], "nginx:2"))
            tolerated = {"spec": {"template": {"spec": {"tolerations": [{"key": "only", "operator": "Exists"}]}}}}
            await api.patch(f"{APPS}/daemonsets/d", tolerated, STRATEGIC)
            await until(lambda: on(["n1", "n2", "n3", "n4"], "nginx:2"))

    asyncio.run(run())


def test_a_revision_keeps_what_its_owner_was_annotated_with():
    """Which is how `kubectl rollout history` tells why (kubernetes.io/change-cause)."""

    async def run():
        async with Api() as api:
            spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template()}
            marks = {"kubernetes.io/change-cause": "first"}
            daemon = {"metadata": {"name": "d", "annotations": marks}, "spec": spec}
            await api.ok("POST", f"{APPS}/daemonsets", daemon)

            async def told():
                return list((await named(api, f"{APPS}/controllerrevisions")).values())

            assert [one["metadata"].get("annotations") for one in await until(told)] == [marks]

    asyncio.run(run())


def job(name="j", **spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template(restartPolicy="Never"), **spec},
    }


async def ended(api, type_="Complete", name="j"):
    async def look():
        found = await api.ok("GET", f"{BATCH}/jobs/{name}")
        conditions = found.get("status", {}).get("conditions") or ()
        return found if any(one["type"] == type_ and one["status"] == "True" for one in conditions) else None

    return await until(look)


def test_a_job_runs_to_its_end_and_lets_its_pods_go():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{BATCH}/jobs", job(completions=3, parallelism=2))
            done = await ended(api)
            assert done["status"]["succeeded"] == 3
            assert "active" not in done["status"]
            assert done["status"]["completionTime"]

            async def released():
                pods = await named(api, PODS)
                return len(pods) == 3 and all(
                    TRACKING not in one["metadata"].get("finalizers", ()) for one in pods.values()
                )

            await until(released)

            async def settled():
                return (await ended(api))["status"]["uncountedTerminatedPods"] == {}

            await until(settled)

    asyncio.run(run())


def test_an_indexed_job_gives_each_number_once():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{BATCH}/jobs", job(completions=4, parallelism=2, completionMode="Indexed"))
            done = await ended(api)
            assert done["status"]["completedIndexes"] == "0-3"
            variables = [one["spec"]["containers"][0]["env"][-1]["value"] for one in (await named(api, PODS)).values()]
            assert sorted(variables) == ["0", "1", "2", "3"]

    asyncio.run(run())


def test_a_job_fails_after_its_last_try_and_counts_each_pod_once():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{BATCH}/jobs", job(backoffLimit=0))

            async def waiting():
                return list((await named(api, PODS)).values())

            (pod,) = await until(waiting)
            path = f"{PODS}/{pod['metadata']['name']}"
            await api.patch(f"{path}/status", {"status": {"phase": "Failed"}})
            failed = await ended(api, "Failed")
            assert failed["status"]["failed"] == 1
            assert (
                next(one["reason"] for one in failed["status"]["conditions"] if one["type"] == "Failed")
                == "BackoffLimitExceeded"
            )
            assert len(await waiting()) == 1

    asyncio.run(run())


def outcome(done, type_):
    found = next(one for one in done["status"]["conditions"] if one["type"] == type_)
    return found["reason"], found["message"]


async def pods_of_indexes(api, number):
    async def look():
        found = {one["metadata"]["annotations"][INDEX]: one for one in (await named(api, PODS)).values()}
        return found if len(found) == number else None

    return await until(look)


async def end_pod(api, pod, phase, **status):
    path = f"{PODS}/{pod['metadata']['name']}/status"
    await api.patch(path, {"status": {"phase": phase, **status}})


def test_each_index_of_a_job_has_its_own_limit_of_failures():
    async def run():
        async with Api() as api:
            indexed = job(completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=0)
            await api.ok("POST", f"{BATCH}/jobs", indexed)
            pods = await pods_of_indexes(api, 3)
            for index, phase in (("1", "Failed"), ("0", "Succeeded"), ("2", "Succeeded")):
                await end_pod(api, pods[index], phase)
            failed = await ended(api, "Failed")
            assert outcome(failed, "Failed") == ("FailedIndexes", "Job has failed indexes")
            assert (failed["status"]["failedIndexes"], failed["status"]["completedIndexes"]) == ("1", "0,2")
            assert len(await named(api, PODS)) == 3

    asyncio.run(run())


def test_a_job_ends_as_soon_as_its_success_policy_is_met():
    async def run():
        async with Api() as api:
            policy = {"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]}
            indexed = job(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy)
            await api.ok("POST", f"{BATCH}/jobs", indexed)
            await end_pod(api, (await pods_of_indexes(api, 3))["2"], "Succeeded")
            done = await ended(api)
            assert outcome(done, "Complete") == ("SuccessPolicy", "Matched rules at index 0")
            assert done["status"]["succeeded"] == 1

    asyncio.run(run())


def test_a_jobs_failure_policy_says_which_failures_count():
    async def run():
        async with Api() as api:
            rules = [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
            ]
            await api.ok("POST", f"{BATCH}/jobs", job(backoffLimit=1, podFailurePolicy={"rules": rules}))

            async def waiting():
                pods = (await named(api, PODS)).values()
                return [one for one in pods if one["status"]["phase"] == "Pending"]

            (first,) = await until(waiting)
            condition = {"type": "DisruptionTarget", "status": "True"}
            await end_pod(api, first, "Failed", conditions=[condition])
            (second,) = await until(waiting)
            assert "failed" not in (await api.ok("GET", f"{BATCH}/jobs/j"))["status"]
            ends = {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
            ends["state"] = {"terminated": {"exitCode": 42}}
            await end_pod(api, second, "Failed", containerStatuses=[ends])
            name = f"default/{second['metadata']['name']}"
            text = f"Container c for pod {name} failed with exit code 42 matching FailJob rule at index 1"
            assert outcome(await ended(api, "Failed"), "Failed") == ("PodFailurePolicy", text)

    asyncio.run(run())


def test_a_suspended_job_has_no_pods_until_it_goes_on():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{BATCH}/jobs", job(suspend=True))
            await ended(api, "Suspended")
            assert not await named(api, PODS)
            await api.patch(f"{BATCH}/jobs/j", {"spec": {"suspend": False}})
            done = await ended(api)
            assert next(one["status"] for one in done["status"]["conditions"] if one["type"] == "Suspended") == "False"

    asyncio.run(run())


def test_a_job_that_is_deleted_lets_its_pods_go():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{BATCH}/jobs", job(parallelism=2, completions=2))

            async def started():
                return len(await named(api, PODS)) == 2

            await until(started)
            await api.ok("DELETE", f"{BATCH}/jobs/j", {"propagationPolicy": "Background"})

            async def gone():
                return not await named(api, PODS)

            await until(gone)

    asyncio.run(run())


def test_a_job_goes_after_its_time():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{BATCH}/jobs", job(ttlSecondsAfterFinished=0))

            async def gone():
                return not await named(api, f"{BATCH}/jobs") and not await named(api, PODS)

            await until(gone)

    asyncio.run(run())


def test_a_cron_job_starts_jobs_and_keeps_some():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            spec = {"schedule": "@every 1s", "jobTemplate": {"spec": job()["spec"]}, "successfulJobsHistoryLimit": 1}
            cron = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": spec}
            await api.ok("POST", f"{BATCH}/cronjobs", cron)

            async def ran():
                found = await api.ok("GET", f"{BATCH}/cronjobs/c")
                return found if found.get("status", {}).get("lastSuccessfulTime") else None

            status = (await until(ran))["status"]
            assert status["lastScheduleTime"]
            made = await named(api, f"{BATCH}/jobs", "c-")
            owner = next(iter(made.values()))["metadata"]["ownerReferences"][0]
            assert (owner["kind"], owner["name"], owner["controller"]) == ("CronJob", "c", True)

    asyncio.run(run())


def test_a_job_made_by_hand_from_a_cron_job_is_none_of_its_times():
    """As `kubectl create job --from=cronjob/c` makes it."""

    async def run():
        async with Api() as api:
            spec = {"schedule": "0 0 29 2 *", "jobTemplate": {"spec": job()["spec"]}}
            made = await api.ok("POST", f"{BATCH}/cronjobs", {"metadata": {"name": "c"}, "spec": spec})
            owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": made["metadata"]["uid"]}
            metadata = {"name": "hand", "ownerReferences": [{**owner, "controller": True}]}
            await api.ok("POST", f"{BATCH}/jobs", {**job(), "metadata": metadata})

            async def told():
                found = (await api.ok("GET", "/api/v1/namespaces/default/events"))["items"]
                return [one for one in found if one["reason"] == "UnexpectedJob"]

            assert (await until(told))[0]["message"].endswith("did not create or forgot: hand")
            assert "active" not in (await api.ok("GET", f"{BATCH}/cronjobs/c")).get("status", {})

    asyncio.run(run())


def test_a_schedule_that_never_comes_is_told_of():
    async def run():
        async with Api() as api:
            spec = {"schedule": "59 23 31 2 *", "jobTemplate": {"spec": job()["spec"]}}
            await api.ok("POST", f"{BATCH}/cronjobs", {"metadata": {"name": "pi"}, "spec": spec})

            async def told():
                found = (await api.ok("GET", "/api/v1/namespaces/default/events"))["items"]
                return [one for one in found if one["reason"] == "InvalidSchedule"]

            event = (await until(told))[0]
            assert (event["type"], event["involvedObject"]["name"]) == ("Warning", "pi")
            assert event["message"].startswith("invalid schedule: 59 23 31 2 * : ")

    asyncio.run(run())


class _Clock:
    def now(self):
        return 1_767_268_800.0  # 2026-01-01T12:00:00Z


class _Client:
    clock = _Clock()


@pytest.mark.parametrize(
    ("schedule", "after", "due", "upcoming"),
    [
        ("*/5 * * * *", -310, -300 + 300, 300),
        ("0 * * * *", -7300, 0, 3600),
        ("0 13 * * *", -100, None, 3600),
    ],
)
def test_times_that_are_due(schedule, after, due, upcoming):
    now = _Clock().now()
    one = {"spec": {"schedule": schedule}, "metadata": {}}
    found, following = _CronJob(_Client(), one, [])._times(now + after)
    assert (None if found is None else found - now, following - now) == (due, upcoming)


@pytest.mark.parametrize("numbers", [set(), {0}, {0, 1}, {0, 1, 2, 5, 7, 8, 9}])
def test_numbers_as_ranges(numbers):
    assert _numbers(_ranges(numbers)) == numbers


@pytest.mark.parametrize(("text", "numbers"), [("1-x,3", {3}), ("²,5-4,7", {7}), ("-1", set())])
def test_what_is_no_range_is_passed_over(text, numbers):
    assert _numbers(text) == numbers


def test_a_status_may_say_more_numbers_than_there_is_memory_for():
    assert len(_numbers("5-99999999999,7-9")) == MOST_INDEXES


def test_annotations_that_are_no_numbers_keep_nothing_from_its_end():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{BATCH}/jobs", job(completions=2, parallelism=2, completionMode="Indexed"))
            pods = await pods_of_indexes(api, 2)
            for said in ("²", "1" * 5000):
                name = pods["1"]["metadata"]["name"]
                await api.patch(f"{PODS}/{name}", {"metadata": {"annotations": {INDEX: said}}})
                await api.patch(f"{BATCH}/jobs/j", {"metadata": {"labels": {"looked": str(len(said))}}})
            await end_pod(api, pods["1"], "Succeeded")
            await end_pod(api, pods["0"], "Succeeded")

            async def again():
                found = await named(api, PODS)
                return next((one for one in found.values() if one["metadata"]["annotations"][INDEX] == "1"), None)

            await end_pod(api, await until(again), "Succeeded")
            assert (await ended(api))["status"]["completedIndexes"] == "0,1"

    asyncio.run(run())


def test_a_cost_that_is_no_number_is_none():
    cost = "controller.kubernetes.io/pod-deletion-cost"
    ranks = [deletion_rank({"metadata": {"annotations": {cost: said}}})[3] for said in ("-7", "--7", "²", "9" * 5000)]
    assert ranks == [-7, 0, 0, 0]
