"""#cloud-config read into a plan. Expected meanings: cloud-init's documentation, "Module reference"."""

from __future__ import annotations

import base64
import gzip

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.base.boot_plan import Account, BootPlan, FileWrite, Password
from gureum.base.cloud_config import plan_boot
from gureum.base.user_data import Part, UserData


def plan(text: str) -> BootPlan:
    return plan_boot(UserData((Part("config", text.encode()),)))


def test_empty_config_asks_for_nothing() -> None:
    assert plan("#cloud-config\n") == BootPlan()


def test_commands_are_lines_or_words() -> None:
    assert plan("runcmd:\n- echo a\n- [ls, -l, 'a b']\n- [sleep, 1]\n").runcmd == (
        "echo a",
        ("ls", "-l", "a b"),
        ("sleep", "1"),
    )


def test_host_name_comes_from_either_key() -> None:
    assert (plan("hostname: web").hostname, plan("fqdn: web.example.com").hostname) == ("web", "web")
    assert plan("{hostname: web, fqdn: www.example.com}").fqdn == "www.example.com"


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("", "hi"),
        ("b64", base64.b64encode(b"hi").decode()),
        ("base64", base64.b64encode(b"hi").decode()),
        ("gz+b64", base64.b64encode(gzip.compress(b"hi", mtime=0)).decode()),
        ("gzip+base64", base64.b64encode(gzip.compress(b"hi", mtime=0)).decode()),
    ],
)
def test_file_contents_are_decoded(encoding: str, content: str) -> None:
    entry = {"path": "/a", "content": content, **({"encoding": encoding} if encoding else {})}
    assert plan(yaml.safe_dump({"write_files": [entry]})).files == (FileWrite("/a", b"hi"),)


def test_binary_yaml_content_is_kept() -> None:
    assert plan(f"write_files: [{{path: /a, content: !!binary {base64.b64encode(bytes(range(256))).decode()}}}]").files[
        0
    ].content == bytes(range(256))


@pytest.mark.parametrize(
    ("given_mode", "mode"),
    [("'0644'", "0644"), ("0600", "0600"), ("'755'", "0755"), ("0o640", "0640"), ("'u+x'", "0644")],
)
def test_permissions_in_each_spelling(given_mode: str, mode: str) -> None:
    assert plan(f"write_files: [{{path: /a, permissions: {given_mode}}}]").files[0].mode == mode


def test_full_account() -> None:
    text = """
users:
- default
- name: bob
  gecos: Bob, the builder
  primary_group: staff
  groups: adm, docker
  sudo: ALL=(ALL) NOPASSWD:ALL
  shell: /bin/bash
  uid: 1500
  lock_passwd: false
  passwd: $6$abc$def
  ssh_authorized_keys: [ssh-ed25519 AAA bob]
- name: svc
  system: true
"""
    assert plan(text).accounts == (
        Account(
            "bob",
            uid="1500",
            gecos="Bob, the builder",
            shell="/bin/bash",
            group="staff",
            groups=("adm", "docker"),
            sudo=True,
            ssh_keys=("ssh-ed25519 AAA bob",),
            password_hash="$6$abc$def",
            locked=False,
        ),
        Account("svc", system=True, make_home=False),
    )


def test_groups_with_members() -> None:
    assert plan("groups: [a: [root, bob], b]").groups == (("a", ("root", "bob")), ("b", ()))


def test_passwords_in_each_form() -> None:
    text = "password: top\nchpasswd: {list: 'a:plain\nb:$6$salt$hash\nc:RANDOM', users: [{name: d, password: x, type: text}]}"
    assert plan(
        text.replace("'a", '"a').replace("RANDOM'", 'RANDOM"').replace("\nb", "\\nb").replace("\nc:R", "\\nc:R")
    ).passwords == (
        Password("", text="top"),
        Password("a", text="plain"),
        Password("b", hash="$6$salt$hash"),
        Password("c", random=True),
        Password("d", text="x"),
    )


def test_packages_with_versions() -> None:
    assert plan("packages: [nginx, [curl, 7.88], {apt: [jq]}]").packages == ("nginx", "curl=7.88", "jq")


@pytest.mark.parametrize(
    "text",
    [
        "users: [{name: 'a;rm -rf /'}]",
        "users: [{name: '../x'}]",
        "groups: ['a b']",
        "packages: ['-oAPT::X=1', '$(id)']",
        "hostname: 'a b'",
        "timezone: '../../etc/passwd'",
        "write_files: [{path: relative}]",
        "write_files: [{path: /a, content: '%%%', encoding: gz+b64}]",
        "runcmd: text",
        "power_state: {mode: dance}",
        "snap: {commands: [x]}",
        "[a, b]",
        "a: [",
    ],
)
def test_what_cannot_be_obeyed_is_said_and_left_out(text: str) -> None:
    found = plan(text)
    assert len(found.warnings) >= 1
    assert BootPlan(warnings=found.warnings) == found


def test_later_part_overrides_key_by_key() -> None:
    parts = (Part("config", b"runcmd: [a]\nhostname: x"), Part("config", b"runcmd: [b]"))
    found = plan_boot(UserData(parts))
    assert (found.runcmd, found.hostname) == (("b",), "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**12) | st.floats() | st.text(max_size=12) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "path", "content", "list", "users", "mode", "uid"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
KEYS = [
    "users",
    "groups",
    "write_files",
    "runcmd",
    "bootcmd",
    "chpasswd",
    "packages",
    "hostname",
    "power_state",
    "timezone",
    "password",
]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([*KEYS, "ssh_pwauth", "final_message", "manage_etc_hosts", "x"]), JSON))
def test_any_values_are_survived(body: dict[str, object]) -> None:
    plan(yaml.safe_dump(body))
