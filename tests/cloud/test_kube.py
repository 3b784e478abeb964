"""The Kubernetes API of a whole gureum: what was acknowledged is there after `kill -9`, and clients go on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import threading

from tests.cloud.running import Cloud, until

MAPS = "/api/v1/namespaces/default/configmaps"


class Client:
    """Calls as the administrator; a connection that breaks is made anew."""

    def __init__(self, cloud):
        folder = cloud.home / "kube"
        until((folder / "kubeconfig").exists)
        self._context = ssl.create_default_context(cafile=str(folder / "pki/ca.crt"))
        self._context.load_cert_chain(folder / "pki/admin.pem")
        self._port = cloud.identity["kube_port"]
        self._connection = None

    def call(self, method, path, body=None):
        """None when nobody answered."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(
                    "127.0.0.1", self._port, context=self._context, timeout=30
                )
            self._connection.request(method, path, None if body is None else json.dumps(body))
            response = self._connection.getresponse()
            return response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException):
            self._connection = None
            return None


def test_what_was_acknowledged_survives_a_kill_under_load(tmp_path):
    cloud = Cloud(tmp_path / "home", simulate="true")
    cloud.command("up")
    try:
        _kill_under_load(cloud)
    finally:
        cloud.command("down", "--purge")


def _kill_under_load(cloud):
    acknowledged, stop = [], threading.Event()

    def write(number):
        client, at = Client(cloud), 0
        while not stop.is_set():
            name = f"w{number}-{at}"
            answer = client.call("POST", MAPS, {"metadata": {"name": name}, "data": {"n": str(at)}})
            if answer is not None and answer[0] == 201:
                acknowledged.append((name, int(answer[1]["metadata"]["resourceVersion"])))
            at += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()

    def more_than(count):
        until(lambda: len(acknowledged) > count, 60)

    for _ in range(2):
        more_than(len(acknowledged) + 50)
        os.kill(cloud.process("daemon"), signal.SIGKILL)
        more_than(len(acknowledged) + 20)
    stop.set()
    for writer in writers:
        writer.join(60)
    listed = Client(cloud).call("GET", MAPS)[1]
    found = {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in listed["items"]}
    assert {name: found.get(name) for name, _ in acknowledged} == dict(acknowledged)
    revisions = [revision for _, revision in acknowledged]
    assert len(set(revisions)) == len(revisions)
    for number in range(4):
        own = [revision for name, revision in acknowledged if name.startswith(f"w{number}-")]
        assert own == sorted(own)
    assert int(listed["metadata"]["resourceVersion"]) >= max(revisions)
    cloud.command("kube", "nodes", "--simulated", "2")
    nodes = Client(cloud).call("GET", "/api/v1/nodes")[1]["items"]
    assert [one["metadata"]["name"] for one in nodes] == ["simulated-0", "simulated-1"]
    cloud.command("kube", "nodes", "--simulated", "0")
    assert Client(cloud).call("GET", "/api/v1/nodes")[1]["items"] == []
