"""Random rules made by the API: what a load balancer answers is what the model of AWS's rules says (tests/rule_model.py), in both zones, while rules
come, go, change and change places, weights are shifted and certificates are added; and clients who ask all the while miss no answer."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gureum.ports.proxies import Condition, FixedResponse, Rule
from tests.cloud.balancing import Load, Site, certificate, secure, serves
from tests.cloud.running import Cloud, until
from tests.rule_model import Chance, Sent, rule_for

pytestmark = pytest.mark.machine
SOURCES = ("192.0.2.1", "192.0.2.2")
ELSEWHERE = "203.0.113.9"
"""Stands for this host's address: none that a rule names."""
NOBODY = Rule(0, FixedResponse(200, body="none of them"))


class Made:
    """A load balancer whose HTTP listener has random rules, and a first one that shares the load between two groups."""

    def __init__(self, cloud: Cloud, ec2: Any) -> None:
        self.site = Site(cloud, ec2)
        self.elb, self.chance = self.site.elb, Chance(7, SOURCES)
        self.groups = [self.site.group(name, "HTTP") for name in ("one", "two")]
        self.arn, name = self.site.balancer("random", "application")
        self.rules: dict[str, Rule] = {}
        shared = self.shared(1, 1)
        fixed = [{"Type": "fixed-response", "FixedResponseConfig": _text(NOBODY)}]
        made = self.elb.create_listener(LoadBalancerArn=self.arn, Protocol="HTTP", Port=80, DefaultActions=fixed)
        self.listener = made["Listeners"][0]["ListenerArn"]
        loaded = [{"Field": "host-header", "Values": ["shop.example.com"]}]
        self.load_rule = self.elb.create_rule(ListenerArn=self.listener, Priority=1, Conditions=loaded, Actions=shared)[
            "Rules"
        ][0]["RuleArn"]
        for group in self.groups:
            until(lambda group=group: self.site.states(group) == ["healthy", "healthy"], 60)
        self.nodes = until(lambda: len(found := self.site.addresses(name)) == 2 and found)
        for node in self.nodes:
            until(lambda node=node: serves(node))

    def shared(self, *weights: int) -> list[dict[str, Any]]:
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in zip(self.groups, weights, strict=True)]
        return [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

    def create(self, priority: int) -> None:
        rule = self.rule(priority)
        made = self.elb.create_rule(
            ListenerArn=self.listener, Priority=priority, Conditions=_shown(rule.conditions), Actions=_actions(rule)
        )
        self.rules[made["Rules"][0]["RuleArn"]] = rule

    def rule(self, priority: int) -> Rule:
        return Rule(priority, FixedResponse(200, body=f"text {self.chance.number(10**9)}"), self.chance.conditions())

    def change(self) -> None:
        """Every kind of change once: a rule goes, two change places, one is for others, one says something else, one comes, weights are shifted."""
        first, second, third, fourth, *_ = sorted(self.rules, key=lambda arn: self.chance.number(10**6))
        self.elb.delete_rule(RuleArn=first)
        priority = self.rules.pop(first).priority
        places = {second: self.rules[third].priority, third: self.rules[second].priority}
        wanted = [{"RuleArn": arn, "Priority": place} for arn, place in places.items()]
        self.elb.set_rule_priorities(RulePriorities=wanted)
        for arn, place in places.items():
            self.rules[arn] = msgspec.structs.replace(self.rules[arn], priority=place)
        other = msgspec.structs.replace(self.rules[fourth], conditions=self.chance.conditions())
        self.elb.modify_rule(RuleArn=fourth, Conditions=_shown(other.conditions))
        self.rules[fourth] = other
        told = msgspec.structs.replace(self.rules[second], action=self.rule(1).action)
        self.elb.modify_rule(RuleArn=second, Actions=_actions(told))
        self.rules[second] = told
        self.elb.modify_rule(RuleArn=self.load_rule, Actions=self.shared(self.chance.number(1000), 1))
        self.create(priority)

    def wrong(self, requests: Sequence[Sent]) -> list[tuple[Sent, Rule, str]]:
        """Requests that got another rule's answer."""
        rules = (*self.rules.values(), NOBODY)
        found = [(sent, rule_for(rules, sent), ask(node, sent)) for node in self.nodes for sent in requests]
        return [(sent, rule, body) for sent, rule, body in found if body != rule.action.body]  # type: ignore[union-attr]


def ask(node: str, sent: Sent) -> str:
    with socket.create_connection((node, 80), timeout=10) as sock:
        sock.sendall(sent.text())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2].decode()


def _text(rule: Rule) -> dict[str, str]:
    assert isinstance(rule.action, FixedResponse)
    return {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": rule.action.body}


def _actions(rule: Rule) -> list[dict[str, Any]]:
    return [{"Type": "fixed-response", "FixedResponseConfig": _text(rule)}]


def _shown(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """API form. AWS: elbv2 RuleCondition."""
    return [{"Field": one.field, **_config(one)} for one in conditions]


def _config(one: Condition) -> dict[str, Any]:
    values = list(one.values)
    match one.field:
        case "http-header":
            return {"HttpHeaderConfig": {"HttpHeaderName": one.name, "Values": values}}
        case "query-string":
            pairs = [({"Key": key} if key else {}) | {"Value": value} for key, value in one.pairs]
            return {"QueryStringConfig": {"Values": pairs}}
        case "host-header":
            return {"HostHeaderConfig": {"Values": values}}
        case "path-pattern":
            return {"PathPatternConfig": {"Values": values}}
        case "http-request-method":
            return {"HttpRequestMethodConfig": {"Values": values}}
        case "source-ip":
            return {"SourceIpConfig": {"Values": values}}


def test_random_rules_that_change_under_load(cloud: Cloud, ec2: Any) -> None:
    made = Made(cloud, ec2)
    for priority in range(2, 17):
        made.create(priority)
    asked, context = certificate(made.site, "zero.example.com")
    listener = made.site.listener(made.arn, made.groups[0], "HTTPS", 443, Certificates=[{"CertificateArn": asked}])
    node = made.nodes[0]
    until(lambda: secure(node, "zero.example.com", context))
    with Load(made.nodes[0]) as load, Load(made.nodes[1]) as other:
        for turn in range(5):
            requests = [
                msgspec.structs.replace(made.chance.request(), source=ELSEWHERE, host=f"{turn}.example.com")
                if place % 3 == 0
                else msgspec.structs.replace(made.chance.request(), source=ELSEWHERE)
                for place in range(25)
            ]
            made.change()
            more, trusting = certificate(made.site, f"n{turn}.example.com")
            made.elb.add_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": more}])
            until(lambda requests=requests: not made.wrong(requests), 60)
            until(lambda turn=turn, trusting=trusting: secure(node, f"n{turn}.example.com", trusting))
            load.goes_on()
            other.goes_on()
            assert made.wrong(requests) == []
    assert (set(load.answers), set(other.answers)) == ({"200"}, {"200"}), (load.answers, other.answers)
