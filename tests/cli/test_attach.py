"""`gureum exec` through a real HTTP server: the relay and the client together, a stand-in for the agent at the far end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gureum.attach import feed, relay
from gureum.base.homes import Home
from gureum.cli.api import Attachment
from gureum.cli.exec import listen
from gureum.cli.output import Failure
from gureum.engine.wire import frame, read_frame
from gureum.ports import PortError


class Far:
    """An agent whose programs are `cat`: what comes in goes out, in upper case."""

    def __init__(self) -> None:
        self.headers: list[dict[str, Any]] = []
        self.sizes: list[tuple[int, int]] = []
        self.left = threading.Event()

    async def open(self, header: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.headers.append(header)
        if header["args"] == ["missing"]:
            raise PortError("there is no such program")
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=far)
        self._task = asyncio.ensure_future(self.serve(reader, writer))
        return await asyncio.open_connection(sock=near)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while got := await read_frame(reader):
            kind, payload = got
            if kind == b"i":
                writer.write(frame(b"o", payload.upper()))
            elif kind == b"w":
                self.sizes.append(struct.unpack(">HH", payload))
            elif kind == b"e":
                writer.write(frame(b"x", struct.pack(">i", 42)))
                break
        self.left.set()
        writer.close()


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def home(far: Far, tmp_path: Path) -> Iterator[Home]:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["path"] == "/_gureum/attach/i-1"
        await relay(receive, send, far.open)

    listening = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        config = Config(application, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        server = await loop.create_server(
            lambda: HttpToolsProtocol(config=config, server_state=state, app_state={}), sock=listening
        )
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    yield Home("abcde", tmp_path, tmp_path, "198.18.0.0/20", "127.0.0.1", listening.getsockname()[1], 0, simulate=False)
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.close()


def test_bytes_go_both_ways_while_the_request_goes_on(home: Home, far: Far) -> None:
    attachment = Attachment(home, "i-1", {"args": ["cat"], "terminal": False, "env": []})
    frames = attachment.frames()
    for word in (b"one", b"two", b"x" * 300_000):
        attachment.send(b"i", word)
        heard = b""
        while len(heard) < len(word):
            kind, payload = next(frames)
            assert kind == b"o"
            heard += payload
        assert heard == word.upper()
    attachment.send(b"e")
    assert list(frames) == [(b"x", struct.pack(">i", 42))]
    attachment.close()
    assert far.headers == [{"args": ["cat"], "terminal": False, "env": []}]


def test_program_that_cannot_be_had_is_an_error(home: Home) -> None:
    with pytest.raises(Failure, match="there is no such program"):
        Attachment(home, "i-1", {"args": ["missing"]})


def test_client_that_leaves_ends_the_program(home: Home, far: Far) -> None:
    attachment = Attachment(home, "i-1", {"args": ["cat"]})
    assert not far.left.is_set()
    attachment.close()
    assert far.left.wait(10)
    with pytest.raises(
        OSError, match="the program has ended"
    ):  # as a signal handler, which may send at any moment, expects
        attachment.send(b"w", b"")


def test_agent_that_dies_ends_the_answer() -> None:
    async def run() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        reader.feed_data(frame(b"o", b"half a sen"))

        async def receive() -> dict[str, Any]:
            if sent:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": frame(b"h", b'{"args": ["cat"]}'), "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message.get("body"):
                reader.set_exception(BrokenPipeError())

        async def open_stream(_: dict[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return reader, writer

        await asyncio.wait_for(relay(receive, send, open_stream), 10)
        far.close()
        return sent

    sent = asyncio.run(run())
    assert b"half a sen" in sent[1]["body"]
    assert sent[-1] == {"type": "http.response.body", "body": b""}


def test_input_for_an_agent_that_died_goes_nowhere() -> None:
    async def run() -> None:
        near, far = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=near)
        far.close()
        writer.transport.abort()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x", "more_body": True}

        await asyncio.wait_for(feed(receive, writer), 10)

    asyncio.run(run())


def run_exec(home: Home, *, terminal: bool, **environment: str) -> subprocess.CompletedProcess[bytes]:
    program = (
        "import sys; from pathlib import Path; from gureum.base.homes import Home; from gureum.cli.exec import attach;"
        f"home = Home('abcde', Path('/'), Path('/'), '', '127.0.0.1', {home.aws_port}, 0, simulate=False);"
        f"sys.exit(attach(home, 'i-1', ['cat'], terminal={terminal}))"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, input=b"hello\n", capture_output=True, check=False, timeout=20, env=os.environ | environment
    )


def test_exec_passes_input_output_and_exit_code(home: Home) -> None:
    done = run_exec(home, terminal=False)
    assert (done.returncode, done.stdout, done.stderr) == (42, b"HELLO\n", b"")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\no\0\0\0\4word"])
def test_daemon_that_dies_is_told_in_a_sentence(tmp_path: Path, answer: bytes) -> None:
    """Before its answer, or in the middle of it: Python's own words were shown."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def die() -> None:
            with server.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=die).start()
        home = Home("abcde", tmp_path, tmp_path, "", "127.0.0.1", server.getsockname()[1], 0, simulate=False)
        with pytest.raises(Failure, match="the daemon ended the connection"):
            listen(Attachment(home, "i-1", {"args": ["cat"], "terminal": False, "env": []}))


def test_exec_tells_the_size_of_the_terminal(home: Home, far: Far) -> None:
    assert run_exec(home, terminal=True, COLUMNS="132", LINES="43").returncode == 42
    assert far.sizes == [(132, 43)]
    assert far.headers[0]["terminal"] is True


def test_nonsense_is_refused(home: Home) -> None:
    import http.client

    for body in (b"", b"h\0\0\0\2[]", b"x\0\0\0\2{}", b"h\0\0\0\2{"):
        connection = http.client.HTTPConnection("127.0.0.1", home.aws_port, timeout=10)
        connection.request("POST", "/_gureum/attach/i-1", iter([body]) if body else b"", encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 400
        assert "error" in json.loads(answer.read())
        connection.close()
