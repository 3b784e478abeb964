"""The pages that are made from the code say what the code says; links between pages lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOPS = ("gureum", "tests", "bench", "docs", "tools")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "docs_pages.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_paths_of_the_architecture_exist() -> None:
    """A path may be told from any folder on: `nft/counters.py` is gureum/drivers/nft/counters.py."""
    words = re.findall(r"\w[\w/.-]*", (ROOT / "ARCHITECTURE.md").read_text())
    told = {word.rstrip("/") for word in words if re.search(r"\w\.py$", word) or word.startswith(("gureum/", "tests/"))}
    there = [f"/{path.relative_to(ROOT)}" for top in TOPS for path in [ROOT / top, *(ROOT / top).rglob("*")]]
    assert len(told) > 100
    assert [path for path in sorted(told) if not any(one.endswith(f"/{path}") for one in there)] == []


def test_architecture_tells_every_part() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    where = page[page.index("## Where things are") : page.index("**A new AWS operation**")]
    parts = [*(path.name for path in (ROOT / "gureum").iterdir() if path.name[0] not in "._"), *TOPS]
    assert [part for part in sorted(parts) if not re.search(rf"\b{re.escape(part)}\b", where)] == []


def test_docstrings_name_files_that_exist() -> None:
    """As the architecture's page does, from any folder on. What they say of other projects' files begins with the project: `moto, tests/…`."""
    there = [f"/{path.relative_to(ROOT)}" for top in TOPS for path in (ROOT / top).rglob("*.py")]
    missing: list[str] = []
    for module in (ROOT / "gureum").rglob("*.py"):
        text = ast.get_docstring(ast.parse(module.read_bytes())) or ""
        paths = re.findall(r"(?<![\w/.*}-])\w[\w/]*\.py\b", text)
        missing += [
            f"{module.relative_to(ROOT)}: {path}"
            for path in paths
            if not any(one.endswith(f"/{path}") for one in there)
        ]
    assert missing == []


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text()
    assert [page.name for page in (ROOT / "docs" / "decisions").glob("[0-9]*.md") if page.name not in listed] == []


def test_readmes_name_every_command() -> None:
    from gureum.cli.main import COMMANDS

    for name in ("README.md", "README.ko.md"):
        text = (ROOT / name).read_text()
        assert [command for command in COMMANDS if command != "version" and f"`{command}" not in text] == []


def test_locks_name_no_host_and_every_package_has_hashes() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        packages = re.split(r"\n(?=\S)", text.strip())
        assert packages
        assert [package for package in packages if "--hash=sha256:" not in package] == []
