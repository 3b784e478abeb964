"""The cluster itself: nodes, namespaces, events, configuration, access, admission."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gureum.kube.tables.column import (
    NONE,
    UNKNOWN,
    Object,
    age,
    at,
    condition,
    human,
    name_of,
    since,
    table,
)

ROLE_LABEL = "node-role.kubernetes.io/"


@table("Name,Age")
def others(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), age(one, now)]


@table("Name,Created At")
def by_time(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), at(one, "metadata", "creationTimestamp", default="")]


@table("Name,Status,Roles,Age,Version", "Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime")
def nodes(node: Object, now: datetime) -> list[Any]:
    ready = condition(node, "Ready")
    parts = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if at(node, "spec", "unschedulable"):
        parts.append("SchedulingDisabled")
    marks = at(node, "metadata", "labels", default={})
    roles = {name.removeprefix(ROLE_LABEL) for name in marks if name.startswith(ROLE_LABEL)}
    roles |= {marks["kubernetes.io/role"]} if marks.get("kubernetes.io/role") else set()
    info = at(node, "status", "nodeInfo", default={})
    return [
        name_of(node),
        ",".join(parts),
        ",".join(sorted(role for role in roles if role)) or NONE,
        age(node, now),
        info.get("kubeletVersion", ""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _address(node: Object, type_: str) -> str:
    found = at(node, "status", "addresses", default=[])
    return str(next((one.get("address") for one in found if one.get("type") == type_), NONE))


@table("Name,Status,Age")
def namespaces(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), at(one, "status", "phase", default=""), age(one, now)]


@table("Last Seen,Type,Reason,Object,Subobject!,Source!,Message,First Seen!,Count!,Name!")
def events(one: Object, now: datetime) -> list[Any]:
    """Of the core group and of events.k8s.io, whose members have other names."""
    about = one.get("involvedObject") or one.get("regarding") or {}
    series = one.get("series") or {}
    first = one.get("firstTimestamp") or one.get("deprecatedFirstTimestamp") or one.get("eventTime")
    last = series.get("lastObservedTime") or one.get("lastTimestamp") or one.get("deprecatedLastTimestamp") or first
    count = series.get("count") or one.get("count") or one.get("deprecatedCount") or 1
    source = one.get("source") or one.get("deprecatedSource") or {}
    component = source.get("component") or one.get("reportingComponent") or one.get("reportingController") or ""
    host = source.get("host") or one.get("reportingInstance")
    kind = about.get("kind", "").lower()
    return [
        since(last, now),
        one.get("type", ""),
        one.get("reason", ""),
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        str(one.get("message") or one.get("note") or "").strip(),
        since(first, now),
        count,
        name_of(one),
    ]


@table("Name,Data#,Age")
def config_maps(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), len(one.get("data") or ()) + len(one.get("binaryData") or ()), age(one, now)]


@table("Name,Type,Data#,Age")
def secrets(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), one.get("type", ""), len(one.get("data") or ()), age(one, now)]


@table("Name,Secrets#,Age")
def service_accounts(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), len(one.get("secrets") or ()), age(one, now)]


@table("Name,Status,Message,Error")
def component_statuses(one: Object, now: datetime) -> list[Any]:
    found: Object = next((each for each in one.get("conditions") or () if each.get("type") == "Healthy"), {})
    status = {"True": "Healthy", "False": "Unhealthy"}.get(found.get("status", ""), "Unknown")
    return [name_of(one), status, found.get("message", ""), found.get("error", "")]


@table("Name,Request,Limit,Age")
def quotas(one: Object, now: datetime) -> list[Any]:
    hard, used = at(one, "status", "hard", default={}), at(one, "status", "used", default={})
    shown = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = [text for name, text in shown.items() if name.startswith("limits.")]
    requests = [text for name, text in shown.items() if not name.startswith("limits.")]
    return [name_of(one), ", ".join(requests), ", ".join(limits), age(one, now)]


@table("Name,Value#,Global-Default,Age,PreemptionPolicy")
def priority_classes(one: Object, now: datetime) -> list[Any]:
    default = "true" if one.get("globalDefault") else "false"
    policy = one.get("preemptionPolicy") or "PreemptLowerPriority"
    return [name_of(one), one.get("value", 0), default, age(one, now), policy]


@table("Name,Handler,Age")
def runtime_classes(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), one.get("handler", ""), age(one, now)]


@table("Name,Holder,Age")
def leases(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), at(one, "spec", "holderIdentity", default=""), age(one, now)]


@table("Name,Role,Age", "Users,Groups,ServiceAccounts")
def role_bindings(one: Object, now: datetime) -> list[Any]:
    role = one.get("roleRef") or {}
    subjects = one.get("subjects") or ()
    users = [each.get("name", "") for each in subjects if each.get("kind") == "User"]
    groups = [each.get("name", "") for each in subjects if each.get("kind") == "Group"]
    accounts = [
        f"{each.get('namespace', '')}/{each.get('name', '')}"
        for each in subjects
        if each.get("kind") == "ServiceAccount"
    ]
    shown = [", ".join(each) for each in (users, groups, accounts)]
    return [name_of(one), f"{role.get('kind', '')}/{role.get('name', '')}", age(one, now), *shown]


@table("Name,Age,SignerName,Requestor,RequestedDuration,Condition")
def signing_requests(one: Object, now: datetime) -> list[Any]:
    spec = at(one, "spec", default={})
    wanted = spec.get("expirationSeconds")
    states = {each.get("type") for each in at(one, "status", "conditions", default=[])}
    words = [
        word
        for type_, word in (("Approved", "Approved"), ("Denied", "Denied"), ("Failed", "Failed"))
        if type_ in states
    ]
    words = words or ["Pending"]
    if at(one, "status", "certificate"):
        words.append("Issued")
    return [
        name_of(one),
        age(one, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        human(wanted) if wanted is not None else NONE,
        ",".join(words),
    ]


@table("Name,Webhooks#,Age")
def webhook_configurations(one: Object, now: datetime) -> list[Any]:
    return [name_of(one), len(one.get("webhooks") or ()), age(one, now)]


@table("Name,PriorityLevel,MatchingPrecedence#,DistinguisherMethod,Age,MissingPL")
def flow_schemas(one: Object, now: datetime) -> list[Any]:
    dangling = condition(one, "Dangling")
    return [
        name_of(one),
        at(one, "spec", "priorityLevelConfiguration", "name", default=""),
        at(one, "spec", "matchingPrecedence", default=0),
        at(one, "spec", "distinguisherMethod", "type") or NONE,
        age(one, now),
        "?" if dangling is None else str(dangling.get("status") == "True"),
    ]


@table("Name,Type,NominalConcurrencyShares,Queues,HandSize,QueueLengthLimit,Age")
def priority_levels(one: Object, now: datetime) -> list[Any]:
    limited = at(one, "spec", "limited", default={})
    queuing = at(limited, "limitResponse", "queuing", default={})
    cells = [
        limited.get("nominalConcurrencyShares"),
        *(queuing.get(name) for name in ("queues", "handSize", "queueLengthLimit")),
    ]
    return [
        name_of(one),
        at(one, "spec", "type", default=""),
        *(NONE if cell is None else cell for cell in cells),
        age(one, now),
    ]


@table("Name,Service,Available,Age")
def api_services(one: Object, now: datetime) -> list[Any]:
    service = at(one, "spec", "service")
    where = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    found = condition(one, "Available") or {}
    status = found.get("status", "Unknown")
    reason = f" ({found['reason']})" if found.get("reason") and status != "True" else ""
    return [name_of(one), where, f"{status}{reason}", age(one, now)]


@table("Name,Desired#,Available#,Age")
def scales(one: Object, now: datetime) -> list[Any]:
    wanted = at(one, "spec", "replicas", default=0)
    return [name_of(one), wanted, at(one, "status", "replicas", default=0), age(one, now)]


@table("Status,Reason,Message")
def statuses(one: Object, now: datetime) -> list[Any]:
    return [one.get("status", ""), one.get("reason", ""), one.get("message", "")]
