"""Options of the instance metadata service: of one instance, and the account's defaults for launches in a region.

What a launch does not say comes from the account's defaults, then from the image (ImdsSupport "v2.0": tokens required, two hops), then from EC2.
AWS: "Order of precedence for instance metadata options" (EC2 user guide).
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.instances.changes import change, living_instance, write
from gureum.aws.ec2.instances.kinds import MetadataChoice
from gureum.aws.ec2.instances.show import show_metadata_options
from gureum.aws.ec2.tags import check_tag_keys
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.engine.resource import Resource, kind

DEFAULTS = "default"
NO_PREFERENCE = "no-preference"


class DefaultsSpec(msgspec.Struct, frozen=True):
    """ "" and 0: no preference. `enforced`: launches that do not require tokens are refused."""

    tokens: str = ""
    hop_limit: int = 0
    endpoint: str = ""
    tags: str = ""
    enforced: str = ""


@kind("ec2.MetadataDefaults")
class MetadataDefaults(Resource, frozen=True):
    """One per account and region, named "default"."""

    spec: DefaultsSpec = DefaultsSpec()


@operation("ModifyInstanceMetadataOptions")
async def modify_instance_metadata_options(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceMetadataOptions: what is given changes, also of a running instance."""
    params = call.params
    instance = living_instance(call, params["InstanceId"])
    if ids.choice(params, "HttpProtocolIpv6", "disabled", "enabled") == "enabled":
        raise ids.not_built("The IPv6 endpoint of the instance metadata service")
    choice = metadata_choice(params, instance.spec.metadata)
    if choice.tags == "enabled":
        check_tag_keys(instance.meta.tags)
    changed = change(instance, metadata=choice)
    await write(call, changed)
    shown = show_metadata_options(changed) | {"State": "pending"}
    return {"InstanceId": instance.meta.name, "InstanceMetadataOptions": shown}


@operation("ModifyInstanceMetadataDefaults")
async def modify_instance_metadata_defaults(call: Call) -> Result:
    """AWS: ec2 ModifyInstanceMetadataDefaults."""
    params = call.params
    before = call.get(MetadataDefaults, DEFAULTS)
    old = before.spec if before else DefaultsSpec()
    hops = params.get("HttpPutResponseHopLimit")
    if hops is not None and hops != -1 and not 1 <= hops <= 64:
        raise _bad_hops(hops)
    spec = DefaultsSpec(
        tokens=_preference(params, "HttpTokens", ("optional", "required"), old.tokens),
        hop_limit=old.hop_limit if hops is None else max(hops, 0),
        endpoint=_preference(params, "HttpEndpoint", ("enabled", "disabled"), old.endpoint),
        tags=_preference(params, "InstanceMetadataTags", ("enabled", "disabled"), old.tags),
        enforced=_preference(params, "HttpTokensEnforced", ("enabled", "disabled"), old.enforced),
    )
    transaction = call.transaction()
    if before is None:
        transaction.create(MetadataDefaults(meta=call.meta(DEFAULTS), spec=spec))
    else:
        transaction.update(msgspec.structs.replace(before, spec=spec))
    await call.commit(transaction)
    return {"Return": True}


@operation("GetInstanceMetadataDefaults")
def get_instance_metadata_defaults(call: Call) -> Result:
    """AWS: ec2 GetInstanceMetadataDefaults."""
    spec = _defaults(call)
    call.end_dry_run()
    shown = {
        "HttpTokens": spec.tokens,
        "HttpPutResponseHopLimit": spec.hop_limit,
        "HttpEndpoint": spec.endpoint,
        "InstanceMetadataTags": spec.tags,
        "HttpTokensEnforced": spec.enforced,
    }
    return {"AccountLevel": {"ManagedBy": "account"} | {name: value for name, value in shown.items() if value}}


def launch_metadata(call: Call, wanted: dict[str, Any], imds_support: str, tags: dict[str, str]) -> MetadataChoice:
    """The options of an instance to be launched. `wanted`: MetadataOptions of the launch; `imds_support`: of the image."""
    if wanted.get("HttpProtocolIpv6") == "enabled":
        raise ids.not_built("The IPv6 endpoint of the instance metadata service")
    account = _defaults(call)
    image = MetadataChoice(tokens="required", hop_limit=2) if imds_support == "v2.0" else MetadataChoice()
    before = MetadataChoice(
        endpoint=account.endpoint or image.endpoint,
        tokens=account.tokens or image.tokens,
        hop_limit=account.hop_limit or image.hop_limit,
        tags=account.tags or image.tags,
    )
    choice = metadata_choice(wanted, before)
    if account.enforced == "enabled" and choice.tokens != "required":
        text = "You can't launch instances with IMDSv1: the account enforces IMDSv2 (HttpTokens must be 'required')."
        raise AwsError("UnsupportedOperation", text)
    if choice.tags == "enabled":
        check_tag_keys(tags)
    return choice


def metadata_choice(wanted: dict[str, Any], before: MetadataChoice) -> MetadataChoice:
    """What of the metadata options is given replaces what was. AWS: InvalidParameterValue for a hop limit outside 1-64."""
    hops = wanted.get("HttpPutResponseHopLimit", before.hop_limit)
    if not 1 <= hops <= 64:
        raise _bad_hops(hops)
    return MetadataChoice(
        endpoint=ids.choice(wanted, "HttpEndpoint", before.endpoint, "enabled", "disabled"),
        tokens=ids.choice(wanted, "HttpTokens", before.tokens, "optional", "required"),
        hop_limit=hops,
        tags=ids.choice(wanted, "InstanceMetadataTags", before.tags, "enabled", "disabled"),
    )


def _defaults(call: Call) -> DefaultsSpec:
    found = call.get(MetadataDefaults, DEFAULTS)
    return found.spec if found else DefaultsSpec()


def _preference(wanted: dict[str, Any], name: str, allowed: tuple[str, ...], before: str) -> str:
    if not wanted.get(name):
        return before
    value = ids.choice(wanted, name, *allowed, NO_PREFERENCE)
    return "" if value == NO_PREFERENCE else value


def _bad_hops(hops: int) -> AwsError:
    text = f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. It must be between 1 and 64."
    return AwsError("InvalidParameterValue", text)
