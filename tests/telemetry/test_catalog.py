"""The catalog's files by group: the same as all of them looked through, also after files came, were replaced and went, and after a start."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from gureum.telemetry.catalog import METRICS, Catalog, FileInfo


def test_files_of_a_group_are_those_that_all_files_say(tmp_path: Path) -> None:
    chance, catalog = random.Random(3), Catalog(tmp_path / "catalog.db")
    groups = [METRICS, *(f"111122223333/us-east-1\0g{number}" for number in range(4))]
    for number in range(60):
        group = chance.choice(groups)
        added = FileInfo(
            f"f{number}", "logs" if group else "metrics", 1, 2, 3, 4, group=group, streams={"s": (1, 2, 2, 9)}
        )
        removed = chance.sample(sorted(catalog.files), k=min(len(catalog.files), chance.randrange(3)))
        again = [
            msgspec.structs.replace(one, rows=9) for one in list(catalog.files.values())[:1] if one.name not in removed
        ]
        catalog.replace([added, *again], removed)
        catalog.apply([added, *again], removed)
        for one in groups:
            expected = {file.name: file for file in catalog.files.values() if file.group == one}
            assert {file.name: file for file in catalog.files_of(one)} == expected
    files = {one: sorted(file.name for file in catalog.files_of(one)) for one in groups}
    catalog.close()
    again_open = Catalog(tmp_path / "catalog.db")
    assert {one: sorted(file.name for file in again_open.files_of(one)) for one in groups} == files
    again_open.close()
