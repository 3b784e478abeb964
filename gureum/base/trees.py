"""Folders that guests have filled."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path


def remove_tree(path: Path) -> None:
    """All of it; of what is gone it is success. A guest's folders may lie deeper than Python's stack and open files reach: those are rm(1)'s, which
    needs neither. OSError for what cannot be removed. Blocks."""
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(path)
    if os.path.lexists(path):
        done = subprocess.run(["rm", "-rf", "--", str(path)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{path} cannot be removed: {done.stderr.strip()[-300:]}")
