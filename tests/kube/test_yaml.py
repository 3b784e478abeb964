"""Bodies and answers in YAML."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gureum.kube.requests import Response
from gureum.kube.verbs import bodies, duplicates
from gureum.kube.yaml_answers import in_yaml
from tests.kube.api import APPLY, Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
YAML = "application/yaml"


def test_a_large_object_may_come_in_yaml():
    data = "".join(f"  key{number}: some text\n" for number in range(15_000))
    body = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large}}\ndata:\n{data}".encode()

    async def run():
        async with Api() as api:
            made = await api.ok("POST", MAPS, body, content_type=YAML)
            assert len(made["data"]) == 15_000
            applied = await api.patch(f"{MAPS}/large?fieldManager=f&force=true", body, APPLY)
            assert applied["data"] == made["data"]

    asyncio.run(run())


def test_aliases_that_grow_without_end_are_refused():
    more = [f"a{index}: &a{index} [{', '.join([f'*a{index - 1}'] * 4)}]" for index in range(1, 30)]
    lines = ["a0: &a0 [x, x, x, x]", *more]

    async def run():
        async with Api() as api:
            status, error = await api.call("POST", MAPS, "\n".join(lines).encode(), content_type=YAML)
            assert (status, error["reason"]) == (400, "BadRequest")
            assert "aliases" in error["message"]

    asyncio.run(run())


def test_a_configuration_that_begins_like_json_may_be_yaml():
    async def run():
        async with Api() as api:
            body = b"{apiVersion: v1, kind: ConfigMap, metadata: {name: flow}, data: {a: b}}"
            made = await api.patch(f"{MAPS}/flow?fieldManager=f", body, APPLY)
            assert made["data"] == {"a": "b"}

    asyncio.run(run())


def test_json_with_escapes_is_not_read_as_yaml_to_find_names_that_stand_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(duplicates, "doubles", lambda _: pytest.fail("it was read as YAML"))
    assert duplicates.of_applied(rb'{"a": "\u003cb\u003e"}', {"a": "<b>"}) == []


async def answer(api, path, method="GET", body=None, **headers):
    response = await api.respond(method, path, body, **({"accept": YAML} | headers))
    assert isinstance(response.body, bytes)
    return response, yaml.safe_load(response.body)


TEXTS = {
    "a": "yes", "b": "1",
    "c": "- x: 'y' # z", "d": "two\nlines\n", "e": "", "f": "0x1f", "g": "2024-01-01", "h": "null", "i": "~", "j": "\u007f\ufeff",
    "k": "한글", "l": ".inf", "m": "1e3", "n": "plain", "o": " spaces ", "p": "<<", "q": "=",
}  # fmt: skip


def test_who_asks_for_yaml_first_gets_it():
    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("texts", TEXTS))
            known = await api.ok("GET", f"{MAPS}/texts")
            for accept in (YAML, f"{YAML},application/json", f"application/vnd.kubernetes.protobuf, {YAML}"):
                response, obj = await answer(api, f"{MAPS}/texts", accept=accept)
                assert (response.status, response.content_type) == (200, YAML)
                assert obj == known
            listed = await api.ok("GET", MAPS)
            assert (await answer(api, MAPS))[1] == listed
            made, obj = await answer(api, MAPS, "POST", config_map("more"))
            assert (made.status, obj["metadata"]["name"], obj.get("data")) == (201, "more", None)
            assert (await answer(api, "/apis"))[1]["kind"] == "APIGroupList"
            refused, status = await answer(api, f"{MAPS}/gone")
            assert (refused.status, refused.content_type, status["reason"]) == (404, YAML, "NotFound")
            table, obj = await answer(api, MAPS, accept=f"{YAML};as=Table;v=v1;g=meta.k8s.io")
            assert table.content_type == f"{YAML};as=Table;v=v1;g=meta.k8s.io"
            assert obj["kind"] == "Table"

    asyncio.run(run())


def test_who_asks_for_json_first_gets_json():
    async def run():
        async with Api() as api:
            for accept in ("*/*", f"application/json, {YAML}", ""):
                assert (await api.respond("GET", MAPS, accept=accept)).content_type == "application/json"

    asyncio.run(run())


def test_there_is_no_watch_in_yaml():
    async def run():
        async with Api() as api:
            response, status = await answer(api, f"{MAPS}?watch=true")
            assert (response.status, status["reason"]) == (406, "NotAcceptable")

    asyncio.run(run())


SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    )
)
def test_what_is_written_is_read_as_the_same(value):
    async def run():
        response = await in_yaml(Response(200, msgspec.json.encode(value)))
        assert yaml.safe_load(response.body) == value

    asyncio.run(run())


def test_others_are_answered_while_a_long_body_is_read(monkeypatch: pytest.MonkeyPatch):
    reading, go_on = threading.Event(), threading.Event()
    read_yaml = bodies.read_yaml

    def slowly(body):
        reading.set()
        assert go_on.wait(30)
        return read_yaml(body)

    async def run():
        async with Api() as api:
            monkeypatch.setattr(bodies, "read_yaml", slowly)
            data = "".join(f"  key{number}: some text\n" for number in range(3_000))
            body = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: long}}\ndata:\n{data}  key0: twice\n".encode()
            path = f"{MAPS}/long?fieldManager=f&fieldValidation=Warn"
            for send in (
                api.respond("POST", f"{MAPS}?fieldValidation=Warn", body, content_type=YAML),
                api.respond("PATCH", path, body, content_type=APPLY),
            ):
                reading.clear()
                go_on.clear()
                sent = asyncio.create_task(send)
                assert await asyncio.to_thread(reading.wait, 30)
                await api.ok("GET", MAPS)
                go_on.set()
                response = await sent
                assert response.status in (200, 201)
                assert 'line 3005: key \\"key0\\" already set in map' in response.headers["warning"]

    asyncio.run(run())


@pytest.mark.parametrize("media", [YAML, APPLY])
def test_a_long_body_that_is_no_yaml_is_refused(media):
    async def run():
        async with Api() as api:
            body = b"a: b\n" * 10_000 + b"a: ["
            method, path = ("POST", MAPS) if media == YAML else ("PATCH", f"{MAPS}/x?fieldManager=f")
            status, error = await api.call(method, path, body, content_type=media)
            assert (status, error["reason"]) == (400, "BadRequest")
            assert "error converting YAML to JSON" in error["message"]

    asyncio.run(run())
