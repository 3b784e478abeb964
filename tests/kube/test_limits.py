"""What bounds a namespace: quotas, limit ranges, disruption budgets; and what is behind a service."""

from __future__ import annotations

import asyncio
from fractions import Fraction

from gureum.kube.kinds.usage import usage_of
from tests.kube.api import Api
from tests.kube.test_controllers import APPS, PODS, deployment, node, rolled_out, until

HERE = "/api/v1/namespaces/default"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def pod(name, **resources):
    spec = {"containers": [{"name": "c", "image": "i", **({"resources": resources} if resources else {})}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec}


def quota(hard, **spec):
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard, **spec}}


async def counted(api):
    async def look():
        found = (await api.ok("GET", f"{HERE}/resourcequotas/q")).get("status")
        return found if found and found.get("used") else None

    return await until(look)


def test_a_quota_is_never_overdrawn_by_those_who_come_at_once():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{HERE}/resourcequotas", quota({"pods": "3", "count/configmaps": "50"}))
            await counted(api)
            answers = await asyncio.gather(*(api.call("POST", PODS, pod(f"p{number}")) for number in range(12)))
            made = [status for status, _ in answers if status == 201]
            assert len(made) == 3
            refused = next(body for status, body in answers if status == 403)
            assert (
                "is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3"
                in refused["message"]
            )
            assert (await counted(api))["used"]["pods"] == "3"
            gone = (await api.ok("GET", PODS))["items"][0]["metadata"]["name"]
            await api.ok("DELETE", f"{PODS}/{gone}")

            async def fewer():
                return (await counted(api))["used"]["pods"] == "2"

            await until(fewer)
            await api.ok("POST", PODS, pod("again"))

    asyncio.run(run())


def test_what_a_quota_counts_must_be_said():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{HERE}/resourcequotas", quota({"requests.cpu": "1", "limits.memory": "1Gi"}))
            await counted(api)
            status, body = await api.call("POST", PODS, pod("p"))
            assert status == 403
            assert body["message"].endswith("failed quota: q: must specify limits.memory for: c; requests.cpu for: c")
            await api.ok("POST", PODS, pod("p", requests={"cpu": "600m"}, limits={"memory": "512Mi"}))
            assert (await counted(api))["used"] == {"requests.cpu": "600m", "limits.memory": "512Mi"}
            status, body = await api.call("POST", PODS, pod("r", requests={"cpu": "600m"}, limits={"memory": "1Mi"}))
            assert (
                "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
                in body["message"]
            )

    asyncio.run(run())


def test_limit_ranges_fill_in_and_refuse():
    async def run():
        async with Api() as api:
            limit = {
                "type": "Container",
                "default": {"cpu": "500m"},
                "defaultRequest": {"cpu": "100m"},
                "max": {"cpu": "1"},
            }
            claim = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}}
            ranges = {
                "apiVersion": "v1",
                "kind": "LimitRange",
                "metadata": {"name": "l"},
                "spec": {"limits": [limit, claim]},
            }
            await api.ok("POST", f"{HERE}/limitranges", ranges)
            made = await api.ok("POST", PODS, pod("p"))
            assert made["spec"]["containers"][0]["resources"] == {
                "requests": {"cpu": "100m"},
                "limits": {"cpu": "500m"},
            }
            assert made["metadata"]["annotations"] == {
                "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
            }
            status, body = await api.call("POST", PODS, pod("q", limits={"cpu": "2"}))
            assert status == 403
            assert body["message"] == 'pods "q" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
            small = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
            wanted = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": small}
            status, body = await api.call("POST", f"{HERE}/persistentvolumeclaims", wanted)
            assert "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi" in body["message"]

    asyncio.run(run())


def test_an_eviction_that_a_budget_forbids_waits():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}
            budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}
            await api.ok("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
            await api.ok("POST", f"{APPS}/deployments", deployment())
            await rolled_out(api)

            async def allows(wished):
                path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b"
                status = (await api.ok("GET", path)).get("status", {})
                return (
                    status
                    if status.get("disruptionsAllowed") == wished and status.get("currentHealthy", 0) >= 2
                    else None
                )

            status = await until(lambda: allows(1))
            assert (status["expectedPods"], status["desiredHealthy"], status["currentHealthy"]) == (3, 2, 3)
            await api.patch(f"{APPS}/deployments/web", {"spec": {"replicas": 2}})
            await rolled_out(api)
            status = await until(lambda: allows(0))
            assert status["conditions"][0]["reason"] == "InsufficientPods"
            name = (await api.ok("GET", PODS))["items"][0]["metadata"]["name"]
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": name, "namespace": "default"},
            }
            code, body = await api.call("POST", f"{PODS}/{name}/eviction", eviction)
            assert (code, body["message"]) == (429, "Cannot evict pod as it would violate the pod's disruption budget.")

    asyncio.run(run())


def test_what_is_behind_a_service_follows_its_pods():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
            service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
            await api.ok("POST", f"{HERE}/services", service)
            await api.ok("POST", f"{APPS}/deployments", deployment())
            await rolled_out(api)

            async def behind(number):
                slices = (await api.ok("GET", f"{SLICES}?labelSelector=kubernetes.io/service-name=web"))["items"]
                ready = [one for part in slices for one in part.get("endpoints") or () if one["conditions"]["ready"]]
                return slices if len(ready) == number else None

            (found,) = await until(lambda: behind(3))
            assert found["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
            assert {one["nodeName"] for one in found["endpoints"]} == {"n1"}
            older = await api.ok("GET", f"{HERE}/endpoints/web")
            assert len(older["subsets"][0]["addresses"]) == 3
            await api.patch(f"{APPS}/deployments/web", {"spec": {"replicas": 1}})
            await until(lambda: behind(1))
            await api.ok("DELETE", f"{HERE}/services/web")

            async def gone():
                left = (await api.ok("GET", SLICES))["items"]
                status, _ = await api.call("GET", f"{HERE}/endpoints/web")
                return not left and status == 404

            await until(gone)

    asyncio.run(run())


def test_a_pod_says_its_class_and_not_what_comes_of_it():
    async def run():
        async with Api() as api:
            for spec, told in (
                (
                    {"priority": 5},
                    "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0",
                ),
                (
                    {"preemptionPolicy": "Never"},
                    "the string value of PreemptionPolicy (Never) must not be provided in pod spec",
                ),
                ({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}, ""),
            ):
                one = pod("p")
                one["spec"] |= spec
                status, answer = await api.call("POST", PODS, one)
                assert (status, told in answer.get("message", "")) == (403 if told else 201, True), answer

    asyncio.run(run())


def test_pods_without_a_priority_have_that_of_the_default_class():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", PODS, pod("before"))
            assert (made["spec"].get("priorityClassName"), made["spec"]["priority"]) == (None, 0)
            for name, default in (("other", False), ("usual", True)):
                await api.ok("POST", CLASSES, {"metadata": {"name": name}, "value": 7, "globalDefault": default})
            made = await api.ok("POST", PODS, pod("after"))
            assert (made["spec"]["priorityClassName"], made["spec"]["priority"]) == ("usual", 7)

    asyncio.run(run())


def test_sidecars_and_overhead_count_in_a_quota():
    def container(cpu, **more):
        return {"name": f"c{cpu}", "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("1")],
        "initContainers": [container("2", restartPolicy="Always"), container("500m"), container("4")],
        "overhead": {"cpu": "250m"},
    }
    found = usage_of("core/pods", {"metadata": {"name": "p"}, "spec": spec})
    assert found["requests.cpu"] == found["cpu"] == Fraction("6.25")  # the last init container runs beside the sidecar
    spec["initContainers"].pop()
    assert usage_of("core/pods", {"metadata": {"name": "p"}, "spec": spec})["cpu"] == Fraction("3.25")
