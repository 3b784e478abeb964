"""Commands: their words, exit codes and texts, without a cloud."""

from __future__ import annotations

import argparse
import grp
import importlib
import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gureum.base.homes import Home
from gureum.base.settings import Settings
from gureum.cli import coverage, doctor, env, explain, findings, kernel_checks, logs, main, output, ssh, up
from gureum.cli.demo import tour
from gureum.cli.output import Failure
from gureum.docker.front import admit

HOME = Home("abcde", Path("/h"), Path("/r"), "198.18.16.0/20", "127.0.0.1", 4567, 5353, simulate=False)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUREUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_its_file_and_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"gureum.cli.{name}")
    assert module.__doc__
    assert callable(module.run)
    with pytest.raises(SystemExit) as ended:
        main.main([name, "--help"])
    assert ended.value.code == 0
    assert main.COMMANDS[name].split()[0] in capsys.readouterr().out


def test_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["fly"]) == 2
    assert "`fly`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["status"], ["env"], ["coverage"], ["explain", "i-1"], ["logs", "i-1"], ["exec", "i-1"], ["restart"]]
)
def test_without_a_gureum_commands_say_so(
    words: list[str], empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "gureum up" in said
    assert not empty_home.exists()


def test_down_of_nothing_is_success(empty_home: Path) -> None:
    assert main.main(["down"]) == 0
    assert not empty_home.exists()


def test_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GUREUM_AWS_PORT", "many")
    assert main.main(["status"]) == 1
    assert capsys.readouterr().err.startswith("gureum: GUREUM_AWS_PORT: `aws_port` is 'many'")


def test_others_than_root_are_told_what_they_can_do(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main.main(["up"]) == 1
    assert "--simulate" in capsys.readouterr().err


def test_command_line_imports_neither_servers_nor_models() -> None:
    program = "import sys, gureum.cli.up, gureum.cli.main; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"botocore", "uvicorn", "asyncio", "cryptography", "pyroute2", "http.client", "subprocess"}
    assert heavy.isdisjoint(done.stdout.split())


def test_supervisor_imports_little() -> None:
    program = "import sys, gureum.supervisor; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"msgspec", "asyncio", "subprocess", "typing_extensions"}.isdisjoint(done.stdout.split())


def test_env_is_what_a_shell_evaluates() -> None:
    found = env.client_environment(Settings(default_region="eu-west-1"), HOME, "111122223333")
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4567"
    assert found["AWS_ACCESS_KEY_ID"] == "111122223333"
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "eu-west-1"


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo makes root of somebody")
def test_who_called_by_sudo_gets_a_kubeconfig_of_his_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = msgspec.structs.replace(HOME, path=tmp_path / "home", run=tmp_path / "run")
    home.kubeconfig.parent.mkdir(parents=True)
    home.run.mkdir()
    home.kubeconfig.write_text("one cluster")
    monkeypatch.setenv("SUDO_UID", "0")
    assert env.readable_kubeconfig(home, env.caller()) == home.kubeconfig
    monkeypatch.setenv("SUDO_UID", "65534")
    copied = env.readable_kubeconfig(home, env.caller())
    status = copied.stat()
    assert (copied.read_text(), status.st_uid, status.st_mode & 0o777) == ("one cluster", 65534, 0o600)
    home.kubeconfig.write_text("two clusters")
    env.renew_kubeconfigs(home)
    assert [(path.name, path.read_text()) for path in home.run.iterdir()] == [(copied.name, "two clusters")]
    assert copied.stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo makes root of somebody")
def test_who_called_by_sudo_is_told_that_docker_s_socket_is_root_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        user = pwd.getpwnam("nobody")
        env.tell_of_docker(f"unix://{path}", user.pw_uid)
        assert "docker_group" in capsys.readouterr().err
        admit(str(path), grp.getgrgid(user.pw_gid).gr_name)
        env.tell_of_docker(f"unix://{path}", user.pw_uid)
        assert capsys.readouterr().err == ""
        admit(str(path), "")
        assert path.stat().st_gid == 0
        with pytest.raises(OSError, match="no group nosuchgroup"):
            admit(str(path), "nosuchgroup")


def test_hints_name_gureum_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gureum"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.delenv("SUDO_UID", raising=False)
    for path, typed, told in (
        (tmp_path, str(program), "gureum"),
        (tmp_path / "elsewhere", str(program), str(program)),
        (tmp_path, "/x/gureum/cli/main.py", "gureum"),
    ):
        monkeypatch.setenv("PATH", str(path))
        monkeypatch.setattr(sys, "argv", [typed, "up"])
        assert output.called() == told
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setattr(sys, "argv", [".venv/bin/gureum", "up"])
    assert output.called() == "sudo .venv/bin/gureum"


def test_up_without_a_program_that_it_needs_sends_to_the_doctor() -> None:
    said = up.explain_failure(HOME, "the agent did not start: the agent cannot start: conmon is not installed")
    assert said.startswith("the agent did not start: the agent cannot start: conmon is not installed: `")
    assert "doctor` tells what this host lacks" in said


@pytest.mark.parametrize("account", ["", "abc", "12345678901", "1234567890123"])
def test_env_is_of_no_account_that_cannot_be(
    account: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "current_home", lambda: HOME)
    assert main.main(["env", "--account", account]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"gureum: `{account}` is no account: it has 12 digits\n")


def test_coverage_counts_levels() -> None:
    assert coverage.summary("ec2", {"A": "real", "B": "absent", "C": "real"}) == ("ec2", "2", "0", "0", "1")


def test_explain_shows_the_tree() -> None:
    child = {"kind": "ec2.Volume", "name": "vol-1", "revision": 4}
    core = {"id": "container/x", "phase": "failed", "reason": "no memory"}
    tree = {
        "kind": "ec2.Instance",
        "name": "i-1",
        "revision": 5,
        "status": {"state": "running"},
        "machine": [core],
        "children": [child],
    }
    lines = list(
        explain.show(
            tree, {"events": {"container/x": [{"last": 0, "reason": "Retry", "message": "waits", "count": 2}]}}, ""
        )
    )
    assert lines[0] == "ec2.Instance i-1  running  (revision 5)"
    assert lines[1] == "  = container/x  failed: no memory"
    assert lines[2].endswith("Retry: waits (2 times)")
    assert lines[3] == "    ec2.Volume vol-1  (revision 4)"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"objects": [{"status": {"state": "stopped"}}]}, "i-1 is stopped"),
        ({"objects": [{"status": {"state": "running"}}]}, "there is no container i-1"),
        ({"objects": [{"status": None}]}, "there is no container i-1"),
        (Failure("nothing here is called i-1"), "nothing here is called i-1"),
    ],
)
def test_exec_says_why_there_is_no_program(monkeypatch: pytest.MonkeyPatch, answer: Any, text: str) -> None:
    def told(*_: object) -> Any:
        if isinstance(answer, Failure):
            raise answer
        return answer

    module = importlib.import_module("gureum.cli.exec")
    monkeypatch.setattr(module, "get", told)
    assert str(module.clearer(HOME, "i-1", Failure("there is no container i-1"))) == text


def test_explain_shows_the_call_and_what_followed() -> None:
    def span(name: str, start: float, duration_s: float, error: str = "") -> dict[str, Any]:
        return {"trace_id": "5cb0", "name": name, "start": start, "duration_s": duration_s, "error": error}

    spans = [
        span("reconcile ec2.Instance", 60.25, 0.002),
        span("ec2 RunInstances", 60.125, 0.0125),
        span("reconcile ec2.Instance", 60.5, 0.001, "Retry: waits"),
    ]
    first, call, reconciles = explain.show_trace(spans)
    assert first == "its last change  (trace 5cb0)"
    assert call.endswith(":00.125 ec2 RunInstances, 12.5 ms")
    assert reconciles.endswith(".250 reconcile ec2.Instance, 3.0 ms in 2 runs: Retry: waits")
    assert list(explain.show_trace([])) == []


@pytest.mark.parametrize(
    ("seen", "now", "added"),
    [
        (b"", b"abc", b"abc"),
        (b"abc", b"abcd", b"d"),
        (b"abc", b"abc", b""),
        (b"0abc", b"bc", b"bc"),
        (b"xx\nab", b"zz\nxx\nabc", b"c"),
    ],
)
def test_following_a_console_prints_only_what_is_new(seen: bytes, now: bytes, added: bytes) -> None:
    assert logs.addition(seen, now) == added


RESPONSE = """<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet><item>
<instanceId>i-1</instanceId><keyName>k</keyName><ipAddress>198.18.16.5</ipAddress></item></instancesSet></item></reservationSet>
</DescribeInstancesResponse>"""
REFUSAL = "<Response><Errors><Error><Code>X</Code><Message>The instance ID 'i-2' does not exist</Message></Error></Errors></Response>"


def test_ssh_reads_the_machine_from_the_api() -> None:
    assert ssh.read_instance(ET.fromstring(RESPONSE), "i-1")["ipAddress"] == "198.18.16.5"
    with pytest.raises(Failure, match="'i-2' does not exist"):
        ssh.read_instance(ET.fromstring(REFUSAL), "i-2")
    with pytest.raises(Failure, match="no machine i-9"):
        ssh.read_instance(ET.fromstring(RESPONSE), "i-9")


def test_ssh_command_takes_the_key_and_the_users_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k.pem").touch()
    arguments = argparse.Namespace(login="root", command=["--", "uname", "-a"])
    command = ssh.ssh_command("ssh", "198.18.16.5", arguments, ssh.find_key(None, "k"), Path("/known"))
    assert command[-5:] == ["-l", "root", "198.18.16.5", "uname", "-a"]
    assert "k.pem" in command
    assert ssh.find_key(None, "../../etc/shadow") == ""


def test_ssh_knows_what_is_silent_from_what_answers() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        assert not ssh.is_silent("127.0.0.1", port)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # they fill the queue: the kernel answers nobody any more, as a security group does
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        assert ssh.is_silent("127.0.0.1", port, timeout_s=0.2)
        for one in waiting:
            one.close()
    assert not ssh.is_silent("127.0.0.1", port)  # refused


def test_doctor_tells_the_version_of_what_is_there() -> None:
    assert doctor.version_of(sys.executable, "--version").startswith("3.")


def test_doctor_names_the_limits_that_guests_share_and_how_to_raise_them(tmp_path: Path) -> None:
    for key, least, _ in kernel_checks.SHARED_LIMITS[:1]:
        path = tmp_path / key.replace(".", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{least}\n")
    assert [finding.level for finding in kernel_checks.check_shared_limits(tmp_path)] == ["ok"]
    (tmp_path / "kernel/pid_max").write_text("32768\n")
    (found,) = kernel_checks.check_shared_limits(tmp_path)
    assert found.level == "warn"
    assert "processes" in found.seen
    assert "`sysctl -w kernel.pid_max=131072`" in found.advice


def test_doctor_tells_of_processes_in_the_uppermost_group_of_a_container(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("cpu pids\n")
    (tmp_path / "cgroup.procs").write_text("1\n14\n")
    assert kernel_checks.held_by_processes(tmp_path) is None  # the host's root may hold them
    (tmp_path / "cgroup.type").write_text("domain\n")
    found = kernel_checks.held_by_processes(tmp_path)
    assert found is not None
    assert found.level == "fail"
    assert found.seen.endswith("may have memory")
    (tmp_path / "cgroup.subtree_control").write_text("cpu io memory pids\n")
    assert kernel_checks.held_by_processes(tmp_path) is None


def test_doctor_tells_where_disks_do_not_grow_in_use() -> None:
    every, but_one = "CapEff:\t000001ffffffffff\n", "CapEff:\t000001fffeffffff\n"
    known = "nodev\tproc\n\text4\n\txfs\n"
    assert kernel_checks.growing(every, "", None).level == "ok"
    assert kernel_checks.growing(but_one, known, "/sbin/mkfs.xfs").level == "ok"
    found = kernel_checks.growing(but_one, known, None)
    assert found.level == "warn"
    assert found.advice.startswith("apt install xfsprogs, or")
    assert kernel_checks.growing(but_one, "\text4\n", "/sbin/mkfs.xfs").advice.startswith("modprobe xfs, or")


def test_doctor_findings_are_complete(capsys: pytest.CaptureFixture[str], empty_home: Path) -> None:
    main.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"kernel", "nftables", "overlay file system", "cgroups", "crun", "disk", "public pools"} <= {
        one["what"] for one in found
    }
    assert all(one["advice"] for one in found if one["level"] == "fail")


def test_doctor_blames_no_kernel_for_what_only_root_can_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = findings.tried("veth", ("unshare", "--net", "false"), "the kernel does not offer it")
    assert (found.level, found.advice) == ("warn", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_doctor_asks_nothing_of_root_s_homes_that_others_may_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as machine:
        run = Path(machine)
        run.chmod(0o755)
        (run / "k3x9a").mkdir(mode=0o700)
        (run / "k3x9a" / "supervisor.lock").touch()
        monkeypatch.setattr("gureum.cli.leftovers.SYSTEM_RUN", run)
        os.seteuid(65534)
        try:
            found = list(doctor.check_neighbours())
        finally:
            os.seteuid(0)
    assert [one.what for one in found] == ["public pools"]


@pytest.mark.parametrize("id_", ["../..", "a", "ABCDE", "abcdefgh"])
def test_doctor_cleans_nothing_that_is_no_id(
    id_: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert main.main(["doctor", "--clean", id_]) == 1
    assert "no home's id" in capsys.readouterr().err


def test_demo_talks_to_no_address_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour, "aws_client", lambda: "aws")
    shown = tour.Tour(Settings(), HOME)
    assert shown.public("198.18.16.5") == "198.18.16.5"
    for other in ("198.18.32.5", "10.42.1.5", "8.8.8.8"):
        with pytest.raises(Failure, match="not one of this gureum's"):
            shown.public(other)


def test_table_and_duration() -> None:
    assert output.table([("a", "b"), ("long", "c")]) == "a     b\nlong  c"
    assert [output.duration(seconds) for seconds in (3, 600, 7200, 200000)] == ["3 s", "10 min", "2 h", "2 d"]
