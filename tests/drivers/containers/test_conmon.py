"""conmon's files: the log back to what was printed, pid files that may lie, exit files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gureum.drivers.containers import conmon

TIME = b"2026-11-23T06:20:10.327428943+00:00"


def line(text: bytes, mark: bytes = b"F") -> bytes:
    return b" ".join((TIME, b"stdout", mark, text)) + b"\n"


def test_lines_lose_their_marks() -> None:
    assert conmon.plain_output(line(b"hello") + line(b"") + line(b"two words ")) == b"hello\n\ntwo words \n"


def test_parts_of_a_line_become_one() -> None:
    assert conmon.plain_output(line(b"login", b"P") + line(b": ", b"P") + line(b"x")) == b"login: x\n"


def test_what_is_no_log_line_is_left_out() -> None:
    assert conmon.plain_output(b"half a li") == b""


@pytest.mark.parametrize("limit", [0, 1, 10, 5000, 10**6, 10**8])
def test_last_bytes_of_a_log_of_any_size(tmp_path: Path, limit: int) -> None:
    log = tmp_path / "log"
    printed = [f"line {number}".encode() for number in range(40_000)]
    log.write_bytes(b"".join(map(line, printed)))
    whole = b"\n".join(printed) + b"\n"
    assert conmon.last_output(log, limit) == (whole[-limit:] if limit else b"")


def test_missing_log_is_empty(tmp_path: Path) -> None:
    assert conmon.last_output(tmp_path / "log", 10) == b""


def test_exit_file_tells_code_and_time(tmp_path: Path) -> None:
    bundle = conmon.Bundle("ab12-web", tmp_path, tmp_path / "log")
    assert conmon.exit_code(bundle) is None
    bundle.exit_folder.mkdir()
    bundle.exit_file.write_text("")
    assert conmon.exit_code(bundle) is None
    bundle.exit_file.write_text("129")
    assert conmon.exit_code(bundle) == (129, bundle.exit_file.stat().st_mtime)


@pytest.mark.parametrize("content", ["", "no number", "ours", "4194303"])
def test_pid_file_that_names_no_monitor_of_ours(tmp_path: Path, content: str) -> None:
    bundle = conmon.Bundle("ab12-web", tmp_path, tmp_path / "log")
    bundle.monitor_pid_file.write_text(str(os.getpid()) if content == "ours" else content)
    assert conmon.monitor_pid(bundle) is None


def test_monitor_that_has_not_written_its_pid_is_found(tmp_path: Path) -> None:
    ours, other = (conmon.Bundle(name, tmp_path / name, tmp_path / "log") for name in ("ours", "other"))
    assert conmon.starting_pid(ours) is None
    pipe = subprocess.PIPE
    command = ["conmon", "-c", "print('runs', flush=True); input()", "--bundle", str(ours.folder)]
    with subprocess.Popen(command, executable=sys.executable, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"runs\n"
        assert conmon.starting_pid(ours) == process.pid
        assert conmon.starting_pid(other) is None
        process.communicate(b"\n")
    assert conmon.starting_pid(ours) is None


def test_command_line_has_no_shell_and_the_paths_of_the_bundle(tmp_path: Path) -> None:
    bundle = conmon.Bundle("ab12-web", tmp_path, tmp_path / "log")
    words = conmon.command("/usr/bin/conmon", "/usr/bin/crun", tmp_path / "state", bundle, terminal=True)
    assert words[0] == "/usr/bin/conmon"
    assert words[-1] == "--terminal"
    assert words[words.index("--bundle") + 1] == str(tmp_path)
    assert f"k8s-file:{tmp_path}/log" in words
    assert "--terminal" not in conmon.command("conmon", "crun", tmp_path, bundle, terminal=False)
