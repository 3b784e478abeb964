"""Deployments and what hangs on them, on simulated nodes."""

from __future__ import annotations

import asyncio

from tests.kube.api import STRATEGIC, Api, config_map

APPS = "/apis/apps/v1/namespaces/default"
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


def deployment(name="web", replicas=3, image="nginx:1", **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def node(name="n1", cpu="32", pods="110"):
    capacity = {"cpu": cpu, "memory": "64Gi", "pods": pods}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"gureum.dev/simulated": "true"}},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]},
    }


async def until(look):
    for _ in range(1000):
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


async def rolled_out(api, name="web"):
    async def look():
        obj = await api.ok("GET", f"{APPS}/deployments/{name}")
        status, wished = obj.get("status", {}), obj["spec"]["replicas"]
        done = status.get("observedGeneration") == obj["metadata"]["generation"] and all(
            status.get(part, 0) == wished for part in ("replicas", "updatedReplicas", "availableReplicas")
        )
        return obj if done else None

    return await until(look)


def test_a_deployment_rolls_out_updates_and_goes_back():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{APPS}/deployments", deployment())
            first = await rolled_out(api)
            assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
            await api.patch(f"{APPS}/deployments/web", change, STRATEGIC)
            second = await rolled_out(api)
            assert second["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
            pods = (await api.ok("GET", PODS))["items"]
            assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"nginx:2"}
            change["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:1"
            await api.patch(f"{APPS}/deployments/web", change, STRATEGIC)
            third = await rolled_out(api)
            assert third["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
            sets = (await api.ok("GET", f"{APPS}/replicasets"))["items"]
            assert sorted(one["spec"]["replicas"] for one in sets) == [0, 3]
            reasons = {one["type"]: one["reason"] for one in third["status"]["conditions"]}
            assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}

    asyncio.run(run())


def test_a_rollout_never_takes_more_than_it_may():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}
            await api.ok("POST", f"{APPS}/deployments", deployment(replicas=6, strategy=strategy))
            start = (await rolled_out(api))["metadata"]["resourceVersion"]
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}}
            await api.patch(f"{APPS}/deployments/web", change, STRATEGIC)
            await rolled_out(api)
            events = await api.events(f"{APPS}/replicasets?watch=1&resourceVersion={start}&timeoutSeconds=1")
            sizes, available, most, least = {}, {}, 0, 6
            while True:
                try:
                    obj = (await events.next())["object"]
                except StopAsyncIteration:
                    break
                sizes[obj["metadata"]["name"]] = obj["spec"]["replicas"]
                available[obj["metadata"]["name"]] = obj.get("status", {}).get("availableReplicas", 0)
                most = max(most, sum(sizes.values()))
                if len(available) == 2:
                    least = min(least, sum(available.values()))
            assert most <= 8
            assert least >= 5

    asyncio.run(run())


def test_deleting_a_deployment_takes_its_sets_and_pods():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{APPS}/deployments", deployment())

            async def three():
                return len((await api.ok("GET", PODS))["items"]) == 3

            await until(three)
            await api.ok("DELETE", f"{APPS}/deployments/web", {"propagationPolicy": "Foreground"})

            async def gone():
                return (await api.call("GET", f"{APPS}/deployments/web"))[0] == 404

            await until(gone)
            assert (await api.ok("GET", PODS))["items"] == []
            assert (await api.ok("GET", f"{APPS}/replicasets"))["items"] == []

    asyncio.run(run())


def test_orphans_stay_and_are_taken_by_the_next():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{APPS}/deployments", deployment())
            await rolled_out(api)
            before = {pod["metadata"]["uid"] for pod in (await api.ok("GET", PODS))["items"]}
            await api.ok("DELETE", f"{APPS}/deployments/web", {"propagationPolicy": "Orphan"})

            async def gone():
                return (await api.call("GET", f"{APPS}/deployments/web"))[0] == 404

            await until(gone)
            await api.ok("POST", f"{APPS}/deployments", deployment())
            await rolled_out(api)
            assert {pod["metadata"]["uid"] for pod in (await api.ok("GET", PODS))["items"]} == before

    asyncio.run(run())


def test_what_belongs_to_nobody_that_is_there_goes():
    async def run():
        async with Api() as api:
            owner = await api.ok("POST", MAPS, config_map("owner"))
            reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
            await api.ok("POST", MAPS, config_map("kept", ownerReferences=[reference]))
            await api.ok("POST", MAPS, config_map("lost", ownerReferences=[{**reference, "uid": "another"}]))

            async def one_gone():
                return (await api.call("GET", f"{MAPS}/lost"))[0] == 404

            await until(one_gone)
            assert (await api.call("GET", f"{MAPS}/kept"))[0] == 200

    asyncio.run(run())


async def owned(api, name, *owners):
    """A config map that the named ones own, and keep from going before it."""
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": one["metadata"]["name"], "uid": one["metadata"]["uid"]}
        for one in owners
    ]
    references = [{**one, "blockOwnerDeletion": True} for one in references]
    if (await api.call("GET", f"{MAPS}/{name}"))[0] == 404:
        await api.ok("POST", MAPS, config_map(name))
    return await api.patch(f"{MAPS}/{name}", {"metadata": {"ownerReferences": references}})


async def gone(api, name):
    async def look():
        return (await api.call("GET", f"{MAPS}/{name}"))[0] == 404

    await until(look)


FOREGROUND = {"propagationPolicy": "Foreground"}


def test_what_another_owner_holds_outlives_a_foreground_deletion():
    async def run():
        async with Api() as api:
            one, other = await owned(api, "one"), await owned(api, "other")
            await owned(api, "shared", one, other)
            await api.ok("DELETE", f"{MAPS}/one", FOREGROUND)
            await gone(api, "one")
            left = (await api.ok("GET", f"{MAPS}/shared"))["metadata"]
            assert [each["name"] for each in left["ownerReferences"]] == ["other"]
            assert "deletionTimestamp" not in left

    asyncio.run(run())


def test_owners_of_each_other_do_not_wait_for_each_other_for_ever():
    async def run():
        async with Api() as api:
            one = await owned(api, "one")
            other = await owned(api, "other", one)
            await owned(api, "one", await owned(api, "third", other))
            await api.ok("DELETE", f"{MAPS}/one", FOREGROUND)
            for name in ("one", "other", "third"):
                await gone(api, name)

    asyncio.run(run())


def test_an_owner_that_waits_goes_when_its_last_dependent_names_it_no_more():
    async def run():
        async with Api() as api:
            one = await owned(api, "one")
            await owned(api, "held", one)
            await api.patch(f"{MAPS}/held", {"metadata": {"finalizers": ["example.com/hold"]}})
            await api.ok("DELETE", f"{MAPS}/one", FOREGROUND)

            async def deleting():
                return "deletionTimestamp" in (await api.ok("GET", f"{MAPS}/held"))["metadata"]

            await until(deleting)
            assert (await api.call("GET", f"{MAPS}/one"))[0] == 200
            await owned(api, "held")
            await gone(api, "one")

    asyncio.run(run())


def test_a_namespace_goes_with_all_that_is_in_it():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
            assert (await api.call("GET", "/api/v1/namespaces/n/serviceaccounts/default"))[0] == 200
            await api.ok("POST", "/api/v1/namespaces/n/configmaps", config_map("a", finalizers=["example.com/x"]))
            going = await api.ok("DELETE", "/api/v1/namespaces/n")
            assert going["status"]["phase"] == "Terminating"
            status, refused = await api.call("POST", "/api/v1/namespaces/n/configmaps", config_map("b"))
            assert (status, refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")

            async def told():
                found = await api.ok("GET", "/api/v1/namespaces/n")
                return [
                    one
                    for one in found["status"].get("conditions", ())
                    if one["type"] == "NamespaceFinalizersRemaining"
                ]

            assert "example.com/x in 1" in (await until(told))[0]["message"]
            await api.patch("/api/v1/namespaces/n/configmaps/a", {"metadata": {"finalizers": None}})

            async def gone():
                return (await api.call("GET", "/api/v1/namespaces/n"))[0] == 404

            await until(gone)

    asyncio.run(run())


def test_pods_go_where_they_fit():
    async def run():
        async with Api() as api:
            await api.ok("POST", f"{APPS}/deployments", deployment(replicas=3))
            for name in ("n1", "n2"):
                await api.ok("POST", "/api/v1/nodes", node(name, pods="1"))

            async def placed():
                pods = (await api.ok("GET", PODS))["items"]
                nodes = sorted(pod["spec"].get("nodeName", "") for pod in pods)
                left = [pod for pod in pods if not pod["spec"].get("nodeName")]
                told = left and left[0]["status"].get("conditions", [{}])[0].get("message", "")
                return nodes == ["", "n1", "n2"] and told == (
                    "0/2 nodes are available: 2 Too many pods. no new claims to deallocate, preemption: 0/2 nodes are available: "
                    "2 No preemption victims found for incoming pod."
                )

            await until(placed)

    asyncio.run(run())


def test_a_claim_goes_when_its_last_pod_is_gone():
    async def run():
        async with Api() as api:
            claims = "/api/v1/namespaces/default/persistentvolumeclaims"
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            await api.ok("POST", claims, {"metadata": {"name": "data"}, "spec": spec})
            volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
            pod = {"containers": [{"name": "c", "image": "x"}], "volumes": [volume]}
            await api.ok("POST", PODS, {"metadata": {"name": "p"}, "spec": pod})
            await api.ok("DELETE", f"{claims}/data")

            async def idle():
                return api.cluster.controllers.idle

            await until(idle)
            assert (await api.ok("GET", f"{claims}/data"))["metadata"]["deletionTimestamp"]
            await api.ok("DELETE", f"{PODS}/p")

            async def gone():
                return (await api.call("GET", f"{claims}/data"))[0] == 404

            await until(gone)

    asyncio.run(run())
