"""What stands in a Systems Manager document: read, checked, and filled with parameters.

Command documents have schema 2.2 (or 2.0) with `mainSteps`, or 1.2 with `runtimeConfig`; session documents 1.0. Of the plugins aws:runShellScript is
built. AWS: "Data elements and parameters", "Session document schema", "Command document plugin reference" (Systems Manager user guide).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.ssm.preconditions import judge
from gureum.base import hostile_yaml
from gureum.base.linear_regex import BadRegex, check_whole, compile_whole

LIMIT_BYTES = 64 * 1024
LIMIT_STEPS = 20
LIMIT_DEPTH = 40
LIMIT_FILLED = 1024 * 1024
"""Characters of a step when its parameters are filled in."""
RUN_SHELL = "aws:runShellScript"
PLUGINS = (
    RUN_SHELL,
    *(
        "aws:applications",
        "aws:cloudWatch",
        "aws:configureDocker",
        "aws:configurePackage",
        "aws:domainJoin",
        "aws:downloadContent",
    ),
    *("aws:psModule", "aws:refreshAssociation", "aws:runDockerAction", "aws:runDocument", "aws:runPowerShellScript"),
    *("aws:softwareInventory", "aws:updateAgent", "aws:updateSsmAgent"),
)
"""Those that AWS knows."""
SCHEMAS = {"Command": ("1.2", "2.0", "2.2"), "Session": ("1.0",)}
TYPES = ("String", "StringList", "Integer", "Boolean", "MapList", "StringMap")
_PLACE = re.compile(r"\{\{\s*([A-Za-z0-9_:./-]+)\s*\}\}")
_STEP_NAME = re.compile(r"[a-zA-Z0-9_]{1,128}")
_VARIABLE = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_COUNT = re.compile(r"[0-9]{1,9}")


class Step(msgspec.Struct, frozen=True):
    """One run of a plugin, filled: `commands` are the script's lines. `skipped`: it is not run, as `why` says. `refused`: why it fails unrun.
    `on_failure`: continue, exit or successAndExit; `on_success`: "" or exit; `final`: it is run though an earlier one said exit. AWS: SSM command
    document plugin reference, "Shared inputs". `environment`: variables of the script besides those that every script has."""

    name: str
    commands: tuple[str, ...]
    timeout_s: int = 3600
    folder: str = ""
    skipped: bool = False
    on_failure: str = "continue"
    on_success: str = ""
    final: bool = False
    why: str = ""
    refused: str = ""
    environment: dict[str, str] = {}


def read(text: str, form: str) -> dict[str, Any]:
    """The content of a document. AWS: InvalidDocumentContent, MaxDocumentSizeExceeded."""
    if len(text.encode("utf-8", "replace")) > LIMIT_BYTES:
        raise AwsError("MaxDocumentSizeExceeded", f"The size limit of a document is {LIMIT_BYTES // 1024} KB.")
    try:
        content = _plain(json.loads(text) if form == "JSON" else hostile_yaml.load(text.encode("utf-8", "replace")))
    except (ValueError, RecursionError, hostile_yaml.HostileYaml) as error:
        raise invalid(f"{form} not well-formed. {str(error)[:200]}") from error
    if not isinstance(content, dict):
        raise invalid("The document is not an object.")
    return content


def _plain(value: Any, depth: int = 0) -> Any:
    """What JSON can say: YAML's keys are texts, and so are its times. ValueError for all else."""
    if depth > LIMIT_DEPTH:
        raise ValueError(f"it is nested deeper than {LIMIT_DEPTH} levels")
    if isinstance(value, dict):
        return {_key(key): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, depth + 1) for one in value]
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("there is a value in it that JSON does not have")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key) if isinstance(key, date) else json.dumps(key)


def check(content: dict[str, Any], kind: str) -> None:
    """AWS: InvalidDocumentSchemaVersion, InvalidDocumentContent."""
    schema = str(content.get("schemaVersion", ""))
    if schema not in SCHEMAS[kind]:
        text = f"schemaVersion {schema!r} is not supported for documents of type {kind}."
        raise AwsError("InvalidDocumentSchemaVersion", text)
    parameters_of(content)
    if kind == "Session":
        if content.get("sessionType") not in (
            "Standard_Stream",
            "Port",
            "InteractiveCommands",
            "NonInteractiveCommands",
        ):
            raise invalid("sessionType must be Standard_Stream, Port, InteractiveCommands or NonInteractiveCommands.")
        for name in ("inputs", "properties"):
            if not isinstance(content.get(name, {}), (dict, str)):
                raise invalid(f"{name} must be an object.")
        return
    for action, inputs, step in _actions(content):
        if action not in PLUGINS:
            raise invalid(f"{action} is an invalid plugin.")
        if not isinstance(inputs, dict):
            raise invalid(f"The inputs of {step.get('name', action)} must be an object.")


def parameters_of(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Declared parameters. AWS: InvalidDocumentContent."""
    found = content.get("parameters") or {}
    if not isinstance(found, dict):
        raise invalid("parameters must be an object.")
    for name, one in found.items():
        if not isinstance(one, dict) or one.get("type") not in TYPES:
            raise invalid(f"The parameter {name} has no type that is known.")
        _check_bounds(name, one)
        if "allowedPattern" in one:
            try:
                compile_whole(str(one["allowedPattern"]))
            except BadRegex as error:
                raise invalid(f"The allowedPattern of {name}: {error}") from error
    return found


def _check_bounds(name: str, one: dict[str, Any]) -> None:
    for key in ("minChars", "maxChars", "minItems", "maxItems"):
        if key in one and (isinstance(one[key], bool) or not _COUNT.fullmatch(str(one[key]))):
            raise invalid(f"{key} of the parameter {name} must be a number.")
    if not isinstance(one.get("allowedValues", []), list):
        raise invalid(f"allowedValues of the parameter {name} must be a list.")


def values_of(content: dict[str, Any], given: dict[str, list[str]]) -> dict[str, Any]:
    """Each parameter's value: given, or its default. AWS: InvalidParameters."""
    declared = parameters_of(content)
    for name in given:
        if name not in declared:
            raise AwsError("InvalidParameters", f"Parameter {name} is not defined in the document.")
    values: dict[str, Any] = {}
    for name, one in declared.items():
        if name in given:
            values[name] = _given(name, one, given[name])
        elif "default" in one:
            values[name] = one["default"]
        else:
            raise AwsError("InvalidParameters", f"Parameter {name} is required and was not given.")
    return values


def _given(name: str, one: dict[str, Any], given: list[str]) -> Any:
    kind = one["type"]
    if kind != "StringList" and len(given) != 1:
        raise AwsError("InvalidParameters", f"Parameter {name} takes exactly one value.")
    pattern, allowed = one.get("allowedPattern"), one.get("allowedValues")
    for text in given:
        if pattern is not None and not check_whole(str(pattern), text):
            raise AwsError("InvalidParameters", f"Parameter {name} does not match its allowed pattern: {pattern}")
        if allowed is not None and text not in [str(value) for value in allowed]:
            raise AwsError("InvalidParameters", f"Parameter {name} is not one of its allowed values.")
        least, most = int(one.get("minChars", 0)), int(one.get("maxChars", 1 << 30))
        if not least <= len(text) <= most:
            raise AwsError("InvalidParameters", f"Parameter {name} must have {least} to {most} characters.")
    if kind == "StringList":
        fewest, longest = int(one.get("minItems", 0)), int(one.get("maxItems", 1 << 30))
        if not fewest <= len(given) <= longest:
            raise AwsError("InvalidParameters", f"Parameter {name} must have {fewest} to {longest} items.")
        return list(given)
    if kind in ("String", "Integer", "Boolean"):
        return _scalar(name, kind, given[0])
    try:
        return json.loads(given[0])
    except ValueError as error:
        raise AwsError("InvalidParameters", f"Parameter {name} is no JSON.") from error


def _scalar(name: str, kind: str, text: str) -> str:
    if kind == "Integer" and re.fullmatch(r"-?\d{1,18}", text) is None:
        raise AwsError("InvalidParameters", f"Parameter {name} is no integer.")
    if kind == "Boolean" and text not in ("true", "false", "True", "False"):
        raise AwsError("InvalidParameters", f"Parameter {name} is neither true nor false.")
    return text


def fill(value: Any, values: dict[str, Any]) -> Any:
    """`value` with every {{ name }} replaced: alone in a text by the value itself, within one by its text; a list within a list is joined into it."""
    if isinstance(value, dict):
        return {key: fill(one, values) for key, one in value.items()}
    if isinstance(value, list):
        filled = [(one, fill(one, values)) for one in value]
        return [part for one, done in filled for part in (done if _is_list(one, done) else [done])]
    if not isinstance(value, str):
        return value
    alone = _PLACE.fullmatch(value.strip())
    if alone is not None and alone[1] in values:
        return values[alone[1]]
    return _PLACE.sub(lambda found: _text(values[found[1]]) if found[1] in values else found[0], value)


def with_texts(content: dict[str, Any], given: dict[str, list[str]], change: Callable[[str], str]) -> dict[str, Any]:
    """The document with its texts changed: those of steps, and the defaults of parameters that are not given. AWS: there Parameter Store's parameters
    may be named."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: one if key == "precondition" else changed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [changed(one) for one in value]
        return change(value) if isinstance(value, str) else value

    declared = {
        name: one | {"default": changed(one["default"])} if "default" in one and name not in given else one
        for name, one in parameters_of(content).items()
    }
    parts = {key: changed(content[key]) for key in ("mainSteps", "runtimeConfig") if key in content}
    return content | parts | ({"parameters": declared} if declared else {})


def fill_within(value: Any, values: dict[str, Any]) -> Any:
    """As `fill`. AWS: MaxDocumentSizeExceeded. It is counted before anything is filled in, since a short document can ask for gigabytes."""
    sizes = {name: len(_text(one)) for name, one in values.items()}
    total = 0
    for text in _texts(value):
        total += len(text) + sum(sizes.get(found[1], 0) for found in _PLACE.finditer(text))
    if total > LIMIT_FILLED:
        raise AwsError("MaxDocumentSizeExceeded", "The document is too large with its parameters filled in.")
    return fill(value, values)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _is_list(before: Any, after: Any) -> bool:
    return isinstance(before, str) and isinstance(after, list)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def steps_of(content: dict[str, Any], values: dict[str, Any]) -> tuple[Step, ...]:
    """What is run, in order. AWS: InvalidDocumentContent; NotImplemented for plugins that gureum does not have."""
    steps = []
    environment = _environment(content, values)
    for action, inputs, declared in _actions(content):
        filled = fill_within(inputs, values)
        condition = declared.get("precondition") or {}
        verdict = judge(action, str(content.get("schemaVersion", "")), condition, fill_within(condition, values))
        if action != RUN_SHELL and not verdict.skipped:
            raise AwsError("NotImplemented", f"The plugin {action} is not implemented by gureum.", status=501)
        commands = filled.get("runCommand", [])
        lines = commands if isinstance(commands, list) else [commands]
        name = str(declared.get("name") or action)
        timeout = str(filled.get("timeoutSeconds", "") or 3600)
        if not _COUNT.fullmatch(timeout) or not 0 < int(timeout) <= 172800:
            raise AwsError("InvalidParameters", f"The timeout of {name} must be between 1 and 172800 seconds.")
        steps.append(
            Step(
                name,
                tuple(map(_text, lines)),
                int(timeout),
                folder=str(filled.get("workingDirectory", "") or ""),
                skipped=bool(verdict.skipped),
                why=verdict.skipped,
                refused=verdict.failed,
                on_failure=str(filled.get("onFailure") or "continue"),
                on_success=str(filled.get("onSuccess") or ""),
                final=str(filled.get("finallyStep", "")).lower() == "true",
                environment=environment,
            )
        )
    return tuple(steps)


def _environment(content: dict[str, Any], values: dict[str, Any]) -> dict[str, str]:
    """Parameters that scripts find in their environment, so that no value is taken for a command. AWS: "Data elements and parameters",
    interpolationType: ENV_VAR creates SSM_ and the parameter's name."""
    names = [name for name, one in parameters_of(content).items() if one.get("interpolationType") == "ENV_VAR"]
    return {f"SSM_{name}": _text(values[name]) for name in names if _VARIABLE.fullmatch(name)}


def _actions(content: dict[str, Any]) -> list[tuple[str, Any, dict[str, Any]]]:
    """(plugin, its inputs, its declaration)."""
    if "mainSteps" in content:
        steps = content["mainSteps"]
        if not isinstance(steps, list) or not steps or len(steps) > LIMIT_STEPS:
            raise invalid(f"mainSteps must be a list of 1 to {LIMIT_STEPS} steps.")
        found = []
        for step in steps:
            if not isinstance(step, dict) or not isinstance(step.get("action"), str):
                raise invalid("Each step must have an action.")
            if _STEP_NAME.fullmatch(str(step.get("name", ""))) is None:
                raise invalid("Each step must have a name of letters, digits and underscores.")
            if not _is_condition(step.get("precondition")):
                raise invalid(f"The precondition of {step['name']} must have lists of texts.")
            found.append((step["action"], step.get("inputs") or {}, step))
        if len({step["name"] for _, _, step in found}) != len(found):
            raise invalid("The names of steps must be unique.")
        return found
    config = content.get("runtimeConfig")
    if not isinstance(config, dict) or not config:
        raise invalid("The document has neither mainSteps nor runtimeConfig.")
    found = []
    for action, plugin in config.items():
        properties = plugin.get("properties") if isinstance(plugin, dict) else None
        for one in properties if isinstance(properties, list) else [properties]:
            if not isinstance(one, dict):
                raise invalid(f"{action} must have properties.")
            found.append((action, one, {"name": action}))
    return found


def _is_condition(told: Any) -> bool:
    return told is None or (
        isinstance(told, dict)
        and all(isinstance(one, list) and all(isinstance(part, str) for part in one) for one in told.values())
    )


def invalid(text: str) -> AwsError:
    return AwsError("InvalidDocumentContent", text)
