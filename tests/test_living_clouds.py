"""What is left of a run of tests that ends early: its clouds come down while pytest still holds the run's folders for it (`.lock`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFTEST = "from tests.conftest import *"
# A cloud that notes, when it is taken down, whether the run's folders were still its own.
CLOUD = """
import pathlib
import pytest
from tests import living_clouds

class Cloud:
    def __init__(self, home):
        self.home = home
        (home / "identity.json").touch()
        living_clouds.note(self)

    def command(self, *words, **how):
        held = (self.home.parent / ".lock").exists()
        pathlib.Path("seen").write_text(" ".join(words) + (" in its own folder" if held else " too late"))
        (self.home / "identity.json").unlink()

@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    made = Cloud(tmp_path_factory.mktemp("home"))
    BEFORE
    yield made
    made.command("down")

def test_early(cloud):
    TEST
"""


@pytest.mark.parametrize(
    ("before", "test", "took_down"),
    [("pass", "raise KeyboardInterrupt", "down in"), ("raise OSError", "pass", "down --purge in")],
    ids=["interrupted", "not made whole"],
)
def test_clouds_come_down_before_another_run_may_remove_their_homes(
    tmp_path: Path, before: str, test: str, took_down: str
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_early.py").write_text(CLOUD.replace("BEFORE", before).replace("TEST", test))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DEBUG_TEMPROOT": str(tmp_path), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_early.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert (tmp_path / "seen").read_text() == f"{took_down} its own folder", done.stdout + done.stderr
