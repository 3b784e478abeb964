"""The keys of identity providers, fetched from servers on the loopback."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gureum.aws.sts.issuer_keys import fetch_keys
from tests.certificates import pair

Keys = dict[str, Any] | None


def fetched(tmp_path: Path, host: str, place: str) -> Keys:
    """From a provider on `host`, which says that its keys are at `place`."""
    certificate, key = pair("localhost")
    (tmp_path / "pair.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    thumbprint = hashlib.sha1(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()

    async def fetch(port: int) -> tuple[str, Keys]:
        url = f"https://{host}:{port}"
        return url, await fetch_keys(url, (thumbprint,), "")

    return asyncio.run(_served(context, place, host, fetch))[1]


async def _served(context: ssl.SSLContext, place: str, host: str, fetch: Callable[[int], Awaitable[Any]]) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            url = f"https://{host}:{writer.get_extra_info('sockname')[1]}"
            told = {"issuer": url, "jwks_uri": url + place} if b"/.well-known/" in asked else {"keys": []}
            body = json.dumps(told).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        return await fetch(server.sockets[0].getsockname()[1])


def test_keys_of_a_provider_with_a_known_certificate(tmp_path: Path) -> None:
    assert fetched(tmp_path, "localhost", "/keys") == {"keys": []}


@pytest.mark.parametrize(
    ("host", "place"),
    [("a..localhost", "/keys"), ("localhost", "/k eys"), ("localhost", "/k\u00e9ys"), ("localhost", "/k\u007fys")],
)
def test_names_and_addresses_that_are_none_have_no_keys(tmp_path: Path, host: str, place: str) -> None:
    assert fetched(tmp_path, host, place) is None
