"""What gureums that are gone left on this host, found by their run folders and their claims of pools.

A home that runs is never touched. The removing itself is the agent's (`python -m gureum.agent --teardown ID`), the only one
that knows what a home makes on the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from gureum.base.homes import SYSTEM_RUN, alive, claims, lock_held, release_pool
from gureum.cli.output import Failure, say

HOME_ID = re.compile(r"[a-z0-9]{4,6}")
TEARDOWN_TIMEOUT_S = 120


class Leftover(NamedTuple):
    """`lost`: the home itself is gone, so its claim can go too."""

    id: str
    home: str
    lost: bool

    def __str__(self) -> str:
        return f"{self.id} ({'lost home' if self.lost else self.home or 'unknown home'})"


def find_leftovers() -> list[Leftover]:
    """Ids that have something on the machine and no supervisor."""
    held = {claim.id: claim for claim in claims().values()}
    ids = {folder.name for folder in entries(SYSTEM_RUN) if folder.is_dir() and (folder / "supervisor.lock").exists()}
    ids |= {claim.id for claim in held.values() if not alive(claim)}
    return [
        Leftover(id_, held[id_].home if id_ in held else "", id_ not in held or not alive(held[id_]))
        for id_ in sorted(ids)
        if HOME_ID.fullmatch(id_) and not lock_held(SYSTEM_RUN / id_)
    ]


def named(id_: str) -> Leftover:
    """What a user asks for by its id, wherever it came from."""
    if not HOME_ID.fullmatch(id_):
        raise Failure(f"`{id_}` is no home's id")
    if lock_held(SYSTEM_RUN / id_):
        raise Failure(f"the gureum {id_} is running")
    return Leftover(id_, "", not any(claim.id == id_ and alive(claim) for claim in claims().values()))


def entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, PermissionError):
        return []


def clean_leftovers(ids: list[str]) -> int:
    """Removes all of them, or what has one of `ids` in its name; returns the exit code."""
    if os.geteuid() != 0:
        raise Failure("cleaning up needs root")
    found = [named(id_) for id_ in ids] if ids else find_leftovers()
    for one in found:
        command = [sys.executable, "-P", "-m", "gureum.agent", "--teardown", one.id]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TEARDOWN_TIMEOUT_S)
        if done.returncode != 0:
            raise Failure(f"{one} could not be removed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        shutil.rmtree(SYSTEM_RUN / one.id, ignore_errors=True)
        if one.lost:
            release_pool(one.id)
        say(f"removed what {one} left")
    if not found:
        say("nothing was left behind")
    return 0
