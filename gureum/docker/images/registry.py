"""A registry as a client sees it: manifests and blobs, with the ways registries ask who it is.

Source: OCI distribution-spec 1.1, Docker's token protocol.

Blocking, for a thread. Plain HTTP and certificates nobody signed are taken from loopback alone, as Docker does.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from gureum.core.world import World
from gureum.docker.errors import DockerError, not_found, server_error
from gureum.docker.images.blobs import COPY_BYTES, SHA
from gureum.docker.images.references import Reference
from gureum.docker.images.registry_auth import Auth, Unauthorized, answer_challenge, is_loopback, trust

TIMEOUT_S = 60.0
LIMIT_MANIFEST_BYTES = 4 << 20
_REDIRECTS, _RESUMES = 5, 3
# What a kept connection says that the other end has given up.
_LOST = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def certificate_folders(world: World) -> tuple[Path, ...]:
    """Where users say whom to trust: Docker's own place, and the home's."""
    return Path("/etc/docker/certs.d"), Path(world.settings.home) / "docker" / "certs.d"


class Registry:
    """One repository of one registry."""

    def __init__(
        self, reference: Reference, auth: Auth, certificates: Sequence[Path] = (), over: threading.Event | None = None
    ) -> None:
        """`certificates`: folders as `registry_auth.trust` reads them. `over`: set when nothing is to be asked any more."""
        self.reference, self.auth, self.certificates = reference, auth, certificates
        self._over = over or threading.Event()
        domain = "registry-1.docker.io" if reference.domain == "docker.io" else reference.domain
        self._host = domain
        self._loopback = is_loopback(domain)
        self._plain: bool | None = None if self._loopback else False
        self._token = ""
        self._connections: dict[tuple[str, bool], http.client.HTTPConnection] = {}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def cut(self) -> None:
        """From another thread: who waits for an answer learns that there will be none."""
        for connection in list(self._connections.values()):
            sock = connection.sock
            with contextlib.suppress(OSError):
                if sock is not None:
                    # Not SSLSocket's own, which would take the session away from under who reads.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def manifest(self, name: str) -> tuple[bytes, str, str]:
        """(body, media type, digest) by tag or digest. DockerError in Docker's words."""
        accept = ", ".join((*INDEXES, *MANIFESTS))
        answer = self._request("GET", f"manifests/{name}", {"Accept": accept}, action="pull")
        body = answer.read(LIMIT_MANIFEST_BYTES + 1)
        if answer.status == 404:
            raise not_found(
                f"manifest for {_shown(self.reference, name)} not found: manifest unknown: manifest unknown"
            )
        self._check(answer, body)
        digest = SHA + hashlib.sha256(body).hexdigest()
        if len(body) > LIMIT_MANIFEST_BYTES or (name.startswith(SHA) and name != digest):
            raise server_error(f"manifest verification failed for digest {name}")
        return body, answer.headers.get_content_type(), digest

    def fetch(self, digest: str, size: int, file: BinaryIO, told: Callable[[int], None]) -> None:
        """The blob, checked; goes on where a lost connection stopped."""
        hashed, got = hashlib.sha256(), 0
        for attempt in range(_RESUMES + 1):
            headers = {"Range": f"bytes={got}-"} if got else {}
            answer = self._request("GET", f"blobs/{digest}", headers, action="pull")
            if got and answer.status == 200:
                hashed, got = hashlib.sha256(), 0
                file.seek(0)
                file.truncate()
            self._check(answer, b"" if answer.status < 300 else answer.read(LIMIT_MANIFEST_BYTES))
            try:
                while data := answer.read(COPY_BYTES):
                    hashed.update(data)
                    file.write(data)
                    got += len(data)
                    told(got)
                    if size >= 0 and got > size:
                        raise server_error(f"filesystem layer verification failed for digest {digest}")
            except (http.client.HTTPException, OSError):
                if attempt == _RESUMES:
                    raise
                self._forget()
            if size < 0 or got >= size:
                break
        if SHA + hashed.hexdigest() != digest:
            lost = "unexpected EOF" if got < size else f"filesystem layer verification failed for digest {digest}"
            raise server_error(lost)

    def blob(self, digest: str) -> bytes:
        """A small one, a configuration say, checked."""
        answer = self._request("GET", f"blobs/{digest}", {}, action="pull")
        body = answer.read(LIMIT_MANIFEST_BYTES + 1)
        self._check(answer, body)
        if SHA + hashlib.sha256(body).hexdigest() != digest:
            raise server_error(f"manifest verification failed for digest {digest}")
        return body

    def has(self, digest: str) -> bool:
        answer = self._request("HEAD", f"blobs/{digest}", {}, action="pull,push")
        answer.read()
        return answer.status == 200

    def push_blob(self, digest: str, size: int, file: BinaryIO, told: Callable[[int], None]) -> None:
        answer = self._request("POST", "blobs/uploads/", {"Content-Length": "0"}, action="pull,push")
        self._check(answer, answer.read(), "push")
        place = urllib.parse.urljoin(self._url(""), answer.headers["Location"])
        place += ("&" if "?" in place else "?") + urllib.parse.urlencode({"digest": digest})
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        answer = self._send("PUT", place, headers, _Counted(file, told), action="pull,push")
        self._check(answer, answer.read(), "push")

    def push_manifest(self, name: str, media_type: str, body: bytes) -> str:
        answer = self._request("PUT", f"manifests/{name}", {"Content-Type": media_type}, body, action="pull,push")
        self._check(answer, answer.read(), "push")
        return SHA + hashlib.sha256(body).hexdigest()

    # --- the way there ---

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, *, action: str
    ) -> http.client.HTTPResponse:
        if self._plain is None:
            self._plain = not self._speaks_tls()
        return self._send(method, self._url(path), headers, body, action=action)

    def _url(self, path: str) -> str:
        return f"{'http' if self._plain else 'https'}://{self._host}/v2/{self.reference.path}/{path}"

    def _speaks_tls(self) -> bool:
        try:
            connection = self._connect(self._host, tls=True)
            connection.request("GET", "/v2/")
            connection.getresponse().read()
        except ssl.SSLCertVerificationError as error:
            raise server_error(
                f'Get "https://{self._host}/v2/": tls: failed to verify certificate: {error.verify_message}'
            ) from error
        except (ssl.SSLError, ConnectionError, http.client.HTTPException):
            self._forget()
            return False
        except OSError as error:
            raise _unreachable(self._host, error) from error
        return True

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, *, action: str
    ) -> http.client.HTTPResponse:
        asked = False
        for _ in range(_REDIRECTS + 2):
            parts = urllib.parse.urlsplit(url)
            own = parts.netloc == self._host and (parts.scheme == "https" or self._loopback)
            authorization = {"Authorization": self._token} if self._token and own else {}
            answer = self._once(method, parts, {**headers, **authorization}, body)
            if answer.status == 401 and own and not asked:
                answer.read()
                self._log_in(answer.headers.get("WWW-Authenticate", ""), action)
                asked = True
                if hasattr(body, "rewind"):
                    body.rewind()
            elif answer.status in (301, 302, 303, 307, 308) and method in ("GET", "HEAD"):
                answer.read()
                url = urllib.parse.urljoin(url, answer.headers.get("Location", ""))
            else:
                return answer
        raise server_error(f"too many redirects from {self._host}")

    def _once(
        self, method: str, parts: urllib.parse.SplitResult, headers: Mapping[str, str], body: Any
    ) -> http.client.HTTPResponse:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        for attempt in (1, 2):
            connection = self._connect(parts.netloc, tls=parts.scheme == "https")
            try:
                with contextlib.suppress(BrokenPipeError):  # it may have said why it reads no further
                    connection.request(method, target, body=body, headers={"User-Agent": "gureum", **headers})
                return connection.getresponse()
            except _LOST as error:
                self._forget()
                if attempt == 2:
                    raise _unreachable(self._host, error) from error
                if hasattr(body, "rewind"):
                    body.rewind()
            except OSError as error:
                self._forget()
                raise _unreachable(self._host, error) from error
        raise AssertionError

    def _connect(self, netloc: str, *, tls: bool) -> http.client.HTTPConnection:
        if self._over.is_set():
            raise server_error("context canceled")
        known = self._connections.get((netloc, tls))
        if known is not None:
            return known
        if tls:
            context = trust(netloc, self.certificates)
            made: http.client.HTTPConnection = _Tls(netloc, timeout=TIMEOUT_S, context=context)
        else:
            made = http.client.HTTPConnection(netloc, timeout=TIMEOUT_S)
        self._connections[netloc, tls] = made
        return made

    def _forget(self) -> None:
        self.close()
        self._connections.clear()

    def _log_in(self, challenge: str, action: str) -> None:
        scope = f"repository:{self.reference.path}:{action}"
        try:
            self._token = answer_challenge(challenge, self.auth, self._host, scope, self._ask).header
        except Unauthorized as refused:
            raise DockerError(404, _denied(self.reference, action)) from refused

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        answer = self._once(method, urllib.parse.urlsplit(url), headers, body)
        return answer.status, answer.read(1 << 20)

    def log_in(self) -> str:
        """Asks the registry whether it takes these words; an identity token where it gives one. Unauthorized."""
        if self._plain is None:
            self._plain = not self._speaks_tls()
        url = f"{'http' if self._plain else 'https'}://{self._host}/v2/"
        answer = self._once("GET", urllib.parse.urlsplit(url), {}, None)
        answer.read()
        if answer.status != 401:
            return ""  # it asks nobody
        challenge = answer.headers.get("WWW-Authenticate", "")
        grant = answer_challenge(challenge, self.auth, self._host, "", self._ask, offline=True)
        status, _ = self._ask("GET", url, {"Authorization": grant.header}, None)
        if status in (401, 403):
            raise Unauthorized(401, f'Get "{url}": unauthorized: authentication required')
        if status >= 300:
            raise server_error(f"login attempt to {url} failed with status: {status}")
        return grant.identity

    def _check(self, answer: http.client.HTTPResponse, body: bytes, action: str = "pull") -> None:
        if answer.status < 300:
            return
        if answer.status in (401, 403):
            raise DockerError(404, _denied(self.reference, action))
        why = body[:1000].decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            first = json.loads(body)["errors"][0]
            if first["code"] == "BLOB_UNKNOWN":
                raise server_error("unknown blob")
            why = f"{first['code'].lower().replace('_', ' ')}: {first['message']}"
        raise server_error(f"received unexpected HTTP status: {answer.status} {answer.reason} {why}".strip())


class _Tls(http.client.HTTPSConnection):
    """One whose socket can be cut during the handshake, too."""

    def __init__(self, netloc: str, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(netloc, timeout=timeout, context=context)
        self._trust = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        sock = self._trust.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = sock
        sock.do_handshake()


class _Counted:
    """A file that is sent, and how far it is."""

    def __init__(self, file: BinaryIO, told: Callable[[int], None]) -> None:
        self._file, self._told, self._sent = file, told, 0

    def read(self, size: int = COPY_BYTES) -> bytes:
        data = self._file.read(min(size, COPY_BYTES) if size > 0 else COPY_BYTES)
        self._sent += len(data)
        self._told(self._sent)
        return data

    def rewind(self) -> None:
        self._file.seek(0)
        self._sent = 0


def _denied(reference: Reference, action: str) -> str:
    name = reference.familiar_repository
    why = "denied: requested access to the resource is denied"
    if "push" in action:
        return why
    return f"pull access denied for {name}, repository does not exist or may require 'docker login': {why}"


def _unreachable(host: str, error: Exception) -> DockerError:
    return server_error(f'Get "https://{host}/v2/": {error}')


def _shown(reference: Reference, name: str) -> str:
    return f"{reference.familiar_repository}{'@' if name.startswith(SHA) else ':'}{name}"
