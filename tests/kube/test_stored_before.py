"""Objects that were stored when less was refused: what is wrong with them hinders nobody who does not touch it."""

from __future__ import annotations

import asyncio

from gureum.store.contract import Put
from tests.kube.api import MERGE, Api
from tests.kube.test_controllers import APPS
from tests.kube.test_workload_controllers import template

PATH = f"{APPS}/deployments/web"


async def stored_wrong(api):
    """A deployment with a name of a port that is refused today."""
    ports = [{"name": "good", "containerPort": 80}]
    pod = template("web")
    pod["spec"]["containers"][0]["ports"] = ports
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": pod}
    await api.ok("POST", f"{APPS}/deployments", {"metadata": {"name": "web", "finalizers": ["a.b/c"]}, "spec": spec})
    entry = api.cluster.objects.entry("apps/deployments", "default", "web")
    await api.store.commit([], [Put(entry.key, entry.value.replace(b'"good"', b'"Not_Good"'))])


def test_what_is_wrong_with_it_is_not_told_to_who_changes_something_else():
    async def run():
        async with Api() as api:
            await stored_wrong(api)
            labelled = await api.patch(PATH, {"metadata": {"labels": {"a": "b"}}})
            assert labelled["metadata"]["labels"] == {"a": "b"}
            assert (await api.patch(f"{PATH}/scale", {"spec": {"replicas": 2}}))["spec"]["replicas"] == 2
            await api.ok("PUT", PATH, await api.ok("GET", PATH))
            await api.call("DELETE", PATH)
            await api.patch(PATH, {"metadata": {"finalizers": None}})
            assert (await api.call("GET", PATH))[0] == 404

    asyncio.run(run())


def test_it_is_told_to_who_changes_the_rest_and_to_who_makes_it_worse():
    async def run():
        async with Api() as api:
            await stored_wrong(api)
            for change in ({"minReadySeconds": 5}, {"replicas": -1}):
                status, error = await api.call("PATCH", PATH, {"spec": change}, content_type=MERGE)
                assert (status, error["reason"]) == (422, "Invalid")
            fields = [one["field"] for one in error["details"]["causes"]]
            assert fields == ["spec.replicas"]

    asyncio.run(run())
