"""What controllers tell: it is counted, put together and forgotten, and telling it wakes nobody."""

from __future__ import annotations

import asyncio

from gureum.kube.controllers.events import COMBINED, record
from tests.kube.api import Api
from tests.kube.test_controllers import APPS, deployment, until
from tests.kube.test_nodes import Timed

EVENTS = "/api/v1/namespaces/default/events"


async def told(api, reason):
    return [one for one in (await api.ok("GET", EVENTS))["items"] if one["reason"] == reason]


def test_a_replica_set_beyond_its_quota_does_not_wake_itself():
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}

    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/namespaces/default/resourcequotas", quota)
            await api.ok("POST", f"{APPS}/deployments", deployment(replicas=1))

            async def failed():
                (one,) = (await api.ok("GET", f"{APPS}/replicasets"))["items"] or ({},)
                return one if one.get("status", {}).get("conditions") else None

            first = await until(failed)

            async def tried_again():
                return len(await told(api, "FailedCreate")) >= 3

            await until(tried_again)
            assert (await failed())["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    asyncio.run(run())


def test_events_that_differ_by_their_words_become_one():
    async def run():
        async with Timed() as api:
            about = await api.ok("GET", "/api/v1/namespaces/default/serviceaccounts/default")
            for number in range(14):
                record(api.cluster.client, about, "Warning", "Failing", f"try {number}", "tester")
                await asyncio.sleep(0)
            await api.settle()
            found = await told(api, "Failing")
            assert len(found) == 10
            (combined,) = [one for one in found if one["message"].startswith(COMBINED)]
            assert (combined["message"], combined["count"]) == (f"{COMBINED}try 13", 5)
            await api.pass_s(601)
            record(api.cluster.client, about, "Warning", "Failing", "try 14", "tester")
            await api.settle()
            assert "try 14" in {one["message"] for one in await told(api, "Failing")}

    asyncio.run(run())


def test_events_go_an_hour_after_they_were_told_last():
    async def run():
        async with Timed() as api:
            about = await api.ok("GET", "/api/v1/namespaces/default/serviceaccounts/default")
            record(api.cluster.client, about, "Normal", "Once", "x", "tester")
            record(api.cluster.client, about, "Normal", "Again", "x", "tester")
            await api.settle()
            await api.pass_s(1800)
            record(api.cluster.client, about, "Normal", "Again", "x", "tester")
            await api.settle()
            await api.pass_s(1801)
            assert not await told(api, "Once")
            assert len(await told(api, "Again")) == 1
            await api.pass_s(1801)
            assert not await told(api, "Again")

    asyncio.run(run())
