"""Unique ids of IAM as AWS writes them: four letters that tell the kind, and 17 more. moto writes them for roles and access keys only; and programs
tell by them who calls.

AWS: IAM user guide, "Understanding unique ID prefixes".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from moto.iam.models import IAMBackend

_PREFIXES = {
    "create_user": "AIDA",
    "create_group": "AGPA",
    "create_instance_profile": "AIPA",
    "create_policy": "ANPA",
}
_MAKE = {name: getattr(IAMBackend, name) for name in _PREFIXES}
_LETTERS = str.maketrans("0189", "WXYZ")
_DRAWN = 17


def lead(wanted: Callable[[], bool]) -> None:
    """`wanted`: whether to do so now; no for calls of journals of before."""
    for name, prefix in _PREFIXES.items():
        setattr(IAMBackend, name, _with_prefix(_MAKE[name], prefix, wanted))


def _with_prefix(make: Callable[..., Any], prefix: str, wanted: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(make)
    def made(*given: Any, **named: Any) -> Any:
        one = make(*given, **named)
        if wanted():
            one.id = prefix + one.id.upper().translate(_LETTERS)[-_DRAWN:]
        return one

    return made
