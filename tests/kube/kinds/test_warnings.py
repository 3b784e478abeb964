"""Warnings about what is taken. Source: k8s.io/kubernetes, pkg/api/pod/warnings.go."""

from __future__ import annotations

import asyncio

import pytest

from gureum.kube.kinds.warnings import of_new
from tests.kube.api import APPLY, Api

APPS = "/apis/apps/v1/namespaces/default"


def told(spec=None, **container):
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "x", **container}], **(spec or {})},
    }
    return of_new("core/pods", pod)


@pytest.mark.parametrize(
    ("env", "hidden"),
    [
        ([{"name": "A", "value": "1"}, {"name": "B"}], False),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], True),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}], False),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)"}], True),
        ([{"name": "A"}, {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], True),
    ],
)
def test_a_variable_that_hides_another(env, hidden):
    text = 'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'
    assert told(env=env) == ([text] if hidden else [])


def test_what_a_pod_may_say_but_should_not():
    term = {"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}]}
    spec = {
        "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"preference": term}]}},
        "topologySpreadConstraints": [{"topologyKey": "zone"}],
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
    }
    preferred = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    place = f"{preferred}[0].preference.matchExpressions[0]"
    assert told(spec, resources={"limits": {"memory": "100m", "cpu": "100m"}}) == [
        'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        f'{place}.key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead',
        "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
        'spec.imagePullSecrets[1].name: duplicate name "a"',
        'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
    ]


def test_clients_are_told_once_it_is_taken_and_of_templates_when_they_change():
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x", "env": env}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": pod}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    text = "spec.template.spec.containers[0].env[1]: hides previous definition"

    async def run():
        async with Api() as api:
            path = f"{APPS}/deployments/d"

            async def warned(method, path, body=None, **headers):
                response = await api.respond(method, path, body, **headers)
                assert response.status < 300
                return response.headers.get("warning", "")

            assert text in await warned("POST", f"{APPS}/deployments", deployment)
            merge = {"content_type": "application/merge-patch+json"}
            assert not await warned("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, **merge)
            assert text in await warned("PATCH", path, {"spec": {"minReadySeconds": 1}}, **merge)
            ingress = {"metadata": {"name": "i", "annotations": {"kubernetes.io/ingress.class": "x"}}}
            rules = {"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 1}}}}}
            ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
            applied = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"} | ingress | rules
            use = "please use 'spec.ingressClassName' instead"
            path = f"{ingresses}/i?fieldManager=f"
            assert use in await warned("PATCH", path, applied, content_type=APPLY)
            assert not await warned("PATCH", path, applied, content_type=APPLY)
            assert "Endpoints is deprecated in v1.33+" in await warned("GET", "/api/v1/endpoints")

    asyncio.run(run())
