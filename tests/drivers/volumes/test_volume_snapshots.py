"""Snapshots in blocks: whatever is written, kept, copied and removed in whatever order, each gives back the volume of its moment."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gureum.drivers.volumes.volume_snapshots import BLOCK, SnapshotFiles, Wanted
from gureum.ports import PortError

BLOCKS = 6


def volume(folder: Path) -> Path:
    path = folder / "volume"
    with path.open("wb") as file:
        file.truncate(BLOCKS * BLOCK + 100)
    return path


def write(path: Path, block: int, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(block * BLOCK + 10)
        file.write(bytes([value]) * 50)


def restored(files: SnapshotFiles, name: str, folder: Path) -> bytes:
    target = folder / "restored"
    files.restore(name, target, BLOCKS * BLOCK + 100)
    content = target.read_bytes()
    target.unlink()
    return content


def stored(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*.blocks"))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, BLOCKS), st.integers(0, 3)),
        st.tuples(st.just("make"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("copy"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("remove"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@example(steps=[("write", 0, 1), ("make", 0, 0), ("make", 1, 0), ("remove", 0, 0), ("make", 0, 1)])
@given(steps=STEPS)
def test_each_snapshot_gives_back_its_moment(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, kept = volume(folder), dict[str, bytes]()
        files = SnapshotFiles(folder / "snapshots", clones=False)
        for step, one, other in steps:
            new, old = f"s{one}", f"s{other}"
            if step == "write":
                write(path, one, other)
            elif step == "make" and new not in kept:
                files.make(new, path, old)
                kept[new] = path.read_bytes()
            elif step == "copy" and new not in kept and old in kept:
                files.copy(new, old)
                kept[new] = kept[old]
            elif step == "remove":
                files.remove(new)
                kept.pop(new, None)
            elif step == "restart":
                files = SnapshotFiles(folder / "snapshots", clones=False)
        for snapshot, content in kept.items():
            assert restored(files, snapshot, folder) == content
            assert files.read(snapshot, 77, 3 * BLOCK) == content[77 : 77 + 3 * BLOCK]
            assert files.read(snapshot, BLOCKS * BLOCK, BLOCK) == content[BLOCKS * BLOCK :]
            pieces = [content[start : start + BLOCK] for start in range(0, len(content), BLOCK)]
            assert [index for index, _ in files.blocks(snapshot)] == [
                index for index, piece in enumerate(pieces) if any(piece)
            ]
        for snapshot in kept:
            files.remove(snapshot)
        assert list((folder / "snapshots").iterdir()) == []


def test_what_is_written_before_it_is_held_is_in_the_snapshot(tmp_path: Path) -> None:
    path, files = volume(tmp_path), SnapshotFiles(tmp_path / "snapshots", clones=False)
    for block in range(BLOCKS):
        write(path, block, 1)
    count = 0

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        nonlocal count
        write(path, 2, 2)
        count += 1
        yield
        write(path, 3, 3)

    wanted = bytearray(path.read_bytes())
    wanted[2 * BLOCK + 10 : 2 * BLOCK + 60] = bytes([2]) * 50
    files.make("snap", path, "", hold, lambda: count)
    assert restored(files, "snap", tmp_path) == wanted
    assert stored(tmp_path / "snapshots") == BLOCKS * BLOCK  # the block that was read too early went back


def test_several_are_of_one_moment_and_a_killed_process_leaves_none(tmp_path: Path) -> None:
    paths, folder = [], tmp_path / "snapshots"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(volume(tmp_path / name))
    files, held = SnapshotFiles(folder, clones=False), list[str]()

    @contextlib.contextmanager
    def hold(name: str) -> Iterator[None]:
        """As a file system that is frozen: what is not held is written to until now."""
        for number, path in enumerate(paths):
            if "ab"[number] not in held:
                write(path, 0, len(held) + 1)
        held.append(name)
        if held == ["a", "b"]:
            moment.extend(path.read_bytes() for path in paths)
        yield
        held.remove(name)

    moment: list[bytes] = []
    wanted = [
        Wanted(name, path, "", functools.partial(hold, name), lambda: -1)
        for name, path in zip("ab", paths, strict=True)
    ]
    for _ in range(2):
        files.make_together(wanted)
    assert len(moment) == 2
    assert [restored(files, name, tmp_path) for name in "ab"] == moment
    assert not list(folder.glob("*.group"))

    class KilledError(BaseException): ...

    @contextlib.contextmanager
    def killed() -> Iterator[None]:
        files.make("e", paths[0], "")  # what was made by then
        raise KilledError
        yield

    files.remove("a")
    with pytest.raises(KilledError):
        files.make_together(
            [Wanted("d", paths[0], "", contextlib.nullcontext, lambda: 0), Wanted("e", paths[1], "", killed, lambda: 0)]
        )
    again = SnapshotFiles(folder, clones=False)
    assert [again.look(name) is None for name in "bde"] == [False, True, True]


def test_what_nobody_counts_is_read_again(tmp_path: Path) -> None:
    path, files = volume(tmp_path), SnapshotFiles(tmp_path / "snapshots", clones=False)

    @contextlib.contextmanager
    def hold() -> Iterator[None]:
        write(path, 2, 2)
        yield

    files.make("snap", path, "", hold, lambda: -1)
    assert restored(files, "snap", tmp_path) == path.read_bytes()


def test_full_disk_leaves_no_half_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, files = volume(tmp_path), SnapshotFiles(tmp_path / "snapshots", clones=False)
    write(path, 0, 1)

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="No space"):
        files.make("snap", path, "")
    assert files.look("snap") is None
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_volume_smaller_than_its_snapshot_is_refused(tmp_path: Path) -> None:
    path, files = volume(tmp_path), SnapshotFiles(tmp_path / "snapshots", clones=False)
    files.make("snap", path, "")
    with pytest.raises(PortError, match="more than the wished"):
        files.restore("snap", tmp_path / "restored", BLOCK)
