"""The instance half of EC2 with boto3 against a gureum whose machines boot: keys that log in, images that start, links that come and go."""

from __future__ import annotations

import io
import subprocess
import tarfile
import urllib.request

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import BUSYBOX, NANO, program, until

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /www
echo own-image > /www/index.html
/bin/busybox httpd -p 80 -h /www
trap 'exit 0' TERM
while :; do /bin/busybox sleep 1 & wait $!; done
"""


@pytest.fixture(scope="session")  # as the cloud: a test process may come back to this module
def ec2(real_cloud):
    client = real_cloud.client("ec2", account="222233334444")
    group = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
    for port in (22, 80):
        client.authorize_security_group_ingress(
            GroupId=group[0]["GroupId"], IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp="0.0.0.0/0"
        )
    yield client
    ids = [one["InstanceId"] for page in client.describe_instances()["Reservations"] for one in page["Instances"]]
    if ids:
        client.terminate_instances(InstanceIds=ids)
        real_cloud.until_state(client, ids, "terminated")


def code(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize(("key_type", "key_format"), [("rsa", "pem"), ("ed25519", "pem"), ("ed25519", "ppk")])
def test_a_created_key_logs_in(real_cloud, ec2, tmp_path, key_type, key_format):
    ssh = program("ssh")
    name = f"{key_type}-{key_format}"
    material = ec2.create_key_pair(KeyName=name, KeyType=key_type, KeyFormat=key_format)["KeyMaterial"]
    key = tmp_path / "key"
    key.touch(0o600)
    if key_format == "ppk":
        (tmp_path / "key.ppk").write_text(material)
        subprocess.run(
            [program("puttygen"), str(tmp_path / "key.ppk"), "-O", "private-openssh", "-o", str(key)], check=True
        )
    else:
        key.write_text(material + "\n")
    instance = real_cloud.launch(ec2, KeyName=name)[0]
    host = real_cloud.own(instance["PublicIpAddress"])
    options = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=2",
    ]
    command = [ssh, "-i", str(key), *options, f"ec2-user@{host}", "id", "-un"]

    def log_in():
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    assert until(log_in, 20) == "ec2-user"


def test_an_image_of_one_s_own_starts(real_cloud, ec2):
    folder = real_cloud.home / "imports"
    folder.mkdir(mode=0o700, exist_ok=True)
    with tarfile.open(folder / "web.tar", "w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        for name, text in (("sbin/init", INIT), ("etc/hostname", "own")):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    image = ec2.register_image(Name="web", ImageLocation="web.tar", RootDeviceName="/dev/sda1")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    shown = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["we?"]}])["Images"]
    assert [one["ImageId"] for one in shown] == [image]
    instance = real_cloud.launch(ec2, ImageId=image, UserData="")[0]
    assert instance["RootDeviceName"] == "/dev/sda1"
    host = real_cloud.own(instance["PublicIpAddress"])
    assert until(lambda: page_of(host), 20) == b"own-image\n"
    assert code(ec2.register_image, Name="web", ImageLocation="web.tar") == "InvalidAMIName.Duplicate"
    ec2.deregister_image(ImageId=image)
    assert code(ec2.describe_images, ImageIds=[image]) == "InvalidAMIID.NotFound"
    assert page_of(host) == b"own-image\n", "what runs goes on"


def page_of(host):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://{host}/", timeout=2) as answer:
            return answer.read()
    except OSError:
        return None


def test_a_broken_image_says_why(real_cloud, ec2):
    folder = real_cloud.home / "imports"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "broken.tar").write_bytes(b"no tar at all")
    image = ec2.register_image(Name="broken", ImageLocation="docker:broken.tar")["ImageId"]

    def failed():
        shown = ec2.describe_images(ImageIds=[image])["Images"][0]
        return shown if shown["State"] == "failed" else None

    assert until(failed, 30)["StateReason"]["Message"]
    assert (
        code(ec2.run_instances, ImageId=image, InstanceType=NANO, MinCount=1, MaxCount=1) == "InvalidAMIID.Unavailable"
    )


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../agent.db", "imports/../agent.db", "link", "nothing.tar", "a//b", ""]
)
def test_images_come_from_the_imports_folder_only(real_cloud, ec2, location):
    folder = real_cloud.home / "imports"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to("/etc/passwd")
    expected = "InvalidParameterValue" if location else "MissingParameter"
    assert code(ec2.register_image, Name="outside", ImageLocation=location) == expected


def test_an_interface_is_plugged_into_a_running_machine(real_cloud, ec2):
    instance = real_cloud.launch(ec2)[0]
    id_ = instance["InstanceId"]
    started = started_of(real_cloud, id_)
    interface = ec2.create_network_interface(SubnetId=instance["SubnetId"])["NetworkInterface"]
    address = interface["PrivateIpAddress"]
    attached = ec2.attach_network_interface(
        InstanceId=id_, NetworkInterfaceId=interface["NetworkInterfaceId"], DeviceIndex=1
    )
    until(lambda: address in real_cloud.inside(id_, "ip", "addr").stdout)
    ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
    until(lambda: address not in real_cloud.inside(id_, "ip", "addr").stdout)
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    assert started_of(real_cloud, id_) == started, "the machine ran on"


def test_an_interface_of_another_account_is_plugged_into_a_running_machine(real_cloud, ec2):
    owner = real_cloud.client("ec2", account="333344445555")
    vpc = owner.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    machine = real_cloud.launch(ec2)[0]
    borrower, zone = machine["InstanceId"], machine["Placement"]["AvailabilityZone"]
    subnet = owner.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    neighbour = real_cloud.launch(owner, SubnetId=subnet)[0]["InstanceId"]
    interface = owner.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    id_, address = interface["NetworkInterfaceId"], interface["PrivateIpAddress"]
    wish = {"InstanceId": borrower, "NetworkInterfaceId": id_, "DeviceIndex": 1}
    assert code(ec2.attach_network_interface, **wish) == "InvalidNetworkInterfaceID.NotFound"
    owner.create_network_interface_permission(
        NetworkInterfaceId=id_, AwsAccountId="222233334444", Permission="INSTANCE-ATTACH"
    )
    attached = ec2.attach_network_interface(**wish)
    # Both are in the default group of the owner's VPC, which lets its members through.
    until(lambda: real_cloud.inside(neighbour, "ping", "-c", "1", "-W", "1", address).returncode == 0)
    owner.detach_network_interface(AttachmentId=attached["AttachmentId"])
    until(lambda: address not in real_cloud.inside(borrower, "ip", "addr").stdout)
    owner.terminate_instances(InstanceIds=[neighbour])


def started_of(cloud, instance):
    """When the machine's init started, in clock ticks."""
    return cloud.inside(instance, "cat", "/proc/1/stat").stdout.rsplit(")", 1)[1].split()[19]


def test_a_template_s_machine_and_another_type_after_a_stop(real_cloud, ec2):
    data = {"ImageId": BUSYBOX, "InstanceType": NANO, "MetadataOptions": {"HttpTokens": "required"}}
    template = ec2.create_launch_template(LaunchTemplateName="small", LaunchTemplateData=data)["LaunchTemplate"]
    made = ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "small"}, MinCount=1, MaxCount=1)["Instances"][0]
    id_ = made["InstanceId"]
    running = real_cloud.until_state(ec2, [id_], "running")[0]
    tags = {tag["Key"]: tag["Value"] for tag in running["Tags"]}
    assert tags["aws:ec2launchtemplate:id"] == template["LaunchTemplateId"]
    refused = real_cloud.inside(id_, "wget", "-qO-", "http://169.254.169.254/latest/meta-data/instance-id")
    assert "401" in refused.stderr + refused.stdout
    ec2.modify_instance_metadata_options(InstanceId=id_, HttpTokens="optional")
    until(
        lambda: (
            real_cloud.inside(id_, "wget", "-qO-", "http://169.254.169.254/latest/meta-data/instance-id").stdout == id_
        )
    )
    assert (
        code(ec2.modify_instance_attribute, InstanceId=id_, InstanceType={"Value": "t3.micro"})
        == "IncorrectInstanceState"
    )
    ec2.stop_instances(InstanceIds=[id_])
    real_cloud.until_state(ec2, [id_], "stopped")
    ec2.modify_instance_attribute(InstanceId=id_, InstanceType={"Value": "t3.micro"})
    ec2.start_instances(InstanceIds=[id_])
    assert real_cloud.until_state(ec2, [id_], "running")[0]["InstanceType"] == "t3.micro"


def test_a_root_disk_grows(real_cloud, ec2):
    instance = real_cloud.launch(ec2)[0]
    volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    ec2.modify_volume(VolumeId=volume, Size=9)

    def ended():
        told = ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]
        return told["ModificationState"] == "completed"

    until(ended)
    ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    real_cloud.until_state(ec2, [instance["InstanceId"]], "stopped")
    ec2.start_instances(InstanceIds=[instance["InstanceId"]])
    real_cloud.until_state(ec2, [instance["InstanceId"]], "running")
    blocks = real_cloud.inside(instance["InstanceId"], "df", "-k", "/").stdout.split()
    assert int(blocks[blocks.index("overlay") + 1]) > 8.5 * (1 << 20)


def test_a_volume_by_itself(ec2):
    volume = ec2.create_volume(AvailabilityZone="us-east-1b", Size=1, VolumeType="gp3")["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    ec2.delete_volume(VolumeId=volume)
    ec2.get_waiter("volume_deleted").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})


def test_public_parameters(real_cloud):
    ssm = real_cloud.client("ssm")
    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == BUSYBOX
    found = ssm.get_parameters(Names=[name, "/no/such"])
    assert found["InvalidParameters"] == ["/no/such"]
    assert code(ssm.get_parameter, Name="/no/such") == "ParameterNotFound"
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/aws/service/ami-amazon-linux-latest")
    names = [one["Name"] for page in pages for one in page["Parameters"]]
    assert "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" in names
