"""What a proxy does with HTTP/2 on its connections, spoken by a client that says what it is told to. AWS: Application Load Balancers guide."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from gureum.drivers.haproxy import control as haproxy_control
from gureum.drivers.haproxy import crowding
from gureum.drivers.haproxy import headers as haproxy_headers
from gureum.drivers.haproxy.process import ProxyFolder
from gureum.ports.proxies import Condition, Redirect, Rule, Server

from .proxy_host import TARGETS, ProxyHost, fixed, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

Headers = list[tuple[str, str]]
GET = [(":method", "GET"), (":scheme", "https"), (":path", "/")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


class Client:
    """One connection. `streams`: how many the other side takes at once; `window`: how much of a body before it says that more may come. The `window`
    that it is made with is its own: how much of an answer."""

    def __init__(self, host: ProxyHost, *, source: str = "", window: int = 65535) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self._sock = context.wrap_socket(host.connect(443, source=source), server_hostname="example.com")
        self._speech = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self._speech.local_settings = h2.settings.Settings(
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self._speech.initiate_connection()
        self.streams = self.window = 0

    def ask(self, headers: Headers, body: bytes = b"", late_s: float = 0.0) -> dict[str, str]:
        """The headers of the answer. `late_s`: how long after the headers the body is sent."""
        stream = self._speech.get_next_available_stream_id()
        self._speech.send_headers(stream, headers, end_stream=not body)
        if body:
            self._sock.sendall(self._speech.data_to_send())
            time.sleep(late_s)
            self._speech.send_data(stream, body, end_stream=True)
        return self._answer()

    def begin(self, headers: Headers, *, whole: bool = False) -> int:
        """A request whose body is still to come, or that has none (`whole`). Its stream."""
        stream = self._speech.get_next_available_stream_id()
        self._speech.send_headers(stream, headers, end_stream=whole)
        self._sock.sendall(self._speech.data_to_send())
        return stream

    def end(self, stream: int) -> dict[str, str]:
        self._speech.send_data(stream, b"x", end_stream=True)
        return self._answer()

    def ask_without_end(self, headers: Headers) -> dict[str, str]:
        self.begin(headers)
        return self._answer()

    def _answer(self) -> dict[str, str]:
        answer: dict[str, str] = {}
        while True:
            self._sock.sendall(self._speech.data_to_send())
            for event in self._speech.receive_data(self._sock.recv(65536)):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    most = event.changed_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
                    self.streams = most.new_value if most is not None else self.streams
                    wide = event.changed_settings.get(h2.settings.SettingCodes.INITIAL_WINDOW_SIZE)
                    self.window = wide.new_value if wide is not None else self.window
                if isinstance(event, h2.events.ResponseReceived):
                    answer = {str(name, "ascii"): str(value, "ascii") for name, value in event.headers}
                if isinstance(event, h2.events.StreamEnded):
                    return answer

    def close(self) -> None:
        self._sock.close()


def serve(host: ProxyHost, talk: Callable[[Client], None], *rules: Rule, target: Server | None = None) -> None:
    certificate = host.certificate("example.com")
    listener = http_listener(*rules, port=443, protocol="HTTPS", certificates=(certificate.name,))
    spec = host.spec(listener, groups=(group(target or host.target(TARGETS[0])),), certificates=(certificate,))

    def connected() -> None:
        client = Client(host)
        try:
            talk(client)
        finally:
            client.close()

    async def story() -> None:
        await host.proxies.ensure(spec)
        await asyncio.to_thread(connected)
        await host.proxies.close()

    asyncio.run(story())


def test_a_connection_takes_128_requests_at_once(host: ProxyHost) -> None:
    """ "Listener configuration": "You can send up to 128 requests in parallel using one HTTP/2 connection"."""

    def talk(client: Client) -> None:
        assert client.ask([*GET, (":authority", "example.com")])[":status"] == "200"
        assert client.streams == 128

    serve(host, talk)


def test_an_upload_need_not_wait_for_each_64_kilobytes(host: ProxyHost) -> None:
    def talk(client: Client) -> None:
        assert client.ask([*GET, (":authority", "example.com")])[":status"] == "200"
        assert client.window == 1 << 20

    serve(host, talk)


def test_a_request_that_names_no_host_is_malformed(host: ProxyHost) -> None:
    """Its target would get a request of HTTP/1.1 without one (RFC 9112, 3.2)."""

    def talk(client: Client) -> None:
        assert client.ask([*GET, ("host", "example.com")])[":status"] == "200"
        answer = client.ask(GET)
        assert (answer[":status"], answer["server"]) == ("400", "awselb/2.0")

    serve(host, talk)


def test_who_sends_a_body_late_gets_the_answer_that_needs_none(host: ProxyHost) -> None:
    """Of rules' own answers, and refusals; as by HTTP/1.1."""
    answers = {"/fixed": fixed("x"), "/old": Redirect(301, host="new.example.com")}
    rules = [Rule(i, one, (Condition("path-pattern", (path,)),)) for i, (path, one) in enumerate(answers.items(), 1)]

    def talk(client: Client) -> None:
        for path, wished in (("/fixed", "200"), ("/old", "301")):
            headers = [(":method", "POST"), (":scheme", "https"), (":path", path), (":authority", "example.com")]
            assert client.ask(headers, b"late", 1.5)[":status"] == wished
        headers = [(":method", "POST"), (":scheme", "https"), (":path", "/")]
        assert client.ask(headers, b"late", 1.5)[":status"] == "400", "it names no host"

    serve(host, talk, *rules)


def until_counted(host: ProxyHost, table: str, number: int) -> None:
    control = ProxyFolder(host.home_id, host.run, "node-1").work / "run/control"
    for _ in range(500):
        said = asyncio.run(haproxy_control.command(control, f"show table {table}"))
        if f"conn_cur={number}" in said:
            return
        time.sleep(0.01)
    raise AssertionError(said)


def test_of_bodies_that_are_waited_for_there_is_an_end(host: ProxyHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a buffer: a client that began thousands of requests took the proxy's memory, and its worker died."""
    monkeypatch.setattr(haproxy_headers, "MOST_WAITING", 2)
    rule = Rule(1, fixed("x"), (Condition("path-pattern", ("/fixed",)),))
    late = [(":method", "POST"), (":scheme", "https"), (":path", "/fixed"), (":authority", "example.com")]

    def talk(client: Client) -> None:
        for _ in range(2):  # what has ended counts no more
            waiting = [Client(host) for _ in range(2)]
            streams = [one.begin(late) for one in waiting]
            until_counted(host, "requests", 2)
            assert client.ask_without_end(late)[":status"] == "200"
            assert [one.end(stream)[":status"] for one, stream in zip(waiting, streams, strict=True)] == ["200", "200"]
            until_counted(host, "requests", 0)

    serve(host, talk, rule)


LONG_ANSWER = b"x" * 10_000_000


def long_or_short(request: BaseHTTPRequestHandler) -> None:
    body = LONG_ANSWER if request.path == "/long" else b"ok"
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def test_who_reads_nothing_leaves_room_for_others(host: ProxyHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer that is not read holds buffers and a socket, and a client may leave 128 of them on a connection: a hundred connections took all
    that a proxy may have, and nobody was served any more. AWS's balancers grow instead."""
    monkeypatch.setattr(crowding, "most_requests", lambda host: 16)
    to = [(":scheme", "https"), (":authority", "example.com")]
    long, short = ([(":method", "GET"), (":path", path), *to] for path in ("/long", "/"))

    def talk(client: Client) -> None:
        readers = [Client(host, source=f"10.9.0.{101 + i}", window=0) for i in range(2)]
        for one in readers:
            for _ in range(6):
                one.begin(long, whole=True)
        until_counted(host, "requests", 12)
        assert client.ask(short)[":status"] == "200", "an eighth of all is anybody's"
        one = Client(host, source="10.9.0.101", window=0)
        assert one.ask(short) | {"date": ""} == {
            ":status": "503",
            "server": "awselb/2.0",
            "date": "",
            "content-length": "0",
        }
        others = [Client(host, source=f"10.9.0.{111 + i}", window=0) for i in range(4)]
        for one in others:
            one.begin(long, whole=True)
        until_counted(host, "requests", 16)
        assert client.ask(short)[":status"] == "503"
        assert host.get("/", port=443, tls="example.com").status == 200, "by HTTP/1.1 there is one of a connection"
        for one in (*readers, *others):
            one.close()
        until_counted(host, "requests", 0)
        assert client.ask(short)[":status"] == "200"

    serve(host, talk, target=host.target(TARGETS[0], handler=long_or_short))
