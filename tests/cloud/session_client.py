"""A Session Manager client that does exactly what a test says: WebSocket (wsproto) and messages by hand, nothing acknowledged unless asked."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, Request, TextMessage
from wsproto.utilities import LocalProtocolError

from gureum.aws.ssm import channel_messages as wire
from gureum.aws.ssm.channel_messages import Message, acknowledgement, pack, unpack

LIMIT_S = 20.0


class Closed(Exception):
    """The server has closed; `code` of RFC 6455, 0 when the connection was lost."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class SessionClient:
    """One WebSocket to a session. `sent`, `expected`: numbers to go on with, of an earlier one. `acks`: acknowledge what comes."""

    def __init__(self, url: str, *, sent: int = 0, expected: int = 0, acks: bool = True, origin: str = "") -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), LIMIT_S)
        self._connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        headers = [(b"origin", origin.encode())] if origin else []
        host = f"{parts.hostname}:{parts.port}"
        target = f"{parts.path}?{parts.query}"
        self._put(Request(host=host, target=target, extra_headers=headers))
        self._events: list[Any] = []
        self.sent, self.expected, self.acks = sent, expected, acks
        self.acknowledged: set[int] = set()
        self.output = b""
        self.errors = b""
        self.exit_code: int | None = None
        self.handshake: dict[str, Any] = {}
        self.last_words: str | None = None
        event = self._event()
        if isinstance(event, RejectConnection):
            raise Closed(event.status_code, "rejected")
        assert isinstance(event, AcceptConnection)

    def _put(self, event: Any) -> None:
        self._socket.sendall(self._connection.send(event))

    def _event(self) -> Any:
        while not self._events:
            data = self._socket.recv(65536)
            self._connection.receive_data(data or None)
            self._events += list(self._connection.events())
        event = self._events.pop(0)
        if isinstance(event, CloseConnection):
            raise Closed(event.code, event.reason or "")
        return event

    def open(self, token: str) -> None:
        told = {"MessageSchemaVersion": "1.0", "RequestId": "r", "TokenValue": token, "ClientId": "c"}
        self.text(json.dumps(told | {"ClientVersion": "1.2.707.0"}))

    def text(self, text: str) -> None:
        self._put(TextMessage(data=text))

    def raw(self, data: bytes) -> None:
        """To a server that is closing, nothing goes any more."""
        with contextlib.suppress(LocalProtocolError):
            self._put(BytesMessage(data=data))

    def send(self, payload_type: int, payload: bytes) -> int:
        self.raw(pack(Message(wire.INPUT, self.sent, payload, payload_type), time.time()))
        self.sent += 1
        return self.sent - 1

    def type(self, text: str) -> int:
        return self.send(wire.OUTPUT, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        self.send(wire.SIZE, json.dumps({"cols": columns, "rows": rows}).encode())

    def step(self) -> Message:
        """The next message, heard as a plugin would."""
        data = b""
        while True:
            event = self._event()
            if not isinstance(event, BytesMessage):
                continue
            data += event.data
            if event.message_finished:
                break
        message = unpack(data)
        if message.type == wire.ACKNOWLEDGE:
            self.acknowledged.add(json.loads(message.payload)["AcknowledgedMessageSequenceNumber"])
        elif message.type == wire.CHANNEL_CLOSED:
            self.last_words = json.loads(message.payload)["Output"]
        elif message.type == wire.OUTPUT_STREAM and message.number <= self.expected:
            if self.acks:
                self.raw(pack(acknowledgement(message), time.time()))
            if message.number == self.expected:
                self.expected += 1
                self._take(message)
        return message

    def _take(self, message: Message) -> None:
        if message.payload_type == wire.HANDSHAKE_REQUEST:
            self.handshake = json.loads(message.payload)
            done = [{"ActionType": "SessionType", "ActionStatus": 1}]
            answer = {"ClientVersion": "1.2.707.0", "ProcessedClientActions": done, "Errors": []}
            self.send(wire.HANDSHAKE_RESPONSE, json.dumps(answer).encode())
        elif message.payload_type == wire.OUTPUT:
            self.output += message.payload
        elif message.payload_type == wire.STDERR:
            self.errors += message.payload
        elif message.payload_type == wire.EXIT_CODE:
            self.exit_code = int(message.payload)

    def until(self, text: str) -> str:
        """Until the output has this; returns all of it."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.output.decode(errors="replace"):
            assert time.monotonic() < deadline, self.output[-2000:]
            self.step()
        return self.output.decode(errors="replace")

    def until_closed(self) -> Closed:
        deadline = time.monotonic() + LIMIT_S
        try:
            while time.monotonic() < deadline:
                self.step()
        except Closed as closed:
            return closed
        raise AssertionError("it was not closed")

    def disconnect(self) -> None:
        """As when a cable is pulled: no close frame."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def start(ssm: Any, target: str, **wanted: Any) -> tuple[str, SessionClient]:
    """A session and a client that has opened it."""
    made = ssm.start_session(Target=target, **wanted)
    client = SessionClient(made["StreamUrl"])
    client.open(made["TokenValue"])
    return str(made["SessionId"]), client
