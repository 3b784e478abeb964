"""Reviews: questions about who somebody is and what he may. They are answered and not kept.

Source: Kubernetes API reference, authentication.k8s.io/v1 and authorization.k8s.io/v1.
"""

from __future__ import annotations

from typing import Any

from gureum.kube.access.rbac import Act, Rbac
from gureum.kube.access.tokens import Tokens
from gureum.kube.errors import bad_request
from gureum.kube.objects import Object
from gureum.kube.requests import User

STORAGES = frozenset(
    {
        *(f"authorization.k8s.io/{name}" for name in (
            "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews",
        )),
        "authentication.k8s.io/selfsubjectreviews",
        "authentication.k8s.io/tokenreviews",
    }
)  # fmt: skip


def answer(obj: Object, user: User, rbac: Rbac, tokens: Tokens, namespace: str) -> Object:
    """The review with its status."""
    spec = obj.get("spec") or {}
    kind = obj["kind"]
    if kind == "SelfSubjectReview":
        status: Object = {"userInfo": user_info(user)}
    elif kind == "TokenReview":
        status = _token(spec, tokens)
    elif kind == "SelfSubjectRulesReview":
        status = _rules(rbac, user, str(spec.get("namespace") or ""))
    else:
        who = user if kind == "SelfSubjectAccessReview" else _subject(spec)
        status = _access(rbac, who, _act(spec, namespace))
    return {**obj, "status": status}


def user_info(user: User) -> Object:
    found: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        found["uid"] = user.uid
    return found | ({"extra": user.extra} if user.extra else {})


def _subject(spec: Object) -> User:
    if not spec.get("user") and not spec.get("groups"):
        raise bad_request('spec.user: Invalid value: "": at least one of user or group must be specified')
    return User(str(spec.get("user") or ""), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""))


def _act(spec: Object, namespace: str) -> Act:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        raise bad_request("exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be specified")
    if path is not None:
        return Act(str(path.get("verb") or ""), path=str(path.get("path") or ""))
    assert resource is not None
    return Act(
        str(resource.get("verb") or ""),
        str(resource.get("group") or ""),
        str(resource.get("resource") or ""),
        str(resource.get("subresource") or ""),
        namespace or str(resource.get("namespace") or ""),
        str(resource.get("name") or ""),
    )


def _access(rbac: Rbac, user: User, act: Act) -> Object:
    why = rbac.allows(user, act)
    return {"allowed": True, "reason": why} if why else {"allowed": False}


def _rules(rbac: Rbac, user: User, namespace: str) -> Object:
    if not namespace:
        raise bad_request("no namespace on request")
    resource, plain = [], []
    for rule in rbac.rules(user, namespace):
        found: dict[str, Any] = {
            name: rule[name] for name in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(name)
        }
        if rule.get("nonResourceURLs"):
            plain.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            resource.append(found)
    return {"resourceRules": resource, "nonResourceRules": plain, "incomplete": False}


def _token(spec: Object, tokens: Tokens) -> Object:
    audiences = tuple(spec.get("audiences") or ())
    user = tokens.user_of(str(spec.get("token") or ""), audiences)
    if user is None:
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": user_info(user), "audiences": list(audiences or (tokens.issuer,))}
