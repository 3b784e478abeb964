"""DescribeTargetHealth: what the agent sees of targets, and what follows from how things are set without looking at any.

A target is unused when no load balancer sends to it, when it is in a zone that none has, or when it does not run; it is draining while its
deregistration delay lasts; of all others the agent tells (core TargetGroup's status).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.elbv2.arns import find_group
from gureum.aws.elbv2.health_settings import TRAFFIC_PORT
from gureum.aws.elbv2.kinds import Target, TargetGroup
from gureum.aws.elbv2.target_places import Place, balancers_of, enabled_zones, locate, nodes_addresses
from gureum.aws.marks import Result, operation
from gureum.core.anomalies import FEWEST_HEALTHY

NOT_REGISTERED = "Target.NotRegistered"
TEXTS = {
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Elb.InitialHealthChecking": "Initial health checks in progress",
    "Elb.InternalError": "Health checks failed due to an internal error",
    "Target.FailedHealthChecks": "Health checks failed",
    "Target.Timeout": "Request timed out",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
    "Target.HealthCheckDisabled": "Health checks are disabled",
    NOT_REGISTERED: "Target is not registered to the target group",
}
"""AWS: "Health checks for your target groups", health check reason codes. Some come with more from the agent ("[code]")."""
NO_OVERRIDE = {
    "State": "no_override",
    "Reason": "AdministrativeOverride.NoOverride",
    "Description": "No override is currently active on target",
}
"""Of every registered target: nothing here shifts a zone away (AWS: elbv2 AdministrativeOverride)."""
ORDER = ("healthy", "initial", "unhealthy.draining", "unhealthy")
Health = dict[str, str]


@operation("DescribeTargetHealth")
def describe_target_health(call: Call) -> Result:
    """AWS: elbv2 DescribeTargetHealth: of all targets of the group, or of those named, which need not be registered. A machine that is terminated is
    told only to who names it, as one that drains (moto, tests/test_elbv2/test_elbv2_target_health.py, verified against AWS)."""
    group = find_group(call, call.params["TargetGroupArn"])
    healths = target_healths(call, group)
    named = call.params.get("Targets")
    shown: list[tuple[Target, Health]] = [one for one in healths if not _is_of_the_past(call, group, one[0])]
    if named:
        known = {(target.id, target.port): (target, health) for target, health in healths}
        asked = [Target(one["Id"], one.get("Port") or group.spec.port) for one in named]
        missing = _health("unused", NOT_REGISTERED)
        shown = [known.get((one.id, one.port), (one, missing)) for one in asked]
    described = [_show(group, target, health) for target, health in shown]
    if call.params.get("Include"):  # "AnomalyDetection" or "All", which is the same
        anomalies = _anomalies(call, group)
        described = [one | anomalies.get(target, {}) for one, (target, _) in zip(described, shown, strict=True)]
    return {"TargetHealthDescriptions": described}


def _anomalies(call: Call, group: TargetGroup) -> dict[Target, dict[str, Any]]:
    """Of targets that get requests, as the agent has found them; () where there are too few. AWS: elbv2 AnomalyDetection: "a minimum of three healthy
    targets", of groups of HTTP."""
    healthy = [target for target, health in target_healths(call, group) if health["State"] == "healthy"]
    if group.spec.protocol not in ("HTTP", "HTTPS") or len(healthy) < FEWEST_HEALTHY:
        return {}
    zones, taken = enabled_zones(balancers_of(group, call.client)), nodes_addresses(group, call.client)
    status = call.agent.seen.get(f"TargetGroup/{core_name(group)}") if call.agent is not None else None
    told: Mapping[str, list[bool]] = status.data.get("anomalies", {}) if status is not None else {}
    found = {}
    for target in healthy:
        names = [place.name for place in locate(target, group, zones, call.client, taken).places]
        of = [told[name] for name in names if name in told]
        anomalous, less = any(one[0] for one in of), any(one[1] for one in of)
        result = {"Result": "anomalous" if anomalous else "normal", "MitigationInEffect": "yes" if less else "no"}
        found[target] = {"AnomalyDetection": result}
    return found


def target_healths(call: Call, group: TargetGroup) -> list[tuple[Target, Health]]:
    """Every registered or draining target with its health in API form (State, Reason, Description)."""
    zones = enabled_zones(balancers_of(group, call.client))
    status = call.agent.seen.get(f"TargetGroup/{core_name(group)}") if call.agent is not None else None
    seen: Mapping[str, Any] = status.data.get("targets", {}) if status is not None else {}
    taken = nodes_addresses(group, call.client)
    return [(target, _of_target(call, group, target, zones, seen, taken)) for target in group.spec.targets]


def _is_of_the_past(call: Call, group: TargetGroup, target: Target) -> bool:
    if group.spec.type != "instance" or not target.draining_until:
        return False
    instance = call.get(Instance, target.id)
    return instance is None or instance.status.state == "terminated"


def core_name(group: TargetGroup) -> str:
    """How the core TargetGroup is named, as in proxies' logs and configurations."""
    return f"tg-{group.meta.name}"


def registration_of(target: Target) -> str:
    """Tells this registration of the target from an earlier one: what the agent has told of that one is nothing to this one."""
    return repr(target.registered)


def told_of(name: str, target: Target, seen: Mapping[str, Any]) -> tuple[str, str, str]:
    """State, reason and description that the agent tells of the target by this name; the state "" while it has told nothing of this registration."""
    state, reason, description, of = (*seen.get(name, ("",)), "", "", "")[:4]
    return (state, reason, description) if of in ("", registration_of(target)) else ("", "", "")


def _of_target(
    call: Call,
    group: TargetGroup,
    target: Target,
    zones: frozenset[str],
    seen: Mapping[str, Any],
    taken: frozenset[str],
) -> Health:
    if target.draining_until:
        return _health("draining", "Target.DeregistrationInProgress")
    located = locate(target, group, zones, call.client, taken)
    if not located.places:
        return _health("unused", located.reason, located.description)
    healths = (_of_place(place, target, seen) for place in located.places)
    return min(healths, key=lambda health: ORDER.index(health["State"]))


def _of_place(place: Place, target: Target, seen: Mapping[str, Any]) -> Health:
    """What the agent tells; nothing yet: it is still being registered. A target with several places is as well as its best one."""
    state, reason, description = told_of(place.name, target, seen)
    if not state:
        return _health("initial", "Elb.RegistrationInProgress")
    if state == "healthy":
        return {"State": "healthy"}
    if state in ("unhealthy", "unhealthy.draining"):
        return _health(state, reason or "Target.FailedHealthChecks", description)
    return _health("initial", reason or "Elb.InitialHealthChecking", description)


def _health(state: str, reason: str, description: str = "") -> Health:
    return {"State": state, "Reason": reason, "Description": description or TEXTS.get(reason, "")}


def _show(group: TargetGroup, target: Target, health: Health) -> dict[str, Any]:
    """API form. AWS: elbv2 TargetHealthDescription."""
    shown: dict[str, Any] = {"Id": target.id, "Port": target.port}
    if target.zone:
        shown["AvailabilityZone"] = target.zone
    port = group.spec.health.port
    override = {} if health.get("Reason") == NOT_REGISTERED else {"AdministrativeOverride": NO_OVERRIDE}
    return {
        "Target": shown,
        "HealthCheckPort": str(target.port) if port == TRAFFIC_PORT else port,
        "TargetHealth": health,
    } | override
