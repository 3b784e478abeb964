"""What a proxy does with HTTP/2 on its connections, spoken by a client that says what it is told to. AWS: Application Load Balancers guide."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from .proxy_host import TARGETS, ProxyHost, group, http_listener, proxy_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

Headers = list[tuple[str, str]]
GET = [(":method", "GET"), (":scheme", "https"), (":path", "/")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProxyHost]:
    with proxy_host(tmp_path) as made:
        yield made


class Client:
    """One connection. `streams`: how many the other side takes at once."""

    def __init__(self, host: ProxyHost) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self._sock = context.wrap_socket(host.connect(443), server_hostname="example.com")
        self._speech = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self._speech.initiate_connection()
        self.streams = 0

    def ask(self, headers: Headers) -> dict[str, str]:
        """The headers of the answer."""
        stream = self._speech.get_next_available_stream_id()
        self._speech.send_headers(stream, headers, end_stream=True)
        answer: dict[str, str] = {}
        while True:
            self._sock.sendall(self._speech.data_to_send())
            for event in self._speech.receive_data(self._sock.recv(65536)):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    most = event.changed_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)
                    self.streams = most.new_value if most is not None else self.streams
                if isinstance(event, h2.events.ResponseReceived):
                    answer = {str(name, "ascii"): str(value, "ascii") for name, value in event.headers}
                if isinstance(event, h2.events.StreamEnded):
                    return answer

    def close(self) -> None:
        self._sock.close()


def serve(host: ProxyHost, talk: Callable[[Client], None]) -> None:
    certificate = host.certificate("example.com")
    listener = http_listener(port=443, protocol="HTTPS", certificates=(certificate.name,))
    spec = host.spec(listener, groups=(group(host.target(TARGETS[0])),), certificates=(certificate,))

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


def test_a_request_that_names_no_host_is_malformed(host: ProxyHost) -> None:
    """Its target would get a request of HTTP/1.1 without one (RFC 9112, 3.2)."""

    def talk(client: Client) -> None:
        assert client.ask([*GET, ("host", "example.com")])[":status"] == "200"
        answer = client.ask(GET)
        assert (answer[":status"], answer["server"]) == ("400", "awselb/2.0")

    serve(host, talk)
