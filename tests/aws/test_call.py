"""Client tokens: the same call again answers what the first one made, for a day."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gureum.aws import call as module
from gureum.aws.call import Call, ClientToken
from gureum.aws.errors import AwsError
from gureum.base.settings import Settings
from gureum.engine.client import Client
from gureum.engine.events import Events
from gureum.engine.resource import kind_of
from gureum.engine.tracing import Tracer
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.engine.things import FakeClock

DAY_S = 24 * 3600.0


class Caller:
    """Makes things once per token; counts how often."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.client = Client(MemoryStore(), self.clock, [kind_of(ClientToken)])
        self.made = 0

    def call(self, **params: Any) -> Call:
        return Call(
            service="ec2",
            operation="MakeThing",
            params=params,
            account="000000000000",
            region="us-east-1",
            access_key="",
            request_id="",
            client=self.client,
            settings=Settings(),
            events=Events(),
            tracer=Tracer(),
            metrics=MemoryMetrics(),
            logs=MemoryLogs(self.clock),
        )

    async def make(self, **params: Any) -> tuple[str, ...]:
        call = self.call(**params)
        done = call.done_before()
        if done is not None:
            return done
        self.made += 1
        transaction = call.transaction()
        call.remember(transaction, (f"thing-{self.made}",))
        await call.commit(transaction)
        return (f"thing-{self.made}",)


def test_the_same_call_again_answers_what_the_first_made() -> None:
    async def run() -> None:
        caller = Caller()
        assert await caller.make(ClientToken="a", Size=1) == ("thing-1",)
        assert await caller.make(Size=1, ClientToken="a") == ("thing-1",)
        assert await caller.make(ClientToken="b", Size=1) == ("thing-2",)
        assert await caller.make(Size=1) == ("thing-3",)
        with pytest.raises(AwsError) as refused:
            await caller.make(ClientToken="a", Size=2)
        assert refused.value.code == "IdempotentParameterMismatch"

    asyncio.run(run())


@pytest.mark.parametrize("token", ["x" * 65, "구름"])
def test_what_is_no_client_token_is_refused(token: str) -> None:
    async def run() -> None:
        caller = Caller()
        with pytest.raises(AwsError) as refused:
            await caller.make(ClientToken=token)
        assert (refused.value.code, caller.made) == ("InvalidParameterValue", 0)
        assert await caller.make(ClientToken="x" * 64) == ("thing-1",)

    asyncio.run(run())


def test_after_a_day_a_token_is_new_again() -> None:
    async def run() -> None:
        caller = Caller()
        await caller.make(ClientToken="a", Size=1)
        await caller.clock.advance(DAY_S + 1)
        assert await caller.make(ClientToken="a", Size=2) == ("thing-2",)
        assert await caller.make(ClientToken="a", Size=2) == ("thing-2",)

    asyncio.run(run())


def test_old_tokens_are_swept_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(module, "SWEEP_TOKENS_FROM", 5)
        caller = Caller()
        for number in range(10):
            await caller.make(ClientToken=str(number))
        await caller.clock.advance(DAY_S + 1)
        await caller.make(ClientToken="new")
        left = caller.client.all(ClientToken, "000000000000/us-east-1")
        assert len(left) == 1

    asyncio.run(run())


def test_a_dry_run_ends_before_anything_is_written() -> None:
    async def run() -> None:
        caller = Caller()
        with pytest.raises(AwsError) as refused:
            await caller.make(ClientToken="a", DryRun=True)
        assert (refused.value.code, refused.value.status) == ("DryRunOperation", 412)
        assert caller.client.store.revision == 0

    asyncio.run(run())
