"""Forwarded ports of sessions: what the client's plugin listens on at its own side leads to a port as the machine sees it.

    plugin ◄── data channel ──► MuxPort: many connections in one session (smux version 1)      ◄── dial ──► agent ──► the machine's network
                                BasicPort: one at a time; SSH through a ProxyCommand, old plugins

smux frames: version 1, command (0 SYN, 1 FIN, 2 PSH, 3 NOP), length (uint16), stream (uint32), little-endian, then the data. A connection that does
not take its data holds up its own queue, then the session: that is the only brake the protocol has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import struct

from gureum.aws.ssm import channel_messages as wire
from gureum.aws.ssm.channel_messages import Message
from gureum.aws.ssm.live_sessions import LiveSession, Work
from gureum.aws.ssm.session_kinds import Session, State
from gureum.core.world import Stream
from gureum.engine.registry import mark
from gureum.ports import PortError

log = logging.getLogger("gureum.ssm")
SYN, FIN, PSH, NOP = range(4)
HEAD = struct.Struct("<BBHI")
PIECE_BYTES = 1024
LIMIT_STREAMS = 256
LIMIT_QUEUE = 64
"""Pieces (of at most 64 KiB) that wait for a connection to take them."""
LINGER_S = 5.0
"""So long the machine's side may go on to send after the client's has ended."""
LOCAL = "LocalPortForwarding"
_OLD_CLIENT = re.compile(r"1\.0(\.\d+){0,2}|1\.1(\.([0-9]|[1-6][0-9]|70)(\.\d+)?)?")
"""Versions of the plugin up to 1.1.70 know no smux."""


@mark("session-work", "Port")
async def make_port(live: LiveSession, session: Session, client: str, *, again: bool) -> Work:
    """PortError when it cannot go on: connections do not outlive the daemon."""
    if again:
        raise PortError("Forwarded ports end when gureum is restarted.", retry=False)
    if session.spec.port_type == LOCAL and _OLD_CLIENT.fullmatch(client) is None:
        return MuxPort(live, session)
    return BasicPort(live, session)


async def open_port(live: LiveSession, session: Session) -> Stream:
    """PortError."""
    spec = session.spec
    request = {"op": "dial", "name": spec.target, "host": spec.host, "port": spec.port}
    return (await live.world.link.open(request))[1]


class MuxPort:
    """Many connections in one session."""

    def __init__(self, live: LiveSession, session: Session) -> None:
        self._live = live
        self._session = session
        self._buffer = bytearray()
        self._streams: dict[int, _Connection] = {}
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._sending = asyncio.Lock()

    async def run(self) -> tuple[str, State]:
        return await self._broken, "Failed"

    async def hear(self, message: Message) -> bool:
        if message.number < self._live.channel.expected:
            return True
        await self._live.acknowledge(message)
        if message.payload_type == wire.OUTPUT:
            self._buffer += message.payload
            while (frame := self._next()) is not None:
                await self._take(*frame)
        return True

    def _next(self) -> tuple[int, int, bytes] | None:
        """(command, stream, data) of the next whole frame."""
        if len(self._buffer) < HEAD.size:
            return None
        version, command, length, stream = HEAD.unpack_from(self._buffer)
        if version != 1 or command > NOP:
            if not self._broken.done():
                self._broken.set_result("The client sent no frames of smux version 1.")
            self._buffer.clear()
            return None
        if len(self._buffer) < HEAD.size + length:
            return None
        data = bytes(self._buffer[HEAD.size : HEAD.size + length])
        del self._buffer[: HEAD.size + length]
        return command, stream, data

    async def _take(self, command: int, stream: int, data: bytes) -> None:
        known = self._streams.get(stream)
        if command == SYN and known is None:
            if len(self._streams) < LIMIT_STREAMS:
                self._streams[stream] = _Connection(self, stream)
            else:
                await self.send(FIN, stream)
        elif known is not None and command == PSH:
            await known.queue.put(data)
        elif known is not None and command == FIN:
            await known.queue.put(b"")

    async def connect(self) -> Stream:
        return await open_port(self._live, self._session)

    async def send(self, command: int, stream: int, data: bytes = b"") -> None:
        """One frame as one message."""
        async with self._sending:
            await self._live.send(wire.OUTPUT, HEAD.pack(1, command, len(data), stream) + data)
        self._live.touch()

    def forget(self, stream: int) -> None:
        self._streams.pop(stream, None)

    def confirmed(self) -> None:
        """Nothing waits for it but the channel's window."""

    async def close(self) -> None:
        for connection in list(self._streams.values()):
            connection.task.cancel()
        await asyncio.gather(*(one.task for one in self._streams.values()), return_exceptions=True)


class _Connection:
    """One stream of a session and its connection in the machine. `queue`: what the client sent; b"" is its end."""

    def __init__(self, port: MuxPort, stream: int) -> None:
        self._port = port
        self._stream = stream
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(LIMIT_QUEUE)
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        writer = None
        try:
            reader, writer = await self._port.connect()
            out = asyncio.ensure_future(self._out(reader))
            back = asyncio.ensure_future(self._in(writer))
            try:
                await asyncio.wait({out, back}, return_when=asyncio.FIRST_COMPLETED)
                if not out.done():  # the client has ended; the machine may have something left to say
                    await asyncio.wait({out}, timeout=LINGER_S)
            finally:
                for task in (out, back):
                    task.cancel()
                await asyncio.gather(out, back, return_exceptions=True)
        except (PortError, OSError) as refused:
            log.info("a forwarded port does not answer", extra={"why": str(refused)})
        finally:
            self._port.forget(self._stream)
            self._drop()
            if writer is not None:
                writer.close()
        await self._port.send(FIN, self._stream)

    async def _out(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(PIECE_BYTES - HEAD.size):
            await self._port.send(PSH, self._stream, data)

    async def _in(self, writer: asyncio.StreamWriter) -> None:
        while data := await self.queue.get():
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    def _drop(self) -> None:
        """Whoever waits to put something in must not wait for ever."""
        while not self.queue.empty():
            self.queue.get_nowait()


class BasicPort:
    """One connection at a time. Of SSH's kind the session ends with it; else the next data open another."""

    def __init__(self, live: LiveSession, session: Session) -> None:
        self._live = live
        self._session = session
        self._local = session.spec.port_type == LOCAL
        self._writer: asyncio.StreamWriter | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[tuple[str, State]] = asyncio.get_running_loop().create_future()
        self._opening = asyncio.Lock()

    async def run(self) -> tuple[str, State]:
        await self._connect()
        return await self._ended

    async def _connect(self) -> None:
        async with self._opening:
            if self._writer is not None or self._ended.done():
                return
            try:
                reader, self._writer = await open_port(self._live, self._session)
            except PortError as refused:
                await self._live.send(wire.FLAG, struct.pack(">I", wire.FLAG_CONNECT_ERROR))
                if not self._local:
                    self._end(f"Connection to destination port failed: {refused.why}", "Failed")
                return
            self._pumping = asyncio.ensure_future(self._pump(reader, self._writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(PIECE_BYTES):
                await self._live.send(wire.OUTPUT, data)
                self._live.touch()
        except OSError:
            pass
        if self._writer is writer:
            self._writer = None
            writer.close()
            if not self._local:
                self._end("", "Terminated")

    async def hear(self, message: Message) -> bool:
        if message.number < self._live.channel.expected:
            return True
        await self._live.acknowledge(message)
        if message.payload_type == wire.FLAG and message.payload[-1:] == bytes([wire.FLAG_DISCONNECT]):
            self._disconnect()
        elif message.payload_type == wire.OUTPUT:
            await self._connect()
            if self._writer is not None:
                with contextlib.suppress(OSError):
                    self._writer.write(message.payload)
                    await self._writer.drain()
        return True

    def _disconnect(self) -> None:
        writer, self._writer = self._writer, None
        if self._pumping is not None:
            self._pumping.cancel()
        if writer is not None:
            writer.close()

    def _end(self, output: str, state: State) -> None:
        if not self._ended.done():
            self._ended.set_result((output, state))

    def confirmed(self) -> None:
        """Nothing waits for it but the channel's window."""

    async def close(self) -> None:
        self._disconnect()
        if self._pumping is not None:
            await asyncio.gather(self._pumping, return_exceptions=True)
