"""CloudWatch Logs without HTTP: operations called on stores in memory, results held against botocore's shapes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import botocore.session
import msgspec
import pytest

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.protocols import Ready, compile_operation
from gureum.base.settings import Settings
from gureum.core.log_tails import LogTails
from gureum.engine.client import Client
from gureum.engine.events import Events
from gureum.engine.registry import Registry
from gureum.engine.tracing import Tracer
from gureum.ports.telemetry import Datum
from gureum.store.contract import Conflict
from gureum.store.memory import MemoryStore
from gureum.telemetry.memory import MemoryLogs, MemoryMetrics
from tests.aws.ec2.conftest import FixedClock
from tests.aws.model_shapes import check_shape

_registry = Registry()
_registry.scan("gureum.aws.call")
_registry.scan("gureum.aws.logs")
_model = botocore.session.get_session().get_service_model("logs")


class KeptMetrics(MemoryMetrics):
    """Remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.datums: list[Datum] = []

    async def write(self, datums: Sequence[Datum]) -> None:
        self.datums.extend(datums)
        await super().write(datums)


def plain(value: Any) -> Any:
    """As a client gets it."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return msgspec.to_builtins(value) if isinstance(value, Ready) else value


class Logs:
    """One account and region. `logs("CreateLogGroup", logGroupName=…)` answers the operation's result or raises AwsError."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.client = Client(MemoryStore(), self.clock, _registry.kinds.values())
        self.events, self.metrics, self.tails = MemoryLogs(self.clock), KeptMetrics(), LogTails()
        self.account = "111122223333"

    @property
    def now_ms(self) -> int:
        return int(self.clock.time * 1000)

    def __call__(self, name: str, **params: Any) -> dict[str, Any]:
        return asyncio.run(self.run(name, **params))

    async def run(self, name: str, **params: Any) -> dict[str, Any]:
        function = _registry.marks("operation")[f"logs:{name}"].target
        compiled = compile_operation("logs", name, "json")
        compiled.validate(params)
        for _ in range(20):
            call = self.call(name, **params)
            try:
                found = function(call)
                result = await found if inspect.isawaitable(found) else found
            except Conflict:
                continue
            result = plain(result)
            if not compiled.stream:
                check_shape(result, _model.operation_model(name).output_shape, name)
            return result
        raise AssertionError("conflicts without end")

    def call(self, name: str, **params: Any) -> Call:
        return Call(
            service="logs",
            operation=name,
            params=params,
            account=self.account,
            region="us-east-1",
            access_key=self.account,
            request_id="test",
            client=self.client,
            settings=Settings(pool="198.18.16.0/20"),
            events=Events(),
            tracer=Tracer(),
            compiled=compile_operation("logs", name, "json"),
            logs=self.events,
            metrics=self.metrics,
            tails=self.tails,
        )

    def refused(self, name: str, **params: Any) -> tuple[str, str]:
        """Code and message with which the call is refused; nothing may have changed."""
        revision = self.client.store.revision
        with pytest.raises(AwsError) as caught:
            self(name, **params)
        assert self.client.store.revision == revision
        return caught.value.code, caught.value.message

    def code(self, name: str, **params: Any) -> str:
        return self.refused(name, **params)[0]

    # What many tests start from

    def group(self, name: str = "/app", *streams: str, **params: Any) -> str:
        self("CreateLogGroup", logGroupName=name, **params)
        for stream in streams:
            self("CreateLogStream", logGroupName=name, logStreamName=stream)
        return name

    def put(
        self, group: str, stream: str, *messages: str, at_ms: int | None = None, step_ms: int = 1
    ) -> dict[str, Any]:
        """Events from `at_ms` (now) on, `step_ms` apart."""
        start = self.now_ms if at_ms is None else at_ms
        events = [{"timestamp": start + step_ms * n, "message": message} for n, message in enumerate(messages)]
        return self("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.fixture
def logs() -> Iterator[Logs]:
    made = Logs()
    yield made
    made.client.close()


@pytest.fixture(scope="session")
def new_logs() -> type[Logs]:
    """For tests that need many."""
    return Logs
