"""The serial console of a real machine, by the stock `ssh`: signing in, through a reboot and the death of the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud, program, until

USER_DATA = "#cloud-config\nchpasswd: {expire: false, list: ['ec2-user:not so secret']}\nfinal_message: all done\n"


class Terminal:
    """`ssh` on a console. What it shows is in `text`."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        os.set_blocking(self._output.fileno(), False)
        self.text = ""

    def type(self, words: str, answer: str) -> None:
        """Types, and waits for what is shown after that."""
        said = len(self.text)
        assert self.process.stdin is not None
        self.process.stdin.write(words.encode())
        until(lambda: answer in self.look()[said:])

    def look(self) -> str:
        self.text += (self._output.read() or b"").decode(errors="replace")
        return self.text

    def ended(self) -> int:
        code = self.process.wait(30)
        self.look()
        return code


class Serial:
    """Sends a key, and begins sessions."""

    def __init__(self, cloud: Cloud, machine: str, folder: Path) -> None:
        self.connect = cloud.client("ec2-instance-connect")
        self.key, hosts = folder / "key", folder / "known_hosts"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        port = cloud.identity["serial_port"]
        hosts.write_text(f"[127.0.0.1]:{port} {(cloud.home / 'keys/ssh_host_ed25519_key.pub').read_text()}")
        options = ["IdentitiesOnly=yes", "BatchMode=yes", f"UserKnownHostsFile={hosts}", "StrictHostKeyChecking=yes"]
        words = [word for option in options for word in ("-o", option)]
        self._command = [
            "ssh",
            "-F",
            "none",
            *words,
            "-i",
            str(self.key),
            "-tt",
            "-p",
            str(port),
            f"{machine}.port0@127.0.0.1",
        ]
        self._machine = machine
        self._open: list[Terminal] = []

    def send_key(self) -> dict[str, Any]:
        public = Path(f"{self.key}.pub").read_text()
        return dict(
            self.connect.send_serial_console_ssh_public_key(InstanceId=self._machine, SerialPort=0, SSHPublicKey=public)
        )

    def begin(self) -> Terminal:
        self._open.append(Terminal(self._command))
        return self._open[-1]

    def close(self) -> None:
        for one in self._open:
            one.process.kill()
            one.process.communicate()


@pytest.fixture(scope="module")
def machine(cloud: Cloud, ec2: Any) -> str:
    program("ssh")
    (instance,) = cloud.launch(ec2, UserData=USER_DATA)
    name = str(instance["InstanceId"])
    until(lambda: "all done" in ec2.get_console_output(InstanceId=name, Latest=True).get("Output", ""))
    return name


@pytest.fixture
def serial(cloud: Cloud, ec2: Any, machine: str, tmp_path: Path) -> Iterator[Serial]:
    made = Serial(cloud, machine, tmp_path)
    ec2.enable_serial_console_access()
    yield made
    made.close()
    ec2.disable_serial_console_access()


def test_a_person_signs_in_and_the_session_outlives_a_reboot(
    cloud: Cloud, ec2: Any, machine: str, serial: Serial
) -> None:
    assert serial.send_key()["Success"]
    terminal = serial.begin()
    until(lambda: _answers(terminal))
    terminal.type("ec2-user\n", "Password: ")
    terminal.type("not so secret\n", "ec2-user@")
    terminal.type("sudo id -un; tty; echo $((6*7))\n", "root\r\n/dev/console\r\n42")
    # What says that it starts is what Ctrl-C is for: before it runs, the terminal is the shell's, which keeps the character for later.
    terminal.type("sh -c \"echo st''arts; exec sleep 1000\"\n", "starts")
    terminal.type("\x03", "ec2-user@")
    assert "/dev/console\r\n42" in ec2.get_console_output(InstanceId=machine, Latest=True)["Output"]
    with pytest.raises(ClientError, match="SerialConsoleSessionLimitExceededException"):
        serial.send_key()
    second = serial.begin()
    assert second.ended() == 1
    assert "Only 1 session" in second.text
    terminal.type("sudo reboot\n", "reboot")
    until(lambda: cloud.inside(machine, "test", "-e", "/run/gureum/first").returncode == 0)
    until(lambda: _answers(terminal))
    # AWS: "The serial console session lasts during instance reboot and stop".
    ec2.stop_instances(InstanceIds=[machine])
    cloud.until_state(ec2, [machine], "stopped")
    with pytest.raises(ClientError, match="EC2InstanceStateInvalidException"):
        serial.send_key()
    assert terminal.process.poll() is None
    ec2.start_instances(InstanceIds=[machine])
    cloud.until_state(ec2, [machine], "running")
    until(lambda: _answers(terminal))
    ec2.disable_serial_console_access()
    assert terminal.ended() == 0
    assert "disabled" in terminal.text


def _answers(terminal: Terminal) -> bool:
    """What is typed before somebody waits at the new console is lost."""
    shown = len(terminal.text)
    assert terminal.process.stdin is not None
    terminal.process.stdin.write(b"\n")
    try:
        until(lambda: "login: " in terminal.look()[shown:], limit_s=1.0)
    except AssertionError:
        return False
    return True


def test_a_sent_key_outlives_the_daemon_and_its_sessions_do_not(cloud: Cloud, serial: Serial) -> None:
    serial.send_key()
    terminal = serial.begin()
    until(lambda: _answers(terminal))
    os.kill(cloud.process("daemon"), signal.SIGKILL)
    assert terminal.ended() == 255
    again = serial.begin()
    until(lambda: _answers(again))
    key = cloud.home / "keys/ssh_host_ed25519_key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert "SHA256:" in cloud.command("status").stdout
