"""The Kubernetes API of a whole gureum: what was acknowledged is there after `kill -9`, and clients go on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import threading

from tests.cloud.running import Cloud, until

SECRETS = "/api/v1/namespaces/default/secrets"
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

    def open(self, path):
        """A response that goes on. None when nobody answered."""
        try:
            self._connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=30)
            self._connection.request("GET", path)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            return None


class Informer(threading.Thread):
    """A client's copy of a kind, kept as client-go does: list, watch from there on, list again only when the history is gone."""

    def __init__(self, cloud):
        super().__init__()
        self._cloud, self._ended = cloud, threading.Event()
        self.known, self.lists, self.breaks = {}, 0, 0

    def run(self):
        revision = ""
        while not self._ended.is_set():
            client = Client(self._cloud)
            if not revision:
                revision = self._list(client)
            if revision:
                revision = self._watch(client, revision)

    def _list(self, client):
        answer = client.call("GET", MAPS)
        if answer is None:
            return ""
        self.lists += 1
        self.known = {one["metadata"]["name"]: one for one in answer[1]["items"]}
        return answer[1]["metadata"]["resourceVersion"]

    def _watch(self, client, revision):
        """From where to go on."""
        response = client.open(f"{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=2&resourceVersion={revision}")
        try:
            while response is not None and (line := response.readline()):
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    return ""
                if event["type"] != "BOOKMARK":
                    name = obj["metadata"]["name"]
                    assert (event["type"] == "ADDED") == (name not in self.known)
                    assert int(obj["metadata"]["resourceVersion"]) > int(revision)
                    self.known[name] = obj
                revision = obj["metadata"]["resourceVersion"]
        except (OSError, http.client.HTTPException, ValueError):
            self.breaks += 1
        return revision

    def end(self):
        self._ended.set()
        self.join(30)


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
    informer = Informer(cloud)
    for thread in (*writers, informer):
        thread.start()

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
    wanted = {one["metadata"]["name"]: one for one in listed["items"]}
    until(lambda: informer.known == wanted, 30)
    informer.end()
    assert informer.lists == 1  # the history outlives the daemon: nothing had to be read anew
    cloud.command("kube", "nodes", "--simulated", "2")
    nodes = Client(cloud).call("GET", "/api/v1/nodes")[1]["items"]
    assert [one["metadata"]["name"] for one in nodes] == ["simulated-0", "simulated-1"]
    cloud.command("kube", "nodes", "--simulated", "0")
    assert Client(cloud).call("GET", "/api/v1/nodes")[1]["items"] == []
    _clusters_and_keys(cloud)


def _clusters_and_keys(cloud):
    """What was made by the command line is there after a kill, and a rotation of keys that is killed comes to its end."""
    cloud.command("kube", "clusters", "create", "east")
    for number in range(50):
        body = {"metadata": {"name": f"s{number}"}, "stringData": {"k": "v"}}
        assert Client(cloud).call("POST", SECRETS, body)[0] == 201
    seals = cloud.home.with_name(f"{cloud.home.name}-keys") / "kube"
    (first,) = seals.iterdir()
    rotating = threading.Thread(target=Client(cloud).call, args=("POST", "/rotate-key"))
    rotating.start()
    until(lambda: len(list(seals.iterdir())) > 1 or not first.exists())
    os.kill(cloud.process("daemon"), signal.SIGKILL)
    rotating.join(60)
    client = Client(cloud)
    until(lambda: client.call("GET", "/version") and not first.exists())
    (second,) = seals.iterdir()
    assert second.name.startswith("000002-")
    listed = client.call("GET", SECRETS)[1]["items"]
    assert [one["data"] for one in listed] == [{"k": "dg=="}] * 50
    (east,) = client.call("GET", "/clusters")[1]["clusters"]
    assert east["name"] == "east"
    cloud.command("kube", "nodes", "--simulated", "1", "--cluster", "east")
    assert client.call("GET", "/api/v1/nodes")[1]["items"] == []
    cloud.command("kube", "clusters", "delete", "east")
