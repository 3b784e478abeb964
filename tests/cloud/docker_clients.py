"""What tests of the Docker Engine API need: the stock command line, images made of Debian's packages, and a registry of the test's own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import Cloud, program, until

BUSYBOX = "busybox:test"
_TOOLS = (
    "sh ls cat echo true false sleep id ps env wget httpd nc hostname ping tail head mount nslookup seq dd touch stty tty kill date wc grep "
    "mkdir rm ln ip chmod chown stat test expr sort tr cut awk sed od printf pwd sync df readlink mkfifo tee yes"
)
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = "root:x:0:\nwww:x:33:\nstaff:x:50:www\nnogroup:x:65534:\n"


class Docker:
    """The docker command line against a cloud's socket."""

    def __init__(self, cloud: Cloud, config: Path) -> None:
        self.program = program("docker")
        variables = json.loads(cloud.command("env", "--json").stdout)
        self.host = str(variables["DOCKER_HOST"])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        self.environment = {**kept, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(config)}

    def run(
        self, *words: str, check: bool = True, stdin: bytes | None = None, timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[bytes]:
        """`docker WORDS`."""
        return subprocess.run(
            [self.program, *words],
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=check,
            timeout=timeout_s,
        )

    def __call__(self, *words: str, stdin: bytes | None = None, timeout_s: float = 30.0) -> str:
        """What it prints; it must succeed."""
        done = self.run(*words, check=False, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:].decode())
        return done.stdout.decode().strip()

    def fails(self, *words: str) -> str:
        """Its error output; it must not succeed."""
        done = self.run(*words, check=False)
        assert done.returncode != 0, (words, done.stdout)
        return done.stderr.decode().strip()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([self.program, *words], env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe)

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("inspect", name))[0]
        return found

    def state(self, name: str) -> str:
        return str(self.inspect(name)["State"]["Status"])

    def until_state(self, name: str, state: str) -> None:
        until(lambda: self.state(name) == state)


def busybox_tar(*, tools: str = _TOOLS) -> bytes:
    """A root file system of Debian's static busybox."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "root", "var", "var/www", "proc", "sys", "dev"):
            _add(tar, folder, None, 0o1777 if folder == "tmp" else 0o755)
        _add(tar, "bin/busybox", Path(program("busybox")).read_bytes(), 0o755)
        for tool in tools.split():
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        _add(tar, "etc/passwd", _PASSWD.encode(), 0o644)
        _add(tar, "etc/group", _GROUP.encode(), 0o644)
    return made.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes | None, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    if data is None:
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    else:
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))


def import_busybox(docker: Docker) -> None:
    docker("import", "-c", 'CMD ["/bin/sh"]', "-c", "ENV PATH=/bin", "-", BUSYBOX, stdin=busybox_tar())


def debian_packages(folder: Path, *names: str, options: Sequence[str] = ()) -> Path:
    """The packages' files, unpacked aside: nothing is installed and no service starts. Skips loudly where the archive cannot be reached."""
    folder.mkdir(exist_ok=True)
    command = ["apt-get", "download", "--quiet", "--option", "APT::Sandbox::User=root", *options, *names]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        for archive in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder)], check=True, timeout=60)
        return folder
    pytest.skip(f"Debian's packages {', '.join(names)} cannot be fetched")


def package_of_release(folder: Path, release: str, name: str) -> Path:
    """Another release's package, from the archive that this machine takes its own from, with lists of packages of the test's own."""
    fields = "$(ORIGIN) $(REPO_URI) $(COMPONENT) $(IDENTIFIER)"
    command = ["apt-get", "indextargets", "--format", fields]
    targets = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
    archives = [line.split()[1] for line in targets if line.startswith("Debian ") and line.endswith(" main Packages")]
    if not archives:
        pytest.skip("this machine takes no packages from Debian's archive")
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "cache/archives/partial").mkdir(parents=True)
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "sources.list").write_text(f"deb [signed-by={key}] {archives[0]} {release} main\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    options = [f"--option={key}={value}" for key, value in settings.items()]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["apt-get", *options, "update"], check=True, capture_output=True, timeout=120)
        return debian_packages(folder / name, name, options=options)
    pytest.skip(f"{name} of Debian's {release} cannot be fetched")


def nginx_archive(unpacked: Path) -> bytes:
    """`docker load`'s form of an image of Debian's nginx, with a page of its own."""
    nginx = unpacked / "usr/sbin/nginx"
    listed = subprocess.run(["ldd", str(nginx)], check=True, capture_output=True, text=True).stdout
    libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        folders = "etc etc/nginx usr usr/sbin var var/lib var/lib/nginx var/log var/log/nginx run tmp www proc sys dev lib64 bin"
        for folder in folders.split():
            _add(tar, folder, None, 0o755)
        _add(tar, "usr/sbin/nginx", nginx.read_bytes(), 0o755)
        made: set[str] = set()
        for library in libraries:
            parts = library.strip("/").split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in made and folder not in folders.split():
                    _add(tar, folder, None, 0o755)
                    made.add(folder)
            _add(tar, library.strip("/"), Path(library).resolve().read_bytes(), 0o755)
        _add(tar, "etc/passwd", (_PASSWD + "www-data:x:34:34:www-data:/var/www:/bin/false\n").encode(), 0o644)
        _add(tar, "etc/group", (_GROUP + "www-data:x:34:\n").encode(), 0o644)
        conf = b"events {}\nhttp { access_log /dev/stdout; server { listen 80; root /www; } }\n"
        _add(tar, "etc/nginx/nginx.conf", conf, 0o644)
        _add(tar, "www/index.html", b"<title>Welcome to nginx!</title>\n", 0o644)
    return saved_image(layer.getvalue(), ["nginx", "-g", "daemon off;"], "nginx:source", ports=("80/tcp",))


def saved_image(layer: bytes, command: list[str], tag: str, *, ports: tuple[str, ...] = (), **more: Any) -> bytes:
    """As `docker save` writes it."""
    diff = hashlib.sha256(layer).hexdigest()
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-11-26T18:42:08Z",
        "config": {
            "Cmd": command,
            "Env": [path],
            "ExposedPorts": {port: {} for port in ports},
            "StopSignal": "SIGQUIT",
            **more,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        "history": [{"created": "2024-11-26T18:42:08Z", "created_by": "a test"}],
    }
    body = json.dumps(config).encode()
    name = hashlib.sha256(body).hexdigest()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        _add(tar, f"{name}.json", body, 0o644)
        _add(tar, f"{diff}/layer.tar", layer, 0o644)
        listed = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": [f"{diff}/layer.tar"]}]
        _add(tar, "manifest.json", json.dumps(listed).encode(), 0o644)
    return made.getvalue()


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel hands out: nobody gets it by chance while the test runs."""
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(10000, end), 100):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("", port))
            return port
    raise RuntimeError("no port is free")


@contextlib.contextmanager
def registry(
    folder: Path, packages: Path, *, certificate: tuple[Path, Path] | None = None, htpasswd: str = ""
) -> Iterator[str]:
    """Debian's docker-registry on loopback; yields "127.0.0.1:PORT". `certificate`: with its key, else plain HTTP. `htpasswd`: who may enter."""
    port = free_port()
    (folder / "htpasswd").write_text(htpasswd)
    tls = dict(zip(("certificate", "key"), map(str, certificate), strict=True)) if certificate else {}
    auth = {"auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}} if htpasswd else {}
    config = folder / "registry.json"
    config.write_text(
        json.dumps(
            {
                "version": "0.1",
                "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
                "http": {"addr": f"127.0.0.1:{port}", **({"tls": tls} if tls else {})},
                **auth,
            }
        )
    )
    with open(folder / "registry.log", "wb") as log:
        command = [str(packages / "usr/bin/docker-registry"), "serve", str(config)]
        with subprocess.Popen(command, stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none"}) as process:
            try:
                until(lambda: _answers(port), 30.0)
                yield f"127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(10)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def fetch(url: str, timeout_s: float = 10.0) -> str:
    """The page, as soon as somebody serves it."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


__all__ = [
    "BUSYBOX",
    "Docker",
    "busybox_tar",
    "debian_packages",
    "fetch",
    "free_port",
    "import_busybox",
    "nginx_archive",
    "registry",
]
