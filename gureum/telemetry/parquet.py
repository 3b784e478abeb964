"""How a Parquet file comes into its folder: written aside, synced, then named. A crash leaves a file that no catalog knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gureum.telemetry.wal import sync_folder


@contextmanager
def finish(path: Path) -> Iterator[Path]:
    """Gives the name to write to; on success the file is durable under `path`, else it is gone."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
    temporary = path.with_suffix(".tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def quoted(text: Path | str) -> str:
    """A string as SQL has it."""
    return "'" + str(text).replace("'", "''") + "'"
