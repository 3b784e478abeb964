"""The script that a guest runs, run here by a real shell against functions that only write down how they were called."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gureum.base.boot_plan import BootPlan, FileWrite
from gureum.base.boot_script import boot_script, quote, render

FUNCTIONS = [
    "say",
    "manage_hosts",
    "set_names",
    "add_group",
    "add_user",
    "add_to_group",
    "let_sudo",
    "set_password",
    "set_random_password",
    "deny_root",
    "allow_passwords",
    "set_timezone",
    "install_packages",
    "run_part",
    "final_message",
    "reboot",
    "poweroff",
]
GUEST = (
    "".join(f'{name}() {{ printf "[%s]" {name} "$@"; echo; }}\n' for name in FUNCTIONS)
    + """
write_file() { printf "[%s]" write_file "$@" "$(base64 -d | od -An -tx1 | tr -d ' \\n')"; echo; }
authorize() { printf "[%s]" authorize "$1" "$(cat)"; echo; }
hash_password() { printf 'hash of '; cat; }
uptime_s() { echo 7; }
has_user() { true; }
DEFAULT_USER=ec2-user
"""
)


def run(script: str, stage: str, first: str, folder: Path) -> list[str]:
    guest = folder / "guest.sh"
    guest.write_text(GUEST)
    path = folder / "boot.sh"
    path.write_text(script.replace("/usr/lib/gureum/guest.sh", str(guest)))
    done = subprocess.run(["sh", str(path), stage, first], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_nothing_asked_is_no_script() -> None:
    assert boot_script(b"") == boot_script(b"#cloud-config\n") == ""


def test_shell_script_runs_late_and_at_the_first_boot_only(tmp_path: Path) -> None:
    body = b"#!/bin/sh\nexit 3\n"
    script = boot_script(body)
    part = "/var/lib/cloud/instance/scripts/part-001"
    assert run(script, "early", "1", tmp_path) == []
    assert run(script, "final", "1", tmp_path)[:2] == [
        f"[write_file][{part}][][0700][0][{body.hex()}]",
        f"[run_part][{part}]",
    ]
    assert run(script, "final", "0", tmp_path)[0].startswith("[final_message]")


def test_boot_commands_run_at_every_start(tmp_path: Path) -> None:
    script = boot_script(b"#cloud-config\nbootcmd: [echo hi]\n")
    for first in "01":
        assert run(script, "early", first, tmp_path)[-1] == "[run_part][/var/lib/cloud/instance/scripts/bootcmd]"


def test_order_of_the_first_boot(tmp_path: Path) -> None:
    script = boot_script(
        b"""#cloud-config
write_files: [{path: /a, content: x}, {path: /late, defer: true}]
hostname: web
groups: [g: [bob]]
users: [{name: bob, sudo: ALL, ssh_authorized_keys: [key1]}]
ssh_authorized_keys: [key2]
password: it's
ssh_pwauth: true
packages: [jq]
runcmd: ["true"]
power_state: {mode: reboot}
final_message: "up $UPTIME, it's done"
"""
    )
    assert run(script, "early", "1", tmp_path) == [
        "[write_file][/a][][0644][0][78]",
        "[set_names][web][web]",
        "[add_group][g]",
        "[add_user][bob][][][][][][0][1]",
        "[let_sudo][bob]",
        "[authorize][bob][key1]",
        "[add_to_group][bob][g]",
        "[authorize][ec2-user][key2]",
        "[set_password][ec2-user][hash of it's]",
        "[allow_passwords][yes]",
    ]
    late = run(script, "final", "1", tmp_path)
    assert [line.partition("]")[0] for line in late] == [
        "[install_packages",
        "[write_file",
        "[write_file",
        "[run_part",
        "[final_message",
        "[reboot",
    ]
    assert late[-2] == "[final_message][up 7, it's done]"
    assert "[reboot]" not in run(script, "final", "0", tmp_path)


def test_broken_config_is_said_on_the_console(tmp_path: Path) -> None:
    assert run(boot_script(b"#cloud-config\na: ["), "early", "0", tmp_path)[0].startswith(
        "[say][#cloud-config cannot be read"
    )


def test_half_a_surrogate_pair_can_be_sent() -> None:
    boot_script(b'#cloud-config\nruncmd: ["echo \\ud800"]\nfinal_message: "\\ud800"\n').encode()


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_quoted_word_is_one_word(text: str) -> None:
    done = subprocess.run(["sh", "-c", f"printf '%s|' {quote(text)}"], capture_output=True, check=True, timeout=20)
    assert done.stdout == f"{text}|".encode()


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=300))
def test_file_contents_arrive_byte_by_byte(tmp_path_factory: object, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("boot")  # type: ignore[attr-defined]
    (line,) = run(render(BootPlan(files=(FileWrite("/a", content),))), "early", "1", folder)
    assert line == f"[write_file][/a][][0644][0][{content.hex()}]"
