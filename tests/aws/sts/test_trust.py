"""Whom a trust policy lets assume its role (IAM user guide: "AWS JSON policy elements")."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from gureum.aws.sts.tokens import account_in
from gureum.aws.sts.trust import Asking, lets

OWN, OTHER = "111122223333", "444455556666"
ROLE, USER = f"arn:aws:iam::{OWN}:role/ci/web", f"arn:aws:iam::{OWN}:user/anna"
SESSION = f"arn:aws:sts::{OWN}:assumed-role/web/i-1"
CONTEXT: dict[str, tuple[str, ...]] = {
    "sts:externalid": ("agreed",),
    "sts:sourceidentity": (),
    "aws:principalarn": (ROLE,),
    "aws:tagkeys": ("Team", "Cost"),
    "aws:requesttag/team": ("a",),
    "aws:username": ("anna",),
    "sts:rolesessionname": ("anna",),
    "aws:currenttime": ("2026-11-29T12:00:00Z",),
}
ASKING = Asking(OWN, frozenset({SESSION, ROLE}), CONTEXT)
ALLOW = {"Effect": "Allow", "Principal": {"AWS": OWN}, "Action": "sts:AssumeRole"}


def judged(statement: Any, action: str = "sts:AssumeRole") -> bool:
    policy = {"Version": "2012-10-17", "Statement": statement}
    assert lets(quote(json.dumps(policy)), ASKING, action) is lets(policy, ASKING, action)
    return lets(policy, ASKING, action)


@pytest.mark.parametrize(
    ("principal", "named"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"AWS": OWN}, True),
        ({"AWS": f"arn:aws:iam::{OWN}:root"}, True),
        ({"AWS": [OTHER, ROLE]}, True),
        ({"AWS": SESSION}, True),
        ({"AWS": USER}, False),
        ({"AWS": f"arn:aws:iam::{OWN}:role/web"}, False),
        ({"AWS": f"arn:aws:iam::{OWN}:role/*"}, False),
        ({"AWS": OTHER}, False),
        ({"Service": "ec2.amazonaws.com"}, False),
        ({"AWS": [7, None, {}]}, False),
        (None, False),
        (OWN, False),
    ],
)
def test_principals(principal: Any, named: bool) -> None:
    assert judged({**ALLOW, "Principal": principal}) is named
    both = [{**ALLOW, "Principal": "*"}, {**ALLOW, "Effect": "Deny", "Principal": principal}]
    assert judged(both) is not named


def test_who_is_not_named() -> None:
    rest = {name: value for name, value in ALLOW.items() if name != "Principal"}
    assert not judged({**rest, "NotPrincipal": {"AWS": ROLE}})
    assert not judged({**rest, "NotPrincipal": {"AWS": USER}})  # AWS: not supported with Allow
    deny = {**rest, "Effect": "Deny"}
    assert not judged([ALLOW, {**deny, "NotPrincipal": {"AWS": USER}}])
    assert judged([ALLOW, {**deny, "NotPrincipal": {"AWS": ROLE}}])


@pytest.mark.parametrize(
    ("element", "value", "acts"),
    [
        ("Action", "sts:assumerole", True),
        ("Action", ["sts:TagSession", "sts:*"], True),
        ("Action", "*", True),
        ("Action", "sts:AssumeRoleWith*", False),
        ("Action", "sts:TagSession", False),
        ("NotAction", "sts:TagSession", True),
        ("NotAction", "sts:Assume*", False),
        ("Action", None, False),
    ],
)
def test_actions(element: str, value: Any, acts: bool) -> None:
    assert judged({"Effect": "Allow", "Principal": {"AWS": OWN}, element: value}) is acts


@pytest.mark.parametrize(
    ("operator", "key", "value", "met"),
    [
        ("StringEquals", "sts:ExternalId", "agreed", True),
        ("StringEquals", "STS:externalid", ["x", "agreed"], True),
        ("StringEquals", "sts:ExternalId", "Agreed", False),
        ("StringEqualsIgnoreCase", "sts:ExternalId", "Agreed", True),
        ("StringNotEquals", "sts:ExternalId", "agreed", False),
        ("StringNotEquals", "sts:ExternalId", ["x", "y"], True),
        ("StringLike", "sts:ExternalId", "agr*", True),
        ("StringNotLike", "sts:ExternalId", "agr*", False),
        ("ArnLike", "aws:PrincipalArn", f"arn:aws:iam::{OWN}:role/*", True),
        ("ArnNotEquals", "aws:PrincipalArn", ROLE, False),
        ("StringEquals", "sts:SourceIdentity", "anna", False),
        ("StringEqualsIfExists", "sts:SourceIdentity", "anna", True),
        ("StringNotEquals", "sts:SourceIdentity", "anna", True),
        ("Null", "sts:SourceIdentity", "true", True),
        ("Null", "sts:ExternalId", True, False),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["Team", "Cost", "x"], True),
        ("ForAllValues:StringEquals", "aws:TagKeys", ["Team"], False),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["Team"], True),
        ("ForAnyValue:StringEquals", "aws:TagKeys", ["x"], False),
        ("ForAnyValue:StringNotEquals", "sts:SourceIdentity", ["x"], False),
        ("ForAllValues:StringNotEquals", "sts:SourceIdentity", ["x"], True),
        ("StringEquals", "aws:RequestTag/Team", "a", True),
        ("StringEquals", "aws:RequestTag/Other", "a", False),
        ("StringLike", "sts:RoleSessionName", "${aws:username}", True),
        ("StringLike", "sts:RoleSessionName", "x-${aws:username}", False),
        ("StringLike", "sts:RoleSessionName", "${aws:PrincipalTag/none}*", False),
        ("DateLessThan", "aws:CurrentTime", "2026-11-29T12:00:01Z", True),
        ("DateLessThan", "aws:CurrentTime", "2026-11-29", False),
        ("DateGreaterThanEquals", "aws:CurrentTime", ["no date", "2026-11-29T12:00:00Z"], True),
        ("NumericEquals", "sts:ExternalId", 7, False),
    ],
)
def test_conditions(operator: str, key: str, value: Any, met: bool) -> None:
    condition = {"Condition": {operator: {key: value}}}
    assert judged({**ALLOW, **condition}) is met
    assert judged([ALLOW, {**ALLOW, "Effect": "Deny", **condition}]) is not met


@pytest.mark.parametrize(
    ("operator", "key"),
    [("StringEquals", "aws:PrincipalOrgID"), ("IpAddress", "aws:SourceIp"), ("StringEquals", "aws:PrincipalTag/x")],
)
def test_what_nobody_can_say_here_stands_in_nobodys_way(operator: str, key: str) -> None:
    condition = {"Condition": {operator: {key: "true"}}}
    assert judged({**ALLOW, **condition})
    assert judged([ALLOW, {**ALLOW, "Effect": "Deny", **condition}])


@pytest.mark.parametrize(
    "condition",
    [
        {"Nonsense": {"sts:ExternalId": "agreed"}},
        {"ForNoValue:StringEquals": {"sts:ExternalId": "agreed"}},
        {"IpAddress": {"sts:ExternalId": "agreed"}},
        {"StringEquals": ["sts:ExternalId"]},
        ["x"],
        None,
        "x",
    ],
)
def test_what_is_no_condition_lets_nobody_in(condition: Any) -> None:
    assert not judged({**ALLOW, "Condition": condition})
    assert not judged([ALLOW, {**ALLOW, "Effect": "Deny", "Condition": condition}])


def test_a_value_of_the_caller_is_no_pattern() -> None:
    asking = Asking(OWN, ASKING.arns, {"sts:externalid": ("secret",), "aws:requesttag/id": ("*",)})
    condition = {"StringLike": {"sts:ExternalId": "${aws:RequestTag/Id}"}}
    assert not lets({"Statement": {**ALLOW, "Condition": condition}}, asking, "sts:AssumeRole")


@pytest.mark.parametrize("policy", ["", "no json", "[]", "%7B", 7, None, {"Statement": ["x", None]}, {"Statement": 7}])
def test_what_is_no_policy_lets_nobody(policy: Any) -> None:
    assert lets(policy, ASKING, "sts:AssumeRole") is False


@pytest.mark.parametrize(
    ("key", "account"),
    [
        ("AKIAIOSFODNN7EXAMPLE", ""),  # of before 2019: it tells no account
        ("ASIAY34FZKBOKMUTVV7A", "609629065308"),
        ("AKIA", ""),
        ("AKIAq34FZKBOKMUTVV7A", ""),
        ("test", ""),
    ],
)
def test_accounts_in_ids_of_keys(key: str, account: str) -> None:
    """The second is of Aidan Steele's "AWS access key ID formats"."""
    assert account_in(key) == account
