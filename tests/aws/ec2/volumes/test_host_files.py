"""What a file system holds of a volume's file."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from gureum.aws.ec2.volumes.host_files import holds_file


@pytest.fixture
def limit_gib() -> Iterator[int]:
    """The kernel refuses larger files with the error of a file system that cannot hold them (setrlimit(2): RLIMIT_FSIZE)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000 << 30, before[1]))
    yield 9000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_is_told_and_none_is_left(limit_gib: int, tmp_path: Path) -> None:
    assert holds_file(str(tmp_path), limit_gib)
    assert not holds_file(str(tmp_path), limit_gib + 1)
    assert not list(tmp_path.iterdir())
