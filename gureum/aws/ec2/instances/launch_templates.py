"""Launch templates and their numbered, unchanging versions.

    LaunchTemplate (name, default and latest number) ─owns─► LaunchTemplateVersion 1, 2, 3 …

A version keeps the parameters as they were given; what they name is looked up when an instance is launched (launch_template_data.py).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.images.images import resolve_image
from gureum.aws.ec2.instance_ids import LAUNCH_TEMPLATE
from gureum.aws.ec2.instances.launch_template_data import Data, check_data, merge
from gureum.aws.ec2.listing import answer, iso_time, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters, boolean
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource, key_of, kind

LIMIT_VERSIONS = 10_000
LIMIT_VERSIONS_PER_CALL = 200
_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}", re.ASCII)
_OF_ALL_TEMPLATES = (
    "To describe the launch template data for all your launch templates, for \u2018--versions\u2019 specify \u2018$Latest\u2019, "
    "\u2018$Default\u2019, or both, and omit \u2018--launch-template-id\u2019, \u2018--launch-template-name\u2019, and version numbers. "
    "To describe the launch template data for a specific launch template, specify \u2018--launch-template-id\u2019 or "
    "\u2018--launch-template-name\u2019, and for \u2018--versions\u2019 specify one or more of the following values: "
    "\u2018$Latest\u2019, \u2018$Default\u2019, or one or more version numbers."
)
"""AWS's words (moto's tests, verified on AWS)."""


class LaunchTemplateSpec(msgspec.Struct, frozen=True):
    """`default`, `latest`: numbers of versions that exist; `last_given`: the highest number ever given (numbers are not used again).
    `created_by`: ARN of who made it."""

    template_name: str
    default: int
    latest: int
    last_given: int
    created_by: str


@kind("ec2.LaunchTemplate", indexes={"name": lambda template: template.spec.template_name})
class LaunchTemplate(Resource, frozen=True):
    """The claim "launch-template-name/<scope>" keeps names unique."""

    spec: LaunchTemplateSpec


class VersionSpec(msgspec.Struct, frozen=True):
    """`data`: API form of RequestLaunchTemplateData, times as Unix seconds."""

    template: str
    number: int
    data: Data
    description: str = ""
    created_by: str = ""


@kind("ec2.LaunchTemplateVersion", indexes={"template": lambda version: version.spec.template})
class LaunchTemplateVersion(Resource, frozen=True):
    """Named "lt-…:3"."""

    spec: VersionSpec


@operation("CreateLaunchTemplate")
async def create_launch_template(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateLaunchTemplate: with its version 1."""
    done = call.done_before()
    if done is not None:
        template = call.get(LaunchTemplate, done[0])
        return {"LaunchTemplate": show_template(template)} if template else {}
    if call.params.get("Operator"):
        raise ids.not_built("CreateLaunchTemplate with Operator")
    name = str(call.params["LaunchTemplateName"])
    if _NAME.fullmatch(name) is None:
        text = (
            "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, "
            "and the following characters: - ( ) . / _."
        )
        raise AwsError("InvalidLaunchTemplateName.MalformedException", text)
    if call.by(LaunchTemplate, "name", name):
        raise AwsError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    data = check_data(call.params.get("LaunchTemplateData") or {})
    transaction = call.transaction()
    spec = LaunchTemplateSpec(name, default=1, latest=1, last_given=1, created_by=call.principal.arn)
    tags = tags_of(call, "launch-template")
    template = transaction.create(LaunchTemplate(meta=call.meta(new_id("lt-"), tags=tags), spec=spec))
    transaction.claim(_name_space(call), _name_claim(name), key_of(template))
    _add_version(call, transaction, template, 1, data)
    call.remember(transaction, (template.meta.name,))
    await call.commit(transaction)
    return {"LaunchTemplate": show_template(template)}


@operation("CreateLaunchTemplateVersion")
async def create_launch_template_version(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateLaunchTemplateVersion: of the given parameters, laid over those of SourceVersion if one is named."""
    template = find_template(call, call.params)
    done = call.done_before()
    if done is not None:
        before = call.get(LaunchTemplateVersion, done[0])
        return {"LaunchTemplateVersion": _show_version(call, template, before)} if before else {}
    data = check_data(call.params.get("LaunchTemplateData") or {})
    if call.params.get("SourceVersion"):
        source = find_version(call, template, call.params["SourceVersion"]).spec.data
        data = {**source, **data}
    number = template.spec.last_given + 1
    if number > LIMIT_VERSIONS:
        raise AwsError("VersionLimitExceeded", "The maximum number of launch template versions has been reached.")
    transaction = call.transaction()
    transaction.update(change(template, latest=number, last_given=number))
    version = _add_version(call, transaction, template, number, data)
    call.remember(transaction, (version.meta.name,))
    await call.commit(transaction)
    return {"LaunchTemplateVersion": _show_version(call, template, version)}


@operation("DeleteLaunchTemplate")
async def delete_launch_template(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteLaunchTemplate: with all its versions; instances launched from it stay."""
    template = find_template(call, call.params)
    transaction = call.transaction()
    transaction.delete(template)
    transaction.release(_name_space(call), _name_claim(template.spec.template_name))
    await call.commit(transaction)
    return {"LaunchTemplate": show_template(template)}


@operation("DeleteLaunchTemplateVersions")
async def delete_launch_template_versions(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteLaunchTemplateVersions: each by itself; the default one stays."""
    template = find_template(call, call.params)
    wanted = list(dict.fromkeys(call.params["Versions"]))
    if len(wanted) > LIMIT_VERSIONS_PER_CALL:
        raise ids.invalid(
            f"You can delete up to {LIMIT_VERSIONS_PER_CALL} launch template versions in a single request."
        )
    transaction = call.transaction()
    gone: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for text in wanted:
        shown = {"LaunchTemplateId": template.meta.name, "LaunchTemplateName": template.spec.template_name}
        number = _number(text)
        version = call.get(LaunchTemplateVersion, _version_name(template, number))
        if version is None:
            error = {"Code": "launchTemplateVersionDoesNotExist", "Message": _no_version(call, template, text).message}
        elif number == template.spec.default:
            error = {
                "Code": "unexpectedError",
                "Message": "The default version of a launch template cannot be deleted.",
            }
        else:
            transaction.delete(version)
            gone.append(shown | {"VersionNumber": number})
            continue
        kept.append(shown | {"VersionNumber": number, "ResponseError": error})
    if gone:
        numbers = {version.spec.number for version in call.by(LaunchTemplateVersion, "template", template.meta.name)}
        latest = max(numbers - {one["VersionNumber"] for one in gone})
        transaction.update(change(template, latest=latest))
        await call.commit(transaction)
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": gone,
        "UnsuccessfullyDeletedLaunchTemplateVersions": kept,
    }


@operation("ModifyLaunchTemplate")
async def modify_launch_template(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyLaunchTemplate: another default version."""
    template = find_template(call, call.params)
    if call.done_before() is not None:
        return {"LaunchTemplate": show_template(template)}
    version = find_version(call, template, ids.need(call, "DefaultVersion"))
    transaction = call.transaction()
    transaction.require(version)
    template = transaction.update(change(template, default=version.spec.number))
    call.remember(transaction, (template.meta.name,))
    await call.commit(transaction)
    return {"LaunchTemplate": show_template(template)}


@operation("DescribeLaunchTemplates")
def describe_launch_templates(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeLaunchTemplates."""
    wanted_ids, names = call.params.get("LaunchTemplateIds") or (), call.params.get("LaunchTemplateNames") or ()
    if wanted_ids or names:
        found = [_by_id(call, id_) for id_ in wanted_ids] + [_by_name(call, name) for name in names]
        found = list({template.meta.name: template for template in found}.values())
    else:
        found = call.all(LaunchTemplate)
    found = apply_filters(found, call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, most=200, default=200)
    return answer("LaunchTemplates", [show_template(template) for template in shown], token)


@operation("DescribeLaunchTemplateVersions")
def describe_launch_template_versions(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeLaunchTemplateVersions: of one template the newest first; without a template the $Latest or $Default of all."""
    params = call.params
    versions = params.get("Versions") or ()
    if params.get("LaunchTemplateId") or params.get("LaunchTemplateName"):
        template = find_template(call, params)
        found = [(template, version) for version in _versions(call, template, versions)]
    else:
        if not versions or any(text not in ("$Latest", "$Default") for text in versions):
            raise AwsError("MissingParameter" if not versions else "InvalidParameterValue", _OF_ALL_TEMPLATES)
        pairs = ((one, find_version(call, one, text)) for one in call.all(LaunchTemplate) for text in versions)
        found = list({version.meta.name: (template, version) for template, version in pairs}.values())
    templates = {version.meta.name: template for template, version in found}
    filters = _version_filters(templates)
    kept = apply_filters((version for _, version in found), params.get("Filters"), filters)
    call.end_dry_run()
    shown, token = page(params, kept, _newest_first, least=1, most=200, default=200)
    return answer(
        "LaunchTemplateVersions",
        [_show_version(call, templates[version.meta.name], version) for version in shown],
        token,
    )


def merge_launch_template(call: Call) -> dict[str, Any]:
    """The call's parameters laid over those of the launch template it names, with the tags AWS then gives (member "GureumTags").
    AWS: ec2 RunInstances; the errors of a template or version that is not there."""
    named = call.params.get("LaunchTemplate")
    if not named:
        return call.params
    template = find_template(call, named)
    version = find_version(call, template, named.get("Version") or "$Default")
    merged = merge(version.spec.data, call.params)
    merged["GureumTags"] = {
        "aws:ec2launchtemplate:id": template.meta.name,
        "aws:ec2launchtemplate:version": str(version.spec.number),
    }
    return merged


def find_template(call: Call, named: dict[str, Any]) -> LaunchTemplate:
    """The template that `LaunchTemplateId` or `LaunchTemplateName` in `named` names. AWS: exactly one of them; NotFound in their own codes."""
    id_, name = named.get("LaunchTemplateId"), named.get("LaunchTemplateName")
    if id_ and name:
        text = "You must specify either the launch template ID or the launch template name, but not both."
        if call.operation == "ModifyLaunchTemplate":
            text = "Either provide launch template ID or launch template name to modify the template."
        raise AwsError("InvalidParameterCombination", text)
    if id_:
        return _by_id(call, id_)
    if name:
        return _by_name(call, name)
    text = "The request must contain either the launch template ID or the launch template name."
    raise AwsError("MissingParameter", text)


def find_version(call: Call, template: LaunchTemplate, text: str) -> LaunchTemplateVersion:
    """`text`: "$Latest", "$Default" or a number. AWS: InvalidLaunchTemplateId.VersionNotFound."""
    numbers = {"$Latest": template.spec.latest, "$Default": template.spec.default}
    number = numbers[text] if text in numbers else _number(text)
    version = call.get(LaunchTemplateVersion, _version_name(template, number))
    if version is None:
        raise _no_version(call, template, text)
    return version


def change(template: LaunchTemplate, **fields: Any) -> LaunchTemplate:
    """A copy with these fields of the spec."""
    return msgspec.structs.replace(template, spec=msgspec.structs.replace(template.spec, **fields))


def show_template(template: LaunchTemplate) -> dict[str, Any]:
    """API form. AWS: ec2 LaunchTemplate."""
    return {
        "LaunchTemplateId": template.meta.name,
        "LaunchTemplateName": template.spec.template_name,
        "CreateTime": template.meta.created,
        "CreatedBy": template.spec.created_by,
        "DefaultVersionNumber": template.spec.default,
        "LatestVersionNumber": template.spec.latest,
        "Operator": {"Managed": False},
        "Tags": show_tags(template.meta.tags),
    }


def _show_version(call: Call, template: LaunchTemplate, version: LaunchTemplateVersion) -> dict[str, Any]:
    """API form. AWS: ec2 LaunchTemplateVersion."""
    spec = version.spec
    data = spec.data
    if call.params.get("ResolveAlias") and data.get("ImageId"):
        data = {**data, "ImageId": resolve_image(call, data["ImageId"])}
    shown: dict[str, Any] = {
        "LaunchTemplateId": template.meta.name,
        "LaunchTemplateName": template.spec.template_name,
        "VersionNumber": spec.number,
        "CreateTime": version.meta.created,
        "CreatedBy": spec.created_by,
        "DefaultVersion": spec.number == template.spec.default,
        "LaunchTemplateData": data,
        "Operator": {"Managed": False},
    }
    return shown | ({"VersionDescription": spec.description} if spec.description else {})


def _add_version(
    call: Call, transaction: Transaction, template: LaunchTemplate, number: int, data: Data
) -> LaunchTemplateVersion:
    said = ids.description(call.params, "VersionDescription")
    spec = VersionSpec(template.meta.name, number, data, said, created_by=call.principal.arn)
    meta = call.meta(_version_name(template, number), owner=template)
    return transaction.create(LaunchTemplateVersion(meta=meta, spec=spec))


def _versions(call: Call, template: LaunchTemplate, wanted: Any) -> list[LaunchTemplateVersion]:
    if wanted:
        if call.params.get("MinVersion") or call.params.get("MaxVersion"):
            text = "The parameters versions and minVersion or maxVersion cannot be used together."
            raise AwsError("InvalidParameterCombination", text)
        found = [find_version(call, template, text) for text in wanted]
        return list({version.meta.name: version for version in found}.values())
    least = _bound(call, template, "MinVersion", 1)
    most = _bound(call, template, "MaxVersion", LIMIT_VERSIONS)
    every = call.by(LaunchTemplateVersion, "template", template.meta.name)
    return [version for version in every if least <= version.spec.number <= most]


def _bound(call: Call, template: LaunchTemplate, name: str, otherwise: int) -> int:
    text = call.params.get(name)
    if not text:
        return otherwise
    return {"$Latest": template.spec.latest, "$Default": template.spec.default}.get(text) or _number(text)


def _newest_first(version: LaunchTemplateVersion) -> str:
    return f"{version.spec.template}/{LIMIT_VERSIONS - version.spec.number:05d}"


_FILTERS: FilterTable = {
    "create-time": lambda template: iso_time(template.meta.created),
    "launch-template-name": lambda template: template.spec.template_name,
}


def _version_filters(templates: dict[str, LaunchTemplate]) -> FilterTable:
    def data(*path: str) -> Any:
        def look(version: LaunchTemplateVersion) -> Any:
            found: Any = version.spec.data
            for name in path:
                found = found.get(name) if found else None
            if isinstance(found, bool):
                return boolean(found)
            return () if found is None else str(found)

        return look

    def cards(version: LaunchTemplateVersion) -> list[str]:
        listed = version.spec.data.get("NetworkInterfaces") or ()
        return [str(one["NetworkCardIndex"]) for one in listed if one.get("NetworkCardIndex") is not None]

    def licenses(version: LaunchTemplateVersion) -> list[str]:
        listed = version.spec.data.get("LicenseSpecifications") or ()
        return [one["LicenseConfigurationArn"] for one in listed if one.get("LicenseConfigurationArn")]

    def is_default(version: LaunchTemplateVersion) -> str:
        return boolean(templates[version.meta.name].spec.default == version.spec.number)

    return {
        "create-time": lambda version: iso_time(version.meta.created),
        "ebs-optimized": data("EbsOptimized"),
        "host-resource-group-arn": data("Placement", "HostResourceGroupArn"),
        "http-endpoint": data("MetadataOptions", "HttpEndpoint"),
        "http-protocol-ipv4": lambda version: "enabled" if version.spec.data.get("MetadataOptions") else (),
        "http-tokens": data("MetadataOptions", "HttpTokens"),
        "iam-instance-profile": data("IamInstanceProfile", "Arn"),
        "image-id": data("ImageId"),
        "instance-type": data("InstanceType"),
        "is-default-version": is_default,
        "kernel-id": data("KernelId"),
        "license-configuration-arn": licenses,
        "network-card-index": cards,
        "ram-disk-id": data("RamDiskId"),
    }


def _by_id(call: Call, id_: str) -> LaunchTemplate:
    template = call.get(LaunchTemplate, ids.check_id(LAUNCH_TEMPLATE, id_))
    if template is None:
        text = f"The specified launch template, with template ID {id_}, does not exist."
        raise AwsError("InvalidLaunchTemplateId.NotFound", text)
    return template


def _by_name(call: Call, name: str) -> LaunchTemplate:
    found = call.by(LaunchTemplate, "name", name)
    if not found:
        text = f"The specified launch template, with template name {name}, does not exist."
        if call.operation == "DescribeLaunchTemplates":
            text = "At least one of the launch templates specified in the request does not exist."
        raise AwsError("InvalidLaunchTemplateName.NotFoundException", text)
    return found[0]


def _no_version(call: Call, template: LaunchTemplate, text: str) -> AwsError:
    message = f"Could not find the specified version {text} for the launch template with ID {template.meta.name}."
    if call.operation == "ModifyLaunchTemplate":
        message = f"The launch template version {text} is not found for the specified launch template."
    return AwsError("InvalidLaunchTemplateId.VersionNotFound", message)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        text = "Invalid launch template version: either '$Default', '$Latest', or a numeric version are allowed."
        raise ids.invalid(text)
    return int(text)


def _version_name(template: LaunchTemplate, number: int) -> str:
    return f"{template.meta.name}:{number}"


def _name_space(call: Call) -> str:
    return f"launch-template-name/{call.scope}"


def _name_claim(name: str) -> str:
    # Claims must not hold a "/", template names may.
    return hashlib.sha256(name.encode()).hexdigest()
