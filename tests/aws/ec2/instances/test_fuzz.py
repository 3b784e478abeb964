"""The instance half against what any client could send: whatever the parameters, an answer of the model's shape or an error of the API's.

Parameters have the types of the model (the protocol sees to that) and nothing else is right about them: enumerations are not kept, nested
members are missing, ids belong to other things.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.ec2.images.images import BUILTINS
from gureum.aws.errors import AwsError
from gureum.engine.registry import Registry

MODULES = (
    "fleet", "image_", "instance_", "interface_attachments", "key_pairs", "launch_template", "metadata_options", "placement", "snapshot", "spot_",
    "volume",
)  # fmt: skip
WITH_AGENT = {"GetConsoleOutput"}
_model = botocore.session.get_session().get_service_model("ec2")
TEXTS = [
    "",
    "a",
    "default",
    "$Latest",
    "1",
    "-1",
    "é\n",
    "i-",
    "true",
    "/dev/xvda",
    "t3.nano",
    "all",
    "*",
    "x" * 300,
    "arn:aws:x",
]


def operations() -> list[str]:
    registry = Registry()
    registry.scan("gureum.aws.ec2")
    found = []
    for one in registry.marks("operation").values():
        module = one.target.__module__.rpartition(".")[2]
        if module.startswith(MODULES) and one.options["operation"] not in WITH_AGENT:
            found.append(one.options["operation"])
    return sorted(found)


def values(shape: Any, ids: list[str], depth: int = 0) -> st.SearchStrategy[Any]:
    kind = shape.type_name
    if kind == "structure":
        if depth > 4:
            return st.just({})
        members = {name: values(inner, ids, depth + 1) for name, inner in shape.members.items()}
        required = {name: members.pop(name) for name in (shape.required_members if depth == 0 else ())}
        chosen = st.sets(st.sampled_from(sorted(members)), max_size=4) if members else st.just(set())
        return chosen.flatmap(
            lambda names: st.fixed_dictionaries(required | {name: members[name] for name in sorted(names)})
        )
    if kind == "list":
        return st.lists(values(shape.member, ids, depth + 1), max_size=3)
    if kind == "boolean":
        return st.booleans()
    if kind in ("integer", "long"):
        return st.sampled_from([-(2**31), -1, 0, 1, 2, 5, 64, 1000, 2**31 - 1])
    if kind in ("double", "float"):
        return st.sampled_from([-1.0, 0.0, 1.5])
    if kind == "timestamp":
        return st.sampled_from([dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC)])
    if kind == "blob":
        return st.binary(max_size=40)
    enum = list(getattr(shape, "enum", ()) or ())[:8]
    return st.sampled_from([*TEXTS, *ids, *enum])


@pytest.fixture(scope="module")
def things(new_module_cloud):
    """A cloud with one of each, and the ids of all of it."""
    cloud = new_module_cloud
    run = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1}
    made = cloud("RunInstances", **run)["Instances"][0]
    interface = cloud.interface(made["SubnetId"])
    attached = cloud(
        "AttachNetworkInterface", InstanceId=made["InstanceId"], NetworkInterfaceId=interface, DeviceIndex=1
    )
    free = cloud.interface(made["SubnetId"])
    key = cloud("CreateKeyPair", KeyName="key", KeyType="ed25519")
    data = {"ImageId": BUILTINS[0].id, "InstanceType": "t3.nano"}
    template = cloud("CreateLaunchTemplate", LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    volume = cloud("CreateVolume", AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    profile = cloud("AssociateIamInstanceProfile", InstanceId=made["InstanceId"], IamInstanceProfile={"Name": "p"})
    ids = [
        made["InstanceId"], made["SubnetId"], interface, free, attached["AttachmentId"], key["KeyPairId"], "key", "web",
        template["LaunchTemplateId"], volume, made["BlockDeviceMappings"][0]["Ebs"]["VolumeId"], BUILTINS[0].id,
        profile["IamInstanceProfileAssociation"]["AssociationId"], made["SecurityGroups"][0]["GroupId"],
        "us-east-1a", "i-0123456789abcdef0", "ami-0123456789abcdef0", "resolve:ssm:x",
    ]  # fmt: skip
    return cloud, ids


@pytest.fixture(scope="module")
def new_module_cloud(new_cloud_type):
    made = new_cloud_type()
    yield made
    made.lowering.close()
    made.client.close()


@pytest.mark.parametrize("name", operations())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_any_parameters_get_an_answer_or_the_api_s_error(things, name, data):
    cloud, ids = things
    shape = _model.operation_model(name).input_shape
    params = data.draw(values(shape, ids)) if shape is not None else {}
    revision = cloud.client.store.revision
    with suppress(AwsError):
        cloud(name, **params)
        revision = cloud.client.store.revision
    assert cloud.client.store.revision == revision, "a refused call changes nothing"
