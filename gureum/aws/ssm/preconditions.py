"""Whether a step of a command document is run: its precondition, and whether its plugin is for this platform.

What a precondition may say is decided where it is run: by AWS's agent, whose words these are. An operator that it does not know fails the step.

Source: aws/amazon-ssm-agent (Apache-2.0), agent/framework/runpluginutil/runpluginutil.go.
"""

from __future__ import annotations

from typing import Any

import msgspec

PLATFORM = "Linux"
_PLATFORM_TYPE = "platformType"
_OTHERS_PLUGINS = ("aws:runPowerShellScript", "aws:psModule", "aws:psmodule")
_SECRET_PLACES = {"{{ssm:": "SSM parameters", "{{ssm-secure:": "secure SSM parameters"}


class Verdict(msgspec.Struct, frozen=True):
    """At most one is not "": why the step is skipped, or why it fails."""

    skipped: str = ""
    failed: str = ""


def judge(action: str, schema: str, initial: dict[str, Any], filled: dict[str, Any]) -> Verdict:
    """`initial`: the precondition as the document has it ({} for none); `filled`: the same with its parameters' values."""
    others = action in _OTHERS_PLUGINS
    if initial and schema in ("1.2", "2.0") and not others:
        return Verdict(failed="Precondition is not supported for document schema version prior to 2.2.")
    if others:
        return Verdict(skipped=f"Step execution skipped due to unsupported plugin: {action}.")
    unmet: list[str] = []
    unknown: list[str] = []
    for operator, arguments in initial.items():
        holds, why = _holds(operator, arguments, filled[operator])
        (unmet if holds is False else unknown).extend([why] if why else [])
    if unmet:
        text = ", ".join([*unmet, *unknown])
        return Verdict(skipped=f"Step execution skipped due to unsatisfied preconditions: '{text}'.")
    if unknown:
        return Verdict(
            failed=f"Unrecognized precondition(s): '{', '.join(unknown)}', please update agent to latest version."
        )
    return Verdict()


def _holds(operator: str, initial: Any, filled: Any) -> tuple[bool | None, str]:
    """Whether it does, None when it says nothing sensible; and what is to be told of it."""
    if operator != "StringEquals":
        return None, f'unrecognized operator: "{operator}"'
    if len(initial) != 2:
        return None, f'"{operator}": operator accepts exactly 2 arguments'
    left, right = initial
    told = f'"{operator}": [{left}, {right}]'
    if left == right:
        why = f"[{left} {right}]" if left == _PLATFORM_TYPE else "operator's arguments can't be identical"
        return None, f'"{operator}": {why}'
    for place, what in _SECRET_PLACES.items():
        if any(place in one.replace(" ", "") for one in initial):
            return None, f"\"{operator}\": operator's arguments can't contain {what}"
    if _PLATFORM_TYPE in initial:
        at = 1 if left == _PLATFORM_TYPE else 0
        if initial[at].lower() != str(filled[at]).lower():
            return (
                None,
                f'"{operator}": the second argument for the platformType variable can\'t contain document parameters',
            )
        holds = initial[at].lower() == PLATFORM.lower()
    elif list(initial) == list(filled):
        return None, f'"{operator}": at least one of operator\'s arguments must contain a valid document parameter'
    else:
        holds = bool(filled[0] == filled[1])
    return holds, "" if holds else told
