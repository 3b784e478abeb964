"""Marks of the AWS face: which function answers which operation.

    @operation("CreateVpc")
    async def create_vpc(call: Call) -> dict[str, Any]: ...

The service is the folder the function lives in (`gureum/aws/ec2/…` is `ec2`). An operation whose name the service's model does not know
fails a test. `level` is what the coverage table says: "real" when its effect is on packets, disks, processes or names and happens,
or when it answers truly from state that other operations act on; "state" when it is only remembered and read back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from gureum.aws.call import Call
from gureum.aws.websockets import WebSocket
from gureum.engine.registry import mark

Result = dict[str, Any]
OperationFunction = Callable[[Call], "Awaitable[Result] | Result"]


def operation(
    name: str, *, level: Literal["real", "state"] = "real"
) -> Callable[[OperationFunction], OperationFunction]:
    """Marks the function that answers operation `name` of its folder's service. Sync functions may only read; async ones may write."""

    def note(function: OperationFunction) -> OperationFunction:
        service = function.__module__.split(".")[2].replace("_", "-")
        return mark("operation", f"{service}:{name}", operation=name, level=level)(function)

    return note


def prepare(service: str) -> Callable[[Callable[[Call], Awaitable[None]]], Callable[[Call], Awaitable[None]]]:
    """Marks `async (call) -> None`, run before the first operation of `service` in an account and region (defaults such as the default VPC)."""
    return mark("prepare", service)


ChannelFunction = Callable[[Any, WebSocket], Awaitable[None]]


def channel(path: str) -> Callable[[ChannelFunction], ChannelFunction]:
    """Marks `async (world, socket) -> None`, which serves the WebSockets whose path begins with `path`. It decides itself whom it admits."""
    return mark("channel", path)
