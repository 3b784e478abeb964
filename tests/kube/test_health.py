"""`/healthz`, `/livez`, `/readyz`. Source: k8s.io/apiserver/pkg/server/healthz."""

from __future__ import annotations

import asyncio

from tests.kube.api import Api


async def text(api, path):
    response = await api.respond("GET", path)
    assert response.content_type.startswith("text/plain")
    return response.status, response.body.decode()


def test_checks_are_told_one_by_one_to_who_asks_for_them():
    async def run():
        async with Api() as api:
            for root in ("healthz", "livez", "readyz"):
                assert await text(api, f"/{root}") == (200, "ok")
                more = "[+]informer-sync ok\n" if root == "readyz" else ""
                told = f"[+]ping ok\n[+]etcd ok\n{more}{root} check passed\n"
                assert await text(api, f"/{root}?verbose") == (200, told)
                assert await text(api, f"/{root}/etcd") == (200, "ok")
            assert (await api.call("GET", "/readyz/none"))[0] == 404

    asyncio.run(run())


def test_a_store_that_takes_nothing_is_told_and_may_be_left_out():
    async def run():
        async with Api() as api:
            await api.store.close()
            assert await text(api, "/livez") == (
                500,
                "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n",
            )
            assert await text(api, "/livez/etcd") == (500, "internal server error: reason withheld\n")
            assert await text(api, "/livez?exclude=etcd") == (200, "ok")
            _, told = await text(api, "/livez?verbose&exclude=etcd&exclude=x")
            unknown = 'warn: some health checks cannot be excluded: no matches for "x"\n'
            assert told == f"[+]ping ok\n[+]etcd excluded: ok\n{unknown}livez check passed\n"

    asyncio.run(run())
