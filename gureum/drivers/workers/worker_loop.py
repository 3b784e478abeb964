"""The child's side of a worker: answers requests one after another.

Frames are four bytes of length (little endian) and MessagePack: requests `[verb, argument]`, replies `[error, retry,
value]` in the order of the requests. Kept apart from the agent's side (worker_process) so that a worker never loads
asyncio: it stays small.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

import msgspec

from gureum.ports import PortError

Verbs = dict[str, Callable[[bytes], object]]

MAX_FRAME_BYTES = 64 << 20


class Request(msgspec.Struct, frozen=True, array_like=True):
    """`argument`: the verb's argument as MessagePack."""

    verb: str
    argument: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """`error` "" means done; `value` is then the answer. `retry`: see PortError."""

    error: str
    retry: bool
    value: msgspec.Raw


_NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))


def frame(data: bytes) -> bytes:
    """`data` with its length before it."""
    return len(data).to_bytes(4, "little") + data


def serve(verbs: Verbs) -> None:
    """Answers requests on standard input until the other side closes it. Each verb gets its argument as MessagePack."""
    channel = socket.socket(fileno=os.dup(0))
    decode = msgspec.msgpack.Decoder(Request).decode
    poll = select.poll()
    poll.register(channel, 0)  # POLLHUP: both directions are closed (not only "no more requests")
    while (head := _exactly(channel, 4)) is not None:
        size = int.from_bytes(head, "little")
        if size > MAX_FRAME_BYTES or (data := _exactly(channel, size)) is None:
            return
        if poll.poll(0):  # the agent died and its successor decides; what is still queued is stale
            return
        request = decode(data)
        reply = msgspec.msgpack.encode(_answer(verbs[request.verb], bytes(request.argument)))
        try:
            channel.sendall(frame(reply))
        except ConnectionError:  # the agent died; the work is done all the same
            return


def _answer(verb: Callable[[bytes], object], argument: bytes) -> Reply:
    try:
        return Reply("", False, msgspec.Raw(msgspec.msgpack.encode(verb(argument))))
    except PortError as error:
        return Reply(error.why, error.retry, _NOTHING)
    except OSError as error:
        return Reply(error.strerror or str(error), True, _NOTHING)


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            data = channel.recv(min(size - len(parts), 1 << 20))
        except ConnectionResetError:  # the agent died before it read our last answer
            return None
        if not data:
            return None
        parts += data
    return bytes(parts)
