"""Who uses an image: references within the account, usage reports over all accounts, and where an image comes from.

A report is made whole in the commit that asks for it; it is there for 30 days.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.ids import IdForm
from gureum.aws.ec2.images.images import AMI, Image, find_image, no_image, own_image
from gureum.aws.ec2.instances.kinds import STATE_CODES, Instance
from gureum.aws.ec2.instances.launch_templates import LaunchTemplate, LaunchTemplateVersion
from gureum.aws.ec2.listing import answer, iso_time, show_tags
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import Result, operation
from gureum.aws.paging import page
from gureum.base.ids import new_id
from gureum.engine.resource import Resource, kind

INSTANCE, TEMPLATE = "ec2:Instance", "ec2:LaunchTemplate"
NOT_HERE = ("ssm:Parameter", "imagebuilder:ImageRecipe", "imagebuilder:ContainerRecipe")
"""Types that gureum looks for nothing in."""
DEPTH = 20
MOST_DEPTH = 10000
EXPIRES_S = 30 * 86400.0
REPORT = IdForm(
    "report",
    "image usage report ID",
    "image-usage-report",
    "InvalidImageUsageReportId.NotFound",
    "InvalidImageUsageReportId.Malformed",
)


class Entry(msgspec.Struct, frozen=True):
    account: str
    type: str
    count: int


class ReportSpec(msgspec.Struct, frozen=True):
    """`types`: API form of ResourceTypes; `accounts`: those that were asked for, empty for all."""

    image: str
    types: tuple[dict[str, Any], ...]
    accounts: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()


@kind("ec2.ImageUsageReport", indexes={"image": lambda one: one.spec.image})
class ImageUsageReport(Resource, frozen=True):
    spec: ReportSpec


@operation("DescribeImageReferences")
def describe_image_references(call: Call) -> Result:
    """AWS: ec2 DescribeImageReferences: the account's own instances and launch templates that name the images."""
    params = call.params
    if bool(params.get("IncludeAllResourceTypes")) == bool(params.get("ResourceTypes")):
        text = "Specify either IncludeAllResourceTypes or ResourceTypes."
        raise AwsError("InvalidParameterCombination", text)
    types = params.get("ResourceTypes") or [{"ResourceType": INSTANCE}, {"ResourceType": TEMPLATE}]
    wanted = set(params["ImageIds"])
    for id_ in wanted:
        ids.check_id(AMI, id_)
    rows = [
        {"ImageId": image, "ResourceType": type_, "Arn": arn}
        for one in types
        for type_, image, arn in _references(call, call.account, one, wanted)
    ]
    call.end_dry_run()
    shown, token = page(params, rows, lambda row: f"{row['ImageId']}/{row['Arn']}", least=1, default=1000)
    return answer("ImageReferences", shown, token)


@operation("CreateImageUsageReport")
async def create_image_usage_report(call: Call) -> Result:
    """AWS: ec2 CreateImageUsageReport: of the account's own image."""
    done = call.done_before()
    if done is not None:
        return {"ReportId": done[0]}
    image = own_image(call, call.params["ImageId"])
    types = tuple(call.params["ResourceTypes"])
    accounts = tuple(call.params.get("AccountIds") or ())
    for account in accounts:
        if len(account) != 12 or not account.isascii() or not account.isdigit():
            raise AwsError("InvalidUserID.Malformed", f'Invalid user id: "{account[:50]}"')
    entries = tuple(_count(call, image.meta.name, types, accounts))
    spec = ReportSpec(image.meta.name, types, accounts, entries)
    transaction = call.transaction()
    meta = call.meta(new_id("report-"), tags=tags_of(call, "image-usage-report"))
    made = transaction.create(ImageUsageReport(meta=meta, spec=spec))
    for old in call.all(ImageUsageReport):
        if old.meta.created + EXPIRES_S <= call.now:
            transaction.delete(old)
    call.remember(transaction, (made.meta.name,))
    await call.commit(transaction)
    return {"ReportId": made.meta.name}


@operation("DescribeImageUsageReports")
def describe_image_usage_reports(call: Call) -> Result:
    """AWS: ec2 DescribeImageUsageReports."""
    found, token = _reports(
        call, {"creation-time": lambda one: iso_time(one.meta.created), "state": lambda _: "available"}
    )
    return answer("ImageUsageReports", [_show(one) for one in found], token)


@operation("DescribeImageUsageReportEntries")
def describe_image_usage_report_entries(call: Call) -> Result:
    """AWS: ec2 DescribeImageUsageReportEntries: how many resources of which type each account has."""
    table: FilterTable = {
        "account-id": lambda row: row["AccountId"],
        "creation-time": lambda row: iso_time(row["ReportCreationTime"]),
        "resource-type": lambda row: row["ResourceType"],
    }
    rows: list[Any] = [
        {
            "ReportId": one.meta.name,
            "ImageId": one.spec.image,
            "AccountId": entry.account,
            "ResourceType": entry.type,
            "UsageCount": entry.count,
            "ReportCreationTime": one.meta.created,
        }
        for one in _asked(call)
        for entry in one.spec.entries
    ]
    rows = apply_filters(rows, call.params.get("Filters"), table)
    call.end_dry_run()
    key = "{ReportId}/{AccountId}/{ResourceType}"
    shown, token = page(call.params, rows, lambda row: key.format(**row), least=1, default=1000)
    return answer("ImageUsageReportEntries", shown, token)


@operation("DeleteImageUsageReport")
async def delete_image_usage_report(call: Call) -> Result:
    """AWS: ec2 DeleteImageUsageReport."""
    transaction = call.transaction()
    transaction.delete(ids.find(call, ImageUsageReport, REPORT, call.params["ReportId"]))
    await call.commit(transaction)
    return {"Return": True}


@operation("GetImageAncestry")
def get_image_ancestry(call: Call) -> Result:
    """AWS: ec2 GetImageAncestry: the image, what it is a copy or was made of, and so on to the first."""
    image: Image | None = find_image(call, call.params["ImageId"])
    if image is None:
        raise no_image(call.params["ImageId"])
    call.end_dry_run()
    entries, seen = list[dict[str, Any]](), set[str]()
    while image is not None and image.meta.name not in seen:
        seen.add(image.meta.name)
        region, source = _parent(call, image)
        shown = {"ImageId": image.meta.name, "CreationDate": image.meta.created}
        if image.spec.owner_alias:
            shown["ImageOwnerAlias"] = image.spec.owner_alias
        if source:
            shown |= {"SourceImageId": source, "SourceImageRegion": region}
        entries.append(shown)
        image = _elsewhere(call, region, source) if source else None
    return {"ImageAncestryEntries": entries}


def _parent(call: Call, image: Image) -> tuple[str, str]:
    """(region, image): ("", "") of one that comes from none."""
    if image.spec.copy_of[1]:
        return image.spec.copy_of
    if image.spec.instance:
        region = image.meta.scope.partition("/")[2]
        instance = call.client.get(Instance, image.meta.scope, image.spec.instance)
        return (region, instance.spec.image) if instance else ("", "")
    return "", ""


def _elsewhere(call: Call, region: str, id_: str) -> Image | None:
    if region == call.region:
        return find_image(call, id_)
    return call.client.get(Image, f"{call.account}/{region}", id_)


def _references(call: Call, account: str, wanted: dict[str, Any], images: set[str]) -> Iterator[tuple[str, str, str]]:
    """(type, image, ARN) of the resources of one type. AWS: InvalidParameterValue."""
    type_ = wanted.get("ResourceType") or ""
    options = {one.get("OptionName"): one.get("OptionValues") or [] for one in wanted.get("ResourceTypeOptions") or ()}
    scope = f"{account}/{call.region}"
    start = f"arn:{call.partition}:ec2:{call.region}:{account}:"
    if type_ == INSTANCE:
        states = _states(options)
        for instance in call.client.all(Instance, scope):
            if instance.spec.image in images and instance.status.state in states:
                yield type_, instance.spec.image, f"{start}instance/{instance.meta.name}"
    elif type_ == TEMPLATE:
        depth = _depth(options)
        for template in call.client.all(LaunchTemplate, scope):
            versions = call.client.by(LaunchTemplateVersion, scope, "template", template.meta.name)
            newest = sorted(versions, key=lambda one: one.spec.number)[-depth:]
            for image in images.intersection(one.spec.data.get("ImageId") for one in newest):
                yield type_, image, f"{start}launch-template/{template.meta.name}"
    elif type_ not in NOT_HERE:
        raise ids.invalid(f"Value ({type_[:100]}) for parameter resourceType is invalid.")


def _states(options: dict[str, list[str]]) -> set[str]:
    wanted = options.get("state-name") or [one for one in STATE_CODES if one not in ("terminated", "shutting-down")]
    for one in wanted:
        if one not in STATE_CODES:
            raise ids.invalid(f"Value ({one[:100]}) for parameter state-name is invalid.")
    return set(wanted)


def _depth(options: dict[str, list[str]]) -> int:
    text = (options.get("version-depth") or [str(DEPTH)])[0]
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_DEPTH:
        raise ids.invalid(f"Value ({text[:100]}) for parameter version-depth is invalid.")
    return int(text)


def _count(call: Call, image: str, types: tuple[dict[str, Any], ...], accounts: tuple[str, ...]) -> Iterator[Entry]:
    found = {one.meta.scope.partition("/")[0] for one in call.client.everywhere(Instance)}
    found |= {one.meta.scope.partition("/")[0] for one in call.client.everywhere(LaunchTemplate)}
    for account in sorted(found.intersection(accounts) if accounts else found):
        for one in types:
            count = sum(1 for _ in _references(call, account, one, {image}))
            if count:
                yield Entry(account, one.get("ResourceType") or "", count)
    if not found:
        for one in types:
            list(_references(call, call.account, one, {image}))  # checks what was asked


def _asked(call: Call) -> list[ImageUsageReport]:
    params = call.params
    if params.get("ReportIds"):
        found = ids.find_all(call, ImageUsageReport, REPORT, params["ReportIds"])
    else:
        found = call.all(ImageUsageReport)
    found = [one for one in found if one.meta.created + EXPIRES_S > call.now]
    return [one for one in found if one.spec.image in params["ImageIds"]] if params.get("ImageIds") else found


def _reports(call: Call, table: FilterTable) -> tuple[list[ImageUsageReport], str | None]:
    found = apply_filters(_asked(call), call.params.get("Filters"), table)
    call.end_dry_run()
    return page(call.params, found, lambda one: one.meta.name, least=1, default=1000)


def _show(one: ImageUsageReport) -> dict[str, Any]:
    """API form. AWS: ec2 ImageUsageReport."""
    return {
        "ReportId": one.meta.name,
        "ImageId": one.spec.image,
        "ResourceTypes": list(one.spec.types),
        "AccountIds": list(one.spec.accounts),
        "State": "available",
        "CreationTime": one.meta.created,
        "ExpirationTime": one.meta.created + EXPIRES_S,
        "Tags": show_tags(one.meta.tags),
    }
