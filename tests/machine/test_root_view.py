"""A container's root seen with its volumes, while they come and go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gureum.drivers.containers.root_view import seeing
from gureum.drivers.volumes import mounts
from gureum.ports import PortError
from gureum.ports.root_files import BETWEEN_RUNS

pytestmark = pytest.mark.machine
VIEW = (("/data", False),)


@contextlib.contextmanager
def shown(source: Path, target: Path) -> Iterator[None]:
    mounts.mount(str(source), target, "", mounts.MS_BIND)
    try:
        yield
    finally:
        mounts.unmount(target, mounts.MNT_DETACH)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    files = tmp_path / "files"
    (files / "data").mkdir(parents=True)
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/word").write_text("kept")
    (tmp_path / "root").mkdir()
    (tmp_path / "shown/0").mkdir(parents=True)
    with shown(files, tmp_path / "root"):
        yield tmp_path / "root"


def test_a_volume_is_seen_in_its_root_and_by_nobody_else(root: Path) -> None:
    with shown(root.parent / "volume", root.parent / "shown/0"):
        assert seeing(root, VIEW, (root / "data/word").read_text) == "kept"
    assert not (root / "data/word").exists()


def test_an_empty_folder_is_not_taken_for_a_volume_that_has_just_gone(root: Path) -> None:
    """Else a file that was copied out of it is not found, and one that is copied into it is lost."""
    with pytest.raises(PortError, match=BETWEEN_RUNS):
        seeing(root, VIEW, lambda: None)


def test_an_empty_folder_is_not_taken_for_a_root(root: Path) -> None:
    mounts.unmount(root, mounts.MNT_DETACH)
    for view in (VIEW, ()):
        with pytest.raises(PortError, match=BETWEEN_RUNS):
            seeing(root, view, lambda: None)
