"""Which operations moto implements, for the coverage table. Loads all of moto's services that are offered: for a thread, or a tool."""

from __future__ import annotations

import importlib

from moto import backends
from moto.core.responses import BaseResponse
from moto.core.utils import camelcase_to_underscores

from gureum.aws.neighbours import overrides, server_certificates
from gureum.aws.neighbours.offered import OFFERED
from gureum.aws.neighbours.refusals import REFUSED
from gureum.aws.protocols import load_service


def implemented(services: frozenset[str]) -> dict[str, dict[str, str]]:
    """{service: {operation: "moto" | "absent"}}."""
    overrides.install_operations()
    server_certificates.install()
    return {service: _operations(service) for service in sorted(services)}


def _operations(service: str) -> dict[str, str]:
    backend = backends.get_backend(OFFERED[service]).backend  # type: ignore[call-overload]
    responses = importlib.import_module(f"moto.{OFFERED[service]}.responses")
    classes = [backend] + [
        one
        for one in vars(responses).values()
        if isinstance(one, type) and issubclass(one, BaseResponse) and one.__module__ == responses.__name__
    ]
    names = sorted(load_service(service).operations)
    refused = REFUSED.get(service, frozenset())
    return {
        name: "moto" if name not in refused and any(_has(one, name) for one in classes) else "absent" for name in names
    }


def _has(answering: type, operation: str) -> bool:
    """Operations are methods of moto's responses, or, where a path leads to a method of another name, of the state behind them."""
    return hasattr(answering, camelcase_to_underscores(operation))
