"""One HAProxy: its folder, its start, its end. Everything here blocks for some milliseconds at most and runs in threads.

    <run>/proxies/NAME/             root's alone
        state.json                  which process it is (pid and start time), for which wish; nobody else can write it
        said                        its standard error
        work/                       what it runs in: configuration (its own to read, not to write), the socket of its log
        work/run/                   its own: control sockets

It runs in the sandbox's network namespace under a uid of its own without any capability: ports below 1024 are opened to all in a sandbox. Since no
other program has that uid, what has it is the proxy, also when its master was killed and a worker is left.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from gureum.base.processes import start_ticks
from gureum.drivers.haproxy import config as haproxy_config
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.slow_start import Rises
from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import checked_home, checked_name
from gureum.drivers.volumes import mounts
from gureum.ports import PortError
from gureum.ports.proxies import Counters, ProxySpec

FOLDER = "proxies"
_FIRST_UID, _UIDS = 2_080_000_000, 60_000_000  # above those of guests (network_names), below 2^31 - 1
_LOG_QUEUE = "4096"
_LOG_BYTES = 4 << 20
_SAID_BYTES = 65536
_MOST_MEMORY_MIB, _MEMORY_SHARE = 3072, 4
"""A proxy may take this part of the machine's memory, and never more than that. Only clients that hold all they can bring it there (crowding.py)."""
_CLONE_NEWNS, _MS_REC, _MS_SLAVE = 0x2_0000, 0x4000, 1 << 19
_VERSION_S = 5.0
_INSIDE = Path("/run")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class State(msgspec.Struct, frozen=True):
    """What is kept of a proxy for the next agent."""

    spec: ProxySpec
    pid: int = 0
    ticks: int = 0
    namespace: int = 0
    past: Counters = Counters()
    rises: Rises = {}


def uid_of(home_id: str, name: str) -> int:
    return _FIRST_UID + zlib.crc32(f"{checked_home(home_id)}/{checked_name(name)}".encode()) % _UIDS


def host() -> Host:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    fds = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return Host(
        fds=fds,
        threads=max(1, min(len(os.sched_getaffinity(0)), 4)),
        memory_mib=min(_MOST_MEMORY_MIB, memory_mib // _MEMORY_SHARE),
    )


@functools.lru_cache(maxsize=8)
def version(program: str) -> tuple[int, int]:
    """(2, 6) of "HAProxy version 2.6.12-1+deb12u3 …"; (0, 0) where it does not say."""
    try:
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=_VERSION_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(r"version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def memory_options(program: str) -> tuple[str, ...]:
    """What spares a proxy a tenth of its time. Buffers are large, since AWS takes headers of 64 KiB: a few of them fill what a thread keeps for
    itself, and every small object would go back to the allocator. So threads share what they give up; and no object has a tag at its end."""
    # Older ones would read these words as a number, and fill all memory with it.
    return ("-dMglobal,no-tag",) if version(program) >= (2, 6) else ()


class ProxyFolder:
    """The files of one proxy and the process they belong to."""

    def __init__(self, home_id: str, run_dir: Path, name: str) -> None:
        self.name = checked_name(name)
        self.path = run_dir / FOLDER / name
        self.work = self.path / "work"
        self.uid = uid_of(home_id, name)
        self.ready_name = f"gureum-ready-{name}"  # abstract: of its namespace

    def write(self, files: dict[str, str], pems: dict[str, str]) -> None:
        """Each file that differs is replaced as a whole; what is not wished any more is left for workers that may still read it, keys are not."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.work.mkdir(mode=0o750, exist_ok=True)
        os.chown(self.work, 0, self.uid)
        os.chmod(self.work, 0o750)  # noqa: S103  # whatever the process's umask is: the agent's lets nobody read
        own = self.work / "run"
        own.mkdir(mode=0o700, exist_ok=True)
        os.chown(own, self.uid, self.uid)
        for name, text in files.items():
            self._write(self.work / name, text, 0o640, 0)
        for name, text in pems.items():
            self._write(self.work / name, text, 0o600, self.uid)
        for path in self.work.glob("*.pem"):
            if path.name not in pems:
                path.unlink(missing_ok=True)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            (self.work / name).unlink(missing_ok=True)

    def _write(self, path: Path, text: str, mode: int, owner: int) -> None:
        content = text.encode()
        with contextlib.suppress(FileNotFoundError):
            if (
                path.read_bytes() == content
            ):  # most are, in a reload; to replace a file takes a hundred times what it takes to read it
                return
        draft = path.with_name(f".{path.name}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), owner, self.uid)
            os.fchmod(file.fileno(), mode)
        draft.rename(path)

    def read_state(self) -> State | None:
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_state(self, state: State) -> None:
        draft = self.path / "state.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(state))
        draft.rename(self.path / "state.json")

    def ready_socket(self, net: Path) -> socket.socket:
        """Where it says that it is ready: a name of its namespace."""
        with namespaces.entered(net):
            ready = _datagrams()
        try:
            ready.bind(f"\0{self.ready_name}")
        except OSError:
            ready.close()
            raise
        return ready

    def log_socket(self, net: Path) -> socket.socket:
        """Where its log comes in, instead of where it came in before. It is opened in its namespace: there the queue of datagrams is made long, the
        host's has room for ten."""
        with namespaces.entered(net):
            namespaces.write_sysctls({"?unix/max_dgram_qlen": _LOG_QUEUE})
            log = _datagrams()
        folder = os.open(self.work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{folder}/{haproxy_config.LOG_SOCKET}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            log.bind(path)
            os.chown(path, 0, self.uid)
            os.chmod(path, 0o660)
        except OSError:
            log.close()
            raise
        finally:
            os.close(folder)
        return log

    def start(self, net: Path, program: str) -> subprocess.Popen[bytes]:
        """The master: a process of its own session, which we do not take down with us."""
        said = os.open(self.path / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # A thread of its own, which ends with it: a thread that has left the host's mounts cannot come back.
            with ThreadPoolExecutor(1, thread_name_prefix="proxy-start") as thread:
                return thread.submit(self._start_inside, net, program, said).result()
        finally:
            os.close(said)

    def _start_inside(self, net: Path, program: str, said: int) -> subprocess.Popen[bytes]:
        """In the sandbox's network, and with the folder in place of /run: all that the process sees there of the host is its own, and its
        paths have no folder above that it may not enter. Mounts of the host that go, go here too."""
        namespaces.unshare(_CLONE_NEWNS)
        mounts.mount("", Path("/"), "none", _MS_REC | _MS_SLAVE)
        given = host()
        arguments = [
            *("prlimit", f"--nofile={given.fds}:{given.fds}", "--core=0", "--"),
            *("setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"),
            *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"),
            *(program, *memory_options(program), "-Ws", "-m", str(given.memory_mib), "-f", haproxy_config.CONFIG),
            *("-S", f"unix@{haproxy_config.MASTER_SOCKET},mode,600"),
        ]
        with namespaces.entered(net):
            mounts.mount(str(self.work), _INSIDE, "none", mounts.MS_BIND)
            try:
                return subprocess.Popen(
                    arguments,
                    cwd=_INSIDE,
                    env={"PATH": _PATH, "NOTIFY_SOCKET": f"@{self.ready_name}"},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise PortError(f"{error.filename} is missing", retry=False) from error

    def forget_words(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path / "said", 0)

    def words(self) -> str:
        """What it complained of last; one line."""
        with contextlib.suppress(FileNotFoundError):
            with open(self.path / "said", "rb") as file:
                lines = file.read(_SAID_BYTES).decode(errors="replace").splitlines()
            return _complaint(lines)
        return ""

    def alive(self, state: State) -> bool:
        return state.pid > 0 and start_ticks(state.pid) == state.ticks and _uid(state.pid) == self.uid

    def members(self) -> list[int]:
        """All processes of this proxy: its uid is no other's."""
        pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        return [pid for pid in pids if _uid(pid) == self.uid]

    def still(self, pids: Iterable[int]) -> list[int]:
        """Those that are processes of this proxy."""
        return [pid for pid in pids if _uid(pid) == self.uid]

    def kill(self) -> None:
        """All of it. Returns when it is gone."""
        for _ in range(3):  # a worker that was being forked while we looked
            descriptors = []
            for pid in self.members():
                with contextlib.suppress(ProcessLookupError):
                    descriptor = os.pidfd_open(pid)
                    descriptors.append(descriptor)
                    if _uid(pid) == self.uid:
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not descriptors:
                return
            for descriptor in descriptors:
                _wait_ended(descriptor)
                os.close(descriptor)

    def end(self, pid: int) -> None:
        """One of its processes, if it still is."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                if _uid(pid) == self.uid:
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.path, ignore_errors=True)


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _complaint(lines: list[str]) -> str:
    """The first two alerts, each with the lines that it goes on in: 3.0 says what is wrong with a certificate only there."""
    alerts: list[str] = []
    goes_on = False
    for line in lines:
        if line.startswith("["):
            goes_on = "[ALERT]" in line
            alerts += [(line.partition(" : ")[2] or line).strip()] if goes_on else []
        elif goes_on:
            alerts[-1] += f" {line.strip()}"
    return "; ".join(alerts[:2]) or (lines[-1] if lines else "")


def _wait_ended(descriptor: int, limit_s: float = 5.0) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(limit_s * 1000)


def _uid(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    state, uid = status.partition(b"\nState:\t")[2][:1], status.partition(b"\nUid:\t")[2].split(maxsplit=1)[0]
    return -1 if state == b"Z" else int(uid)


def remove_all(home_id: str, run_dir: Path) -> None:
    """Every proxy of the home."""
    for folder in (run_dir / FOLDER).glob("*/"):
        ProxyFolder(home_id, run_dir, folder.name).remove()
    shutil.rmtree(run_dir / FOLDER, ignore_errors=True)
