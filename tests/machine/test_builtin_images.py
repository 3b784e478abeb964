"""The built-in images boot as instances do: real init, real SSH, real user data, beside a small metadata service."""

from __future__ import annotations

import asyncio
import gzip
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
    pytest.mark.skipif(os.geteuid() != 0, reason="boots machines, which needs root"),
    pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun"),
]


PAGE = "#!/bin/sh\nmkdir -p /www; echo hello >/www/index.html; httpd -p 80 -h /www; echo page is up\n"


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, tuple[str, ...]]:
    store = ImageStore(tmp_path_factory.mktemp("store") / "images", recipes(threading.Event()))

    async def build() -> tuple[Image, tuple[str, ...]]:
        image = await store.ensure_builtin("busybox")
        return image, await store.layer_paths(image.digest)

    return asyncio.run(build())


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20)
    return path


@pytest.fixture
def guest(busybox: tuple[Image, tuple[str, ...]], key: Path, tmp_path: Path) -> Iterator[Guest]:
    tree = {
        "meta-data/local-hostname": "ip-10-0-0-5.eu-west-1.compute.internal",
        "meta-data/instance-id": "i-1",
        "meta-data/public-keys/0/openssh-key": key.with_suffix(".pub").read_text(),
        METADATA_PATH: "",
    }
    with Guest(busybox[1], tmp_path, tree) as machine:
        yield machine


def set_user_data(guest: Guest, text: str | bytes) -> None:
    guest.tree[METADATA_PATH] = boot_script(text.encode() if isinstance(text, str) else text)


def ssh(guest: Guest, key: Path, user: str, command: str) -> subprocess.CompletedProcess[bytes]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"]
    words = [word for option in options for word in ("-o", option)]
    return guest.in_network("ssh", "-i", str(key), *words, f"{user}@127.0.0.1", command)


def test_image_is_small_and_says_how_it_is_stopped(busybox: tuple[Image, tuple[str, ...]]) -> None:
    image, layers = busybox
    on_disk = sum(
        path.lstat().st_size
        for layer in layers
        for path in Path(layer).rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    assert on_disk < 10_000_000
    assert (image.config.stop_signal, image.config.labels[REBOOT_SIGNAL]) == ("SIGINT", "SIGTERM")


def test_user_data_serves_a_page_and_shows_on_the_console(guest: Guest) -> None:
    set_user_data(guest, PAGE)
    guest.start()
    guest.wait_console("page is up")
    assert guest.in_network("curl", "-s", "http://127.0.0.1:80/").stdout == b"hello\n"
    guest.wait(lambda: "page is up" in (guest.root / "var/log/cloud-init-output.log").read_text(), "the log has it too")


def test_what_user_data_leaves_in_the_background_lives_on(guest: Guest) -> None:
    set_user_data(guest, "#!/bin/sh\nsleep 1000 >/dev/null 2>&1 </dev/null &\n")
    guest.start()
    guest.wait_console("Cloud-init v. gureum finished")
    guest.wait(lambda: "lib/gureum/final" not in guest.output("ps"), "its starter is gone")
    assert "sleep 1000" in guest.output("ps")


def test_who_has_a_password_signs_in_on_the_console(guest: Guest) -> None:
    set_user_data(
        guest, "#cloud-config\nchpasswd: {expire: false, list: ['ec2-user:not so secret']}\nfinal_message: done\n"
    )
    guest.start()
    guest.wait_console("done")
    assert "login:" not in guest.console, "nobody is there yet"
    guest.type("\n", "ip-10-0-0-5 login: ")
    guest.type("ec2-user\n", "Password: ")
    guest.type("not so secret\n", "ec2-user@ip-10-0-0-5:~$ ")
    # Ctrl-C is for what is at work there, and neither for the shell nor for PID 1, which would take it for "power off".
    # What says that it starts is what Ctrl-C is for: before it runs, the terminal is the shell's, which keeps the character for later.
    guest.type("sh -c \"echo st''arts; exec sleep 1000\"\n", "starts")
    guest.type("\x03", "ec2-user@ip-10-0-0-5:~$ ")
    guest.type("sudo id -un; tty\n", "root\r\n/dev/console")
    guest.type("exit\n", "ip-10-0-0-5 login: ")
    # What has the console open keeps it when somebody signs out.
    guest.exec("sh", "-c", "echo still heard >/proc/1/fd/1")
    guest.wait_console("still heard")
    guest.type("\x03", "ip-10-0-0-5 login: ")
    guest.type("root\n", "Login incorrect")


def test_ssh_with_the_instance_key_as_default_user_and_root(
    guest: Guest, key: Path, busybox: tuple[Image, tuple[str, ...]]
) -> None:
    guest.start()
    guest.wait_console("END SSH HOST KEY KEYS")
    guest.wait(lambda: ssh(guest, key, "root", "true").returncode == 0, "root may log in")
    user = busybox[0].config.labels[DEFAULT_USER]
    done = ssh(
        guest,
        key,
        user,
        'whoami; sudo whoami; sudo -u nobody whoami; sudo sh -c \'printf "%s|" "$@"\' x "it\'s" \'a  b\'',
    )
    assert done.stdout == b"ec2-user\nroot\nnobody\nit's|a  b|"
    assert ssh(guest, key, "nobody", "true").returncode != 0


def test_shown_host_key_is_the_one_that_ssh_meets(guest: Guest) -> None:
    guest.start()
    guest.wait_console("END SSH HOST KEY KEYS")
    guest.wait(
        lambda: b"ssh-ed25519" in guest.in_network("ssh-keyscan", "-t", "ed25519", "127.0.0.1").stdout, "sshd answers"
    )
    scanned = guest.in_network("ssh-keyscan", "-t", "ed25519", "127.0.0.1").stdout.decode().split()[-1]
    assert scanned in guest.console


def test_nobody_but_wheel_becomes_root(guest: Guest) -> None:
    guest.start()
    guest.wait_console("END SSH HOST KEY KEYS")
    for command in ("sudo id", "su root -c id", "/usr/lib/gureum/su root -c id"):
        assert guest.exec("su", "-s", "/bin/sh", "-c", command, "nobody").returncode != 0, command


def test_names_and_resolver_come_from_the_metadata(guest: Guest) -> None:
    guest.start()
    guest.wait_console("END SSH HOST KEY KEYS")
    assert guest.output("hostname") == "ip-10-0-0-5\n"
    assert guest.output("cat", "/etc/resolv.conf") == "search eu-west-1.compute.internal\nnameserver 169.254.169.253\n"


def test_user_data_runs_once_per_instance(guest: Guest) -> None:
    set_user_data(guest, "#cloud-config\nbootcmd: [echo every start of $INSTANCE_ID]\nruncmd: [echo only once]\n")
    guest.start()
    guest.wait_console("Cloud-init v. gureum finished")
    assert "every start of i-1" in guest.console
    guest.exec("/sbin/reboot")
    guest.wait_exit()
    guest.start()
    guest.wait(lambda: guest.console.count("Cloud-init v. gureum finished") == 2, "it finished twice")
    assert (guest.console.count("every start"), guest.console.count("only once")) == (2, 1)
    keys = guest.console.count("BEGIN SSH HOST KEY KEYS")
    # An image of this disk is launched as another instance.
    guest.exec("/sbin/poweroff")
    guest.wait_exit()
    guest.tree["meta-data/instance-id"] = "i-2"
    guest.start()
    guest.wait(lambda: guest.console.count("only once") == 2, "it ran for the new instance")
    guest.wait(
        lambda: guest.console.count("END SSH HOST KEY KEYS") == keys + 1, "the new instance has host keys of its own"
    )


def test_scripts_on_the_disk_run_as_often_as_their_place_says(guest: Guest) -> None:
    """cloud-init's documentation, "Scripts Per Boot" and its neighbours; rc.local as sysvinit and systemd run it. User data that makes them does
    not run them: they are for the next start."""
    folder = "/var/lib/cloud/scripts"
    script = f"""#!/bin/sh
for kind in per-boot per-instance per-once; do
    mkdir -p {folder}/$kind
    printf '#!/bin/sh\necho "<$0>"\nsleep 600 &\n' >{folder}/$kind/b
    chmod 755 {folder}/$kind/b
done
printf 'echo never\n' >{folder}/per-boot/a
printf '#!/bin/sh\necho "<$0 $1>"\nexit 3\n' >/etc/rc.local
chmod 755 /etc/rc.local
"""
    set_user_data(guest, script)
    guest.start()
    guest.wait_console("Cloud-init v. gureum finished")
    assert "<" not in guest.console

    def told() -> list[int]:
        names = (
            f"<{folder}/per-boot/b>",
            f"<{folder}/per-instance/b>",
            f"<{folder}/per-once/b>",
            "</etc/rc.local start>",
        )
        return [guest.console.count(name) for name in names]

    for start, (instance, wished) in enumerate(
        (("i-1", [1, 0, 1, 1]), ("i-1", [2, 0, 1, 2]), ("i-2", [3, 1, 1, 3])), 2
    ):
        guest.exec("/sbin/poweroff")
        guest.wait_exit()
        guest.tree["meta-data/instance-id"] = instance
        set_user_data(guest, "#cloud-config\n{final_message: done}\n")
        guest.start()
        guest.wait(lambda start=start: guest.console.count("\ndone") == start - 1, "it finished")
        guest.wait(lambda wished=wished: told() == wished, "all have run")
    assert "never" not in guest.console


def test_cloud_config_is_obeyed(guest: Guest, key: Path) -> None:
    public = key.with_suffix(".pub").read_text().strip()
    config = f"""#cloud-config
fqdn: web.example.com
manage_etc_hosts: true
groups: [team]
users:
- default
- {{name: bob, groups: [team, wheel], gecos: "Bob's", ssh_authorized_keys: ['{public}']}}
write_files:
- {{path: /etc/app/x, content: "it's\\n", permissions: '0640', owner: 'root:adm'}}
- {{path: /etc/app/x, content: "more\\n", append: true, permissions: '0640'}}
chpasswd: {{expire: false, users: [{{name: bob, password: secret, type: text}}]}}
packages: [nginx]
runcmd:
- [sh, -c, 'echo "$1" >/root/said', x, "a  b"]
- id bob >/root/bob
frobnicate: true
final_message: done after $UPTIME
"""
    set_user_data(guest, gzip.compress(config.encode()))
    guest.start()
    guest.wait_console("done after")
    assert guest.output("hostname") == "web\n"
    assert "127.0.1.1 web.example.com web" in guest.output("cat", "/etc/hosts")
    assert guest.output("cat", "/etc/app/x") == "it's\nmore\n"
    assert guest.output("stat", "-c", "%a %U:%G", "/etc/app/x") == "640 root:adm\n"
    assert guest.output("cat", "/root/said") == "a  b\n"
    assert "(team)" in guest.output("cat", "/root/bob")
    assert "this image has no package manager; not installed: nginx" in guest.console
    assert "'frobnicate' is not supported" in guest.console
    guest.wait(lambda: ssh(guest, key, "bob", "true").returncode == 0, "bob may log in")
    assert ssh(guest, key, "bob", "sudo whoami").stdout == b"root\n"
    assert guest.output("sed", "-n", "s/^bob:\\(...\\).*/\\1/p", "/etc/shadow") == "$6$\n"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGUSR2, "/sbin/poweroff", "/sbin/halt"])
def test_it_powers_off(guest: Guest, stop: signal.Signals | str) -> None:
    set_user_data(guest, "#!/bin/sh\ntrap 'echo yes >/ended; exit' TERM\necho ready\nwhile :; do sleep 0.1; done\n")
    guest.start()
    guest.wait_console("ready")
    if isinstance(stop, str):
        guest.exec(stop)
    else:
        guest.signal(stop)
    guest.wait_exit()
    assert (guest.root / "ended").read_text() == "yes\n"
    assert guest.exit_signal() == signal.SIGINT


@pytest.mark.parametrize("restart", [signal.SIGTERM, "/sbin/reboot", "sh -c reboot"])
def test_it_reboots(guest: Guest, restart: signal.Signals | str) -> None:
    guest.start()
    guest.wait_console("END SSH HOST KEY KEYS")
    if isinstance(restart, str):
        guest.exec(*restart.split(maxsplit=2))
    else:
        guest.signal(restart)
    guest.wait_exit()
    assert guest.exit_signal() == signal.SIGHUP


def test_it_boots_without_metadata(guest: Guest, key: Path) -> None:
    guest.refuse_metadata = True
    guest.start()
    guest.wait_console("the metadata service is switched off")
    guest.wait_console("END SSH HOST KEY KEYS")
    assert ssh(guest, key, "root", "true").returncode != 0
