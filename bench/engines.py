"""Docker and Podman as a benchmark runs them: in network and mount namespaces of their own, on folders of their own, with one image made
from this machine's busybox. So no bridge, rule, image or container of the host is touched, and nothing remains.

Where they are not installed (which would start services), `GUREUM_BENCH_PEERS` names a folder into which their packages were unpacked: the programs
are looked for below it after those of the PATH, with the libraries beside them. With Debian's packages:

    apt-get download docker.io containerd runc tini iptables libxtables12 libip4tc2 libip6tc2 libnftnl11 libnfnetlink0 libnetfilter-conntrack3
    apt-get download podman crun conmon netavark aardvark-dns catatonit libsubid4 libgpgme11 libassuan0
    for package in *.deb; do dpkg -x $package peers; done
    for name in iptables ip6tables; do ln -s xtables-nft-multi peers/usr/sbin/$name; done
    GUREUM_BENCH_PEERS=$PWD/peers python -m bench.docker
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

APPLETS = ("sh", "echo", "sleep", "true")
IMAGE = "bench:1"
START_LIMIT_S = 30.0
LIBRARIES = {"LD_LIBRARY_PATH": "", "XTABLES_LIBDIR": "xtables"}
# crun refuses a hybrid host whose unified tree has a controller: it is mounted as v1, as gureum does.
PODMAN_SETUP = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /var/lib/containers && mount -t tmpfs tmpfs /var/lib/containers
for one in $(cat /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null || true); do
    mkdir -p /sys/fs/cgroup/$one && mount -t cgroup -o $one gureum-bench /sys/fs/cgroup/$one
done
echo
exec sleep 3600
"""
# The folders are the host's, too; what is mounted on them is seen from inside alone.
PODMAN_END = """
find /sys/fs/cgroup -depth -type d -path "*/$1*" -exec rmdir {} + 2>/dev/null
while read -r source target rest; do
    if [ "$source" = gureum-bench ]; then umount "$target" && rmdir "$target"; fi
done </proc/mounts
"""


class Engine(NamedTuple):
    """`first_output`: seconds from the command to a container's first line. `idle`: seconds that the command takes to do nothing. An engine
    that does not work here is not `usable`, and says `why`."""

    name: str
    command: tuple[str, ...]
    options: tuple[str, ...]
    environment: dict[str, str]
    why: str = ""

    @property
    def usable(self) -> bool:
        return not self.why

    def first_output(self) -> float:
        begin = time.perf_counter()
        full = [*self.command, "run", "--rm", *self.options, IMAGE, "echo", "ready"]
        with subprocess.Popen(full, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - begin
            complaint = process.stderr.read().decode(errors="replace").strip()
        if line != b"ready\n":
            raise RuntimeError(f"{self.name}: {complaint}")
        return seconds

    def idle(self) -> float:
        begin = time.perf_counter()
        subprocess.run([*self.command, "--version"], env=self.environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin


def environment_with_peers() -> dict[str, str]:
    """This process's environment, in which programs that were unpacked aside are found, too."""
    environment = dict(os.environ)
    if peers := environment.get("GUREUM_BENCH_PEERS"):
        libraries = sorted(Path(peers).glob("**/*-linux-gnu"))
        environment["PATH"] += f":{peers}/usr/bin:{peers}/usr/sbin"
        for name, below in LIBRARIES.items():
            environment[name] = ":".join(str(one / below) for one in libraries)
    return environment


@contextlib.contextmanager
def docker() -> Iterator[Engine]:
    """dockerd and its client. Only the container's own start is measured against a daemon that runs already."""
    environment = environment_with_peers()
    if (missing := _missing(environment, "dockerd", "docker", "busybox", "iptables")) is not None:
        yield missing
        return
    with _folder() as (folder, group):
        socket = f"unix://{folder}/docker.sock"
        engine = Engine("docker", ("docker", "-H", socket), (), environment)
        words = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "-H", socket]
        words += ["--pidfile", f"{folder}/pid", "--cgroup-parent", f"/{group}"]
        with open(folder / "log", "wb") as log:
            # Its shims' sockets lie in /run.
            setup = 'mount -t tmpfs tmpfs /run && exec "$@"'
            command = _apart("sh", "-c", setup, "sh", "dockerd", *words)
            daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            if not _answers([*engine.command, "version"], daemon):
                tail = (folder / "log").read_text(errors="replace").splitlines()[-1:]
                yield engine._replace(why=f"dockerd does not start here: {' '.join(tail)}")
                return
            yield imported(engine, folder)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(START_LIMIT_S)


@contextlib.contextmanager
def podman() -> Iterator[Engine]:
    """Podman has no daemon: its namespaces are held by a process that sleeps, and each command enters them."""
    environment = environment_with_peers()
    if (missing := _missing(environment, "podman", "busybox", "nsenter")) is not None:
        yield missing
        return
    with _folder() as (folder, group):
        # One that was unpacked aside has its helpers beside it.
        beside = Path(str(shutil.which("podman", path=environment["PATH"]))).parents[1] / "lib" / "podman"
        # conmon calls podman again, with these alone.
        kept = [f"{name}={environment[name]}" for name in ("PATH", *LIBRARIES) if name in environment]
        (folder / "containers.conf").write_text(
            # The defaults ask for limits above what a guarded root may set.
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "crun"\n'
            f"conmon_env_vars = {json.dumps(kept)}\n"
            f'helper_binaries_dir = ["{beside}", "/usr/libexec/podman", "/usr/lib/podman"]\n'
        )
        policy = folder / ".config" / "containers" / "policy.json"
        policy.parent.mkdir(parents=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        environment |= {"CONTAINERS_CONF": f"{folder}/containers.conf", "HOME": str(folder)}
        holder = subprocess.Popen(_apart("sh", "-c", PODMAN_SETUP), stdout=subprocess.PIPE, start_new_session=True)
        enter = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", f"--mount=/proc/{holder.pid}/ns/mnt")
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            folders = ("--root", f"{folder}/root", "--runroot", f"{folder}/runroot", "--log-level", "error")
            options = ("--cgroup-parent", group)
            yield imported(Engine("podman", (*enter, "podman", *folders), options, environment), folder)
        finally:
            subprocess.run([*enter, "sh", "-c", PODMAN_END, "sh", group], check=False)
            holder.kill()
            holder.wait()


@contextlib.contextmanager
def _folder() -> Iterator[tuple[Path, str]]:
    """A folder on a real disk and the name of a control group, both gone afterwards."""
    group = f"gureum-bench-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix=f"{group}-", ignore_cleanup_errors=True) as name:
        try:
            yield Path(name), group
        finally:
            for folder in sorted(Path("/sys/fs/cgroup").glob(f"**/{group}"), reverse=True):
                for below in sorted(folder.glob("**/"), reverse=True):
                    with contextlib.suppress(OSError):
                        below.rmdir()


def _apart(*command: str) -> list[str]:
    """A command in network and mount namespaces of its own, with loopback up. `unshare` becomes the command: its pid is the command's."""
    return ["unshare", "--net", "--mount", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


def imported(engine: Engine, folder: Path) -> Engine:
    root = folder / "image"
    (root / "bin").mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    subprocess.run(["tar", "-C", str(root), "-cf", f"{folder}/image.tar", "."], check=True)
    load = [*engine.command, "import", f"{folder}/image.tar", IMAGE]
    done = subprocess.run(load, check=False, env=engine.environment, capture_output=True, text=True)
    if done.returncode:
        return engine._replace(why=f"it cannot import an image: {done.stderr.strip()}")
    try:
        engine.first_output()
    except RuntimeError as error:
        return engine._replace(why=str(error))
    return engine


def _answers(command: list[str], daemon: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_LIMIT_S
    while daemon.poll() is None and time.monotonic() < deadline:
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return True
        time.sleep(0.1)
    return False


def _missing(environment: dict[str, str], name: str, *others: str) -> Engine | None:
    absent = [one for one in (name, *others) if shutil.which(one, path=environment["PATH"]) is None]
    return Engine(name, (), (), {}, f"{' and '.join(absent)} is not installed") if absent else None
