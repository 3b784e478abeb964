"""What the API says of itself: discovery with its tags, APIServices, tables while watching."""

from __future__ import annotations

import asyncio
import json

from tests.kube.api import Api, config_map
from tests.kube.test_custom import definition

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def test_discovery_is_answered_with_not_modified_until_kinds_change():
    async def run():
        async with Api() as api:
            for path, accept in (
                ("/apis", AGGREGATED),
                ("/apis", "application/json"),
                ("/openapi/v3", "*/*"),
                ("/apis/apps/v1", "*/*"),
            ):
                first = await api.respond("GET", path, accept=accept)
                tag = first.headers["etag"]
                again = await api.respond("GET", path, accept=accept, if_none_match=tag)
                assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
            before = (await api.respond("GET", "/apis", accept=AGGREGATED)).headers["etag"]
            await api.ok("POST", CRDS, definition())
            after = await api.respond("GET", "/apis", accept=AGGREGATED, if_none_match=before)
            assert after.status == 200
            group = definition()["spec"]["group"]
            assert group in [one["metadata"].get("name") for one in json.loads(after.body)["items"]]

    asyncio.run(run())


async def names(api):
    return {one["metadata"]["name"]: one for one in (await api.ok("GET", SERVICES))["items"]}


async def until(api, wanted):
    for _ in range(500):
        found = await names(api)
        if wanted(found):
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(sorted(found))


def test_every_version_that_is_served_has_an_api_service():
    async def run():
        async with Api() as api:
            found = await names(api)
            assert {"v1.", "v1.apps", "v2.autoscaling"} <= set(found)
            assert found["v1."]["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 15}
            assert found["v1.apps"]["status"]["conditions"][0]["reason"] == "Local"
            one = definition()
            own = f"{one['spec']['versions'][0]['name']}.{one['spec']['group']}"
            await api.ok("POST", CRDS, one)
            found = await until(api, lambda all_: own in all_ and all_[own].get("status"))
            assert found[own]["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
            await api.ok("DELETE", f"{SERVICES}/{own}")
            await until(api, lambda all_: own in all_)
            await api.ok("DELETE", f"{CRDS}/{one['metadata']['name']}")
            await until(api, lambda all_: own not in all_)

    asyncio.run(run())


def test_an_api_server_beside_is_not_pretended():
    async def run():
        async with Api() as api:
            spec = {
                "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": "kube-system", "name": "metrics"},
            }  # fmt: skip
            name = "v1beta1.metrics.k8s.io"
            await api.ok("POST", SERVICES, {"metadata": {"name": name}, "spec": spec})
            found = await until(api, lambda all_: all_[name].get("status"))
            assert found[name]["status"]["conditions"][0]["status"] == "False"
            table = await api.ok("GET", f"{SERVICES}/{name}", accept=TABLE)
            assert table["rows"][0]["cells"][1:3] == ["kube-system/metrics", "False (ServiceNotFound)"]
            status, answer = await api.call("POST", SERVICES, {"metadata": {"name": "x"}, "spec": spec})
            assert status == 422
            assert 'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`' in answer["message"]

    asyncio.run(run())


def test_a_watch_sends_tables_with_their_columns_once():
    async def run():
        async with Api() as api:
            path = "/api/v1/namespaces/default/configmaps"
            revision = (await api.ok("POST", path, config_map("a", {"k": "v"})))["metadata"]["resourceVersion"]
            await api.ok("POST", path, config_map("b"))
            response = await api.respond("GET", f"{path}?watch=1&resourceVersion={int(revision) - 1}", accept=TABLE)
            pieces, lines = response.body, []
            while len(lines) < 2:
                lines += (await asyncio.wait_for(anext(pieces), 10)).splitlines()
            await pieces.aclose()
            first, second = (json.loads(line)["object"] for line in lines)
            assert [one["name"] for one in first["columnDefinitions"]] == ["Name", "Data", "Age"]
            assert first["rows"][0]["cells"][:2] == ["a", 1]
            assert second["columnDefinitions"] == []
            assert second["rows"][0]["object"]["kind"] == "PartialObjectMetadata"

    asyncio.run(run())
