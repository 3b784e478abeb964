"""Snapshots that are archived and come back: the same content, nothing of theirs left in the other tier, others as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gureum.drivers.volumes.volume_archives import SnapshotArchives
from gureum.drivers.volumes.volume_snapshots import BLOCK, SnapshotFiles
from gureum.ports import PortError

SIZE = 4 * BLOCK + 100


class Tiers:
    """A chain of snapshots s0, s1, s2 of one volume, each with a block changed. `content`: what each must give back."""

    def __init__(self, folder: Path, *, clones: bool = False) -> None:
        self.folder, self.snapshots = folder, folder / "snapshots"
        self.clones = clones
        self.content: dict[str, bytes] = {}
        self.start()
        path = folder / "volume"
        path.write_bytes(bytes(SIZE))
        for number in range(3):
            with path.open("r+b") as file:
                file.seek(number * BLOCK)
                file.write(os.urandom(1000))
                file.seek(SIZE - 10)
                file.write(bytes([number + 1]) * 10)
            self.files.make(f"s{number}", path, f"s{number - 1}" if number else "")
            self.content[f"s{number}"] = path.read_bytes()

    def start(self) -> None:
        self.files = SnapshotFiles(self.snapshots, clones=self.clones)
        self.archives = SnapshotArchives(self.snapshots, self.files)

    def restored(self, name: str) -> bytes:
        target = self.folder / "restored"
        self.files.restore(name, target, SIZE)
        found = target.read_bytes()
        target.unlink()
        return found

    def names(self, suffix: str) -> set[str]:
        return {path.name for path in self.snapshots.iterdir() if path.name.endswith(suffix)}


@pytest.fixture
def tiers(tmp_path: Path) -> Tiers:
    return Tiers(tmp_path)


def test_one_in_the_middle_goes_and_comes_back_and_the_others_stay(tiers: Tiers) -> None:
    for _ in range(2):
        tiers.archives.settle("s1", "both")
        assert tiers.restored("s1") == tiers.content["s1"]
        tiers.archives.settle("s1", "archive")
        assert tiers.files.look("s1") is None
        kept = tiers.archives.look("s1")
        assert kept is not None
        assert kept.size_bytes == SIZE
        assert 2000 < kept.stored_bytes < 2 * BLOCK
        assert [tiers.restored(name) for name in ("s0", "s2")] == [tiers.content["s0"], tiers.content["s2"]]
        tiers.archives.settle("s1", "standard")
        assert tiers.archives.look("s1") is None
        tiers.start()
        assert {name: tiers.restored(name) for name in tiers.content} == tiers.content
    for name in tiers.content:
        tiers.files.remove(name)
        tiers.archives.remove(name)
    assert list(tiers.snapshots.iterdir()) == []


def test_an_archive_shares_nothing_with_others(tiers: Tiers) -> None:
    tiers.archives.settle("s2", "archive")
    tiers.files.remove("s0")
    tiers.files.remove("s1")
    assert tiers.names("") == {"s2.archive"}
    tiers.archives.settle("s2", "both")
    assert tiers.restored("s2") == tiers.content["s2"]


def test_it_is_the_same_where_files_are_cloned(tmp_path: Path) -> None:
    tiers = Tiers(tmp_path, clones=True)
    tiers.archives.settle("s1", "archive")
    assert "s1.img" not in tiers.names("")
    tiers.archives.settle("s1", "standard")
    assert tiers.restored("s1") == tiers.content["s1"]


def test_what_a_killed_process_left_halfway_is_finished(tiers: Tiers) -> None:
    tiers.archives.settle("s1", "both")  # and was killed before the blocks went
    tiers.start()
    tiers.archives.settle("s1", "archive")
    (tiers.snapshots / "s1.restored.draft").write_bytes(b"half")
    tiers.start()
    assert not tiers.names(".draft")
    tiers.archives.settle("s1", "standard")
    assert tiers.restored("s1") == tiers.content["s1"]


def test_a_broken_archive_makes_no_snapshot(tiers: Tiers) -> None:
    tiers.archives.settle("s1", "archive")
    path = tiers.snapshots / "s1.archive"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(OSError, match="zstd"):
        tiers.archives.settle("s1", "standard")
    assert tiers.files.look("s1") is None
    assert not tiers.names(".draft")


def test_without_a_program_to_compress_with_nothing_changes(tiers: Tiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gureum.drivers.volumes.volume_archives.shutil.which", lambda _: None)
    with pytest.raises(PortError, match="zstd is not installed"):
        tiers.archives.settle("s1", "archive")
    assert tiers.restored("s1") == tiers.content["s1"]
    assert not tiers.names(".draft")
    assert not tiers.names(".archive")
