"""Conditions of rules: which requests a rule is for. Pure.

Conditions of a rule are AND-ed, values of a condition OR-ed; `*` and `?` are wildcards where the field has them. AWS: elbv2 RuleCondition and
"Condition types for listener rules".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.faults import invalid, not_built
from gureum.aws.elbv2.kinds import Condition, ConditionField

LIMIT_VALUE = 128
LIMIT_NAME = 40
ONCE = ("host-header", "http-request-method", "path-pattern", "source-ip")
_HOST = re.compile(r"[A-Za-z0-9.*?-]+\.[A-Za-z*?]+", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_.$/~\"'@:+&*?()!,;=%#\[\]|^{}<>`\\-]+", re.ASCII)
_VISIBLE = re.compile(r"[\x20-\x7e]+", re.ASCII)
_METHOD = re.compile(r"[A-Z_-]+", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_ESCAPED = re.compile(r"\\[*?\\]")


def wanted_conditions(given: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    """AWS: ValidationError."""
    if not given:
        raise invalid("A condition must be specified")
    conditions = tuple(_condition(one) for one in given)
    for field in ONCE:
        if sum(1 for one in conditions if one.field == field) > 1:
            raise invalid(f"A rule can only have one '{field}' condition")
    if sum(len(one.values) + len(one.pairs) for one in conditions) > limits.CONDITION_VALUES_PER_RULE:
        raise invalid(f"A rule can only have '{limits.CONDITION_VALUES_PER_RULE}' condition values")
    if sum(_wildcards(one) for one in conditions) > limits.WILDCARDS_PER_RULE:
        raise invalid(f"A rule can only have '{limits.WILDCARDS_PER_RULE}' condition wildcards")
    return conditions


def show_condition(condition: Condition) -> dict[str, Any]:
    """API form. AWS: elbv2 RuleCondition; host and path patterns stand at both places, as they may be given at either."""
    values, shown = list(condition.values), {"Field": condition.field}
    if condition.field in ("host-header", "path-pattern"):
        name = "HostHeaderConfig" if condition.field == "host-header" else "PathPatternConfig"
        return {**shown, "Values": values, name: {"Values": values}}
    if condition.field == "http-header":
        return {**shown, "HttpHeaderConfig": {"HttpHeaderName": condition.name, "Values": values}}
    if condition.field == "http-request-method":
        return {**shown, "HttpRequestMethodConfig": {"Values": values}}
    if condition.field == "source-ip":
        return {**shown, "SourceIpConfig": {"Values": values}}
    pairs = [({"Key": key} if key else {}) | {"Value": value} for key, value in condition.pairs]
    return {**shown, "QueryStringConfig": {"Values": pairs}}


def _condition(given: Mapping[str, Any]) -> Condition:
    field: Any = given.get("Field") or ""
    if field not in _FIELDS:
        raise invalid(f"Condition field '{field}' must be one of '[{','.join(_FIELDS)}]'")
    name, parse = _FIELDS[field]
    for other, _ in _FIELDS.values():
        if other != name and given.get(other):
            raise invalid(f"'{other}' is not compatible with a condition of type '{field}'")
    if given.get("RegexValues") or (given.get(name) or {}).get("RegexValues"):
        raise not_built(f"A {field} condition with RegexValues")
    plain, config = given.get("Values"), given.get(name)
    if plain and field not in ("host-header", "path-pattern"):
        raise invalid(f"The 'Values' field is not compatible with '{field}'")
    if plain and config:
        raise invalid(f"You cannot provide both Values and '{name}' for a condition of type '{field}'")
    if plain and len(plain) > 1:
        raise invalid(f"The '{field}' field contains too many values; the limit is '1'")
    if not plain and not config:
        text = f"A '{name}' must be specified with '{field}'"
        raise invalid("A condition value must be specified" if field in ("host-header", "path-pattern") else text)
    return parse(field, {"Values": plain} if plain else config or {})


def _values(field: ConditionField, config: Mapping[str, Any], limit: int = LIMIT_VALUE) -> tuple[str, ...]:
    values = tuple(config.get("Values") or ())
    if not values or not all(values):
        raise invalid("A condition value must be specified")
    for value in values:
        if len(value) > limit:
            raise invalid(f"The '{field}' value is too long; the limit is '{limit}'")
    return values


def _fitting(form: re.Pattern[str]) -> Callable[[ConditionField, Mapping[str, Any]], Condition]:
    def parse(field: ConditionField, config: Mapping[str, Any]) -> Condition:
        values = _values(field, config, LIMIT_NAME if form is _METHOD else LIMIT_VALUE)
        for value in values:
            if not form.fullmatch(value):
                allowed = "value is invalid; the allowed characters are A-Z, hyphen and underscore"
                raise invalid(f"The '{field}' " + (allowed if form is _METHOD else f"value '{value}' is invalid"))
        return Condition(field, values)

    return parse


def _header(field: ConditionField, config: Mapping[str, Any]) -> Condition:
    name = config.get("HttpHeaderName") or ""
    if not name:
        raise invalid("A 'HttpHeaderName' must be specified in 'HttpHeaderConfig'")
    if len(name) > LIMIT_NAME:
        raise invalid(f"The 'HttpHeaderName' value is too long; the limit is '{LIMIT_NAME}'")
    if not _TOKEN.fullmatch(name):
        raise invalid(f"The 'HttpHeaderName' value '{name}' is invalid")
    if name.lower() == "host":
        raise invalid("The 'HttpHeaderName' value must not be 'host'; use a 'host-header' condition")
    values = _values(field, config)
    for value in values:
        if not _VISIBLE.fullmatch(value):
            raise invalid(f"The '{field}' value '{value}' is invalid")
    return Condition(field, values, name=name)


def _query(field: ConditionField, config: Mapping[str, Any]) -> Condition:
    pairs = tuple((one.get("Key") or "", one.get("Value") or "") for one in config.get("Values") or ())
    if not pairs:
        raise invalid("A condition value must be specified")
    for key, value in pairs:
        if not value:
            raise invalid("A 'Value' must be specified in 'QueryStringKeyValuePair'")
        for name, text in (("Key", key), ("Value", value)):
            if len(text) > LIMIT_VALUE:
                raise invalid(f"The '{name}' value is too long; the limit is '{LIMIT_VALUE}'")
            if text and not _VISIBLE.fullmatch(text):
                raise invalid(f"The '{field}' {name.lower()} '{text}' is invalid")
    return Condition(field, pairs=pairs)


def _source(field: ConditionField, config: Mapping[str, Any]) -> Condition:
    if config.get("IpAddressType"):
        raise invalid("'IpAddressType' in 'SourceIpConfig' is only supported with Network Load Balancers")
    values = tuple(config.get("Values") or ())
    if not values:
        raise invalid("A 'source-ip' value must be specified")
    for value in values:
        try:
            ip_network(value if "/" in value else "")
        except ValueError:
            raise invalid(f"The 'source-ip' value '{value}' must be a CIDR block") from None
    return Condition(field, values)


def _wildcards(condition: Condition) -> int:
    if condition.field not in ("host-header", "path-pattern", "http-header", "query-string"):
        return 0
    texts = [*condition.values, *(text for pair in condition.pairs for text in pair)]
    if condition.field == "query-string":
        texts = [_ESCAPED.sub("", text) for text in texts]
    return sum(text.count("*") + text.count("?") for text in texts)


_FIELDS: dict[ConditionField, tuple[str, Callable[[ConditionField, Mapping[str, Any]], Condition]]] = {
    "path-pattern": ("PathPatternConfig", _fitting(_PATH)),
    "host-header": ("HostHeaderConfig", _fitting(_HOST)),
    "http-header": ("HttpHeaderConfig", _header),
    "http-request-method": ("HttpRequestMethodConfig", _fitting(_METHOD)),
    "query-string": ("QueryStringConfig", _query),
    "source-ip": ("SourceIpConfig", _source),
}
