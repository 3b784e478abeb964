"""The command line against a cloud that runs: what it shows, how machines are entered, and what survives what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, PAGE, Cloud, leftovers, until

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def machine(cloud: Cloud, ec2: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    key = tmp_path_factory.mktemp("key") / "me.pem"
    key.write_text(ec2.create_key_pair(KeyName="me")["KeyMaterial"])
    key.chmod(0o600)
    (found,) = cloud.launch(ec2, KeyName="me")
    return found | {"key": key}


def test_status_shows_what_runs(cloud: Cloud, machine: dict[str, Any]) -> None:
    shown = json.loads(cloud.command("status", "--json").stdout)
    assert shown["running"]
    assert shown["well"]
    assert shown["endpoint"] == cloud.url
    assert shown["cloud"]["objects"]["ec2.Instance"] >= 1
    assert {one["state"] for one in shown["supervisor"]["processes"]} == {"ready"}
    assert cloud.url in cloud.command("status").stdout


def test_env_makes_a_stock_client_work(cloud: Cloud, machine: dict[str, Any]) -> None:
    script = f'eval "$({sys.executable} -m gureum.cli.main env --account 111122223333)"; env'
    done = subprocess.run(["sh", "-c", script], env=cloud.environment, capture_output=True, text=True, check=True)
    assert f"AWS_ENDPOINT_URL={cloud.url}\n" in done.stdout
    assert "AWS_ACCESS_KEY_ID=111122223333\n" in done.stdout


def test_exec_passes_words_input_and_exit_code(cloud: Cloud, machine: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "gureum.cli.main", "exec", machine["InstanceId"], "--"]
    words = ["sh", "-c", 'cat; echo "$0"; exit 9', "a  b"]
    done = subprocess.run(
        [*command, *words], input="in\n", env=cloud.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (9, "in\na  b\n")


def test_exec_keeps_the_two_outputs_apart(cloud: Cloud, machine: dict[str, Any]) -> None:
    done = cloud.inside(machine["InstanceId"], "sh", "-c", "echo said; echo complained >&2")
    assert (done.stdout, done.stderr) == ("said\n", "complained\n")


def test_exec_of_what_is_not_there_is_one_line(cloud: Cloud, machine: dict[str, Any]) -> None:
    for words in (["i-00000000000000000", "--", "true"], [machine["InstanceId"], "--", "no-such-program"]):
        done = cloud.command("exec", *words, check=False)
        assert done.returncode not in (0, 3)
        assert len((done.stdout + done.stderr).splitlines()) == 1


def test_ssh_logs_in_with_the_key(cloud: Cloud, machine: dict[str, Any]) -> None:
    words = ("ssh", "-i", str(machine["key"]), machine["InstanceId"], "--", "echo", "$(id -un)")
    # The machine runs before its SSH server listens.
    assert until(lambda: cloud.command(*words, check=False).stdout) == "root\n"


def test_logs_are_the_machines_console(cloud: Cloud, machine: dict[str, Any]) -> None:
    cloud.inside(machine["InstanceId"], "sh", "-c", "echo told on the console > /dev/console")
    until(lambda: "told on the console" in cloud.command("logs", machine["InstanceId"]).stdout)
    assert cloud.command("logs", "supervisor").stdout


def test_explain_shows_the_tree_down_to_the_container(cloud: Cloud, machine: dict[str, Any]) -> None:
    shown = cloud.command("explain", machine["InstanceId"]).stdout
    assert shown.startswith(f"ec2.Instance {machine['InstanceId']}  running")
    assert f"Container/{machine['InstanceId']}  ready" in shown
    assert "ec2.NetworkInterface eni-" in shown


def test_second_up_is_a_look(cloud: Cloud) -> None:
    assert f"already up at {cloud.url}" in cloud.command("up").stderr


def test_doctor_finds_nothing_wrong_here(cloud: Cloud) -> None:
    found = json.loads(cloud.command("doctor", "--json", check=False).stdout)
    assert [one for one in found if one["level"] == "fail"] == []


def test_killed_supervisor_is_followed_by_one_that_adopts(cloud: Cloud, ec2: Any, machine: dict[str, Any]) -> None:
    before = cloud.inside(machine["InstanceId"], "cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat").stdout
    supervisor = json.loads(cloud.command("status", "--json").stdout)["supervisor"]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: cloud.command("status", check=False).returncode == 3)
    cloud.command("up")
    cloud.until_state(ec2, [machine["InstanceId"]], "running")
    after = cloud.inside(machine["InstanceId"], "cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat").stdout
    # The 22nd field of PID 1's line is its start: it is the same init.
    assert before.split()[22] == after.split()[22]


def test_down_leaves_nothing_and_up_brings_machines_back(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "g")
    cloud.command("up")
    ec2 = cloud.client("ec2")
    (launched,) = cloud.launch(ec2, UserData=PAGE)
    written = cloud.inside(launched["InstanceId"], "sh", "-c", "echo kept > /root/note && sync")
    assert written.returncode == 0
    cloud.command("down")
    assert leftovers(cloud.identity["id"]) == []
    assert cloud.command("status", check=False).returncode == 3
    cloud.command("up")
    (found,) = cloud.until_state(ec2, [launched["InstanceId"]], "running")
    assert found["PrivateIpAddress"] == launched["PrivateIpAddress"]
    assert found["ImageId"] == BUSYBOX
    assert until(lambda: cloud.inside(launched["InstanceId"], "cat", "/root/note").stdout) == "kept\n"
    id_ = cloud.identity["id"]
    cloud.command("down", "--purge")
    assert leftovers(id_) == []
    assert not cloud.home.exists()


def test_disks_outlive_a_supervisor_that_is_killed_on_the_way_down(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "g")
    cloud.command("up")
    ec2 = cloud.client("ec2")
    (launched,) = cloud.launch(ec2, UserData="#!/bin/sh\necho kept > /root/note; sync\n")
    name, supervisor = launched["InstanceId"], json.loads(cloud.command("status", "--json").stdout)["supervisor"]["pid"]
    until(lambda: cloud.inside(name, "cat", "/root/note").stdout == "kept\n")
    agent = cloud.process("agent")
    os.kill(agent, signal.SIGSTOP)
    words = [sys.executable, "-m", "gureum.cli.main", "down"]
    with subprocess.Popen(words, env=cloud.environment, stderr=subprocess.PIPE, text=True) as going:
        until(lambda: 'name="daemon" state="stopped"' in (cloud.home / "logs/supervisor.log").read_text())
        os.kill(supervisor, signal.SIGKILL)
        os.kill(agent, signal.SIGCONT)
        _, said = going.communicate(timeout=60)
    assert going.returncode == 0, said
    assert leftovers(cloud.identity["id"]) == []
    cloud.command("up")
    cloud.until_state(ec2, [name], "running")
    assert until(lambda: cloud.inside(name, "cat", "/root/note").stdout) == "kept\n"
    cloud.command("down", "--purge")


def test_taken_port_is_told_and_nothing_is_left(tmp_path: Path, cloud: Cloud) -> None:
    other = Cloud(tmp_path / "g", aws_port=str(cloud.identity["aws_port"]))
    done = other.command("up", check=False)
    assert done.returncode == 1
    assert "daemon" in done.stderr
    assert "another program listens there" in done.stderr
    assert leftovers(other.identity["id"]) == []
    other.command("down", "--purge")
