"""Autoscalers hold their target within its bounds, and say that nobody measures."""

from __future__ import annotations

import asyncio

from tests.kube.api import APPLY, Api
from tests.kube.test_controllers import APPS, deployment, until
from tests.kube.test_volumes import told

SCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"


def scaler(name="web", least=2, most=4):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most},
    }


async def conditions(api, name, type_, status):
    async def look():
        found = (await api.ok("GET", f"{SCALERS}/{name}")).get("status", {}).get("conditions") or ()
        return next((one for one in found if (one["type"], one["status"]) == (type_, status)), None)

    return await until(look)


def test_a_target_is_held_within_bounds_and_that_nothing_is_measured_is_said():
    async def run():
        async with Api() as api:
            await api.ok("POST", SCALERS, scaler())
            missing = await conditions(api, "web", "AbleToScale", "False")
            assert missing["reason"] == "FailedGetScale"
            text = 'the HPA controller was unable to get the target\'s current scale: deployments.apps "web" not found'
            assert missing["message"] == text
            await api.ok("POST", f"{APPS}/deployments", deployment(replicas=1))
            await api.patch(f"{SCALERS}/web", {"metadata": {"labels": {"look": "again"}}})
            assert (
                await told(api, "SuccessfulRescale")
                == "New size: 2; reason: Current number of replicas below Spec.MinReplicas"
            )
            assert (await api.ok("GET", f"{APPS}/deployments/web"))["spec"]["replicas"] == 2
            # Who applies what the controller holds meets a conflict, in the name of the original's program.
            applied = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "web"},
                "spec": {"replicas": 3},
            }
            path = f"{APPS}/deployments/web?fieldManager=me"
            status, refused = await api.call("PATCH", path, applied, content_type=APPLY)
            assert status == 409
            assert 'conflict with "kube-controller-manager" using apps/v1: .spec.replicas' in refused["message"]
            await api.patch(f"{SCALERS}/web", {"metadata": {"labels": {"look": "again-2"}}})
            silent = await conditions(api, "web", "ScalingActive", "False")
            assert silent["reason"] == "FailedGetResourceMetric"
            assert silent["message"] == (
                "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: "
                "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
            )
            status = (await api.ok("GET", f"{SCALERS}/web"))["status"]
            assert (status["currentReplicas"], status["desiredReplicas"]) == (2, 2)
            groups = (await api.ok("GET", "/apis"))["groups"]
            assert "metrics.k8s.io" not in {one["name"] for one in groups}

    asyncio.run(run())
