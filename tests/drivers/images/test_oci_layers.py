"""Hostile and odd layers. A canary beside the target tells whether anything outside was touched; needs root for owners and whiteouts."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.drivers.images.hostile_tar import DEFAULT_LIMITS, LayerLimits
from gureum.drivers.images.layer_tree import OPAQUE_XATTR, is_whiteout
from gureum.drivers.images.oci_layers import UnpackedLayer, unpack_layer
from gureum.ports import PortError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers keep owners and whiteouts, which needs root")

CANARY = b"untouched"


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = "", **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(data), link, 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.LNKTYPE, link=target)


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return body.getvalue()


class Place:
    """A target folder with a canary beside it and the means to unpack there."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.canary = work / "canary"
        self.canary.write_bytes(CANARY)
        self.canary.chmod(0o600)
        self.before = self._outside()
        self.count = 0
        self.root = work

    def _outside(self) -> tuple[bytes, int, int, int]:
        status = self.canary.stat()
        return self.canary.read_bytes(), status.st_mode, status.st_uid, status.st_nlink

    def unpack(self, body: bytes, *lowers: Path, limits: LayerLimits = DEFAULT_LIMITS) -> UnpackedLayer:
        self.count += 1
        self.root = self.work / f"layer{self.count}"
        self.root.mkdir()
        names = sorted(os.listdir(self.work))
        try:
            return unpack_layer(io.BytesIO(body), self.root, lowers, limits)
        finally:
            assert self._outside() == self.before
            assert sorted(os.listdir(self.work)) == names


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_contents_owners_modes_times_and_attributes_are_kept(place: Place) -> None:
    attributes = {
        "SCHILY.xattr.user.note": "hi",
        "SCHILY.xattr.security.capability": "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    }
    body = layer(
        folder("./bin", mode=0o711, uid=3, gid=4, mtime=1000),
        entry("./bin/tool", data=b"#!/bin/sh\n", mode=0o4755, uid=7, gid=8, mtime=2000.5, pax_headers=attributes),
        symlink("./bin/also", "tool"),
        hardlink("./bin/same", "./bin/tool"),
        entry("./pipe", tarfile.FIFOTYPE, mode=0o622),
    )
    result = place.unpack(body)
    assert result.diff_id == f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert (result.size_bytes, result.entries, result.notes) == (10, 5, ())
    tool, bin_ = (place.root / "bin/tool").stat(), (place.root / "bin").stat()
    assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid, tool.st_mtime, tool.st_nlink) == (
        0o4755,
        7,
        8,
        2000.5,
        2,
    )
    assert (stat.S_IMODE(bin_.st_mode), bin_.st_uid, bin_.st_gid, bin_.st_mtime) == (0o711, 3, 4, 1000)
    assert (place.root / "bin/also").readlink() == Path("tool")
    assert stat.S_ISFIFO((place.root / "pipe").stat().st_mode)
    assert os.getxattr(place.root / "bin/tool", "user.note") == b"hi"
    assert os.getxattr(place.root / "bin/tool", "security.capability").startswith(b"\x01\0\0\x02")


OUTSIDE: list[tuple[str, Callable[[Path], bytes]]] = [
    ("dots behind an absolute name", lambda work: layer(entry(f"/..{work}/canary", data=b"x"))),
    ("dots", lambda work: layer(entry("../canary", data=b"x"))),
    ("dots inside", lambda work: layer(entry("a/../../canary", data=b"x"))),
    ("dots at the end", lambda work: layer(folder("a/.."))),
    ("write through a relative link", lambda work: layer(symlink("a", ".."), entry("a/canary", data=b"x"))),
    (
        "write through two links",
        lambda work: layer(symlink("a", "b"), symlink("b", "../"), entry("a/canary", data=b"x")),
    ),
    (
        "write through a link made of dots",
        lambda work: layer(folder("d"), symlink("d/l", "../.."), entry("d/l/canary", data=b"x")),
    ),
    ("loop", lambda work: layer(symlink("a", "b"), symlink("b", "a"), entry("a/x", data=b"x"))),
    ("hard link outside", lambda work: layer(hardlink("a", "../canary"))),
    ("hard link to an absolute name", lambda work: layer(hardlink("a", f"{work}/canary"))),
    ("hard link through a link", lambda work: layer(symlink("a", ".."), hardlink("b", "a/canary"))),
    ("hard link to nothing", lambda work: layer(hardlink("a", "b"))),
    ("hard link to a folder", lambda work: layer(folder("b"), hardlink("a", "b"))),
    ("whiteout of dots", lambda work: layer(entry("a/.wh..."), entry(".wh..."))),
    ("whiteout outside", lambda work: layer(symlink("a", ".."), entry("a/.wh.canary"))),
    ("opaque outside", lambda work: layer(symlink("a", ".."), entry("a/.wh..wh..opq"))),
    ("folder outside", lambda work: layer(symlink("a", ".."), folder("a/canary", mode=0o777))),
    ("below a file", lambda work: layer(entry("a", data=b"x"), entry("a/b", data=b"x"))),
    ("name too long", lambda work: layer(entry("n" * 300))),
    ("path too deep", lambda work: layer(entry("d/" * 1000 + "x"))),
    ("owner unknown to any system", lambda work: layer(entry("a", uid=2**32 - 1))),
]


@pytest.mark.parametrize("make", [make for _, make in OUTSIDE], ids=[name for name, _ in OUTSIDE])
def test_refused(place: Place, make: Callable[[Path], bytes]) -> None:
    with pytest.raises(PortError) as refused:
        place.unpack(make(place.work))
    assert not refused.value.retry


def test_absolute_names_are_names_below_the_root(place: Place) -> None:
    """As Docker takes them: some builders write nothing else."""
    inside = str(place.work).lstrip("/")
    names = [entry("/ko-app/server", data=b"s"), hardlink("/ko-app/also", "/ko-app/server"), entry("/etc/.wh.hosts")]
    place.unpack(layer(*names, entry(str(place.canary), data=b"x")))
    assert (place.root / "ko-app/also").read_bytes() == b"s"
    assert is_whiteout((place.root / "etc/hosts").stat())
    assert (place.root / inside / "canary").read_bytes() == b"x"


def test_absolute_link_is_followed_inside_the_root(place: Place) -> None:
    """As the guest itself would see it: "/" is the layer's root, here with a folder of the host's path in it."""
    inside = str(place.work).lstrip("/")
    place.unpack(layer(folder(inside), symlink("a", str(place.work)), entry("a/canary", data=b"x")))
    assert (place.root / inside / "canary").read_bytes() == b"x"


def test_link_over_a_folder_in_use_is_not_written_through(place: Place) -> None:
    """The folder is open from the entry before when it becomes a link."""
    body = layer(folder("a"), entry("a/first", data=b"1"), symlink("a", ".."), entry("a/canary", data=b"x"))
    with pytest.raises(PortError):
        place.unpack(body)


def test_later_entry_replaces_without_writing_through(place: Place) -> None:
    place.unpack(
        layer(
            entry("a", data=b"1"),
            hardlink("b", "a"),
            entry("b", data=b"2"),
            symlink("c", str(place.canary)),
            entry("c", data=b"3"),
            folder("d"),
            entry("d/x", data=b"4"),
            entry("d", data=b"5"),
            hardlink("e", "a"),
            hardlink("e", "a"),
            hardlink("a", "a"),
        )
    )
    assert [(place.root / name).read_bytes() for name in "abcde"] == [b"1", b"2", b"3", b"5", b"1"]
    assert not (place.root / "c").is_symlink()


def test_devices_are_left_out_and_noted(place: Place) -> None:
    devices = [
        entry("dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0),
        entry("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("odd", b"Z"),
    ]
    result = place.unpack(layer(*devices))
    assert len(result.notes) == 3
    assert sorted(path.name for path in place.root.rglob("*")) == ["dev"]


def test_attributes_with_power_are_left_out_and_noted(place: Place) -> None:
    keys = (
        "trusted.overlay.redirect",
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "security.selinux",
        "system.posix_acl_access",
    )
    result = place.unpack(layer(folder("a", pax_headers={f"SCHILY.xattr.{key}": "y" for key in keys})))
    assert len(result.notes) == len(keys)
    assert os.listxattr(place.root / "a") == []


def test_whiteouts_become_overlays_own(place: Place) -> None:
    place.unpack(
        layer(
            entry("etc/.wh.gone"),
            folder("opaque"),
            entry("opaque/.wh..wh..opq"),
            entry("plain", tarfile.CHRTYPE, devmajor=0, devminor=0),
            entry(".wh..wh.plnk"),
        )
    )
    assert is_whiteout((place.root / "etc/gone").lstat())
    assert is_whiteout((place.root / "plain").lstat())
    assert os.getxattr(place.root / "opaque", OPAQUE_XATTR) == b"y"
    assert sorted(os.listdir(place.root)) == ["etc", "opaque", "plain"]


@pytest.mark.parametrize("order", [1, -1])
def test_whiteout_beside_its_own_folder_hides_only_what_is_below(place: Place, order: int) -> None:
    """A build step that removed a folder and made it anew gives both entries, in either order."""
    place.unpack(layer(*[entry(".wh.a"), folder("a")][::order], entry("a/new", data=b"x")))
    assert (place.root / "a/new").read_bytes() == b"x"
    assert os.getxattr(place.root / "a", OPAQUE_XATTR) == b"y"


def test_parents_that_a_layer_does_not_name_look_as_below(place: Place) -> None:
    place.unpack(
        layer(
            folder("tmp", mode=0o1777, uid=5), folder("tmp/a", mode=0o700), symlink("lib", "usr/lib"), folder("usr/lib")
        )
    )
    lower = place.root
    place.unpack(layer(entry("tmp/a/x", data=b"x"), entry("lib/y", data=b"y")), lower)
    assert (stat.S_IMODE((place.root / "tmp").stat().st_mode), (place.root / "tmp").stat().st_uid) == (0o1777, 5)
    assert stat.S_IMODE((place.root / "tmp/a").stat().st_mode) == 0o700
    assert (place.root / "usr/lib/y").read_bytes() == b"y"
    assert not (place.root / "lib").is_symlink()


def test_link_below_does_not_lead_outside(place: Place) -> None:
    place.unpack(layer(symlink("a", "..")))
    with pytest.raises(PortError):
        place.unpack(layer(entry("a/canary", data=b"x")), place.root)


def test_link_below_that_is_hidden_is_not_followed(place: Place) -> None:
    place.unpack(layer(symlink("a", "b"), folder("b")))
    lower = place.root
    place.unpack(layer(entry(".wh.a"), entry("a/x", data=b"x")), lower)
    assert (place.root / "a/x").read_bytes() == b"x"
    assert not (place.root / "b").exists()


def test_limits_hold(place: Place) -> None:
    many = layer(*[entry(f"f{index}") for index in range(20)])
    big = layer(entry("a", data=bytes(5000)), entry("b", data=bytes(5000)))
    with pytest.raises(PortError, match="entries"):
        place.unpack(many, limits=LayerLimits(entries=19))
    with pytest.raises(PortError, match="unpacks to more"):
        place.unpack(big, limits=LayerLimits(unpacked_bytes=9999))
    with pytest.raises(PortError, match="larger"):
        place.unpack(big, limits=LayerLimits(stream_bytes=9999))
    assert place.unpack(big, limits=LayerLimits(unpacked_bytes=10_000)).size_bytes == 10_000


class Endless:
    """A header that claims a terabyte, then zeros without end: what a bomb unpacks to."""

    def __init__(self, kind: bytes) -> None:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 2**40
        self._head = info.tobuf(tarfile.GNU_FORMAT)
        self.read_bytes = 0

    def read(self, size: int, /) -> bytes:
        data, self._head = self._head[:size], self._head[size:]
        self.read_bytes += size
        return data + bytes(size - len(data))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_header_that_claims_a_terabyte_is_refused_early(place: Place, kind: bytes) -> None:
    (place.work / "t").mkdir()
    stream = Endless(kind)
    with pytest.raises(PortError):
        unpack_layer(stream, place.work / "t")
    assert stream.read_bytes < 20_000_000


def test_broken_archives_are_refused(place: Place) -> None:
    whole = layer(entry("a", data=b"x" * 2000), entry("b", data=b"y"))
    second_header = whole.index(b"b\0\0")
    broken = whole[:second_header] + b"\xff" * 512 + whole[second_header + 512 :]
    for body in (b"", b"not a tar" * 100, whole[:700], broken):
        with pytest.raises(PortError):
            place.unpack(body)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_any_entries_stay_inside(place: Place, data: st.DataObject) -> None:
    names = st.lists(
        st.sampled_from(["a", "b", "..", ".", "canary", ".wh.a", ".wh..wh..opq", ""]), min_size=1, max_size=4
    ).map("/".join)
    kinds = st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    )
    entries = data.draw(st.lists(st.tuples(names, kinds, names), max_size=8))
    lowers = [place.root] if place.count and data.draw(st.booleans()) else []
    try:
        place.unpack(layer(*[entry(name, kind, link=link) for name, kind, link in entries]), *lowers)
    except PortError:
        pass


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6))
def test_any_flipped_bytes_are_survived(place: Place, flips: list[tuple[int, int]]) -> None:
    body = bytearray(
        layer(
            folder("a"),
            entry("a/x", data=b"x" * 600),
            hardlink("y", "a/x"),
            entry("z" * 120, pax_headers={"SCHILY.xattr.user.a": "b"}),
        )
    )
    for at, value in flips:
        body[at % len(body)] = value
    try:
        place.unpack(bytes(body))
    except PortError:
        pass
