"""Webhooks change, refuse, warn, and fail as their policy says."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import ssl
import threading
import urllib.parse

import pytest

from gureum.kube.pki import Pki
from tests.kube.api import Api, config_map

HOOKS = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def hook(tmp_path):
    """At /mutate: adds `touched: yes` to the data of config maps, or what /patch/ says; refuses those named "bad" or, with no word, "mute";
    mistakes "mistaken"; at /meet waits for a second one who asks, at /crowd for forty; at /pieces answers in two of them. What is asked has
    the path in `by`."""
    asked = []
    met, crowd = threading.Barrier(2, timeout=10), threading.Barrier(40, timeout=20)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            asked.append(request | {"by": self.path.partition("/patch/")[0]})
            response = {"uid": request["uid"], "allowed": request["name"] != "bad", "warnings": ["careful"]}
            if self.path == "/meet":
                met.wait()
            if self.path == "/crowd":
                crowd.wait()
            if request["name"] == "mute":
                response["allowed"] = False
            elif request["name"] == "mistaken":
                response["uid"] = "another"
            elif not response["allowed"]:
                response["status"] = {"message": "no bad names", "code": 422}
            elif self.path.startswith("/mutate"):
                touch = json.dumps([{"op": "add", "path": "/data", "value": {"touched": "yes"}}])
                patch = urllib.parse.unquote(self.path.partition("/patch/")[2]) or touch
                response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
            body = json.dumps(
                {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            ).encode()
            if self.path == "/pieces":
                self.protocol_version = "HTTP/1.1"
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in (body[:5], body[5:], b""):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    pki = Pki(tmp_path / "pki", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server_file)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    yield url, base64.b64encode(pki.authority).decode(), asked
    server.shutdown()
    server.server_close()


def configuration(kind, url, bundle="", **more):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    one = {
        "name": "hook.example.com",
        "clientConfig": {"url": url, "caBundle": bundle},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "h"}, "webhooks": [one]}


def test_a_webhook_changes_warns_and_refuses(hook):
    url, bundle, asked = hook

    async def run():
        async with Api() as api:
            made = configuration("MutatingWebhookConfiguration", f"{url}/mutate", bundle)
            await api.ok("POST", f"{HOOKS}/mutatingwebhookconfigurations", made)
            made = configuration("ValidatingWebhookConfiguration", f"{url}/validate", bundle)
            await api.ok("POST", f"{HOOKS}/validatingwebhookconfigurations", made)
            response = await api.respond("POST", MAPS, config_map("good"))
            assert json.loads(response.body)["data"] == {"touched": "yes"}
            assert response.headers["warning"] == '299 - "careful"'  # both say it; a text is told once
            assert asked[-1]["object"]["data"] == {"touched": "yes"}
            assert asked[-1]["userInfo"]["username"] == "kubernetes-admin"
            status, answer = await api.call("POST", MAPS, config_map("bad"))
            assert status == 422
            assert answer["message"] == 'admission webhook "hook.example.com" denied the request: no bad names'
            await api.ok("PUT", f"{MAPS}/good", {**config_map("good"), "data": {"b": "c"}})
            assert len(asked) == 3

    asyncio.run(run())


def patching(url, *operations):
    return f"{url}/patch/{urllib.parse.quote(json.dumps(operations), safe='')}"


def of_pods(name, url, bundle, **more):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    made = configuration("MutatingWebhookConfiguration", url, bundle, rules=[rule], **more)
    return {**made, "metadata": {"name": name}}


def test_what_a_webhook_changed_is_looked_at_again(hook):
    """By the webhooks before it that want it, and by what the cluster itself adds to pods."""
    url, bundle, asked = hook
    sidecar = {"name": "sidecar", "image": "s", "imagePullPolicy": "Always"}
    add = {"op": "add", "path": "/spec/containers/1", "value": sidecar}
    mark = {"op": "add", "path": "/metadata/labels", "value": {"marked": "yes"}}
    test = {"op": "replace", "path": "/spec/containers/0/image", "value": "m"}
    limit = {"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}

    async def run():
        async with Api() as api:
            path = f"{HOOKS}/mutatingwebhookconfigurations"
            once = of_pods("a", patching(f"{url}/mutate/once", mark), bundle)
            again = of_pods("b", patching(f"{url}/mutate/again", test), bundle, reinvocationPolicy="IfNeeded")
            last = of_pods("c", patching(f"{url}/mutate/last", add), bundle)
            for one in (once, again, last):
                await api.ok("POST", path, one)
            await api.ok(
                "POST",
                "/api/v1/namespaces/default/limitranges",
                {"metadata": {"name": "l"}, "spec": {"limits": [limit]}},
            )
            made = await api.ok("POST", "/api/v1/namespaces/default/pods", pod)
            assert [one["by"] for one in asked] == ["/mutate/once", "/mutate/again", "/mutate/last", "/mutate/again"]
            assert made["metadata"]["labels"] == {"marked": "yes"}
            for container in made["spec"]["containers"]:
                assert container["resources"]["limits"] == {"cpu": "1"}
                assert len(container["volumeMounts"]) == 1
            big = {"op": "add", "path": "/spec/containers/0/resources/limits/cpu", "value": "3"}
            await api.ok("DELETE", f"{path}/c")
            await api.ok("POST", path, of_pods("c", patching(f"{url}/mutate/last", big), bundle))
            status, answer = await api.call(
                "POST", "/api/v1/namespaces/default/pods", {**pod, "metadata": {"name": "q"}}
            )
            assert status == 403
            assert "maximum cpu usage per Container is 2, but limit is 3" in answer["message"]

    asyncio.run(run())


def test_a_webhook_is_asked_about_the_version_that_it_knows(hook):
    url, bundle, asked = hook
    rule = {
        "apiGroups": ["autoscaling"],
        "apiVersions": ["v1"],
        "operations": ["*"],
        "resources": ["horizontalpodautoscalers"],
    }
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
    scaler = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [cpu]}}
    path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
    set_ = {"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70}

    async def run():
        async with Api() as api:
            made = configuration("MutatingWebhookConfiguration", patching(f"{url}/mutate", set_), bundle, rules=[rule])
            await api.ok("POST", f"{HOOKS}/mutatingwebhookconfigurations", made)
            made = await api.ok("POST", f"{path}?fieldManager=m&fieldValidation=Strict", scaler)
            assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
            (request,) = asked
            assert (request["resource"]["version"], request["requestResource"]["version"]) == ("v1", "v2")
            assert request["object"]["apiVersion"] == "autoscaling/v1"
            assert request["options"] == {
                "kind": "CreateOptions",
                "apiVersion": "meta.k8s.io/v1",
                "fieldManager": "m",
                "fieldValidation": "Strict",
            }

    asyncio.run(run())


def test_a_patch_that_cannot_be_applied_fails_under_any_policy(hook):
    url, bundle, _ = hook
    broken = {"op": "remove", "path": "/data/nothing/there"}
    renamed = {"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}

    async def run():
        async with Api() as api:
            path = f"{HOOKS}/mutatingwebhookconfigurations"
            made = configuration("MutatingWebhookConfiguration", url, bundle, failurePolicy="Ignore")
            for operation, status in ((broken, 500), (renamed, 400)):
                made["webhooks"][0]["clientConfig"]["url"] = patching(f"{url}/mutate", operation)
                await api.ok("POST", path, made)
                assert (await api.call("POST", MAPS, config_map("a")))[0] == status
                await api.ok("DELETE", f"{path}/h")

    asyncio.run(run())


def test_a_patch_puts_nothing_into_status_or_what_is_the_servers(hook):
    url, bundle, _ = hook
    status = {"op": "add", "path": "/status", "value": {"replicas": 7}}
    uid = {"op": "add", "path": "/metadata/uid", "value": "mine"}
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    made = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod, "replicas": 0},
    }
    path = "/apis/apps/v1/namespaces/default/deployments"

    async def run():
        async with Api() as api:
            asking = configuration(
                "MutatingWebhookConfiguration", patching(f"{url}/mutate", status, uid), bundle, rules=[rule]
            )
            await api.ok("POST", f"{HOOKS}/mutatingwebhookconfigurations", asking)
            created = await api.ok("POST", path, made)
            assert created["metadata"]["uid"] != "mine"
            assert created["status"] == {}
            changed = await api.ok("PUT", f"{path}/d", {**made, "spec": {**made["spec"], "paused": True}})
            assert changed["metadata"]["uid"] == created["metadata"]["uid"]
            assert "replicas" not in changed["status"]

    asyncio.run(run())


def test_scales_and_evictions_are_asked_about_as_such(hook):
    url, bundle, asked = hook
    rule = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["*/scale", "pods/eviction", "pods"],
    }
    double = {"op": "replace", "path": "/spec/replicas", "value": 0}
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    made = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod, "replicas": 1},
    }
    path, pods = "/apis/apps/v1/namespaces/default/replicasets", "/api/v1/namespaces/default/pods"

    async def run():
        async with Api() as api:
            await api.ok("POST", path, made)
            await api.ok("POST", pods, {**pod, "metadata": {"name": "bad"}})
            await api.ok("POST", pods, {**pod, "metadata": {"name": "good"}})
            for kind, at in (
                ("MutatingWebhookConfiguration", patching(f"{url}/mutate", double)),
                ("ValidatingWebhookConfiguration", f"{url}/validate"),
            ):
                resources = ["*/scale"] if "mutate" in at else rule["resources"]
                asking = configuration(kind, at, bundle, rules=[rule | {"resources": resources}])
                await api.ok("POST", f"{HOOKS}/{kind.lower()}s", asking)
            scaled = await api.ok("PUT", f"{path}/d/scale", {"metadata": {"name": "d"}, "spec": {"replicas": 4}})
            assert scaled["spec"]["replicas"] == 0
            mutated, judged = [one for one in asked if one["name"] == "d"][-2:]  # a conflict asks again
            assert mutated["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
            assert mutated["resource"]["resource"] == "replicasets"
            assert mutated["subResource"] == "scale"
            assert [one["spec"]["replicas"] for one in (mutated["oldObject"], mutated["object"], judged["object"])] == [
                1,
                4,
                0,
            ]
            status, answer = await api.call("POST", f"{pods}/bad/eviction", {"metadata": {"name": "bad"}})
            assert status == 422
            assert answer["message"].endswith("no bad names")
            await api.ok("POST", f"{pods}/good/eviction", {"metadata": {"name": "good"}})
            told = [
                (one["operation"], one["kind"]["kind"], one["subResource"]) for one in asked if one["name"] == "good"
            ]
            assert told == [("CREATE", "Eviction", "eviction")]

    asyncio.run(run())


def test_those_who_judge_are_asked_at_once(hook):
    url, bundle, asked = hook

    async def run():
        async with Api() as api:
            made = configuration("ValidatingWebhookConfiguration", f"{url}/meet", bundle)
            made["webhooks"] = [{**made["webhooks"][0], "name": f"{name}.example.com"} for name in ("one", "two")]
            await api.ok("POST", f"{HOOKS}/validatingwebhookconfigurations", made)
            await api.ok("POST", MAPS, config_map("a"))  # each answers when the other has been asked, too
            assert len(asked) == 2

    asyncio.run(run())


def test_a_slow_webhook_keeps_nobody_else_waiting(hook):
    url, bundle, _ = hook

    async def run():
        async with Api() as api:
            slow = configuration("ValidatingWebhookConfiguration", f"{url}/crowd", bundle, timeoutSeconds=30)
            await api.ok("POST", f"{HOOKS}/validatingwebhookconfigurations", slow)
            await asyncio.gather(*(api.ok("POST", MAPS, config_map(f"m{number}")) for number in range(40)))

    asyncio.run(run())


def test_an_answer_may_come_in_pieces(hook):
    url, bundle, asked = hook

    async def run():
        async with Api() as api:
            pieces = configuration("ValidatingWebhookConfiguration", f"{url}/pieces", bundle)
            await api.ok("POST", f"{HOOKS}/validatingwebhookconfigurations", pieces)
            response = await api.respond("POST", MAPS, config_map("good"))
            assert (response.status, response.headers["warning"], len(asked)) == (201, '299 - "careful"', 1)

    asyncio.run(run())


def test_what_a_webhook_may_leave_out_and_what_not(hook):
    url, bundle, _ = hook

    async def run():
        async with Api() as api:
            made = configuration("ValidatingWebhookConfiguration", f"{url}/validate", bundle)
            await api.ok("POST", f"{HOOKS}/validatingwebhookconfigurations", made)
            status, answer = await api.call("POST", MAPS, config_map("mute"))
            assert (status, "reason" in answer) == (400, False)
            assert answer["message"] == 'admission webhook "hook.example.com" denied the request without explanation'
            status, answer = await api.call("POST", MAPS, config_map("mistaken"))
            assert status == 500
            assert 'got "another"' in answer["message"]
            unsafe = {"webhooks": [{**made["webhooks"][0], "sideEffects": "Some", "failurePolicy": "Ignore"}]}
            await api.ok("DELETE", f"{HOOKS}/validatingwebhookconfigurations/h")
            status, answer = await api.call("POST", f"{HOOKS}/validatingwebhookconfigurations", {**made, **unsafe})
            assert status == 422, answer

    asyncio.run(run())


def test_a_webhook_that_cannot_be_asked_fails_as_its_policy_says():
    async def run():
        async with Api() as api:
            path = f"{HOOKS}/validatingwebhookconfigurations"
            await api.ok("POST", path, configuration("ValidatingWebhookConfiguration", "https://127.0.0.1:1/"))
            status, answer = await api.call("POST", MAPS, config_map("a"))
            assert status == 500
            assert 'failed calling webhook "hook.example.com"' in answer["message"]
            await api.ok("DELETE", f"{path}/h")
            made = configuration("ValidatingWebhookConfiguration", "https://127.0.0.1:1/", failurePolicy="Ignore")
            await api.ok("POST", path, made)
            await api.ok("POST", MAPS, config_map("a"))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1/a", "'https' is the only allowed URL scheme; desired format: https://host[/path]"),
        ("https:///a", "host must be specified; desired format: https://host[/path]"),
        ("https://me:secret@127.0.0.1/", "user information is not permitted in the URL"),
        ("https://127.0.0.1/a#b", "fragments are not permitted in the URL"),
        ("https://127.0.0.1/a?b=c", "query parameters are not permitted in the URL"),
        ("https://127.0.0.1:99999/", "url must be a valid URL: "),
    ],
)
def test_urls_of_webhooks(url, told):
    async def run():
        async with Api() as api:
            path = f"{HOOKS}/validatingwebhookconfigurations"
            status, answer = await api.call("POST", path, configuration("ValidatingWebhookConfiguration", url))
            assert (status, told in answer["message"]) == (422, True), answer

    asyncio.run(run())


def test_match_conditions_are_kept_and_told_of():
    conditions = [{"name": "c", "expression": "true"}]

    async def run():
        async with Api() as api:
            made = configuration("ValidatingWebhookConfiguration", "https://127.0.0.1:1/", matchConditions=conditions)
            response = await api.respond("POST", f"{HOOKS}/validatingwebhookconfigurations", made)
            assert response.headers["warning"] == (
                '299 - "webhooks[0].matchConditions: kept, and not evaluated: CEL is not built, so each write that it means fails"'
            )
            assert "match conditions are not built" in (await api.call("POST", MAPS, config_map("a")))[1]["message"]
            status, _ = await api.call("POST", f"{HOOKS}/validatingadmissionpolicies", {})
            assert status == 404  # policies are all CEL: not served

    asyncio.run(run())
