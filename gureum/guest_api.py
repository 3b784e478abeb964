"""The HTTP front for machines of the cloud: AWS and nothing else, for who proves who he is.

    guest ─► the agent's gate (drivers/networks/api_gate.py) ─► unix socket ─► here ─► gateway, as a guest

Guests are hostile. Before a body is read its key must be one that STS handed out or IAM made; signatures are checked whatever the settings say; a
guest stays in the account of its credentials; there are no paths of gureum's own, no WebSockets. A guest in haste is answered later, so that it costs
others nothing (as in the metadata service).
"""

from __future__ import annotations

import asyncio
from typing import Any

from gureum.asgi import (
    Bodies,
    Body,
    ClientLeft,
    Receive,
    Send,
    request_of,
    stream,
    write_response,
)
from gureum.aws.errors import AwsError
from gureum.aws.gateway import Gateway, refuse
from gureum.aws.protocols import Response

RATE, BURST = 50.0, 200.0
"""Requests a second of one guest, and at once."""
ALL_RATE, ALL_BURST = 500.0, 1000.0
"""Of all guests together: the daemon answers its owner too."""
LIMIT_GUEST_BODIES_BYTES = 64 * 1024 * 1024
LIMIT_BODIES_BYTES = 256 * 1024 * 1024
BODY_S = 300.0
LIMIT_GUESTS = 4096


class Bucket:
    """`burst` requests, filled at `rate` a second."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._left = burst
        self._at = now

    def wait_s(self, now: float) -> float:
        """Takes one request, on credit if need be: how long it waits."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1.0
        self._at = now
        return max(0.0, -self._left / self._rate)

    def is_full(self, now: float) -> bool:
        return self._left + (now - self._at) * self._rate >= self._burst


class Guest:
    """What it may ask, and the bodies it has in memory."""

    def __init__(self, now: float) -> None:
        self.bodies = Bodies(LIMIT_GUEST_BODIES_BYTES)
        self.requests = Bucket(RATE, BURST, now)

    def is_quiet(self, now: float) -> bool:
        return not self.bodies.size_bytes and self.requests.is_full(now)


class GuestApplication:
    """ASGI. The client's name is the guest's ("NETWORK ADDRESS"), and after it the only service that its gate leads to, if it is one's alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._guests: dict[str, Guest] = {}
        self._bodies = Bodies(LIMIT_BODIES_BYTES)
        self._requests: Bucket | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            return
        network, address, service = (*str((scope.get("client") or ("",))[0]).split(" "), "", "", "")[:3]
        guest = self._guest(f"{network} {address}")
        await self._turn(guest)
        response = await self._gateway.look_at_guest(request_of(scope, b""), service)
        if response is not None:
            response.headers["connection"] = "close"  # its body is not read
        else:
            response = await self._answer(guest, scope, receive)
        if response is None:
            return
        if isinstance(response.body, bytes):
            await write_response(send, response)
        else:
            await stream(receive, send, response)

    async def _turn(self, guest: Guest) -> None:
        """Its own haste costs it before it takes from what all share."""
        loop = asyncio.get_running_loop()
        if (wait_s := guest.requests.wait_s(loop.time())) > 0:
            await asyncio.sleep(wait_s)
        if self._requests is None:
            self._requests = Bucket(ALL_RATE, ALL_BURST, loop.time())
        if (wait_s := self._requests.wait_s(loop.time())) > 0:
            await asyncio.sleep(wait_s)

    async def _answer(self, guest: Guest, scope: dict[str, Any], receive: Receive) -> Response | None:
        """None: nobody waits for it any more."""
        own, all_ = Body(guest.bodies), Body(self._bodies)
        try:
            async with asyncio.timeout(BODY_S):
                data = await own.read(_counted(receive, all_))
            return await self._gateway.handle(request_of(scope, data), guest=True)
        except AwsError as refused:
            return refuse(request_of(scope, b""), refused)
        except (ClientLeft, TimeoutError):
            return None
        finally:
            own.forget()
            all_.forget()

    def _guest(self, name: str) -> Guest:
        now = asyncio.get_running_loop().time()
        found = self._guests.get(name)
        if found is None:
            if len(self._guests) >= LIMIT_GUESTS:
                self._guests = {key: one for key, one in self._guests.items() if not one.is_quiet(now)}
            found = self._guests[name] = Guest(now)
        return found


def _counted(receive: Receive, body: Body) -> Receive:
    """`receive`, which counts what comes among all guests' bodies too. AwsError when those are too large together."""

    async def counting() -> dict[str, Any]:
        message = await receive()
        if message["type"] == "http.request":
            body.count(len(message.get("body", b"")))
        return message

    return counting
