"""docker cp, where a path's end says how: folders, links to them, the root, users. What is expected is what Docker's documents of `docker cp` and of
its API say (ContainerArchive, PutContainerArchive)."""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker
from tests.cloud.running import Cloud, until
from tests.cloud.test_docker_py import running

pytestmark = pytest.mark.machine
_MAKE = (
    "mkdir -p /bar/quux && echo hello >/foo && echo world >/bar/quux/baz && ln /bar/quux/baz /bar/quux/same && "
    "ln -s quux /bar/link && ln -s quux/baz /bar/file && exec sleep 1000"
)


@pytest.fixture
def copied(docker: Docker) -> Iterator[str]:
    docker("run", "-d", "--name=copied", BUSYBOX, "sh", "-c", _MAKE)
    try:
        docker("exec", "copied", "sh", "-c", "until test -L /bar/file; do :; done")
        yield "copied"
    finally:
        docker("rm", "-f", "copied")


def _names(docker_py: Any, path: str) -> set[str]:
    pieces, _ = docker_py.containers.get("copied").get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        return {one.name + ("/" if one.isdir() and not one.name.endswith("/") else "") for one in tar}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/bar/link", {"link"}),
        ("/bar/link/", {"link/", "link/baz", "link/same"}),
        ("/bar/link/.", {"./", "./baz", "./same"}),
        ("/bar/quux/", {"quux/", "quux/baz", "quux/same"}),
    ],
)
@pytest.mark.usefixtures("copied")
def test_the_end_of_a_path_says_what_is_copied(docker_py: Any, path: str, names: set[str]) -> None:
    assert _names(docker_py, path) == names


def test_all_of_a_container_is_copied_into_a_new_folder(docker: Docker, copied: str, tmp_path: Path) -> None:
    docker("cp", f"{copied}:/", str(tmp_path / "whole"))
    assert [one.name for one in tmp_path.iterdir()] == ["whole"]
    assert (tmp_path / "whole/foo").read_text() == "hello\n"
    assert (tmp_path / "whole/bar/quux/same").read_text() == "world\n"
    docker("cp", f"{copied}:/bar/link/", str(tmp_path / "folder"))
    assert (tmp_path / "folder/baz").read_text() == "world\n"


def test_a_file_is_no_folder(docker: Docker, docker_py: Any, copied: str) -> None:
    made = docker_py.containers.get(copied)
    with pytest.raises(Exception, match="not a directory"):
        made.get_archive("/foo/")
    with pytest.raises(Exception, match="not a directory"):
        made.put_archive("/foo/", b"")
    with pytest.raises(Exception, match="extraction point is not a directory"):
        made.put_archive("/foo", b"")
    assert made.put_archive("/", b"")
    assert docker("exec", copied, "cat", "/foo") == "hello"


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("www", "33:33"),
        ("www:staff", "33:50"),
        ("7777:", "7777:0"),
        (":7777", "0:7777"),
        ("7777", "7777:0"),
    ],
)
def test_copies_with_a_become_the_containers_user(docker: Docker, docker_py: Any, user: str, owner: str) -> None:
    """Into a folder that is not the user's, too; without `-a` owners are those of the archive."""
    with running(docker_py, user=user) as made, contextlib.closing(io.BytesIO()) as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, kind in (
                ("folder", tarfile.DIRTYPE),
                ("folder/file", tarfile.REGTYPE),
                ("link", tarfile.SYMTYPE),
            ):
                entry = tarfile.TarInfo(name)
                entry.type, entry.uid, entry.gid, entry.mode = kind, 5, 6, 0o4750
                entry.linkname = "folder" if kind == tarfile.SYMTYPE else ""
                tar.addfile(entry)
        url = f"{docker_py.api.base_url}/v1.47/containers/{made.id}/archive"
        for asked, owners in (({"copyUIDGID": "true"}, owner), ({}, "5:6")):
            docker("exec", "-u", "0", made.id, "rm", "-rf", "/folder", "/link")
            sent = docker_py.api.put(url, params={"path": "/", **asked}, data=packed.getvalue())
            assert sent.status_code == 200, sent.text
            shown = docker("exec", "-u", "0", made.id, "stat", "-c", "%u:%g %a", "/folder", "/folder/file", "/link")
            lines = shown.splitlines()
            # Links keep no owner of an archive's: busybox's tar gives them none.
            assert [line.split()[0] for line in lines[: 3 if asked else 2]] == [owners] * (3 if asked else 2)
            assert lines[1].split()[1] == "4750"


def test_clients_that_leave_in_the_middle_are_no_fault(docker: Docker, copied: str) -> None:
    """What a fault leaves in the daemon's log is looked for at the end of all these tests."""
    docker("exec", "-d", copied, "sh", "-c", "while :; do echo a line >/proc/1/fd/1; done")
    heads = (
        f"GET /v1.47/containers/{copied}/archive?path=/ HTTP/1.1\r\nHost: docker\r\n\r\n",
        f"GET /v1.47/containers/{copied}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\r\n",
        f"POST /v1.47/containers/{copied}/attach?stream=1&stdout=1&logs=1 HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n",
    )
    for number in range(30):
        for head in heads:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(docker.host.removeprefix("unix://"))
                client.sendall(head.encode())
                client.recv(1 + number)


def test_a_container_with_folders_without_end_is_removed(docker: Docker, cloud: Cloud) -> None:
    """Deeper than the stack of who removes it in Python."""
    script = "i=0; while [ $i -lt 1500 ]; do mkdir x && cd x || exit 1; i=$((i+1)); done"
    docker("run", "--name=deep", BUSYBOX, "sh", "-c", script)
    before = set((cloud.home / "folders").iterdir())
    docker("rm", "deep")
    until(lambda: set((cloud.home / "folders").iterdir()) < before)
    until(lambda: not list((cloud.home / "folders").glob("*.gone")))
