"""The Kubernetes face as the daemon runs it: keys, the HTTPS front, the clusters. Loaded beside everything else, whose start it would delay."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gureum.base.keyring import Keyring, bring
from gureum.base.sealing import Sealer
from gureum.kube.access.issuers import cluster_of, key_set
from gureum.kube.cluster import Cluster
from gureum.kube.clusters import DEFAULT, Clusters
from gureum.kube.kubeconfig import Access, kubeconfig
from gureum.kube.management import Management
from gureum.kube.pki import Pki, write_file
from gureum.kube.server import Front
from gureum.ports.clock import Clock
from gureum.store.contract import Store

CONTEXT = "gureum"
"""Of the default cluster; those of others are their names."""


class KubeFace:
    """`folder`: for certificates and the kubeconfig. `seals`: the folder for the keys of Secrets, then those where they may lie from before.
    `endpoint`: the API's URL as a client uses it. `sealer`: opens what was sealed without such keys."""

    def __init__(
        self, folder: Path, seals: Sequence[Path], bind: str, endpoint: str, store: Store, sealer: Sealer, clock: Clock
    ) -> None:
        self._folder = folder
        self._seals = seals
        self._bind = bind
        self._endpoint = endpoint
        self._store = store
        self._sealer = sealer
        self._clock = clock

    async def prepare(self) -> ssl.SSLContext:
        """Makes what is missing of keys and kubeconfig; the context to serve with."""
        self.pki = await asyncio.to_thread(Pki, self._folder / "pki", self._bind)
        keyring = await asyncio.to_thread(self._keyring)
        self.clusters = Clusters(self._folder, self.pki, self._store, keyring, self._clock, self._tell)
        await self.clusters.load()
        self.management = Management(self.clusters, self._endpoint)
        self.front = Front(self.clusters, self.management)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.pki.server_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        self._context = context
        self._trusted: set[str] = set()
        await self._tell()
        return context

    def _keyring(self) -> Keyring:
        folder, *formers = self._seals
        for former in formers:
            bring(former, folder)
        return Keyring(folder, self._sealer)

    async def resume(self) -> None:
        """Starts the clusters that the store holds."""
        await self.clusters.resume()

    async def cluster(self, name: str) -> Cluster | None:
        """The running cluster; the default one is made with the first request. None: there is none of that name."""
        return await self.clusters.open(name)

    def keys(self, issuer: str) -> dict[str, Any] | None:
        """The public keys of the cluster whose tokens say `issuer` (RFC 7517); None: there is none."""
        keys = self.clusters.keys.get(cluster_of(issuer) or "")
        return None if keys is None else key_set(keys.token_key)

    async def reset(self) -> None:
        """After the store was emptied: clusters begin anew."""
        self.front.close()
        await self.clusters.reset()

    async def close(self) -> None:
        self.front.close()
        await self.clusters.close()

    async def _tell(self) -> None:
        """Whom clients may be certified by, and the kubeconfig, after the clusters have changed."""
        for keys in self.clusters.keys.values():
            if keys.name not in self._trusted:
                self._context.load_verify_locations(cadata=keys.authority.decode())
                self._trusted.add(keys.name)
        ways = [
            Access(
                CONTEXT if name == DEFAULT else name,
                self.management.url(name),
                self.pki.authority,
                keys.admin_file.read_bytes(),
            )
            for name, keys in self.clusters.keys.items()
        ]
        await asyncio.to_thread(_write, self._folder / "kubeconfig", ways)


def _write(path: Path, ways: list[Access]) -> None:
    known = path.read_bytes() if path.exists() else b""
    text = kubeconfig(ways, known).encode()
    if known != text:
        write_file(path, text)
