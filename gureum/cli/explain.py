"""`gureum explain ID`: the tree of objects under a thing, what became of each on the machine, and what happened."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from gureum.cli.api import get, segment
from gureum.cli.running import current_home

LIMIT_EVENTS = 12


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", help="the id or name of anything: i-…, vpc-…, a load balancer's name")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    found = get(current_home(), f"explain/{segment(arguments.id)}")
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    about = found.get("machine", {})
    for tree in found["objects"]:
        print("\n".join(show(tree, about, "")))
    return 0


def show(tree: dict[str, Any], about: dict[str, Any], indent: str) -> Iterator[str]:
    """The lines of one object and of those under it. `about`: events of core objects by id."""
    status = tree.get("status") or {}
    state = status.get("state") or status.get("phase") or ""
    yield f"{indent}{tree['kind']} {tree['name']}{f'  {state}' if state else ''}  (revision {tree['revision']})"
    for event in tree.get("events", [])[-LIMIT_EVENTS:]:
        yield f"{indent}  · {event_text(event)}"
    for core in tree.get("machine", []):
        why = f": {core['reason']}" if core["reason"] else ""
        yield f"{indent}  = {core['id']}  {core['phase']}{why}"
        for event in about.get("events", {}).get(core["id"], [])[-LIMIT_EVENTS:]:
            yield f"{indent}      · {event_text(event)}"
    for child in tree.get("children", []):
        yield from show(child, about, indent + "    ")


def event_text(event: dict[str, Any]) -> str:
    """An event in one line (fields: engine/events.py)."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["last"]))
    times = f" ({event['count']} times)" if event["count"] > 1 else ""
    return f"{clock} {event['reason']}: {event['message']}{times}"
