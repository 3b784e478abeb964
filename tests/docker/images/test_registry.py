"""The registry's client against one of the test's own: tokens, indexes, and a blob whose connection is lost on the way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gureum.docker.errors import DockerError
from gureum.docker.images.pull import _choose
from gureum.docker.images.references import parse
from gureum.docker.images.registry import Registry
from gureum.docker.images.registry_auth import Auth

BLOB = bytes(range(256)) * 4096
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


class _Server(ThreadingHTTPServer):
    cuts = 1
    upload = ""
    asked: list[str]
    put_tokens: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/v2/":
            self._answer(200 if self.headers.get("Authorization") == "Bearer t" else 401, b"{}", **self._challenge())
            return
        if self.path.startswith("/token"):
            known = self.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:secret").decode()
            more = {"refresh_token": "r"} if "offline_token=true" in self.path else {}
            self._answer(200 if known else 401, json.dumps({"token": "t", **more}).encode() if known else b"{}")
        elif self.headers.get("Authorization") != "Bearer t":
            self._answer(401, b"{}", **self._challenge())
        elif "/gone/blobs/" in self.path:
            self._answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
        elif "/manifests/" in self.path:
            self._answer(200, b'{"layers":[]}', Content_Type="application/vnd.oci.image.manifest.v1+json")
        else:
            self._blob()

    def do_POST(self) -> None:
        if self.path.endswith("/blobs/uploads/"):
            self._answer(202, b"", Location=self.server.upload or f"{self.path}1")
            return
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        known = (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["r"]) and form["service"] == ["s"]
        self._answer(200 if known else 401, b'{"access_token":"t"}')

    def do_PUT(self) -> None:
        """As proxies before registries do it: it says no, and reads no further."""
        self.server.put_tokens.append(self.headers.get("Authorization") or "")
        self._answer(413, b"too much", Connection="close")
        self.connection.shutdown(socket.SHUT_RDWR)

    def _challenge(self) -> dict[str, str]:
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        return {"WWW_Authenticate": f'Bearer realm="{here}/token",service="s"'}

    def _blob(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BLOB) - start))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            self.wfile.write(BLOB[start : len(BLOB) // 2])
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(BLOB[start:])


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server(("127.0.0.1", 0), _Handler)
    made.asked, made.put_tokens = [], []
    made.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def _auth(password: str) -> Auth:
    return Auth(base64.urlsafe_b64encode(json.dumps({"username": "me", "password": password}).encode()).decode())


def test_a_blob_goes_on_where_its_connection_was_lost(server: _Server) -> None:
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/web"), _auth("secret"))
    assert registry.manifest("latest")[0] == b'{"layers":[]}'
    file, told = io.BytesIO(), list[int]()
    registry.fetch(DIGEST, len(BLOB), file, told.append)
    registry.close()
    assert file.getvalue() == BLOB
    assert told == sorted(told)
    assert sum("/blobs/" in path for path in server.asked) == 2


def test_a_blob_that_is_another_is_refused(server: _Server) -> None:
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/web"), _auth("secret"))
    with pytest.raises(DockerError, match="verification failed"):
        registry.fetch("sha256:" + "0" * 64, len(BLOB), io.BytesIO(), lambda got: None)
    registry.close()


def test_a_wrong_password_is_a_denial(server: _Server) -> None:
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/web"), _auth("wrong"))
    with pytest.raises(DockerError, match="pull access denied for") as refused:
        registry.manifest("latest")
    registry.close()
    assert refused.value.status == 404


def test_a_login_is_asked_for_and_its_token_opens_later(server: _Server) -> None:
    reference = parse(f"127.0.0.1:{server.server_address[1]}/web")
    wrong = Registry(reference, _auth("wrong"))
    with pytest.raises(DockerError, match="unauthorized: authentication required") as refused:
        wrong.log_in()
    wrong.close()
    assert refused.value.status == 401
    right = Registry(reference, _auth("secret"))
    assert right.log_in() == "r"
    right.close()
    for token, opens in (("r", True), ("old", False)):
        registry = Registry(reference, Auth.of({"identitytoken": token}))
        with contextlib.nullcontext() if opens else pytest.raises(DockerError, match="pull access denied"):
            assert registry.manifest("latest")[0] == b'{"layers":[]}'
        registry.close()


def test_a_blob_of_which_the_end_never_comes_is_no_forgery(server: _Server) -> None:
    server.cuts = 100
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/web"), _auth("secret"))
    with pytest.raises(DockerError, match=r"^unexpected EOF$"):
        registry.fetch(DIGEST, len(BLOB), io.BytesIO(), lambda got: None)
    registry.close()


def test_a_blob_that_the_registry_has_not_is_unknown(server: _Server) -> None:
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/gone"), _auth("secret"))
    with pytest.raises(DockerError, match=r"^unknown blob$"):
        registry.fetch(DIGEST, len(BLOB), io.BytesIO(), lambda got: None)
    registry.close()


def test_why_an_upload_is_refused_is_heard_although_it_is_not_read(server: _Server) -> None:
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/web"), _auth("secret"))
    with pytest.raises(DockerError, match=r"413 [A-Z].* too much"):
        registry.push_blob(DIGEST, 64 << 20, io.BytesIO(bytes(64 << 20)), lambda sent: None)
    registry.close()


def test_another_host_to_upload_to_is_not_told_the_token(server: _Server) -> None:
    registry = Registry(parse(f"127.0.0.1:{server.server_address[1]}/web"), _auth("secret"))
    registry.manifest("latest")
    server.upload = f"http://localhost:{server.server_address[1]}/elsewhere?x=1"
    with pytest.raises(DockerError, match="413"):
        registry.push_blob(DIGEST, 3, io.BytesIO(b"abc"), lambda sent: None)
    registry.close()
    assert server.put_tokens == [""]


@pytest.mark.parametrize("body", [b"null", b"[]", b'{"schemaVersion":1,"fsLayers":[]}', b'{"config":{}}'])
def test_a_manifest_of_another_kind_is_said_not_to_be_supported(body: bytes) -> None:
    registry = Registry(parse("127.0.0.1:1/web"), _auth("secret"))
    with pytest.raises(DockerError, match="unsupported manifest format"):
        _choose(registry, body, "application/json", DIGEST)
