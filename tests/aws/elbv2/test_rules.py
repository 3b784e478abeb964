"""Rules: conditions and actions. elbv2 CreateRule, RuleCondition, Action, RedirectActionConfig (API Reference); "Condition types for listener
rules", "Quotas for your Application Load Balancers" (User Guide)."""

from __future__ import annotations

import pytest

PATH = [{"Field": "path-pattern", "Values": ["/a"]}]
FIXED = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]


@pytest.fixture
def listener(cloud):
    return cloud.listener(cloud.application(), cloud.group())


def created(cloud, listener, conditions=PATH, actions=FIXED, priority=1):
    wanted = {"ListenerArn": listener, "Priority": priority, "Conditions": conditions, "Actions": actions}
    return cloud("CreateRule", **wanted)["Rules"][0]


def refused(cloud, listener, conditions=PATH, actions=FIXED, priority=1):
    wanted = {"ListenerArn": listener, "Priority": priority, "Conditions": conditions, "Actions": actions}
    return cloud.refused("CreateRule", **wanted)


def test_rules_are_listed_by_priority_with_the_default_one_last(cloud, listener):
    for priority in (300, 2, 50000):
        created(cloud, listener, priority=priority)
    rules = cloud("DescribeRules", ListenerArn=listener)["Rules"]
    assert [rule["Priority"] for rule in rules] == ["2", "300", "50000", "default"]
    assert [rule["IsDefault"] for rule in rules] == [False, False, False, True]
    arn = rules[0]["RuleArn"]
    assert arn.startswith(listener.replace(":listener/", ":listener-rule/") + "/")
    assert cloud("DescribeRules", RuleArns=[arn])["Rules"] == rules[:1]
    assert cloud.code("DescribeRules") == "ValidationError"
    assert cloud.code("DescribeRules", ListenerArn=listener, RuleArns=[arn]) == "ValidationError"
    assert cloud.code("DescribeRules", RuleArns=[arn + "0"]) == "RuleNotFound"


@pytest.mark.parametrize(
    "condition",
    [
        {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com", "a?.example.org"]}},
        {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/img/*", "*.png"]}},
        {
            "Field": "http-header",
            "HttpHeaderConfig": {"HttpHeaderName": "User-Agent", "Values": ["*Chrome*", "*Safari*"]},
        },
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Zz9~|_^.-+*'&%$#!0aA", "Values": ["a"]}},
        {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "CUSTOM_METHOD"]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["192.0.2.0/24", "2001:db8::/32"]}},
        {
            "Field": "query-string",
            "QueryStringConfig": {"Values": [{"Key": "version", "Value": "v1"}, {"Value": "*x*"}]},
        },
    ],
    ids=lambda condition: condition["Field"],
)
def test_conditions_are_shown_as_given(cloud, listener, condition):
    (shown,) = created(cloud, listener, [condition])["Conditions"]
    if condition["Field"] in ("host-header", "path-pattern"):
        assert shown.pop("Values") == [*condition.values()][1]["Values"]
    assert shown == condition


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ({"Field": "nothing", "Values": ["a"]}, "ValidationError"),
        ({"Field": "path-pattern"}, "ValidationError"),
        ({"Field": "path-pattern", "Values": ["/a", "/b"]}, "ValidationError"),
        ({"Field": "path-pattern", "Values": ["/a"], "PathPatternConfig": {"Values": ["/a"]}}, "ValidationError"),
        ({"Field": "path-pattern", "Values": ["x" * 129]}, "ValidationError"),
        ({"Field": "path-pattern", "Values": ["/a b"]}, "ValidationError"),
        ({"Field": "path-pattern", "Values": ["/é"]}, "ValidationError"),
        ({"Field": "path-pattern", "Values": [""]}, "ValidationError"),
        ({"Field": "path-pattern", "HostHeaderConfig": {"Values": ["a.b"]}}, "ValidationError"),
        ({"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/a"]}}, "NotImplemented"),
        ({"Field": "path-pattern", "RegexValues": ["^/a"]}, "NotImplemented"),
        ({"Field": "host-header", "Values": ["localhost"]}, "ValidationError"),
        ({"Field": "host-header", "Values": ["a.b:80"]}, "ValidationError"),
        ({"Field": "host-header", "Values": ["a.1"]}, "ValidationError"),
        ({"Field": "host-header", "HostHeaderConfig": {"RegexValues": ["a"]}}, "NotImplemented"),
        ({"Field": "http-header", "Values": ["a"]}, "ValidationError"),
        ({"Field": "http-header", "HttpHeaderConfig": {"Values": ["a"]}}, "ValidationError"),
        ({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Host", "Values": ["a"]}}, "ValidationError"),
        ({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "a: b", "Values": ["a"]}}, "ValidationError"),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "x" * 41, "Values": ["a"]}},
            "ValidationError",
        ),
        (
            {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "a", "Values": ["x\r\ny"]}},
            "ValidationError",
        ),
        ({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}}, "ValidationError"),
        ({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["X" * 41]}}, "ValidationError"),
        ({"Field": "source-ip", "SourceIpConfig": {"Values": []}}, "ValidationError"),
        ({"Field": "source-ip", "SourceIpConfig": {"Values": ["192.0.2.1"]}}, "ValidationError"),
        ({"Field": "source-ip", "SourceIpConfig": {"Values": ["192.0.2.1/24"]}}, "ValidationError"),
        ({"Field": "source-ip", "SourceIpConfig": {"IpAddressType": "ipv4"}}, "ValidationError"),
        ({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a"}]}}, "ValidationError"),
        ({"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "x" * 129}]}}, "ValidationError"),
    ],
    ids=str,
)
def test_conditions_that_are_refused(cloud, listener, condition, code):
    assert refused(cloud, listener, [condition])[0] == code


def test_a_rule_has_one_condition_of_some_kinds_and_many_of_others(cloud, listener):
    assert refused(cloud, listener, PATH * 2) == (
        "ValidationError",
        "A rule can only have one 'path-pattern' condition",
    )
    header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "a", "Values": ["b"]}}
    created(cloud, listener, [header, header, header])
    assert refused(cloud, listener, [])[0] == "ValidationError"


def test_values_and_wildcards_are_counted_over_all_conditions(cloud, listener):
    paths = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/1", "/2", "/3"]}}
    methods = {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["A", "B", "C"]}}
    assert refused(cloud, listener, [paths, methods]) == (
        "ValidationError",
        "A rule can only have '5' condition values",
    )
    wild = [{"Field": "path-pattern", "Values": ["/??????"]}]
    assert refused(cloud, listener, wild)[0] == "ValidationError"
    literal = [{"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "\\*" * 6}]}}]
    created(cloud, listener, literal)


def test_priorities_are_unique_in_a_listener(cloud, listener):
    created(cloud, listener, priority=7)
    assert refused(cloud, listener, priority=7) == ("PriorityInUse", "Priority '7' is currently in use")
    assert refused(cloud, listener, priority=0)[0] == "ValidationError"
    assert refused(cloud, listener, priority=50001)[0] == "ValidationError"


def test_rules_change_places_at_once(cloud, listener):
    first, second, third = (created(cloud, listener, priority=i)["RuleArn"] for i in (1, 2, 3))
    swap = [{"RuleArn": first, "Priority": 2}, {"RuleArn": second, "Priority": 1}]
    assert [rule["Priority"] for rule in cloud("SetRulePriorities", RulePriorities=swap)["Rules"]] == ["2", "1"]
    listed = [rule["RuleArn"] for rule in cloud("DescribeRules", ListenerArn=listener)["Rules"]]
    assert listed[:3] == [second, first, third]
    taken = [{"RuleArn": first, "Priority": 3}]
    assert cloud.code("SetRulePriorities", RulePriorities=taken) == "PriorityInUse"
    same = [{"RuleArn": first, "Priority": 9}, {"RuleArn": second, "Priority": 9}]
    assert cloud.refused("SetRulePriorities", RulePriorities=same)[1] == "Priority '9' was provided multiple times"
    default = [{"RuleArn": listed[3], "Priority": 9}]
    assert cloud.code("SetRulePriorities", RulePriorities=default) == "OperationNotPermitted"


def test_the_default_rule_is_the_listeners(cloud, listener):
    (default,) = cloud("DescribeRules", ListenerArn=listener)["Rules"]
    arn = default["RuleArn"]
    deleted = ("OperationNotPermitted", f"Default rule '{arn}' cannot be deleted")
    assert cloud.refused("DeleteRule", RuleArn=arn) == deleted
    assert cloud.code("ModifyRule", RuleArn=arn, Actions=FIXED) == "OperationNotPermitted"
    cloud("ModifyListener", ListenerArn=listener, DefaultActions=FIXED)
    assert cloud("DescribeRules", RuleArns=[arn])["Rules"][0]["Actions"] == FIXED


def test_what_is_given_of_a_rule_changes(cloud, listener):
    arn = created(cloud, listener)["RuleArn"]
    conditions = [{"Field": "path-pattern", "Values": ["/b"]}]
    changed = cloud("ModifyRule", RuleArn=arn, Conditions=conditions)["Rules"][0]
    assert (changed["Conditions"][0]["Values"], changed["Actions"]) == (["/b"], FIXED)
    assert cloud.code("ModifyRule", RuleArn=arn) == "ValidationError"
    transforms = [{"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "a", "Replace": "b"}]}}]
    assert cloud.code("ModifyRule", RuleArn=arn, Transforms=transforms) == "NotImplemented"
    cloud("DeleteRule", RuleArn=arn)
    assert cloud.code("DeleteRule", RuleArn=arn) == "RuleNotFound"


def test_a_hundred_rules_and_no_more(cloud, listener):
    for priority in range(1, 101):
        created(cloud, listener, priority=priority)
    assert refused(cloud, listener, priority=101)[0] == "TooManyRules"


def test_network_load_balancers_have_no_rules(cloud):
    listener = cloud.listener(cloud.network(), cloud.group("t", "TCP"), "TCP")
    assert refused(cloud, listener)[0] == "UnsupportedProtocol"


def test_weights_and_stickiness_are_shown(cloud, listener):
    one, two = cloud.group("one"), cloud.group("two")
    config = {
        "TargetGroups": [{"TargetGroupArn": one, "Weight": 0}, {"TargetGroupArn": two, "Weight": 999}],
        "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60},
    }
    rule = created(cloud, listener, actions=[{"Type": "forward", "ForwardConfig": config, "Order": 5}])
    assert rule["Actions"] == [{"Type": "forward", "ForwardConfig": config, "Order": 5}]


def forward(*weights, **stickiness):
    return {
        "Type": "forward",
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": f"${i}", "Weight": weight} for i, weight in enumerate(weights)],
            **({"TargetGroupStickinessConfig": stickiness} if stickiness else {}),
        },
    }


def redirect(status="HTTP_301", **config):
    return {"Type": "redirect", "RedirectConfig": {"StatusCode": status, **config}}


def fixed(**config):
    return {"Type": "fixed-response", "FixedResponseConfig": config}


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ({"Type": "forward"}, "ValidationError"),
        (forward(1000), "ValidationError"),
        (forward(1, Enabled=True), "ValidationError"),
        (forward(1, Enabled=True, DurationSeconds=604801), "ValidationError"),
        (forward(*[1] * 6), "TooManyTargetGroups"),
        ({"Type": "redirect"}, "InvalidLoadBalancerAction"),
        (redirect(Host="a") | {"TargetGroupArn": "arn"}, "InvalidLoadBalancerAction"),
        (redirect(Host="a") | fixed(StatusCode="200") | {"Type": "redirect"}, "InvalidLoadBalancerAction"),
        (fixed(StatusCode="200") | {"ForwardConfig": {"TargetGroups": []}}, "InvalidLoadBalancerAction"),
        (redirect(Host="a") | {"Type": "forward", "TargetGroupArn": "arn"}, "InvalidLoadBalancerAction"),
        (redirect(), "InvalidLoadBalancerAction"),
        (redirect(Protocol="HTTP"), "InvalidLoadBalancerAction"),
        (redirect("HTTP_307", Host="a"), "InvalidLoadBalancerAction"),
        (redirect(Port="0"), "InvalidLoadBalancerAction"),
        (redirect(Port="#{host}"), "InvalidLoadBalancerAction"),
        (redirect(Path="nowhere"), "InvalidLoadBalancerAction"),
        (redirect(Path="/#{query}"), "InvalidLoadBalancerAction"),
        (redirect(Host="#{nothing}"), "InvalidLoadBalancerAction"),
        (redirect(Host="a b"), "InvalidLoadBalancerAction"),
        (redirect(Host="x" * 129), "ValidationError"),
        ({"Type": "fixed-response"}, "InvalidLoadBalancerAction"),
        (fixed(StatusCode="302"), "ValidationError"),
        (fixed(StatusCode="200", ContentType="image/png"), "InvalidLoadBalancerAction"),
        (fixed(StatusCode="200", MessageBody="x" * 1025), "ValidationError"),
    ],
    ids=str,
)
def test_actions_that_are_refused(cloud, listener, action, code):
    for i, one in enumerate(action.get("ForwardConfig", {}).get("TargetGroups", ())):
        one["TargetGroupArn"] = cloud.group(f"g{i}")
    assert refused(cloud, listener, actions=[action])[0] == code


def test_types_of_a_fixed_answer_are_named_as_the_original_names_them(cloud, listener):
    """As moto has it from AWS."""
    words = "'text/html', 'application/json', 'application/javascript', 'text/css', 'text/plain'"
    action = fixed(StatusCode="200", ContentType="image/png")
    assert refused(cloud, listener, actions=[action])[1] == f"The ContentType must be one of:{words}"


def test_methods_that_are_refused_are_told_what_is_allowed(cloud, listener):
    """As moto has it from AWS."""
    condition = {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}}
    words = "The 'http-request-method' value is invalid; the allowed characters are A-Z, hyphen and underscore"
    assert refused(cloud, listener, conditions=[condition])[1] == words


def test_a_rule_has_one_answer(cloud, listener):
    assert refused(cloud, listener, actions=FIXED * 2)[0] == "InvalidLoadBalancerAction"
    group = cloud.group("g")
    both = {"Type": "forward", "TargetGroupArn": group, "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": group}]}}
    created(cloud, listener, actions=[both])
    other = both | {"TargetGroupArn": cloud.group("h")}
    assert refused(cloud, listener, actions=[other], priority=2)[0] == "ValidationError"


def test_redirects_keep_what_is_not_given(cloud, listener):
    action = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}
    (shown,) = created(cloud, listener, actions=[action])["Actions"]
    assert shown["RedirectConfig"] == action["RedirectConfig"] | {
        "Host": "#{host}",
        "Path": "/#{path}",
        "Query": "#{query}",
    }


def test_https_is_not_redirected_to_http(cloud, certificate):
    balancer = cloud.application()["LoadBalancerArn"]
    wanted = {"LoadBalancerArn": balancer, "Protocol": "HTTPS", "Port": 443}
    certificates = [{"CertificateArn": certificate}]
    action = [redirect(Protocol="HTTP", Port="80")]
    code = cloud.code("CreateListener", **wanted, Certificates=certificates, DefaultActions=action)
    assert code == "InvalidLoadBalancerAction"
