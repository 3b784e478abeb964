"""Session Manager with real machines: shells, commands and forwarded ports, through a client of another maker and through one that misbehaves.

`pyssm` (PyPI: pyssm-client, Python 3.12 or newer) is found on the path, beside this Python, or where GUREUM_PYSSM says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gureum.aws.ssm import channel_messages as wire
from tests.cloud.running import Cloud, program, until
from tests.cloud.session_client import Closed, SessionClient, start

BIG = 3_000_000
DATA = f"#!/bin/sh\nmkdir -p /www\necho hello > /www/index.html\nhead -c {BIG} /dev/urandom > /www/big\nhttpd -p 127.0.0.1:8080 -h /www\n"


@pytest.fixture(scope="module")
def ssm(cloud: Cloud) -> Any:
    return cloud.client("ssm")


@pytest.fixture(scope="module")
def machine(cloud: Cloud, ec2: Any) -> str:
    (instance,) = cloud.launch(ec2, UserData=DATA)
    name = str(instance["InstanceId"])
    until(lambda: cloud.inside(name, "wget", "-qO-", "http://127.0.0.1:8080/").stdout == "hello\n")
    return name


@pytest.fixture(scope="module")
def pyssm(cloud: Cloud) -> Any:
    found = os.environ.get("GUREUM_PYSSM") or shutil.which("pyssm") or str(Path(sys.executable).parent / "pyssm")
    if not Path(found).exists():
        pytest.skip("pyssm (PyPI: pyssm-client, Python 3.12+) is not installed; GUREUM_PYSSM may name it")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": "111122223333",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONUNBUFFERED": "1",
    }

    def run(*words: str) -> subprocess.Popen[str]:
        command = [found, words[0], *words[1:], "--region", "us-east-1", "--endpoint-url", cloud.url]
        return subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    return run


def states(ssm: Any, session: str) -> list[str]:
    return [
        one["Status"] for state in ("Active", "History") for one in ssm.describe_sessions(State=state)["Sessions"]
        if one["SessionId"] == session
    ]  # fmt: skip


def test_another_makers_client_runs_a_command_and_has_its_exit_code(pyssm: Any, machine: str) -> None:
    with pyssm("exec", "--target", machine, "--command", "id -un; sudo id -u; exit 7") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 7, output
    assert {"ssm-user", "0"} <= set(output.split())


def test_another_makers_client_forwards_a_port(pyssm: Any, cloud: Cloud, machine: str) -> None:
    wanted = cloud.inside(machine, "sha256sum", "/www/big").stdout.split()[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pyssm("port-forward", "--target", machine, "--remote-port", "8080", "--local-port", str(port)) as process:
        try:
            until(lambda: _page(port) == b"hello\n")
            found: list[str] = []

            def fetch() -> None:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/big", timeout=60) as answer:
                    found.append(hashlib.sha256(answer.read()).hexdigest())

            threads = [threading.Thread(target=fetch) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert found == [wanted] * 3
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _page(port: int) -> bytes:
    with contextlib.suppress(OSError):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            return bytes(answer.read())
    return b""


def test_shell_has_a_terminal_of_the_clients_size(ssm: Any, machine: str) -> None:
    session, client = start(ssm, machine, Reason="a look")
    client.resize(101, 33)
    client.type("stty size; id -un; pwd; echo $TERM\r")
    text = client.until("xterm-256color\r\n")
    assert re.search(r"33 101\s+ssm-user\s+/home/ssm-user\s", text)
    client.resize(77, 22)
    client.type("stty size\r")
    client.until("22 77")
    (shown,) = (one for one in ssm.describe_sessions(State="Active")["Sessions"] if one["SessionId"] == session)
    assert (shown["Status"], shown["Target"], shown["Reason"]) == ("Connected", machine, "a look")
    assert shown["DocumentName"] == "SSM-SessionManagerRunShell"
    client.type("exit\r")
    assert client.until_closed().code == 1000
    assert client.last_words == ""
    assert until(lambda: states(ssm, session) == ["Terminated"])


def test_commands_by_document(ssm: Any, cloud: Cloud, machine: str) -> None:
    _, client = start(
        ssm, machine, DocumentName="AWS-StartInteractiveCommand", Parameters={"command": ["tty; echo $((6*7))"]}
    )
    client.until_closed()
    assert client.handshake["RequestedClientActions"][0]["ActionParameters"]["SessionType"] == "InteractiveCommands"
    assert b"/dev/pts/" in client.output
    assert b"42" in client.output
    command = {"command": ["echo out; echo err >&2; exit 5"]}
    _, client = start(ssm, machine, DocumentName="AWS-StartNonInteractiveCommand", Parameters=command)
    client.until_closed()
    assert (client.output, client.errors, client.exit_code) == (b"out\n", b"err\n", 5)
    with pytest.raises(ClientError, match="InvalidParameters"):
        ssm.start_session(Target=machine, DocumentName="AWS-StartInteractiveCommand")
    with pytest.raises(ClientError, match="InvalidDocument"):
        ssm.start_session(Target=machine, DocumentName="AWS-RunShellScript", Parameters={"commands": ["id"]})
    with pytest.raises(ClientError, match="TargetNotConnected"):
        ssm.start_session(Target="i-0123456789abcdef0")
    for host in ("db; reboot", "a{b}", "[::1]", "x"):  # AWS: allowedPattern of the document
        document = "AWS-StartPortForwardingSessionToRemoteHost"
        parameters = {"host": [host], "portNumber": ["80"]}
        with pytest.raises(ClientError, match="InvalidParameters"):
            ssm.start_session(Target=machine, DocumentName=document, Parameters=parameters)


def test_what_a_client_sends_before_the_program_has_begun_arrives(ssm: Any, machine: str) -> None:
    """More than a few messages of it were dropped, and not all clients send them again."""
    parameters = {"command": ["head -c 5000 | wc -c"]}
    _, client = start(ssm, machine, DocumentName="AWS-StartNonInteractiveCommand", Parameters=parameters)
    while not client.handshake:
        client.step()
    for _ in range(500):
        client.type("x" * 10)
    assert client.until_closed().code == 1000
    assert (client.output, client.exit_code) == (b"5000\n", 0)


def test_ssh_through_a_session_and_hosts_as_the_machine_sees_them(ssm: Any, cloud: Cloud, machine: str) -> None:
    session, client = start(ssm, machine, DocumentName="AWS-StartSSHSession", Parameters={"portNumber": ["22"]})
    client.until("SSH-2.0-dropbear")
    ssm.terminate_session(SessionId=session)
    client.until_closed()
    asked = b"GET / HTTP/1.0\r\n\r\n"
    for host, answered in (("169.254.169.254", b"HTTP/1.0 200"), ("no.such.name.internal", b"")):
        parameters = {"host": [host], "portNumber": ["80"], "localPortNumber": ["0"]}
        document = "AWS-StartPortForwardingSessionToRemoteHost"
        session, client = start(ssm, machine, DocumentName=document, Parameters=parameters)
        client.step()
        head = bytes([1, 0, 0, 0, 3, 0, 0, 0])
        client.send(wire.OUTPUT, head + bytes([1, 2, len(asked), 0, 3, 0, 0, 0]) + asked)
        fin = bytes([1, 1, 0, 0, 3, 0, 0, 0])
        until(lambda client=client, fin=fin: client.step() and fin in client.output)
        assert answered[:5] in client.output, host
        ssm.terminate_session(SessionId=session)
        client.until_closed()


PLUGIN = """\
#!{python}
import json, sys
sys.path.insert(0, {root!r})
from tests.cloud.session_client import SessionClient
if sys.argv[1] == "--version":
    print("1.2.707.0")
    sys.exit()
opened, region, operation, profile, asked, endpoint = sys.argv[1:7]
opened = json.loads(opened if opened.startswith("{{") else __import__("os").environ[opened])
client = SessionClient(opened["StreamUrl"])
client.open(opened["TokenValue"])
client.until_closed()
print(json.dumps([region, operation, json.loads(asked)["Target"], endpoint, client.output.decode()]))
"""


def test_aws_command_line_hands_its_plugin_what_it_needs(cloud: Cloud, machine: str, tmp_path: Path) -> None:
    plugin = tmp_path / "session-manager-plugin"
    root = str(Path(__file__).parent.parent.parent)
    plugin.write_text(PLUGIN.format(python=sys.executable, root=root))
    plugin.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "AWS_ACCESS_KEY_ID": "111122223333",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [str(Path(sys.executable).parent / "aws"), "ssm", "start-session", "--target", machine]
    command += ["--document-name", "AWS-StartInteractiveCommand", "--parameters", "command=['id -un']"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    region, operation, target, endpoint, output = json.loads(done.stdout.strip().splitlines()[-1])
    assert (region, operation, target, endpoint) == ("us-east-1", "StartSession", machine, cloud.url)
    assert output == "ssm-user\r\n"


def test_terminated_session_leaves_no_process_however_it_forks(ssm: Any, cloud: Cloud, machine: str) -> None:
    session, client = start(ssm, machine)
    client.type("(trap : HUP; while :; do sleep 991; done) & for n in 1 2 3; do sleep 992 & done; sh -c 'sleep 993'\r")
    until(lambda: "sleep 993" in cloud.inside(machine, "ps").stdout)
    ssm.terminate_session(SessionId=session)
    client.until_closed()
    until(lambda: not re.search(r"sleep 99\d", cloud.inside(machine, "ps").stdout))
    assert until(lambda: states(ssm, session) == ["Terminated"])
    assert "TokenValue" not in ssm.resume_session(SessionId=session)
    with pytest.raises(ClientError, match="DoesNotExistException"):
        ssm.resume_session(SessionId="root-00000000000000000")


def test_token_opens_its_own_session_once(ssm: Any, cloud: Cloud, machine: str) -> None:
    one, other = (ssm.start_session(Target=machine) for _ in range(2))
    for url, token in ((other["StreamUrl"], one["TokenValue"]), (one["StreamUrl"], ""), (one["StreamUrl"], "x" * 300)):
        client = SessionClient(url)
        client.open(token)
        assert client.until_closed().code == 1008
    for nonsense in ("{", "[]", "7", '{"TokenValue": 7}'):
        client = SessionClient(one["StreamUrl"])
        client.text(nonsense)
        assert client.until_closed().code == 1008
    client = SessionClient(one["StreamUrl"])
    client.open(one["TokenValue"])
    client.until("$")
    again = SessionClient(one["StreamUrl"])
    again.open(one["TokenValue"])
    assert again.until_closed().code == 1008
    client.type("echo still he''re\r")
    client.until("still here")
    for session in (one, other):
        ssm.terminate_session(SessionId=session["SessionId"])
        logs = "".join(path.read_text() for path in (cloud.home / "logs").glob("*.log"))
        assert session["TokenValue"] not in logs
    client.until_closed()
    with pytest.raises(Closed) as rejected:
        SessionClient(one["StreamUrl"], origin="https://elsewhere.example")
    assert rejected.value.code == 403
    with pytest.raises(Closed) as rejected:
        SessionClient(one["StreamUrl"].replace("/v1/data-channel/", "/v1/no-channel/"))
    assert rejected.value.code == 403


def test_messages_that_are_none_close_the_channel(ssm: Any, machine: str) -> None:
    good = wire.pack(wire.Message(wire.INPUT, 0, b"x", wire.OUTPUT), time.time())
    for bad in (b"", b"x" * 50, good[:-1], good + b"x", b"\0\0\0\x75" + good[4:]):
        session, client = start(ssm, machine)
        client.raw(bad)
        assert client.until_closed().code == 1008
        ssm.terminate_session(SessionId=session)
    session, client = start(ssm, machine)
    with contextlib.suppress(OSError):
        client.raw(b"x" * (3 << 20))
    with contextlib.suppress(OSError):
        assert client.until_closed().code == 1009
    ssm.terminate_session(SessionId=session)


def test_client_that_comes_back_has_lost_nothing(ssm: Any, cloud: Cloud, machine: str) -> None:
    """Twice: once its WebSocket was cut, once the daemon was killed in the middle of the output."""
    session, client = start(ssm, machine)
    client.until("$")
    client.type("n=0; while [ $n -lt 60000 ]; do n=$((n+1)); echo line-$n-; done; echo all-to''ld\r")
    client.until("line-500-\r")
    daemon = cloud.process("daemon")
    for cut in (client.disconnect, lambda: os.kill(daemon, signal.SIGKILL)):
        cut()
        opened = until(lambda: _resumed(ssm, session))
        followed = SessionClient(opened["StreamUrl"], sent=client.sent, expected=client.expected)
        followed.output = client.output
        followed.open(opened["TokenValue"])
        client = followed
        last = int(re.findall(r"line-(\d+)-\r", client.output.decode())[-1])
        client.until(f"line-{last + 500}-\r")
    text = client.until("all-told")
    assert [int(n) for n in re.findall(r"line-(\d+)-\r", text)] == list(range(1, 60001))
    assert cloud.process("daemon") != daemon
    client.type("echo I am $$ ag''ain\r")
    client.until("again")
    assert set(range(3, client.sent)) - client.acknowledged == set() or client.step()
    ssm.terminate_session(SessionId=session)
    client.until_closed()
    until(lambda: states(ssm, session) == ["Terminated"])


def test_client_that_had_not_seen_the_handshake_end_sees_it_from_the_next_daemon(
    ssm: Any, cloud: Cloud, machine: str
) -> None:
    command = {"command": ["sleep 3; echo out; : handshake; exit 3"]}
    session, client = start(ssm, machine, DocumentName="AWS-StartNonInteractiveCommand", Parameters=command)
    client.step()
    until(lambda: "handshake" in cloud.inside(machine, "ps").stdout)
    daemon = cloud.process("daemon")
    os.kill(daemon, signal.SIGKILL)
    client.disconnect()
    again = until(lambda: _resumed(ssm, session))
    client = SessionClient(again["StreamUrl"], sent=client.sent, expected=client.expected)
    client.open(again["TokenValue"])
    client.until_closed()
    assert (client.output, client.exit_code) == (b"out\n", 3)


def test_session_that_is_terminated_leaves_nothing_though_its_daemon_was_killed(
    ssm: Any, cloud: Cloud, machine: str
) -> None:
    """Nobody has come back to it since: its shell ran on for half an hour."""
    session, client = start(ssm, machine)
    client.type("sleep 4711\n")
    client.until("sleep 4711")
    until(lambda: "sleep 4711" in cloud.inside(machine, "ps").stdout)
    daemon = cloud.process("daemon")
    os.kill(daemon, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != daemon)
    ssm.terminate_session(SessionId=session)
    until(lambda: "sleep 4711" not in cloud.inside(machine, "ps").stdout)


def test_session_whose_agent_was_killed_ends_and_its_client_is_told(ssm: Any, cloud: Cloud, machine: str) -> None:
    session, client = start(ssm, machine)
    client.until("$")
    os.kill(cloud.process("agent"), signal.SIGKILL)
    assert client.until_closed().code == 1000
    assert client.last_words
    assert until(lambda: states(ssm, session) == ["Failed"])
    until(lambda: cloud.inside(machine, "true").returncode == 0)  # the next agent is there


def _resumed(ssm: Any, session: str) -> dict[str, Any]:
    with contextlib.suppress(ClientError):
        return dict(ssm.resume_session(SessionId=session))
    return {}


@pytest.mark.parametrize("reads", [True, False])
def test_flood_that_nobody_acknowledges_or_even_reads_fills_no_memory(
    reads: bool, ssm: Any, cloud: Cloud, machine: str
) -> None:
    session, client = start(ssm, machine)
    client.until("$")
    pids = [cloud.process(name) for name in ("daemon", "agent")]
    before = [_resident_bytes(pid) for pid in pids]
    client.acks = False
    client.type("yes gureum\r")
    client.until("gureum\r\ngureum\r\ngureum")
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        if reads:
            client.step()  # the window closes, and only what was sent comes again
        else:
            assert cloud.inside(machine, "echo", "alive").stdout == "alive\n"
    assert len(client.output) < 1_500_000
    for pid, had in zip(pids, before, strict=True):
        assert _resident_bytes(pid) - had < 30 << 20
    ssm.terminate_session(SessionId=session)
    until(lambda: "yes gureum" not in cloud.inside(machine, "ps").stdout)
    until(lambda: states(ssm, session) == ["Terminated"])
    client.disconnect()


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture
def ssh(cloud: Cloud, ec2: Any, machine: str, tmp_path: Path) -> Any:
    """Signs in on the machine with a key that was not there at its start, which `ssh.public` tells."""
    program("ssh")
    file = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    found = ec2.describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]
    address = cloud.own(found["PublicIpAddress"])
    options = ["-F", "none", "-i", str(file), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    options += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"]

    def sign_in() -> str:
        command = ["ssh", *options, f"ec2-user@{address}", "id -un"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    sign_in.public = Path(f"{file}.pub").read_text()  # type: ignore[attr-defined]
    return sign_in


KEYS = "/home/ec2-user/.ssh/authorized_keys"


def test_sent_key_opens_ssh(cloud: Cloud, machine: str, ssh: Any) -> None:
    connect = cloud.client("ec2-instance-connect")
    assert "Permission denied" in ssh()
    cloud.inside(machine, "sh", "-c", f"mkdir -p /home/ec2-user/.ssh; printf 'ssh-rsa KEPT' > {KEYS}")
    wanted = {"InstanceId": machine, "InstanceOSUser": "ec2-user", "SSHPublicKey": ssh.public}
    assert connect.send_ssh_public_key(**wanted)["Success"]
    assert ssh() == "ec2-user\n"
    for bad in ({"InstanceOSUser": "nobody-here"}, {"AvailabilityZone": "us-east-1f"}):
        with pytest.raises(ClientError, match="InvalidArgsException"):
            connect.send_ssh_public_key(**wanted | bad)
    assert len(cloud.inside(machine, "cat", KEYS).stdout.splitlines()) == 2


@pytest.mark.long
def test_sent_key_is_taken_away_after_a_minute(cloud: Cloud, machine: str, ssh: Any) -> None:
    connect = cloud.client("ec2-instance-connect")
    cloud.inside(machine, "sh", "-c", f"mkdir -p /home/ec2-user/.ssh; echo 'ssh-rsa KEPT' > {KEYS}")
    connect.send_ssh_public_key(InstanceId=machine, InstanceOSUser="ec2-user", SSHPublicKey=ssh.public)
    assert ssh() == "ec2-user\n"
    daemon = cloud.process("daemon")
    os.kill(daemon, signal.SIGKILL)
    until(lambda: cloud.inside(machine, "cat", KEYS).stdout == "ssh-rsa KEPT\n", 90.0)
    assert "Permission denied" in ssh()


@pytest.fixture
def preferences(ssm: Any, cloud: Cloud) -> Iterator[None]:
    inputs = {
        "cloudWatchLogGroupName": "sessions",
        "cloudWatchStreamingEnabled": False,
        "s3BucketName": "sessions-of-all",
        "s3KeyPrefix": "logs",
        "runAsEnabled": True,
        "runAsDefaultUser": "ec2-user",
        "idleSessionTimeout": "1",
        "shellProfile": {"linux": "cd /etc; export GREETING=hi"},
    }
    content = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": inputs}
    cloud.client("logs").create_log_group(logGroupName="sessions")
    cloud.client("s3").create_bucket(Bucket="sessions-of-all")
    name = "SSM-SessionManagerRunShell"
    ssm.create_document(Name=name, DocumentType="Session", Content=json.dumps(content))
    yield
    ssm.delete_document(Name=name)


def test_preferences_are_obeyed_and_the_session_is_logged(
    preferences: None, ssm: Any, cloud: Cloud, machine: str
) -> None:
    session, client = start(ssm, machine)
    client.type("id -un; pwd; echo $GREETING there\r")
    text = client.until("hi there")
    assert re.search(r"ec2-user\s+/etc\s+hi there", text)
    client.type("exit\r")
    client.until_closed()
    logs = cloud.client("logs")

    def lines() -> list[str]:
        with contextlib.suppress(ClientError):
            page = logs.get_log_events(logGroupName="sessions", logStreamName=session, startFromHead=True)
            return [event["message"] for event in page["events"]]
        return []

    assert "hi there" in until(lines)

    def kept() -> bytes:
        with contextlib.suppress(ClientError):
            found = cloud.client("s3").get_object(Bucket="sessions-of-all", Key=f"logs/{session}.log")
            return bytes(found["Body"].read())
        return b""

    assert b"hi there\n" in until(kept)
