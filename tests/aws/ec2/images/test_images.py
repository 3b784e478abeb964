"""Images: what is found by whom, and what may be changed of it."""

from __future__ import annotations

import asyncio
import datetime as dt

import msgspec
import pytest

from gureum.aws.ec2.images.describe import describe_images
from gureum.aws.ec2.images.images import BUILTINS, Image, ImageSpec, ImageStatus, find_launch_image, root_mapping
from gureum.aws.ec2.images.names import MACHINE, builtin_of, listed_names
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.volumes.ebs_encryption import managed_key
from gureum.aws.ec2.volumes.snapshot_kinds import Snapshot, SnapshotSpec, SnapshotStatus
from gureum.base.ids import new_id
from gureum.base.settings import Settings


@pytest.fixture
def owned(cloud):
    """An image of the caller's own, as an import leaves it."""
    return add(cloud)


def add(cloud, name="mine", **fields):
    call = cloud.call()
    spec = ImageSpec(name=name, source="digest:sha256:1", mappings=root_mapping("/dev/xvda", 8), location=name)
    image = Image(meta=call.meta(f"ami-0{abs(hash(name)) % 16**16:016x}"), spec=msgspec.structs.replace(spec, **fields))
    transaction = call.transaction()
    transaction.create(image)
    asyncio.run(transaction.commit())
    return image.meta.name


def snapshot(cloud, **fields):
    call = cloud.call()
    spec = msgspec.structs.replace(SnapshotSpec(volume="vol-ffffffff", size_gib=8), **fields)
    made = Snapshot(meta=call.meta(new_id("snap-")), spec=spec, status=SnapshotStatus("completed"))
    transaction = call.transaction()
    transaction.create(made)
    asyncio.run(transaction.commit())
    return made.meta.name


def found(cloud, **params):
    return [image["Name"] for image in cloud("DescribeImages", **params)["Images"]]


def by(name, *values):
    return [{"Name": name, "Values": list(values)}]


def test_the_built_in_images_are_what_they_say(cloud):
    busybox, debian = sorted(
        cloud("DescribeImages", Owners=["amazon"])["Images"], key=lambda one: one["Name"], reverse=True
    )
    assert busybox["Name"].startswith("gureum-busybox-")
    assert debian["Name"].startswith("debian-12-")
    assert {one["State"] for one in (busybox, debian)} == {"available"}
    assert found(cloud, Owners=["self"]) == []
    assert found(cloud, Filters=by("owner-alias", "amazon") + by("root-device-type", "ebs")) == found(cloud)


ON_X86 = pytest.mark.skipif(MACHINE != "x86_64", reason="Amazon Linux 1 was made for x86_64 only")


@pytest.mark.parametrize(
    ("owner", "pattern", "builtin", "device"),
    [
        ("amazon", f"al2023-ami-2023*-{MACHINE}", "busybox", "/dev/xvda"),
        ("137112412989", f"al2023-ami-*-kernel-6.1-{MACHINE}", "busybox", "/dev/xvda"),
        ("amazon", f"amzn2-ami-hvm-*-{MACHINE}-gp2", "busybox", "/dev/xvda"),
        pytest.param("amazon", "amzn-ami-hvm-*-x86_64-gp2", "busybox", "/dev/xvda", marks=ON_X86),
        ("099720109477", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-*-server-*", "busybox", "/dev/sda1"),
        ("099720109477", "ubuntu/images/*/ubuntu-noble-24.04-*-server-*", "busybox", "/dev/sda1"),
        ("136693071363", "debian-13-*", "debian", "/dev/xvda"),
    ],
)
def test_patterns_that_templates_look_for_find_an_image_that_says_what_it_is(cloud, owner, pattern, builtin, device):
    wanted = by("name", pattern) + by("virtualization-type", "hvm") + by("root-device-type", "ebs")
    images = cloud("DescribeImages", Owners=[owner], Filters=wanted)["Images"]
    assert images
    for image in images:
        assert image["OwnerId"] == owner or owner == "amazon"
        assert f"gureum-{builtin}" in image["Description"] or "-gureum-" in image["Description"]
        assert (image["RootDeviceName"], image["BlockDeviceMappings"][0]["DeviceName"]) == (device, device)
        assert cloud.one("DescribeImages", "Images", ImageIds=[image["ImageId"]]) == image
        assert image["Name"] not in found(cloud)
        assert cloud("CopyImage", SourceRegion="eu-west-1", SourceImageId=image["ImageId"], Name=image["ImageId"])[
            "ImageId"
        ]
        (made,) = cloud("RunInstances", ImageId=image["ImageId"], InstanceType="t3.nano", MinCount=1, MaxCount=1)[
            "Instances"
        ]
        assert made["RootDeviceName"] == device
        assert cloud.call().get(Instance, made["InstanceId"]).spec.image_source == f"builtin:{builtin}"


@pytest.mark.parametrize(
    ("operation", "member"),
    [
        ("DescribeImages", "Owners"),
        ("DescribeImages", "ExecutableUsers"),
        ("DescribeSnapshots", "OwnerIds"),
        ("DescribeSnapshots", "RestorableByUserIds"),
    ],
)
def test_users_that_are_none_are_refused(cloud, operation, member):
    """AWS: "Error codes for the Amazon EC2 API", InvalidUserID.Malformed."""
    assert cloud(operation, **{member: ["self", cloud.account]})
    refused = cloud.refused(operation, **{member: ["self", "somebody"]})
    assert refused[:2] == ("InvalidUserID.Malformed", 'Invalid user id: "somebody"')


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("DescribeInstanceStatus", {"InstanceIds": ["i-0123456789abcdef0"]}),
        ("DescribeInstanceCreditSpecifications", {"InstanceIds": ["i-0123456789abcdef0"]}),
        ("DescribeStoreImageTasks", {"ImageIds": ["ami-0123456789abcdef0"]}),
    ],
)
def test_ids_and_pages_exclude_each_other(cloud, operation, params):
    """AWS says so of MaxResults in the reference of each."""
    assert cloud.code(operation, **params, MaxResults=10) == "InvalidParameterCombination"


def test_public_parameters_answer_the_built_in_images(cloud):
    names = listed_names()
    assert {builtin_of(name) for name in names} == {"busybox", "debian"}
    amazon = next(name for name in names if "al2023-ami-kernel-default" in name)
    image = cloud.one("DescribeImages", "Images", ImageIds=[f"resolve:ssm:{amazon}"])
    assert image["ImageId"] == BUILTINS[0].id
    assert builtin_of(amazon + "/x") is None
    assert builtin_of("/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base") is None


def test_what_is_not_there(cloud):
    missing = "ami-0123456789abcdef0"
    expected = ("InvalidAMIID.NotFound", f"The image id '[{missing}]' does not exist")
    assert cloud.refused("DescribeImages", ImageIds=[missing]) == expected
    assert cloud.code("DescribeImages", ImageIds=["ami-x"]) == "InvalidAMIID.Malformed"
    assert cloud.code("DeregisterImage", ImageId=missing) == "InvalidAMIID.NotFound"
    assert cloud.refused("DeregisterImage", ImageId=BUILTINS[0].id) == (
        "AuthFailure",
        f"Not authorized for image:{BUILTINS[0].id}",
    )


def test_sharing(cloud, new_cloud, owned):
    other = new_cloud(cloud.client, account="999988887777")
    assert other.code("DescribeImages", ImageIds=[owned]) == "InvalidAMIID.NotFound"
    cloud("ModifyImageAttribute", ImageId=owned, LaunchPermission={"Add": [{"UserId": "999988887777"}]})
    assert found(other, ImageIds=[owned]) == ["mine"]
    assert found(other, ExecutableUsers=["self"]) == ["mine"]
    assert found(other, Owners=["self"]) == []
    assert found(other, Owners=[cloud.account]) == ["mine"]
    assert other.code("ModifyImageAttribute", ImageId=owned, Description={"Value": "x"}) == "AuthFailure"
    told = cloud("DescribeImageAttribute", ImageId=owned, Attribute="launchPermission")
    assert told["LaunchPermissions"] == [{"UserId": "999988887777"}]
    cloud("ModifyImageAttribute", ImageId=owned, OperationType="add", UserGroups=["all"], Attribute="launchPermission")
    assert "mine" in found(other, ExecutableUsers=["all"])
    cloud("ResetImageAttribute", ImageId=owned, Attribute="launchPermission")
    assert found(other, Filters=by("name", "mine")) == []
    assert (
        new_cloud(cloud.client, region="eu-west-1").code("DescribeImages", ImageIds=[owned]) == "InvalidAMIID.NotFound"
    )


def test_what_is_shared_comes_without_its_owner_s_tags(cloud, new_cloud, owned):
    """AWS: "Share an AMI with specific AWS accounts", "Copy an Amazon EC2 AMI"."""
    disk = snapshot(cloud, accounts=("999988887777",))
    for resource in (owned, disk):
        cloud("CreateTags", Resources=[resource], Tags=[{"Key": "secret", "Value": "plan"}])
    cloud("ModifyImageAttribute", ImageId=owned, LaunchPermission={"Add": [{"UserId": "999988887777"}]})
    other = new_cloud(cloud.client, account="999988887777")
    assert other.one("DescribeImages", "Images", ImageIds=[owned])["Tags"] == []
    assert other.one("DescribeSnapshots", "Snapshots", SnapshotIds=[disk])["Tags"] == []
    for name, things in (("DescribeImages", "Images"), ("DescribeSnapshots", "Snapshots")):
        for asks in ("tag:secret", "tag-value"):
            assert other(name, Filters=by(asks, "plan"))[things] == []
            assert len(cloud(name, Filters=by(asks, "plan"))[things]) == 1
    copied = {"SourceImageId": owned, "SourceRegion": "us-east-1", "CopyImageTags": True}
    tags = {}
    for caller in (cloud, other):
        made = caller("CopyImage", Name="copied", **copied)["ImageId"]
        tags[caller.account] = caller.one("DescribeImages", "Images", ImageIds=[made])["Tags"]
    assert tags == {cloud.account: [{"Key": "secret", "Value": "plan"}], "999988887777": []}


def test_an_image_of_encrypted_disks_is_shared_only_under_a_key_that_can_be(cloud):
    """hashicorp/packer issue 7410; AWS: "Make your AMI publicly available"."""
    to_one, to_all = {"Add": [{"UserId": "999988887777"}]}, {"Add": [{"Group": "all"}]}
    managed, own = (
        add(cloud, name, mappings=({"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot(cloud, kms_key=key)}},))
        for name, key in (("managed", managed_key(cloud.call())), ("own", "arn:aws:kms:us-east-1:1:key/1"))
    )
    modify = "ModifyImageAttribute"
    assert cloud.refused(modify, ImageId=managed, LaunchPermission=to_one) == (
        "InvalidParameter",
        "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.",
    )
    cloud(modify, ImageId=own, LaunchPermission=to_one)
    assert cloud.code(modify, ImageId=own, LaunchPermission=to_all) == "OperationNotPermitted"


def test_attributes_that_are_no_attributes(cloud, owned):
    modify = "ModifyImageAttribute"
    assert cloud.refused(modify, ImageId=owned, LaunchPermission={"Add": [{"UserId": "12"}]}) == (
        "InvalidAMIAttributeItemValue",
        'Invalid attribute item value "12" for userId item type.',
    )
    assert (
        cloud.code(modify, ImageId=owned, LaunchPermission={"Add": [{"Group": "some"}]})
        == "InvalidAMIAttributeItemValue"
    )
    assert cloud.code(modify, ImageId=owned) == "InvalidParameterCombination"
    cloud(modify, ImageId=owned, Description={"Value": "new"})
    assert cloud("DescribeImageAttribute", ImageId=owned, Attribute="description")["Description"] == {"Value": "new"}


def test_deprecated_images_are_shown_to_their_owner(cloud, new_cloud):
    public = add(cloud, "public", public=True)
    other = new_cloud(cloud.client, account="999988887777")
    at = dt.datetime.fromtimestamp(cloud.client.clock.now() + 600, dt.UTC)
    cloud("EnableImageDeprecation", ImageId=public, DeprecateAt=at)
    assert "public" in found(other)
    cloud.client.clock.time += 1200
    assert "public" not in found(other)
    assert "public" in found(other, IncludeDeprecated=True)
    assert found(other, ImageIds=[public]) == ["public"]
    assert "public" in found(cloud)
    assert cloud.code("EnableImageDeprecation", ImageId=public, DeprecateAt=at) == "InvalidParameterValue"
    mine, years = add(cloud, "mine"), dt.timedelta(days=366)
    for image, most in ((public, 2), (mine, 10)):
        late = {"ImageId": image, "DeprecateAt": at + (most + 1) * years}
        assert cloud.code("EnableImageDeprecation", **late) == "InvalidParameterValue"
        cloud("EnableImageDeprecation", **late | {"DeprecateAt": at + (most - 1) * years})
    cloud("DisableImageDeprecation", ImageId=public)
    assert "public" in found(other)


def test_a_disabled_image_starts_nothing(cloud, owned):
    run = {"ImageId": owned, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    cloud("DisableImage", ImageId=owned)
    assert cloud.code("RunInstances", **run) == "InvalidAMIID.Unavailable"
    assert found(cloud, Owners=["self"]) == []
    assert found(cloud, Owners=["self"], IncludeDisabled=True) == ["mine"]
    cloud("EnableImage", ImageId=owned)
    assert cloud("RunInstances", **run)["Instances"][0]["ImageId"] == owned


def test_a_disk_of_another_type_forgets_the_speed_that_the_image_says(cloud):
    (root,) = root_mapping("/dev/xvda", 8)
    fast = {**root, "Ebs": {**root["Ebs"], "VolumeType": "gp3", "Iops": 4000, "Throughput": 500}}
    image = add(cloud, name="fast", mappings=(fast,))
    for type_, speed in (("gp2", (100, None)), ("gp3", (4000, 500))):
        disks = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": type_}}]
        cloud("RunInstances", ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, BlockDeviceMappings=disks)
        volume = cloud.one("DescribeVolumes", "Volumes", Filters=[{"Name": "volume-type", "Values": [type_]}])
        assert (volume["Iops"], volume.get("Throughput")) == speed


def test_deregistration_protection(cloud, owned):
    cloud("EnableImageDeregistrationProtection", ImageId=owned)
    assert cloud.code("DeregisterImage", ImageId=owned) == "OperationNotPermitted"
    cloud("DisableImageDeregistrationProtection", ImageId=owned)
    cloud("DeregisterImage", ImageId=owned)
    assert cloud.code("DescribeImages", ImageIds=[owned]) == "InvalidAMIID.NotFound"


def test_pages(cloud):
    for number in range(5):
        add(cloud, f"image-{number}")
    first = cloud("DescribeImages", Owners=["self"], MaxResults=3)
    second = cloud("DescribeImages", Owners=["self"], MaxResults=3, NextToken=first["NextToken"])
    assert len(first["Images"]) == 3
    assert len(second["Images"]) == 2


def test_an_image_that_is_not_imported_yet_cannot_start(cloud):
    id_ = add(cloud, "late")
    image = cloud.call().get(Image, id_)
    transaction = cloud.call().transaction()
    transaction.update(msgspec.structs.replace(image, status=ImageStatus("pending")))
    asyncio.run(transaction.commit())
    run = {"ImageId": id_, "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    assert cloud.code("RunInstances", **run) == "InvalidAMIID.Unavailable"


def test_with_a_fallback_an_unknown_id_is_described_as_it_would_start(cloud):
    """Terraform asks for the root device of the image that it is to start."""
    unknown = "ami-0abcdef1234567890"
    assert cloud.code("DescribeImages", ImageIds=[unknown]) == "InvalidAMIID.NotFound"
    call = cloud.call("DescribeImages", ImageIds=[unknown])
    call.settings = Settings(ami_fallback="debian")
    (shown,) = describe_images(call)["Images"]
    assert (shown["ImageId"], shown["RootDeviceName"]) == (unknown, "/dev/xvda")
    assert find_launch_image(call, unknown).source == "builtin:debian"
    call.params = {}
    assert unknown not in {image["ImageId"] for image in describe_images(call)["Images"]}
