"""The keys of an identity provider: of gureum's own Kubernetes clusters without a connection, of others by HTTPS where they are on this machine.

No address beyond it is ever asked, and no name is looked up: a provider is on the loopback, or at a public address of this gureum's own pool. Its
certificate must be one that the system trusts, or lead to one whose thumbprint the provider in IAM has.
AWS: IAM user guide, "Obtain the thumbprint for an OpenID Connect identity provider"; OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec

LIMIT_ANSWER_BYTES = 256 * 1024
LIMIT_S = 5.0
"""AWS: the knowledge center's "InvalidIdentityToken": a provider that takes longer is taken as not there."""
CONFIGURATION = "/.well-known/openid-configuration"


class Unreachable(Exception):
    """The provider is here, but does not answer: it may be tried again."""


async def fetch_keys(url: str, thumbprints: tuple[str, ...], pool: str) -> dict[str, Any] | None:
    """The JWK Set of the provider at `url` ("https://localhost:8443/a"). `thumbprints`: SHA-1, hexadecimal; `pool`: the CIDR of gureum's public
    addresses. None where there is no way to it, or what it answers is none. Unreachable."""
    try:
        async with asyncio.timeout(LIMIT_S):
            told = await _get(url.rstrip("/") + CONFIGURATION, thumbprints, pool)
            if told is None or told.get("issuer") != url or not isinstance(told.get("jwks_uri"), str):
                return None
            return await _get(told["jwks_uri"], thumbprints, pool)
    except (ssl.SSLCertVerificationError, ValueError, h11.LocalProtocolError):
        return None  # also names and addresses that cannot be asked for
    except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
        raise Unreachable(str(error)) from error


def address_of(host: str, pool: str) -> str | None:
    """What may be connected to for the name; None: nothing."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    here = address.is_loopback or (pool and address in ipaddress.ip_network(pool))
    return str(address) if here else None


async def _get(url: str, thumbprints: tuple[str, ...], pool: str) -> dict[str, Any] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:
        return None
    address = address_of(host, pool)
    if parts.scheme != "https" or address is None:
        return None
    context = await _context(address, port, host, thumbprints)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        body = await _ask(reader, writer, parts.netloc, target)
    finally:
        writer.close()
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, target: str) -> bytes:
    """The body of a GET; b"" for any answer but 200."""
    connection, body = h11.Connection(h11.CLIENT), b""
    headers = [("host", host), ("accept", "application/json"), ("connection", "close")]
    writer.write(connection.send(h11.Request(method="GET", target=target, headers=headers)) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response) and event.status_code != 200:
            return b""
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LIMIT_ANSWER_BYTES:
                return b""
        elif isinstance(event, h11.EndOfMessage):
            return body


async def _context(address: str, port: int, host: str, thumbprints: tuple[str, ...]) -> ssl.SSLContext:
    """Trusts what the system does, and those of the certificates that are shown which have one of the thumbprints."""
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    known = {one.lower() for one in thumbprints}
    for der in await _shown(address, port, host) if known else ():
        if hashlib.sha1(der, usedforsecurity=False).hexdigest() in known:
            context.load_verify_locations(cadata=der)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


async def _shown(address: str, port: int, host: str) -> list[bytes]:
    """The certificates (DER) that the server shows, of which nothing is checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        inner = writer.get_extra_info("ssl_object")._sslobj  # public only since Python 3.13
        return [bytes(ssl.PEM_cert_to_DER_cert(one.public_bytes())) for one in inner.get_unverified_chain()]
    finally:
        writer.close()
