"""`gureum status`: what runs, for people or as JSON. Exit code 0 when all is well, 1 when a part is not, 3 when nothing runs."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from gureum.base.homes import Home
from gureum.cli.api import get
from gureum.cli.output import Failure, duration, table
from gureum.cli.running import NOT_RUNNING, ask, current_home


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    home = current_home()
    supervisor = ask(home, {"op": "status"})
    if supervisor is None:
        if arguments.json:
            print(json.dumps({"running": False, "home": str(home.path), "id": home.id}))
        raise Failure(f"gureum is not running in {home.path} (`gureum up` starts it)", NOT_RUNNING)
    try:
        cloud: dict[str, Any] = get(home, "status")
    except Failure as failure:
        cloud = {"error": str(failure)}
    well = supervisor["phase"] == "running" and "error" not in cloud and cloud.get("agent", {}).get("connected", True)
    if arguments.json:
        print(
            json.dumps(
                {"running": True, "well": well} | facts(home) | {"supervisor": supervisor, "cloud": cloud}, indent=2
            )
        )
    else:
        print(show(home, supervisor, cloud))
    return 0 if well else 1


def facts(home: Home) -> dict[str, Any]:
    """What is fixed for the home."""
    return {
        "home": str(home.path),
        "id": home.id,
        "endpoint": home.endpoint,
        "pool": home.pool,
        "dns": f"{home.bind}:{home.dns_port}",
        "simulated": home.simulate,
    }


def show(home: Home, supervisor: dict[str, Any], cloud: dict[str, Any]) -> str:
    """The page for people."""
    now = time.time()
    kind = "simulated: the APIs answer, nothing really runs" if home.simulate else "real"
    rows: list[tuple[str, ...]] = [
        ("gureum", f"{supervisor['phase']} for {duration(now - supervisor['since'])} ({kind})"),
        ("endpoint", home.endpoint),
        ("public pool", home.pool),
        ("home", f"{home.path} (id {home.id})"),
    ]
    for process in supervisor["processes"]:
        restarts = f", started again {process['restarts']} times" if process["restarts"] else ""
        why = f": {process['why']}" if process["why"] else ""
        pid = f", pid {process['pid']}" if process["pid"] else ""
        rows.append(
            (
                process["name"],
                f"{process['state']} for {duration(now - process['since'])}{pid}{restarts}{why}",
            )
        )
    if "error" in cloud:
        rows.append(("API", cloud["error"]))
        return table(rows)
    agent = cloud.get("agent", {})
    if not agent.get("connected", True):
        rows.append(("machine", f"the daemon does not reach the agent: {agent.get('why', '')}"))
    consoles = cloud.get("serial_consoles", {})
    if consoles.get("address"):
        rows.append(("serial consoles", f"ssh at {consoles['address']}, host key {consoles['host_key']}"))
    if agent.get("held"):
        rows.append(("machines", agent["held"]))
    for name, count in cloud.get("objects", {}).items():
        rows.append((name, str(count)))
    for name, why in list(agent.get("unready", {}).items())[:20]:
        rows.append((name, f"not ready: {why}"))
    if cloud.get("faults"):
        rows.append(("faults", f"{cloud['faults']} unexpected errors since the start: see `gureum logs daemon`"))
    return table(rows)
