"""Rules of listeners: which requests get which answer. They are tried by priority; the default rule, which has none, comes last.

AWS: elbv2 CreateRule, ModifyRule, DeleteRule, DescribeRules, SetRulePriorities.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.elbv2 import limits
from gureum.aws.elbv2.actions import show_action, wanted_action
from gureum.aws.elbv2.arns import arn_of_rule, find_listener, find_rule
from gureum.aws.elbv2.conditions import show_condition, wanted_conditions
from gureum.aws.elbv2.faults import between, check_count, invalid, not_built
from gureum.aws.elbv2.kinds import LoadBalancer, Rule, RuleSpec
from gureum.aws.elbv2.paging import page
from gureum.aws.elbv2.tagging import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id

LAST = 50000


@operation("CreateRule")
async def create_rule(call: Call) -> Result:
    """AWS: elbv2 CreateRule."""
    params, transaction = call.params, call.transaction()
    listener, balancer = find_listener(call, params["ListenerArn"])
    _check_application(balancer, listener.spec.protocol)
    if params.get("Transforms"):
        raise not_built("CreateRule with Transforms")
    priority, tags = between("Priority", params["Priority"], 1, LAST), tags_of(call)
    conditions = wanted_conditions(params["Conditions"])
    action = wanted_action(call, transaction, balancer, listener.spec.protocol, params["Actions"])
    _check_priority(call.by(Rule, "listener", listener.meta.name), priority)
    own = [rule for rule in call.by(Rule, "load-balancer", balancer.meta.name) if rule.spec.priority]
    if len(own) >= limits.RULES_PER_LOAD_BALANCER:
        text = f"The maximum number of rules per load balancer is {limits.RULES_PER_LOAD_BALANCER}"
        raise AwsError("TooManyRules", text)
    spec = RuleSpec(listener.meta.name, balancer.meta.name, priority, action, conditions)
    rule = Rule(meta=call.meta(new_id("", 16), tags=tags, owner=listener), spec=spec)
    transaction.require(listener)
    transaction.require_no_newer(Rule, call.scope)
    transaction.create(rule)
    await call.commit(transaction)
    return {"Rules": [show_rule(call, balancer, rule)]}


@operation("ModifyRule")
async def modify_rule(call: Call) -> Result:
    """AWS: elbv2 ModifyRule: conditions or actions or both; what is not given stays."""
    params, transaction = call.params, call.transaction()
    rule, listener, balancer = find_rule(call, params["RuleArn"])
    _refuse_default(rule, params["RuleArn"], "modified")
    if params.get("Transforms"):
        raise not_built("ModifyRule with Transforms")
    if not params.get("Conditions") and not params.get("Actions") and not params.get("ResetTransforms"):
        raise invalid("Either conditions or actions must be specified")
    spec = rule.spec
    if params.get("Conditions"):
        spec = msgspec.structs.replace(spec, conditions=wanted_conditions(params["Conditions"]))
    if params.get("Actions"):
        action = wanted_action(call, transaction, balancer, listener.spec.protocol, params["Actions"])
        spec = msgspec.structs.replace(spec, action=action)
    rule = msgspec.structs.replace(rule, spec=spec)
    transaction.require(listener)
    transaction.update(rule)
    await call.commit(transaction)
    return {"Rules": [show_rule(call, balancer, rule)]}


@operation("DeleteRule")
async def delete_rule(call: Call) -> Result:
    """AWS: elbv2 DeleteRule: any but the default one."""
    rule, _, _ = find_rule(call, call.params["RuleArn"])
    _refuse_default(rule, call.params["RuleArn"], "deleted")
    transaction = call.transaction()
    transaction.delete(rule)
    await call.commit(transaction)
    return {}


@operation("SetRulePriorities")
async def set_rule_priorities(call: Call) -> Result:
    """AWS: elbv2 SetRulePriorities: all at once, so that rules may change places."""
    wanted: dict[str, int] = {}
    for one in call.params["RulePriorities"]:
        arn, priority = one.get("RuleArn") or "", one.get("Priority")
        if priority is None:
            raise invalid("A rule priority must be specified")
        if arn in wanted:
            raise invalid(f"Rule '{arn}' was provided multiple times")
        wanted[arn] = between("Priority", priority, 1, LAST)
    found = {arn: find_rule(call, arn) for arn in wanted}
    transaction, changed = call.transaction(), []
    for arn, (rule, _, balancer) in found.items():
        _refuse_default(rule, arn, "modified")
        rule = msgspec.structs.replace(rule, spec=msgspec.structs.replace(rule.spec, priority=wanted[arn]))
        changed.append((rule, balancer))
        transaction.update(rule)
    _check_new_priorities(call, [rule for rule, _ in changed])
    transaction.require_no_newer(Rule, call.scope)
    await call.commit(transaction)
    return {"Rules": [show_rule(call, balancer, rule) for rule, balancer in changed]}


@operation("DescribeRules")
def describe_rules(call: Call) -> Result:
    """AWS: elbv2 DescribeRules: those of a listener, by priority with the default one last, or those named."""
    arns, owner = call.params.get("RuleArns"), call.params.get("ListenerArn")
    if not arns and not owner:
        raise invalid("You must specify either listener rule ARNs or a listener ARN")
    if arns and owner:
        raise invalid("Listener rule ARNs and a listener ARN cannot be specified at the same time")
    check_count(arns, "listener rules")
    if owner:
        listener, balancer = find_listener(call, owner)
        found = [(rule, balancer) for rule in call.by(Rule, "listener", listener.meta.name)]
    else:
        found = [(rule, balancer) for rule, _, balancer in (find_rule(call, arn) for arn in dict.fromkeys(arns or ()))]
    shown, more = page(call.params, found, lambda one: f"{one[0].spec.priority or LAST + 1:05d}/{one[0].meta.name}")
    return {"Rules": [show_rule(call, balancer, rule) for rule, balancer in shown], **more}


def _check_application(balancer: LoadBalancer, protocol: str) -> None:
    """AWS: rules of network load balancers are for dual-stack ones, which gureum has not."""
    if balancer.spec.type != "application":
        raise AwsError("UnsupportedProtocol", f"Rules are not supported for listeners with protocol '{protocol}'")


def _check_priority(rules: list[Rule], priority: int) -> None:
    if any(rule.spec.priority == priority for rule in rules):
        raise AwsError("PriorityInUse", f"Priority '{priority}' is currently in use")


def _check_new_priorities(call: Call, changed: list[Rule]) -> None:
    """No two rules of a listener with the same one, counting those that stay."""
    moved = {rule.meta.name for rule in changed}
    taken: dict[tuple[str, int], str] = {}
    for rule in changed:
        place = rule.spec.listener, rule.spec.priority
        if place in taken:
            raise invalid(f"Priority '{rule.spec.priority}' was provided multiple times")
        taken[place] = rule.meta.name
    for rule in changed:
        stays = [one for one in call.by(Rule, "listener", rule.spec.listener) if one.meta.name not in moved]
        _check_priority(stays, rule.spec.priority)


def _refuse_default(rule: Rule, arn: str, verb: str) -> None:
    if not rule.spec.priority:
        raise AwsError("OperationNotPermitted", f"Default rule '{arn}' cannot be {verb}")


def show_rule(call: Call, balancer: LoadBalancer, rule: Rule) -> dict[str, Any]:
    """API form. AWS: elbv2 Rule."""
    spec = rule.spec
    return {
        "RuleArn": arn_of_rule(balancer, spec.listener, rule.meta.name),
        "Priority": str(spec.priority) if spec.priority else "default",
        "Conditions": [show_condition(condition) for condition in spec.conditions],
        "Actions": [show_action(call, balancer, spec.action)],
        "IsDefault": not spec.priority,
        "Transforms": [],
    }
