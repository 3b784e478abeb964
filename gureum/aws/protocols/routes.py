"""Routes: the operation of a REST request, by method, path, query string and headers.

Paths are tried the most specific first (literal before label before greedy label). Operations that share a path (most
of S3's) are told apart by the literals of their query string (`?uploads`, `?list-type=2`) and by the query and header
members that they require.
"""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote

import msgspec

from gureum.aws.protocols.models import Operation, ServiceModel, load_service
from gureum.aws.protocols.wire import Request

_LABEL = re.compile(r"\{([^}+]+)(\+?)\}")


class Route(msgspec.Struct, frozen=True):
    """`literals`: query parameters that must be there, with the value they must have ("": any). `required`: (location,
    name) of required members outside of body and path."""

    operation: str
    literals: tuple[tuple[str, str], ...]
    required: tuple[tuple[str, str], ...]
    deprecated: bool


class Path(msgspec.Struct, frozen=True):
    """`weight`: letters that the path must have; a path with more says more about whose it is."""

    pattern: re.Pattern[str]
    weight: int
    routes: tuple[Route, ...]


def path_pattern(uri: str) -> re.Pattern[str]:
    """A regular expression for the path of `uri` ("/{Bucket}/{Key+}?acl"); group names are label0, label1 … in
    order."""
    path = uri.partition("?")[0]
    pattern, end = "", 0
    for i, label in enumerate(_LABEL.finditer(path)):
        pattern += re.escape(path[end : label.start()]) + (f"(?P<label{i}>.+)" if label[2] else f"(?P<label{i}>[^/]+)")
        end = label.end()
    return re.compile(pattern + re.escape(path[end:]), re.DOTALL)


def path_labels(uri: str) -> list[str]:
    """Names of the labels, in order, without the plus of greedy ones."""
    return [label[1] for label in _LABEL.finditer(uri.partition("?")[0])]


def match_route(service: str, request: Request) -> tuple[str, int]:
    """Name of the operation and the weight of its path; ("", 0) when none fits. A path may have one slash more or less
    at its end than the model's."""
    paths = _routes(service).get(request.method.upper(), ())
    other = request.path[:-1] if request.path.endswith("/") else request.path + "/"
    for text in (request.path or "/", other):
        for path in paths:
            if path.pattern.fullmatch(text) is not None:
                operation = _choose(path.routes, request)
                if operation:
                    return operation, path.weight
    return "", 0


def _choose(routes: tuple[Route, ...], request: Request) -> str:
    query = dict(_split(pair) for pair in request.query.split("&") if pair)
    fitting = [
        route for route in routes if all(name in query and value in ("", query[name]) for name, value in route.literals)
    ]
    for route in fitting:
        if all(
            name in query if place == "querystring" else name.lower() in request.headers
            for place, name in route.required
        ):
            return route.operation
    return fitting[0].operation if fitting else ""


def _split(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    return unquote(name), unquote(value)


@functools.cache
def _routes(service: str) -> dict[str, tuple[Path, ...]]:
    model = load_service(service)
    methods: dict[str, dict[str, list[Route]]] = {}
    for operation in model.operations.values():
        shape = _LABEL.sub(lambda label: "{+}" if label[2] else "{}", operation.http.request_uri.partition("?")[0])
        methods.setdefault(operation.http.method, {}).setdefault(shape, []).append(_route(model, operation))
    return {
        method: tuple(
            Path(
                path_pattern(shape.replace("{}", "{x}").replace("{+}", "{x+}")),
                len(shape.replace("{}", "").replace("{+}", "").replace("/", "")),
                tuple(sorted(shapes[shape], key=_order)),
            )
            for shape in sorted(shapes, key=_specificity)
        )
        for method, shapes in methods.items()
    }


def _route(model: ServiceModel, operation: Operation) -> Route:
    literals = tuple(_split(pair) for pair in operation.http.request_uri.partition("?")[2].split("&") if pair)
    required: tuple[tuple[str, str], ...] = ()
    if operation.input is not None:
        shape = model.shape(operation.input.shape)
        places = [shape.members[name] for name in shape.required]
        required = tuple(
            (member.location, member.location_name) for member in places if member.location in ("querystring", "header")
        )
    return Route(operation.name, literals, required, operation.deprecated)


def _order(route: Route) -> tuple[int, int, bool, str]:
    """The most particular first; S3 has operations of its first version beside newer ones in the same place."""
    return -len(route.literals), -len(route.required), route.deprecated, route.operation


def _specificity(shape: str) -> tuple[list[int], str]:
    """Sorts literal segments before labels before greedy labels, longer paths before shorter ones."""
    segments = shape.strip("/").split("/")
    return [2 if "{+}" in one else 1 if "{}" in one else 0 for one in segments] + [3], shape
