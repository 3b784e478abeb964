"""Allowed AMIs: which images of others an account finds and starts. Its own are always allowed.

    disabled      everything is found
    audit-mode    everything is found; DescribeImages tells what would not be allowed
    enabled       what meets none of the criteria is neither found nor started

An image is allowed when it meets one criterion; a criterion is met when all that it names is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.account_settings import SettingsSpec, settings_of, write_settings
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.globs import glob

DAY_S = 86400.0
LIMIT_CRITERIA = 10
LIMIT_VALUES = {"ImageProviders": 200, "ImageNames": 50, "MarketplaceProductCodes": 50}
MOST_DAYS = 2147483647
ALIASES = ("amazon", "aws-marketplace", "aws-backup-vault")
NOT_BUILT = ("ImageWatermarks", "ScanResultCondition")


@operation("EnableAllowedImagesSettings")
async def enable_allowed_images_settings(call: Call) -> Result:
    """AWS: ec2 EnableAllowedImagesSettings."""
    state = ids.choice(call.params, "AllowedImagesSettingsState", "enabled", "audit-mode")
    await write_settings(call, allowed_images=state)
    return {"AllowedImagesSettingsState": state}


@operation("DisableAllowedImagesSettings")
async def disable_allowed_images_settings(call: Call) -> Result:
    """AWS: ec2 DisableAllowedImagesSettings: the criteria stay."""
    await write_settings(call, allowed_images="disabled")
    return {"AllowedImagesSettingsState": "disabled"}


@operation("GetAllowedImagesSettings")
def get_allowed_images_settings(call: Call) -> Result:
    """AWS: ec2 GetAllowedImagesSettings."""
    call.end_dry_run()
    spec = settings_of(call)
    return {"State": spec.allowed_images, "ImageCriteria": list(spec.image_criteria), "ManagedBy": "account"}


@operation("ReplaceImageCriteriaInAllowedImagesSettings")
async def replace_image_criteria_in_allowed_images_settings(call: Call) -> Result:
    """AWS: ec2 ReplaceImageCriteriaInAllowedImagesSettings: without criteria none but the account's own are allowed."""
    criteria = tuple(call.params.get("ImageCriteria") or ())
    if len(criteria) > LIMIT_CRITERIA:
        raise ids.invalid(f"At most {LIMIT_CRITERIA} image criteria can be given.")
    for one in criteria:
        _check(one)
    await write_settings(call, image_criteria=criteria)
    return {"ReturnValue": True}


def is_allowed(call: Call, image: Any, settings: SettingsSpec | None = None) -> bool:
    """Whether an image (ec2.Image) meets the account's criteria, whatever the state of the setting."""
    spec = settings or settings_of(call)
    return image.owner == call.account or any(_meets(one, image, call.now) for one in spec.image_criteria)


def _meets(criterion: dict[str, Any], image: Any, now: float) -> bool:
    spec = image.spec
    providers = criterion.get("ImageProviders")
    if providers and not {image.owner, spec.owner_alias}.intersection(providers):
        return False
    names = criterion.get("ImageNames")
    if names and not any(glob(one)(spec.name) for one in names):
        return False
    if criterion.get("MarketplaceProductCodes"):
        return False  # no image here has any
    created = (criterion.get("CreationDateCondition") or {}).get("MaximumDaysSinceCreated")
    if created is not None and now - image.meta.created > created * DAY_S:
        return False
    days = (criterion.get("DeprecationTimeCondition") or {}).get("MaximumDaysSinceDeprecated")
    return days is None or not spec.deprecated_at or now - spec.deprecated_at <= days * DAY_S


def _check(criterion: dict[str, Any]) -> None:
    """AWS: InvalidParameterValue, MissingParameter."""
    for name in NOT_BUILT:
        if criterion.get(name):
            raise ids.not_built(f"Image criteria with {name}")
    if not any(criterion.values()):
        raise AwsError("InvalidParameterValue", "An image criterion must name something.")
    for name, most in LIMIT_VALUES.items():
        if len(criterion.get(name) or ()) > most:
            raise ids.invalid(f"At most {most} values can be given in {name}.")
    for provider in criterion.get("ImageProviders") or ():
        if provider not in ALIASES and not (len(provider) == 12 and provider.isascii() and provider.isdigit()):
            raise ids.invalid(f"Value ({provider[:100]}) for parameter imageProvider is invalid.")
    _check_days(criterion, "CreationDateCondition", "MaximumDaysSinceCreated", 1)
    _check_days(criterion, "DeprecationTimeCondition", "MaximumDaysSinceDeprecated", 0)


def _check_days(criterion: dict[str, Any], condition: str, name: str, least: int) -> None:
    days = (criterion.get(condition) or {}).get(name)
    if days is not None and not least <= days <= MOST_DAYS:
        raise ids.invalid(f"Value ({days}) for parameter {name[:1].lower()}{name[1:]} is invalid.")


def allowed_only(call: Call, images: Iterable[Any]) -> Iterable[Any]:
    """Those of the images that the caller finds."""
    settings = settings_of(call)
    if settings.allowed_images != "enabled":
        return images
    return (image for image in images if is_allowed(call, image, settings))
