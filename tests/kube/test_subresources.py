"""Scale, eviction and binding."""

from __future__ import annotations

import asyncio

import pytest

from tests.kube.api import APPLY, MERGE, STRATEGIC, Api
from tests.kube.test_controllers import APPS, PODS, deployment, node, rolled_out, until


def test_scale_reads_and_sets_replicas():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{APPS}/deployments", deployment(replicas=1))
            await rolled_out(api)
            scale = await api.ok("GET", f"{APPS}/deployments/web/scale")
            assert (scale["kind"], scale["spec"], scale["status"]) == (
                "Scale",
                {"replicas": 1},
                {"replicas": 1, "selector": "app=web"},
            )
            await api.patch(f"{APPS}/deployments/web/scale", {"spec": {"replicas": 3}})
            assert (await rolled_out(api))["status"]["replicas"] == 3
            scale["spec"]["replicas"] = 2
            assert (await api.call("PUT", f"{APPS}/deployments/web/scale", scale))[0] == 409

    asyncio.run(run())


def test_a_scale_has_a_table_and_tells_all_of_the_selector():
    async def run():
        async with Api() as api:
            web = deployment(replicas=1)
            web["spec"]["selector"]["matchExpressions"] = [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
                {"key": "old", "operator": "DoesNotExist"},
            ]
            labels = web["spec"]["template"]["metadata"]["labels"]
            web["spec"]["template"]["metadata"]["labels"] = {**labels, "tier": "a"}
            await api.ok("POST", f"{APPS}/deployments", web)
            path = f"{APPS}/deployments/web/scale"
            assert (await api.ok("GET", path))["status"]["selector"] == "app=web,!old,tier in (a,b)"
            accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
            table = await api.ok("GET", path, accept=accept)
            assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
            assert table["rows"][0]["cells"][:2] == ["web", 1]

    asyncio.run(run())


def test_a_pod_that_was_bound_is_of_its_first_generation():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            made = await api.ok(
                "POST", PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
            )

            async def bound():
                found = await api.ok("GET", f"{PODS}/p")
                return found if found["spec"].get("nodeName") else None

            assert made["metadata"]["generation"] == (await until(bound))["metadata"]["generation"] == 1

    asyncio.run(run())


def test_replicas_set_by_scale_are_managed_as_such():
    """Who applies a scale takes part in the conflicts of who applies the object."""
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}}

    async def run():
        async with Api() as api:
            path = f"{APPS}/deployments/web"
            made = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment(replicas=1)}
            await api.patch(f"{path}?fieldManager=one", made, APPLY)
            status, answer = await api.call("PATCH", f"{path}/scale?fieldManager=two", scale, content_type=APPLY)
            assert (status, answer["message"]) == (
                409,
                'Apply failed with 1 conflict: conflict with "one": .spec.replicas',
            )
            await api.patch(f"{path}/scale?fieldManager=two&force=true", scale, APPLY)
            assert await _owner_of_replicas(api) == [("two", "Apply", "scale")]
            await api.patch(f"{path}/scale?fieldManager=three", {"spec": {"replicas": 5}})
            assert await _owner_of_replicas(api) == [("three", "Update", "scale")]

    asyncio.run(run())


async def _owner_of_replicas(api):
    found = (await api.ok("GET", f"{APPS}/deployments/web"))["metadata"]["managedFields"]
    return [
        (one["manager"], one["operation"], one.get("subresource"))
        for one in found
        if "f:replicas" in one["fieldsV1"].get("f:spec", {})
    ]


def test_eviction_is_refused_when_the_budget_is_used_up():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node())
            await api.ok("POST", f"{APPS}/deployments", deployment(replicas=1))
            await rolled_out(api)
            budget = {
                "metadata": {"name": "b"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
            }
            path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
            await api.ok("POST", path, budget)
            made = await api.ok("GET", f"{path}/b")
            await api.ok(
                "PUT",
                f"{path}/b/status",
                {
                    **made,
                    "status": {
                        "disruptionsAllowed": 0,
                        "observedGeneration": 1,
                        "currentHealthy": 1,
                        "desiredHealthy": 1,
                        "expectedPods": 1,
                    },
                },
            )
            pod = (await api.ok("GET", PODS))["items"][0]["metadata"]["name"]
            status, answer = await api.call("POST", f"{PODS}/{pod}/eviction", {"metadata": {"name": pod}})
            assert (status, answer["reason"]) == (429, "TooManyRequests")
            await api.patch(f"{path}/b", {"spec": {"minAvailable": 0}})

            async def roomy():
                return (await api.ok("GET", f"{path}/b"))["status"]["disruptionsAllowed"] == 1

            await until(roomy)
            dry = {"metadata": {"name": pod}, "deleteOptions": {"dryRun": ["All"]}}
            await api.ok("POST", f"{PODS}/{pod}/eviction", dry)
            assert "disruptedPods" not in (await api.ok("GET", f"{path}/b"))["status"]
            await api.patch(f"{path}/b", {"spec": {"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}})
            sick = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
            await api.patch(f"{PODS}/{pod}/status", sick, STRATEGIC)
            await api.ok("POST", f"{PODS}/{pod}/eviction", {"metadata": {"name": pod}})

            async def gone():
                return (await api.call("GET", f"{PODS}/{pod}"))[0] == 404

            await until(gone)

    asyncio.run(run())


def test_a_pod_is_bound_once():
    async def run():
        async with Api() as api:
            pod = {
                "metadata": {"name": "p"},
                "spec": {"schedulerName": "mine", "containers": [{"name": "c", "image": "x"}]},
            }
            await api.ok("POST", PODS, pod)
            wanted = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
            await api.ok("POST", f"{PODS}/p/binding", wanted)
            assert (await api.ok("GET", f"{PODS}/p"))["spec"]["nodeName"] == "n1"
            assert (await api.call("POST", f"{PODS}/p/binding", wanted))[0] == 409

    asyncio.run(run())


def test_a_token_is_bound_to_what_is_really_meant():
    path = "/api/v1/namespaces/default"

    async def run():
        async with Api() as api:
            await api.ok("POST", f"{path}/secrets", {"metadata": {"name": "s"}})
            for reference, code, text in (
                ({"kind": "Secret", "name": "s", "uid": "x"}, 409, "does not match the UID in record"),
                ({"kind": "Secret", "name": "t"}, 404, 'secrets "t" not found'),
                ({"kind": "ConfigMap", "name": "t"}, 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
            ):
                body = {"spec": {"boundObjectRef": {"apiVersion": "v1", **reference}}}
                status, answer = await api.call("POST", f"{path}/serviceaccounts/default/token", body)
                assert status == code
                assert text in answer["message"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        ("DELETE", "", {"gracePeriodSeconds": "a"}, "string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"),
        ("DELETE", "", {"preconditions": "a"}, "string into Go struct field DeleteOptions.preconditions of type v1.Preconditions"),
        ("DELETE", "", {"orphanDependents": "a"}, "string into Go struct field DeleteOptions.orphanDependents of type bool"),
        ("POST", "/eviction", {"metadata": "a"}, "string into Go struct field Eviction.metadata of type v1.ObjectMeta"),
        ("POST", "/eviction", {"deleteOptions": "a"}, "string into Go struct field Eviction.deleteOptions of type v1.DeleteOptions"),
        ("POST", "/binding", {"target": "a"}, "string into Go struct field Binding.target of type v1.ObjectReference"),
        ("PUT", "/scale", {"spec": "a"}, "string into Go struct field Scale.spec of type v1.ScaleSpec"),
        ("PATCH", "/scale", {"spec": {"replicas": "a"}}, "string into Go struct field ScaleSpec.spec.replicas of type int32"),
        ("POST", "/token", {"spec": "a"}, "string into Go struct field TokenRequest.spec of type v1.TokenRequestSpec"),
    ],
)  # fmt: skip
def test_what_is_no_object_of_its_own_has_a_shape_too(method, path, body, text):
    start = "/api/v1/namespaces/default"
    labels, pod = {"a": "b"}, {"containers": [{"name": "c", "image": "c"}]}
    controller = {"metadata": {"name": "default"}, "spec": {"selector": labels, "replicas": 0}}
    controller["spec"]["template"] = {"metadata": {"labels": labels}, "spec": pod}

    async def run():
        async with Api() as api:
            await api.ok("POST", f"{start}/pods", {"metadata": {"name": "default"}, "spec": pod})
            await api.ok("POST", f"{start}/replicationcontrollers", controller)
            plural = {"/scale": "replicationcontrollers", "/token": "serviceaccounts"}.get(path, "pods")
            kind = MERGE if method == "PATCH" else "application/json"
            status, answer = await api.call(method, f"{start}/{plural}/default{path}", body, content_type=kind)
            assert (status, answer["reason"]) == (400, "BadRequest")
            assert answer["message"].endswith(f"json: cannot unmarshal {text}")

    asyncio.run(run())
