"""Bodies and answers in YAML."""

from __future__ import annotations

import asyncio

import pytest

from gureum.kube import duplicates
from tests.kube.api import APPLY, Api

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
