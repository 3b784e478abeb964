"""Where pods go and why they do not, in the original's words: taints, affinity, spread, ports, room, and who goes for whom."""

from __future__ import annotations

import asyncio

import pytest

from gureum.kube.controllers.nodes.telling import AT_ONCE
from gureum.kube.scheduling.facts import Known, NodeFacts, pod_facts, requests_of
from gureum.kube.scheduling.filters import Wish, misfit
from gureum.kube.scheduling.scores import best_of
from tests.kube.api import Api
from tests.kube.test_controllers import PODS, node, until
from tests.kube.test_volumes import told

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
EVENTS = "/api/v1/namespaces/default/events"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


def node_in(zone, name="n1", **spec):
    made = node(name, cpu="2")
    made["metadata"]["labels"] = {"zone": zone, "kubernetes.io/hostname": name}
    return {**made, "spec": spec}


def pod(name="p", labels=None, cpu="100m", **spec):
    container = {"name": "c", "image": "nginx:1", "resources": {"requests": {"cpu": cpu}}}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels or {}},
        "spec": {"containers": [container], **spec},
    }


def company(kind, when=REQUIRED, key="zone", **labels):
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": key}
    terms = [term] if when == REQUIRED else [{"weight": 100, "podAffinityTerm": term}]
    return {"affinity": {kind: {when: terms}}}


def on_nodes(operator, *values, key="zone"):
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}


def spread(most=1, when="DoNotSchedule", key="zone", **labels):
    one = {"maxSkew": most, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": {"matchLabels": labels}}
    return {"topologySpreadConstraints": [one]}


def three_nodes():
    """a1 in zone a, b1 in zone b, c1 in zone c: with an app "web" in a, and a lonely one in b that wants none beside it."""
    known = Known()
    for zone in "abc":
        known.put_node(NodeFacts(node_in(zone, f"{zone}1")))
    known.place(pod_facts("k1", pod("k1", {"app": "web"})), "a1")
    known.place(pod_facts("k2", pod("k2", {"app": "lonely"}, **company("podAntiAffinity", app="loud"))), "b1")
    return known


def fitting(known, one):
    wish = Wish(pod_facts("new", one), known, lambda _name: {})
    found = {name: misfit(wish, node, known) for name, node in known.nodes.items()}
    return sorted(name for name, why in found.items() if why is None), {
        reason for why in found.values() if why for reason in why.reasons
    }


@pytest.mark.parametrize(
    ("one", "nodes", "reason"),
    [
        (pod(), ["a1", "b1", "c1"], None),
        (pod(nodeSelector={"zone": "b"}), ["b1"], "node(s) didn't match Pod's node affinity/selector"),
        (pod(**on_nodes("NotIn", "a")), ["b1", "c1"], "node(s) didn't match Pod's node affinity/selector"),
        (pod(**on_nodes("Exists", key="gpu")), [], "node(s) didn't match Pod's node affinity/selector"),
        (pod(cpu="1950m"), ["c1"], "Insufficient cpu"),
        (pod(cpu="3"), [], "Insufficient cpu"),
        (pod(**company("podAffinity", app="web")), ["a1"], "node(s) didn't match pod affinity rules"),
        (pod(**company("podAffinity", app="new")), [], "node(s) didn't match pod affinity rules"),
        (pod(labels={"app": "new"}, **company("podAffinity", app="new")), ["a1", "b1", "c1"], None),
        (pod(**company("podAntiAffinity", app="web")), ["b1", "c1"], "node(s) didn't match pod anti-affinity rules"),
        (pod(labels={"app": "loud"}), ["a1", "c1"], "node(s) didn't satisfy existing pods anti-affinity rules"),
        (
            pod(labels={"app": "web"}, **spread(app="web")),
            ["b1", "c1"],
            "node(s) didn't match pod topology spread constraints",
        ),
        (pod(labels={"app": "web"}, **spread(2, app="web")), ["a1", "b1", "c1"], None),
        (
            pod(**spread(key="rack")),
            [],
            "node(s) didn't match pod topology spread constraints (missing required label)",
        ),
    ],
)
def test_which_nodes_fit(one, nodes, reason):
    assert fitting(three_nodes(), one) == (nodes, {reason} if reason else set())


def test_taints_cordons_and_ports():
    known = three_nodes()
    known.put_node(NodeFacts(node_in("a", "a1", unschedulable=True)))
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    known.put_node(NodeFacts(node_in("b", "b1", taints=[taint])))
    reasons = {"node(s) were unschedulable", "node(s) had untolerated taint {gpu: yes}"}
    assert fitting(known, pod()) == (["c1"], reasons)
    tolerant = pod(tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert fitting(known, tolerant)[0] == ["b1", "c1"]
    listening = pod()
    listening["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
    known.place(pod_facts("k3", listening), "c1")
    assert "node(s) didn't have free ports for the requested pod ports" in fitting(known, listening)[1]


def test_what_is_preferred():
    known = three_nodes()

    def best(one):
        wish = Wish(pod_facts("new", one), known, lambda _name: {})
        return best_of(wish, list(known.nodes.values()), known, lambda _name: {}).name

    assert best(pod()) == "c1"
    assert best(pod(**company("podAffinity", PREFERRED, app="web"))) == "a1"
    assert best(pod(**company("podAntiAffinity", PREFERRED, app="web"), cpu="1")) == "c1"
    preference = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    wished = {"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 10, "preference": preference}]}}}
    assert best(pod(**wished)) == "b1"
    soft = {"key": "old", "effect": "PreferNoSchedule"}
    known.put_node(NodeFacts(node_in("c", "c1", taints=[soft])))
    assert best(pod()) != "c1"


def test_what_a_pod_asks_for():
    def container(cpu, **more):
        return {"name": "x", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("100m"), container("0.2")],
        "initContainers": [container("50m", restartPolicy="Always"), container("1")],
        "overhead": {"cpu": "10m"},
    }
    assert requests_of(spec) == {"cpu": 1060, "pods": 1000}


def test_more_important_pods_take_the_place_of_others():
    async def run():
        async with Api() as api:
            await api.ok("POST", CLASSES, {"metadata": {"name": "high"}, "value": 1000})
            await api.ok("POST", "/api/v1/nodes", node("n1", cpu="2"))
            await until(lambda: _ready(api))
            for name in ("low-1", "low-2"):
                await api.ok("POST", PODS, pod(name, cpu="1"))
            await until(lambda: _running(api, {"low-1", "low-2"}))
            meek = pod("meek", cpu="1", priorityClassName="meek")
            await api.ok("POST", CLASSES, {"metadata": {"name": "meek"}, "value": 1000, "preemptionPolicy": "Never"})
            await api.ok("POST", PODS, meek)
            assert await told(api, "FailedScheduling") == (
                "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
                "preemption: not eligible due to preemptionPolicy=Never."
            )
            await api.ok("DELETE", f"{PODS}/meek")
            await api.ok("POST", PODS, pod("high", cpu="1", priorityClassName="high"))
            left = await until(lambda: _running(api, {"high"}))
            assert len(left) == 2  # one of the others was enough
            assert (await told(api, "Preempted")).endswith("on node n1")
            high = await api.ok("GET", f"{PODS}/high")
            assert "nominatedNodeName" not in high["status"]

    async def _ready(api):
        return not (await api.ok("GET", "/api/v1/nodes/n1"))["spec"].get("taints")

    async def _running(api, names):
        pods = (await api.ok("GET", PODS))["items"]
        running = {one["metadata"]["name"] for one in pods if one["status"].get("phase") == "Running"}
        return running if names <= running else None

    asyncio.run(run())


def test_a_pod_is_told_why_and_goes_when_a_node_changes():
    async def run():
        async with Api() as api:
            await api.ok("POST", PODS, pod(nodeSelector={"disk": "fast"}))
            assert await told(api, "FailedScheduling") == "no nodes available to schedule pods"
            await api.ok("POST", "/api/v1/nodes", node("n1"))

            async def message():
                found = (await api.ok("GET", f"{PODS}/p"))["status"]["conditions"][0]["message"]
                return found if "affinity" in found else None

            assert await until(message) == (
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, "
                "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            )
            await api.patch("/api/v1/nodes/n1", {"metadata": {"labels": {"disk": "fast"}}})

            async def placed():
                return (await api.ok("GET", f"{PODS}/p"))["spec"].get("nodeName")

            assert await until(placed) == "n1"

    asyncio.run(run())


def test_all_are_told_why_in_the_end_and_nobody_of_a_reason_that_is_overtaken():
    count = AT_ONCE + 4

    async def run():
        async with Api() as api:
            for number in range(count):
                await api.ok("POST", PODS, pod(f"p{number}", nodeSelector={"disk": "fast"}))
            await api.ok("POST", "/api/v1/nodes", node("n1"))
            await api.patch("/api/v1/nodes/n1", {"metadata": {"labels": {"disk": "fast"}}})

            async def settled():
                pods = (await api.ok("GET", PODS))["items"]
                return all(one["spec"].get("nodeName") for one in pods)

            await until(settled)
            for number in range(count):
                await api.ok("POST", PODS, pod(f"q{number}", nodeSelector={"disk": "none"}))

            async def all_told():
                events = (await api.ok("GET", f"{EVENTS}?fieldSelector=reason=FailedScheduling&limit=1000"))["items"]
                told = {one["involvedObject"]["name"] for one in events}
                return {f"q{number}" for number in range(count)} <= told

            await until(all_told)
            for one in (await api.ok("GET", PODS))["items"]:
                (said,) = (it for it in one["status"]["conditions"] if it["type"] == "PodScheduled")
                assert said["status"] == ("True" if one["spec"].get("nodeName") else "False")

    asyncio.run(run())


def test_a_pod_that_is_no_jobs_runs_on_on_a_simulated_node():
    async def run():
        async with Api() as api:
            await api.ok("POST", "/api/v1/nodes", node("n1"))
            await api.ok("POST", PODS, pod(restartPolicy="Never"))

            async def running():
                return (await api.ok("GET", f"{PODS}/p"))["status"].get("phase") == "Running"

            await until(running)
            while not api.cluster.controllers.idle:
                await asyncio.sleep(0)
            assert await running()

    asyncio.run(run())


def test_a_pod_that_is_woken_twice_or_bound_by_others_counts_once_where_it_is():
    async def run():
        async with Api() as api:
            worker = next(one for one in api.cluster.controllers._workers if one.controller.name == "scheduler")
            scheduler = worker.controller.reconcile.__self__
            await api.ok("POST", "/api/v1/nodes", node("n1", cpu="2"))
            await api.ok("POST", "/api/v1/nodes", node("n2", cpu="2"))
            await api.ok("POST", PODS, pod(cpu="1", schedulerName="other"))
            key = api.cluster.objects.key("core/pods", "default", "p")
            found = api.cluster.client.seen(key)
            scheduler._queue.append((0, "", key, found[0].revision))
            binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n2"}}
            await api.ok("POST", f"{PODS}/p/binding", binding)
            # It was looked at before the other's binding, and is decided on behind it.
            facts = pod_facts(key, found[1])
            assert scheduler._next(api.cluster.client) is None
            await scheduler._bind(api.cluster.client, facts, found, "n1", [])
            assert scheduler._known.nodes["n1"].used.get("cpu", 0) == 0
            assert scheduler._known.nodes["n2"].used["cpu"] == 1000

    asyncio.run(run())
