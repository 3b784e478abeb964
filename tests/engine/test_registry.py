from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gureum.engine.registry import Registry

MODULE = """
from gureum.engine.registry import mark
@mark("operation", "{name}", level="real")
def answer(call): ...
"""


def package(folder: Path, name: str, **modules: str) -> str:
    root = folder / name
    root.mkdir()
    (root / "__init__.py").write_text("")
    for module, operation in modules.items():
        (root / f"{module}.py").write_text(MODULE.format(name=operation))
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_marks_are_found_once(folder: Path) -> None:
    registry = Registry()
    name = package(folder, "found_once", one="CreateThing", two="DeleteThing")
    assert registry.scan(name)
    assert not registry.scan(name)
    assert sorted(registry.marks("operation")) == ["CreateThing", "DeleteThing"]
    assert registry.marks("operation")["CreateThing"].options == {"level": "real"}
    assert registry.marks("lower") == {}


def test_a_doubled_name_stops_the_start(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"CreateThing is defined twice: doubled.one and doubled.two"):
        Registry().scan(package(folder, "doubled", one="CreateThing", two="CreateThing"))


def test_what_a_module_only_imports_is_not_its_own(folder: Path) -> None:
    name = package(folder, "borrowed", one="CreateThing")
    (folder / name / "two.py").write_text(f"from {name}.one import answer\n")
    Registry().scan(name)
    assert f"{name}.two" in sys.modules
