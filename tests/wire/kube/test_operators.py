"""Operators and clients that are not ours: kopf handles a custom resource to its end, the official Python client reads all of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest

from tests.cloud.running import until
from tests.kube.test_custom import definition, thing

MAPS = "/api/v1/namespaces/default/configmaps"


# Both take a second to import: only by who runs these tests.


@pytest.fixture
def kubernetes(kube):
    """The official client, set to the cluster."""
    found = pytest.importorskip("kubernetes")
    found.config.load_kube_config(str(kube.kubeconfig))
    yield found
    found.client.ApiClient.get_default().rest_client.pool_manager.clear()


@pytest.fixture
def operator(kube, kubernetes, kubectl, monkeypatch):
    """Keeps a config map for each thing, as large as it says; `seen` is what its handlers were called for."""
    kopf = pytest.importorskip("kopf")
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    kubectl("apply", "-f", "-", stdin=json.dumps(_named(definition())))
    registry, seen, maps = kopf.OperatorRegistry(), [], kubernetes.client.CoreV1Api()
    registered = {"registry": registry}

    @kopf.on.login(**registered)
    def login(**arguments):
        return kopf.login_with_kubeconfig(**arguments)

    @kopf.on.create("example.com", "v1", "things", id="create", **registered)
    def create(spec, name, namespace, **_):
        child = {"metadata": {"name": name}, "data": {"size": str(spec["size"])}}
        kopf.adopt(child)
        maps.create_namespaced_config_map(namespace, child)
        seen.append(("create", name))
        return {"made": name}

    @kopf.on.update("example.com", "v1", "things", field="spec.size", **registered)
    def update(new, name, namespace, **_):
        maps.patch_namespaced_config_map(name, namespace, {"data": {"size": str(new)}})
        seen.append(("update", name))

    @kopf.on.delete("example.com", "v1", "things", **registered)
    def delete(name, **_):
        seen.append(("delete", name))

    stop, ready = threading.Event(), threading.Event()
    running = threading.Thread(target=_operate, args=(kopf, registry, ready, stop))
    running.start()
    assert ready.wait(30)
    yield seen
    stop.set()
    running.join(30)
    kubectl("delete", "crd", "things.example.com", "--timeout=30s")


def _operate(kopf, registry, ready, stop):
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    asyncio.run(
        kopf.operator(
            registry=registry, settings=settings, clusterwide=True, standalone=True, ready_flag=ready, stop_flag=stop
        )
    )


def _named(crd):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **crd}


def test_an_operator_makes_changes_and_lets_go(operator, kubectl):
    kubectl("apply", "-f", "-", stdin=json.dumps(thing("t", size=3)))
    size = ("get", "configmap", "t", "-o", "jsonpath={.data.size}")
    until(lambda: ("create", "t") in operator, 30)
    assert kubectl(*size) == "3"
    until(lambda: kubectl("get", "thing", "t", "-o", "jsonpath={.status.create.made}") == "t", 30)
    assert (
        kubectl("get", "thing", "t", "-o", "jsonpath={.metadata.finalizers}")
        == '["kopf.zalando.org/KopfFinalizerMarker"]'
    )
    kubectl("patch", "thing", "t", "--type=merge", "-p", '{"spec":{"size":7}}')
    until(lambda: kubectl(*size) == "7", 30)
    kubectl("delete", "thing", "t", "--timeout=30s")  # waits until the operator has let go
    assert operator == [("create", "t"), ("update", "t"), ("delete", "t")]
    until(lambda: "t" not in kubectl("get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}").split(), 30)


def test_the_official_client_reads_and_writes_with_its_own_types(kubernetes):
    api = kubernetes.client
    core, apps = api.CoreV1Api(), api.AppsV1Api()
    assert {one.metadata.name for one in core.list_namespace().items} >= {"default", "kube-system"}
    assert api.VersionApi().get_code().minor == "34"
    container = api.V1Container(name="a", image="busybox", ports=[api.V1ContainerPort(container_port=80)])
    template = api.V1PodTemplateSpec(
        metadata=api.V1ObjectMeta(labels={"app": "typed"}), spec=api.V1PodSpec(containers=[container])
    )
    selector = api.V1LabelSelector(match_labels={"app": "typed"})
    spec = api.V1DeploymentSpec(replicas=2, selector=selector, template=template)
    made = apps.create_namespaced_deployment(
        "default", api.V1Deployment(metadata=api.V1ObjectMeta(name="typed"), spec=spec)
    )
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    pods = []
    watched = kubernetes.watch.Watch().stream(
        core.list_namespaced_pod, "default", label_selector="app=typed", timeout_seconds=30
    )
    with contextlib.closing(watched):
        for event in watched:
            pods.append(event["object"])
            if len({pod.metadata.name for pod in pods}) == 2:
                break
    assert pods[0].spec.containers[0].ports[0].protocol == "TCP"
    scaled = apps.patch_namespaced_deployment_scale("typed", "default", {"spec": {"replicas": 0}})
    assert scaled.spec.replicas == 0
    with pytest.raises(api.ApiException) as refused:
        apps.create_namespaced_deployment("default", made)
    assert (refused.value.status, refused.value.reason) == (400, "Bad Request")
    made.metadata.resource_version = None
    with pytest.raises(api.ApiException) as refused:
        apps.create_namespaced_deployment("default", made)
    assert refused.value.status == 409
    apps.delete_namespaced_deployment("typed", "default", propagation_policy="Foreground")
