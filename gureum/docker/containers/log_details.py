"""What `docker logs --details` shows before each line: labels, variables and a tag, as the log's options name them.

    --log-opt labels=shop,env-… --log-opt tag={{.Name}}  ──►  "shop=north,tag=web "

Sources: Docker's documents, "JSON File logging driver", "Customize log driver output".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

from gureum.docker.errors import bad_parameter, not_built
from gureum.docker.kinds import Container

_PLACE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_PLACES = ("ID", "FullID", "Name", "ImageName", "ImageID", "ImageFullID", "DaemonName")


def check(given: dict[str, Any]) -> None:
    """DockerError 400 or 501 for a tag or a pattern that cannot be."""
    tag = str(given.get("tag") or "")
    for name in _PLACE.findall(tag):
        if name not in _PLACES:
            raise bad_parameter(f"template: log-tag: can't evaluate field {name} in type logger.Info")
    if "{{" in _PLACE.sub("", tag):
        raise not_built("templates of more than names (--log-opt tag)")
    for key in ("labels-regex", "env-regex"):
        try:
            re.compile(str(given.get(key) or ""))
        except re.error as error:
            raise bad_parameter(f"error parsing regexp of {key}: {error}") from error


def prefix(container: Container) -> bytes:
    """With the blank behind it, which stands alone where nothing was asked for."""
    found = dict(sorted(_attributes(container)))
    return (",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in found.items()) + " ").encode()


def _attributes(container: Container) -> Iterator[tuple[str, str]]:
    given = {
        str(key): str(value) for key, value in (container.spec.host.get("LogConfig") or {}).get("Config", {}).items()
    }
    labels = {str(key): str(value) for key, value in (container.spec.config.get("Labels") or {}).items()}
    variables = dict(entry.partition("=")[::2] for entry in container.spec.env)
    for known, names, pattern in ((labels, "labels", "labels-regex"), (variables, "env", "env-regex")):
        wanted = given.get(names, "").split(",")
        expression = re.compile(given[pattern]) if given.get(pattern) else None
        for key, value in known.items():
            if key in wanted or (expression is not None and expression.search(key)):
                yield key, value
    if given.get("tag"):
        yield "tag", _PLACE.sub(lambda found: _place(container, found[1]), given["tag"])


def _place(container: Container, name: str) -> str:
    image = container.spec.image.removeprefix("sha256:")
    return {
        "ID": container.meta.name[:12],
        "FullID": container.meta.name,
        "Name": container.spec.name,
        "ImageName": str(container.spec.config.get("Image") or ""),
        "ImageID": image[:12],
        "ImageFullID": image,
        "DaemonName": "docker",
    }[name]
