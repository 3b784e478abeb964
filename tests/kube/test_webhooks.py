"""Webhooks change, refuse, warn, and fail as their policy says."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import ssl
import threading

import pytest

from gureum.kube.pki import Pki
from tests.kube.api import Api, config_map

HOOKS = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def hook(tmp_path):
    """Adds `touched: yes` to the data of config maps; refuses those named "bad" or, with no word, "mute"; mistakes "mistaken"."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            asked.append(request)
            response = {"uid": request["uid"], "allowed": request["name"] != "bad", "warnings": ["careful"]}
            if request["name"] == "mute":
                response["allowed"] = False
            elif request["name"] == "mistaken":
                response["uid"] = "another"
            elif not response["allowed"]:
                response["status"] = {"message": "no bad names", "code": 422}
            elif self.path == "/mutate":
                patch = json.dumps([{"op": "add", "path": "/data", "value": {"touched": "yes"}}]).encode()
                response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
            body = json.dumps(
                {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            ).encode()
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
            assert response.headers["warning"] == '299 - "careful", 299 - "careful"'
            assert asked[-1]["object"]["data"] == {"touched": "yes"}
            assert asked[-1]["userInfo"]["username"] == "kubernetes-admin"
            status, answer = await api.call("POST", MAPS, config_map("bad"))
            assert status == 422
            assert answer["message"] == 'admission webhook "hook.example.com" denied the request: no bad names'
            await api.ok("PUT", f"{MAPS}/good", {**config_map("good"), "data": {"b": "c"}})
            assert len(asked) == 3

    asyncio.run(run())


def test_what_a_webhook_may_leave_out_and_what_not(hook):
    url, bundle, _ = hook

    async def run():
        async with Api() as api:
            made = configuration("ValidatingWebhookConfiguration", f"{url}/validate", bundle)
            await api.ok("POST", f"{HOOKS}/validatingwebhookconfigurations", made)
            status, answer = await api.call("POST", MAPS, config_map("mute"))
            assert (status, answer["reason"]) == (400, "")
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
