"""Renders a BootPlan as the shell script that gureum's own images run at their start. Pure; every value is quoted or in base64, so
nothing of the user data can become another command than the user wrote.

    user data ── user_data.py ──► parts ── cloud_config.py ──► BootPlan ── here ──► script ── metadata, /latest/gureum/boot ──► guest

The guest runs it twice: `early FIRST` before services start, `final FIRST` beside them; FIRST is 1 at an instance's first boot.

    every start   warnings, boot hooks, bootcmd, hosts file;                                per-boot scripts,          final message
    first boot    files, host name, groups, users, keys, passwords, time zone; packages, late files,   scripts, runcmd, power state

It knows the guest's side only by the functions that guest/common/guest.sh and each image's image.sh define.
"""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Iterable, Sequence

from gureum.base.boot_plan import Account, BootPlan, Command, FileWrite, Password
from gureum.base.cloud_config import plan_boot
from gureum.base.user_data import read_user_data

METADATA_PATH = "gureum/boot"
"""Where the guest looks for the script, under /latest/."""

_SCRIPTS = "/var/lib/cloud/instance/scripts"
_END_OF_FILE = "."
"""Ends a here-document of base64, which never has a line of one dot."""

_STEPS = ("early", "early_first", "packages_first", "final", "scripts_first", "message")

_CASES = """\
run() {
    case $1 in
        *_first) [ "$first" = 0 ] || "$1" ;;
        *) "$1" ;;
    esac
}
case $1 in
    early)
        run early
        run early_first
        ;;
    final)
        run packages_first
        run final
        run scripts_first
        run message
        ;;
esac
"""


def boot_script(user_data: bytes) -> str:
    """The script for this user data, "" when it asks for nothing. Never raises: what is wrong with it the guest's console says."""
    plan = plan_boot(read_user_data(user_data))
    return "" if plan == BootPlan() else render(plan)


def render(plan: BootPlan) -> str:
    steps = (
        _early(plan),
        _early_first(plan),
        _packages_first(plan),
        _per_boot(plan),
        _scripts_first(plan),
        _message(plan),
    )
    functions = [f"{name}() {{\n:\n{''.join(lines)}}}\n" for name, lines in zip(_STEPS, steps, strict=True)]
    text = "".join(["#!/bin/sh\n. /usr/lib/gureum/guest.sh\nfirst=$2\n", *functions, _CASES])
    # YAML can spell half a UTF-16 pair, which no file can hold.
    return text.encode("utf-8", "replace").decode()


def quote(text: str) -> str:
    """`text` as one word of a POSIX shell. Raises ValueError for NUL, which no word can hold."""
    if "\0" in text:
        raise ValueError("a shell word cannot hold NUL")
    if re.fullmatch(r"[A-Za-z0-9_./:=@%^,+-]+", text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


def _call(name: str, *words: str) -> str:
    return " ".join([name, *(quote(word) for word in words)]) + "\n"


def _early(plan: BootPlan) -> Iterable[str]:
    for warning in plan.warnings:
        yield _call("say", warning)
    for index, body in enumerate(plan.boothooks):
        yield from _script(f"boothook-{index:03}", _with_interpreter(body))
    if plan.bootcmd:
        yield from _script("bootcmd", _commands(plan.bootcmd))
    if plan.manage_hosts:
        yield (
            _call("manage_hosts", plan.hostname, plan.fqdn)
            if plan.hostname
            else 'manage_hosts "$(hostname)" "$(hostname)"\n'
        )


def _early_first(plan: BootPlan) -> Iterable[str]:
    for file in plan.files:
        if not file.late:
            yield _write(file)
    if plan.hostname:
        yield _call("set_names", plan.hostname, plan.fqdn)
    yield from _groups_and_accounts(plan)
    if plan.ssh_keys:
        yield _authorize('"$DEFAULT_USER"', plan.ssh_keys)
    if plan.disable_root:
        yield "deny_root\n"
    for password in plan.passwords:
        yield _set_password(password)
    if plan.ssh_passwords is not None:
        yield _call("allow_passwords", "yes" if plan.ssh_passwords else "no")
    if plan.timezone:
        yield _call("set_timezone", plan.timezone)


def _groups_and_accounts(plan: BootPlan) -> Iterable[str]:
    """Members of a group may be users that are only made after it."""
    for name, _ in plan.groups:
        yield _call("add_group", name)
    for account in plan.accounts:
        yield from _add_account(account)
    for name, members in plan.groups:
        for member in members:
            yield f"has_user {quote(member)} && " + _call("add_to_group", member, name)


def _add_account(account: Account) -> Iterable[str]:
    switches = ("1" if account.system else "0", "1" if account.make_home else "0")
    yield _call(
        "add_user", account.name, account.uid, account.gecos, account.home, account.shell, account.group, *switches
    )
    for group in account.groups:
        yield _call("add_to_group", account.name, group)
    if account.sudo:
        yield _call("let_sudo", account.name)
    if account.ssh_keys:
        yield _authorize(quote(account.name), account.ssh_keys)
    # lock_passwd is cloud-init's default, and wins over a password that is given with it.
    if not account.locked and (account.password_hash or account.password):
        yield _set_password(Password(account.name, hash=account.password_hash, text=account.password))


def _packages_first(plan: BootPlan) -> Iterable[str]:
    if plan.packages or plan.package_update or plan.package_upgrade:
        yield _call("install_packages", str(int(plan.package_update)), str(int(plan.package_upgrade)), *plan.packages)
    for file in plan.files:
        if file.late:
            yield _write(file)


def _per_boot(plan: BootPlan) -> Iterable[str]:
    for index, body in enumerate(plan.scripts_per_boot):
        yield from _script(f"per-boot-{index:03}", body)


def _scripts_first(plan: BootPlan) -> Iterable[str]:
    for index, body in enumerate(plan.scripts, start=1):
        yield from _script(f"part-{index:03}", body)
    if plan.runcmd:
        yield from _script("runcmd", _commands(plan.runcmd))


def _message(plan: BootPlan) -> Iterable[str]:
    yield f"final_message {_final_message(plan.final_message)}\n"
    if plan.power:
        yield f'[ "$first" = 0 ] || {plan.power}\n'


def _final_message(text: str) -> str:
    """cloud-init's own variables in it are replaced by the guest; everything else is literal."""
    variables = {
        "uptime": '"$(uptime_s)"',
        "timestamp": '"$(date -R)"',
        "version": "gureum",
        "datasource": "DataSourceEc2",
    }
    text = text or "Cloud-init v. $version finished at $timestamp. Datasource $datasource. Up $uptime seconds"
    words = []
    for piece in re.split(
        r"(\$\{?(?:uptime|timestamp|version|datasource)\}?(?![A-Za-z0-9_]))", text, flags=re.IGNORECASE
    ):
        name = piece.strip("${}").lower()
        words.append(variables[name] if piece.startswith("$") and name in variables else quote(piece) if piece else "")
    return "".join(words)


def _write(file: FileWrite) -> str:
    words = [quote(word) for word in (file.path, file.owner, file.mode)]
    return _with_content(["write_file", *words, "1" if file.append else "0"], file.content)


def _authorize(user: str, keys: Sequence[str]) -> str:
    return _with_content(["base64 -d", "|", "authorize", user], "".join(f"{key}\n" for key in keys).encode())


def _script(name: str, body: bytes) -> Iterable[str]:
    yield _write(FileWrite(f"{_SCRIPTS}/{name}", body, mode="0700"))
    yield _call("run_part", f"{_SCRIPTS}/{name}")


def _with_content(command: list[str], content: bytes) -> str:
    """The command with `content` as base64 on standard input; for a pipe the first command reads it."""
    lines = textwrap.wrap(base64.b64encode(content).decode(), 100)
    first, bar, rest = " ".join(command).partition(" | ")
    body = "".join(f"{line}\n" for line in lines)
    return f"{first} <<'{_END_OF_FILE}'{bar}{rest}\n{body}{_END_OF_FILE}\n"


def _with_interpreter(body: bytes) -> bytes:
    """A boot hook's first line names its kind; what follows is a script, with or without a "#!" line of its own."""
    first, _, rest = body.partition(b"\n")
    text = rest if first.strip().startswith(b"#cloud-boothook") else body
    return text if text.startswith(b"#!") else b"#!/bin/sh\n" + text


def _commands(commands: Sequence[Command]) -> bytes:
    """As cloud-init's runcmd: a text is a line for the shell, a list is a program whose words are kept as they are."""
    lines = [command if isinstance(command, str) else " ".join(quote(word) for word in command) for command in commands]
    return "\n".join(["#!/bin/sh", *lines, ""]).encode("utf-8", "surrogatepass")


def _set_password(password: Password) -> str:
    user = quote(password.user) if password.user else '"$DEFAULT_USER"'
    if password.random:
        return f"set_random_password {user}\n"
    if password.hash:
        return f"set_password {user} {quote(password.hash)}\n"
    return f'set_password {user} "$(printf %s {quote(password.text)} | hash_password)"\n'
