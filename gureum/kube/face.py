"""The Kubernetes face as the daemon runs it: keys, the HTTPS front, the clusters. Loaded beside everything else, whose start it would delay."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from gureum.base.sealing import Sealer
from gureum.kube.cluster import Cluster
from gureum.kube.pki import Pki, kubeconfig, write_file
from gureum.kube.server import DEFAULT, Front
from gureum.ports.clock import Clock
from gureum.store.contract import Store


class KubeFace:
    """`folder`: for keys and the kubeconfig. `endpoint`: the API's URL as a client uses it."""

    def __init__(self, folder: Path, bind: str, endpoint: str, store: Store, sealer: Sealer, clock: Clock) -> None:
        self._folder = folder
        self._bind = bind
        self._endpoint = endpoint
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._clusters: dict[str, Cluster] = {}
        self._opening = asyncio.Lock()
        self.front = Front(self.cluster)

    async def prepare(self) -> ssl.SSLContext:
        """Makes what is missing of keys and kubeconfig; the context to serve with."""
        pki = await asyncio.to_thread(Pki, self._folder / "pki", self._bind)
        self.pki = pki
        text = kubeconfig(pki, self._endpoint).encode()
        path = self._folder / "kubeconfig"
        if not path.exists() or path.read_bytes() != text:
            await asyncio.to_thread(write_file, path, text)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pki.server_file)
        context.load_verify_locations(pki.authority_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def resume(self) -> None:
        """Starts the clusters that the store holds: their controllers have work whether or not anybody asks."""
        if self._store.range(f"kube/{DEFAULT}/", limit=1):
            await self.cluster(DEFAULT)

    async def cluster(self, name: str) -> Cluster | None:
        """The running cluster; the default one is made with the first request. None: there is none of that name."""
        found = self._clusters.get(name)
        if found is not None or name != DEFAULT:
            return found
        async with self._opening:
            if name not in self._clusters:
                cluster = Cluster(
                    name, self._store, self._sealer, self._clock, self.pki.authority.decode(), self.pki.token_key
                )
                await cluster.start()
                self._clusters[name] = cluster
        return self._clusters[name]

    async def reset(self) -> None:
        """After the store was emptied: clusters begin anew."""
        clusters, self._clusters = self._clusters, {}
        self.front.close()
        for cluster in clusters.values():
            await cluster.close()

    async def close(self) -> None:
        await self.reset()
