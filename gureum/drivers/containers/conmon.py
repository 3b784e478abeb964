"""conmon: the small process that keeps one container. It outlives us, writes the log, and leaves the exit code in a file.

    us ── conmon (forks itself away) ── crun create ── container's PID 1, waiting
     └─── pipe: {"pid": 4711} or {"pid": -1, "message": "…"}

Here are its command line, that first conversation, its log format and its exit file. Which containers exist is crun.py's business.

Sources: conmon(8); the k8s-file log format is Kubernetes' CRI logging format.
"""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from gureum.ports import PortError

_CREATE_TIMEOUT_S = 30.0
_ANSWER_BYTES = 65536
_LOG_BYTES = 4 << 20
_LOG_CHUNK_BYTES = 256 << 10


class Bundle(msgspec.Struct, frozen=True):
    """Paths of one container. `folder` is the OCI bundle."""

    id: str
    folder: Path
    log: Path

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    @property
    def monitor_pid_file(self) -> Path:
        return self.folder / "conmon.pid"

    @property
    def exit_folder(self) -> Path:
        return self.folder / "exit"

    @property
    def exit_file(self) -> Path:
        return self.exit_folder / self.id


class _Answer(msgspec.Struct):
    pid: int = -1
    message: str = ""


def command(
    conmon: str,
    runtime: str,
    runtime_root: Path,
    bundle: Bundle,
    *,
    terminal: bool,
    stdin: Literal["none", "once", "open"] = "none",
    log_bytes: int = _LOG_BYTES,
) -> list[str]:
    """`conmon`, `runtime`: absolute paths of the programs. `log_bytes` 0: the log grows without bound."""
    return [
        conmon,
        *("--cid", bundle.id, "--cuuid", bundle.id, "--name", bundle.id),
        *("--runtime", runtime, "--runtime-arg=--root", f"--runtime-arg={runtime_root}"),
        *("--bundle", str(bundle.folder), "--full-attach"),
        *("--container-pidfile", str(bundle.pid_file), "--conmon-pidfile", str(bundle.monitor_pid_file)),
        *("--exit-dir", str(bundle.exit_folder)),
        *("--log-path", f"k8s-file:{bundle.log}", "--no-sync-log"),
        *(["--log-size-max", str(log_bytes)] if log_bytes else []),
        *(["--terminal"] if terminal else []),
        *(["--stdin"] if stdin != "none" else []),
        *(["--leave-stdin-open"] if stdin == "open" else []),
    ]


def create(arguments: list[str], bundle: Bundle) -> int:
    """Starts conmon, which creates the container; returns the pid of the container's PID 1, which waits to be released. Blocks for the
    10 to 20 ms the runtime takes. PortError with the runtime's own words."""
    bundle.exit_folder.mkdir(mode=0o700, exist_ok=True)
    reader, writer = os.pipe()
    try:
        # A bare environment: nothing of ours (keys, proxies) reaches the runtime.
        environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "_OCI_SYNCPIPE": str(writer)}
        quiet = subprocess.DEVNULL
        # It writes an empty file `oom` into its working folder when memory ran out.
        with subprocess.Popen(
            arguments,
            env=environment,
            cwd=bundle.folder,
            pass_fds=[writer],
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            # Ours lets nobody else in: folders that the runtime makes in a root, for mounts to be at, would be root's alone.
            umask=0o022,
        ) as process:
            os.close(writer)
            writer = -1
            answer = _read_answer(reader)
            process.wait(_CREATE_TIMEOUT_S)  # the one that forked the monitor away: it is gone at once
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if answer.pid <= 0:
        raise PortError(f"the container was not created: {answer.message.strip() or 'conmon ended without a word'}")
    return answer.pid


def _read_answer(reader: int) -> _Answer:
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    if not poll.poll(_CREATE_TIMEOUT_S * 1000):
        raise PortError(f"the container was not created within {_CREATE_TIMEOUT_S:.0f} s")
    line = os.read(reader, _ANSWER_BYTES)
    try:
        return msgspec.json.decode(line, type=_Answer)
    except msgspec.DecodeError:
        return _Answer(message=line.decode(errors="replace"))


def forget(bundle: Bundle) -> None:
    """Removes what an earlier run left in the bundle, so that none of it is taken for the next run's."""
    for path in (
        bundle.exit_file,
        bundle.pid_file,
        bundle.monitor_pid_file,
        bundle.folder / "attach",
        bundle.folder / "ctl",
        bundle.folder / "oom",
    ):
        path.unlink(missing_ok=True)


def exit_code(bundle: Bundle) -> tuple[int, float] | None:
    """(code, Unix seconds) as the monitor wrote them; None while it has not."""
    try:
        return int(bundle.exit_file.read_text()), bundle.exit_file.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return None


def monitor_pid(bundle: Bundle) -> int | None:
    """The living monitor of this bundle; None when there is none. A pid that now belongs to another program does not count."""
    pid = read_pid(bundle.monitor_pid_file)
    if pid is None:
        return None
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if os.fsencode(bundle.folder) in arguments else None


def starting_pid(bundle: Bundle) -> int | None:
    """The monitor of this bundle that has not written its pid yet, found among all processes, which takes milliseconds."""
    folder = os.fsencode(bundle.folder)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program, *arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.path.basename(program) == b"conmon" and folder in arguments:
            return int(process.name)
    return None


def read_pid(path: Path) -> int | None:
    """The number in a pid file; None when there is none (yet)."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def last_output(log: Path, limit_bytes: int) -> bytes:
    """The last bytes that the container printed, without conmon's marks."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            length = max(limit_bytes, _LOG_CHUNK_BYTES)
            while True:
                start = max(0, size - length)
                file.seek(start)
                text = file.read(size - start)
                # From the middle of the file the first line is half a line.
                output = plain_output(text if start == 0 else text.partition(b"\n")[2])
                if start == 0 or len(output) >= limit_bytes:
                    return output[-limit_bytes:] if limit_bytes else b""
                length *= 4
    except FileNotFoundError:
        return b""


def plain_output(log: bytes) -> bytes:
    """Each line is "TIME STREAM F|P TEXT": F is a full line, P a part of one."""
    pieces: list[bytes] = []
    for line in log.split(b"\n"):
        fields = line.split(b" ", 3)
        if len(fields) == 4:
            pieces.append(fields[3] + (b"\n" if fields[2] == b"F" else b""))
    return b"".join(pieces)
