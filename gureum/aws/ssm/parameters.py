"""Parameter Store: PutParameter, the ways to read, DescribeParameters, history, labels, deletion."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.images.images import find_image
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.paging import page
from gureum.aws.ssm.parameter_filters import check_path, is_below, labelled, public_passes, tests_by_path, tests_of
from gureum.aws.ssm.parameter_keys import DEFAULT_KEY, check_key, is_default
from gureum.aws.ssm.parameter_kinds import (
    NAME,
    NAME_RULE,
    SECURE,
    Parameter,
    ParameterSpec,
    ParameterVersion,
    ParameterVersionSpec,
    find_parameter,
    look_up,
    need_parameter,
    parameter_arn,
    parameter_key,
    seal_context,
    show_parameter,
    stored_parameter,
    value_of,
    version_name,
    version_of,
    versions_of,
)
from gureum.aws.ssm.public_parameters import PREFIX, find_public, public_below
from gureum.aws.ssm.service_settings import default_tier
from gureum.base.linear_regex import BadRegex, check_whole, compile_whole

LIMIT_PARAMETERS, LIMIT_VERSIONS, LIMIT_LABELS, LIMIT_LEVELS, LIMIT_TAGS = 10_000, 100, 10, 15, 50
LIMIT_VALUE = {"Standard": 4096, "Advanced": 8192}
LIMIT_NAME = 1011
LIMIT_POLICIES = 10
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,99}")
_PREFIX_RULE = 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'
_TAGS_AND_OVERWRITE = (
    "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for "
    "an existing parameter, please use AddTagsToResource or RemoveTagsFromResource."
)
_DOWNGRADE = (
    "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter "
    "tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter."
)


@operation("PutParameter")
async def put_parameter(call: Call) -> Result:
    """AWS: ssm PutParameter. ParameterAlreadyExists, HierarchyLevelLimitExceededException, ParameterPatternMismatchException … What an overwrite does
    not name stays: description, pattern, data type, key (Terraform's provider sends them only when they have changed)."""
    params = call.params
    name = params["Name"]
    _check_name(name)
    known = find_parameter(call, name)
    name = known.spec.name if known is not None else name
    if known is not None and not params.get("Overwrite"):
        text = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
        raise AwsError("ParameterAlreadyExists", text)
    if params.get("Tags") and params.get("Overwrite"):
        raise invalid(_TAGS_AND_OVERWRITE)
    type_ = _type(params.get("Type"), known)
    tier = _tier(call, known)
    policies, expires = _policies(call, tier, known)
    before = version_of(call, known, "").spec if known is not None else None
    pattern = params.get("AllowedPattern", before.allowed_pattern if before is not None else "")
    data_type = params.get("DataType") or (before.data_type if before is not None else "text")
    _check_value(call, type_, tier, pattern, data_type)
    key_id = _key_id(call, type_, before.key_id if before is not None else "")
    number = known.spec.latest + 1 if known is not None else 1
    spec = ParameterVersionSpec(
        parameter=name,
        number=number,
        value=_stored(call, type_, name, number),
        modified=call.now,
        type=type_,
        tier=tier,
        user=call.principal.arn,
        description=params.get("Description", before.description if before is not None else ""),
        allowed_pattern=pattern,
        key_id=key_id,
        data_type=data_type,
        policies=policies,
    )
    transaction = call.transaction()
    old = stored_parameter(call, name)
    if known is None and old is not None:
        # One that has expired and was not yet swept away: its object is taken over, its versions are not.
        for one in versions_of(call.client, old):
            transaction.delete(one)
    if known is None:
        if len(call.all(Parameter)) >= LIMIT_PARAMETERS:
            raise AwsError("ParameterLimitExceeded", "The number of parameters per account and region is exceeded.")
        tags = {one["Key"]: one["Value"] for one in params.get("Tags") or ()}
        if len(tags) > LIMIT_TAGS:
            raise AwsError("TooManyTagsError", f"A resource has at most {LIMIT_TAGS} tags.")
        whole = ParameterSpec(name, type_, tier, spec.data_type, policies=policies, expires=expires)
        meta = old.meta if old is not None else call.meta(parameter_key(name), tags=tags)
        parameter = Parameter(meta=msgspec.structs.replace(meta, tags=tags), spec=whole)
        (transaction.update if old is not None else transaction.create)(parameter)
    else:
        numbers = _make_room(call, transaction, known)
        whole = msgspec.structs.replace(
            known.spec,
            type=type_,
            tier=tier,
            data_type=spec.data_type,
            numbers=(*numbers, number),
            policies=policies,
            expires=expires,
        )
        parameter = transaction.update(msgspec.structs.replace(known, spec=whole))
    made = ParameterVersion(meta=call.meta(version_name(name, number), owner=parameter), spec=spec)
    expired = call.get(ParameterVersion, version_name(name, number))
    if expired is None:
        transaction.create(made)
    else:
        transaction.update(msgspec.structs.replace(made, meta=expired.meta))
    await call.commit(transaction)
    return {"Version": number, "Tier": tier}


def _check_name(name: str) -> None:
    """AWS: "Requirements and constraints for parameter names"."""
    if re.match(r"/aws|aws(/|$)", name, re.IGNORECASE):
        raise AwsError("AccessDeniedException", f"No access to reserved parameter name: {name}.")
    if re.match(r"aws|ssm", name, re.IGNORECASE):
        raise invalid(_PREFIX_RULE)
    if re.match(r"/ssm", name, re.IGNORECASE) or NAME.fullmatch(name) is None:
        raise invalid(NAME_RULE)
    if len(name) > LIMIT_NAME:
        raise invalid(f"The parameter name is longer than {LIMIT_NAME} characters.")
    levels = name.removeprefix("/").count("/") + 1
    if levels > LIMIT_LEVELS:
        text = f"A hierarchy can have a maximum of {LIMIT_LEVELS} levels. For more information, see Requirements and constraints for parameter names."
        raise AwsError("HierarchyLevelLimitExceededException", text)


def _type(wanted: str | None, known: Parameter | None) -> str:
    """An overwrite may change it (Terraform's acceptance test TestAccSSMParameter_updateType)."""
    if known is None:
        if not wanted:
            raise invalid("A parameter type is required when you create a parameter.")
        return wanted
    return wanted or known.spec.type


def _tier(call: Call, known: Parameter | None) -> str:
    """AWS: "Specifying a default parameter tier"; Intelligent-Tiering takes the advanced one for what needs it."""
    asked = call.params.get("Tier")
    had = known.spec.tier if known is not None else "Standard"
    if had == "Advanced":
        if asked == "Standard":
            raise invalid(_DOWNGRADE)
        return had
    wanted = asked or default_tier(call)
    if wanted == "Intelligent-Tiering":
        size = len(call.params["Value"].encode("utf-8", "replace"))
        return "Advanced" if size > LIMIT_VALUE["Standard"] or call.params.get("Policies") else "Standard"
    return str(wanted)


def _policies(call: Call, tier: str, known: Parameter | None) -> tuple[str, float]:
    """The policies and when the parameter expires. AWS: InvalidPolicyTypeException, InvalidPolicyAttributeException, PoliciesLimitExceeded …"""
    text = call.params.get("Policies")
    if text is None:
        return (known.spec.policies, known.spec.expires) if known is not None else ("", 0.0)
    try:
        found = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        raise invalid("The policies are no JSON.") from error
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise invalid("The policies must be a list of objects.")
    if found and tier != "Advanced":
        raise invalid("Parameter policies are only supported for parameters of the advanced tier.")
    if len(found) > LIMIT_POLICIES:
        raise AwsError("PoliciesLimitExceededException", f"A parameter has at most {LIMIT_POLICIES} policies.")
    expires = 0.0
    for one in found:
        expires = _expiration(call, one) or expires
    return (text if found else ""), expires


def _expiration(call: Call, policy: dict[str, Any]) -> float:
    kind = policy.get("Type")
    if kind in ("ExpirationNotification", "NoChangeNotification"):
        raise AwsError("NotImplemented", f"The policy {kind} is not implemented by gureum.", status=501)
    if kind != "Expiration":
        raise AwsError("InvalidPolicyTypeException", f"The policy type {kind} is not supported.")
    attributes = policy.get("Attributes")
    try:
        moment = (
            datetime.fromisoformat(str(attributes["Timestamp"])).timestamp() if isinstance(attributes, dict) else 0.0
        )
    except (KeyError, ValueError) as error:
        raise AwsError("InvalidPolicyAttributeException", "The Timestamp of the policy is no time.") from error
    if moment <= call.now:
        raise AwsError("InvalidPolicyAttributeException", "The Timestamp of the policy must be in the future.")
    return moment


def _check_value(call: Call, type_: str, tier: str, pattern: str, data_type: str) -> None:
    value = call.params["Value"]
    if not value:
        text = "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1."
        raise invalid(text)
    size = len(value.encode("utf-8", "replace"))
    if size > LIMIT_VALUE[tier]:
        more = (
            " To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see "
            "https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
        )
        text = f"{tier} tier parameters support a maximum parameter value of {LIMIT_VALUE[tier]} characters."
        raise invalid(text + (more if tier == "Standard" else ""))
    if type_ == "StringList" and "" in value.split(","):
        raise invalid("The values of a StringList are separated by commas, and none is empty.")
    if pattern:
        try:
            compile_whole(pattern)
        except BadRegex as error:
            raise AwsError("InvalidAllowedPatternException", f"The allowed pattern is not valid: {error}") from error
        if not all(check_whole(pattern, part) for part in (value.split(",") if type_ == "StringList" else [value])):
            text = f"Parameter value, cannot be validated against allowedPattern: {pattern}"
            raise AwsError("ParameterPatternMismatchException", text)
    if data_type not in ("text", "aws:ec2:image"):
        raise invalid(f"The following data type is not supported: {data_type} (Data type names are all lowercase.)")
    if data_type == "aws:ec2:image" and not _is_image(call, value):
        raise invalid(f"The image {value} does not exist.")


def _is_image(call: Call, value: str) -> bool:
    try:
        return find_image(call, value) is not None
    except AwsError:  # not of an id's form
        return False


def _key_id(call: Call, type_: str, before: str) -> str:
    """`before`: of the version that is overwritten. AWS: InvalidKeyId."""
    key = call.params.get("KeyId", before)
    if type_ != SECURE:
        if call.params.get("KeyId"):
            raise invalid("KeyId is required for SecureString type parameter only.")
        return ""
    if not key or is_default(call, key):
        return DEFAULT_KEY
    check_key(call, key)
    return str(key)


def _stored(call: Call, type_: str, name: str, number: int) -> str:
    value = str(call.params["Value"])
    return str(call.sealer.seal(value, seal_context(call.scope, name, number))) if type_ == SECURE else value


def _make_room(call: Call, transaction: Any, known: Parameter) -> tuple[int, ...]:
    """The numbers of the versions that stay: the oldest goes when there are a hundred. AWS: ParameterMaxVersionLimitExceeded when it has a label."""
    numbers = known.spec.numbers
    if len(numbers) < LIMIT_VERSIONS:
        return numbers
    oldest = numbers[0]
    if oldest in known.spec.labels.values():
        text = f"You attempted to create a new version of {known.spec.name} by calling the PutParameter API with the overwrite flag. Version {oldest}, the oldest version, can't be deleted because it has a label associated with it. Move the label to another version of the parameter, and try again."  # noqa: E501
        raise AwsError("ParameterMaxVersionLimitExceeded", text)
    found = call.get(ParameterVersion, version_name(known.spec.name, oldest))
    if found is not None:
        transaction.delete(found)
    return numbers[1:]


@operation("GetParameter")
def get_parameter(call: Call) -> Result:
    """AWS: ssm GetParameter. ParameterNotFound, ParameterVersionNotFound."""
    return {"Parameter": look_up(call, call.params["Name"], decrypt=bool(call.params.get("WithDecryption")))}


@operation("GetParameters")
def get_parameters(call: Call) -> Result:
    """AWS: ssm GetParameters: those that are not there are named."""
    found, missing = [], []
    for name in dict.fromkeys(call.params["Names"]):
        try:
            found.append(look_up(call, name, decrypt=bool(call.params.get("WithDecryption"))))
        except AwsError as error:
            if error.code in ("InvalidKeyId", "ValidationException"):
                raise
            missing.append(name)
    return {"Parameters": found, "InvalidParameters": missing}


@operation("GetParametersByPath")
def get_parameters_by_path(call: Call) -> Result:
    """AWS: ssm GetParametersByPath: directly under the path, or with Recursive at any depth."""
    params = call.params
    check_path(params["Path"])
    path, recursive = params["Path"].rstrip("/"), bool(params.get("Recursive"))
    decrypt = bool(params.get("WithDecryption"))
    filters = params.get("ParameterFilters") or []
    tests = tests_by_path(filters)
    shows: dict[str, Callable[[], dict[str, Any]]] = {}
    for one in _living(call):
        if not is_below(one.spec.name, path, recursive=recursive):
            continue
        numbers = labelled(one, filters)
        for number in [0] if numbers is None else numbers:
            version = version_of(call, one, str(number or ""))
            if all(test(one, version) for test in tests):
                key = f"{one.spec.name}:{number:09d}" if number else one.spec.name
                shows[key] = lambda one=one, version=version: show_parameter(call, one, version, decrypt=decrypt)  # type: ignore[misc]
    if path.startswith(PREFIX.rstrip("/")) and public_passes(filters):
        for name in public_below(path, recursive=recursive):
            shows[name] = lambda name=name: find_public(call, name, "")  # type: ignore[misc]
    names, token = page(params, list(shows), str, least=1, most=10, default=10)
    shown: Result = {"Parameters": [shows[name]() for name in names]}
    return shown | ({"NextToken": token} if token else {})


def _living(call: Call) -> list[Parameter]:
    return [one for one in call.all(Parameter) if not 0 < one.spec.expires <= call.now]


@operation("DescribeParameters")
def describe_parameters(call: Call) -> Result:
    """AWS: ssm DescribeParameters. Never a value."""
    params = call.params
    if params.get("Filters") and params.get("ParameterFilters"):
        raise invalid("You can use either Filters or ParameterFilters in a single request.")
    tests = tests_of(params.get("ParameterFilters") or params.get("Filters") or [])
    # Shared: those of other accounts, and none shares one.
    pairs = [(one, version_of(call, one, "")) for one in _living(call) if not params.get("Shared")]
    pairs = [(one, version) for one, version in pairs if all(test(one, version) for test in tests)]
    shown, token = page(params, pairs, lambda pair: pair[0].spec.name, least=1, most=50, default=10)
    rows = [_show_metadata(call, one, version) for one, version in shown]
    return {"Parameters": rows} | ({"NextToken": token} if token else {})


def _show_metadata(call: Call, parameter: Parameter, version: ParameterVersion) -> dict[str, Any]:
    """API form. AWS: ssm ParameterMetadata; the common part of ParameterHistory."""
    spec = version.spec
    shown: dict[str, Any] = {
        "Name": parameter.spec.name,
        "ARN": parameter_arn(call, parameter.spec.name),
        "Type": spec.type,
        "LastModifiedDate": spec.modified,
        "LastModifiedUser": spec.user,
        "Version": spec.number,
        "Tier": spec.tier,
        "Policies": _show_policies(spec.policies),
        "DataType": spec.data_type,
    }
    optional = {"KeyId": spec.key_id, "Description": spec.description, "AllowedPattern": spec.allowed_pattern}
    return shown | {key: value for key, value in optional.items() if value}


def _show_policies(text: str) -> list[dict[str, str]]:
    found = json.loads(text) if text else []
    return [
        {"PolicyText": json.dumps(one), "PolicyType": str(one["Type"]), "PolicyStatus": "Pending"}
        for one in ([found] if isinstance(found, dict) else found)
    ]


@operation("GetParameterHistory")
def get_parameter_history(call: Call) -> Result:
    """AWS: ssm GetParameterHistory. Oldest first."""
    parameter = need_parameter(call, call.params["Name"])
    decrypt = bool(call.params.get("WithDecryption"))
    versions = versions_of(call.client, parameter)
    shown, token = page(call.params, versions, lambda one: f"{one.spec.number:09d}", least=1, most=50, default=50)
    rows = []
    for one in shown:
        labels = sorted(name for name, number in parameter.spec.labels.items() if number == one.spec.number)
        row = _show_metadata(call, parameter, one) | {"Value": value_of(call, one, decrypt=decrypt), "Labels": labels}
        row.pop("ARN")
        rows.append(row)
    return {"Parameters": rows} | ({"NextToken": token} if token else {})


@operation("LabelParameterVersion")
async def label_parameter_version(call: Call) -> Result:
    """AWS: ssm LabelParameterVersion: a label moves to the version that gets it. ParameterVersionLabelLimitExceeded."""
    parameter = need_parameter(call, call.params["Name"])
    number = call.params.get("ParameterVersion") or parameter.spec.latest
    version_of(call, parameter, str(number))
    good = [one for one in call.params["Labels"] if _is_label(one)]
    labels = parameter.spec.labels | dict.fromkeys(good, number)
    if sum(at == number for at in labels.values()) > LIMIT_LABELS:
        text = "An error occurred (ParameterVersionLabelLimitExceeded) when calling the LabelParameterVersion operation: A parameter version can have maximum 10 labels.Move one or more labels to another version and try again."  # noqa: E501
        raise AwsError("ParameterVersionLabelLimitExceeded", text)
    if labels != parameter.spec.labels:
        await _write_labels(call, parameter, labels)
    return {"InvalidLabels": [one for one in call.params["Labels"] if one not in good], "ParameterVersion": number}


def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None and re.match(r"aws|ssm", text, re.IGNORECASE) is None


@operation("UnlabelParameterVersion")
async def unlabel_parameter_version(call: Call) -> Result:
    """AWS: ssm UnlabelParameterVersion."""
    parameter = need_parameter(call, call.params["Name"])
    number = call.params["ParameterVersion"]
    version_of(call, parameter, str(number))
    removed = [one for one in call.params["Labels"] if parameter.spec.labels.get(one) == number]
    labels = {name: at for name, at in parameter.spec.labels.items() if name not in removed}
    if removed:
        await _write_labels(call, parameter, labels)
    return {"RemovedLabels": removed, "InvalidLabels": [one for one in call.params["Labels"] if one not in removed]}


async def _write_labels(call: Call, parameter: Parameter, labels: dict[str, int]) -> None:
    transaction = call.transaction()
    spec = msgspec.structs.replace(parameter.spec, labels=labels)
    transaction.update(msgspec.structs.replace(parameter, spec=spec))
    await call.commit(transaction)


@operation("DeleteParameter")
async def delete_parameter(call: Call) -> Result:
    """AWS: ssm DeleteParameter. ParameterNotFound."""
    await _delete(call, [need_parameter(call, call.params["Name"])])
    return {}


@operation("DeleteParameters")
async def delete_parameters(call: Call) -> Result:
    """AWS: ssm DeleteParameters: those that are not there are named."""
    names = list(dict.fromkeys(call.params["Names"]))
    found = {name: one for name in names if (one := find_parameter(call, name)) is not None}
    await _delete(call, list(found.values()))
    return {"DeletedParameters": list(found), "InvalidParameters": [name for name in names if name not in found]}


async def _delete(call: Call, parameters: list[Parameter]) -> None:
    """At once with all versions: a new parameter of the same name begins anew."""
    transaction = call.transaction()
    for parameter in {one.meta.name: one for one in parameters}.values():
        transaction.delete(parameter)
        for one in versions_of(call.client, parameter):
            transaction.delete(one)
    if not transaction.empty:
        await call.commit(transaction)


def invalid(text: str) -> AwsError:
    return AwsError("ValidationException", text)
