"""The instance metadata service as its clients use it: curl, botocore, a crawl in cloud-init's order; and hostile bytes.

What is right comes from the AWS EC2 user guide ("Use the Instance Metadata Service", "Instance metadata categories")."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.base.sealing import Sealer
from gureum.drivers.imds.answers import list_directories
from gureum.drivers.imds.server import Guest, Imds, Limits, path_of
from gureum.drivers.imds.tokens import Tokens, load_key
from gureum.drivers.keys.local_ca import LocalCa
from gureum.ports import PortError
from gureum.ports.metadata import InstanceMetadata, MetadataOptions

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
IDENTITY = json.dumps({"instanceId": "i-1", "region": "eu-west-1", "accountId": "000000000000"}, indent=2)
CREDENTIALS = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "AccessKeyId": "ASIAEXAMPLE",
    "SecretAccessKey": "secret",
    "Token": "session",
    "Expiration": "2099-01-01T00:00:00Z",
}
TREE = {
    "meta-data/ami-id": "ami-1",
    "meta-data/instance-id": "i-1",
    "meta-data/local-ipv4": "10.0.0.5",
    "meta-data/placement/availability-zone": "eu-west-1a",
    "meta-data/placement/region": "eu-west-1",
    "meta-data/public-keys/": "0=my-key",
    "meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAA my-key",
    "meta-data/iam/security-credentials/role-1": json.dumps(CREDENTIALS),
    "meta-data/tags/instance/Name": "web",
    "dynamic/instance-identity/document": IDENTITY,
    "gureum/boot": "1",
}


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def instance(
    owner: str = "i-1", *, addresses: tuple[str, ...] = ("127.0.0.1",), user_data: bytes | None = None, **options: Any
) -> InstanceMetadata:
    return InstanceMetadata(owner, "vpc-1", addresses, TREE, MetadataOptions(**options), user_data)


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes


class Service:
    """The driver on a loop in a thread, so that blocking clients can call it."""

    def __init__(
        self, home: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], limits: Limits | None = None
    ) -> None:
        self.home = home
        self.clock = FakeClock()
        self.ca = LocalCa(home / "ca", self.clock)
        self.sealer = Sealer(home / "seal.key")
        self.imds = Imds(home / "imds" / "token.key", self.ca, self.clock, limits=limits, sealer=self.sealer)
        self.loop = new_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.port = self.listen("vpc-1")

    def listen(self, network: str) -> int:
        sock = socket.create_server(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        self.wait(self.imds.serve(network, [sock]))
        return port

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def replace(self, document: InstanceMetadata) -> None:
        async def body() -> None:
            self.imds.replace(document)

        self.wait(body())

    def forget(self, owner: str) -> None:
        async def body() -> None:
            self.imds.forget(owner)

        self.wait(body())

    def call(self, method: str, path: str, *, source: str = "127.0.0.1", port: int = 0, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10, source_address=(source, 0))
        with contextlib.closing(connection):
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def text(self, path: str, **headers: str) -> str:
        answer = self.get(path, **headers)
        assert answer.status == 200, answer
        return answer.body.decode()

    def token(self, ttl: str = "60", **more: Any) -> str:
        answer = self.call("PUT", "/latest/api/token", **{TTL: ttl}, **more)
        assert answer.status == 200, answer
        return answer.body.decode()

    def raw(self, data: bytes, *, half_close: bool = True) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
                if half_close:
                    sock.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(ConnectionError):
                while piece := sock.recv(65536):
                    got += piece
            return got

    def close(self) -> None:
        self.wait(self.imds.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
        assert not self.errors, self.errors


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, request.param, getattr(request.function, "limits", None))
    yield made
    made.close()


def limited(**values: Any) -> Callable[[Any], Any]:
    def mark(function: Any) -> Any:
        function.limits = Limits(**values)
        return function

    return mark


def test_leaf_is_plain_text_from_ec2ws(service: Service) -> None:
    service.replace(instance())
    answer = service.get("/latest/meta-data/instance-id")
    assert (answer.status, answer.body) == (200, b"i-1")
    assert answer.headers["server"] == "EC2ws"
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-length"] == "3"
    assert "last-modified" in answer.headers


def test_directories_list_their_children(service: Service) -> None:
    service.replace(instance(user_data=b"#!/bin/sh\n"))
    versions = service.text("/").split("\n")
    assert (versions[0], versions[-1]) == ("1.0", "latest")
    assert {"2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23"} <= set(versions), "what cloud-init asks for"
    assert service.text("/latest/") == "dynamic\ngureum\nmeta-data\nuser-data"
    assert service.text("/latest/meta-data/") == "ami-id\niam/\ninstance-id\nlocal-ipv4\nplacement/\npublic-keys/"
    assert service.text("/2021-03-23/meta-data/placement/") == "availability-zone\nregion"
    assert service.text("/latest/meta-data/public-keys/") == "0=my-key"
    assert service.text("/latest/meta-data/public-keys/0/") == "openssh-key"
    assert service.text("/latest/dynamic/") == "instance-identity/"
    assert service.text("/latest/dynamic/instance-identity/") == "document\npkcs7\nrsa2048\nsignature"
    assert service.text("/latest/gureum/boot") == "1"


def test_directory_without_slash_is_redirected_and_leaf_with_slash_is_served(service: Service) -> None:
    service.replace(instance())
    answer = service.get("/latest/meta-data/iam/security-credentials")
    assert (answer.status, answer.body) == (301, b"")
    assert answer.headers["location"] == f"http://127.0.0.1:{service.port}/latest/meta-data/iam/security-credentials/"
    assert service.text("/latest/meta-data/instance-id/") == "i-1"
    assert service.text("//latest//meta-data/instance-id?x=1") == "i-1"


def test_unknown_path_is_404_as_on_aws(service: Service) -> None:
    service.replace(instance())
    for path in (
        "/latest/meta-data/nope",
        "/latest/user-data",
        "/1999-01-01/meta-data/",
        "/latest/meta-data/../../etc/passwd",
        "/%00",
    ):
        answer = service.get(path)
        assert answer.status == 404, path
        assert b"<title>404 - Not Found</title>" in answer.body
        assert answer.headers["content-type"] == "text/html"


def test_user_data_is_given_back_byte_by_byte(service: Service) -> None:
    data = bytes(range(256)) * 64
    service.replace(instance(user_data=data))
    answer = service.get("/latest/user-data")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, data, "application/octet-stream")
    service.replace(instance(user_data=b""))
    assert service.get("/latest/user-data").status == 200


def test_tags_are_shown_only_where_enabled(service: Service) -> None:
    service.replace(instance())
    assert service.get("/latest/meta-data/tags/instance/Name").status == 404
    service.replace(instance(tags_enabled=True))
    assert service.text("/latest/meta-data/tags/instance/") == "Name"
    assert service.text("/latest/meta-data/tags/instance/Name") == "web"
    assert "tags/" in service.text("/latest/meta-data/").split("\n")


def test_token_is_given_and_used(service: Service) -> None:
    service.replace(instance(tokens_required=True))
    made = service.call("PUT", "/latest/api/token", **{TTL: "21600"})
    assert (made.status, made.headers[TTL.lower()]) == (200, "21600")
    token = made.body.decode()
    assert re.fullmatch(r"AQAEA[\w-]{49}==", token), "AWS's look"
    answer = service.get("/latest/meta-data/instance-id", **{TOKEN: token})
    assert (answer.status, answer.headers[TTL.lower()]) == (200, "21600")
    service.clock.seconds += 600
    assert service.get("/", **{TOKEN: token}).headers[TTL.lower()] == "21000"


@pytest.mark.parametrize("path", ["/", "/latest/meta-data/instance-id", "/latest/user-data", "/latest/nope"])
def test_required_token_that_is_missing_is_401(service: Service, path: str) -> None:
    service.replace(instance(tokens_required=True))
    answer = service.get(path)
    assert (answer.status, len(answer.body)) == (401, 343), "the length that AWS's body has"


@pytest.mark.parametrize("required", [False, True])
def test_bad_token_is_401_whether_required_or_not(service: Service, required: bool) -> None:
    service.replace(instance(tokens_required=required))
    good = service.token()
    for bad in (
        "x",
        "",
        good[:-1],
        good[:30] + ("B" if good[30] == "A" else "A") + good[31:],
        "A" * 56,
        good.swapcase(),
        "é",
    ):
        assert service.get("/", **{TOKEN: bad}).status == 401, bad
    assert service.get("/", **{TOKEN: good}).status == 200
    service.clock.seconds += 60
    assert service.get("/", **{TOKEN: good}).status == 401, "expired"


def test_token_of_another_instance_is_worth_nothing(service: Service) -> None:
    service.replace(instance("i-1"))
    service.replace(instance("i-2", addresses=("127.0.0.2",)))
    mine, other = service.token(), service.token(source="127.0.0.2")
    assert service.get("/", **{TOKEN: mine}).status == 200
    assert service.get("/", **{TOKEN: other}).status == 401


@pytest.mark.parametrize("ttl", ["", "0", "-1", "21601", "1.5", "ten", "999999999999999999999", "٣", "1 2"])
def test_token_without_a_good_ttl_is_400(service: Service, ttl: str) -> None:
    service.replace(instance())
    request = f"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n{TTL}: {ttl}\r\n\r\n".encode()
    assert service.raw(request).startswith(b"HTTP/1.1 400 ")
    assert service.call("PUT", "/latest/api/token").status == 400
    assert service.call("PUT", "/latest/api/token", **{TTL: "21600"}).status == 200
    assert service.call("PUT", "/latest/api/token", **{TTL: "1"}).status == 200


def test_token_for_a_proxied_request_or_odd_path_is_403_without_a_body(service: Service) -> None:
    service.replace(instance())
    proxied = service.call("PUT", "/latest/api/token", **{TTL: "60", "X-Forwarded-For": "10.0.0.9"})
    assert (proxied.status, proxied.body) == (403, b"")
    for path in ("/latest/api/token/", "/latest/meta-data/instance-id", "/"):
        assert service.call("PUT", path, **{TTL: "60"}).status == 403
    assert service.get("/latest/meta-data/instance-id", **{"X-Forwarded-For": "10.0.0.9"}).status == 200


def test_other_methods_are_405(service: Service) -> None:
    service.replace(instance())
    for method in ("POST", "DELETE", "OPTIONS", "PATCH"):
        assert service.call(method, "/latest/meta-data/").status == 405
    assert service.get("/latest/api/token").headers["allow"] == "OPTIONS, PUT"
    head = service.call("HEAD", "/latest/meta-data/instance-id")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "3")


def test_disabled_endpoint_is_403(service: Service) -> None:
    service.replace(instance(enabled=False))
    assert service.get("/latest/meta-data/").status == 403
    assert service.call("PUT", "/latest/api/token", **{TTL: "60"}).status == 403


@limited(unknown_s=0.05)
def test_asker_is_told_by_network_and_source_address(service: Service) -> None:
    service.replace(instance("i-1", addresses=("127.0.0.1", "127.0.0.3")))
    service.replace(msgspec.structs.replace(instance("i-2"), network="vpc-2", tree={"meta-data/instance-id": "i-2"}))
    other = service.listen("vpc-2")
    assert service.text("/latest/meta-data/instance-id") == "i-1"
    assert service.call("GET", "/latest/meta-data/instance-id", source="127.0.0.3").body == b"i-1"
    assert service.call("GET", "/latest/meta-data/instance-id", port=other).body == b"i-2"
    assert service.call("GET", "/latest/meta-data/instance-id", source="127.0.0.9").status == 503
    service.forget("i-1")
    service.forget("i-1")
    assert service.get("/latest/meta-data/instance-id").status == 503
    assert service.call("GET", "/latest/meta-data/instance-id", port=other).body == b"i-2"


def test_request_of_a_guest_that_is_up_before_its_document_waits_for_it(service: Service) -> None:
    answers: list[Answer] = []
    asked = [
        threading.Thread(target=lambda: answers.append(service.get("/latest/meta-data/instance-id"))) for _ in range(3)
    ]
    for thread in asked:
        thread.start()
    for _ in range(200):
        if sum(map(len, service.imds._expecting.values())) == 3:
            break
        time.sleep(0.01)
    service.replace(instance())
    for thread in asked:
        thread.join(10)
    assert [answer.body for answer in answers] == [b"i-1"] * 3
    assert not service.imds._expecting


@limited(unknown_s=30.0)
def test_guest_that_goes_away_while_it_waits_is_forgotten(service: Service) -> None:
    assert service.raw(b"") == b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        while not service.imds._expecting:
            time.sleep(0.01)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    service.wait(service.imds.stop("vpc-1"))
    deadline = time.monotonic() + 10
    while service.imds._connections or service.imds._expecting:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_address_that_moves_to_another_instance_is_its_own(service: Service) -> None:
    service.replace(instance("i-1"))
    service.replace(msgspec.structs.replace(instance("i-2"), tree={"meta-data/instance-id": "i-2"}))
    assert service.text("/latest/meta-data/instance-id") == "i-2"
    service.forget("i-1")
    assert service.text("/latest/meta-data/instance-id") == "i-2"


def test_change_is_seen_on_an_open_connection(service: Service) -> None:
    service.replace(instance())
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    with contextlib.closing(connection):
        for expected in (b"i-1", b"i-9"):
            connection.request("GET", "/latest/meta-data/instance-id")
            assert connection.getresponse().read() == expected
            service.replace(msgspec.structs.replace(instance(), tree={"meta-data/instance-id": "i-9"}))


def test_tokens_outlive_the_agent(service: Service) -> None:
    service.replace(instance())
    token = service.token()
    reborn = Imds(service.home / "imds" / "token.key", service.ca, service.clock)
    assert reborn.tokens.remaining_s(token.encode(), "vpc-1 i-1", service.clock.now()) == 60
    key = service.home / "imds" / "token.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_botocore_fetches_credentials_and_region(service: Service) -> None:
    service.replace(instance(tokens_required=True))
    url = f"http://127.0.0.1:{service.port}/"
    fetcher = InstanceMetadataFetcher(base_url=url, timeout=5, num_attempts=1)
    assert fetcher.retrieve_iam_role_credentials() == {
        "role_name": "role-1",
        "access_key": "ASIAEXAMPLE",
        "secret_key": "secret",
        "token": "session",
        "expiry_time": "2099-01-01T00:00:00Z",
    }
    region = InstanceMetadataRegionFetcher(base_url=url, timeout=5, num_attempts=1)
    assert region.retrieve_region() == "eu-west-1"


def test_curl_gets_a_token_and_what_it_is_for(service: Service) -> None:
    service.replace(instance(tokens_required=True))
    url = f"http://127.0.0.1:{service.port}/latest"

    async def curl(*args: str) -> str:
        process = await asyncio.create_subprocess_exec("curl", "-sSf", "--max-time", "10", *args, stdout=-1)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    token = asyncio.run(curl("-X", "PUT", f"{url}/api/token", "-H", f"{TTL}: 21600"))
    assert asyncio.run(curl("-H", f"{TOKEN}: {token}", f"{url}/meta-data/ami-id")) == "ami-1"
    assert (
        asyncio.run(curl("-L", "-H", f"{TOKEN}: {token}", f"{url}/meta-data/placement")) == "availability-zone\nregion"
    )


def test_crawl_as_cloud_init_does_finds_all(service: Service) -> None:
    """DataSourceEc2: a token, then the version's tree by its listings; `0=my-key` stands for the folder 0/."""
    service.replace(instance(tokens_required=True, user_data=b"#cloud-config\n"))
    headers = {TOKEN: service.token("21600")}
    assert service.text("/2021-03-23/meta-data/instance-id", **headers) == "i-1"

    def crawl(base: str) -> Any:
        found: dict[str, Any] = {}
        for line in service.text(base, **headers).splitlines():
            if base.endswith("/public-keys/"):
                number = line.split("=")[0]
                found[line] = service.text(f"{base}{number}/openssh-key", **headers)
            elif line.endswith("/"):
                found[line.rstrip("/")] = crawl(base + line)
            else:
                found[line] = service.text(base + line, **headers)
        return found

    tree = crawl("/2021-03-23/meta-data/")
    assert tree["placement"] == {"availability-zone": "eu-west-1a", "region": "eu-west-1"}
    assert tree["public-keys"] == {"0=my-key": "ssh-ed25519 AAAA my-key"}
    assert json.loads(tree["iam"]["security-credentials"]["role-1"])["Code"] == "Success"
    assert service.text("/2021-03-23/user-data", **headers) == "#cloud-config\n"
    assert json.loads(crawl("/2021-03-23/dynamic/")["instance-identity"]["document"])["region"] == "eu-west-1"


@pytest.mark.parametrize("name", ["pkcs7", "rsa2048"])
def test_identity_document_verifies_with_openssl_as_aws_s_guide_says(
    service: Service, name: str, tmp_path: Path
) -> None:
    service.replace(instance())
    body = service.text(f"/latest/dynamic/instance-identity/{name}")
    (tmp_path / "pkcs7").write_text(f"-----BEGIN PKCS7-----\n{body}\n-----END PKCS7-----\n")
    (tmp_path / "certificate").write_bytes(service.wait(service.ca.identity_pem()))

    async def verify() -> bytes:
        command = ["openssl", "smime", "-verify", "-in", str(tmp_path / "pkcs7"), "-inform", "PEM"]
        command += ["-certfile", str(tmp_path / "certificate"), "-noverify"]
        process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
        output, errors = await process.communicate()
        assert process.returncode == 0, errors
        return output

    assert asyncio.run(verify()).decode() == IDENTITY
    assert service.text(f"/latest/dynamic/instance-identity/{name}") == body, "made once"


def test_ca_that_cannot_sign_is_503_and_the_rest_goes_on(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(document: bytes) -> Any:
        raise PortError("disk is full")

    monkeypatch.setattr(service.ca, "sign_identity", broken)
    service.replace(instance())
    assert service.get("/latest/dynamic/instance-identity/signature").status == 503
    assert service.text("/latest/dynamic/instance-identity/document") == IDENTITY


def test_pipelined_requests_are_answered_in_order_also_around_a_slow_one(service: Service) -> None:
    service.replace(instance())
    paths = ["meta-data/instance-id", "dynamic/instance-identity/signature", "meta-data/ami-id", "nope"]
    got = service.raw(b"".join(f"GET /latest/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200", b"200", b"200", b"404"]
    assert got.index(b"i-1") < got.index(b"ami-1")


def test_http_1_0_and_close_end_the_connection(service: Service) -> None:
    service.replace(instance())
    for head in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        got = service.raw(head, half_close=False)
        assert got.startswith(b"HTTP/1.1 200")
        assert b"\r\nConnection: close\r\n" in got


def test_half_closed_client_still_gets_its_answer(service: Service) -> None:
    service.replace(instance())
    assert service.raw(b"GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"ami-1")


def test_upgrade_offered_by_java_clients_is_passed_over(service: Service) -> None:
    service.replace(instance())
    head = (
        b"GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    )
    assert service.raw(head + b"HTTP2-Settings: AAEAAEAA\r\n\r\n").endswith(b"ami-1")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n", b"431"),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n" + b"z" * 9999, b"413"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + b"z" * 8192, b"413"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
    ],
)
def test_too_much_or_not_http_is_refused(service: Service, data: bytes, status: bytes) -> None:
    service.replace(instance())
    got = service.raw(data)
    assert re.match(rb"HTTP/1.1 (\d+)", got).group(1) == status  # type: ignore[union-attr]
    assert service.text("/latest/meta-data/instance-id") == "i-1"


@limited(pipelined=4)
def test_pipelined_requests_are_bounded(service: Service) -> None:
    service.replace(instance())
    got = service.raw(b"GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200"] * 4 + [b"503"]


@limited(head_s=0.3)
def test_request_that_never_ends_is_cut_off(service: Service) -> None:
    service.replace(instance())
    for start in (b"", b"GET / HTTP/1.1\r\nX: ", b"PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"):
        assert service.raw(start, half_close=False) == b""


@limited(connections_per_guest=3)
def test_connections_per_guest_are_bounded_and_others_get_theirs(service: Service) -> None:
    service.replace(instance("i-1"))
    service.replace(instance("i-2", addresses=("127.0.0.2",)))
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=10))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(100)
        assert service.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert service.call("GET", "/", source="127.0.0.2").status == 200
    deadline = threading.Event()
    for _ in range(100):
        if service.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            break
        deadline.wait(0.05)
    else:
        pytest.fail("closed connections still count")


@limited(rate=50.0, burst=10.0)
def test_hasty_guest_is_slowed_down_and_loses_nothing(service: Service) -> None:
    service.replace(instance())
    started = time.monotonic()
    for _ in range(2):
        got = service.raw(b"GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        assert got.count(b"ami-1") == 20
    assert time.monotonic() - started > 0.59, "the 30 after the burst come at 50 a second, however slow the machine is"


def test_guest_s_pace_is_the_rate_after_the_burst() -> None:
    limits = Limits(rate=50.0, burst=10.0)
    guest = Guest(limits.burst, 100.0)
    assert [guest.wait_s(limits, 100.0) for _ in range(10)] == [0.0] * 10
    assert [guest.wait_s(limits, 100.0) for _ in range(3)] == pytest.approx([0.02, 0.04, 0.06])
    assert guest.wait_s(limits, 100.06) == pytest.approx(0.02)
    assert [guest.wait_s(limits, 200.0) for _ in range(11)] == [0.0] * 10 + [pytest.approx(0.02)], (
        "never more than burst"
    )


def test_guest_that_does_not_read_is_not_answered_into_memory(service: Service) -> None:
    size = 8 << 20
    service.replace(instance(user_data=b"x" * size))
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        sock.sendall(b"GET /latest/user-data HTTP/1.1\r\nHost: x\r\n\r\n" * 30)
        assert sock.recv(1)
        for _ in range(3):
            assert service.text("/latest/meta-data/ami-id") == "ami-1"
        (slow,) = [c for c in service.imds._connections if c._waiting]
        assert len(slow._waiting) >= 28
        assert slow._transport is not None
        assert slow._transport.get_write_buffer_size() < 2 * size


def test_bad_documents_are_refused_and_the_old_one_stays(service: Service) -> None:
    service.replace(instance())
    bad = [
        instance(hop_limit=0),
        instance(hop_limit=65),
        instance(addresses=("10.0.0",)),
        *(msgspec.structs.replace(instance(), tree={path: ""}) for path in ("", "/", "/a", "a//b")),
    ]
    for document in bad:
        with pytest.raises(ValueError, match=r"."):
            service.replace(document)
        assert service.text("/latest/meta-data/instance-id") == "i-1"


def test_document_travels_as_json() -> None:
    document = instance(user_data=bytes(range(256)))
    assert msgspec.json.decode(msgspec.json.encode(document), type=InstanceMetadata) == document


def test_stopped_network_is_closed(service: Service) -> None:
    service.replace(instance())
    service.wait(service.imds.stop("vpc-1"))
    with pytest.raises(ConnectionRefusedError):
        service.get("/")


def test_two_agents_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(load_key(tmp_path / "k" / "key"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert {p.name for p in (tmp_path / "k").iterdir()} == {".lock", "key"}


def test_torn_key_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")
    assert len(load_key(tmp_path / "key")) == 32
    assert load_key(tmp_path / "key") == load_key(tmp_path / "key")


@given(st.binary(max_size=80), st.integers(0, 2**33))
def test_no_bytes_make_a_token(tmp_path_factory: pytest.TempPathFactory, token: bytes, now: int) -> None:
    tokens = KEPT.setdefault("tokens", Tokens(tmp_path_factory.mktemp("t") / "key"))
    assert tokens.remaining_s(token, "vpc-1 i-1", now) == 0


KEPT: dict[str, Tokens] = {}


@given(st.lists(st.text("abc/", min_size=1, max_size=9).filter(lambda p: "//" not in p and p.strip("/") == p)))
def test_crawling_the_listings_finds_every_path(paths: list[str]) -> None:
    listings = list_directories(set(paths))
    found = set()
    queue = [""]
    while queue:
        folder = queue.pop()
        for name in listings[folder].decode().splitlines():
            path = f"{folder}/{name}".strip("/")
            if path in listings:
                queue.append(path)
            if path in paths:
                found.add(path)
    assert found == set(paths)


@given(st.binary(max_size=60))
def test_path_of_any_target_is_text(target: bytes) -> None:
    assert isinstance(path_of(target), str)


pieces = st.one_of(
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n",
            b"PUT /latest/api/token HTTP/1.1\r\n",
            b"GET http://x/latest/meta-data/ HTTP/1.1\r\n",
            b"GET /latest/dynamic/instance-identity/signature HTTP/1.1\r\n",
            b"Host: x\r\n",
            b"X-aws-ec2-metadata-token-ttl-seconds: 60\r\n",
            b"X-aws-ec2-metadata-token: \xff\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Upgrade: h2c\r\nConnection: upgrade\r\n",
            b"CONNECT a:1 HTTP/1.1\r\n",
            b"\r\n",
            b"3\r\nabc\r\n0\r\n\r\n",
        ]
    ),
    st.binary(max_size=20),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pieces, max_size=12))
def test_no_bytes_raise_hang_or_stop_the_service(service: Service, parts: list[bytes]) -> None:
    service.replace(instance())
    got = service.raw(b"".join(parts))
    assert got == b"" or got.startswith(b"HTTP/1.1 ")
    assert service.text("/latest/meta-data/instance-id") == "i-1"
    assert not service.errors


def test_what_is_sealed_is_opened_for_its_owner_only(service: Service) -> None:
    path = "meta-data/iam/security-credentials/web"
    sealed = service.sealer.seal('{"Code": "Success"}', "i-1/credentials")
    document = msgspec.structs.replace(instance(), sealed={path: (sealed, "i-1/credentials")})
    service.replace(document)
    found = service.get("/latest/meta-data/iam/security-credentials/")
    assert (found.status, found.body) == (200, b"role-1\nweb")
    assert service.get(f"/latest/{path}").body == b'{"Code": "Success"}'
    assert sealed.encode() not in service.get(f"/latest/{path}").body
    service.replace(msgspec.structs.replace(document, sealed={path: (sealed, "i-2/credentials")}))
    assert service.get(f"/latest/{path}").status == 503
    service.replace(msgspec.structs.replace(document, options=MetadataOptions(tokens_required=True)))
    assert service.get(f"/latest/{path}").status == 401
