"""Settings: what the user may choose, from defaults < `gureum.toml` in the home < environment variables `GUREUM_*`.

`Settings` is the one table of keys: name, type, default, meaning. `docs/settings.md` is rendered from it (a test compares).
What gureum itself picks and remembers for a home (its id, its share of the public pool, its ports) is in `homes.py`.
This module reads files and the environment only when asked to; it never writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from gureum.base.quotas import Quotas

SYSTEM_HOME = "/var/lib/gureum"
FILE_NAME = "gureum.toml"
PREFIX = "GUREUM_"

# Variables that gureum passes to its own processes; they are no settings.
INTERNAL = frozenset({"GUREUM_READY_FD", "GUREUM_LIFE_FD", "GUREUM_SUPERVISOR", "GUREUM_PROCESS"})

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))

Port = Annotated[int, Meta(ge=0, le=65535)]


class SettingsError(Exception):
    """A setting that cannot be obeyed; the text names the key, where it stands, and what is allowed."""


class Settings(Quotas, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. Each key's meaning is its `description`."""

    home: Annotated[
        str, Meta(description="Folder that holds all state. Environment only; the file of settings lies in it.")
    ] = SYSTEM_HOME
    bind: Annotated[
        str, Meta(description="Address that the APIs listen on. They ask for no password: keep it local.")
    ] = "127.0.0.1"
    aws_port: Annotated[
        Port,
        Meta(description="TCP port of the AWS API. 0: 4566 in the default home, a free one, remembered, in others."),
    ] = 0
    kube_port: Annotated[
        Port,
        Meta(
            description="TCP port of the Kubernetes API. 0: 6443 in the default home, a free one, remembered, in others."
        ),
    ] = 0
    kube_keys: Annotated[
        str,
        Meta(
            description="Folder for the keys that Kubernetes Secrets are sealed with, in a subfolder named after the home. Empty: `<home>-keys`."
        ),
    ] = ""
    serial_console_port: Annotated[
        Port,
        Meta(
            description="TCP port of the SSH endpoint of serial consoles. 0: 4522 in the default home, a free one, remembered, in others."
        ),
    ] = 0
    default_account: Annotated[
        str, Meta(pattern=r"^\d{12}$", description="Account of access keys that are not 12 digits themselves.")
    ] = "000000000000"
    default_region: Annotated[
        str,
        Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="Region of calls that name none; `gureum env` prints it."),
    ] = "us-east-1"
    ami_fallback: Annotated[
        str,
        Meta(
            description="Built-in image (`busybox` or `debian`) to start for AMI ids that gureum does not know; empty: off."
        ),
    ] = ""
    verify_signatures: Annotated[
        bool,
        Meta(
            description="Check AWS signatures (SigV4; of S3 also SigV2 URLs and forms): keys that STS handed out or IAM made with their own "
            "secret, others with `secret_key`."
        ),
    ] = False
    secret_key: Annotated[
        str,
        Meta(
            description="Secret access key that all keys but those of STS and IAM sign with; looked at with `verify_signatures`."
        ),
    ] = "test"
    ephemeral: Annotated[
        bool, Meta(description="Allows `POST /_gureum/reset`, which empties all accounts and regions.")
    ] = False
    simulate: Annotated[
        bool,
        Meta(description="Simulated machine: the APIs and their state machines move, nothing runs. Needs no root."),
    ] = False
    docker_socket: Annotated[
        str,
        Meta(
            description="Socket of the Docker Engine API. Empty: /run/gureum/docker.sock in the default home, the run folder in others; `off`: none."
        ),
    ] = ""
    docker_group: Annotated[
        str,
        Meta(
            description="Group of this host that may use that socket, as of dockerd's `--group`: as good as root. Empty: root's."
        ),
    ] = ""
    publish_address: Annotated[
        str,
        Meta(description="Address that containers' published ports are bound to where `docker run -p` names none."),
    ] = "127.0.0.1"
    egress: Annotated[
        str,
        Meta(
            pattern=r"^(?!all$|default$|lo$|\.)[A-Za-z0-9_.-]{1,15}$",
            description="Guests' way to the internet through this host: `off`, `host` (as its routes lead), or the one interface to leave by.",
        ),
    ] = "off"
    egress_private: Annotated[
        str,
        Meta(
            pattern=r"^$|^\d+(\.\d+){3}(/\d+)?( *, *\d+(\.\d+){3}(/\d+)?)*$",
            description="With `egress`: private ranges (10/8, 172.16/12, 192.168/16, 100.64/10) that guests reach as well, with commas; empty: none.",
        ),
    ] = ""
    resolvers: Annotated[
        str,
        Meta(
            pattern=r"^$|^[0-9a-fA-F.:]+(#\d{1,5})?( *, *[0-9a-fA-F.:]+(#\d{1,5})?)*$",
            description="With `egress`: DNS servers for names not gureum's (`192.0.2.1` or `192.0.2.1#5353`, commas). Empty: /etc/resolv.conf's.",
        ),
    ] = ""
    dns_port: Annotated[
        Port, Meta(description="UDP and TCP port of gureum's DNS server for the host. 0: a free one, remembered.")
    ] = 0
    endpoint_name: Annotated[
        str,
        Meta(
            description="DNS name of the API; names that end in it (`stream-logs.aws.gureum.test`) resolve to it too."
        ),
    ] = "aws.gureum.test"
    pool: Annotated[
        str,
        Meta(
            description="Public addresses of this home, a /20 within 198.18.0.0/15. Empty: claimed by itself, remembered."
        ),
    ] = ""
    memory_promise: Annotated[
        float,
        Meta(
            gt=0,
            le=16,
            description="How much of the host's memory (simulated: of 64 TiB) instances may be promised in all; 1.0 is all of it.",
        ),
    ] = 0.9
    spot_notice_s: Annotated[
        float,
        Meta(
            ge=0, le=3600, description="How many seconds before its end an interrupted Spot Instance is told; AWS: 120."
        ),
    ] = 120.0
    alarm_evaluation_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How often alarms are evaluated, in seconds; a period counts then before its end too. 0: as AWS (10 or 60).",
        ),
    ] = 0
    alarm_minute_s: Annotated[
        int,
        Meta(
            ge=1,
            le=60,
            description="How many seconds a minute of an alarm's period lasts. Below 60, data are kept by the second, and alarms are faster.",
        ),
    ] = 60
    scaling_low_periods: Annotated[
        int,
        Meta(
            ge=1,
            le=60,
            description="How many periods a tracked metric must be below its target before a group shrinks; AWS waits for 15.",
        ),
    ] = 15
    scaling_warmup_s: Annotated[
        int,
        Meta(
            ge=0,
            le=3600,
            description="Most seconds that new instances of an Auto Scaling group count as warming up where no warmup is given; AWS: 300.",
        ),
    ] = 300
    alarm_webhook: Annotated[
        str,
        Meta(
            pattern=r"^$|^http://(127\.0\.0\.1|\[::1\]|localhost)(:\d{1,5})?(/.*)?$",
            description="URL on loopback that messages to SNS topics (of alarms and Auto Scaling groups) are sent to; empty: only the log has them.",
        ),
    ] = ""
    metrics_period_s: Annotated[
        int,
        Meta(
            ge=0,
            le=300,
            description="How often metrics of what runs are published, in seconds. 0: as AWS (300; 60 with detailed monitoring and of balancers).",
        ),
    ] = 0
    console_log_group: Annotated[
        str,
        Meta(
            pattern=r"^[.\-_/#A-Za-z0-9]{0,512}$",
            description="Log group (CloudWatch Logs) that gets every line of the instances' consoles, in a stream per instance; empty: off.",
        ),
    ] = ""
    flow_log_interval_s: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="Seconds after which VPC flow logs made from now on tell what passed, instead of the 60 or 600 they ask for; 0: as they ask.",
        ),
    ] = 0.0
    guest_api: Annotated[
        bool,
        Meta(
            description="Machines reach the API at `http://` and the name in `endpoint_name`, with credentials that STS or their role gave them."
        ),
    ] = True
    neighbours: Annotated[
        str,
        Meta(
            description="Services that moto answers where it is installed: `on` for all that are offered, `off`, or their names with commas."
        ),
    ] = "on"
    neighbours_journal_bytes: Annotated[
        int,
        Meta(
            ge=1_048_576,
            description="How large the file may become that keeps what neighbours were told; then they take no more changes.",
        ),
    ] = 8_589_934_592
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="What the processes write to `logs/` in the home."),
    ] = "info"
    log_bytes: Annotated[
        int,
        Meta(ge=65536, description="Size in bytes at which a log file is set aside as `.1`; one older one is kept."),
    ] = 10_000_000

    @property
    def default_home(self) -> bool:
        """Whether this is the home that uses the well-known ports."""
        return self.home in map(os.path.realpath, (SYSTEM_HOME, user_home()))


def user_home() -> str:
    """Where a user who is not root keeps a simulated cloud (XDG Base Directory)."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser())
    return f"{data}/gureum"


def choose_home(environment: Mapping[str, str]) -> str:
    """`GUREUM_HOME`, else the system's home; for others than root their own, unless the system's exists. Always absolute and free of links, since
    what is mounted in it, and who uses it, is known by its path."""
    if named := environment.get("GUREUM_HOME"):
        found = str(Path(named).expanduser())
    elif os.geteuid() == 0 or Path(SYSTEM_HOME).exists():
        found = SYSTEM_HOME
    else:
        found = user_home()
    return os.path.realpath(found)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings of the home that the environment names. Raises SettingsError; a missing file is an empty one."""
    environment = os.environ if environment is None else environment
    home = choose_home(environment)
    values: dict[str, object] = read_file(Path(home) / FILE_NAME)
    values |= read_environment(environment)
    private_ranges(str(values.get("egress_private", "")))
    return msgspec.convert(values | {"home": home}, Settings)


def private_ranges(text: str) -> tuple[str, ...]:
    """The ranges of `egress_private`. SettingsError for what is none, or none of those that may be let through."""
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            network = IPv4Network(word)
        except ValueError as error:
            raise SettingsError(f"`egress_private`: {error}") from error
        if not any(network.subnet_of(one) for one in PRIVATE):
            raise SettingsError(f"`egress_private`: {word} is not private (10/8, 172.16/12, 192.168/16, 100.64/10)")
        found.append(network)
    return tuple(str(network) for network in collapse_addresses(found))


def read_file(path: Path) -> dict[str, object]:
    """The keys of a `gureum.toml`, each checked."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except (PermissionError, NotADirectoryError) as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    for key in found:
        if key == "home":
            raise SettingsError(f"{path}: `home` can only be set as GUREUM_HOME (the file lies in it)")
    return {key: check(key, value, str(path), strict=True) for key, value in found.items()}


def read_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """The keys that `GUREUM_*` variables set. A variable that names no key is an error: it would be a typing mistake."""
    named = {
        name: value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in INTERNAL and name != "GUREUM_HOME"
    }
    return {
        name.removeprefix(PREFIX).lower(): check(name.removeprefix(PREFIX).lower(), value, name, strict=False)
        for name, value in named.items()
    }


def check(key: str, value: object, where: str, *, strict: bool) -> object:
    """`value` as the type of `key`. `strict`: no text for numbers and truth values (a file has real ones, a variable not)."""
    kind = TYPES.get(key)
    if kind is None:
        raise SettingsError(f"{where}: there is no setting `{key}` (see docs/settings.md)")
    if isinstance(value, str) and not strict and kind_name(kind) == "true/false":
        value = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }.get(value.lower(), value)
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: `{key}` is {value!r}: {error}") from error


def kind_name(kind: object) -> str:
    """The type of a key in a reader's words."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    return {bool: "true/false", int: "number", float: "number", str: "text"}[kind]  # type: ignore[index]


def describe() -> str:
    """The page of settings in Markdown: a row per key."""
    rows = ["| key | variable | type | default | meaning |", "|---|---|---|---|---|"]
    for field in sorted(msgspec.structs.fields(Settings), key=lambda field: field.name in QUOTAS):
        kind = TYPES[field.name]
        key = "" if field.name == "home" else f"`{field.name}`"
        default = msgspec.json.encode(field.default).decode()
        rows.append(
            f"| {key} | `{PREFIX}{field.name.upper()}` | {kind_name(kind)} | `{default}` | {kind.__metadata__[-1].description} |"
        )
    return "\n".join(rows) + "\n"


QUOTAS = frozenset(Quotas.__struct_fields__)
TYPES = get_type_hints(Settings, include_extras=True)
