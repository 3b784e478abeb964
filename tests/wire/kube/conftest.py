"""A Kubernetes API over HTTPS, in a thread of the test's process, and the kubectl of this machine.

KUBECTL and HELM name the programs, else they are looked for beside Python (tools/setup.py) and on PATH; where one is missing its
tests are skipped.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gureum.base.clock import SystemClock
from gureum.base.sealing import Sealer
from gureum.connections import AsgiServer
from gureum.kube.face import KubeFace
from gureum.store.memory import MemoryStore


class KubeEndpoint:
    """`kubeconfig`: path of an administrator's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._sock.getsockname()[1]}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        self.kubeconfig = folder / "kubeconfig"

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.store = MemoryStore()
        sealer = Sealer(self.folder / "seal.key")
        self.face = KubeFace(
            self.folder, [self.folder / "seals"], "127.0.0.1", self.url, self.store, sealer, SystemClock()
        )
        context = await self.face.prepare()
        server = AsgiServer(self.face.front)
        await server.serve(self._sock, context)
        self._ready.set()
        await self._stop.wait()
        self.unexpected = self.face.clusters.unexpected
        await self.face.close()
        await server.close(3)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """In the face's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def bare_kubeconfig(self) -> Path:
        """One that says who the server is, and nothing of who asks."""
        path = self.folder / "bare"
        cluster = f"server: {self.url}, certificate-authority: {self.folder}/pki/ca.crt"
        path.write_text(
            f"{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{{cluster}}}}}], "
            "contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]}"
        )
        return path

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert self.unexpected == 0


class Kubectl:
    """`kubectl(…)` gives its output; it must succeed unless `check` says otherwise."""

    def __init__(self, program: str, kubeconfig: Path, home: Path) -> None:
        self.program = program
        self.environment = {
            "KUBECONFIG": str(kubeconfig),
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "EDITOR": os.environ.get("EDITOR", "true"),
        }

    def run(
        self, *arguments: str, stdin: str = "", check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.program, *arguments],
            input=stdin,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        return self.run(*arguments, stdin=stdin).stdout


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeEndpoint]:
    folder = tmp_path_factory.mktemp("home") / "kube"
    folder.mkdir()
    endpoint = KubeEndpoint(folder)
    yield endpoint
    endpoint.close()


@pytest.fixture(scope="module")
def kubectl(kube: KubeEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(_program("kubectl"), kube.kubeconfig, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def helm(kube: KubeEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(_program("helm"), kube.kubeconfig, tmp_path_factory.mktemp("home"))


def _program(name: str) -> str:
    own = Path(sys.executable).parent / name  # tools/setup.py puts it there
    found = os.environ.get(name.upper()) or (str(own) if own.exists() else shutil.which(name))
    if not found:
        pytest.skip(f"{name} is not on this machine (set {name.upper()})")
    return found
