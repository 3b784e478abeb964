"""Whatever is sent, the API answers with its own Status errors, and nothing within breaks (Api asserts that when it closes)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gureum.kube.errors import StatusError
from gureum.kube.selectors import parse_fields, parse_labels
from tests.kube.api import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api
from tests.kube.test_controllers import deployment
from tests.kube.test_custom import DEFINITIONS, definition

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(max_size=40))
def test_selectors_are_understood_or_refused(text):
    for parse in (parse_labels, lambda one: parse_fields(one, "core/pods")):
        with contextlib.suppress(StatusError):
            parse(text)


def samples():
    metadata = {"name": "x"}
    container = {
        "name": "c",
        "image": "i",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1"}},
        "env": [{"name": "A"}],
    }
    pod = {
        "containers": [container],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "tolerations": [{"key": "k", "operator": "Exists"}],
    }
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
    port = {"port": 80, "targetPort": "http"}
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    v1, apps = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default"
    return {
        f"{v1}/pods": {"metadata": metadata, "spec": pod},
        f"{v1}/services": {"metadata": metadata, "spec": {"selector": labels, "ports": [port], "type": "NodePort"}},
        f"{v1}/configmaps": {"metadata": metadata, "data": {"a": "b"}},
        f"{v1}/secrets": {"metadata": metadata, "stringData": {"a": "b"}, "type": "Opaque"},
        f"{v1}/persistentvolumeclaims": {"metadata": metadata, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},  # noqa: E501
        f"{v1}/resourcequotas": {"metadata": metadata, "spec": {"hard": {"count/things": "1"}}},
        f"{v1}/limitranges": {"metadata": metadata, "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}}]}},
        f"{v1}/events": {"metadata": metadata, "involvedObject": {"kind": "Pod", "name": "x"}, "reason": "r"},
        f"{apps}/deployments": deployment("x"),
        f"{apps}/statefulsets": {"metadata": metadata, "spec": {"serviceName": "s", "selector": {"matchLabels": labels}, "template": template}},
        f"{apps}/daemonsets": {"metadata": metadata, "spec": {"selector": {"matchLabels": labels}, "template": template}},
        "/apis/batch/v1/namespaces/default/jobs": {"metadata": metadata, "spec": job},
        "/apis/batch/v1/namespaces/default/cronjobs": {"metadata": metadata, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}},
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses": {"metadata": metadata, "spec": {"rules": [{"host": "a.b", "http": {"paths": [path]}}]}},  # noqa: E501
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles": {"metadata": metadata, "rules": [rule]},
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings": {"metadata": metadata, "roleRef": reference, "subjects": [{"kind": "User", "name": "u"}]},  # noqa: E501
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets": {"metadata": metadata, "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}}},  # noqa: E501
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": {"metadata": metadata, "spec": {"maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}},  # noqa: E501
        "/apis/example.com/v1/namespaces/default/things": {"metadata": metadata, "spec": {"size": 1}},
        "/api/v1/nodes": {"metadata": metadata, "status": {"allocatable": {"cpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]}},
        "/api/v1/namespaces": {"metadata": metadata},
        DEFINITIONS: definition(),
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": {"metadata": metadata, "webhooks": []},
        "/apis/authorization.k8s.io/v1/subjectaccessreviews": {"spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}},
    }  # fmt: skip


ODD = (
    None,
    True,
    0,
    -1,
    2**40,
    1.5,
    "",
    "x",
    "1Gi",
    "%",
    "a/b/c",
    "é" * 70,
    [],
    [None],
    [1],
    {},
    {"a": None},
    {"a": {"b": []}},
    [{}],
    [[]],
)


def spoiled(value, random_):
    """The value with one part exchanged, taken away or added."""
    value = json.loads(json.dumps(value))
    places = []

    def walk(holder):
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                walk(holder[key])

    walk(value)
    holder, key = random_.choice(places)
    way = random_.randrange(4)
    if way == 0 and isinstance(holder, dict):
        del holder[key]
    elif way == 1 and isinstance(holder[key], dict):
        holder[key][random_.choice(("", "x", "name", "spec", "uid", "finalizers"))] = random_.choice(ODD)
    else:
        holder[key] = random_.choice(ODD)
    return value


@pytest.mark.parametrize("seed", range(2))
def test_spoiled_bodies_and_patches_are_refused_in_the_apis_own_words(seed):
    async def run():
        random_ = random.Random(seed)
        async with Api() as api:
            await api.ok("POST", DEFINITIONS, definition())
            for path, body in samples().items():
                status, answer = await api.call("POST", path, body)
                assert status in (201, 409), answer
            for _ in range(700):
                path, body = random_.choice(list(samples().items()))
                bad = spoiled(body, random_)
                way = random_.randrange(5)
                if way == 0:
                    bad["metadata"] = {"generateName": "g-"} if random_.random() < 0.7 else bad.get("metadata")
                    response = await api.respond("POST", f"{path}?dryRun=All", bad)
                elif way == 1:
                    response = await api.respond("PUT", f"{path}/x", bad)
                else:
                    kind = random_.choice((MERGE, STRATEGIC, APPLY, JSON_PATCH))
                    if kind == JSON_PATCH:
                        at = random_.choice(
                            (
                                "/spec",
                                "/metadata/name",
                                "/metadata",
                                "/status",
                                "/spec/template/spec/containers/0",
                                "/a/b",
                                "",
                                "spec",
                            )
                        )
                        bad = [
                            {
                                "op": random_.choice(("add", "remove", "replace", "test", "copy", "x")),
                                "path": at,
                                "value": random_.choice(ODD),
                                "from": "/spec",
                            }
                        ]
                    elif kind == APPLY and random_.random() < 0.8:
                        group = path.split("/")
                        bad |= {
                            "apiVersion": "v1" if group[1] == "api" else f"{group[2]}/{group[3]}",
                            "kind": (await api.call("GET", f"{path}/x"))[1].get("kind"),
                        }
                    suffix = random_.choice(("", "", "/status"))
                    response = await api.respond("PATCH", f"{path}/x{suffix}?fieldManager=m", bad, content_type=kind)
                untyped = b'"failed to create typed patch object' in response.body  # a 500 of the original, too
                assert response.status < 500 or untyped, (path, bad, response.body)
                if response.status >= 400:
                    assert json.loads(response.body)["kind"] == "Status"
            await asyncio.sleep(0.1)

    asyncio.run(run())


@settings(max_examples=60)
@given(
    JSON,
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    st.sampled_from([MERGE, STRATEGIC, APPLY, JSON_PATCH, "application/json"]),
)
def test_any_json_is_answered(body, method, media):
    async def run():
        async with Api() as api:
            for path in (
                "/api/v1/namespaces/default/pods",
                "/api/v1/namespaces/default/pods/x",
                "/api/v1/nodes/x/status",
            ):
                response = await api.respond(method, path, json.dumps(body).encode(), content_type=media)
                assert response.status < 500, response.body

    asyncio.run(run())


@pytest.mark.parametrize(
    "path",
    ["/api//v1", "/api/v1/namespaces/%2e%2e/pods/%2f", "/apis/apps/v1/deployments/x/y/z", "/%ff", "/openapi/v3/apis/x", "/apis/x/y/z?watch=%00"],
)  # fmt: skip
def test_odd_paths_are_not_found(path):
    async def run():
        async with Api() as api:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
                response = await api.respond(method, path, b"{}")
                assert 400 <= response.status < 500, (method, response.body)

    asyncio.run(run())


@pytest.mark.parametrize("field", ["kind", "apiVersion"])
def test_a_head_that_is_no_text_is_refused_and_not_shown_as_a_whole(field):
    maps = "/api/v1/namespaces/default/configmaps"

    async def run():
        async with Api() as api:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}} | {field: ["x"] * 10_000}
            status, error = await api.call("POST", maps, body)
            assert status == 400
            assert f"json: cannot unmarshal array into Go struct field .{field} of type string" in error["message"]
            status, error = await api.call("PATCH", f"{maps}/x?fieldManager=f", body, content_type=APPLY)
            assert status == 400
            assert len(error["message"]) < 1000

    asyncio.run(run())


def test_warnings_are_no_more_than_a_header_can_carry():
    async def run():
        async with Api() as api:
            maps = "/api/v1/namespaces/default/configmaps?fieldValidation=Warn"
            wrong = {f"{number:03}" + "x" * 900: 1 for number in range(90)}
            response = await api.respond("POST", maps, {"metadata": {"name": "x"}} | wrong)
            assert response.status == 201
            header = response.headers["warning"]
            assert 3500 < len(header) < 4500
            assert header.startswith('299 - "unknown field \\"000xxx')
            few = {"metadata": {"name": "y"}, "a": 1, "b": 2}
            header = (await api.respond("POST", maps, few)).headers["warning"]
            assert header == '299 - "unknown field \\"a\\"", 299 - "unknown field \\"b\\""'

    asyncio.run(run())
