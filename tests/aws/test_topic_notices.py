"""Messages to topics that wait: those of commands and of groups alike have a limit, in an account and region."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gureum.aws import topic_notices
from gureum.aws.autoscaling.kinds import Notice
from gureum.aws.ssm.command_kinds import Command, CommandSpec, Invocation, InvocationSpec, Notify
from gureum.aws.ssm.command_notices import CommandNotice, tell_command, tell_invocation
from gureum.aws.topic_notices import NoticeSpec, put_notice
from gureum.base.clock import SystemClock
from gureum.engine.client import Client
from gureum.engine.resource import Meta, kind_of
from gureum.store.memory import MemoryStore

SCOPE, OTHER = "111122223333/us-east-1", "111122223333/eu-west-1"
TOPIC = "arn:aws:sns:us-east-1:111122223333:topic"


def meta(name: str, scope: str = SCOPE) -> Meta:
    return Meta(scope=scope, name=name, uid=name, created=0.0)


def command(type_: str, scope: str = SCOPE) -> Command:
    spec: dict[str, Any] = {"instances": ("i-1",), "steps": (), "notify": Notify(TOPIC, ("All",), type_)}
    return Command(meta=meta("c", scope), spec=CommandSpec("d", "1", 0.0, 0.0, 60, **spec))


async def _told() -> None:
    client = Client(MemoryStore(), SystemClock(), [kind_of(CommandNotice), kind_of(Notice)])
    one = Invocation(meta=meta("c:i-1"), spec=InvocationSpec("c", "i-1", 0))

    async def tell(scope: str = SCOPE) -> int:
        transaction = client.transaction()
        for _ in range(2):
            tell_command(client, transaction, command("Command", scope), "Failed", 1.0)  # was at work, and failed
        tell_invocation(client, transaction, command("Invocation", scope), one, "Failed", 1.0)
        if not transaction.empty:
            await transaction.commit()
        return len(client.all(CommandNotice, scope))

    assert [await tell() for _ in range(3)] == [5, 7, 7]
    assert await tell(OTHER) == 5
    transaction = client.transaction()
    for at in range(9):
        put_notice(client, transaction, Notice(meta=meta(str(at)), spec=NoticeSpec(TOPIC, "s", "{}", 1.0)))
    await transaction.commit()
    assert len(client.all(Notice, SCOPE)) == 7  # those of one kind take no room from another's
    client.close()


def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_notices, "MOST_WAITING", 7)
    asyncio.run(_told())
