"""`gureum coverage`: which operations are real, which keep state only, which moto answers, which are absent."""

from __future__ import annotations

import argparse
import json
from collections import Counter

from gureum.cli.api import get
from gureum.cli.output import Failure, table
from gureum.cli.running import current_home


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", help="the operations of this service; without it a line per service")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    found: dict[str, dict[str, str]] = get(current_home(), "coverage")
    if arguments.service and arguments.service not in found:
        raise Failure(f"there is no service `{arguments.service}` here; built are: {', '.join(found) or 'none'}")
    if arguments.json:
        print(json.dumps({arguments.service: found[arguments.service]} if arguments.service else found, indent=2))
    elif arguments.service:
        print(table(list(found[arguments.service].items())))
    else:
        print(table([("service", "real", "state only", "moto", "absent"), *(summary(*one) for one in found.items())]))
    return 0


def summary(service: str, operations: dict[str, str]) -> tuple[str, ...]:
    levels = Counter(operations.values())
    return (service, *(str(levels[level]) for level in ("real", "state only", "moto", "absent")))
