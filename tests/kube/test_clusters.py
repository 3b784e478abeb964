"""Clusters side by side: each its own objects, keys and people; they come back after a restart, and go as a whole."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil

import msgspec
import pytest

from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.kube.clusters import RECORDS, Record
from gureum.kube.face import KubeFace
from gureum.kube.requests import STRANGER
from gureum.kube.server import peer_of
from gureum.store.contract import Delete, Put
from gureum.store.memory import MemoryStore

ADMIN = (("commonName", "kubernetes-admin"),), (("organizationName", "system:masters"),)


class Side:
    """A face without sockets. `as_admin_of`: the common name of the authority that the caller's certificate is from."""

    def __init__(self, folder, store, *seals):
        self.face = KubeFace(
            folder,
            seals or [folder / "seals"],
            "127.0.0.1",
            "https://x:1",
            store,
            Sealer(folder / "key"),
            SystemClock(),
        )

    async def __aenter__(self):
        await self.face.prepare()
        await self.face.resume()
        return self

    async def __aexit__(self, *_):
        assert self.face.clusters.unexpected == 0
        await self.face.close()

    async def call(self, method, path, body=None, as_admin_of="kubernetes"):
        peer = {"subject": ADMIN, "issuer": ((("commonName", as_admin_of),),)}
        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "state": {"peer": peer},
        }  # fmt: skip
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

        async def send(message):
            sent.append(message)

        await self.face.front(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(one.get("body", b"") for one in sent[1:]) or b"null")


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


MAPS = "/api/v1/namespaces/default/configmaps"


def test_clusters_share_nothing_and_outlive_a_restart(tmp_path):
    store = MemoryStore()

    async def run():
        async with Side(tmp_path, store) as side:
            status, made = await side.call("POST", "/clusters", {"name": "east"})
            assert (status, made["server"]) == (201, "https://x:1/clusters/east")
            east = side.face.clusters.keys["east"].name
            assert (await side.call("POST", f"/clusters/east{MAPS}", config_map("a"), as_admin_of=east))[0] == 201
            assert (await side.call("GET", f"{MAPS}/a"))[0] == 404
            # An administrator of one is nobody in the other.
            assert (await side.call("GET", f"/clusters/east{MAPS}/a"))[0] == 401
            assert (await side.call("GET", MAPS, as_admin_of=east))[0] == 401
            assert (await side.call("POST", "/clusters", {"name": "west"}, as_admin_of=east))[0] == 401
            known = (tmp_path / "kubeconfig").read_text()
            assert "server: https://x:1/clusters/east\n" in known
            (tmp_path / "kubeconfig").write_text(known.replace("current-context: gureum", "current-context: east"))
        async with Side(tmp_path, store) as side:
            assert side.face.clusters.keys["east"].name == east
            assert (await side.call("GET", f"/clusters/east{MAPS}/a", as_admin_of=east))[0] == 200
            assert "current-context: east\n" in (tmp_path / "kubeconfig").read_text()
            assert [one["name"] for one in (await side.call("GET", "/clusters"))[1]["clusters"]] == ["east"]

    asyncio.run(run())


def test_a_deleted_cluster_leaves_nothing_and_its_keys_open_no_later_one(tmp_path):
    store = MemoryStore()

    async def run():
        async with Side(tmp_path, store) as side:
            await side.call("POST", "/clusters", {"name": "east"})
            old = side.face.clusters.keys["east"].name
            await side.call("POST", f"/clusters/east{MAPS}", config_map("a"), as_admin_of=old)
            assert (await side.call("DELETE", "/clusters/east"))[0] == 200
            assert (await side.call("DELETE", "/clusters/east"))[0] == 404
            assert (await side.call("GET", f"/clusters/east{MAPS}/a", as_admin_of=old))[0] == 404
            assert not store.range("kube/east/")
            assert not list((tmp_path / "clusters").iterdir())
            assert "east" not in (tmp_path / "kubeconfig").read_text()
            await side.call("POST", "/clusters", {"name": "east"})
            assert (await side.call("GET", f"/clusters/east{MAPS}", as_admin_of=old))[0] == 401

    asyncio.run(run())


def test_a_deletion_that_was_cut_off_goes_on(tmp_path):
    store = MemoryStore()

    async def run():
        async with Side(tmp_path, store) as side:
            await side.call("POST", "/clusters", {"name": "east"})
        record = msgspec.json.decode(store.get(RECORDS + "east").value, type=Record)
        marked = msgspec.structs.replace(record, deleting=True)
        await store.commit([], [Put(RECORDS + "east", msgspec.json.encode(marked))])
        async with Side(tmp_path, store) as side:
            assert (await side.call("GET", "/clusters"))[1] == {"clusters": []}
            assert not store.range("kube/east/")
            assert not store.range(RECORDS)

    asyncio.run(run())


class Killed(Exception):
    """The daemon, in the middle of something."""


class MortalStore(MemoryStore):
    """Takes `left` more commits and then none; None: any number."""

    left: int | None = None

    async def commit(self, checks, writes):
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        return await super().commit(checks, writes)


def secret(name):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": f"of {name}"}}


@pytest.mark.parametrize("commits", [None, 0, 1, 3])
def test_secrets_get_another_key_also_if_the_daemon_dies_on_the_way(tmp_path, commits):
    store = MortalStore()
    secrets, seals = "/api/v1/namespaces/default/secrets", tmp_path / "seals"

    async def run():
        async with Side(tmp_path, store) as side:
            await side.call("POST", "/clusters", {"name": "east"})
            east = side.face.clusters.keys["east"].name
            for number in range(3):
                assert (await side.call("POST", secrets, secret(f"s{number}")))[0] == 201
            assert (await side.call("POST", f"/clusters/east{secrets}", secret("e"), as_admin_of=east))[0] == 201
            assert (await side.call("POST", "/rotate-key", as_admin_of=east))[0] == 401
            (first,) = seals.iterdir()
            await asyncio.gather(*(cluster.controllers.close() for cluster in side.face.clusters.running()))
            store.left = commits
            if commits is None:
                assert (await side.call("POST", "/rotate-key"))[1] == {"secrets": 4}
            else:
                with pytest.raises(Killed):
                    await side.face.clusters.rotate_key()
                assert first.exists()
            store.left = None
        async with Side(tmp_path, store) as side:
            (second,) = seals.iterdir()
            assert second.name.startswith("000002-")
            assert not any(b"of s" in entry.value for entry in store.range("kube/"))
            found = (await side.call("GET", secrets))[1]["items"]
            assert [base64.b64decode(one["data"]["k"]).decode() for one in found] == ["of s0", "of s1", "of s2"]
            status, found = await side.call("GET", f"/clusters/east{secrets}/e", as_admin_of=east)
            assert (status, base64.b64decode(found["data"]["k"])) == (200, b"of e")

    asyncio.run(run())


class SlowStore(MemoryStore):
    """Takes its time for each commit, in the order in which they come."""

    def __init__(self):
        super().__init__()
        self.pace_s = 0.0
        self.queue = asyncio.Lock()

    async def commit(self, checks, writes):
        async with self.queue:
            await asyncio.sleep(self.pace_s)
            return await super().commit(checks, writes)


def test_a_secret_that_is_being_written_when_the_key_changes_stays_readable(tmp_path):
    store = SlowStore()
    secrets = "/api/v1/namespaces/default/secrets"

    async def run():
        async with Side(tmp_path, store) as side:
            await side.call("GET", secrets)
            await asyncio.gather(*(cluster.controllers.close() for cluster in side.face.clusters.running()))
            store.pace_s = 0.02
            writing = [asyncio.create_task(side.call("POST", secrets, secret(f"s{number}"))) for number in range(4)]
            while not store.queue.locked():
                await asyncio.sleep(0)
            await side.face.clusters.rotate_key()
            assert [status for status, _ in await asyncio.gather(*writing)] == [201] * 4
            store.pace_s = 0.0
        async with Side(tmp_path, store) as side:
            assert len((await side.call("GET", secrets))[1]["items"]) == 4

    asyncio.run(run())


def test_keys_in_the_home_are_moved_beside_it_and_open_what_they_sealed(tmp_path):
    store = MemoryStore()
    home, former, beside = tmp_path / "home", tmp_path / "home" / "keys" / "kube", tmp_path / "home-keys" / "kube"
    secrets = "/api/v1/namespaces/default/secrets"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "dg=="}}

    async def run():
        async with Side(home, store, former) as side:
            assert (await side.call("POST", secrets, secret))[0] == 201
        for _ in range(2):
            async with Side(home, store, beside, former) as side:
                assert (await side.call("GET", f"{secrets}/s"))[1]["data"] == {"k": "dg=="}
            assert len(list(beside.iterdir())) == 1
            assert not former.parent.exists()
        shutil.rmtree(beside)
        with pytest.raises(ValueError, match=f"which is not in {beside}"):
            async with Side(home, store, beside, former):
                pass

    asyncio.run(run())


def test_who_comes_before_all_clusters_have_started_waits(tmp_path):
    store = MemoryStore()

    async def run():
        async with Side(tmp_path, store) as side:
            await side.call("POST", "/clusters", {"name": "east"})
            east = side.face.clusters.keys["east"].name
        side = Side(tmp_path, store)
        await side.face.prepare()
        try:
            answers = [side.call("GET", f"/clusters/east{MAPS}", as_admin_of=east) for _ in range(3)]
            assert [status for status, _ in await asyncio.gather(*answers)] == [200] * 3
            await side.face.resume()
            assert len(side.face.clusters.running()) == 2
        finally:
            await side.face.close()

    asyncio.run(run())


def test_a_reset_takes_clusters_with_their_keys(tmp_path):
    store = MemoryStore()

    async def run():
        async with Side(tmp_path, store) as side:
            await side.call("POST", "/clusters", {"name": "east"})
            await side.face.reset()
            await store.commit([], [Delete(entry.key) for entry in store.range("")])
            await side.face.reset()
            assert not list((tmp_path / "clusters").iterdir())
            assert (await side.call("GET", f"/clusters/east{MAPS}"))[0] == 404
            assert (await side.call("GET", MAPS))[0] == 200

    asyncio.run(run())


def test_names_are_checked(tmp_path):
    async def run():
        async with Side(tmp_path, MemoryStore()) as side:
            for name in ("", "A", "a/b", "..", "-a", "a" * 41, "~clusters"):
                assert (await side.call("POST", "/clusters", {"name": name}))[0] == 422, name
            assert (await side.call("POST", "/clusters", {}))[0] == 400
            for name in ("default", "gureum"):
                assert (await side.call("POST", "/clusters", {"name": name}))[1]["reason"] == "AlreadyExists"
                assert (await side.call("DELETE", f"/clusters/{name}"))[0] == 403

    asyncio.run(run())


def test_a_certificate_without_an_issuer_is_nobodys():
    assert peer_of({"subject": ADMIN}, "kubernetes") == STRANGER
    assert peer_of(None, "kubernetes") is None
