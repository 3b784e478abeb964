"""The tour talks to this gureum alone: an AWS command line that does not heed AWS_ENDPOINT_URL is not taken."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest

from gureum.cli.demo.containers import _root
from gureum.cli.demo.tour import heeds_endpoint


@pytest.mark.parametrize(
    ("said", "heeds"),
    [
        ("aws-cli/2.9.19 Python/3.11.2 Linux/6.1 source/x86_64.debian.12", False),
        ("aws-cli/2.13.0 Python/3.11.4 Linux/6.1", True),
        ("aws-cli/1.22.34 Python/3.10.12 Linux/5.15", False),
        ("aws-cli/1.29.0 Python/3.11 Linux/6.1", True),
        ("aws-cli/1.44.2 Python/3.11 Linux/6.1", True),
        ("aws-cli/3.0.0 Python/3.14 Linux/7.0", True),
        ("something else", False),
    ],
)
def test_only_a_command_line_that_heeds_the_endpoint_is_taken(tmp_path: Path, said: str, heeds: bool) -> None:
    program = tmp_path / "aws"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(stat.S_IRWXU)
    assert heeds_endpoint(str(program)) is heeds


def test_one_that_does_not_start_is_not_taken(tmp_path: Path) -> None:
    program = tmp_path / "aws"
    program.write_text("#!/bin/sh\necho aws-cli/2.30.0\nexit 1\n")
    program.chmod(stat.S_IRWXU)
    assert not heeds_endpoint(str(program))


def test_root_of_the_tour_s_container_is_packed_by_the_oldest_python_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12's is 3.11.2."""
    monkeypatch.delattr(tarfile.TarInfo, "replace", raising=False)
    monkeypatch.setitem(_root.__globals__, "_BUSYBOX", Path("/bin/sh"))
    with tarfile.open(fileobj=io.BytesIO(_root())) as archive:
        program = archive.getmember("bin/busybox")
        assert (program.uid, program.gid, program.mode, program.isreg()) == (0, 0, 0o755, True)
        assert archive.extractfile(program).read() == Path("/bin/sh").read_bytes()  # type: ignore[union-attr]
        assert archive.getmember("bin/httpd").linkname == "busybox"
