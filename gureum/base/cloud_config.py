"""Reads `#cloud-config` into a BootPlan: what a machine is to do at its start, checked and typed. Pure.

The guests of gureum's own images have no YAML parser, so the host reads user data and boot_script.py renders it for them. A key
that cannot be obeyed, or a value of the wrong shape, becomes a warning for the console; the rest is still done, as cloud-init does.

Source: cloud-init's documentation, "Module reference".
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable

import msgspec

from gureum.base.boot_plan import Account, BootPlan, Command, FileWrite, Password
from gureum.base.hostile_yaml import HostileYaml, load
from gureum.base.user_data import LIMIT_BYTES, UserData

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_HASH = re.compile(r"\$(1|2a|2y|5|6|y)\$.+")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~=*_-]{0,127}")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")


_IGNORED = frozenset(
    [
        "allow_public_ssh_keys",
        "apt_update",
        "apt_upgrade",
        "cloud_config_modules",
        "cloud_final_modules",
        "cloud_init_modules",
        "create_hostname_file",
        "datasource",
        "disable_root_opts",
        "growpart",
        "locale",
        "merge_how",
        "merge_type",
        "no_ssh_fingerprints",
        "output",
        "package_reboot_if_required",
        "prefer_fqdn_over_hostname",
        "preserve_hostname",
        "repo_update",
        "repo_upgrade",
        "resize_rootfs",
        "ssh",
        "ssh_deletekeys",
        "ssh_genkeytypes",
        "ssh_quiet_keygen",
        "system_info",
        "user",
    ]
)
"""Keys whose wish is met anyway, or that speak of cloud-init itself."""


def plan_boot(user_data: UserData) -> BootPlan:
    """Never raises: what cannot be obeyed is in `warnings`. Later cloud-configs override earlier ones key by key (cloud-init's
    default way to merge parts)."""
    reader = _Reader(list(user_data.warnings))
    body: dict[str, object] = {}
    for part in user_data.parts:
        if part.kind == "config":
            body.update(reader.config(part.body))
    by_kind = {
        kind: tuple(part.body for part in user_data.parts if part.kind == kind)
        for kind in ("boothook", "script-per-boot")
    }
    scripts = tuple(part.body for part in user_data.parts if part.kind in ("script", "script-once"))
    plan = reader.plan(body)
    return msgspec.structs.replace(
        plan,
        boothooks=by_kind["boothook"],
        scripts_per_boot=by_kind["script-per-boot"],
        scripts=scripts,
        warnings=tuple(reader.warnings),
    )


class _Reader:
    """Turns values of any shape into the plan's types; what does not fit is noted and left out."""

    def __init__(self, warnings: list[str]) -> None:
        self.warnings = warnings

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def config(self, text: bytes) -> dict[str, object]:
        try:
            body = load(text)
        except HostileYaml as error:
            self.warn(f"#cloud-config cannot be read and is not used: {error}")
            return {}
        if body is None:
            return {}
        if not isinstance(body, dict):
            self.warn("#cloud-config is not a mapping of keys and is not used")
            return {}
        return {str(key): value for key, value in body.items()}

    def plan(self, body: dict[str, object]) -> BootPlan:
        take = _Keys(body, self)
        hostname, fqdn = take.matching("hostname", _HOST_NAME), take.matching("fqdn", _HOST_NAME)
        passwords = self._passwords(take)
        plan = BootPlan(
            bootcmd=self.commands(take.value("bootcmd"), "bootcmd"),
            files=self._files(take.value("write_files")),
            hostname=(hostname or fqdn).partition(".")[0],
            fqdn=fqdn or hostname,
            manage_hosts=_is_true(take.value("manage_etc_hosts"))
            or take.value("manage_etc_hosts") in ("localhost", "template"),
            groups=self._groups(take.value("groups")),
            accounts=self._accounts(take.value("users")),
            ssh_keys=self.texts(take.value("ssh_authorized_keys"), "ssh_authorized_keys"),
            disable_root=_is_true(take.value("disable_root")),
            ssh_passwords=_yes_no(take.value("ssh_pwauth")),
            passwords=passwords,
            timezone=take.matching("timezone", _ZONE),
            package_update=any(_is_true(take.value(key)) for key in ("package_update", "apt_update", "repo_update")),
            package_upgrade=any(
                _is_true(take.value(key)) for key in ("package_upgrade", "apt_upgrade", "repo_upgrade")
            ),
            packages=self._packages(take.value("packages")),
            runcmd=self.commands(take.value("runcmd"), "runcmd"),
            final_message=take.text("final_message"),
            power=self._power(take.value("power_state")),
        )
        take.note_unknown()
        return plan

    def text(self, value: object, what: str) -> str:
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or "\0" in str(value):
            self.warn(f"{what}: a text is wanted, not {_shown(value)}")
            return ""
        return str(value)

    def texts(self, value: object, what: str) -> tuple[str, ...]:
        """A list of texts, or one."""
        entries = value if isinstance(value, list) else [] if value is None else [value]
        return tuple(text for entry in entries if (text := self.text(entry, what)))

    def words(self, value: object, what: str) -> tuple[str, ...]:
        """A list of names, or names between commas."""
        names = [name.strip() for text in self.texts(value, what) for name in text.split(",")]
        return tuple(name for name in names if name and self._is_name(name, what))

    def _is_name(self, name: str, what: str) -> bool:
        if _NAME.fullmatch(name):
            return True
        self.warn(f"{what}: {_shown(name)} is not a name for a user or group")
        return False

    def commands(self, value: object, what: str) -> tuple[Command, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self.warn(f"{what}: a list is wanted, not {_shown(value)}")
            return ()
        commands: list[Command] = []
        for entry in value:
            if isinstance(entry, list):
                commands.append(tuple(self.text(word, what) for word in entry))
            elif entry is not None and (text := self.text(entry, what)):
                commands.append(text)
        return tuple(commands)

    def _files(self, value: object) -> tuple[FileWrite, ...]:
        if not isinstance(value, list):
            return ()
        files = (self._file(entry) for entry in value if isinstance(entry, dict))
        return tuple(file for file in files if file is not None)

    def _file(self, entry: dict[object, object]) -> FileWrite | None:
        path = self.text(entry.get("path"), "write_files: path")
        if not path.startswith("/"):
            self.warn(f"write_files: {_shown(path)} is not an absolute path")
            return None
        content = self._content(entry, path)
        if content is None:
            return None
        mode = _mode(entry.get("permissions"))
        if not mode:
            self.warn(
                f"write_files: permissions {_shown(entry.get('permissions'))} of {_shown(path)} are not octal; 0644 is used"
            )
        return FileWrite(
            path=path,
            content=content,
            owner=self.text(entry.get("owner"), "write_files: owner"),
            mode=mode or "0644",
            append=_is_true(entry.get("append")),
            late=_is_true(entry.get("defer")),
        )

    def _content(self, entry: dict[object, object], path: str) -> bytes | None:
        value = entry.get("content")
        content = value if isinstance(value, bytes) else self.text_with_nul(value).encode("utf-8", "surrogatepass")
        encoding = str(entry.get("encoding") or "text/plain").strip().lower()
        steps = {"gz": ("gz",), "gzip": ("gz",), "b64": ("b64",), "base64": ("b64",), "text/plain": (),
                 "gz+b64": ("b64", "gz"), "gzip+b64": ("b64", "gz"), "gz+base64": ("b64", "gz"), "gzip+base64": ("b64", "gz")}  # fmt: skip
        try:
            for step in steps[encoding]:
                content = _unbase64(content) if step == "b64" else _gunzip(content)
        except (KeyError, binascii.Error, zlib.error, ValueError):
            self.warn(f"write_files: the content of {_shown(path)} is not {_shown(encoding)}")
            return None
        return content

    def text_with_nul(self, value: object) -> str:
        return "" if value is None else str(value)

    def _groups(self, value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
        groups: list[tuple[str, tuple[str, ...]]] = []
        entries = value if isinstance(value, list) else [value] if value is not None else []
        for entry in entries:
            if isinstance(entry, dict):
                named = [(str(name), members) for name, members in entry.items() if self._is_name(str(name), "groups")]
                groups += [(name, self.words(members, "groups")) for name, members in named]
            else:
                groups += [(name, ()) for name in self.words(entry, "groups")]
        return tuple(groups)

    def _accounts(self, value: object) -> tuple[Account, ...]:
        if isinstance(value, dict):
            entries: list[object] = [{**body, "name": name} for name, body in value.items() if isinstance(body, dict)]
        else:
            entries = value if isinstance(value, list) else [] if value is None else [value]
        accounts = []
        for entry in entries:
            if isinstance(entry, dict):
                account = self._account(entry)
                accounts += [account] if account else []
            else:
                # "default" is the user that the image has already.
                accounts += [Account(name) for name in self.words(entry, "users") if name != "default"]
        return tuple(accounts)

    def _account(self, entry: dict[object, object]) -> Account | None:
        name = self.text(entry.get("name"), "users: name")
        if not self._is_name(name, "users"):
            return None
        for key in ("ssh_import_id", "expiredate", "inactive", "snapuser", "ssh_redirect_user"):
            if entry.get(key):
                self.warn(f"users: {key} of {name} is not supported")
        return Account(
            name=name,
            uid=_digits(entry.get("uid")),
            gecos=self.text(entry.get("gecos"), "users: gecos").replace(":", " ").replace("\n", " "),
            home=_one_line(self.text(entry.get("homedir"), "users: homedir")),
            shell=_one_line(self.text(entry.get("shell"), "users: shell")),
            group=next(iter(self.words(entry.get("primary_group"), "users: primary_group")), ""),
            groups=self.words(entry.get("groups"), "users: groups"),
            system=_is_true(entry.get("system")),
            make_home=not (_is_true(entry.get("no_create_home")) or _is_true(entry.get("system"))),
            sudo=bool(entry.get("sudo")) or bool(entry.get("doas")),
            ssh_keys=self.texts(entry.get("ssh_authorized_keys"), "users: ssh_authorized_keys"),
            password_hash=_one_line(self.text(entry.get("hashed_passwd") or entry.get("passwd"), "users: passwd")),
            password=self.text(entry.get("plain_text_passwd"), "users: plain_text_passwd"),
            locked=entry.get("lock_passwd") is not False and entry.get("lock-passwd") is not False,
        )

    def _passwords(self, take: _Keys) -> tuple[Password, ...]:
        found: list[Password] = []
        if text := take.text("password"):
            found.append(_password("", text, ""))
        chpasswd = take.value("chpasswd")
        if not isinstance(chpasswd, dict):
            return tuple(found)
        listed = chpasswd.get("list")
        lines = listed.splitlines() if isinstance(listed, str) else self.texts(listed, "chpasswd: list")
        for line in lines:
            user, colon, text = line.partition(":")
            if colon and self._is_name(user.strip(), "chpasswd"):
                found.append(_password(user.strip(), text.strip("\n"), ""))
        users = chpasswd.get("users")
        for entry in users if isinstance(users, list) else []:
            name = self.text(entry.get("name"), "chpasswd: name") if isinstance(entry, dict) else ""
            if isinstance(entry, dict) and self._is_name(name, "chpasswd"):
                kind = str(entry.get("type") or "hash")
                found.append(_password(name, self.text(entry.get("password"), "chpasswd: password"), kind))
        return tuple(found)

    def _packages(self, value: object) -> tuple[str, ...]:
        names: list[str] = []
        for entry in value if isinstance(value, list) else [] if value is None else [value]:
            if isinstance(entry, list) and len(entry) == 2:
                names.append(f"{entry[0]}={entry[1]}")  # [name, version]
            elif isinstance(entry, dict):
                names += self._packages(entry.get("apt"))
            else:
                names.append(self.text(entry, "packages"))
        for name in names:
            if not _PACKAGE.fullmatch(name):
                self.warn(f"packages: {_shown(name)} is not the name of a package")
        return tuple(name for name in names if _PACKAGE.fullmatch(name))

    def _power(self, value: object) -> str:
        """`power_state`: only what happens, not when: the delay is for people at the console."""
        mode = value.get("mode") if isinstance(value, dict) else None
        if value is not None and mode not in ("poweroff", "halt", "reboot"):
            self.warn(f"power_state: mode {_shown(mode)} is not poweroff, halt or reboot")
        return mode if mode in ("poweroff", "halt", "reboot") else ""


class _Keys:
    """The top-level keys, remembering which were asked for."""

    def __init__(self, body: dict[str, object], reader: _Reader) -> None:
        self._body = body
        self._reader = reader
        self._known: set[str] = set(_IGNORED)

    def value(self, key: str) -> object:
        self._known.add(key)
        return self._body.get(key)

    def text(self, key: str) -> str:
        return self._reader.text(self.value(key), key)

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        text = self.text(key).strip()
        if text and not pattern.fullmatch(text):
            self._reader.warn(f"{key}: {_shown(text)} cannot be used")
            return ""
        return text

    def note_unknown(self) -> None:
        unknown: Iterable[str] = sorted(key for key in self._body if key not in self._known)
        for key in unknown:
            self._reader.warn(f"#cloud-config key {_shown(key)} is not supported and left out")


def _password(user: str, text: str, kind: str) -> Password:
    if kind.upper() == "RANDOM" or (not kind and text in ("R", "RANDOM")):
        return Password(user, random=True)
    if kind == "hash" or (not kind and _HASH.fullmatch(text)):
        return Password(user, hash=_one_line(text))
    return Password(user, text=text)


def _one_line(text: str) -> str:
    """For a field of /etc/passwd or /etc/shadow."""
    return text if not set(text) & set(":\n\r") else ""


def _digits(value: object) -> str:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isdigit() and len(text) < 10 else ""


def _mode(value: object) -> str:
    """ "0644", '0o644', or the number 420 that YAML makes of 0644."""
    if value is None:
        return "0644"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:04o}" if 0 <= value <= 0o7777 else ""
    text = str(value).removeprefix("0o")
    return text.rjust(4, "0") if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777 else ""


def _is_true(value: object) -> bool:
    return (
        value is True or (isinstance(value, str) and value.strip().lower() in ("true", "1", "on", "yes")) or value == 1
    )


def _yes_no(value: object) -> bool | None:
    """None for "unchanged" and for a key that is not there."""
    if value is None or value == "unchanged":
        return None
    return _is_true(value)


def _unbase64(data: bytes) -> bytes:
    return base64.b64decode(b"".join(data.split()), validate=True)


def _gunzip(data: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    unpacked = decompressor.decompress(data, LIMIT_BYTES + 1)
    if not decompressor.eof:
        raise ValueError("too large, or cut off")
    return unpacked


def _shown(value: object) -> str:
    """For a warning on the console: printable, short."""
    return ascii(value)[:80]
