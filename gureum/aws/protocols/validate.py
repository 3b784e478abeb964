"""Validation: the constraints that a service's model states, checked with the texts that its API answers.

Two manners exist. EC2 names the parameter ("The request must contain the parameter ImageId") and stops at the first
fault; it checks enumerations, lengths and patterns itself, with an error per operation, so the model's are not used.
All others count: "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be
null".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gureum.aws.errors import AwsError
from gureum.aws.protocols.models import Member, ServiceModel, Shape
from gureum.aws.protocols.patterns import compile_pattern

# (value, path, faults): appends a sentence per fault.
Check = Callable[[Any, str, list[str]], None]
Validate = Callable[[dict[str, Any]], None]
MAX_FAULTS = 20

# Services whose model faults have another code than their protocol's usual one. AWS: the services' "Common errors" and
# error lists.
_CODES = {
    "logs": "InvalidParameterException",
    "ecs": "InvalidParameterException",
    "ecr": "InvalidParameterException",
    "cognito-idp": "InvalidParameterException",
    "acm": "ValidationException",
    "sqs": "InvalidParameterValue",
}

# Members whose values a service checks itself, with words of its own: (service, structure, member).
_OWN_WORDS = frozenset({("cloudwatch", "MetricDatum", "Unit")})


def ignore(params: dict[str, Any]) -> None:
    """Nothing to check."""


# Requests whose missing list EC2 does not tell as it tells others (seen in cloud-nuke's issue 731).
_TOLD_OTHERWISE = {"TerminateInstancesRequest": ("InvalidParameterCombination", "No instances specified")}


def compile_validator(
    service: ServiceModel, reference: Member | None, protocol: str, wire_name: Callable[[Member, str], str]
) -> Validate:
    """`wire_name`: how the protocol calls a member; EC2's texts use it."""
    if reference is None:
        return ignore
    if protocol == "ec2":
        return _compile_ec2(service, reference, wire_name)
    check = _Checks(service).structure(reference.shape)
    if check is None:
        return ignore
    code = _CODES.get(service.name, "ValidationError" if protocol == "query" else "ValidationException")

    def validate(params: dict[str, Any]) -> None:
        faults: list[str] = []
        check(params, "", faults)
        if faults:
            plural = "s" if len(faults) > 1 else ""
            raise AwsError(code, f"{len(faults)} validation error{plural} detected: {'; '.join(faults[:MAX_FAULTS])}")

    return validate


def _compile_ec2(service: ServiceModel, reference: Member, wire_name: Callable[[Member, str], str]) -> Validate:
    shape = service.shape(reference.shape)
    required = [(name, wire_name(shape.members[name], name)) for name in shape.required]
    otherwise = _TOLD_OTHERWISE.get(reference.shape)
    limits = []
    for name, member in shape.members.items():
        target = service.shape(member.shape)
        if target.type in ("integer", "long") and (target.min is not None or target.max is not None):
            limits.append((name, name[0].lower() + name[1:], target.min, target.max))

    def validate(params: dict[str, Any]) -> None:
        for name, wire in required:
            if name not in params:
                raise AwsError(*(otherwise or ("MissingParameter", f"The request must contain the parameter {wire}")))
        for name, shown, least, most in limits:
            value = params.get(name)
            if value is None:
                continue
            if least is not None and value < least:
                raise _out_of_range(value, shown, f"greater than {least:g}")
            if most is not None and value > most:
                raise _out_of_range(value, shown, f"less than {most:g}")

    return validate


def _out_of_range(value: int, name: str, expected: str) -> AwsError:
    return AwsError(
        "InvalidParameterValue", f"Value ( {value} ) for parameter {name} is invalid. Expecting a value {expected}."
    )


class _Checks:
    def __init__(self, service: ServiceModel) -> None:
        self._service = service
        self._structures: dict[str, Check | None] = {}

    def structure(self, shape_name: str) -> Check | None:
        if shape_name in self._structures:
            return self._structures[shape_name]
        shape = self._service.shape(shape_name)
        members: list[tuple[str, str, Check | None, bool]] = []
        check = self._structures[shape_name] = _structure_check(members)
        for name, member in shape.members.items():
            inner = None if (self._service.name, shape_name, name) in _OWN_WORDS else self.reference(member)
            if inner is not None or name in shape.required:
                members.append((name, name[0].lower() + name[1:], inner, name in shape.required))
        if not members:
            self._structures[shape_name] = None
            return None
        return check

    def reference(self, member: Member) -> Check | None:
        shape = self._service.shape(member.shape)
        if shape.type == "structure":
            return None if shape.document else self.structure(member.shape)
        if shape.type == "list":
            return self._list(shape)
        if shape.type == "map":
            return self._map(shape)
        constraints = _constraints(shape)
        return _scalar_check(constraints, sensitive=shape.sensitive) if constraints else None

    def _list(self, shape: Shape) -> Check | None:
        assert shape.member is not None
        size = _size_constraints(shape)
        item = self._service.shape(shape.member.shape)
        if item.type in ("structure", "list", "map"):
            return _items_check(size, self.reference(shape.member))
        return _collective_check(size, "Member must satisfy constraint: [{}]", _constraints(item), lambda value: value)

    def _map(self, shape: Shape) -> Check | None:
        assert shape.key is not None
        assert shape.value is not None
        size = _size_constraints(shape)
        value_shape = self._service.shape(shape.value.shape)
        keys = _collective_check(
            size,
            "Map keys must satisfy constraint: [{}]",
            _constraints(self._service.shape(shape.key.shape)),
            lambda value: value,
        )
        if value_shape.type in ("structure", "list", "map"):
            values = _values_check(self.reference(shape.value))
        else:
            values = _collective_check(
                [], "Map value must satisfy constraint: [{}]", _constraints(value_shape), lambda value: value.values()
            )
        return _both(keys, values)


def _structure_check(members: list[tuple[str, str, Check | None, bool]]) -> Check:
    def check(value: Any, path: str, faults: list[str]) -> None:
        for name, shown, inner, required in members:
            found = value.get(name)
            if found is None:
                if required:
                    faults.append(
                        f"Value null at '{path}{shown}' failed to satisfy constraint: Member must not be null"
                    )
            elif inner is not None:
                inner(found, path + shown, faults)

    def check_nested(value: Any, path: str, faults: list[str]) -> None:
        if len(faults) < MAX_FAULTS:
            check(value, path + "." if path else "", faults)

    return check_nested


# A constraint: (the test that holds, its sentence).
Constraint = tuple[Callable[[Any], bool], str]


def _constraints(shape: Shape) -> list[Constraint]:
    if shape.type in ("string", "blob"):
        return [*_size_constraints(shape), *_text_constraints(shape)]
    found: list[Constraint] = []
    if shape.type in ("integer", "long", "float", "double"):
        least, most = shape.min, shape.max
        if most is not None:
            found.append((lambda value: value <= most, f"Member must have value less than or equal to {most:g}"))
        if least is not None:
            found.append((lambda value: value >= least, f"Member must have value greater than or equal to {least:g}"))
    return found


def _size_constraints(shape: Shape) -> list[Constraint]:
    found: list[Constraint] = []
    least, most = shape.min, shape.max
    if most is not None:
        found.append((lambda value: len(value) <= most, f"Member must have length less than or equal to {int(most)}"))
    if least:
        found.append(
            (lambda value: len(value) >= least, f"Member must have length greater than or equal to {int(least)}")
        )
    return found


def _text_constraints(shape: Shape) -> list[Constraint]:
    found: list[Constraint] = []
    if shape.pattern and shape.type == "string":
        matches = compile_pattern(shape.pattern)
        if matches is not None:
            found.append((matches, f"Member must satisfy regular expression pattern: {shape.pattern}"))
    if shape.enum:
        allowed = frozenset(shape.enum)
        found.append((allowed.__contains__, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"))
    return found


def _scalar_check(constraints: list[Constraint], *, sensitive: bool) -> Check:
    def check(value: Any, path: str, faults: list[str]) -> None:
        for holds, text in constraints:
            if not holds(value):
                shown = "Value" if sensitive else f"Value '{_show(value)}'"
                faults.append(f"{shown} at '{path}' failed to satisfy constraint: {text}")

    return check


def _items_check(size: list[Constraint], inner: Check | None) -> Check | None:
    if not size and inner is None:
        return None

    def check(value: Any, path: str, faults: list[str]) -> None:
        for holds, text in size:
            if not holds(value):
                faults.append(f"Value '{_show(value)}' at '{path}' failed to satisfy constraint: {text}")
        if inner is not None:
            for i, item in enumerate(value, 1):
                if item is not None:
                    inner(item, f"{path}.{i}.member", faults)

    return check


def _values_check(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(value: Any, path: str, faults: list[str]) -> None:
        for key, item in value.items():
            if item is not None:
                inner(item, f"{path}.{key}.member", faults)

    return check


def _collective_check(
    size: list[Constraint], sentence: str, constraints: list[Constraint], items: Callable[[Any], Any]
) -> Check | None:
    """Constraints on the scalars of a list or map: one fault for all, as the services say it."""
    if not size and not constraints:
        return None
    fault = sentence.format(", ".join(text for _, text in constraints))

    def check(value: Any, path: str, faults: list[str]) -> None:
        for holds, text in size:
            if not holds(value):
                faults.append(f"Value '{_show(value)}' at '{path}' failed to satisfy constraint: {text}")
        if not all(holds(item) for holds, _ in constraints for item in items(value) if item is not None):
            faults.append(f"Value '{_show(value)}' at '{path}' failed to satisfy constraint: {fault}")

    return check


def _both(first: Check | None, second: Check | None) -> Check | None:
    if first is None or second is None:
        return first or second

    def check(value: Any, path: str, faults: list[str]) -> None:
        first(value, path, faults)
        second(value, path, faults)

    return check


def _show(value: Any) -> str:
    """As Java prints it: lists in brackets, maps in braces. Cut, since it is the caller's."""
    if isinstance(value, str):
        return value[:1000]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item) for item in value[:50]) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_show(item)}" for key, item in [*value.items()][:50]) + "}"
    return "java.nio.HeapByteBuffer" if isinstance(value, bytes) else str(value)[:100]
