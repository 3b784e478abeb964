"""Coverage: which operation of which service is built, and how really. `gureum coverage` prints it, docs/coverage.md carries it."""

from __future__ import annotations

import importlib
from typing import Any

from gureum.aws.neighbours.offered import is_installed
from gureum.aws.protocols import load_service
from gureum.aws.services import Services, built_services

LEVELS = {"real": "real", "state": "state only"}


def coverage(services: Services) -> dict[str, Any]:
    """{service: {operation: "real" | "state only" | "absent"}} for every service that gureum builds; the others are absent whole."""
    found: dict[str, Any] = {}
    for folder in sorted(built_services()):
        service = folder.replace("_", "-")
        levels = services.levels(service)
        found[service] = {
            name: LEVELS.get(levels.get(name, ""), "absent") for name in sorted(load_service(service).operations)
        }
    return found


def neighbour_coverage(services: frozenset[str]) -> dict[str, Any]:
    """{service: {operation: "moto" | "absent"}} of the neighbours `services`; loads moto. {} where it is not installed."""
    if not is_installed():
        return {}
    found: dict[str, Any] = importlib.import_module("gureum.aws.neighbours.implemented").implemented(services)
    return found


def render_coverage(found: dict[str, Any]) -> str:
    """The table as Markdown: a line per service and operation."""
    lines = ["| service | operation | |", "|---|---|---|"]
    for service, operations in found.items():
        lines += [f"| {service} | {name} | {level} |" for name, level in operations.items()]
    return "\n".join(lines) + "\n"
