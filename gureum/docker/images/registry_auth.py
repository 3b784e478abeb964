"""How registries ask who it is, and whose certificates are believed.

    401 WWW-Authenticate: Basic …            name and password with each request
    401 WWW-Authenticate: Bearer realm=…     a token from there, for name and password (GET) or for an identity token (POST)

Certificates: the host's authorities, and for one registry the files that Docker reads too, `certs.d/HOST:PORT/*.crt` (authorities), `*.cert` with
`*.key` (the client's own). Sources: distribution's token and OAuth2 documents; Docker's "Verify repository client with certificates".
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import re
import ssl
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gureum.docker.errors import DockerError, server_error

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_CLIENT = "docker"
Ask = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]
"""(method, URL, headers, body) → (status, body)."""


class Auth:
    """Who the user is, from the header X-Registry-Auth."""

    def __init__(self, header: str = "") -> None:
        found: dict[str, Any] = {}
        if header:
            with contextlib.suppress(ValueError):
                found = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))) or {}
        self.user, self.password = str(found.get("username") or ""), str(found.get("password") or "")
        self.identity = str(found.get("identitytoken") or "")

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Auth:
        return cls(base64.urlsafe_b64encode(json.dumps(dict(body)).encode()).decode())

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Unauthorized(DockerError):
    """The registry does not take these words."""


class Grant:
    """What a challenge was answered with. `header`: Authorization; `identity`: a token that stands for the password from now on, "" for none."""

    def __init__(self, header: str, identity: str = "") -> None:
        self.header, self.identity = header, identity


def answer_challenge(challenge: str, auth: Auth, host: str, scope: str, ask: Ask, *, offline: bool = False) -> Grant:
    """Unauthorized; DockerError 500 for a registry that is not to be trusted with a password. `offline`: an identity token is wanted."""
    kind, _, rest = challenge.partition(" ")
    words = dict(_CHALLENGE.findall(rest))
    if kind.lower() == "basic":
        if not auth.user:
            raise Unauthorized(500, f'Get "https://{host}/v2/": no basic auth credentials')
        return Grant(auth.basic)
    if kind.lower() != "bearer" or "realm" not in words:
        raise server_error(f"{host} asks for a login of a kind that is not known")
    realm = urllib.parse.urlsplit(words["realm"])
    if realm.scheme != "https" and not is_loopback(realm.netloc):
        raise server_error(f"{host} sends passwords to {realm.netloc} without TLS")
    query = {**({"service": words["service"]} if words.get("service") else {}), **({"scope": scope} if scope else {})}
    status, body = _ask_for_token(realm, query, auth, ask, offline=offline)
    if status in (400, 401, 403):
        raise Unauthorized(401, f'Get "https://{host}/v2/": unauthorized: authentication required')
    if status >= 300:
        raise server_error(f"{realm.netloc} gave no token: HTTP status {status}")
    found = json.loads(body)
    return Grant(f"Bearer {found.get('token') or found.get('access_token')}", str(found.get("refresh_token") or ""))


def _ask_for_token(
    realm: urllib.parse.SplitResult, query: dict[str, str], auth: Auth, ask: Ask, *, offline: bool
) -> tuple[int, bytes]:
    if auth.identity:
        form = {"grant_type": "refresh_token", "refresh_token": auth.identity, "client_id": _CLIENT, **query}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return ask("POST", realm.geturl(), headers, urllib.parse.urlencode(form).encode())
    if auth.user:
        query["account"] = auth.user
    if offline:
        query |= {"client_id": _CLIENT, "offline_token": "true"}
    target = realm._replace(query="&".join(filter(None, [realm.query, urllib.parse.urlencode(query)])))
    return ask("GET", target.geturl(), {"Authorization": auth.basic} if auth.user else {}, None)


def trust(netloc: str, folders: Sequence[Path]) -> ssl.SSLContext:
    """For one registry. On loopback, as under Docker, nothing is checked; but it is where somebody has said by whose word to go."""
    context = ssl.create_default_context()
    known = False
    for folder in (one / netloc for one in folders):
        for authority in sorted(folder.glob("*.crt")):
            context.load_verify_locations(authority)
            known = True
        for own in sorted(folder.glob("*.cert")):
            context.load_cert_chain(own, own.with_suffix(".key"))
    if is_loopback(netloc) and not known:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def is_loopback(netloc: str) -> bool:
    host = netloc.rpartition(":")[0] if netloc.rpartition(":")[2].isdecimal() else netloc
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
