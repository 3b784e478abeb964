"""`gureum explain ID`: the tree of objects under a thing, what became of each on the machine, and what happened.

ec2.Instance i-1  running  (revision 5)
  · 12:00:00 StateChanged: pending -> running      an event
  = Container/i-1  ready                           a core object on the machine
    ec2.Volume vol-1  (revision 4)                 an object under it
its last change  (trace 5cb0…)
  ~ 12:00:00.000 ec2 RunInstances, 3.1 ms          a span of the trace
"""

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
    parser.add_argument("id", help="the id, name or ARN of anything: i-…, vpc-…, a load balancer's name")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    found = get(current_home(), f"explain/{segment(arguments.id)}")
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    about = found.get("machine", {})
    for tree in found["objects"]:
        print("\n".join([*show(tree, about, ""), *show_trace(tree.get("trace", []))]))
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


def show_trace(spans: list[dict[str, Any]]) -> Iterator[str]:
    """The call that last changed the thing and the reconciles that followed, those of one name in one line (fields: engine/tracing.py)."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda one: float(one["start"])):
        by_name.setdefault(span["name"], []).append(span)
    if by_name:
        yield f"its last change  (trace {spans[0]['trace_id']})"
    for name, same in by_name.items():
        clock = time.strftime("%H:%M:%S", time.localtime(same[0]["start"])) + f"{same[0]['start'] % 1:.3f}"[1:]
        took = f"{sum(one['duration_s'] for one in same) * 1000:.1f} ms"
        times = f" in {len(same)} runs" if len(same) > 1 else ""
        failed = next((f": {one['error']}" for one in reversed(same) if one["error"]), "")
        yield f"  ~ {clock} {name}, {took}{times}{failed}"


def event_text(event: dict[str, Any]) -> str:
    """An event in one line (fields: engine/events.py)."""
    clock = time.strftime("%H:%M:%S", time.localtime(event["last"]))
    times = f" ({event['count']} times)" if event["count"] > 1 else ""
    return f"{clock} {event['reason']}: {event['message']}{times}"
