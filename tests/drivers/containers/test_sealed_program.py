"""Programs run from sealed memory."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gureum.drivers.containers.sealed_program import SealedProgram


def _said(path: str) -> bytes:
    return subprocess.run([path, "a word"], check=True, capture_output=True).stdout


def test_it_runs_and_nobody_can_write_to_it(tmp_path: Path) -> None:
    """crun/src/libcrun/cloned_binary.c: these four seals, no more and no less, and it does not copy itself."""
    file = tmp_path / "program"
    shutil.copy(str(shutil.which("echo")), file)
    runnable = SealedProgram(str(file)).runnable()
    assert runnable.startswith(f"/proc/{os.getpid()}/fd/")
    assert _said(runnable) == b"a word\n"
    with open(runnable, "rb") as program:
        assert fcntl.fcntl(program, fcntl.F_GET_SEALS) == 0b1111
    with pytest.raises(OSError, match=r"Operation not permitted|Text file busy"):
        Path(runnable).write_bytes(b"#!")


def test_a_program_that_is_replaced_is_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "program"
    shutil.copy(str(shutil.which("echo")), file)
    sealed = SealedProgram(str(file))
    old = sealed.runnable()
    assert sealed.runnable() == old
    shutil.copy(str(shutil.which("printf")), tmp_path / "new")
    (tmp_path / "new").rename(file)
    assert _said(sealed.runnable()) == b"a word"
    assert _said(old) == b"a word\n"


def test_what_cannot_be_read_is_run_as_it_is(tmp_path: Path) -> None:
    assert SealedProgram(str(tmp_path / "nothing")).runnable() == str(tmp_path / "nothing")
