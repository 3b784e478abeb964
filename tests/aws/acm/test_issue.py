"""Issue and renewal of requested certificates (reconcile), with an authority that answers as the test says and a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gureum.aws.acm.certificates import Certificate, served
from gureum.aws.gateway import Gateway
from gureum.aws.protocols import Request
from gureum.aws.services import Services
from gureum.base.sealing import Sealer
from gureum.base.settings import Settings
from gureum.core.issuing import issue
from gureum.core.world import World
from gureum.drivers.keys.local_ca import LocalCa
from gureum.ports import PortError
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.core.fake_clock import FakeClock

SCOPE = "123456789012/us-east-1"
DAY_S = 86400.0


class Agent:
    """A link on which the authority is `ca`; `away`: it does not answer."""

    synced = connected = True

    def __init__(self, ca: LocalCa) -> None:
        self.seen: dict[str, Any] = {}
        self.ca = ca
        self.away = False
        self.asked = 0

    async def ask(self, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise PortError("the agent does not answer")
        return await issue(self.ca, request)

    def change(self, put: Any, remove: Any) -> None: ...


class Account:
    def __init__(self, folder: Path) -> None:
        self.clock, self.store = FakeClock(), MemoryStore()
        self.agent = Agent(LocalCa(folder / "ca", self.clock))
        self.sealer = Sealer(folder / "seal.key")
        telemetry = {"metrics": MemoryMetrics(), "logs": MemoryLogs(self.clock)}
        self.world = World(self.store, self.clock, Settings(), self.sealer, lambda *_: self.agent, **telemetry)  # type: ignore[arg-type]
        services = Services(self.world)
        services.load_stored()
        self.gateway = Gateway(self.world, services)

    async def call(self, operation: str, **params: Any) -> dict[str, Any]:
        headers = {
            "host": "acm.us-east-1.amazonaws.com",
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"CertificateManager.{operation}",
            "authorization": "AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-east-1/acm/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        body = msgspec.json.encode(params)
        answer = await self.gateway.handle(Request(method="POST", path="/", query="", headers=headers, body=body))
        assert answer.status == 200, answer.body
        return dict(msgspec.json.decode(answer.body) or {}) if answer.body else {}

    def only(self) -> Certificate:
        (found,) = self.world.client.all(Certificate, SCOPE)
        return found

    async def until(self, look: Callable[[], Any]) -> Any:
        async def wait() -> Any:
            while not (found := look()):
                await asyncio.sleep(0.005)
            return found

        return await asyncio.wait_for(wait(), 20)


def told(folder: Path, story: Callable[[Account], Awaitable[None]]) -> None:
    async def run() -> None:
        account = Account(folder)
        await story(account)
        assert account.world.loop.faults == 0
        assert account.gateway.counters.faults == 0
        await account.world.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_private_key_is_stored_sealed_and_opens_for_the_proxy(tmp_path: Path) -> None:
    async def story(account: Account) -> None:
        await account.call("RequestCertificate", DomainName="a.example.com")
        await account.until(lambda: account.only().material)
        for entry in account.store.range(""):
            assert b"PRIVATE KEY" not in entry.value
        wished = served(account.only())
        assert wished is not None
        key = serialization.load_pem_private_key(account.sealer.open(wished.sealed_key, wished.name).encode(), None)
        assert key.public_key() == x509.load_pem_x509_certificate(wished.chain_pem.encode()).public_key()
        assert wished.chain_pem.count("BEGIN CERTIFICATE") == 2
        assert wished.arn.endswith(account.only().meta.name)

    told(tmp_path, story)


def test_request_waits_for_an_agent_that_is_away(tmp_path: Path) -> None:
    async def story(account: Account) -> None:
        account.agent.away = True
        await account.call("RequestCertificate", DomainName="a.example.com")
        await account.until(lambda: account.agent.asked)
        assert account.only().status.state == "PENDING_VALIDATION"
        account.agent.away = False
        await account.clock.advance(2)
        await account.until(lambda: account.only().status.state == "ISSUED")

    told(tmp_path, story)


def test_certificate_is_renewed_sixty_days_before_its_end(tmp_path: Path) -> None:
    """AWS: acm "managed renewal": "ACM attempts to renew 60 days before expiration"."""

    async def story(account: Account) -> None:
        await account.call("RequestCertificate", DomainName="a.example.com", KeyAlgorithm="EC_prime256v1")
        first = await account.until(lambda: account.only().material)
        await account.world.loop.idle()
        await account.clock.advance(334 * DAY_S)
        await account.world.loop.idle()
        assert account.only().material == first
        await account.clock.advance(2 * DAY_S)
        second = await account.until(lambda: account.only().material != first and account.only().material)
        assert second.name != first.name, "by which proxies see that there is another"
        assert second.not_after > first.not_after
        assert account.only().status.renewed_at > account.only().status.issued_at

    told(tmp_path, story)
