"""Managed prefix lists: named sets of ranges that rules of security groups and routes refer to.

    ModifyManagedPrefixList ─► version + 1, the old one is kept ─► every group and VPC that refers to it is lowered anew

A reference counts as many rules or routes as the list may have entries, whatever it has. Lists of IPv6 can be kept; nothing carries it here.
AWS's own lists are in service_prefix_lists.py; nobody changes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2 import ids, limits
from gureum.aws.ec2.counting import count_at_commit
from gureum.aws.ec2.endpoints.service_prefix_lists import OWNER, find_list, service_lists
from gureum.aws.ec2.listing import answer, show_tags
from gureum.aws.ec2.networks.cidrs import parse_cidr, parse_cidr6
from gureum.aws.ec2.networks.kinds import PrefixEntry, PrefixList, PrefixListSpec, RouteTable, SecurityGroup
from gureum.aws.ec2.networks.security_group_rules import check_description, weights
from gureum.aws.ec2.tags import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.filters import FilterTable, apply_filters
from gureum.aws.marks import operation
from gureum.aws.paging import page
from gureum.base.ids import new_id


@operation("CreateManagedPrefixList")
async def create_managed_prefix_list(call: Call) -> dict[str, Any]:
    """AWS: ec2 CreateManagedPrefixList."""
    done = call.done_before()
    if done is not None:
        return {"PrefixList": show_list(call, ids.find(call, PrefixList, ids.PREFIX_LIST, done[0]))}
    params = call.params
    name, family = ids.need(call, "PrefixListName"), ids.need(call, "AddressFamily")
    size = _number(call, "MaxEntries")
    _check_name(name)
    if family not in ("IPv4", "IPv6"):
        raise ids.invalid(f"Value ({family}) for parameter addressFamily is invalid.")
    _check_size(call, size)
    room = call.settings.quota_prefix_lists - len(call.all(PrefixList))
    if room <= 0:
        raise AwsError("PrefixListLimitExceeded", "The maximum number of prefix lists has been reached.")
    entries = _entries(params.get("Entries") or (), family)
    if len(entries) > size:
        raise _too_many(size)
    made = PrefixList(
        meta=call.meta(new_id("pl-"), tags=tags_of(call, "prefix-list")),
        spec=PrefixListSpec(name, family, size, 1, tuple(entries.values())),
    )
    transaction = call.transaction()
    count_at_commit(call, transaction, PrefixList, room)
    transaction.create(made)
    call.remember(transaction, (made.meta.name,))
    await call.commit(transaction)
    return {"PrefixList": show_list(call, made)}


@operation("ModifyManagedPrefixList")
async def modify_managed_prefix_list(call: Call) -> dict[str, Any]:
    """AWS: ec2 ModifyManagedPrefixList: entries, for which the present version must be named, or the size; no CIDR both comes and goes."""
    found, params = _find(call), call.params
    if params.get("IpamPrefixListResolverSyncEnabled"):
        raise ids.not_built("ModifyManagedPrefixList with IpamPrefixListResolverSyncEnabled")
    added, removed = params.get("AddEntries") or (), params.get("RemoveEntries") or ()
    spec = found.spec
    if "PrefixListName" in params:
        _check_name(params["PrefixListName"])
        spec = msgspec.structs.replace(spec, name=params["PrefixListName"])
    if (added or removed) and "MaxEntries" in params:
        text = (
            "You cannot modify the entries and the maximum number of entries for the prefix list in the same request."
        )
        raise AwsError("InvalidParameterCombination", text)
    if added or removed:
        ids.need(call, "CurrentVersion")
    # Before the entries: who knows another version speaks of other entries, and tries again (as Terraform's entries do).
    if "CurrentVersion" in params and params["CurrentVersion"] != found.spec.version:
        raise AwsError("PrefixListVersionMismatch", "The prefix list has the incorrect version number.")
    if added or removed:
        spec = _with_entries(spec, added, removed)
    spec = msgspec.structs.replace(spec, state="modify-complete", message="")
    if "MaxEntries" in params:
        spec = _resized(call, found, spec, params["MaxEntries"])
    return await _write(call, found, spec)


@operation("RestoreManagedPrefixListVersion")
async def restore_managed_prefix_list_version(call: Call) -> dict[str, Any]:
    """AWS: ec2 RestoreManagedPrefixListVersion: the entries of an earlier version, as a new version."""
    found = _find(call)
    if _number(call, "CurrentVersion") != found.spec.version:
        raise AwsError("PrefixListVersionMismatch", "The prefix list has the incorrect version number.")
    entries = _version(found, _number(call, "PreviousVersion"))
    if len(entries) > found.spec.max_entries:
        raise _too_many(found.spec.max_entries)
    return await _write(call, found, _next(found.spec, entries, "restore-complete"))


@operation("DeleteManagedPrefixList")
async def delete_managed_prefix_list(call: Call) -> dict[str, Any]:
    """AWS: ec2 DeleteManagedPrefixList: one that is referred to stays, in the state "delete-failed"."""
    found = _find(call)
    users = sorted(one.meta.name for one in referring(call, found.meta.name))
    transaction = call.transaction()
    transaction.require_no_newer(SecurityGroup, call.scope)
    transaction.require_no_newer(RouteTable, call.scope)
    if users:
        text = f"The prefix list is referenced by {', '.join(users[:5])}"
        spec = msgspec.structs.replace(found.spec, state="delete-failed", message=text)
        transaction.update(msgspec.structs.replace(found, spec=spec))
    else:
        transaction.delete(found)
    await call.commit(transaction)
    return {"PrefixList": show_list(call, found) | {"State": "delete-in-progress"}}


@operation("DescribeManagedPrefixLists")
def describe_managed_prefix_lists(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribeManagedPrefixLists: the account's own and AWS's."""
    wanted = call.params.get("PrefixListIds")
    if wanted:
        found = [find_list(call, id_) for id_ in dict.fromkeys(wanted)]
    else:
        found = [*call.all(PrefixList), *service_lists(call).values()]
    found = apply_filters(found, call.params.get("Filters"), _filters(call))
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name, least=1, default=100)
    return answer("PrefixLists", [show_list(call, one) for one in shown], token)


@operation("DescribePrefixLists")
def describe_prefix_lists(call: Call) -> dict[str, Any]:
    """AWS: ec2 DescribePrefixLists: AWS's own alone."""
    known = service_lists(call)
    wanted = [ids.check_id(ids.PREFIX_LIST, id_) for id_ in call.params.get("PrefixListIds") or ()]
    missing = [id_ for id_ in wanted if id_ not in known]
    if missing:
        raise ids.not_found(ids.PREFIX_LIST, *missing)
    filters: FilterTable = {
        "prefix-list-id": lambda one: one.meta.name,
        "prefix-list-name": lambda one: one.spec.name,
    }
    chosen = [one for id_, one in known.items() if not wanted or id_ in wanted]
    found = apply_filters(chosen, call.params.get("Filters"), filters)
    call.end_dry_run()
    shown, token = page(call.params, found, lambda one: one.meta.name)
    rows = [{"PrefixListId": one.meta.name, "PrefixListName": one.spec.name, "Cidrs": []} for one in shown]
    return answer("PrefixLists", rows, token)


@operation("GetManagedPrefixListEntries")
def get_managed_prefix_list_entries(call: Call) -> dict[str, Any]:
    """AWS: ec2 GetManagedPrefixListEntries, also of an earlier version."""
    found = _find(call, change=False)
    version = call.params.get("TargetVersion")
    entries = found.spec.entries if version is None else _version(found, version)
    call.end_dry_run()
    shown, token = page(call.params, entries, lambda one: one.cidr, least=1, default=100)
    rows = [{"Cidr": one.cidr} | ({"Description": one.description} if one.description else {}) for one in shown]
    return answer("Entries", rows, token)


@operation("GetManagedPrefixListAssociations")
def get_managed_prefix_list_associations(call: Call) -> dict[str, Any]:
    """AWS: ec2 GetManagedPrefixListAssociations: groups and route tables that refer to it."""
    users = list(referring(call, _find(call, change=False).meta.name))
    call.end_dry_run()
    shown, token = page(call.params, users, lambda one: one.meta.name)
    rows = [{"ResourceId": one.meta.name, "ResourceOwner": call.account} for one in shown]
    return answer("PrefixListAssociations", rows, token)


def referring(call: Call, id_: str) -> Iterator[SecurityGroup | RouteTable]:
    yield from call.by(SecurityGroup, "prefix-list", id_)
    yield from call.by(RouteTable, "prefix-list", id_)


def _find(call: Call, *, change: bool = True) -> PrefixList:
    """AWS's own may be looked at, not changed."""
    found = find_list(call, ids.need(call, "PrefixListId"))
    if change and found.meta.name in service_lists(call):
        raise AwsError("UnauthorizedOperation", "You are not authorized to perform this operation.", status=403)
    return found


def _number(call: Call, name: str) -> int:
    value = call.params.get(name)
    if value is None:
        raise ids.missing(name)
    return int(value)


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= 255 or name.startswith("com.amazonaws"):
        raise ids.invalid(f"Value ({name}) for parameter prefixListName is invalid.")


def _check_size(call: Call, size: int) -> None:
    if not 1 <= size <= call.settings.quota_entries_per_prefix_list:
        raise ids.invalid(f"Value ({size}) for parameter maxEntries is invalid.")


def _too_many(size: int) -> AwsError:
    return AwsError(
        "PrefixListMaxEntriesExceeded",
        f"You've reached the maximum number of entries for the prefix list ({size}).",
    )


def _entries(given: Iterable[dict[str, Any]], family: str) -> dict[str, PrefixEntry]:
    found: dict[str, PrefixEntry] = {}
    for one in given:
        cidr = str(parse_cidr(one.get("Cidr") or "") if family == "IPv4" else parse_cidr6(one.get("Cidr") or ""))
        if cidr in found:
            raise ids.invalid(f"The CIDR {cidr} appears more than once.")
        found[cidr] = PrefixEntry(cidr, check_description(one.get("Description")))
    return found


def _with_entries(
    spec: PrefixListSpec, added: Iterable[dict[str, Any]], removed: Iterable[dict[str, Any]]
) -> PrefixListSpec:
    entries = {one.cidr: one for one in spec.entries}
    come, go = _entries(added, spec.family), _entries(removed, spec.family)
    for cidr in go:
        if cidr in come:
            text = f"Request cannot contain Cidr {cidr} in both AddPrefixListEntries and RemovePrefixListEntries"
            raise ids.invalid(text)
        if entries.pop(cidr, None) is None:
            raise ids.invalid(f"The CIDR {cidr} is not in the prefix list.")
    entries |= come
    if len(entries) > spec.max_entries:
        raise _too_many(spec.max_entries)
    return _next(spec, tuple(entries.values()), "modify-complete")


def _next(spec: PrefixListSpec, entries: tuple[PrefixEntry, ...], state: str) -> PrefixListSpec:
    """The next version; of the earlier ones so many are kept as fit into `limits.KEPT_PREFIX_ENTRIES`."""
    versions = [*spec.versions, spec.entries]
    while len(versions) > 1 and sum(map(len, versions)) + len(versions) > limits.KEPT_PREFIX_ENTRIES:
        versions.pop(0)
    return msgspec.structs.replace(
        spec, entries=entries, version=spec.version + 1, versions=tuple(versions), state=state, message=""
    )


def _version(found: PrefixList, version: int) -> tuple[PrefixEntry, ...]:
    spec = found.spec
    if version == spec.version:
        return spec.entries
    place = len(spec.versions) - (spec.version - version)
    if version > spec.version or place < 0:
        raise ids.invalid(f"Version {version} of prefix list {found.meta.name} does not exist.")
    return spec.versions[place]


def _resized(call: Call, found: PrefixList, spec: PrefixListSpec, size: int) -> PrefixListSpec:
    """AWS: what would break a quota of who refers to it, or has more entries, ends in "modify-failed"."""
    _check_size(call, size)
    if len(spec.entries) > size:
        raise _too_many(size)
    grown = size - found.spec.max_entries
    for user in referring(call, found.meta.name):
        if isinstance(user, RouteTable):
            used = [weights(call, [one.destination for one in user.spec.routes])]
            most = call.settings.quota_routes_per_table
            times = [sum(r.destination == found.meta.name for r in user.spec.routes)]
        else:
            ways = [[one for one in user.spec.rules if one.egress == egress] for egress in (False, True)]
            used = [weights(call, [one.prefix_list for one in rules]) for rules in ways]
            most = call.settings.quota_rules_per_security_group
            times = [sum(r.prefix_list == found.meta.name for r in one) for one in ways]
        if any(now + grown * number > most for now, number in zip(used, times, strict=True)):
            text = f"The quota of {user.meta.name} would be exceeded."
            return msgspec.structs.replace(found.spec, state="modify-failed", message=text)
    return msgspec.structs.replace(spec, max_entries=size)


async def _write(call: Call, found: PrefixList, spec: PrefixListSpec) -> dict[str, Any]:
    changed = msgspec.structs.replace(found, spec=spec)
    transaction = call.transaction()
    transaction.require_no_newer(SecurityGroup, call.scope)
    transaction.require_no_newer(RouteTable, call.scope)
    transaction.update(changed)
    await call.commit(transaction)
    return {"PrefixList": show_list(call, changed)}


def _owner(call: Call, one: PrefixList) -> str:
    return OWNER if one.meta.name in service_lists(call) else call.account


def _filters(call: Call) -> FilterTable:
    return {
        "owner-id": lambda one: _owner(call, one),
        "prefix-list-id": lambda one: one.meta.name,
        "prefix-list-name": lambda one: one.spec.name,
    }


def show_list(call: Call, one: PrefixList) -> dict[str, Any]:
    """API form. AWS: ec2 ManagedPrefixList."""
    spec = one.spec
    if _owner(call, one) == OWNER:
        return {
            "PrefixListId": one.meta.name,
            "PrefixListName": spec.name,
            "PrefixListArn": f"arn:{call.partition}:ec2:{call.region}:aws:prefix-list/{one.meta.name}",
            "AddressFamily": spec.family,
            "State": "create-complete",
            "OwnerId": OWNER,
            "Tags": [],
        }
    shown: dict[str, Any] = {
        "PrefixListId": one.meta.name,
        "PrefixListName": spec.name,
        "PrefixListArn": call.arn(f"prefix-list/{one.meta.name}", service="ec2"),
        "AddressFamily": spec.family,
        "MaxEntries": spec.max_entries,
        "Version": spec.version,
        "State": spec.state,
        "OwnerId": call.account,
        "Tags": show_tags(one.meta.tags),
    }
    return shown | ({"StateMessage": spec.message} if spec.message else {})
