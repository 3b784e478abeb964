"""What a machine is to do at its start: cloud_config.py reads it off user data, boot_script.py writes the guest's script from it.

Values have the right shape, but texts are the user's: in a shell they stand only quoted.
"""

from __future__ import annotations

import msgspec

Command = str | tuple[str, ...]
"""A line for the shell, or a program with its arguments."""


class FileWrite(msgspec.Struct, frozen=True):
    """`owner`: "user:group" or "". `mode`: octal, e.g. "0644". `late`: after packages and users (cloud-init's `defer`)."""

    path: str
    content: bytes = b""
    owner: str = ""
    mode: str = "0644"
    append: bool = False
    late: bool = False


class Account(msgspec.Struct, frozen=True):
    """`uid` "": the next free. `group` "": one of its own name. `password_hash` "": none, `password` the plain text or ""."""

    name: str
    uid: str = ""
    gecos: str = ""
    home: str = ""
    shell: str = ""
    group: str = ""
    groups: tuple[str, ...] = ()
    system: bool = False
    make_home: bool = True
    sudo: bool = False
    ssh_keys: tuple[str, ...] = ()
    password_hash: str = ""
    password: str = ""
    locked: bool = True


class Password(msgspec.Struct, frozen=True):
    """`user` "": the image's default user. Exactly one of `hash`, `text` and `random` says what."""

    user: str
    hash: str = ""
    text: str = ""
    random: bool = False


class BootPlan(msgspec.Struct, frozen=True):
    """What user data asks for. Fields follow the order in which they are done; see boot_script.py for what is done at every start."""

    warnings: tuple[str, ...] = ()
    boothooks: tuple[bytes, ...] = ()
    bootcmd: tuple[Command, ...] = ()
    files: tuple[FileWrite, ...] = ()
    hostname: str = ""
    fqdn: str = ""
    manage_hosts: bool = False
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    accounts: tuple[Account, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    disable_root: bool = False
    ssh_passwords: bool | None = None
    passwords: tuple[Password, ...] = ()
    timezone: str = ""
    package_update: bool = False
    package_upgrade: bool = False
    packages: tuple[str, ...] = ()
    scripts_per_boot: tuple[bytes, ...] = ()
    scripts: tuple[bytes, ...] = ()
    runcmd: tuple[Command, ...] = ()
    final_message: str = ""
    power: str = ""
