"""Listeners: the ports of a load balancer. What a listener does by default is the action of its default rule, made with it and never apart
from it.

AWS: elbv2 CreateListener, ModifyListener, DeleteListener, DescribeListeners.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from gureum.aws.call import Call
from gureum.aws.elbv2 import attribute_tables, certificates, limits, server_certificates
from gureum.aws.elbv2.actions import check_compatible, show_action, wanted_action
from gureum.aws.elbv2.arns import arn_of_balancer, arn_of_listener, find_balancer, find_listener
from gureum.aws.elbv2.faults import bad_configuration, check_count, invalid, not_built
from gureum.aws.elbv2.kinds import Listener, ListenerSpec, LoadBalancer, Protocol, Rule, RuleSpec, TargetGroup
from gureum.aws.elbv2.paging import page
from gureum.aws.elbv2.ssl_policies import DEFAULT_POLICY, find_policy
from gureum.aws.elbv2.tagging import tags_of
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.base.ids import new_id
from gureum.engine.client import Transaction

PROTOCOLS = {"application": ("HTTP", "HTTPS"), "network": ("TCP", "TLS", "UDP", "TCP_UDP")}
ALPN_POLICIES = ("HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None")
DELETED_AT_ONCE = 1000


@operation("CreateListener")
async def create_listener(call: Call) -> Result:
    """AWS: elbv2 CreateListener: a second call with the same settings answers the same listener."""
    params, transaction = call.params, call.transaction()
    balancer, tags = find_balancer(call, params["LoadBalancerArn"]), tags_of(call)
    protocol = _protocol(balancer, params.get("Protocol"))
    port = _port(params.get("Port"))
    held, policy, alpn = _secured(call, transaction, balancer, protocol, None)
    action = wanted_action(call, transaction, balancer, protocol, params["DefaultActions"])
    others = call.by(Listener, "load-balancer", balancer.meta.name)
    of_iam = server_certificates.kept(call, held, {})
    spec = ListenerSpec(balancer.meta.name, protocol, port, "", held, policy, alpn, of_iam=of_iam)
    for other in others:
        if other.spec.port == port:
            return _shown(call, balancer, _same(call, balancer, other, spec, action))
    if len(others) >= limits.LISTENERS_PER_LOAD_BALANCER:
        text = f"The maximum number of listeners per load balancer is {limits.LISTENERS_PER_LOAD_BALANCER}"
        raise AwsError("TooManyListeners", text)
    listener, rule = _made(call, balancer, spec, action, tags)
    transaction.require(balancer)
    transaction.require_no_newer(Listener, call.scope)
    transaction.create(listener)
    transaction.create(rule)
    await call.commit(transaction)
    return _shown(call, balancer, listener, rule)


@operation("ModifyListener")
async def modify_listener(call: Call) -> Result:
    """AWS: elbv2 ModifyListener: what is not given stays; another protocol takes certificates, policy and attributes along only where it has
    them."""
    params, transaction = call.params, call.transaction()
    listener, balancer = find_listener(call, params["ListenerArn"])
    spec, rule = listener.spec, _default_rule(call, listener)
    protocol = _protocol(balancer, params.get("Protocol") or spec.protocol)
    port = _port(params.get("Port") or spec.port)
    held, policy, alpn = _secured(call, transaction, balancer, protocol, listener)
    of_iam = server_certificates.kept(call, held, spec.of_iam, given=held[0] if params.get("Certificates") else "")
    spec = msgspec.structs.replace(spec, protocol=protocol, port=port, certificates=held, policy=policy, alpn=alpn)
    spec = msgspec.structs.replace(spec, of_iam=of_iam)
    changed = msgspec.structs.replace(listener, spec=spec)
    table = attribute_tables.of_listener(changed)
    kept = {key: value for key, value in spec.attributes.items() if key in table}
    changed = msgspec.structs.replace(changed, spec=msgspec.structs.replace(spec, attributes=kept))
    for other in call.by(Listener, "load-balancer", balancer.meta.name):
        if other.spec.port == port and other.meta.name != listener.meta.name:
            raise _duplicate(balancer)
    if params.get("DefaultActions"):
        action = wanted_action(call, transaction, balancer, protocol, params["DefaultActions"])
        rule = msgspec.structs.replace(rule, spec=msgspec.structs.replace(rule.spec, action=action))
        transaction.update(rule)
    _check_rules(call, balancer, changed, rule)
    transaction.require_no_newer(Listener, call.scope)
    transaction.update(changed)
    await call.commit(transaction)
    return _shown(call, balancer, changed, rule)


@operation("DeleteListener")
async def delete_listener(call: Call) -> Result:
    """AWS: elbv2 DeleteListener: with its rules. ResourceInUse when a network load balancer's target group needs its port;
    one from which the load balancer is on its way out does not."""
    listener, balancer = find_listener(call, call.params["ListenerArn"])
    for group in call.by(TargetGroup, "registered", arn_of_balancer(balancer)):
        if group.spec.port == listener.spec.port:
            text = f"Listener '{call.params['ListenerArn']}' is in use by a target group of type alb"
            raise AwsError("ResourceInUse", text)
    transaction = call.transaction()
    for rule in call.by(Rule, "listener", listener.meta.name)[:DELETED_AT_ONCE]:
        transaction.delete(rule)
    transaction.delete(listener)
    await call.commit(transaction)
    return {}


@operation("DescribeListeners")
def describe_listeners(call: Call) -> Result:
    """AWS: elbv2 DescribeListeners: those of a load balancer or those named."""
    arns, owner = call.params.get("ListenerArns"), call.params.get("LoadBalancerArn")
    if not arns and not owner:
        raise invalid("You must specify either listener ARNs or a load balancer ARN")
    if arns and owner:
        raise invalid("Listener ARNs and a load balancer ARN cannot be specified at the same time")
    check_count(arns, "listeners")
    if owner:
        balancer = find_balancer(call, owner)
        found = [(one, balancer) for one in call.by(Listener, "load-balancer", balancer.meta.name)]
    else:
        found = [find_listener(call, arn) for arn in dict.fromkeys(arns or ())]
    shown, more = page(call.params, found, lambda one: f"{one[0].spec.port:05d}/{one[0].meta.name}")
    return {"Listeners": [show_listener(call, balancer, listener) for listener, balancer in shown], **more}


def _made(
    call: Call, balancer: LoadBalancer, spec: ListenerSpec, action: Any, tags: dict[str, str]
) -> tuple[Listener, Rule]:
    """The listener, owned by its load balancer, and its default rule, owned by the listener."""
    rule_name = new_id("", 16)
    listener = Listener(
        meta=call.meta(new_id("", 16), tags=tags, owner=balancer),
        spec=msgspec.structs.replace(spec, default_rule=rule_name),
    )
    rule_spec = RuleSpec(listener=listener.meta.name, load_balancer=balancer.meta.name, priority=0, action=action)
    return listener, Rule(meta=call.meta(rule_name, owner=listener), spec=rule_spec)


def _protocol(balancer: LoadBalancer, given: str | None) -> Protocol:
    allowed = PROTOCOLS[balancer.spec.type]
    if not given:
        raise invalid("A listener protocol must be specified")
    if given in ("QUIC", "TCP_QUIC") and balancer.spec.type == "network":
        raise not_built(f"A listener with protocol {given}")
    if given not in allowed:
        raise invalid(f"Listener protocol '{given}' must be one of '{', '.join(allowed)}'")
    return cast(Protocol, given)


def _port(given: int | None) -> int:
    if given is None:
        raise invalid("A listener port must be specified")
    if not 1 <= given <= 65535:
        raise invalid(f"Listener port '{given}' must be between '1-65535' inclusive")
    return given


def _secured(
    call: Call, transaction: Transaction, balancer: LoadBalancer, protocol: Protocol, before: Listener | None
) -> tuple[tuple[str, ...], str, str]:
    """Certificates, security policy and ALPN policy after the call. `before`: the listener that is changed."""
    params = call.params
    _check_mutual_authentication(params.get("MutualAuthentication") or {}, protocol)
    alpn = _alpn(params.get("AlpnPolicy"), protocol, before)
    if protocol not in certificates.SECURE:
        for name, words in (("Certificates", "A certificate"), ("SslPolicy", "An SSL policy")):
            if params.get(name):
                raise invalid(f"{words} cannot be specified for {protocol} listeners")
        return (), "", alpn
    held = before.spec.certificates if before is not None else ()
    if params.get("Certificates") or not held:
        held = (certificates.default_certificate(call, transaction, protocol), *held[1:])
    policy = params.get("SslPolicy") or (before.spec.policy if before is not None else "") or DEFAULT_POLICY
    return held, find_policy(policy, balancer.spec.type).name, alpn


def _alpn(given: list[str] | None, protocol: Protocol, before: Listener | None) -> str:
    if protocol != "TLS":
        if given:
            raise invalid(f"An ALPN policy cannot be specified for {protocol} listeners")
        return ""
    if not given:
        return before.spec.alpn if before is not None else ""
    if len(given) > 1:
        raise invalid("You can specify one ALPN policy only")
    if given[0] not in ALPN_POLICIES:
        raise AwsError("ALPNPolicyNotFound", f"ALPN policy '{given[0]}' is not supported")
    return given[0]


def _check_mutual_authentication(given: dict[str, Any], protocol: Protocol) -> None:
    if given and protocol != "HTTPS":
        raise bad_configuration(f"Mutual authentication is not supported for {protocol} listeners")
    if given.get("Mode", "off") != "off":
        raise not_built(f"Mutual authentication mode {given['Mode']}")
    for name in ("TrustStoreArn", "IgnoreClientCertificateExpiry", "AdvertiseTrustStoreCaNames"):
        if given.get(name) not in (None, False, "", "off"):
            raise not_built(f"Mutual authentication with {name}")


def _check_rules(call: Call, balancer: LoadBalancer, listener: Listener, default: Rule) -> None:
    """What the rules send to must be right for the listener's protocol, as it is now."""
    rules = [rule for rule in call.by(Rule, "listener", listener.meta.name) if rule.meta.name != default.meta.name]
    for rule in [default, *rules]:
        groups = [group for name in rule.groups if (group := call.get(TargetGroup, name)) is not None]
        check_compatible(balancer, listener.spec.protocol, groups)


def _same(call: Call, balancer: LoadBalancer, known: Listener, wanted: ListenerSpec, action: Any) -> Listener:
    """AWS: the same settings again are success, others DuplicateListener."""
    wanted = msgspec.structs.replace(wanted, of_iam={})
    bare = msgspec.structs.replace(known.spec, default_rule="", attributes={}, certificates=known.spec.certificates[:1])
    if msgspec.structs.replace(bare, of_iam={}) != wanted or _default_rule(call, known).spec.action != action:
        raise _duplicate(balancer)
    return known


def _duplicate(balancer: LoadBalancer) -> AwsError:
    text = f"A listener already exists on this port for this load balancer '{arn_of_balancer(balancer)}'"
    return AwsError("DuplicateListener", text)


def _default_rule(call: Call, listener: Listener) -> Rule:
    rule = call.get(Rule, listener.spec.default_rule)
    if rule is None:
        raise AwsError("ListenerNotFound", "One or more listeners not found")
    return rule


def _shown(call: Call, balancer: LoadBalancer, listener: Listener, rule: Rule | None = None) -> Result:
    return {"Listeners": [show_listener(call, balancer, listener, rule)]}


def show_listener(call: Call, balancer: LoadBalancer, listener: Listener, rule: Rule | None = None) -> dict[str, Any]:
    """API form. AWS: elbv2 Listener. `rule`: the default one when it is newer than what is stored."""
    spec = listener.spec
    rule = rule or call.get(Rule, spec.default_rule)
    shown: dict[str, Any] = {
        "ListenerArn": arn_of_listener(balancer, listener.meta.name),
        "LoadBalancerArn": arn_of_balancer(balancer),
        "Port": spec.port,
        "Protocol": spec.protocol,
        "DefaultActions": [show_action(call, balancer, rule.spec.action)] if rule is not None else [],
    }
    if spec.certificates:
        shown["Certificates"] = [{"CertificateArn": spec.certificates[0]}]
        shown["SslPolicy"] = spec.policy
    if spec.alpn:
        shown["AlpnPolicy"] = [spec.alpn]
    if spec.protocol == "HTTPS":
        shown["MutualAuthentication"] = {"Mode": "off"}
    return shown
