"""Get, list and watch, as informers use them."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.kube.api import Api, Events, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def test_pages_are_of_one_moment_whatever_is_written_meanwhile():
    async def run():
        async with Api() as api:
            for name in "abcde":
                await api.ok("POST", MAPS, config_map(name))
            first = await api.ok("GET", f"{MAPS}?limit=2")
            await api.ok("DELETE", f"{MAPS}/d")
            await api.ok("POST", MAPS, config_map("cc"))
            second = await api.ok("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
            third = await api.ok("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
            pages = [first, second, third]
            assert [[one["metadata"]["name"] for one in page["items"]] for page in pages] == [
                ["a", "b"],
                ["c", "d"],
                ["e"],
            ]
            assert {page["metadata"]["resourceVersion"] for page in pages} == {first["metadata"]["resourceVersion"]}
            assert first["metadata"]["remainingItemCount"] == 3
            assert "continue" not in third["metadata"]

    asyncio.run(run())


def test_a_forgotten_page_is_gone_and_names_a_way_on():
    async def run():
        async with Api() as api:
            for name in "abcde":
                await api.ok("POST", MAPS, config_map(name))
            first = await api.ok("GET", f"{MAPS}?limit=2")
            await api.ok("POST", MAPS, config_map("f"))
            api.cluster.reading._snapshots.clear()
            status, gone = await api.call("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
            assert (status, gone["reason"]) == (410, "Expired")
            rest = await api.ok("GET", f"{MAPS}?continue={gone['metadata']['continue']}")
            assert [one["metadata"]["name"] for one in rest["items"]] == ["c", "d", "e", "f"]

    asyncio.run(run())


def test_a_watch_tells_what_enters_and_leaves_a_selection():
    async def run():
        async with Api() as api:
            start = (await api.ok("GET", MAPS))["metadata"]["resourceVersion"]
            events = await api.events(f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dx")
            await api.ok("POST", MAPS, config_map("other"))
            made = await api.ok("POST", MAPS, config_map("a", labels={"app": "x"}))
            changed = await api.patch(f"{MAPS}/a", {"data": {"k": "v"}})
            left = await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"app": "y"}}})
            back = await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"app": "x"}}})
            await api.ok("DELETE", f"{MAPS}/a")
            told = [await events.next() for _ in range(5)]
            assert [one["type"] for one in told] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
            assert told[0]["object"] == made
            assert told[1]["object"] == changed
            assert told[2]["object"]["metadata"]["labels"] == {"app": "x"}
            assert told[2]["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
            assert told[3]["object"] == back
            assert int(told[4]["object"]["metadata"]["resourceVersion"]) > int(back["metadata"]["resourceVersion"])
            await events.close()

    asyncio.run(run())


def test_a_watch_list_is_synced_by_its_bookmark():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", MAPS, config_map("a"))
            events = await api.events(
                f"{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
            )
            assert await events.next() == {"type": "ADDED", "object": made}
            end = await events.next()
            assert end["type"] == "BOOKMARK"
            assert end["object"]["kind"] == "ConfigMap"
            assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert end["object"]["metadata"]["resourceVersion"] == str(api.store.revision)
            second = await api.ok("POST", MAPS, config_map("b"))
            assert await events.next() == {"type": "ADDED", "object": second}
            await events.close()

    asyncio.run(run())


def test_a_watch_ends_at_its_time_with_a_bookmark():
    async def run():
        async with Api() as api:
            events = await api.events(f"{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=1")
            await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
            end = await events.next()
            assert end["type"] == "BOOKMARK"
            assert end["object"]["metadata"]["resourceVersion"] == str(api.store.revision)
            assert await events.ended()

    asyncio.run(run())


def test_what_is_compacted_is_gone():
    async def run():
        async with Api() as api:
            for at in range(3):
                await api.ok("POST", MAPS, config_map(f"a{at}"))
            await api.store.compact(api.store.revision)
            status, gone = await api.call("GET", f"{MAPS}?watch=1&resourceVersion=1")
            assert (status, gone["reason"], gone["code"]) == (410, "Expired", 410)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("resourceVersion=x", 422, "resourceVersion: Invalid value"),
        ("resourceVersion=99999", 504, "Too large resource version: 99999"),
        ("labelSelector=a%20in%20b", 400, "unable to parse requirement: found 'b' expected: '('"),
        ("labelSelector=a%3D%3D%3Db", 400, "unable to parse requirement: found '=', expected: identifier"),
        ("watch=1&timeoutSeconds=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("watch=1&timeoutSeconds=1_0", 400, 'strconv.ParseInt: parsing "1_0": invalid syntax'),
        ("watch=1&timeoutSeconds=9223372036854775808", 400, "value out of range"),
        (
            "fieldSelector=spec.foo%3Dx",
            400,
            '"spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("continue=abc", 400, "continue key is not valid"),
        ("watch=maybe", 400, "invalid syntax"),
        (
            "watch=1&sendInitialEvents=true",
            422,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        ("sendInitialEvents=false", 422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        (
            "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0&resourceVersion=1&resourceVersionMatch=Exact",
            422,
            "resourceVersionMatch is forbidden when continue is provided",
        ),
    ],
)
def test_bad_options_are_refused(query, code, text):
    async def run():
        async with Api() as api:
            status, answer = await api.call("GET", f"{MAPS}?{query}")
            assert (status, answer["kind"]) == (code, "Status")
            assert text in answer["message"]

    asyncio.run(run())


class Informer:
    """A client's copy of a kind, kept as client-go does: list, watch from there, list again when the history is gone."""

    def __init__(self, api):
        self.api = api
        self.known = {}
        self.relists = 0

    async def run(self, stop):
        while not stop.is_set():
            listed = await self.api.ok("GET", MAPS)
            self.known = {one["metadata"]["name"]: one for one in listed["items"]}
            self.relists += 1
            revision = listed["metadata"]["resourceVersion"]
            while not stop.is_set() and revision:
                revision = await self._watch(revision, stop)

    async def _watch(self, revision, stop):
        """From where to go on; "" when the history is gone."""
        response = await self.api.respond("GET", f"{MAPS}?watch=1&resourceVersion={revision}&timeoutSeconds=600")
        if response.status == 410:
            return ""
        events = Events(response.body)
        try:
            for _ in range(7):  # then the connection breaks
                event = await events.next()
                if event["type"] == "ERROR":
                    assert event["object"]["code"] == 410
                    return ""
                obj = event["object"]
                assert int(obj["metadata"]["resourceVersion"]) > int(revision)
                revision = obj["metadata"]["resourceVersion"]
                self._take(event["type"], obj)
                if stop.is_set():
                    break
        finally:
            await events.close()
        return revision

    def _take(self, type_, obj):
        name = obj["metadata"]["name"]
        assert (type_ == "ADDED") == (name not in self.known)
        if type_ == "DELETED":
            del self.known[name]
        else:
            self.known[name] = obj


def test_informers_miss_nothing_over_disconnects_and_compaction():
    async def run():
        random_ = random.Random(1)
        async with Api() as api:
            stop = asyncio.Event()
            informers = [Informer(api) for _ in range(5)]
            tasks = [asyncio.create_task(one.run(stop)) for one in informers]
            for at in range(400):
                name = f"c{random_.randrange(30)}"
                if (await api.call("POST", MAPS, config_map(name)))[0] == 409:
                    if random_.random() < 0.5:
                        await api.call("DELETE", f"{MAPS}/{name}")
                    else:
                        await api.patch(f"{MAPS}/{name}", {"data": {"at": str(at)}})
                if at % 50 == 49:
                    await api.store.compact(api.store.revision)
                if random_.random() < 0.3:
                    await asyncio.sleep(0)
            for _ in range(1000):
                listed = {one["metadata"]["name"]: one for one in (await api.ok("GET", MAPS))["items"]}
                if all(one.known == listed for one in informers):
                    break
                await asyncio.sleep(0.01)
            assert all(one.known == listed for one in informers)
            assert max(one.relists for one in informers) > 1
            stop.set()
            await api.ok("POST", MAPS, config_map("last"))
            await asyncio.gather(*tasks)

    asyncio.run(run())


def test_a_watch_of_less_than_no_time_ends_at_once_and_a_very_long_one_does_not():
    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("a"))
            events = await api.events(f"{MAPS}?watch=1&timeoutSeconds=-1")
            assert (await events.next())["object"]["metadata"]["name"] == "a"
            assert await events.ended()
            events = await api.events(f"{MAPS}?watch=1&timeoutSeconds=9000000000")
            await events.next()
            await api.ok("POST", MAPS, config_map("b"))
            assert (await events.next())["object"]["metadata"]["name"] == "b"
            await events.close()

    asyncio.run(run())
