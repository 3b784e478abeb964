"""Filters of DescribeParameters and GetParametersByPath, and what is below a path.

A name without a slash at its beginning is at the root: "a" and "/a" are the same to a path and to a filter.
AWS: ssm ParameterStringFilter. InvalidFilterKey, InvalidFilterValue, InvalidFilterOption, ValidationException.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gureum.aws.errors import AwsError
from gureum.aws.ssm.parameter_kinds import Parameter, ParameterVersion

Test = Callable[[Parameter, ParameterVersion], bool]
KEYS = ("Path", "Name", "Type", "KeyId", "Tier", "DataType")
"""AWS: of DescribeParameters, beside tags."""
KEYS_BY_PATH = ("Type", "KeyId", "Label")
"""AWS: of GetParametersByPath."""
OPTIONS_PATH = ("Recursive", "OneLevel")
OPTIONS = ("BeginsWith", "Equals")
VALUES = {
    "Tier": ("Standard", "Advanced", "Intelligent-Tiering"),
    "Type": ("String", "StringList", "SecureString"),
}

_PATH = re.compile(r"(/[a-zA-Z0-9_.-]+)+/?|/")
_PATH_RULE = (
    "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\". It can't be prefixed "
    'with "aws" or "ssm" (case-insensitive). It must use only letters, numbers, or the following symbols: . (period), - (hyphen), '
    '_ (underscore). Special characters are not allowed. All sub-paths, if specified, must use the forward slash symbol "/". '
    "Valid example: /get/parameters2-/by1./path0_."
)
_LOOKS: dict[str, Callable[[Parameter, ParameterVersion], str]] = {
    "Name": lambda it, _: _rooted(it.spec.name),
    "Type": lambda it, _: it.spec.type,
    "KeyId": lambda _, version: version.spec.key_id,
    "Tier": lambda it, _: it.spec.tier,
    "DataType": lambda it, _: it.spec.data_type,
}


def tests_of(filters: list[dict[str, Any]]) -> list[Test]:
    """Of DescribeParameters."""
    for one in filters:
        if one["Key"] not in KEYS and not one["Key"].startswith("tag:"):
            raise _bad_key(one["Key"], KEYS)
    return _tests(filters)


def tests_by_path(filters: list[dict[str, Any]]) -> list[Test]:
    """Of GetParametersByPath."""
    for one in filters:
        if one["Key"] not in KEYS_BY_PATH:
            raise _bad_key(one["Key"], KEYS_BY_PATH)
    return _tests(filters)


def public_passes(filters: list[dict[str, Any]]) -> bool:
    """Public parameters are of type String, without key and labels."""
    return all(one["Key"] == "Type" and "String" in one["Values"] for one in filters)


def labelled(parameter: Parameter, filters: list[dict[str, Any]]) -> list[int] | None:
    """The numbers of the versions that a filter asks for by their labels; None when none does. AWS: "Working with parameter labels": it leads to the
    versions that have the label, not to the newest ones."""
    wanted = next((one for one in filters if one["Key"] == "Label"), None)
    if wanted is None:
        return None
    labels = parameter.spec.labels.items()
    return sorted({number for name, number in labels if _fits(name, wanted["Values"], wanted.get("Option", ""))})


def is_below(name: str, path: str, *, recursive: bool) -> bool:
    """`path` has no slash at its end: "" is the root."""
    rooted = _rooted(name)
    return rooted.startswith(f"{path}/") and (recursive or "/" not in rooted[len(path) + 1 :])


def check_path(path: str) -> None:
    """AWS: ValidationException."""
    if _PATH.fullmatch(path) is None:
        raise AwsError("ValidationException", _PATH_RULE)


def _tests(filters: list[dict[str, Any]]) -> list[Test]:
    tests, seen = [], set()
    for one in filters:
        if one["Key"] in seen:
            text = f"The following filter is duplicated in the request: {one['Key']}. A request can contain only one occurrence of a specific filter."
            raise AwsError("InvalidFilterKey", text)
        seen.add(one["Key"])
        tests.append(_test(one["Key"], one.get("Values") or [], one.get("Option", "")))
    return tests


def _test(key: str, values: list[str], option: str) -> Test:
    if not values and not key.startswith("tag:"):
        text = f"The following filter values are missing : null for filter key {key}"
        raise AwsError("InvalidFilterValue", text)
    if key == "Path":
        return _path_test(values, option)
    if option not in ("", *OPTIONS) and (option, key) != ("Contains", "Name"):
        raise _bad_option(option, OPTIONS)
    for value in values:
        if key in VALUES and option != "BeginsWith" and value not in VALUES[key]:
            text = f"The following filter value is not valid: {value}. Valid values include: [{', '.join(VALUES[key])}]"
            raise AwsError("InvalidFilterValue", text)
    if key == "Label":
        return lambda it, _: True  # `labelled` has chosen
    if key.startswith("tag:"):
        tag = key.removeprefix("tag:")
        return lambda it, _: tag in it.meta.tags and (not values or _fits(it.meta.tags[tag], values, option))
    look = _LOOKS[key]
    wanted = [_rooted(one) for one in values] if key == "Name" and option != "Contains" else values
    return lambda it, version: _fits(look(it, version), wanted, option)


def _path_test(values: list[str], option: str) -> Test:
    if option not in ("", *OPTIONS_PATH):
        raise _bad_option(option, OPTIONS_PATH)
    for value in values:
        if re.match(r"/?(aws|ssm)", value, re.IGNORECASE):
            text = (
                'Filters for common parameters can\'t be prefixed with "aws" or "ssm" (case-insensitive). When using global parameters, please '
                "specify within a global namespace."
            )
            raise AwsError("ValidationException", text)
        check_path(value)
    paths, recursive = [one.rstrip("/") for one in values], option == "Recursive"
    return lambda it, _: any(is_below(it.spec.name, path, recursive=recursive) for path in paths)


def _fits(text: str, values: list[str], option: str) -> bool:
    if option == "BeginsWith":
        return text.startswith(tuple(values))
    if option == "Contains":
        return any(one in text for one in values)
    return text in values


def _rooted(name: str) -> str:
    return name if name.startswith("/") else f"/{name}"


def _bad_key(key: str, valid: tuple[str, ...]) -> AwsError:
    text = f"The following filter key is not valid: {key}. Valid filter keys include: [{', '.join(valid)}]."
    return AwsError("InvalidFilterKey", text)


def _bad_option(option: str, valid: tuple[str, ...]) -> AwsError:
    text = f"The following filter option is not valid: {option}. Valid options include: [{', '.join(valid)}]."
    return AwsError("InvalidFilterOption", text)
