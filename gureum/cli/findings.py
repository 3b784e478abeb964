"""Findings of `gureum doctor`: one line each, and how one is made by trying."""

from __future__ import annotations

import os
import subprocess
from typing import Literal, NamedTuple

TRIAL_TIMEOUT_S = 15


class Finding(NamedTuple):
    """One line. `advice`: what to do, "" when there is nothing to do."""

    level: Literal["ok", "warn", "fail"]
    what: str
    seen: str
    advice: str = ""


def tried(what: str, command: tuple[str, ...], advice: str, stdin: str = "") -> Finding:
    """A finding from whether the command succeeds. All but namespaces of users are root's to make: who is not root learns nothing of the kernel."""
    if os.geteuid() != 0 and "--user" not in command:
        return Finding("warn", what, "only root can try it")
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=TRIAL_TIMEOUT_S,
            env=os.environ | {"PATH": search_path()},
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return Finding("fail", what, str(error), advice)
    if done.returncode == 0:
        return Finding("ok", what, "works")
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
    return Finding("fail", what, said[:100], advice)


def search_path() -> str:
    """Debian keeps nft and mkfs out of a user's PATH."""
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
