"""Folders that somebody hostile has made."""

from __future__ import annotations

import os
from pathlib import Path

from gureum.base.trees import remove_tree


def test_folders_deeper_than_the_stack_are_removed(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(3000):
            os.mkdir("x", dir_fd=folder)
            below = os.open("x", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
    finally:
        os.close(folder)
    remove_tree(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_is_gone_is_removed_with_success(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "tree")
    assert (tmp_path / "kept").exists()
