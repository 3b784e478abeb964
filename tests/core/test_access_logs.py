"""Logs of load balancers: AWS's documented lines, file names and periods, and what cannot be written.

The expected lines are the examples of AWS's guides: "access log entries" and "connection log entries" of elb-application, "access log entries" of
elb-network.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.core import access_logs
from gureum.core.access_log_lines import (
    connection_line,
    file_name,
    folder,
    health_check_line,
    request_line,
    source,
    tls_line,
    trial_file,
)
from gureum.core.access_logs import AccessLogs
from gureum.core.health import Look, Made
from gureum.core.machine import Machine
from gureum.ports.checks import Outcome, Probe
from gureum.ports.proxies import Listener, Record, Request, record_of
from gureum.simulated import simulated_ports
from tests.core.balancer_parts import TG, NotedProxies, node, proxy
from tests.core.fake_clock import FakeClock, settle

LABEL = "app/my-loadbalancer/50dc6c495c0c9188"
LISTENER = (
    "arn:aws:elasticloadbalancing:us-east-2:123456789012:listener/app/my-loadbalancer/50dc6c495c0c9188/f2f7dc8efc522ab2"
)
NLB_LISTENER = "arn:aws:elasticloadbalancing:us-east-2:671290407336:listener/net/network-loadbalancer/c6e77e28c25b2234/g3d4b5e8bb8464cd"
GROUP = "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067"
CERTIFICATE = "arn:aws:acm:us-east-2:123456789012:certificate/12345678-1234-1234-1234-123456789012"
END = 1_650_000_000.0  # 2022-04-15T05:20:00Z


def _fields(line: str) -> list[str]:
    return [field.strip('"') for field in re.findall(r'"[^"]*"|\S+', line)]


def request(**changes: Any) -> Record:
    record = Record(
        proxy="p-a",
        kind="https",
        time=1530570180.186641,
        listener_arn=LISTENER,
        client="192.168.131.39:2817",
        target="10.0.0.1:80",
        group_arn=GROUP,
        request_time_s=0.086,
        target_time_s=0.048,
        response_time_s=0.037,
        elb_status=200,
        target_status=200,
        received_bytes=0,
        sent_bytes=57,
        request="GET https://www.example.com:443/ HTTP/1.1",
        user_agent="curl/7.46.0",
        tls_cipher="ECDHE-RSA-AES128-GCM-SHA256",
        tls_protocol="TLSv1.2",
        trace_id="Root=1-58337281-1d84f3d73c47ec4e58577259",
        domain_name="www.example.com",
        certificate_arn=CERTIFICATE,
        priority=1,
        actions="authenticate,forward",
        redirect_url="",
        error="",
        created=1530570168.364,
    )
    return msgspec.structs.replace(record, **changes)


def test_request_is_logged_as_in_awss_example() -> None:
    assert request_line(request(), LABEL) == (
        "https 2018-07-02T22:23:00.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 "
        "0.086 0.048 0.037 200 200 0 57 "
        '"GET https://www.example.com:443/ HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 '
        "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "
        '"Root=1-58337281-1d84f3d73c47ec4e58577259" "www.example.com" '
        '"arn:aws:acm:us-east-2:123456789012:certificate/12345678-1234-1234-1234-123456789012" '
        '1 2018-07-02T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-" '
        'TID_3f21419eecc0ca0892a6e64a955a3a19 "-" "-" "-"\n'
    )


def test_request_that_was_sent_nowhere_has_dashes_and_minus_ones() -> None:
    """AWS: "this value is set to -1 if the load balancer can't dispatch the request to a target"."""
    line = request_line(
        request(
            kind="http",
            target="",
            group_arn="",
            request_time_s=-1.0,
            target_time_s=-1.0,
            response_time_s=-1.0,
            elb_status=503,
            target_status=0,
            tls_cipher="",
            tls_protocol="",
            domain_name="",
            certificate_arn="",
            priority=0,
            actions="forward",
        ),
        LABEL,
    )
    fields = _fields(line)
    assert fields[4:10] == ["-", "-1", "-1", "-1", "503", "-"]
    assert fields[14:17] == ["-", "-", "-"]
    assert fields[18:21] == ["-", "-", "0"]
    assert fields[25:27] == ["-", "-"]
    # AWS: "for any other error, it is set to -", as in lines of requests that could not be read.
    assert _fields(request_line(request(priority=-1, actions=""), LABEL))[20] == "-"


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_a_client_sends_never_makes_another_field_or_line(said: str, agent: str) -> None:
    clean = request_line(request(request="x", user_agent="x"), LABEL)
    line = request_line(request(request=said, user_agent=agent, domain_name=said), LABEL)
    assert line.count("\n") == 1
    assert line.count('"') == clean.count('"')
    assert len(_fields(line)) == len(_fields(clean))
    assert line.isascii()


def test_bytes_that_are_no_utf_8_are_told_as_they_came() -> None:
    agent = b"\xff \xc3\xa4".decode("utf-8", "surrogateescape")
    assert r'"\xFF \xC3\xA4"' in request_line(request(user_agent=agent), LABEL)


def test_a_connection_and_its_requests_are_told_by_one_id() -> None:
    first, other = request(client="203.0.113.1:36280"), request(client="203.0.113.1:36281")
    ids = [_fields(request_line(one, LABEL))[29] for one in (first, first, other)]
    assert ids[0] == ids[1] != ids[2]
    assert connection_line(first, 443).split()[-1] == ids[0]


def test_tls_connection_of_an_application_load_balancer() -> None:
    record = request(kind="tls", time=1696439115.514108, client="203.0.113.1:36280", handshake_s=4.036)
    assert connection_line(record, 443) == (
        "2023-10-04T17:05:15.514108Z 203.0.113.1 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 4.036 "
        '"-" - - Success TID_23ca43fd560f09e64d3ff6f290c30a08\n'
    )
    failed = msgspec.structs.replace(record, tls_protocol="", tls_cipher="", error="ClientTLSHandshakeFailed")
    assert connection_line(failed, 443) == (
        '2023-10-04T17:05:15.514108Z 203.0.113.1 36280 443 - - - "-" - - Failed:ClientTLSHandshakeFailed '
        "TID_23ca43fd560f09e64d3ff6f290c30a08\n"
    )


def test_tls_connection_of_a_network_load_balancer_is_logged_as_in_awss_example() -> None:
    record = request(
        kind="tls",
        time=1545274780.2,
        created=1545274770.9,
        listener_arn=NLB_LISTENER,
        client="72.21.218.154:51341",
        connection_s=0.005,
        handshake_s=0.002,
        received_bytes=98,
        sent_bytes=246,
        certificate_arn="arn:aws:acm:us-east-2:671290407336:certificate/2a108f19-aded-46b0-8493-c63eb1ef4a99",
        tls_cipher="ECDHE-RSA-AES128-SHA",
        domain_name="my-network-loadbalancer-c6e77e28c25b2234.elb.us-east-2.amazonaws.com",
        extra={},
    )
    label = "net/network-loadbalancer/c6e77e28c25b2234"
    assert tls_line(record, label, "172.100.100.185", 443) == (
        "tls 2.0 2018-12-20T02:59:40 net/network-loadbalancer/c6e77e28c25b2234 g3d4b5e8bb8464cd 72.21.218.154:51341 "
        "172.100.100.185:443 5 2 98 246 - "
        "arn:aws:acm:us-east-2:671290407336:certificate/2a108f19-aded-46b0-8493-c63eb1ef4a99 - ECDHE-RSA-AES128-SHA "
        "tlsv12 - my-network-loadbalancer-c6e77e28c25b2234.elb.us-east-2.amazonaws.com - - - 2018-12-20T02:59:30\n"
    )


@pytest.mark.parametrize(
    ("probe", "outcome", "line"),
    [
        (Probe("HTTP"), Outcome(True, status=200), "http {} 0.019584011 172.31.20.97:80 my-targets PASS 200 -"),
        (
            Probe("HTTPS"),
            Outcome(False, "Target.ResponseCodeMismatch", "", "TargetError", 502),
            "https {} 0.019584011 172.31.20.97:80 my-targets FAIL 502 TargetError",
        ),
        (
            Probe("HTTP", version="HTTP2"),
            Outcome(False, "Target.Timeout", "", "RequestTimedOut"),
            "h2 {} 0.019584011 172.31.20.97:80 my-targets FAIL - RequestTimedOut",
        ),
        (Probe("GRPC"), Outcome(True, status=0), "grpc {} 0.019584011 172.31.20.97:80 my-targets PASS 0 -"),
    ],
    ids=["http", "https", "h2", "grpc"],
)
def test_a_look_at_a_target_is_logged_as_in_awss_example(probe: Probe, outcome: Outcome, line: str) -> None:
    told = health_check_line(probe, "172.31.20.97", 80, GROUP, 1761914699.875678, 0.019584011, outcome)
    assert told == line.format("2025-10-31T12:44:59.875678Z") + "\n"


def test_a_test_file_lies_beside_the_logs() -> None:
    assert trial_file("access", "my-logs", "/web/", "123456789012", "shop", 1463067649.463) == (
        "my-logs/web/AWSLogs/123456789012/ELBAccessLogTestFile",
        "Enable AccessLog for ELB: shop at 2016-05-12T15:40:49.463Z",
    )
    assert trial_file("health", "my-logs", "", "1", "shop", 0.0)[0] == "my-logs/AWSLogs/1/ELBHealthCheckLogTestFile"


def test_files_are_named_as_awss() -> None:
    of = source(LABEL, "172.160.1.9", LISTENER)
    assert of is not None
    assert folder("amzn-s3-demo", "logging-prefix", of, END) == (
        "amzn-s3-demo/logging-prefix/AWSLogs/123456789012/elasticloadbalancing/us-east-2/2022/04/15"
    )
    assert file_name(of, END, "20sg8hgm", "access") == (
        "123456789012_elasticloadbalancing_us-east-2_app.my-loadbalancer.50dc6c495c0c9188_20220415T0520Z_172.160.1.9_20sg8hgm.log.gz"
    )
    assert file_name(of, END, "20sg8hgm", "connection").startswith("conn_log.123456789012_elasticloadbalancing_")
    assert file_name(of, END, "20sg8hgm", "health").startswith("health_check_log_123456789012_elasticloadbalancing_")
    net = source("net/network-loadbalancer/c6e77e28c25b2234", "10.0.0.9", NLB_LISTENER)
    assert net is not None
    assert file_name(net, END, "2soosksi", "access") == (
        "671290407336_elasticloadbalancing_us-east-2_net.network-loadbalancer.c6e77e28c25b2234_20220415T0520Z_2soosksi.log.gz"
    )


@pytest.mark.parametrize(
    ("bucket", "prefix"),
    [
        ("..", ""),
        ("", ""),
        ("a/b", ""),
        ("../etc", ""),
        ("good..bucket", ""),
        ("Bucket", ""),
        ("bucket\n", ""),
        ("bucket", ".."),
        ("bucket", "a/../../b"),
        ("bucket", "/a/./b"),
        ("bucket", "a\x00b"),
        ("bucket", "a\nb"),
        ("bucket", "x" * 201),
        ("bucket", "/".join("a" * 17)),
        ("bucket", "my-AWSLogs/x"),
    ],
)
def test_names_that_are_no_names_make_no_path(bucket: str, prefix: str) -> None:
    of = source(LABEL, "10.0.0.1", LISTENER)
    assert of is not None
    assert folder(bucket, prefix, of, END) is None


@given(st.text(max_size=40), st.text(max_size=80))
def test_no_bucket_or_prefix_leads_out_of_the_folder(bucket: str, prefix: str) -> None:
    of = source(LABEL, "10.0.0.1", LISTENER)
    assert of is not None
    root = Path("/root-of-all")
    for name in (bucket, "bucket"):
        place = folder(name, prefix, of, END)
        assert place is None or (root / place).resolve().is_relative_to(root)


@pytest.mark.parametrize(
    ("label", "arn"),
    [
        ("app/../x", LISTENER),
        ("my-lb", LISTENER),
        (LABEL, "arn:listener"),
        (LABEL, LISTENER.replace("us-east-2", "../up")),
        (LABEL, LISTENER.replace("123456789012", "..")),
    ],
)
def test_records_of_nobody_we_know_have_no_file(label: str, arn: str) -> None:
    assert source(label, "10.0.0.1", arn) is None


# --- files ---


class Logs:
    """Access logs of one load balancer with the given attributes, on a clock that the test moves."""

    def __init__(self, root: Path, **attributes: str) -> None:
        self.clock, self.proxies, self.root = FakeClock(), NotedProxies(), root
        ports = msgspec.structs.replace(simulated_ports(self.clock), proxies=self.proxies)

        async def keep(name: str, text: str) -> None: ...

        self.machine = Machine(ports, {}, keep)
        wish = proxy()
        spec: Any = wish.spec
        named = {key.replace("__", "."): value for key, value in attributes.items()}
        listener = Listener(443, "HTTPS", LISTENER, ())
        spec = msgspec.structs.replace(
            spec, proxy=msgspec.structs.replace(spec.proxy, label=LABEL, attributes=named, listeners=(listener,))
        )
        for one in (*node(), msgspec.structs.replace(wish, spec=spec)):
            self.machine.wish(one)
        self.logs = AccessLogs(self.machine, root, root / "spool")
        self.logs.start()

    def tell(self, *records: Record | Request) -> None:
        for sink in self.proxies.sinks:
            sink(list(records))

    async def written(self, count: int) -> dict[str, str]:
        """Text by path, when there are so many files."""
        while len(files := [one for one in self.root.rglob("*.log.gz") if not one.name.startswith(".")]) < count:
            await asyncio.sleep(0.005)
        return {str(one.relative_to(self.root)): gzip.decompress(one.read_bytes()).decode() for one in files}


ON = {"access_logs__s3__enabled": "true", "access_logs__s3__bucket": "my-logs"}


def told(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story(), 20))


def test_requests_told_with_what_they_have_in_common_are_written_alike(tmp_path: Path) -> None:
    async def story() -> None:
        one = Logs(tmp_path, **ON)
        alone = request()
        said = Request(alone, "1500000", "1250000", alone.client, "7", "8", 'GET /"\u00e9', "agent", "Root=1-2-3")
        one.tell(said, record_of(said))
        await one.logs.close()
        (text,) = (await one.written(1)).values()
        first, second = text.splitlines()
        assert first == second
        assert ' 7 8 "GET /\\x22\\xC3\\xA9" "agent" ' in first

    told(story)


def test_requests_are_written_at_the_end_of_each_five_minutes(tmp_path: Path) -> None:
    async def story() -> None:
        one = Logs(tmp_path, **ON)
        one.tell(request(), request(kind="h2"))
        await one.clock.advance(299)
        assert not list(tmp_path.rglob("*.gz"))
        await one.clock.advance(1)
        found = await one.written(1)
        path, text = found.popitem()
        assert path.startswith("my-logs/AWSLogs/123456789012/elasticloadbalancing/us-east-2/2027/01/15/")
        assert "_20270115T0805Z_10.0.1.97_" in path
        assert [line.split()[0] for line in text.splitlines()] == ["https", "h2"]
        one.tell(request())
        await one.clock.advance(300)
        assert len(await one.written(2)) == 2
        await one.clock.advance(300)
        assert len(await one.written(2)) == 2, "no empty files"
        await one.logs.close()
        assert one.proxies.sinks == []

    told(story)


def test_only_what_the_attributes_ask_for_is_written(tmp_path: Path) -> None:
    async def story() -> None:
        off = Logs(tmp_path / "off", access_logs__s3__enabled="false", access_logs__s3__bucket="my-logs")
        connections = Logs(
            tmp_path / "on",
            connection_logs__s3__enabled="true",
            connection_logs__s3__bucket="conns",
            connection_logs__s3__prefix="a/b",
        )
        for one in (off, connections):
            one.tell(request(kind="http"), request(kind="tls"), request(proxy="of-somebody-else"))
            await one.logs.close()
        assert not (tmp_path / "off").exists()
        found = await connections.written(1)
        path, text = found.popitem()
        assert path.startswith("conns/a/b/AWSLogs/")
        assert "/conn_log.123456789012_" in path
        assert len(text.splitlines()) == 1

    told(story)


def test_looks_at_targets_are_written_by_the_node_that_made_them(tmp_path: Path) -> None:
    async def story() -> None:
        one = Logs(tmp_path, health_check_logs__s3__enabled="true", health_check_logs__s3__bucket="checks")
        off = Logs(tmp_path / "off", access_logs__s3__enabled="true", access_logs__s3__bucket="checks")
        for logs in (one, off):
            for sandbox in ("lb-a", "lb-of-another"):
                look = Look(sandbox, "10.0.1.97", "10.0.1.11", 80, Probe("HTTP"), 30.0)
                logs.logs.take_look(Made(TG, look, 1761914699.875678, 0.5, Outcome(True, status=200)))
                logs.logs.take_look(Made("tg-other", look, 1761914699.875678, 0.5, Outcome(True)))
            await logs.logs.close()
        ((path, text),) = (await one.written(1)).items()
        assert path.startswith(
            "checks/AWSLogs/123456789012/elasticloadbalancing/us-east-2/2027/01/15/health_check_log_"
        )
        assert text == "http 2025-10-31T12:44:59.875678Z 0.500000000 10.0.1.11:80 - PASS 200 -\n"
        assert not (tmp_path / "off").exists()

    told(story)


def test_a_tls_connection_is_logged_once_whatever_it_asks_for(tmp_path: Path) -> None:
    """AWS: "one entry per connection"; a client that comes back with the same port after the idle timeout has another."""

    async def story() -> None:
        one = Logs(tmp_path, connection_logs__s3__enabled="true", connection_logs__s3__bucket="conns")
        start = request().time
        one.tell(
            request(),
            request(time=start + 50),
            request(time=start + 100, kind="h2"),
            request(client="10.0.0.9:1"),
            request(client="10.0.0.9:2", kind="http"),
            request(time=start + 161),
        )
        await one.logs.close()
        (text,) = (await one.written(1)).values()
        assert [line.split()[1:3] for line in text.splitlines()] == [
            ["192.168.131.39", "2817"],
            ["10.0.0.9", "1"],
            ["192.168.131.39", "2817"],
        ]

    told(story)


def test_what_a_killed_agent_had_buffered_is_written_once_by_the_next(tmp_path: Path) -> None:
    async def story() -> None:
        killed = Logs(tmp_path, **ON)
        killed.tell(request())
        killed.tell(request(kind="h2"))
        (kept,) = (tmp_path / "spool").iterdir()
        assert kept.stat().st_mode & 0o777 == 0o600
        with kept.open("a") as torn:
            torn.write("https 2018-07-02T22:2")
        before = kept.read_bytes()

        again = Logs(tmp_path, **ON)
        again.tell(request(kind="http"))
        found = await again.written(1)
        await again.logs.close()
        ((path, text),) = found.items()
        assert [line.split()[0] for line in text.splitlines()] == ["https", "h2"]
        assert sorted(len(one.splitlines()) for one in (await again.written(2)).values()) == [1, 2]
        assert not list((tmp_path / "spool").iterdir())

        # Killed between the file and the end of its spool, and while it wrote: the same file is written again.
        kept.write_bytes(before)
        (tmp_path / path).with_name(f".{Path(path).name}").write_bytes(b"half")
        third = Logs(tmp_path, **ON)
        await third.logs.close()
        found = await third.written(2)
        assert len(found) == 2
        assert found[path] == text
        assert not list((tmp_path / "spool").iterdir())
        assert not list(tmp_path.rglob(".*.gz"))

    told(story)


def test_lines_that_cannot_be_kept_are_written_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "spool").write_text("no folder")
        one = Logs(tmp_path, **ON)
        one.tell(request())
        one.tell(request())
        await one.logs.close()
        (text,) = (await one.written(1)).values()
        assert len(text.splitlines()) == 2

    told(story)


def test_what_is_buffered_is_written_when_the_agent_ends_readable_by_root_only(tmp_path: Path) -> None:
    async def story() -> None:
        one = Logs(tmp_path, **ON)
        one.tell(request())
        one.proxies.waiting.append(request())
        await one.logs.close()
        (path,) = tmp_path.rglob("*.gz")
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(gzip.decompress(path.read_bytes()).splitlines()) == 2, "what still waited at the proxies, too"

    told(story)


def test_much_traffic_makes_several_files_and_memory_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_logs, "FILE_BYTES", 10_000)
    monkeypatch.setattr(access_logs, "ALL_BYTES", 25_000)

    async def story() -> None:
        one = Logs(tmp_path, **ON)
        for _ in range(10):
            one.tell(*(request() for _ in range(10)))
        assert one.logs.dropped > 0
        await one.logs.close()
        texts = (await one.written(2)).values()
        assert sum(len(text.splitlines()) for text in texts) == 100 - one.logs.dropped
        assert sum(map(len, texts)) <= 25_000

    told(story)


@pytest.mark.parametrize("fault", ["full", "held", "bucket"])
def test_what_cannot_be_written_is_dropped_and_harms_nothing(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        one = Logs(tmp_path, **{**ON, "access_logs__s3__bucket": "../../etc" if fault == "bucket" else "my-logs"})
        if fault == "held":
            one.machine.held = "the host's disk is full"
        elif fault == "full":

            def full(*_: Any, **__: Any) -> bytes:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(access_logs.gzip, "compress", full)
        one.tell(request())
        await one.clock.advance(300)
        while one.logs.dropped < 1:
            await asyncio.sleep(0.005)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()], "no half-written file is left"
        monkeypatch.undo()
        one.machine.held = ""
        one.tell(request())
        await settle()
        await one.logs.close()
        assert len(list(tmp_path.rglob("*.gz"))) == (0 if fault == "bucket" else 1)

    told(story)
