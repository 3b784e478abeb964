"""ARNs of load balancing, how an operation finds what one names, and the words for one that names nothing.

    loadbalancer/app/NAME/ID              listener/app/NAME/ID/LISTENER
    targetgroup/NAME/ID                   listener-rule/app/NAME/ID/LISTENER/RULE

`net` stands for `app` with a network load balancer. Objects are named by the last part, so an ARN is looked up by it and then has to be
the very ARN of what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gureum.aws.call import Call
from gureum.aws.elbv2.kinds import Listener, LoadBalancer, Rule, TargetGroup
from gureum.aws.errors import AwsError
from gureum.aws.partitions import partition_of
from gureum.engine.resource import Resource

T = TypeVar("T", bound=Resource)
SERVICE = "elasticloadbalancing"


def _arn(scope: str, resource: str) -> str:
    account, _, region = scope.partition("/")
    return f"arn:{partition_of(region)}:{SERVICE}:{region}:{account}:{resource}"


def label_of(balancer: LoadBalancer) -> str:
    """ "app/my-lb/50dc6c495c0c9188": as in ARNs, descriptions of interfaces, logs and metrics."""
    short = "app" if balancer.spec.type == "application" else "net"
    return f"{short}/{balancer.spec.name}/{balancer.meta.name}"


def arn_of_balancer(balancer: LoadBalancer) -> str:
    return _arn(balancer.meta.scope, f"loadbalancer/{label_of(balancer)}")


def arn_of_group(group: TargetGroup) -> str:
    return _arn(group.meta.scope, f"targetgroup/{group.spec.name}/{group.meta.name}")


def arn_of_listener(balancer: LoadBalancer, listener: str) -> str:
    """`listener`: its name."""
    return _arn(balancer.meta.scope, f"listener/{label_of(balancer)}/{listener}")


def arn_of_rule(balancer: LoadBalancer, listener: str, rule: str) -> str:
    return _arn(balancer.meta.scope, f"listener-rule/{label_of(balancer)}/{listener}/{rule}")


def find_balancer(call: Call, arn: str) -> LoadBalancer:
    """AWS: ValidationError when it is no ARN of a load balancer, LoadBalancerNotFound."""
    missing = AwsError("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
    return _find(call, LoadBalancer, "loadbalancer/", "load balancer", arn, arn_of_balancer, missing)


def find_group(call: Call, arn: str, *, described: bool = False) -> TargetGroup:
    """`described`: one of those that DescribeTargetGroups names; AWS does not say which is missing. AWS: ValidationError, TargetGroupNotFound."""
    text = "One or more target groups not found" if described else f"Target groups '{arn}' not found"
    missing = AwsError("TargetGroupNotFound", text)
    return _find(call, TargetGroup, "targetgroup/", "target group", arn, arn_of_group, missing)


def find_listener(call: Call, arn: str) -> tuple[Listener, LoadBalancer]:
    """The listener and its load balancer. AWS: ValidationError, ListenerNotFound."""
    missing = AwsError("ListenerNotFound", "One or more listeners not found")

    def own(listener: Listener) -> str:
        balancer = call.get(LoadBalancer, listener.spec.load_balancer)
        return arn_of_listener(balancer, listener.meta.name) if balancer is not None else ""

    listener = _find(call, Listener, "listener/", "listener", arn, own, missing)
    balancer = call.get(LoadBalancer, listener.spec.load_balancer)
    if balancer is None:
        raise missing
    return listener, balancer


def find_rule(call: Call, arn: str) -> tuple[Rule, Listener, LoadBalancer]:
    """The rule, its listener and load balancer. AWS: ValidationError, RuleNotFound."""
    missing = AwsError("RuleNotFound", "One or more rules not found")

    def own(rule: Rule) -> str:
        balancer = call.get(LoadBalancer, rule.spec.load_balancer)
        return arn_of_rule(balancer, rule.spec.listener, rule.meta.name) if balancer is not None else ""

    rule = _find(call, Rule, "listener-rule/", "rule", arn, own, missing)
    listener = call.get(Listener, rule.spec.listener)
    balancer = call.get(LoadBalancer, rule.spec.load_balancer)
    if listener is None or balancer is None:
        raise missing
    return rule, listener, balancer


def _find(call: Call, cls: type[T], form: str, noun: str, arn: str, own: Callable[[T], str], missing: AwsError) -> T:
    resource = _resource_of(arn)
    if not resource.startswith(form):
        raise AwsError("ValidationError", f"'{arn}' is not a valid {noun} ARN")
    found = call.get(cls, resource.rpartition("/")[2])
    if found is None or own(found) != arn:
        raise missing
    return found


def _resource_of(arn: str) -> str:
    """The part after the account; "" when it is no ARN of this service."""
    parts = arn.split(":", 5)
    return parts[5] if len(parts) == 6 and parts[0] == "arn" and parts[2] == SERVICE else ""


def type_of(arn: str) -> str:
    """ "loadbalancer", "targetgroup", "listener", "listener-rule", "truststore", or "" for what is none of them."""
    resource = _resource_of(arn)
    return resource.partition("/")[0]
