"""What may be registered, and what form it is taken for."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.ec2.images.imports import locate
from gureum.aws.errors import AwsError


@pytest.fixture
def imports(tmp_path):
    folder = tmp_path / "imports"
    folder.mkdir()
    return folder


def tar(path, *names, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 700
            archive.addfile(entry, io.BytesIO(bytes(700)))


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (("etc/passwd", "sbin/init"), "rootfs"),
        (("aa/layer.tar", "manifest.json"), "docker"),
        (("blobs/sha256/aa", "index.json", "manifest.json", "./oci-layout"), "oci"),
        (("etc/manifest.json", "var/oci-layout"), "rootfs"),
        ((), "rootfs"),
    ],
)
def test_the_names_in_a_tar_tell_its_form(imports, names, form):
    tar(imports / "image.tar", *names)
    assert locate(str(imports.parent), "image.tar").form == form


def test_a_folder_is_an_oci_layout_and_a_compressed_tar_a_root(imports):
    (imports / "layout").mkdir()
    tar(imports / "root.tar.gz", "manifest.json", mode="w:gz")
    assert locate(str(imports.parent), "layout").form == "oci"
    assert locate(str(imports.parent), "root.tar.gz").form == "rootfs"
    assert locate(str(imports.parent), "docker:root.tar.gz").form == "docker"


def test_all_spellings_of_a_place(imports):
    (imports / "a").mkdir()
    tar(imports / "a" / "web.tar", "x")
    for location in ("a/web.tar", "imports/a/web.tar", f"{imports}/a/web.tar", "rootfs:a/web.tar"):
        assert locate(str(imports.parent), location).path == f"{imports}/a/web.tar"


@pytest.mark.parametrize(
    "location",
    [
        "",
        ".",
        "..",
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "oci:/etc/passwd",
        "oci:",
        "link",
        "inner/secret",
        "none",
        "a\0b",
        "a//b",
        "x" * 5000,
    ],
)
def test_nothing_else_of_the_host_is_reached(imports, location):
    (imports.parent / "secret").write_text("x")
    (imports / "link").symlink_to(imports.parent / "secret")
    (imports / "inner").symlink_to(imports.parent)
    with pytest.raises(AwsError) as caught:
        locate(str(imports.parent), location)
    assert caught.value.code == "InvalidParameterValue"


def test_a_pipe_is_no_image(imports):
    os.mkfifo(imports / "pipe")
    with pytest.raises(AwsError):
        locate(str(imports.parent), "pipe")


@given(data=st.binary(max_size=2000))
def test_any_bytes_are_taken_for_something(tmp_path_factory, data):
    home = tmp_path_factory.mktemp("home")
    (home / "imports").mkdir()
    (home / "imports" / "x").write_bytes(data)
    assert locate(str(home), "x").form in ("oci", "docker", "rootfs")
    (home / "imports" / "y").write_bytes(gzip.compress(data))
    assert locate(str(home), "y").form == "rootfs"


@pytest.mark.parametrize("size", [b"99999999999\0", b"\xb2" * 12, b"77777777777\0", b"-1234567890\0"])
def test_a_tar_with_a_broken_size_is_the_agents_to_refuse(imports, size):
    (imports / "broken.tar").write_bytes(
        (b"name".ljust(124, b"\0") + size).ljust(257, b"\0") + b"ustar".ljust(255, b"\0")
    )
    assert locate(str(imports.parent), "broken.tar").form == "rootfs"
