"""The daemon's own HTTP paths under `/_gureum/`, as the commands call them.

Answers are JSON; errors are {"error": "..."} with a fitting status. `attach` is a stream in both directions at once, in one
request: `POST /_gureum/attach/<id>` whose body and answer are chunked and go on together. Both are frames of one byte kind,
four bytes length (big-endian) and payload:

    to the daemon    h  JSON {"args", "terminal", "env"}, first     i  input        e  end of input     w  columns, rows (two uint16)
    from the daemon  o  output     r  error output     x  exit code (int32), last
"""

from __future__ import annotations

import errno
import http.client
import json
import struct
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from gureum.base.homes import Home
from gureum.cli.output import Failure
from gureum.cli.running import NOT_RUNNING

TIMEOUT_S = 60.0
Frame = tuple[bytes, bytes]


def fetch(home: Home, path: str, method: str = "GET") -> bytes:
    """The answer to a request. `path` without `/_gureum/`. Failure when the daemon refuses, is gone, or does not answer in time."""
    connection = open_connection(home)
    try:
        connection.request(method, f"/_gureum/{path}")
        answer = connection.getresponse()
        data = answer.read()
    except TimeoutError as error:
        raise Failure(f"the daemon did not answer within {TIMEOUT_S:.0f} s: see `gureum logs daemon`") from error
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"the daemon ended the connection: {error}") from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise Failure(error_text(data, answer.status))
    return data


def get(home: Home, path: str) -> Any:
    """The decoded JSON answer of a GET."""
    return json.loads(fetch(home, path))


def post(home: Home, path: str) -> Any:
    """The decoded JSON answer of a POST without a body."""
    return json.loads(fetch(home, path, "POST"))


def segment(text: str) -> str:
    """A user's text as one segment of a path."""
    return quote(text, safe="")


def open_connection(home: Home) -> http.client.HTTPConnection:
    """A connection that is open. Failure when nobody listens."""
    url = urlsplit(home.endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=TIMEOUT_S)
    try:
        connection.connect()
    except OSError as error:
        raise Failure(f"gureum is not running at {home.endpoint} (`gureum up` starts it)", NOT_RUNNING) from error
    return connection


def error_text(data: bytes, status: int) -> str:
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered {status}: {data[:200].decode(errors='replace')}"


class Attachment:
    """The program that runs in a machine for us. `send` and `frames` may be used by two threads."""

    def __init__(self, home: Home, name: str, header: dict[str, Any]) -> None:
        """Failure when the machine or the program cannot be had."""
        # Also a signal handler sends, which may interrupt a send of its own thread: hence reentrant.
        self._sending = threading.RLock()
        self._connection = open_connection(home)
        try:
            self._connection.putrequest("POST", f"/_gureum/attach/{segment(name)}")
            self._connection.putheader("transfer-encoding", "chunked")
            self._connection.endheaders()
            self.send(b"h", json.dumps(header).encode())
            self._answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"the daemon ended the connection: {error}") from error
        if self._answer.status != 200:
            raise Failure(error_text(self._answer.read(), self._answer.status))
        if self._connection.sock is None:
            raise Failure("the daemon ended the connection before the program began")
        self._connection.sock.settimeout(None)

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """One frame, as one chunk of the request's body. OSError when the program has ended."""
        frame = kind + struct.pack(">I", len(payload)) + payload
        with self._sending:
            if self._connection.sock is None:  # http.client closes with the answer
                raise BrokenPipeError(errno.EPIPE, "the program has ended")
            self._connection.sock.sendall(b"%x\r\n%b\r\n" % (len(frame), frame))

    def frames(self) -> Iterator[Frame]:
        """What comes, until the end, or until the daemon is lost."""
        while head := self._read(5):
            yield head[:1], self._read(struct.unpack(">I", head[1:])[0])

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._answer.read(size - len(parts))
            except (OSError, http.client.HTTPException):
                return b""
            if not part:
                return b""
            parts += part
        return bytes(parts)

    def close(self) -> None:
        self._connection.close()
