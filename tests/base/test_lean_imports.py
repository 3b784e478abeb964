"""What a start does not import."""

from __future__ import annotations

import subprocess
import sys

from gureum.base.lean_imports import without

UNUSED = ("yaml", "click", "multiprocessing", "uvicorn.main", "uvicorn.supervisors", "moto", "boto3", "duckdb")


def test_the_way_to_the_first_answer_imports_no_parser_and_no_command_line_of_others():
    text = f"""
import sys, gureum.simulated, gureum.kube.face, gureum.uvicorn_connections
print([name for name in {UNUSED!r} if name in sys.modules])
import uvicorn.main
print(callable(uvicorn.main.run))
"""
    shown = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout
    assert shown.split("\n")[:2] == ["[]", "True"]


def test_a_module_is_empty_only_while_it_is_left_out():
    assert "this" not in sys.modules
    with without("this", "s"):
        import this

        assert this.s is None
    assert "this" not in sys.modules
    with without("json", "loads"):
        import json

        assert json.loads("1") == 1
