"""Actions of rules and listeners: what a request that matches gets. Forward, redirect and fixed-response; the others are refused by name.

AWS: elbv2 Action. What must hold between an action and the target groups it names (protocol, VPC, one load balancer each) is checked
here too, since listeners and rules share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gureum.aws.call import Call
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.arns import arn_of_group, find_group
from gureum.aws.elbv2.faults import bad_configuration, invalid, not_built
from gureum.aws.elbv2.kinds import (
    Action,
    FixedResponse,
    Forward,
    LoadBalancer,
    Redirect,
    Rule,
    TargetGroup,
    WeightedGroup,
)
from gureum.aws.elbv2.target_groups import groups_of_balancer, users_of
from gureum.aws.elbv2.target_numbers import check_balancer
from gureum.aws.errors import AwsError
from gureum.engine.client import Transaction

FIELDS = {
    "forward": ("TargetGroupArn", "ForwardConfig"),
    "redirect": ("RedirectConfig",),
    "fixed-response": ("FixedResponseConfig",),
}
"""What says how each type of action answers. AWS: elbv2 Action, "Specify only when Type is …"."""
CONTENT_TYPES = ("text/html", "application/json", "application/javascript", "text/css", "text/plain")
WEEK_S = 604800
LIMIT_TEXT = 128
LIMIT_BODY = 1024
# Listener protocol → protocols of target groups. AWS: CreateTargetGroup, CreateListener.
COMPATIBLE = {
    "HTTP": ("HTTP", "HTTPS"),
    "HTTPS": ("HTTP", "HTTPS"),
    "TCP": ("TCP", "TCP_UDP"),
    "TLS": ("TCP", "TLS"),
    "UDP": ("UDP", "TCP_UDP"),
    "TCP_UDP": ("TCP_UDP",),
}
_PLACEHOLDER = re.compile(r"#\{([^}]*)\}?")
_VISIBLE = re.compile(r"[\x21-\x7e]*", re.ASCII)
_STATUS = re.compile(r"[245]\d\d", re.ASCII)


def wanted_action(
    call: Call, transaction: Transaction, balancer: LoadBalancer, protocol: str, given: Sequence[Mapping[str, Any]]
) -> Action:
    """The action that `given` says, checked; the target groups it names must stay as they are until the commit. `protocol`: the listener's. AWS:
    ValidationError, InvalidLoadBalancerAction, TargetGroupNotFound and the errors of `check_groups`."""
    if not given:
        raise invalid("At least one action must be specified")
    for one in given:
        if one["Type"] not in FIELDS:
            raise not_built(f"The action type {one['Type']}")
    if len(given) > 1:
        text = "You must specify exactly one action of the types forward, redirect and fixed-response"
        raise AwsError("InvalidLoadBalancerAction", text)
    one = given[0]
    if balancer.spec.type == "network" and one["Type"] != "forward":
        text = f"Action type '{one['Type']}' is not supported on load balancers of type 'network'"
        raise AwsError("InvalidLoadBalancerAction", text)
    _check_fields(one)
    if one["Type"] == "redirect":
        return _redirect(one, protocol)
    if one["Type"] == "fixed-response":
        return _fixed_response(one)
    return _forward(call, transaction, balancer, protocol, one)


def _check_fields(given: Mapping[str, Any]) -> None:
    """A type has its own fields and none of another's, which would be heard and not done. AWS: InvalidLoadBalancerAction, where one is missing in
    these words (hashicorp/terraform, issue 32620); what is missing of a forward has words of its own."""
    type_ = given["Type"]
    own = FIELDS[type_]
    named = ", ".join(f"'{name}'" for name in own)
    if any(value for name, value in given.items() if name not in ("Type", "Order", *own)):
        raise _bad_action(f"For actions of type '{type_}', you can only specify the following fields: {named}")
    if type_ != "forward" and not given.get(own[0]):
        raise _bad_action(f"For actions of type '{type_}', you must specify the following fields: {named}")


def check_compatible(balancer: LoadBalancer, protocol: str, groups: Iterable[TargetGroup]) -> None:
    """Whether a listener of this protocol may send to these groups. AWS: IncompatibleProtocols, InvalidConfigurationRequest."""
    for group in groups:
        spec = group.spec
        if spec.protocol not in COMPATIBLE[protocol]:
            text = f"Listener protocol '{protocol}' is not supported with a target group with the protocol '{spec.protocol}'"
            raise AwsError("IncompatibleProtocols", text)
        if protocol == "HTTP" and spec.version in ("HTTP2", "GRPC"):
            text = f"Listener protocol 'HTTP' is not supported with a target group with the protocol-version '{spec.version}'"
            raise AwsError("IncompatibleProtocols", text)
        if spec.type == "alb" and protocol != "TCP":
            text = f"Listener protocol '{protocol}' is not supported with a target group with the target type 'alb'"
            raise AwsError("IncompatibleProtocols", text)
        if spec.vpc != balancer.spec.vpc:
            arn = arn_of_group(group)
            raise bad_configuration(f"The target group '{arn}' and the load balancer are not in the same VPC")


def _forward(
    call: Call, transaction: Transaction, balancer: LoadBalancer, protocol: str, given: Mapping[str, Any]
) -> Forward:
    config = given.get("ForwardConfig") or {}
    tuples = config.get("TargetGroups") or ()
    arn = given.get("TargetGroupArn")
    if arn and tuples and [one.get("TargetGroupArn") for one in tuples] != [arn]:
        raise invalid("The target group ARN must be that of the only target group in the ForwardConfig")
    chosen = [*tuples] or ([{"TargetGroupArn": arn}] if arn else [])
    if not chosen or not all(one.get("TargetGroupArn") for one in chosen):
        raise invalid("A target group ARN must be specified")
    if len(chosen) > limits.GROUPS_PER_ACTION:
        text = f"The maximum number of target groups per action is {limits.GROUPS_PER_ACTION}"
        raise AwsError("TooManyTargetGroups", text)
    found = [find_group(call, one["TargetGroupArn"]) for one in chosen]
    if len({group.meta.name for group in found}) < len(found):
        raise invalid("A target group cannot be specified multiple times in one action")
    check_compatible(balancer, protocol, found)
    _check_use(call, balancer, found)
    for group in found:
        transaction.require(group)
    # Nobody may meanwhile give the groups to another load balancer.
    transaction.require_no_newer(Rule, call.scope)
    weights = [_weight(one) for one in chosen]
    groups = tuple(WeightedGroup(group.meta.name, weight) for group, weight in zip(found, weights, strict=True))
    stickiness_s = _stickiness(config.get("TargetGroupStickinessConfig") or {}, balancer)
    return Forward(groups, stickiness_s, given.get("Order") or 0)


def _check_use(call: Call, balancer: LoadBalancer, groups: list[TargetGroup]) -> None:
    """AWS: TargetGroupAssociationLimit, TooManyUniqueTargetGroupsPerLoadBalancer, TooManyTargets."""
    for group in groups:
        if any(user.meta.name != balancer.meta.name for user in users_of(call, group)):
            arn = arn_of_group(group)
            text = f"The following target groups cannot be associated with more than one load balancer: {arn}"
            raise AwsError("TargetGroupAssociationLimit", text)
    all_groups = {group.meta.name: group for group in [*groups_of_balancer(call, balancer), *groups]}
    most = limits.GROUPS_PER_APPLICATION_LOAD_BALANCER
    if len(all_groups) > most:
        text = f"The maximum number of unique target groups per load balancer is {most}"
        raise AwsError("TooManyUniqueTargetGroupsPerLoadBalancer", text)
    check_balancer(call, balancer, all_groups.values())


def _weight(given: Mapping[str, Any]) -> int | None:
    weight = given.get("Weight")
    if weight is not None and not 0 <= weight <= 999:
        raise invalid(f"The weight '{weight}' of a target group must be between '0-999' inclusive")
    return weight


def _stickiness(given: Mapping[str, Any], balancer: LoadBalancer) -> int:
    if not given.get("Enabled"):
        return 0
    if balancer.spec.type == "network":
        text = "Target group stickiness is not supported on load balancers of type 'network'"
        raise AwsError("InvalidLoadBalancerAction", text)
    duration_s = given.get("DurationSeconds")
    if duration_s is None:
        raise invalid("A target group stickiness duration must be specified")
    if not 1 <= duration_s <= WEEK_S:
        raise invalid(f"Target group stickiness duration '{duration_s}' must be between '1-{WEEK_S}' inclusive")
    return int(duration_s)


def _redirect(given: Mapping[str, Any], protocol: str) -> Redirect:
    config = given["RedirectConfig"]
    names = {"Protocol": "protocol", "Host": "host", "Port": "port", "Path": "path", "Query": "query"}
    fields = {field: config[name] for name, field in names.items() if config.get(name) is not None}
    redirect = Redirect(config["StatusCode"], **fields, order=given.get("Order") or 0)
    if redirect.status not in ("HTTP_301", "HTTP_302"):
        raise _bad_action(f"The redirect status code '{redirect.status}' is not valid")
    for name, field in names.items():
        _check_redirect_text(name, fields.get(field, ""))
    if redirect.protocol not in ("HTTP", "HTTPS", "#{protocol}"):
        raise _bad_action(f"The redirect protocol '{redirect.protocol}' is not valid")
    if protocol == "HTTPS" and redirect.protocol == "HTTP":
        raise _bad_action("Redirects from HTTPS to HTTP are not supported")
    _check_port(redirect.port)
    if not redirect.path.startswith("/"):
        raise _bad_action("The redirect path must start with '/'")
    if not redirect.host:
        raise _bad_action("The redirect host must not be empty")
    same_protocol = redirect.protocol in ("#{protocol}", protocol)
    if same_protocol and (redirect.host, redirect.port, redirect.path) == ("#{host}", "#{port}", "/#{path}"):
        raise _bad_action("The redirect configuration is not valid because it creates a loop.")
    return redirect


def _check_redirect_text(name: str, text: str) -> None:
    if len(text) > LIMIT_TEXT:
        raise invalid(f"The redirect '{name}' value is too long; the limit is '{LIMIT_TEXT}'")
    if not _VISIBLE.fullmatch(text):
        raise _bad_action(f"The redirect '{name}' value contains characters that are not valid")
    for keyword in _PLACEHOLDER.findall(text):
        allowed = {"Host": ("host",), "Path": ("host", "path", "port"), "Port": ("port",), "Protocol": ("protocol",)}
        if keyword not in allowed.get(name, ("protocol", "host", "port", "path", "query")):
            raise _bad_action(f"The redirect '{name}' value contains a keyword that is not valid: '#{{{keyword}}}'")


def _check_port(port: str) -> None:
    if port == "#{port}":
        return
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise _bad_action(f"The redirect port '{port}' must be between '1-65535' inclusive or '#{{port}}'")


def _fixed_response(given: Mapping[str, Any]) -> FixedResponse:
    config = given["FixedResponseConfig"]
    status, content_type, body = config["StatusCode"], config.get("ContentType") or "", config.get("MessageBody") or ""
    if not _STATUS.fullmatch(status):
        raise invalid(f"The fixed response status code '{status}' is not valid")
    if content_type and content_type not in CONTENT_TYPES:
        known = ", ".join(f"'{one}'" for one in CONTENT_TYPES)
        raise _bad_action(f"The ContentType must be one of:{known}")
    if len(body) > LIMIT_BODY:
        raise invalid(f"The fixed response message body is too long; the limit is '{LIMIT_BODY}'")
    return FixedResponse(status, content_type, body, given.get("Order") or 0)


def _bad_action(text: str) -> AwsError:
    return AwsError("InvalidLoadBalancerAction", text)


# Showing


def show_action(call: Call, balancer: LoadBalancer, action: Action) -> dict[str, Any]:
    """API form. AWS: elbv2 Action."""
    order = {"Order": action.order} if action.order else {}
    if isinstance(action, Forward):
        return {"Type": "forward", **_show_forward(call, balancer, action), **order}
    if isinstance(action, Redirect):
        config = {
            "Protocol": action.protocol,
            "Port": action.port,
            "Host": action.host,
            "Path": action.path,
            "Query": action.query,
            "StatusCode": action.status,
        }
        return {"Type": "redirect", "RedirectConfig": config, **order}
    config = {"StatusCode": action.status}
    if action.content_type:
        config["ContentType"] = action.content_type
    if action.body:
        config["MessageBody"] = action.body
    return {"Type": "fixed-response", "FixedResponseConfig": config, **order}


def _show_forward(call: Call, balancer: LoadBalancer, action: Forward) -> dict[str, Any]:
    """With one group its ARN stands beside the config, as AWS shows it; weights that nobody gave are 1 with an application load balancer."""
    application = balancer.spec.type == "application"
    shown: list[dict[str, Any]] = []
    for one in action.groups:
        group = call.get(TargetGroup, one.group)
        if group is not None:
            weight = {"Weight": one.share} if application or one.weight is not None else {}
            shown.append({"TargetGroupArn": arn_of_group(group), **weight})
    config: dict[str, Any] = {"TargetGroups": shown}
    if application:
        duration = {"DurationSeconds": action.stickiness_s} if action.stickiness_s else {}
        config["TargetGroupStickinessConfig"] = {"Enabled": bool(action.stickiness_s), **duration}
    alone = {"TargetGroupArn": shown[0]["TargetGroupArn"]} if len(shown) == 1 else {}
    return {**alone, "ForwardConfig": config}
