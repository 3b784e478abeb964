"""Resource policies: what lets other services of AWS write to log groups. They are remembered; gureum's own services need none.

AWS: ten for an account. Those of a single log group (resourceArn) are not built.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.logs.kinds import invalid, key_name, milliseconds, not_built, paged
from gureum.aws.marks import Result, operation
from gureum.engine.resource import Resource, kind

LIMIT_POLICIES = 10
LIMIT_DOCUMENT = 5120
"""Characters. AWS: CloudWatch Logs quotas, "Resource policies"."""


class PolicySpec(msgspec.Struct, frozen=True):
    """`document`: JSON as given. `updated`: Unix seconds."""

    name: str
    document: str
    updated: float


@kind("logs.ResourcePolicy")
class ResourcePolicy(Resource, frozen=True):
    spec: PolicySpec


@operation("PutResourcePolicy", level="state")
async def put_resource_policy(call: Call) -> Result:
    """AWS: logs PutResourcePolicy. InvalidParameterException, LimitExceededException."""
    name, document = _name(call), call.params.get("policyDocument")
    if not document:
        raise invalid("The policy document is required.")
    _check(document)
    old = call.get(ResourcePolicy, key_name(name))
    transaction = call.transaction()
    spec = PolicySpec(name, document, call.now)
    if old is None:
        if len(call.all(ResourcePolicy)) >= LIMIT_POLICIES:
            raise AwsError("LimitExceededException", "Resource limit exceeded.")
        transaction.require_no_newer(ResourcePolicy, call.scope)
        policy = transaction.create(ResourcePolicy(meta=call.meta(key_name(name)), spec=spec))
    else:
        policy = transaction.update(msgspec.structs.replace(old, spec=spec))
    await call.commit(transaction)
    return {"resourcePolicy": _show(policy)}


@operation("DescribeResourcePolicies", level="state")
def describe_resource_policies(call: Call) -> Result:
    """AWS: logs DescribeResourcePolicies."""
    if call.params.get("resourceArn") or call.params.get("policyScope") == "RESOURCE":
        raise not_built("A resource policy of a single log group")
    shown, token = paged(call, call.all(ResourcePolicy), lambda one: one.spec.name)
    return {"resourcePolicies": [_show(one) for one in shown]} | token


@operation("DeleteResourcePolicy", level="state")
async def delete_resource_policy(call: Call) -> Result:
    """AWS: logs DeleteResourcePolicy. ResourceNotFoundException."""
    name = _name(call)
    policy = call.get(ResourcePolicy, key_name(name))
    if policy is None:
        raise AwsError("ResourceNotFoundException", f"Policy with name [{name}] does not exist.")
    transaction = call.transaction()
    transaction.delete(policy)
    await call.commit(transaction)
    return {}


def _name(call: Call) -> str:
    if call.params.get("resourceArn") or call.params.get("expectedRevisionId"):
        raise not_built("A resource policy of a single log group")
    name = call.params.get("policyName")
    if not name:
        raise invalid("The policy name is required.")
    return str(name)


def _check(document: str) -> None:
    """AWS: JSON with statements that allow or deny something."""
    try:
        found = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise invalid("The policy document is not valid JSON.") from error
    statements = found.get("Statement") if isinstance(found, dict) else None
    listed = statements if isinstance(statements, list) else [statements]
    if len(document) > LIMIT_DOCUMENT or not all(
        isinstance(one, dict) and one.get("Effect") in ("Allow", "Deny") and one.get("Action") for one in listed
    ):
        raise invalid("The policy document is invalid.")


def _show(policy: ResourcePolicy) -> dict[str, Any]:
    """API form. AWS: logs ResourcePolicy."""
    spec = policy.spec
    return {
        "policyName": spec.name,
        "policyDocument": spec.document,
        "lastUpdatedTime": milliseconds(spec.updated),
        "policyScope": "ACCOUNT",
    }
