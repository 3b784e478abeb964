"""Nodes that nobody hears of, what becomes of their pods, and nodes that are gone: on a clock that is set by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import mkdtemp

from gureum.base.sealing import Sealer
from gureum.kube.cluster import Cluster
from gureum.kube.times import micro_timestamp
from gureum.store.memory import MemoryStore
from tests.kube.api import Api
from tests.kube.test_controllers import PODS, node, until
from tests.kube.test_volumes import told

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class Timed(Api):
    """`pass_s`: time goes by, and every controller that waits for a time looks again."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp())
        self.clock = Clock()
        self.store = MemoryStore()
        self.cluster = Cluster("default", self.store, Sealer(self.folder / "key"), self.clock)

    async def pass_s(self, seconds: float) -> None:
        self.clock.time += seconds
        await self.settle()
        for worker in self.cluster.controllers._workers:
            for key in list(worker._timers):
                worker.wake(key)
        await self.settle()

    async def settle(self) -> None:
        await until(self._is_idle)

    async def _is_idle(self):
        await asyncio.sleep(0.01)
        return self.cluster.controllers.idle


def real(name):
    made = node(name)
    del made["metadata"]["annotations"]
    return made


def lease(api, name):
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(api.clock.now())}
    return {"metadata": {"name": name}, "spec": spec}


def pod(name, on, *tolerations):
    spec = {"nodeName": on, "containers": [{"name": "c", "image": "nginx:1"}], "tolerations": list(tolerations)}
    return {"metadata": {"name": name}, "spec": spec}


async def taints(api, name):
    found = await api.ok("GET", f"/api/v1/nodes/{name}")
    return {(one["key"], one["effect"]) for one in found.get("spec", {}).get("taints") or ()}


def test_a_node_that_falls_silent_is_unknown_and_its_pods_go_as_they_tolerate_it():
    async def run():
        async with Timed() as api:
            for name in ("n1", "n2"):
                await api.ok("POST", "/api/v1/nodes", real(name))
                await api.ok("POST", LEASES, lease(api, name))
            forever = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
            await api.ok("POST", PODS, pod("short", "n2", {**forever, "tolerationSeconds": 60}))
            await api.ok("POST", PODS, pod("usual", "n2"))
            await api.ok("POST", PODS, pod("loyal", "n2", forever))
            await api.ok("POST", PODS, pod("elsewhere", "n1"))
            ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
            await api.patch(f"{PODS}/loyal/status", {"status": ready})
            await api.settle()
            for _ in range(3):  # one renews its lease, the other does not
                await api.pass_s(20)
                await api.patch(f"{LEASES}/n1", {"spec": {"renewTime": micro_timestamp(api.clock.now())}})
            await api.settle()
            silent = await api.ok("GET", "/api/v1/nodes/n2")
            states = {one["type"]: (one["status"], one["reason"]) for one in silent["status"]["conditions"]}
            assert states["Ready"] == ("Unknown", "NodeStatusUnknown")
            assert states["DiskPressure"] == ("Unknown", "NodeStatusNeverUpdated")
            unreachable = "node.kubernetes.io/unreachable"
            assert await taints(api, "n2") == {(unreachable, "NoSchedule"), (unreachable, "NoExecute")}
            assert await taints(api, "n1") == set()
            loyal = await api.ok("GET", f"{PODS}/loyal")
            assert next(one for one in loyal["status"]["conditions"] if one["type"] == "Ready")["status"] == "False"
            assert await told(api, "NodeNotReady") == "Node n2 status is now: NodeNotReady"
            assert await leaving(api) == set()

            async def heartbeat():
                await api.patch(f"{LEASES}/n1", {"spec": {"renewTime": micro_timestamp(api.clock.now())}})

            for _ in range(2):
                await api.pass_s(35)
                await heartbeat()
            assert await leaving(api) == {"short"}
            assert await told(api, "TaintManagerEviction") == "Marking for deletion Pod default/short"
            for _ in range(8):
                await api.pass_s(30)
                await heartbeat()
            assert await leaving(api) == {"short", "usual"}
            # It comes back: a heartbeat says that it is ready.
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2027-01-15T08:10:00Z"}
            await api.patch("/api/v1/nodes/n2/status", {"status": {"conditions": [ready]}})
            await api.settle()
            assert await taints(api, "n2") == set()

    async def leaving(api):
        pods = (await api.ok("GET", PODS))["items"]
        return {one["metadata"]["name"] for one in pods if one["metadata"].get("deletionTimestamp")}

    asyncio.run(run())


def test_while_no_node_is_ready_nobody_is_evicted_and_pods_of_a_gone_node_go():
    async def run():
        async with Timed() as api:
            await api.ok("POST", "/api/v1/nodes", real("n1"))
            await api.ok("POST", PODS, pod("p", "n1"))
            await api.settle()
            await api.pass_s(60)
            await api.pass_s(600)
            assert await taints(api, "n1") == {("node.kubernetes.io/unreachable", "NoSchedule")}
            assert "deletionTimestamp" not in (await api.ok("GET", f"{PODS}/p"))["metadata"]
            await api.ok("DELETE", "/api/v1/nodes/n1")
            await api.settle()
            assert (await api.ok("GET", f"{PODS}/p"))["status"]["conditions"][-1]["reason"] == "DeletionByPodGC"
            await api.pass_s(41)
            assert (await api.call("GET", f"{PODS}/p"))[0] == 404

    asyncio.run(run())


def test_cordoned_nodes_and_pressure_are_tainted_and_others_taints_kept():
    async def run():
        async with Timed() as api:
            made = node("n1")
            made["spec"] = {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}
            made["status"]["conditions"].append({"type": "DiskPressure", "status": "True"})
            await api.ok("POST", "/api/v1/nodes", made)
            await api.settle()
            pressed = {("gpu", "NoSchedule"), ("node.kubernetes.io/disk-pressure", "NoSchedule")}
            assert await taints(api, "n1") == pressed
            await api.patch("/api/v1/nodes/n1", {"spec": {"unschedulable": True}})
            await api.settle()
            assert await taints(api, "n1") == {*pressed, ("node.kubernetes.io/unschedulable", "NoSchedule")}
            await api.patch("/api/v1/nodes/n1", {"spec": {"unschedulable": None}})
            await api.settle()
            assert await taints(api, "n1") == pressed

    asyncio.run(run())
