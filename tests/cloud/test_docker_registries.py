"""Debian's registry behind TLS and a password, by the docker command line: login, push, pull, and what goes wrong on the way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.docker_clients import (
    BUSYBOX,
    Docker,
    busybox_tar,
    debian_packages,
    free_port,
    registry,
)
from tests.cloud.running import Cloud, program

pytestmark = pytest.mark.machine
# bcrypt of "secret": the only kind that the registry reads.
_HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
_MANIFEST, _INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def place(docker: Docker, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with a certificate that gureum is told to believe, and only that."""
    folder = tmp_path_factory.mktemp("registry")
    packages = debian_packages(folder / "packages", "docker-registry")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    wish = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=a registry",
    ]
    files = ["-keyout", str(key), "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([program("openssl"), "req", "-x509", *wish, *files], check=True, capture_output=True)
    with registry(folder, packages, certificate=(certificate, key), htpasswd=_HTPASSWD) as found:
        with believed(cloud, found, certificate):
            yield found


@contextlib.contextmanager
def believed(cloud: Cloud, place: str, certificate: Path) -> Iterator[None]:
    folder = Path(cloud.environment["GUREUM_HOME"]) / "docker" / "certs.d" / place
    folder.mkdir(parents=True)
    shutil.copy(certificate, folder / "ca.crt")
    try:
        yield
    finally:
        shutil.rmtree(folder)


def authority(cloud: Cloud, place: str) -> Path:
    return Path(cloud.environment["GUREUM_HOME"]) / "docker" / "certs.d" / place / "ca.crt"


@pytest.fixture
def logged_in(docker: Docker, place: str) -> Iterator[str]:
    said = docker("login", "-u", "me", "--password-stdin", place, stdin=b"secret")
    assert "Login Succeeded" in said
    yield place
    docker("logout", place)


def test_a_wrong_password_lets_nobody_in(docker: Docker, place: str) -> None:
    done = docker.run("login", "-u", "me", "--password-stdin", place, stdin=b"guess", check=False)
    assert done.returncode != 0
    assert b"unauthorized: authentication required" in done.stderr
    docker("tag", BUSYBOX, f"{place}/secret:1")
    assert "denied: requested access to the resource is denied" in docker.fails("push", f"{place}/secret:1")
    assert "pull access denied for" in docker.fails("pull", f"{place}/secret:1")
    docker("rmi", f"{place}/secret:1")


def test_a_certificate_that_nobody_vouches_for_is_refused(docker: Docker, place: str, cloud: Cloud) -> None:
    other = authority(cloud, place)
    kept = other.read_bytes()
    wish = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=another"]
    subprocess.run(
        [program("openssl"), "req", "-x509", *wish, "-keyout", "/dev/null", "-out", str(other)],
        check=True,
        capture_output=True,
    )
    try:
        assert "failed to verify certificate" in docker.fails("pull", f"{place}/web:1")
    finally:
        other.write_bytes(kept)


def test_an_image_is_pushed_and_pulled_by_tag_and_by_digest(docker: Docker, logged_in: str) -> None:
    name = f"{logged_in}/team/busybox"
    docker("tag", BUSYBOX, f"{name}:1")
    said = docker("push", f"{name}:1")
    digest = said.rpartition("digest: ")[2].split()[0]
    assert "Layer already exists" in docker("push", f"{name}:1")
    client = pytest.importorskip("docker", reason="docker-py is not installed").APIClient(base_url=docker.host)
    seen = client.inspect_distribution(f"{name}:1", auth_config={"username": "me", "password": "secret"})
    assert seen["Descriptor"]["digest"] == digest
    assert seen["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
    client.close()
    docker("rmi", f"{name}:1")
    assert f"Status: Downloaded newer image for {name}@{digest}" in docker("pull", f"{name}@{digest}")
    assert f"{name}@{digest}" in docker("image", "inspect", "-f", "{{json .RepoDigests}}", f"{name}@{digest}")
    assert docker("run", "--rm", f"{name}@{digest}", "echo", "here") == "here"
    wrong = "sha256:" + "0" * 64
    assert "not found" in docker.fails("pull", f"{name}@{wrong}")
    docker("rmi", f"{name}@{digest}")


def test_docker_py_logs_in_pushes_and_pulls(docker_py: Any, place: str) -> None:
    import docker

    who = {"username": "me", "password": "secret"}
    assert docker_py.login(**who, registry=place)["Status"] == "Login Succeeded"
    with pytest.raises(docker.errors.APIError, match="unauthorized"):
        docker_py.login(username="me", password="guess", registry=place, reauth=True)
    image = docker_py.images.get(BUSYBOX)
    name = f"{place}/team/python"
    image.tag(name, "1")
    told = list(docker_py.images.push(name, tag="1", auth_config=who, stream=True, decode=True))
    assert told[-1]["aux"]["Tag"] == "1"
    assert any("progressDetail" in line for line in told)
    docker_py.images.remove(f"{name}:1")
    assert docker_py.images.pull(name, tag="1", auth_config=who).id == image.id
    assert docker_py.images.get_registry_data(f"{name}:1", auth_config=who).has_platform("linux/amd64")
    docker_py.images.remove(f"{name}:1")


def test_an_index_of_several_machines_with_zstd_layers_over_a_connection_that_is_cut(
    docker: Docker, logged_in: str, cloud: Cloud
) -> None:
    layer = busybox_tar() + os.urandom(3 << 20)  # what comes after the end of a tar is nobody's
    packed = subprocess.run([program("zstd"), "-c"], input=layer, capture_output=True, check=True).stdout
    upload = Upload(logged_in, authority(cloud, logged_in))
    diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["echo", "all of it"], "Env": ["PATH=/bin"]}}
    config["rootfs"] = {"type": "layers", "diff_ids": [diff]}
    layers = [upload.blob(packed) | {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd"}]
    body = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": upload.blob(json.dumps(config).encode()),
        "layers": layers,
    }
    mine = upload.manifest(body) | {"platform": {"os": "linux", "architecture": "amd64"}}
    theirs = upload.manifest({**body, "annotations": {"of": "another"}}) | {
        "platform": {"os": "linux", "architecture": "s390x"}
    }
    upload.manifest({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [theirs, mine]}, "many")
    with cut_once(logged_in, after_bytes=1 << 20) as (cut, cuts), believed(cloud, cut, authority(cloud, logged_in)):
        docker("login", "-u", "me", "--password-stdin", cut, stdin=b"secret")
        docker("pull", f"{cut}/many:1")
        docker("logout", cut)
        assert cuts.is_set()
        assert docker("run", "--rm", f"{cut}/many:1") == "all of it"
        docker("rmi", f"{cut}/many:1")


class Upload:
    """Puts content into a repository, as a builder would."""

    def __init__(self, place: str, authority: Path) -> None:
        self._connection = http.client.HTTPSConnection(place, context=ssl.create_default_context(cafile=str(authority)))
        self._basic = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}

    def _ask(self, method: str, url: str, body: bytes = b"", kind: str = "application/octet-stream") -> str:
        self._connection.request(method, url, body, {**self._basic, "Content-Type": kind})
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status in (201, 202), said
        return answer.headers.get("Location", "")

    def blob(self, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        where = self._ask("POST", "/v2/many/blobs/uploads/").partition("/v2/")[2]
        self._ask("PUT", f"/v2/{where}&digest={digest}", data)
        return {"digest": digest, "size": len(data), "mediaType": "application/octet-stream"}

    def manifest(self, body: dict[str, Any], tag: str = "") -> dict[str, Any]:
        data = json.dumps(body).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._ask("PUT", f"/v2/many/manifests/{'1' if tag else digest}", data, body["mediaType"])
        return {"digest": digest, "size": len(data), "mediaType": body["mediaType"]}


@contextlib.contextmanager
def cut_once(place: str, *, after_bytes: int) -> Iterator[tuple[str, threading.Event]]:
    """A way to the registry on which one connection is lost after so many bytes."""
    port, cuts = free_port(), threading.Event()
    server = socket.create_server(("127.0.0.1", port))

    def carry(source: socket.socket, target: socket.socket, *, counted: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                carried += len(data)
                if counted and carried > after_bytes and not cuts.is_set():
                    cuts.set()
                    break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                host, _, number = place.rpartition(":")
                far = socket.create_connection((host, int(number)))
                threading.Thread(target=carry, args=(near, far), kwargs={"counted": False}, daemon=True).start()
                threading.Thread(target=carry, args=(far, near), kwargs={"counted": True}, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{port}", cuts
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_registries_that_say_nothing_hold_up_nobody_and_are_left_when_their_clients_leave(docker: Docker) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server, contextlib.ExitStack() as ends:
        port, heard = server.getsockname()[1], []
        pulls = [docker.start("pull", f"127.0.0.1:{port}/web:{number}") for number in range(12)]
        for pull in pulls:
            ends.enter_context(pull)
            ends.callback(pull.kill)
        server.settimeout(30)
        for _ in pulls:
            near, _ = server.accept()
            near.settimeout(30)
            assert near.recv(1)
            heard.append(near)
        docker("import", "-", "silence:1", stdin=busybox_tar())
        docker("rmi", "silence:1")
        for pull in pulls:
            pull.kill()
            pull.wait(10)
        for near in heard:
            with near, contextlib.suppress(ConnectionResetError):
                while near.recv(65536):
                    pass
