"""Machines as their users meet them: SSH, stop and start, reboots, shutdowns, limits, and what a hostile root inside cannot do."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, Cloud, program, until


def public(instance: dict[str, Any]) -> str:
    return str(instance["PublicIpAddress"])


def boots(cloud: Cloud, name: str) -> str:
    """Start of PID 1 in clock ticks: another one after a boot."""
    return str(until(lambda: cloud.inside(name, "cut", "-d", " ", "-f", "22", "/proc/1/stat").stdout).strip())


def test_ssh_with_the_key_pair_logs_in_and_with_another_key_not(cloud: Cloud, ec2: Any, tmp_path: Path) -> None:
    program("ssh")
    pair = ec2.create_key_pair(KeyName="login", KeyType="ed25519")
    other = ec2.create_key_pair(KeyName="other", KeyType="rsa")
    (instance,) = cloud.launch(ec2, KeyName="login")
    address = cloud.own(public(instance))

    def ssh(key: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / key["KeyName"]
        file.write_text(key["KeyMaterial"])
        file.chmod(0o600)
        options = [
            "-F",
            "none",
            "-i",
            str(file),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            f"UserKnownHostsFile={tmp_path}/known",
        ]
        options += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"]
        return subprocess.run(
            ["ssh", *options, f"ec2-user@{address}", "id -un; hostname"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    done = until(lambda: done if (done := ssh(pair)).returncode == 0 else None)
    assert done.stdout.split() == ["ec2-user", instance["PrivateDnsName"].split(".")[0]]
    refused = ssh(other)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])


def test_console_output_is_the_machines_own(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2, UserData="#!/bin/sh\necho this is user data speaking\n")

    def output() -> str:
        found = ec2.get_console_output(InstanceId=instance["InstanceId"]).get("Output", "")
        return found if "this is user data speaking" in found and "SSH HOST KEY" in found else ""

    assert until(output)
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    cloud.until_state(ec2, [instance["InstanceId"]], "terminated")
    assert output(), "AWS keeps the last output for a while"


def test_a_stopped_instance_keeps_disk_and_private_address(cloud: Cloud, ec2: Any) -> None:
    (before,) = cloud.launch(ec2)
    name = before["InstanceId"]
    assert cloud.inside(name, "sh", "-c", "echo kept > /root/file; sync").returncode == 0
    answer = ec2.stop_instances(InstanceIds=[name])["StoppingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("running", "stopping")
    (stopped,) = cloud.until_state(ec2, [name], "stopped")
    assert "PublicIpAddress" not in stopped
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert ec2.start_instances(InstanceIds=[name])["StartingInstances"][0]["CurrentState"]["Name"] == "pending"
    (again,) = cloud.until_state(ec2, [name], "running")
    assert again["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert again["PublicIpAddress"]
    assert until(lambda: cloud.inside(name, "cat", "/root/file").stdout) == "kept\n"
    ec2.terminate_instances(InstanceIds=[name])


def test_reboot_from_inside_and_by_the_api_starts_init_again_on_the_same_disk(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2, UserData="#!/bin/sh\ndate >> /root/ran\n")
    name = instance["InstanceId"]
    until(lambda: cloud.inside(name, "cat", "/root/ran").stdout)
    for ask in (lambda: cloud.inside(name, "reboot"), lambda: ec2.reboot_instances(InstanceIds=[name])):
        boot = boots(cloud, name)
        ask()
        until(lambda boot=boot: boots(cloud, name) != boot)
        assert (
            ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
        )
    assert len(until(lambda: cloud.inside(name, "cat", "/root/ran").stdout).splitlines()) == 1, "user data ran again"
    ec2.terminate_instances(InstanceIds=[name])


def test_reboot_mends_a_network_that_was_broken_inside(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2)
    name = instance["InstanceId"]
    who = "wget -qO- http://169.254.169.254/latest/meta-data/instance-id"
    for breaking in ("ip link del eth0", "ip addr flush dev eth0; ip link set eth0 address 02:11:22:33:44:55"):
        boot = boots(cloud, name)
        cloud.inside(name, "sh", "-c", f"{breaking}; reboot")
        until(lambda boot=boot: boots(cloud, name) != boot)
        assert until(lambda: cloud.inside(name, "sh", "-c", who).stdout) == name
    ec2.terminate_instances(InstanceIds=[name])


def test_power_off_inside_stops_or_terminates_as_wished(cloud: Cloud, ec2: Any) -> None:
    (stops,) = cloud.launch(ec2)
    (ends,) = cloud.launch(ec2, InstanceInitiatedShutdownBehavior="terminate")
    for instance, state in ((stops, "stopped"), (ends, "terminated")):
        cloud.inside(instance["InstanceId"], "poweroff")
        (seen,) = cloud.until_state(ec2, [instance["InstanceId"]], state)
        assert seen["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    ec2.terminate_instances(InstanceIds=[stops["InstanceId"]])


def test_the_types_memory_and_the_disks_size_are_real(cloud: Cloud, ec2: Any) -> None:
    (instance,) = cloud.launch(ec2, BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 1}}])
    name = instance["InstanceId"]
    full = cloud.inside(name, "dd", "if=/dev/zero", "of=/root/big", "bs=1M", "count=1200")
    assert full.returncode != 0
    assert "No space left" in full.stderr + full.stdout
    cloud.inside(name, "rm", "/root/big")
    hungry = cloud.inside(name, "sh", "-c", "head -c 700000000 /dev/zero | tail -c 690000000 | wc -c")
    assert "690000000" not in hungry.stdout, "a t3.nano has 512 MiB"
    assert cloud.inside(name, "echo", "alive").stdout == "alive\n"
    ec2.terminate_instances(InstanceIds=[name])


def test_user_data_as_cloud_config(cloud: Cloud, ec2: Any) -> None:
    files = "- path: /etc/hello\n  content: from the cloud\n  permissions: '0640'\n"
    config = f"#cloud-config\nwrite_files:\n{files}runcmd:\n- [sh, -c, 'echo ran > /tmp/ran']\n"
    (instance,) = cloud.launch(ec2, UserData=config)
    name = instance["InstanceId"]
    assert until(lambda: cloud.inside(name, "cat", "/tmp/ran").stdout) == "ran\n"
    assert cloud.inside(name, "cat", "/etc/hello").stdout == "from the cloud"
    assert cloud.inside(name, "stat", "-c", "%a", "/etc/hello").stdout == "640\n"
    attribute = ec2.describe_instance_attribute(InstanceId=name, Attribute="userData")
    assert base64.b64decode(attribute["UserData"]["Value"]).decode() == config
    ec2.terminate_instances(InstanceIds=[name])


ATTACKS = {
    "mount a disk of the host": "mknod /tmp/d b 254 0 && mount /tmp/d /mnt",
    "write a kernel setting": "echo 1 > /proc/sys/kernel/panic",
    "press the magic key": "echo b > /proc/sysrq-trigger",
    "load a module": "insmod /etc/passwd",
    "read the kernel's log": "dmesg | grep .",
    "set the clock": "date -s '2001-01-01 00:00:00'; date +%Y | grep 2001",
    "enter the host's namespace": "nsenter -t 1 -m -u -i -n -p ls /work /var/lib/gureum",
    "raise its own limits": "echo 999999999999 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
    "read the host's memory": "head -c 1 /dev/mem",
}


@pytest.fixture(scope="module")
def victim(cloud: Cloud, ec2: Any) -> Any:
    (instance,) = cloud.launch(ec2)
    yield instance
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])


@pytest.mark.parametrize("attack", ATTACKS)
def test_root_inside_cannot(cloud: Cloud, victim: dict[str, Any], attack: str) -> None:
    done = cloud.inside(victim["InstanceId"], "sh", "-c", ATTACKS[attack])
    assert done.returncode != 0, f"{attack}: {done.stdout}"


def test_root_inside_cannot_reach_the_hosts_own_services(cloud: Cloud, victim: dict[str, Any]) -> None:
    host = str(cloud.pool[1])
    port = cloud.identity["dns_port"]
    listener = subprocess.Popen(
        ["python3", "-m", "http.server", "--bind", host, "8999"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(
            lambda: (
                subprocess.run(
                    ["curl", "-s", "-m", "1", f"http://{host}:8999/"], capture_output=True, check=False
                ).returncode
                == 0
            )
        )
        for target in (8999, port, cloud.identity["aws_port"]):
            done = cloud.inside(victim["InstanceId"], "sh", "-c", f"echo | nc -w 2 {host} {target} && echo reached")
            assert "reached" not in done.stdout
    finally:
        listener.terminate()
        listener.wait()


def test_an_instance_cannot_take_its_neighbours_address_or_metadata(
    cloud: Cloud, ec2: Any, victim: dict[str, Any]
) -> None:
    (thief,) = cloud.launch(ec2)
    name, address = thief["InstanceId"], victim["PrivateIpAddress"]
    steal = f"ip addr add {address}/32 dev lo; ip route change default via $(ip route | awk '/default/ {{print $3}}') src {address}; wget -qO- http://169.254.169.254/latest/meta-data/instance-id"
    done = cloud.command("exec", name, "--", "timeout", "5", "sh", "-c", steal, check=False)
    assert victim["InstanceId"] not in done.stdout
    ec2.terminate_instances(InstanceIds=[name])


def test_insufficient_capacity_when_the_hosts_memory_is_promised(cloud: Cloud, ec2: Any) -> None:
    with pytest.raises(ec2.exceptions.ClientError) as refused:
        ec2.run_instances(ImageId=BUSYBOX, InstanceType="r5.24xlarge", MinCount=1, MaxCount=1)
    assert refused.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert not [
        one
        for page in ec2.describe_instances()["Reservations"]
        for one in page["Instances"]
        if one["InstanceType"] == "r5.24xlarge"
    ]
