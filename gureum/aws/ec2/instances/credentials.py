"""Credentials of instances' roles: sessions of STS that the metadata service hands to the machine, made anew long before they end.

    profile given (commit) ─► reconcile: IAM is asked for the role ─► sts.Session + sealed document (one commit) ─► lowered into the metadata
                                    ▲ each minute, and when half of their time is over

The secret is sealed in the store, on its way to the agent and in the agent's cache; the metadata service opens it when the machine asks.
Credentials that are no longer shown are good until they end, as on AWS. AWS: "Retrieve security credentials from instance metadata" (EC2 user
guide); codes other than Success: "Troubleshoot IAM and Amazon EC2" (IAM user guide).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from gureum.aws.credentials import new_session, role_id
from gureum.aws.ec2.instances.credential_kinds import (
    InstanceCredentials,
    InstanceCredentialsSpec,
    context_of,
    instance_of,
    name_of,
)
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.instances.lifecycle import world_call
from gureum.aws.ec2.instances.profiles import iam_profile
from gureum.aws.partitions import partition_of
from gureum.core.world import World
from gureum.engine.client import Client
from gureum.engine.registry import reconcile, watch
from gureum.engine.resource import key_of, make_key

GOOD_FOR_S = 6 * 3600.0
LOOK_S = 60.0
SERVICE = "ec2.amazonaws.com"


@watch(Instance)
def credentials_of_instance(client: Client, instance: Instance) -> Iterable[str]:
    """An instance that starts may need new ones."""
    if not instance.spec.profile_arn:
        return ()
    return (make_key("ec2.InstanceCredentials", instance.meta.scope, name_of(instance.meta.name)),)


@reconcile(InstanceCredentials)
async def reconcile_credentials(world: World, credentials: InstanceCredentials) -> None:
    call = world_call(world, credentials)
    instance = call.get(Instance, instance_of(credentials))
    transaction = call.transaction()
    if instance is None or instance.status.state == "terminated":
        transaction.delete(credentials)
        await transaction.commit()
        return
    if instance.status.state not in ("pending", "running"):
        return
    wanted = _wanted(call, credentials.spec)
    if not _holds(credentials.spec, wanted, call.now):
        if wanted.code == "Success":
            wanted = _issued(world, transaction, credentials, wanted)
        transaction.update(msgspec.structs.replace(credentials, spec=wanted))
        await transaction.commit()
    world.poke(key_of(credentials), LOOK_S)


def _holds(now: InstanceCredentialsSpec, wanted: InstanceCredentialsSpec, at: float) -> bool:
    """Whether nothing is to be done."""
    same = (now.code, now.role, now.role_id, now.message) == (wanted.code, wanted.role, wanted.role_id, wanted.message)
    return same and (now.code != "Success" or now.expires - at > GOOD_FOR_S / 2)


def _wanted(call: Any, spec: InstanceCredentialsSpec) -> InstanceCredentialsSpec:
    """What they are to be, without the document. Unasked."""
    profile = iam_profile(call, spec.profile)
    if profile is None or not profile.role:
        text = f"Instance Profile {spec.profile} cannot be found or has no role."
        return InstanceCredentialsSpec(spec.profile, "InstanceProfileNotFound", text, updated=call.now)
    role = profile.role
    name, id_ = (
        role["RoleName"],
        role.get("RoleId") or role_id(f"arn:{call.partition}:iam::{call.account}:role/{role['RoleName']}"),
    )
    if "AssumeRolePolicyDocument" in role and not lets_assume(role["AssumeRolePolicyDocument"]):
        text = (
            "EC2 cannot assume the role "
            f"{name}. Please see documentation at https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html."
        )
        return InstanceCredentialsSpec(spec.profile, "AssumeRoleUnauthorizedAccess", text, name, id_, updated=call.now)
    return InstanceCredentialsSpec(
        spec.profile, "Success", "", name, id_, updated=call.now, role_arn=role.get("Arn", "")
    )


def _issued(
    world: World, transaction: Any, credentials: InstanceCredentials, wanted: InstanceCredentialsSpec
) -> InstanceCredentialsSpec:
    (account, region), name = credentials.meta.scope.split("/"), instance_of(credentials)
    arn = f"arn:{partition_of(region)}:sts::{account}:assumed-role/{wanted.role}/{name}"
    whose = (account, arn, f"{wanted.role_id}:{name}")
    how = (wanted.updated, GOOD_FOR_S)
    issued = new_session(world.client, transaction, world.sealer, *whose, *how, role_arn=wanted.role_arn)
    document = {
        "Code": "Success",
        "LastUpdated": _iso(wanted.updated),
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": issued.secret,
        "Token": issued.token,
        "Expiration": _iso(issued.expires),
    }
    sealed = world.sealer.seal(json.dumps(document, indent=2), context_of(name))
    return msgspec.structs.replace(wanted, sealed=sealed, expires=issued.expires)


def lets_assume(policy: Any) -> bool:
    """Whether a role's trust policy lets EC2 assume it: some statement allows it and none denies it. `policy`: JSON text, URL-encoded as IAM
    answers it, or the document itself. Conditions are not judged: one with a condition counts as if it were met."""
    try:
        document = policy if isinstance(policy, dict) else json.loads(unquote(str(policy)))
    except ValueError:
        return False
    statements = _several(document.get("Statement")) if isinstance(document, dict) else []
    meant = [one for one in statements if isinstance(one, dict) and _names_ec2(one)]
    return any(one.get("Effect") == "Allow" for one in meant) and all(one.get("Effect") != "Deny" for one in meant)


def _names_ec2(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal")
    services = _several(principal.get("Service")) if isinstance(principal, dict) else []
    # Of some partitions the name has another end; both are taken everywhere.
    named = principal == "*" or "*" in services or SERVICE in services or f"{SERVICE}.cn" in services
    actions = {str(one).lower() for one in _several(statement.get("Action"))}
    return named and bool(actions & {"sts:assumerole", "sts:*", "*"})


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
