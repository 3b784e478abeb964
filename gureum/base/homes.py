"""Homes: the folder that holds one gureum's state, and what that gureum keeps for itself on the machine.

A home remembers, in its `identity.json`, what was picked for it once: an *id* that stands in the name of everything it
makes on the machine, its *pool* (a /20 of 198.18.0.0/15, the public addresses) and its ports. Several homes run side by
side: ids and pools are claimed under one machine-wide lock, a file per pool in `/run/gureum/pools/`.

    <home>/                 0700, survives a reboot: gureum.toml, identity.json, store, images, volumes, logs/
    /run/gureum/<id>/       0700, gone after a reboot: sockets, pid files (others than root: $XDG_RUNTIME_DIR/gureum/<id>)

Only `open_home` writes; `load_home` just looks. Simulated homes claim nothing, since they make nothing on the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import string
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gureum.base.settings import FILE_NAME, Settings

SYSTEM_RUN = Path("/run/gureum")
GUESTS_SOCKET = "guests.sock"
"""In the run folder: where the agent brings what guests ask of the API."""
PUBLIC = ipaddress.ip_network("198.18.0.0/15")  # RFC 2544: for benchmarks, never routed in public
POOL_PREFIX = 20
POOL_COUNT = 2 ** (POOL_PREFIX - PUBLIC.prefixlen)
# Below ip_local_port_range as it usually is (32768 on), and below NodePorts (30000 on).
PICKED_PORTS = (10240, 29999)
WELL_KNOWN_AWS_PORT = 4566
WELL_KNOWN_KUBE_PORT = 6443
WELL_KNOWN_SERIAL_PORT = 4522
_ID_SIGNS = string.ascii_lowercase + string.digits
ID_LENGTH = 5
FORMAT = 1
# A unix socket's path has 108 bytes (sys/un.h); the longest name we put into a run folder takes about 40.
LIMIT_RUN_PATH = 68


class HomeError(Exception):
    """The home cannot be used; the text says what the user can do."""


class Identity(msgspec.Struct, frozen=True):
    """What a home remembers of itself. `format` counts changes of the layout of the home. Ports 0: not picked yet."""

    id: str
    pool: str
    aws_port: int
    dns_port: int
    simulate: bool
    format: int = FORMAT
    kube_port: int = 0
    serial_port: int = 0


class Claim(msgspec.Struct, frozen=True):
    """Who holds a pool: the home's id and path."""

    id: str
    home: str


class Home(msgspec.Struct, frozen=True):
    """A home ready for use. `run`: folder for sockets and pid files. `pool`: "198.18.16.0/20". `bind`: the APIs' address."""

    id: str
    path: Path
    run: Path
    pool: str
    bind: str
    aws_port: int
    dns_port: int
    simulate: bool
    kube_port: int = 0
    serial_port: int = 0

    @property
    def logs(self) -> Path:
        """Folder of `agent.log`, `daemon.log` and `supervisor.log`."""
        return self.path / "logs"

    @property
    def supervisor_socket(self) -> Path:
        """Where the supervisor answers (see gureum/supervisor/)."""
        return self.run / "supervisor.sock"

    @property
    def endpoint(self) -> str:
        """The URL of the APIs as a client on this host uses it."""
        return f"http://{self._host}:{self.aws_port}"

    @property
    def kube_endpoint(self) -> str:
        """The URL of the Kubernetes API."""
        return f"https://{self._host}:{self.kube_port}"

    @property
    def kubeconfig(self) -> Path:
        """Where the daemon writes what kubectl needs."""
        return self.path / "kube" / "kubeconfig"

    @property
    def _host(self) -> str:
        host = "127.0.0.1" if self.bind in ("0.0.0.0", "") else self.bind
        return f"[{host}]" if ":" in host else host


def docker_socket(settings: Settings, home: Home) -> str:
    """Path of the Docker Engine API's socket; "" for none."""
    if settings.docker_socket == "off" or (home.simulate and not settings.docker_socket):
        return ""
    if settings.docker_socket:
        return settings.docker_socket
    return str((SYSTEM_RUN if settings.default_home else home.run) / "docker.sock")


def kube_seals(settings: Settings, home: Home) -> Path:
    """Folder of the keys that Kubernetes Secrets are sealed with: not in the home, so that nobody has Secrets who has its files alone."""
    return Path(settings.kube_keys) / home.id if settings.kube_keys else _kube_seals_beside(home)


def former_kube_seals(settings: Settings, home: Home) -> list[Path]:
    """Where those keys may lie from before: of an older gureum, or before the setting was made."""
    now = kube_seals(settings, home)
    return [one for one in (home.path / "keys" / "kube", _kube_seals_beside(home)) if one != now]


def _kube_seals_beside(home: Home) -> Path:
    """A sibling of the home, `<home>-keys/kube`; where nothing can be made beside it, in the user's configuration (XDG)."""
    path = home.path.resolve()
    folder = path.with_name(f"{path.name}-keys")
    if folder.is_dir() or os.access(path.parent, os.W_OK):
        return folder / "kube"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "gureum" / "keys" / home.id


def open_home(settings: Settings) -> Home:
    """Makes the home usable: folders, id, pool, ports. Idempotent; of a running home it is a look.

    Raises HomeError when the home belongs to another kind of gureum (simulated or not, newer), is a copy of another home,
    or when pool or port are taken.
    """
    path = Path(settings.home)
    if foreign(path):
        raise HomeError(f"{path} holds other things than a gureum: choose an empty folder as GUREUM_HOME")
    if (home := load_home(settings)) and running(home):
        return home
    try:
        for folder in (path, path / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        with machine_lock(run_root(path)):
            known = read_identity(path)
            if known:
                check_identity(path, known, settings)
            identity = settle(settings, known)
            if identity != known:
                write_identity(path, identity)
    except OSError as error:
        raise HomeError(f"{error.filename or path} cannot be used: {error.strerror} (set GUREUM_HOME)") from error
    home = as_home(settings, identity)
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def load_home(settings: Settings) -> Home | None:
    """The home as it stands, or None when it was never opened (or may not be read by this user). HomeError for a copy of another one."""
    try:
        identity = read_identity(Path(settings.home))
    except PermissionError:
        return None
    if identity and not identity.simulate:
        check_no_copy(Path(settings.home), identity)
    return as_home(settings, identity) if identity else None


def running(home: Home) -> bool:
    """Whether a supervisor holds the home; what was picked for it must not change then."""
    return lock_held(home.run)


def lock_held(run: Path) -> bool:
    """Whether a supervisor holds the lock of this run folder."""
    try:
        with open(run / "supervisor.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def as_home(settings: Settings, identity: Identity) -> Home:
    path = Path(settings.home)
    run = run_root(path) / identity.id
    if len(str(run)) > LIMIT_RUN_PATH:
        raise HomeError(f"the path {run} is too long for sockets: choose a shorter GUREUM_HOME or set XDG_RUNTIME_DIR")
    return Home(
        id=identity.id,
        path=path,
        run=run,
        pool=identity.pool,
        bind=settings.bind,
        aws_port=settings.aws_port or identity.aws_port,
        dns_port=settings.dns_port or identity.dns_port,
        simulate=identity.simulate,
        kube_port=settings.kube_port or identity.kube_port,
        serial_port=settings.serial_console_port or identity.serial_port,
    )


def run_root(home: Path) -> Path:
    """The folder of run folders: the machine's for root, else the user's own."""
    if os.geteuid() == 0:
        return SYSTEM_RUN
    own = os.environ.get("XDG_RUNTIME_DIR")
    return Path(own) / "gureum" if own else home / "run"


@contextlib.contextmanager
def machine_lock(root: Path) -> Iterator[None]:
    """Held while ids, pools and ports are picked. Other homes' `up` wait here, for milliseconds."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(root / "lock", "w", opener=private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def private(path: str, flags: int) -> int:
    """An opener for files that only their owner may read."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


# What is picked


def settle(settings: Settings, known: Identity | None) -> Identity:
    """The identity with everything that is still open picked. Runs under the machine lock."""
    id_ = known.id if known else new_home_id()
    taken: set[int] = set()

    def port(wished: int, remembered: int, well_known: int) -> int:
        picked = choose_port(settings, wished, remembered, well_known, taken)
        taken.add(picked)
        return picked

    return Identity(
        id=id_,
        pool=choose_pool(settings, id_, known.pool if known else ""),
        aws_port=port(settings.aws_port, known.aws_port if known else 0, WELL_KNOWN_AWS_PORT),
        dns_port=port(settings.dns_port, known.dns_port if known else 0, 0),
        simulate=settings.simulate,
        kube_port=port(settings.kube_port, known.kube_port if known else 0, WELL_KNOWN_KUBE_PORT),
        serial_port=port(settings.serial_console_port, known.serial_port if known else 0, WELL_KNOWN_SERIAL_PORT),
    )


def new_home_id() -> str:
    """Five lower-case letters and digits, the first a letter: "k3x9a"."""
    # Not by `secrets`, which brings all of hashing along: a twelfth of the command's start.
    number, first = divmod(int.from_bytes(os.urandom(16), "big"), len(string.ascii_lowercase))
    found = string.ascii_lowercase[first]
    for _ in range(ID_LENGTH - 1):
        number, digit = divmod(number, len(_ID_SIGNS))
        found += _ID_SIGNS[digit]
    return found


def check_identity(path: Path, known: Identity, settings: Settings) -> None:
    """HomeError when `known` must not be used as it is."""
    if known.format > FORMAT:
        raise HomeError(f"{path} was written by a newer gureum (format {known.format}): upgrade gureum")
    if known.simulate != settings.simulate:
        kind = "a simulated" if known.simulate else "a real"
        raise HomeError(
            f"{path} holds {kind} cloud: choose another GUREUM_HOME, or empty it with `gureum down --purge`"
        )
    if settings.simulate:
        return
    check_no_copy(path, known)


def check_no_copy(path: Path, known: Identity) -> None:
    """HomeError when the home of this id is another one. What runs under the id is that one's: nobody stops or asks it from here."""
    for claim in claims().values():
        if claim.id == known.id and not same_folder(claim.home, path) and alive(claim):
            raise HomeError(
                f"{path} is a copy of {claim.home}: remove {path}/identity.json to make it a home of its own"
            )


def same_folder(one: str, other: Path) -> bool:
    """Also by a link, or mounted twice."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def choose_port(settings: Settings, wished: int, remembered: int, well_known: int, taken: set[int]) -> int:
    """The port to listen on: as set, else well-known in the default home, else the remembered one if it is still free, else one that is
    not `taken`."""
    if wished:
        return wished
    if well_known and settings.default_home:
        return well_known
    if remembered and free(settings.bind, remembered):
        return remembered
    return free_port(settings.bind, taken)


def free(bind: str, port: int) -> bool:
    """Whether TCP and UDP of the port can be bound now."""
    try:
        with tcp_and_udp(bind, port):
            return True
    except OSError:
        return False


def free_port(bind: str, taken: set[int]) -> int:
    """A port that is free for TCP and UDP. None of those that the kernel gives to outgoing connections: before the daemon listens, or while the home
    is down, it would soon be another program's."""
    first, last = PICKED_PORTS
    if not free(bind, 0):
        raise HomeError(f"{bind} is no address of this host (setting bind)")
    for _ in range(1000):
        port = first + int.from_bytes(os.urandom(4), "big") % (last - first + 1)
        if port not in taken and free(bind, port):
            return port
    raise HomeError(f"no free port on {bind} from {first} to {last}")


@contextlib.contextmanager
def tcp_and_udp(bind: str, port: int) -> Iterator[None]:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((bind, port))
        udp.bind((bind, port))
        yield


# Pools


def pools() -> list[str]:
    """All 32 pools there are."""
    return [str(network) for network in PUBLIC.subnets(new_prefix=POOL_PREFIX)]


def choose_pool(settings: Settings, id_: str, remembered: str) -> str:
    """Claims the pool that is set, remembered, or free, in this order. Runs under the machine lock. Idempotent."""
    wished = settings.pool or remembered
    if wished and wished not in pools():
        raise HomeError(f"pool {wished} is not a /{POOL_PREFIX} of {PUBLIC}")
    if settings.simulate:
        return wished or pools()[zlib.crc32(id_.encode()) % len(pools())]
    held = claims()
    mine = Claim(id_, settings.home)
    if wished:
        other = held.get(wished)
        if other and other.id != id_ and alive(other):
            raise HomeError(
                f"the addresses {wished} are in use by {other.home}: `gureum down` it, or set another `pool`"
            )
        return claim(wished, mine)
    # Where the search starts depends on the id, so that homes seldom meet after a reboot has emptied /run.
    start = zlib.crc32(id_.encode()) % len(pools())
    order = pools()[start:] + pools()[:start]
    for pool in order:
        if pool not in held:
            return claim(pool, mine)
    for pool in order:
        if not alive(held[pool]):
            return claim(pool, mine)
    raise HomeError(
        f"all {len(order)} pools of {PUBLIC} are taken: `gureum down --purge` homes that you no longer need"
    )


def claim(pool: str, owner: Claim) -> str:
    folder = SYSTEM_RUN / "pools"
    folder.mkdir(mode=0o755, exist_ok=True)
    write_private(folder / file_name(pool), msgspec.json.encode(owner))
    return pool


def release_pool(home_id: str) -> None:
    """Gives up what the home claims. Of a home that claims nothing it is success."""
    if os.geteuid() != 0:
        return
    with machine_lock(SYSTEM_RUN):
        for pool, owner in claims().items():
            if owner.id == home_id:
                (SYSTEM_RUN / "pools" / file_name(pool)).unlink(missing_ok=True)


def claims() -> dict[str, Claim]:
    """Who holds which pool. A file that makes no sense counts as no claim."""
    found = {}
    for pool in pools():
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found[pool] = msgspec.json.decode((SYSTEM_RUN / "pools" / file_name(pool)).read_bytes(), type=Claim)
    return found


def alive(claim: Claim) -> bool:
    """Whether the claim's home still exists and is the one that claimed. One that cannot be read any more may be: nobody takes what it has."""
    try:
        identity = read_identity(Path(claim.home))
    except HomeError:
        return True
    return identity is not None and identity.id == claim.id


def file_name(pool: str) -> str:
    """198.18.16.0/20 → 198.18.16.0.json"""
    return pool.split("/")[0] + ".json"


# Files


def foreign(path: Path) -> bool:
    """Whether the folder is somebody else's: we would take it over, and `down --purge` would empty it."""
    if not path.is_dir() or any((path / name).exists() for name in ("identity.json", "store.db")):
        return False  # without its identity it is a copy that is to be a home of its own
    return any(entry.name not in (FILE_NAME, "logs", "identity.new", "run") for entry in path.iterdir())


def read_identity(home: Path) -> Identity | None:
    """The identity, None when there is none. HomeError when the file is damaged, PermissionError when it is not ours."""
    try:
        return msgspec.json.decode((home / "identity.json").read_bytes(), type=Identity)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise HomeError(f"{home}/identity.json is damaged: {error}") from error


def write_identity(home: Path, identity: Identity) -> None:
    write_private(home / "identity.json", msgspec.json.format(msgspec.json.encode(identity)) + b"\n")


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file at once: after a crash it is the old or the new one, whole."""
    fresh = path.with_suffix(".new")
    with open(fresh, "wb", opener=private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
