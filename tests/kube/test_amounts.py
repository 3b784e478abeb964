"""Quantities are written back in one form, and what was stored in another is no change. Source: k8s.io/apimachinery, Quantity."""

from __future__ import annotations

import asyncio
import json

from gureum.store.contract import Put
from tests.kube.api import APPLY, MERGE, STRATEGIC, Api
from tests.kube.test_controllers import APPS, PODS, until
from tests.kube.test_workload_controllers import stateful, template


def limited(cpu="0.5", memory="1024Mi"):
    container = {"name": "c", "image": "nginx:1", "resources": {"limits": {"cpu": cpu, "memory": memory}}}
    return {**template("web"), "spec": {"containers": [container]}}


def deployment(**options):
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": limited(**options)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def limits_of(obj):
    return obj["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_amounts_are_written_back_in_one_form_by_every_write():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", f"{APPS}/deployments", deployment())
            assert limits_of(made) == {"cpu": "500m", "memory": "1Gi"}
            number = {**made, "spec": {**made["spec"], "template": limited(cpu=0.25)}}
            assert limits_of(await api.ok("PUT", f"{APPS}/deployments/web", number))["cpu"] == "250m"
            for kind in (MERGE, STRATEGIC):
                changed = await api.patch(f"{APPS}/deployments/web", {"spec": {"template": limited(cpu="1000m")}}, kind)
                assert limits_of(changed)["cpu"] == "1"
            path = f"{APPS}/deployments/web?fieldManager=f&force=true"
            applied = await api.patch(path, deployment(memory="0.5Gi"), APPLY)
            assert limits_of(applied) == {"cpu": "500m", "memory": "512Mi"}
            assert (await api.patch(path, deployment(memory="0.5Gi"), APPLY)) == applied

    asyncio.run(run())


def test_who_applies_the_same_amount_in_another_form_conflicts_with_nobody():
    async def run():
        async with Api() as api:
            await api.patch(f"{APPS}/deployments/web?fieldManager=one", deployment(cpu="500m"), APPLY)
            await api.patch(f"{APPS}/deployments/web?fieldManager=two", deployment(cpu="0.5"), APPLY)

    asyncio.run(run())


async def as_written_before(api, path, change):
    """Puts an object back into the store as if it had been written before amounts had one form."""
    obj = await api.ok("GET", path)
    storage = "apps/" + path.split("/")[-2]
    entry = api.cluster.objects.entry(storage, "default", obj["metadata"]["name"])
    text = entry.value.decode()
    await api.store.commit([], [Put(entry.key, change(text).encode())])
    assert change(text) != text


def test_what_was_stored_in_another_form_does_not_roll_by_a_change_beside_it():
    def old(text):
        return text.replace('"500m"', '"0.5"').replace('"1Gi"', '"1024Mi"')

    async def run():
        async with Api() as api:
            await api.ok("POST", f"{APPS}/deployments", deployment())
            await api.ok("POST", f"{APPS}/statefulsets", stateful("web", replicas=0, template=limited()))

            async def made():
                sets = (await api.ok("GET", f"{APPS}/replicasets"))["items"]
                revisions = (await api.ok("GET", f"{APPS}/controllerrevisions"))["items"]
                return (sets[0], revisions[0]) if sets and revisions else None

            set_, revision = await until(made)
            for kind, name in (
                ("deployments", "web"),
                ("replicasets", set_["metadata"]["name"]),
                ("statefulsets", "web"),
                ("controllerrevisions", revision["metadata"]["name"]),
            ):
                await as_written_before(api, f"{APPS}/{kind}/{name}", old)
            for kind in ("deployments", "statefulsets"):
                before = await api.ok("GET", f"{APPS}/{kind}/web")
                after = await api.patch(f"{APPS}/{kind}/web", {"metadata": {"labels": {"x": "y"}}})
                assert after["metadata"]["generation"] == before["metadata"]["generation"]
                assert limits_of(after) == {"cpu": "500m", "memory": "1Gi"}
                await api.patch(f"{APPS}/{kind}/web", {"spec": {"replicas": 1}})

            async def scaled():
                return len((await api.ok("GET", PODS))["items"]) == 2 or None

            await until(scaled)
            assert len((await api.ok("GET", f"{APPS}/replicasets"))["items"]) == 1
            assert len((await api.ok("GET", f"{APPS}/controllerrevisions"))["items"]) == 1
            for pod in (await api.ok("GET", PODS))["items"]:
                assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "500m"

    asyncio.run(run())


def test_a_pod_that_was_stored_in_another_form_may_be_changed():
    async def run():
        async with Api() as api:
            await api.ok("POST", PODS, {"metadata": {"name": "p"}, "spec": limited()["spec"]})
            entry = api.cluster.objects.entry("core/pods", "default", "p")
            await api.store.commit([], [Put(entry.key, entry.value.replace(b'"500m"', b'"0.5"'))])
            pod = await api.ok("GET", f"{PODS}/p")
            assert pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "0.5"
            await api.ok("PUT", f"{PODS}/p", {**pod, "metadata": {**pod["metadata"], "labels": {"a": "b"}}})

    asyncio.run(run())


def test_amounts_of_custom_resources_stay_as_they_are_written():
    async def run():
        async with Api() as api:
            schema = {
                "type": "object",
                "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
            version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
            definition = {
                "metadata": {"name": "things.example.com"},
                "spec": {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]},
            }
            await api.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
            thing = {"metadata": {"name": "t"}, "spec": {"resources": {"limits": {"cpu": "0.5"}}}}
            made = await api.ok("POST", "/apis/example.com/v1/things", thing)
            assert json.dumps(made["spec"]) == json.dumps(thing["spec"])

    asyncio.run(run())
