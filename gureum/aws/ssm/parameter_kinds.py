"""The stored shapes of parameters, and how a name leads to one of its versions.

    Parameter (type, tier, labels, which versions there are) ◄── owner ── ParameterVersion: the value, sealed when it is a secret

The name of a parameter holds slashes: `logs.kinds.key_name` makes a key of it. At the root, "/a" and "a" are two spellings of one name; the one
that the parameter was made with is shown.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import key_name
from gureum.aws.ssm import secret_references
from gureum.aws.ssm.parameter_keys import check_key
from gureum.aws.ssm.public_parameters import PREFIX, find_public
from gureum.engine.client import Client
from gureum.engine.resource import Resource, kind

SECURE = "SecureString"
_ARN = re.compile(r"arn:aws[a-z-]*:ssm:([a-z0-9-]*):(\d*):parameter(/.*)")
_NUMBER = re.compile(r"[0-9]{1,18}")
NAME = re.compile(r"[a-zA-Z0-9_.-]+|(/[a-zA-Z0-9_.-]+)+")
NAME_RULE = (
    'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; '
    "each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_"
)
_REFERENCE = re.compile(r"\{\{\s*ssm:([^}\s]+)\s*\}\}")


class ParameterSpec(msgspec.Struct, frozen=True):
    """`numbers`: of the versions that are kept, oldest first. `expires`: Unix seconds, 0.0 for never. `policies`: as given, JSON."""

    name: str
    type: str
    tier: str = "Standard"
    data_type: str = "text"
    numbers: tuple[int, ...] = (1,)
    labels: dict[str, int] = {}
    policies: str = ""
    expires: float = 0.0

    @property
    def latest(self) -> int:
        return self.numbers[-1]


@kind("ssm.Parameter")
class Parameter(Resource, frozen=True):
    spec: ParameterSpec


class ParameterVersionSpec(msgspec.Struct, frozen=True):
    """`value`: of a SecureString sealed for `seal_context`."""

    parameter: str
    number: int
    value: str
    modified: float
    type: str
    tier: str
    user: str
    description: str = ""
    allowed_pattern: str = ""
    key_id: str = ""
    data_type: str = "text"
    policies: str = ""


def parameter_key(name: str) -> str:
    """The same for both spellings of a name at the root."""
    return key_name(name[1:] if name.rfind("/") == 0 else name)


@kind("ssm.ParameterVersion", indexes={"parameter": lambda one: parameter_key(one.spec.parameter)})
class ParameterVersion(Resource, frozen=True):
    spec: ParameterVersionSpec


def version_name(name: str, number: int) -> str:
    return key_name(name, str(number))


def seal_context(scope: str, name: str, number: int) -> str:
    return f"ssm-parameter/{scope}/{name}/{number}"


def split_name(call: Call, text: str) -> tuple[str, str]:
    """A name, a name with ":version" or ":label", or an ARN, as name and selector. AWS: ParameterNotFound for an ARN of another account or region
    (nobody shares parameters); those of public ones have no account."""
    name = text.strip()
    arn = _ARN.fullmatch(name)
    if arn is not None:
        name = arn[3]
        if arn[1] != call.region or arn[2] not in ("" if name.startswith(PREFIX) else call.account, call.account):
            raise AwsError("ParameterNotFound", "")
    elif name.startswith("arn:"):
        raise AwsError("ParameterNotFound", "")
    name, _, selector = name.partition(":")
    return name, selector


def stored_parameter(call: Call, name: str) -> Parameter | None:
    """Also one that has expired and is not yet swept away. Homes of before have the key with the slash (docs/decisions/0146)."""
    bare = name.removeprefix("/")
    keys = [key_name(name)] if "/" in bare else [key_name(name), key_name(bare), key_name(f"/{bare}")]
    found = (call.get(Parameter, key) for key in keys)
    return next((one for one in found if one is not None), None)


def find_parameter(call: Call, text: str) -> Parameter | None:
    """By its name or ARN; what has a selector is the name of a version, and of no parameter."""
    try:
        name, selector = split_name(call, text)
    except AwsError:  # an ARN of somebody else's
        return None
    return None if selector else _living(call, name)


def _living(call: Call, name: str) -> Parameter | None:
    found = stored_parameter(call, name)
    return None if found is not None and 0 < found.spec.expires <= call.now else found


def versions_of(client: Client, parameter: Parameter) -> list[ParameterVersion]:
    name = parameter.spec.name
    found = client.by(ParameterVersion, parameter.meta.scope, "parameter", parameter_key(name))
    return [one for one in found if one.spec.parameter == name]


def need_parameter(call: Call, text: str) -> Parameter:
    """AWS: ParameterNotFound."""
    found = find_parameter(call, text)
    if found is None:
        raise AwsError("ParameterNotFound", "")
    return found


def version_of(call: Call, parameter: Parameter, selector: str) -> ParameterVersion:
    """AWS: ParameterVersionNotFound."""
    spec = parameter.spec
    if not selector:
        number = spec.latest
    elif _NUMBER.fullmatch(selector):
        number = int(selector)
    else:
        number = spec.labels.get(selector, 0)
    found = call.client.get(ParameterVersion, parameter.meta.scope, version_name(spec.name, number))
    if found is None:
        what = "version" if _NUMBER.fullmatch(selector) else "label"
        text = f"Systems Manager could not find {what} {selector} of {spec.name}. Verify the {what} and try again."
        raise AwsError("ParameterVersionNotFound", text)
    return found


def value_of(call: Call, version: ParameterVersion, *, decrypt: bool) -> str:
    """Of a secret that is not to be decrypted, what is stored of it."""
    spec = version.spec
    if spec.type != SECURE or not decrypt:
        return spec.value
    if spec.key_id:
        check_key(call, spec.key_id)
    return str(call.sealer.open(spec.value, seal_context(version.meta.scope, spec.parameter, spec.number)))


def look_up(call: Call, text: str, *, decrypt: bool) -> dict[str, Any]:
    """API form of what a name, with or without selector, means. AWS: ParameterNotFound, ParameterVersionNotFound; ValidationException for what
    cannot be a name ("//a", "a/b": LocalStack's tests, validated against AWS). A name at the root is shown as it was asked for (the same)."""
    name, selector = split_name(call, text)
    if ":" in selector:
        raise AwsError("ParameterNotFound", "")
    if name.startswith(secret_references.PREFIX):
        return secret_references.find_secret(call, name, selector, decrypt=decrypt)
    if name.startswith(PREFIX):
        return find_public(call, name, selector)
    if NAME.fullmatch(name) is None:
        raise AwsError("ValidationException", NAME_RULE)
    parameter = _living(call, name)
    if parameter is None:
        raise AwsError("ParameterNotFound", "")
    shown = show_parameter(call, parameter, version_of(call, parameter, selector), decrypt=decrypt, selector=selector)
    return shown if text.startswith("arn:") else shown | {"Name": name}


def show_parameter(
    call: Call, parameter: Parameter, version: ParameterVersion, *, decrypt: bool, selector: str = ""
) -> dict[str, Any]:
    """API form. AWS: ssm Parameter."""
    shown: dict[str, Any] = {
        "Name": parameter.spec.name,
        "Type": version.spec.type,
        "Value": value_of(call, version, decrypt=decrypt),
        "Version": version.spec.number,
        "LastModifiedDate": version.spec.modified,
        "ARN": parameter_arn(call, parameter.spec.name),
        "DataType": version.spec.data_type,
    }
    return shown | ({"Selector": f":{selector}"} if selector else {})


def parameter_arn(call: Call, name: str) -> str:
    return call.arn(f"parameter/{name.removeprefix('/')}", service="ssm")


def filled(call: Call, text: str) -> str:
    """`text` with each {{ssm:name}} replaced. AWS: only String and StringList may be used so. InvalidParameters."""

    def value(found: re.Match[str]) -> str:
        try:
            shown = look_up(call, found[1], decrypt=False)
        except AwsError as error:
            raise AwsError("InvalidParameters", f"The parameter {found[1]} cannot be found.") from error
        if shown["Type"] == SECURE:
            raise AwsError(
                "InvalidParameters", f"The parameter {found[1]} is a SecureString, which is not supported here."
            )
        return str(shown["Value"])

    return _REFERENCE.sub(value, text)
