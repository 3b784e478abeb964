"""Every revision a watch may start from; and very many objects, read in pages while they are written."""

from __future__ import annotations

import asyncio
import json
import resource

import pytest

from tests.kube.api import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


async def events_after(api, revision, count):
    events = await api.events(f"{MAPS}?watch=1&resourceVersion={revision}")
    found = [await events.next() for _ in range(count)]
    await events.close()
    return [
        (one["type"], one["object"]["metadata"]["name"], int(one["object"]["metadata"]["resourceVersion"]))
        for one in found
    ]


def test_a_watch_from_any_revision_tells_all_that_came_after():
    async def run():
        async with Api() as api:
            await api.ok("GET", MAPS)
            start = int((await api.ok("POST", MAPS, config_map("first")))["metadata"]["resourceVersion"])
            for number in range(12):
                name = f"c{number % 4}"
                if (await api.call("POST", MAPS, config_map(name)))[0] == 409:
                    if number % 3:
                        await api.patch(f"{MAPS}/{name}", {"data": {"n": str(number)}})
                    else:
                        await api.ok("DELETE", f"{MAPS}/{name}")
            everything = await events_after(api, start, 12)
            assert {type_ for type_, _, _ in everything} == {"ADDED", "MODIFIED", "DELETED"}
            revisions = [revision for _, _, revision in everything]
            assert revisions == sorted(set(revisions))
            for revision in range(start, api.store.revision):
                wanted = [one for one in everything if one[2] > revision]
                assert await events_after(api, revision, len(wanted)) == wanted
            status, answer = await api.call("GET", f"{MAPS}?watch=1&resourceVersion={api.store.revision + 1000}")
            assert (status, answer["reason"]) == (504, "Timeout")

    asyncio.run(run())


@pytest.mark.long
def test_a_hundred_thousand_objects_in_pages_under_writes():
    count, page = 100_000, 500

    async def run():
        async with Api() as api:
            before = resource.getrusage(resource.RUSAGE_SELF)
            for start in range(0, count, 1000):
                made = (
                    api.ok("POST", MAPS, config_map(f"c{number:06}", {"k": "v"}))
                    for number in range(start, start + 1000)
                )
                await asyncio.gather(*made)
            after = resource.getrusage(resource.RUSAGE_SELF)
            print(
                f"{count} creates: {after.ru_utime - before.ru_utime:.1f} s of CPU, {after.ru_maxrss >> 10} MiB resident"
            )
            listed = await api.ok("GET", f"{MAPS}?limit={page}")
            revision, names = (
                listed["metadata"]["resourceVersion"],
                [one["metadata"]["name"] for one in listed["items"]],
            )
            writes = 0
            while token := listed["metadata"].get("continue"):
                await api.ok("DELETE", f"{MAPS}/c{writes:06}")
                await api.ok("POST", MAPS, config_map(f"z{writes:06}"))
                writes += 1
                listed = await api.ok("GET", f"{MAPS}?limit={page}&continue={token}")
                assert listed["metadata"]["resourceVersion"] == revision
                names += [one["metadata"]["name"] for one in listed["items"]]
            ours = [name for name in names if name.startswith("c")]
            assert ours == [f"c{number:06}" for number in range(count)]
            seen = await events_after(api, revision, 2 * writes)
            assert len({name for _, name, _ in seen}) == 2 * writes
            response = await api.respond("GET", f"{MAPS}?labelSelector=none%3Dsuch")
            assert json.loads(response.body)["items"] == []

    asyncio.run(run())
