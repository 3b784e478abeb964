"""The Debian image, from the archive to a service that a user installs, enables and finds running after a reboot. Building it takes a
minute or two and needs a Debian archive: not part of every run."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gureum.base.boot_script import METADATA_PATH, boot_script
from gureum.drivers.images.builtin_images import recipes
from gureum.drivers.images.guest_files import DEFAULT_USER, REBOOT_SIGNAL
from gureum.drivers.images.image_store import ImageStore
from gureum.ports.images import Image
from tests.machine.guest_machine import Guest

pytestmark = [
    pytest.mark.machine,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="boots machines, which needs root"),
    pytest.mark.skipif(
        shutil.which("crun") is None or shutil.which("mmdebstrap") is None, reason="needs crun and mmdebstrap"
    ),
]

UNIT = """#cloud-config
write_files:
- path: /etc/systemd/system/app.service
  content: |
    [Unit]
    Description=A user's own service
    [Service]
    User=admin
    Environment=PORT=9000 "GREETING=hi there"
    WorkingDirectory=/srv
    ExecStartPre=/bin/sh -c 'echo "$GREETING" >/tmp/greeting'
    ExecStart=/usr/bin/python3 -m http.server ${PORT}
    Restart=always
    RestartSec=50ms
    [Install]
    WantedBy=multi-user.target
users: [default, {name: bob, groups: [adm], shell: /bin/bash, lock_passwd: false, plain_text_passwd: "it's"}]
runcmd:
- systemctl daemon-reload
- systemctl enable --now app
final_message: all done
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, tuple[str, ...]]:
    store = ImageStore(tmp_path_factory.mktemp("store") / "images", recipes(threading.Event()), progress=print)

    async def build() -> tuple[Image, tuple[str, ...]]:
        image = await store.ensure_builtin("debian")
        return image, await store.layer_paths(image.digest)

    return asyncio.run(build())


@pytest.fixture
def key(tmp_path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True, timeout=20)
    return tmp_path / "key"


@pytest.fixture
def guest(debian: tuple[Image, tuple[str, ...]], key: Path, tmp_path: Path) -> Iterator[Guest]:
    tree = {
        "meta-data/local-hostname": "ip-10-0-0-5.ec2.internal",
        "meta-data/instance-id": "i-1",
        "meta-data/public-keys/0/openssh-key": key.with_suffix(".pub").read_text(),
        METADATA_PATH: boot_script(UNIT.encode()),
    }
    with Guest(debian[1], tmp_path, tree) as machine:
        yield machine


def ssh(guest: Guest, key: Path, command: str) -> str:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"]
    words = [word for option in options for word in ("-o", option)]
    return guest.in_network("ssh", "-i", str(key), *words, "admin@127.0.0.1", command).stdout.decode()


def test_image_says_who_logs_in_and_how_it_is_stopped(debian: tuple[Image, tuple[str, ...]]) -> None:
    config = debian[0].config
    assert (config.labels[DEFAULT_USER], config.labels[REBOOT_SIGNAL], config.stop_signal) == (
        "admin",
        "SIGINT",
        "SIGPWR",
    )


def test_no_secret_of_the_build_is_shared(debian: tuple[Image, tuple[str, ...]]) -> None:
    for name in ("etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_ed25519_key", "etc/machine-id"):
        assert not any((Path(layer) / name).exists() for layer in debian[1]), name


def test_user_logs_in_and_is_root_by_sudo(guest: Guest, key: Path) -> None:
    guest.start()
    guest.wait_console("all done")
    guest.wait(
        lambda: ssh(guest, key, "id -un; sudo id -un; hostname; id -Gn bob") == "admin\nroot\nip-10-0-0-5\nbob adm\n",
        "ssh works",
    )
    assert ssh(guest, key, "sudo grep -c '^bob:[$]6[$]' /etc/shadow") == "1\n"


def test_own_unit_is_kept_running_and_starts_again_at_boot(guest: Guest, key: Path) -> None:
    guest.start()
    guest.wait_console("all done")
    guest.wait(lambda: guest.exec("curl", "-sf", "http://127.0.0.1:9000/").returncode == 0, "it serves")
    assert guest.output("cat", "/tmp/greeting") == "hi there\n"
    first = guest.output("systemctl", "show", "-p", "MainPID", "--value", "app").strip()
    guest.output("kill", "-9", first)
    guest.wait(
        lambda: guest.output("systemctl", "show", "-p", "MainPID", "--value", "app").strip() not in ("0", first),
        "it was restarted",
    )
    guest.output("systemctl", "stop", "app")
    assert guest.exec("systemctl", "is-active", "app").stdout == b"inactive\n"
    guest.signal(signal.SIGINT)
    guest.wait_exit()
    assert guest.exit_signal() == signal.SIGHUP
    guest.start()
    guest.wait(lambda: guest.exec("systemctl", "is-active", "app").stdout == b"active\n", "it started at boot")


def test_packaged_service_by_service_and_systemctl(guest: Guest) -> None:
    guest.start()
    guest.wait_console("all done")
    for stop, start in (
        (("service", "cron", "stop"), ("systemctl", "start", "cron")),
        (("systemctl", "stop", "cron"), ("service", "cron", "start")),
    ):
        guest.output(*stop)
        assert guest.exec("systemctl", "is-active", "cron").stdout == b"inactive\n"
        guest.output(*start)
        assert guest.exec("systemctl", "is-active", "cron").stdout == b"active\n"
    guest.output("systemctl", "disable", "cron")
    assert guest.exec("systemctl", "is-enabled", "cron").stdout == b"disabled\n"
    guest.output("systemctl", "enable", "cron")
    assert guest.exec("systemctl", "is-enabled", "cron").stdout == b"enabled\n"


@pytest.mark.parametrize(
    ("stop", "by"), [(signal.SIGPWR, signal.SIGINT), ("poweroff", signal.SIGINT), ("reboot", signal.SIGHUP)]
)
def test_it_goes_down(guest: Guest, stop: signal.Signals | str, by: signal.Signals) -> None:
    guest.start()
    guest.wait_console("all done")
    if isinstance(stop, str):
        guest.exec(stop)
    else:
        guest.signal(stop)
    guest.wait_exit()
    assert guest.exit_signal() == by


def test_log_daemon_leaves_the_closed_kernel_log_alone(guest: Guest) -> None:
    """Reading it in vain takes a whole processor."""
    guest.start()
    guest.wait_console("all done")
    files = guest.output("sh", "-c", "ls -l /proc/$(cat /run/syslog.pid)/fd")
    assert "/dev/log" in guest.output("sh", "-c", "cat /proc/net/unix")
    assert "kmsg" not in files


def test_who_has_a_password_signs_in_on_the_console(guest: Guest) -> None:
    guest.start()
    guest.wait_console("all done")
    guest.type("\n", "ip-10-0-0-5 login: ")
    guest.type("bob\n", "Password: ")
    guest.type("it's\n", "bob@ip-10-0-0-5:")
    guest.type("echo st''arts; sleep 1000\n", "starts")
    guest.type("\x03", "bob@ip-10-0-0-5:")
    guest.type("exit\n", "ip-10-0-0-5 login: ")
    # What has the console open keeps it when somebody signs out.
    guest.exec("sh", "-c", "echo still heard >/proc/1/fd/9")
    guest.wait_console("still heard")
