"""The stored shape of what an instance's metadata tells it as its role's credentials."""

from __future__ import annotations

import msgspec

from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.engine.resource import Resource, kind


class InstanceCredentialsSpec(msgspec.Struct, frozen=True):
    """`code`: as AWS's metadata tells it ("Success"), "" before they were made. `sealed`: the document with the secret, sealed for
    `context_of` the instance. Times are Unix seconds."""

    profile: str
    code: str = ""
    message: str = ""
    role: str = ""
    role_id: str = ""
    sealed: str = ""
    updated: float = 0.0
    expires: float = 0.0
    role_arn: str = ""


@kind("ec2.InstanceCredentials")
class InstanceCredentials(Resource, frozen=True):
    """Of an instance with a profile; goes with it. Its name (`name_of`) is not the instance's: what users name by its id is the instance."""

    spec: InstanceCredentialsSpec


def new_credentials(call: Call, instance: Instance) -> InstanceCredentials:
    """That they are to be made, written together with the profile."""
    return InstanceCredentials(
        meta=call.meta(name_of(instance.meta.name), owner=instance),
        spec=InstanceCredentialsSpec(instance.spec.profile_arn),
    )


def of_instance(call: Call, name: str) -> InstanceCredentials | None:
    return call.get(InstanceCredentials, name_of(name))


def name_of(instance: str) -> str:
    return f"{instance}:credentials"


def instance_of(credentials: InstanceCredentials) -> str:
    """Its instance's id."""
    return credentials.meta.name.removesuffix(":credentials")


def context_of(instance: str) -> str:
    """What the document is sealed for."""
    return f"{instance}/credentials"
