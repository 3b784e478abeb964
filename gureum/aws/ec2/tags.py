"""Tags: CreateTags, DeleteTags, DescribeTags, and the TagSpecifications that creating operations take.

Tags live in the envelope of what they are on, but for security group rules, which live inside their group and have their own.
An id is found among all EC2 kinds that are loaded, so a new kind needs no line here but its type's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, instance_ids, limits
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.listing import answer
from gureum.aws.ec2.networks.kinds import GroupRule, SecurityGroup
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.engine.client import Transaction
from gureum.engine.resource import Resource

TYPES = {
    "vpc": "vpc",
    "subnet": "subnet",
    "scr": "subnet-cidr-reservation",
    "nip": "network-insights-path",
    "nia": "network-insights-analysis",
    "vpcbpa-exclude": "vpc-block-public-access-exclusion",
    "rtb": "route-table",
    "igw": "internet-gateway",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "acl": "network-acl",
    "dopt": "dhcp-options",
    "pl": "prefix-list",
    "i": "instance",
    "ami": "image",
    "vol": "volume",
    "snap": "snapshot",
    "key": "key-pair",
    "lt": "launch-template",
    "nat": "natgateway",
    "vgw": "vpn-gateway",
    "cgw": "customer-gateway",
    "pcx": "vpc-peering-connection",
    "vpce": "vpc-endpoint",
    "vpce-svc": "vpc-endpoint-service",
    "fl": "vpc-flow-log",
    "r": "reservation",
    "pg": "placement-group",
    "cr": "capacity-reservation",
    "crf": "capacity-reservation-fleet",
    "fleet": "fleet",
    "sfr": "spot-fleet-request",
    "sir": "spot-instances-request",
    "iew": "instance-event-window",
    "report": "image-usage-report",
    "replacevol": "replace-root-volume-task",
    "import-ami": "import-image-task",
    "eigw": "egress-only-internet-gateway",
    "tgw": "transit-gateway",
}
"""Id prefix → resource type. AWS: ec2 ResourceType."""
_BEFORE_UUIDS = frozenset({"fleet", "sfr"})

_METADATA_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}", re.ASCII)
_NOT_IN_METADATA = frozenset({".", "..", "_index"})
RESERVED_KEY = "Tag keys starting with 'aws:' are reserved for internal use"
Tags = dict[str, str]


def tags_of(call: Call, resource_type: str, *, allow: Iterable[str] = ()) -> Tags:
    """The tags that `TagSpecifications` of this call give to things of `resource_type`. `allow`: further types that the
    operation also makes (RunInstances: volumes). AWS: InvalidParameterValue for a type the operation does not make, and
    for one that is named twice."""
    found: Tags = {}
    seen: set[str] = set()
    for specification in call.params.get("TagSpecifications") or ():
        wanted = specification.get("ResourceType") or ""
        if wanted in seen:
            raise AwsError(
                "InvalidParameterValue",
                "The same resource type may not be specified more than once in tag specifications.",
            )
        seen.add(wanted)
        if wanted == resource_type:
            found.update(_checked(specification.get("Tags") or ()))
        elif wanted not in allow:
            raise AwsError(
                "InvalidParameterValue", f"'{wanted}' is not a valid taggable resource type for this operation."
            )
    _check_number(found)
    return found


@operation("CreateTags")
async def create_tags(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateTags. All or nothing."""
    tags = _checked(call.params.get("Tags") or ())
    if not tags:
        raise ids.missing("Tag")
    await _change(call, lambda old: {**old, **tags})
    return {}


@operation("DeleteTags")
async def delete_tags(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteTags: a tag with a value goes only when the value is the same; without any tags all go but AWS's own."""
    wanted = [(tag.get("Key"), tag.get("Value")) for tag in call.params.get("Tags") or ()]
    if any(key is None for key, _ in wanted):
        raise AwsError("InvalidParameterValue", "Tag key cannot be null")
    if any(key.lower().startswith("aws:") for key, _ in wanted if key):
        raise AwsError("InvalidParameterValue", RESERVED_KEY)

    def left(old: Tags) -> Tags:
        if not wanted:
            return {key: value for key, value in old.items() if key.startswith("aws:")}
        return {key: value for key, value in old.items() if not _named(key, value, wanted)}

    await _change(call, left)
    return {}


@operation("DescribeTags")
def describe_tags(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeTags: one row per tag."""
    rows = apply_filters(_rows(call), call.params.get("Filters"), _FILTERS)
    call.end_dry_run()
    shown, token = page(call.params, rows, lambda row: f"{row.type}/{row.id}/{row.key}", default=1000)
    tags = [{"ResourceId": row.id, "ResourceType": row.type, "Key": row.key, "Value": row.value} for row in shown]
    return answer("Tags", tags, token)


_FILTERS: FilterTable = {
    "key": lambda row: row.key,
    "resource-id": lambda row: row.id,
    "resource-type": lambda row: row.type,
    "value": lambda row: row.value,
}


def _rows(call: Call) -> list[Any]:
    rows: list[Any] = []
    for kind in call.client.kinds():
        if not kind.name.startswith("ec2."):
            continue
        for obj in call.client.all(kind.type, call.scope):
            rows.extend(_tag_rows(obj.meta.name, obj.meta.tags))
            if isinstance(obj, SecurityGroup):
                for rule in obj.spec.rules:
                    rows.extend(_tag_rows(rule.id, rule.tags))
    return rows


def _prefix(id_: str) -> str:
    """ "vpce-svc" of "vpce-svc-0123…"; what follows that of fleets is a UUID, which has hyphens, too."""
    first = id_.partition("-")[0]
    return first if first in _BEFORE_UUIDS else id_.rsplit("-", 1)[0]


def _tag_rows(id_: str, tags: Tags) -> Iterable[Any]:
    type_ = TYPES.get(_prefix(id_), "")
    for key, value in tags.items():
        yield SimpleNamespace(meta=SimpleNamespace(tags={key: value}), id=id_, type=type_, key=key, value=value)


def _named(key: str, value: str, wanted: list[tuple[Any, Any]]) -> bool:
    return any(key == name and content in (None, value) for name, content in wanted)


async def _change(call: Call, change: Callable[[Tags], Tags]) -> None:
    resources = list(dict.fromkeys(call.params.get("Resources") or ()))
    if not resources:
        raise ids.missing("resourceId")
    if len(resources) > limits.RESOURCES_PER_TAG_CALL:
        raise AwsError(
            "InvalidParameterValue", f"The number of resources must not exceed {limits.RESOURCES_PER_TAG_CALL}"
        )
    transaction = call.transaction()
    for id_ in resources:
        _change_one(call, transaction, id_, change)
    await call.commit(transaction)


def _change_one(call: Call, transaction: Transaction, id_: str, change: Callable[[Tags], Tags]) -> None:
    prefix = _prefix(id_)
    if prefix not in TYPES:
        raise AwsError("InvalidID", f"The ID '{id_}' is not valid")
    if prefix == "sgr":
        _change_rule(call, transaction, id_, change)
        return
    obj = _find(call, id_)
    obj = transaction.current(obj)
    tags = change(obj.meta.tags)
    _check_number(tags)
    if isinstance(obj, Instance) and obj.spec.metadata.tags == "enabled":
        check_tag_keys(tags)
    transaction.update(msgspec.structs.replace(obj, meta=msgspec.structs.replace(obj.meta, tags=tags)))


def check_tag_keys(tags: dict[str, str]) -> None:
    """AWS: tags in metadata are paths, so their keys are restricted."""
    for key in tags:
        if not key.startswith("aws:") and (_METADATA_KEY.fullmatch(key) is None or key in _NOT_IN_METADATA):
            text = (
                f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\\\-_+=,.@:]{{1,255}}), "
                "and must not be a reserved name ('.', '..', '_index')"
            )
            raise AwsError("InvalidParameterValue", text)


def _change_rule(call: Call, transaction: Transaction, id_: str, change: Callable[[Tags], Tags]) -> None:
    groups = call.by(SecurityGroup, "rule", id_)
    if not groups:
        raise ids.not_found(ids.GROUP_RULE, id_)
    group = transaction.current(groups[0])

    def changed(rule: GroupRule) -> GroupRule:
        if rule.id != id_:
            return rule
        tags = change(rule.tags)
        _check_number(tags)
        return msgspec.structs.replace(rule, tags=tags)

    rules = tuple(changed(rule) for rule in group.spec.rules)
    transaction.update(msgspec.structs.replace(group, spec=msgspec.structs.replace(group.spec, rules=rules)))


_FORMS = {
    form.prefix: form
    for module in (ids, instance_ids)
    for form in vars(module).values()
    if isinstance(form, ids.IdForm)
} | {"ami": ids.IdForm("ami", "image ID", "image", "InvalidAMIID.NotFound", "InvalidAMIID.Malformed")}


def _find(call: Call, id_: str) -> Resource:
    for kind in call.client.kinds():
        if kind.name.startswith("ec2."):
            obj = call.get(kind.type, id_)
            if obj is not None:
                return obj
    prefix = _prefix(id_)
    form = _FORMS.get(prefix)
    if form is None:
        raise AwsError("InvalidID", f"The ID '{id_}' is not valid")
    ids.check_id(form, id_)
    raise ids.not_found(form, id_)


def _checked(tags: Iterable[dict[str, Any]]) -> Tags:
    """AWS: InvalidParameterValue, InvalidTagKey.Malformed. Keys of 1-128 and values of 0-256 characters."""
    found: Tags = {}
    for tag in tags:
        key, value = tag.get("Key"), tag.get("Value") or ""
        if not key:
            raise AwsError("InvalidParameterValue", "Tag key cannot be null or empty")
        if len(key) > 128:
            raise AwsError("InvalidParameterValue", f"Tag key exceeds the maximum length of 128 characters: '{key}'")
        if len(value) > 256:
            raise AwsError(
                "InvalidParameterValue", f"Tag value exceeds the maximum length of 256 characters: '{value}'"
            )
        if key.lower().startswith("aws:"):
            raise AwsError("InvalidParameterValue", RESERVED_KEY)
        if key in found:
            raise AwsError("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        found[key] = value
    return found


def _check_number(tags: Tags) -> None:
    own = sum(not key.startswith("aws:") for key in tags)
    if own > limits.TAGS_PER_RESOURCE:
        raise AwsError(
            "TagLimitExceeded", f"The maximum number of tags ({limits.TAGS_PER_RESOURCE}) per resource has been reached"
        )
