"""The DNS server as clients see it: dnslib's messages over real sockets of loopback, and hostile bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import dnslib
import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gureum.drivers.dns.forward import Forwarder, host_resolvers
from gureum.drivers.dns.records import Records
from gureum.drivers.dns.server import DnsNames, View
from gureum.ports.names import HOST_ONLY, Record, Zone

Run = Callable[[Coroutine[Any, Any, None]], None]
PUBLIC_NAME = "ec2-198-18-0-5.compute-1.amazonaws.com"
INSTANCE = (
    Record(PUBLIC_NAME, "A", ("198.18.0.5",)),
    Record(PUBLIC_NAME, "A", ("10.0.0.5",), view="vpc-1"),
    Record("ip-10-0-0-5.ec2.internal", "A", ("10.0.0.5",), view="vpc-1"),
    Record("5.0.0.10.in-addr.arpa", "PTR", ("ip-10-0-0-5.ec2.internal",), view="vpc-1"),
)
ZONES = (Zone("compute-1.amazonaws.com"), Zone("ec2.internal", "vpc-1"), Zone("gureum.test"))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def bound(kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


class Ports:
    def __init__(self, udp: int, tcp: int) -> None:
        self.udp = udp
        self.tcp = tcp


async def serve(names: DnsNames, view: str) -> Ports:
    udp, tcp = bound(socket.SOCK_DGRAM), bound(socket.SOCK_STREAM)
    ports = Ports(udp.getsockname()[1], tcp.getsockname()[1])
    await names.serve(view, [udp, tcp])
    return ports


@contextlib.asynccontextmanager
async def serving(view: str = "vpc-1", **options: Any) -> AsyncIterator[tuple[DnsNames, Ports]]:
    names = DnsNames(**options)
    names.replace("i-1", INSTANCE, ZONES)
    try:
        yield names, await serve(names, view)
    finally:
        await names.close()


async def ask(ports: Ports, name: str, rtype: str = "A", *, tcp: bool = False, **edns: Any) -> dnslib.DNSRecord:
    question = dnslib.DNSRecord.question(name, rtype)
    if edns:
        question.add_ar(dnslib.EDNS0(**edns))
    return await ask_raw(ports, question, tcp=tcp)


async def ask_raw(ports: Ports, question: dnslib.DNSRecord, *, tcp: bool = False) -> dnslib.DNSRecord:
    port = ports.tcp if tcp else ports.udp
    return dnslib.DNSRecord.parse(await asyncio.to_thread(question.send, "127.0.0.1", port, tcp=tcp, timeout=5))


async def exchange(ports: Ports, packet: bytes) -> bytes:
    """One datagram there, one back."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", ports.udp))
        await loop.sock_sendall(sock, packet)
        async with asyncio.timeout(5):
            return await loop.sock_recv(sock, 65535)


def values(reply: dnslib.DNSRecord) -> list[str]:
    return [str(rr.rdata) for rr in reply.rr]


def rcode(reply: dnslib.DNSRecord) -> str:
    return str(dnslib.RCODE[reply.header.rcode])


@pytest.mark.parametrize("tcp", [False, True])
def test_public_name_is_private_inside_its_network_and_public_elsewhere(run: Run, tcp: bool) -> None:
    async def body() -> None:
        async with serving("vpc-1") as (names, inside):
            other, host = await serve(names, "vpc-2"), await serve(names, "")
            assert values(await ask(inside, PUBLIC_NAME, tcp=tcp)) == ["10.0.0.5"]
            assert values(await ask(other, PUBLIC_NAME, tcp=tcp)) == ["198.18.0.5"]
            assert values(await ask(host, PUBLIC_NAME, tcp=tcp)) == ["198.18.0.5"]

    run(body())


def test_a_network_s_private_names_are_unknown_elsewhere(run: Run) -> None:
    async def body() -> None:
        async with serving("vpc-1") as (names, inside):
            other = await serve(names, "vpc-2")
            assert values(await ask(inside, "ip-10-0-0-5.ec2.internal")) == ["10.0.0.5"]
            assert values(await ask(inside, "5.0.0.10.in-addr.arpa", "PTR")) == ["ip-10-0-0-5.ec2.internal."]
            assert rcode(await ask(other, "ip-10-0-0-5.ec2.internal")) == "NXDOMAIN"
            assert rcode(await ask(other, "5.0.0.10.in-addr.arpa", "PTR")) == "NXDOMAIN"

    run(body())


def test_unknown_name_in_our_zone_is_nxdomain_with_the_zone_s_soa(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            reply = await ask(ports, "nobody.gureum.test")
            assert rcode(reply) == "NXDOMAIN"
            assert reply.header.aa
            assert [(str(rr.rname), rr.rtype) for rr in reply.auth] == [("gureum.test.", dnslib.QTYPE.SOA)]

    run(body())


def test_existing_name_without_the_type_is_noerror_and_empty(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            reply = await ask(ports, PUBLIC_NAME, "AAAA")
            assert (rcode(reply), reply.rr, len(reply.auth)) == ("NOERROR", [], 1)

    run(body())


def test_name_above_records_exists_in_our_zones_only(run: Run) -> None:
    """RFC 8020; but one record under example.com does not make com ours."""

    async def body() -> None:
        async with serving("") as (names, ports):
            names.replace(
                "x", (Record("a.b.gureum.test", "A", ("192.0.2.1",)), Record("a.example.com", "A", ("192.0.2.2",)))
            )
            assert rcode(await ask(ports, "b.gureum.test")) == "NOERROR"
            assert rcode(await ask(ports, "example.com")) == "REFUSED"
            assert values(await ask(ports, "a.example.com")) == ["192.0.2.2"]

    run(body())


def test_foreign_names_fail_fast_for_guests_and_are_refused_to_the_host(run: Run) -> None:
    async def body() -> None:
        async with serving("vpc-1") as (names, guest):
            host = await serve(names, "")
            assert rcode(await ask(guest, "example.org")) == "NXDOMAIN"
            assert rcode(await ask(host, "example.org")) == "REFUSED"

    run(body())


def test_wildcards_and_prefixed_forms_of_the_endpoint_resolve(run: Run) -> None:
    async def body() -> None:
        async with serving("") as (names, ports):
            endpoint = ("aws.gureum.test", "*.aws.gureum.test", "*-aws.gureum.test")
            names.replace("daemon", tuple(Record(name, "A", ("127.0.0.1",)) for name in endpoint))
            names.replace("own", (Record("bucket.aws.gureum.test", "A", ("127.0.0.2",)),))
            for name in ("aws", "logs.aws", "a.b.aws", "stream-aws", "stream-x-aws"):
                assert values(await ask(ports, f"{name}.gureum.test")) == ["127.0.0.1"], name
            assert values(await ask(ports, "bucket.aws.gureum.test")) == ["127.0.0.2"]
            assert rcode(await ask(ports, "x.bucket.aws.gureum.test")) == "NXDOMAIN", (
                "RFC 4592: the closest name exists"
            )
            assert rcode(await ask(ports, "laws.gureum.test")) == "NXDOMAIN"
            assert rcode(await ask(ports, "-aws.gureum.test")) == "NXDOMAIN"

    run(body())


def test_host_only_records_are_hidden_from_guests(run: Run) -> None:
    async def body() -> None:
        async with serving("vpc-1") as (names, guest):
            host = await serve(names, "")
            names.replace("x", (Record("console.gureum.test", "A", ("127.0.0.1",), view=HOST_ONLY),))
            assert values(await ask(host, "console.gureum.test")) == ["127.0.0.1"]
            assert rcode(await ask(guest, "console.gureum.test")) == "NXDOMAIN"

    run(body())


def test_spelling_of_the_question_comes_back_as_asked(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            for _again in range(2):
                reply = await ask(ports, "EC2-198-18-0-5.cOmPuTe-1.AmazonAWS.com")
                assert bytes(reply.q.qname.idna().encode()) == b"EC2-198-18-0-5.cOmPuTe-1.AmazonAWS.com."
                assert values(reply) == ["10.0.0.5"]

    run(body())


def test_change_is_seen_by_the_next_question(run: Run) -> None:
    async def body() -> None:
        async with serving() as (names, ports):
            assert values(await ask(ports, PUBLIC_NAME)) == ["10.0.0.5"]
            names.replace("i-1", (Record(PUBLIC_NAME, "A", ("198.18.0.9",)),), ZONES)
            assert values(await ask(ports, PUBLIC_NAME)) == ["198.18.0.9"]
            names.forget("i-1")
            names.forget("i-1")
            assert rcode(await ask(ports, PUBLIC_NAME)) == "NXDOMAIN"

    run(body())


def test_cname_chain_is_followed(run: Run) -> None:
    async def body() -> None:
        async with serving() as (names, ports):
            names.replace(
                "lb",
                (
                    Record("www.gureum.test", "CNAME", ("lb.gureum.test",)),
                    Record("lb.gureum.test", "CNAME", ("lb-1.elb.gureum.test",)),
                    Record("lb-1.elb.gureum.test", "A", ("10.0.0.8", "10.0.1.8")),
                    Record("loop.gureum.test", "CNAME", ("loop.gureum.test",)),
                    Record("out.gureum.test", "CNAME", ("example.org",)),
                ),
            )
            reply = await ask(ports, "WWW.gureum.test")
            assert [str(rr.rname).lower() for rr in reply.rr[:3]] == [
                "www.gureum.test.",
                "lb.gureum.test.",
                "lb-1.elb.gureum.test.",
            ]
            assert sorted(values(reply)[2:]) == ["10.0.0.8", "10.0.1.8"]
            assert names.resolve("vpc-1", "www.gureum.test", "A") == ("10.0.0.8", "10.0.1.8")
            assert rcode(await ask(ports, "loop.gureum.test")) == "NOERROR"
            assert values(await ask(ports, "out.gureum.test")) == ["example.org."]

    run(body())


def test_values_come_in_turning_order(run: Run) -> None:
    async def body() -> None:
        async with serving() as (names, ports):
            names.replace("lb", (Record("lb.gureum.test", "A", ("10.0.0.1", "10.0.0.2", "10.0.0.3")),))
            for tcp in (False, True):
                firsts = {values(await ask(ports, "lb.gureum.test", tcp=tcp))[0] for _ in range(12)}
                assert firsts == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}

    run(body())


def test_values_of_several_owners_come_together(run: Run) -> None:
    async def body() -> None:
        async with serving() as (names, ports):
            names.replace("pod-a", (Record("db.gureum.test", "A", ("10.0.0.1",)),))
            names.replace("pod-b", (Record("db.gureum.test", "A", ("10.0.0.2",)),))
            assert sorted(values(await ask(ports, "db.gureum.test"))) == ["10.0.0.1", "10.0.0.2"]
            names.forget("pod-a")
            assert values(await ask(ports, "db.gureum.test")) == ["10.0.0.2"]

    run(body())


def test_other_types_are_answered(run: Run) -> None:
    async def body() -> None:
        async with serving() as (names, ports):
            names.replace(
                "x",
                (
                    Record("a.gureum.test", "AAAA", ("fd00:ec2::254",)),
                    Record("a.gureum.test", "TXT", ("x" * 300,)),
                    Record("_http._tcp.gureum.test", "SRV", ("1 2 80 a.gureum.test",)),
                ),
            )
            assert values(await ask(ports, "a.gureum.test", "AAAA")) == ["fd00:ec2::254"]
            text = (await ask(ports, "a.gureum.test", "TXT")).rr[0].rdata.data
            assert b"".join(text) == b"x" * 300
            assert values(await ask(ports, "_http._tcp.gureum.test", "SRV")) == ["1 2 80 a.gureum.test."]
            assert {rr.rtype for rr in (await ask(ports, "a.gureum.test", "ANY")).rr} == {
                dnslib.QTYPE.AAAA,
                dnslib.QTYPE.TXT,
            }
            assert [rr.rtype for rr in (await ask(ports, "gureum.test", "SOA")).rr] == [dnslib.QTYPE.SOA]
            assert names.resolve("", "a.gureum.test", "TXT") == ("x" * 300,)

    run(body())


def test_large_answer_is_cut_over_udp_and_whole_over_tcp(run: Run) -> None:
    async def body() -> None:
        async with serving() as (names, ports):
            many = tuple(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(60))
            names.replace("x", (Record("many.gureum.test", "A", many),))
            small = await ask(ports, "many.gureum.test")
            assert small.header.tc
            assert small.rr == []
            assert len((await ask(ports, "many.gureum.test", udp_len=4096)).rr) == 60
            assert len((await ask(ports, "many.gureum.test", tcp=True)).rr) == 60

    run(body())


def test_edns_is_answered_in_kind(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            assert (await ask(ports, PUBLIC_NAME)).ar == []
            reply = await ask(ports, PUBLIC_NAME, udp_len=1400)
            assert (reply.ar[0].rtype, reply.ar[0].rclass) == (dnslib.QTYPE.OPT, 1232)
            newer = await ask(ports, PUBLIC_NAME, version=1)
            assert (newer.header.rcode, newer.ar[0].ttl >> 24) == (0, 1), "BADVERS is 16: the upper bits are in OPT"

    run(body())


def test_odd_questions_are_refused_and_answers_ignored(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            two = dnslib.DNSRecord(q=dnslib.DNSQuestion("a.test"))
            two.add_question(dnslib.DNSQuestion("b.test"))
            assert rcode(await ask_raw(ports, two)) == "FORMERR"
            update = dnslib.DNSRecord(dnslib.DNSHeader(opcode=5), q=dnslib.DNSQuestion("a.test"))
            assert rcode(await ask_raw(ports, update)) == "NOTIMP"
            chaos = dnslib.DNSRecord(q=dnslib.DNSQuestion("version.bind", 16, 3))
            assert rcode(await ask_raw(ports, chaos)) == "REFUSED"
            assert rcode(await ask(ports, "gureum.test", "AXFR", tcp=True)) == "REFUSED"
            answer = dnslib.DNSRecord.question(PUBLIC_NAME).reply().pack()
            after = dnslib.DNSRecord.question(PUBLIC_NAME)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(answer, ("127.0.0.1", ports.udp))
            assert dnslib.DNSRecord.parse(await exchange(ports, after.pack())).header.id == after.header.id

    run(body())


def test_bad_records_are_refused_as_a_whole() -> None:
    names = DnsNames()
    names.replace("x", (Record("a.gureum.test", "A", ("10.0.0.1",)),))
    bad = (
        Record("a.gureum.test", "A", ("fd00::1",)),
        Record("a..test", "A", ("10.0.0.1",)),
        Record("a" * 64 + ".test", "A", ("10.0.0.1",)),
        Record(".".join(["a" * 60] * 5), "A", ("10.0.0.1",)),
        Record("ü.test", "A", ("10.0.0.1",)),
        Record("a.test", "A", ()),
        Record("a.test", "A", ("10.0.0.1",), ttl=-1),
        Record("a.test", "SRV", ("80 a.test",)),
        Record("a.test", "CNAME", ("b.test", "c.test")),
    )
    for record in bad:
        with pytest.raises(ValueError, match=r"test|aaaa"):
            names.replace("x", (Record("b.gureum.test", "A", ("10.0.0.2",)), record))
        assert names.resolve("", "a.gureum.test", "A") == ("10.0.0.1",)
        assert names.resolve("", "b.gureum.test", "A") == ()
    with pytest.raises(ValueError, match="owner"):
        names.replace("", ())


def test_resolve_of_what_is_not_a_name_or_type_is_nothing() -> None:
    names = DnsNames()
    assert names.resolve("", "a..b", "A") == ()
    assert names.resolve("", "localhost", "MX") == ()
    assert names.resolve("vpc-1", "x.localhost", "A") == ("127.0.0.1",)


def test_stopped_view_is_closed_and_others_go_on(run: Run) -> None:
    async def body() -> None:
        async with serving("vpc-1") as (names, one):
            two = await serve(names, "vpc-2")
            await names.stop("vpc-1")
            await names.stop("vpc-1")
            with pytest.raises(ConnectionRefusedError):
                await exchange(one, dnslib.DNSRecord.question("a.test").pack())
            assert values(await ask(two, PUBLIC_NAME)) == ["198.18.0.5"]

    run(body())


def test_serving_again_on_new_sockets_replaces_the_old_ones(run: Run) -> None:
    async def body() -> None:
        async with serving("vpc-1") as (names, first):
            second = await serve(names, "vpc-1")
            assert values(await ask(second, PUBLIC_NAME)) == ["10.0.0.5"]
            with pytest.raises(ConnectionRefusedError):
                await exchange(first, dnslib.DNSRecord.question("a.test").pack())

    run(body())


def test_flood_of_one_address_is_dropped_and_others_are_answered(run: Run) -> None:
    async def body() -> None:
        async with serving(queries_per_s=50) as (_, ports):
            packet = dnslib.DNSRecord.question(PUBLIC_NAME).pack()
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
                flood.setblocking(False)
                flood.bind(("127.0.0.2", 0))
                await loop.sock_connect(flood, ("127.0.0.1", ports.udp))
                for _ in range(200):
                    flood.send(packet)
                assert values(await ask(ports, PUBLIC_NAME)) == ["10.0.0.5"]
                got = 0
                with contextlib.suppress(BlockingIOError):
                    while flood.recv(512):
                        got += 1
            assert 50 <= got <= 100, "at most two seconds' worth"

    run(body())


def test_tcp_connections_per_address_are_bounded_and_pipelined_questions_answered(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            open_ones = [await asyncio.open_connection("127.0.0.1", ports.tcp) for _ in range(16)]
            reader, writer = open_ones[0]
            packets = [dnslib.DNSRecord.question(PUBLIC_NAME).pack() for _ in range(3)]
            writer.write(b"".join(struct.pack("!H", len(p)) + p for p in packets))
            for packet in packets:
                size = int.from_bytes(await reader.readexactly(2), "big")
                assert (await reader.readexactly(size))[:2] == packet[:2]
            more, more_writer = await asyncio.open_connection("127.0.0.1", ports.tcp)
            with contextlib.suppress(ConnectionResetError):
                assert await more.read(1) == b""
            for opened in [more_writer, *(w for _, w in open_ones)]:
                opened.close()

    run(body())


def test_tcp_garbage_and_half_messages_do_no_harm(run: Run) -> None:
    async def body() -> None:
        async with serving() as (_, ports):
            for junk in (b"\xff\xff" + b"x" * 100, b"\0\0", b"\0\x05abc", b"GET / HTTP/1.1\r\n\r\n" * 50):
                reader, writer = await asyncio.open_connection("127.0.0.1", ports.tcp)
                writer.write(junk)
                writer.write_eof()
                async with asyncio.timeout(5):
                    with contextlib.suppress(ConnectionResetError):
                        await reader.read()
                writer.close()
            assert values(await ask(ports, PUBLIC_NAME, tcp=True)) == ["10.0.0.5"]

    run(body())


class Upstream(asyncio.DatagramProtocol):
    """Plays the host's resolver: first lies (wrong id, wrong question), then answers 192.0.2.7 to everything."""

    def __init__(self) -> None:
        self.asked: list[dnslib.DNSRecord] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dnslib.DNSRecord.parse(data)
        self.asked.append(question)
        reply = question.reply()
        reply.add_answer(*dnslib.RR.fromZone(f"{question.q.qname} 60 A 192.0.2.7"))
        packet = reply.pack()
        other = dnslib.DNSRecord.question("evil.example").reply()
        other.header.id = question.header.id
        for forged in (bytes([packet[0] ^ 1]) + packet[1:], other.pack(), b"", b"\0" * 12):
            self.transport.sendto(forged, addr)
        self.transport.sendto(packet, addr)


def test_foreign_names_of_guests_are_forwarded_when_there_is_a_way_out(run: Run) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        transport, upstream = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        async with serving("vpc-1") as (names, guest):
            host = await serve(names, "")
            names.forward((f"127.0.0.1#{port}",))
            asked = dnslib.DNSRecord.question("PyPI.org")
            reply = await ask_raw(guest, asked)
            assert (reply.header.id, values(reply)) == (asked.header.id, ["192.0.2.7"])
            assert rcode(await ask(host, "example.org")) == "REFUSED"
            for own in ("nobody.gureum.test", "x.internal", "1.0.0.10.in-addr.arpa", "a.test"):
                assert rcode(await ask(guest, own)) == "NXDOMAIN"
            assert [str(q.q.qname) for q in upstream.asked] == ["PyPI.org."]
            assert upstream.asked[0].header.rd
            names.forward(())
            assert rcode(await ask(guest, "example.org")) == "NXDOMAIN"
        transport.close()

    run(body())


def test_dead_upstream_ends_in_servfail(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gureum.drivers.dns.forward.ANSWER_WITHIN_S", 0.05)

    async def body() -> None:
        with bound(socket.SOCK_DGRAM) as silent:
            async with serving() as (names, ports):
                names.forward((f"127.0.0.1#{silent.getsockname()[1]}", "127.0.0.1#1"))
                assert rcode(await ask(ports, "example.org")) == "SERVFAIL"

    run(body())


def test_questions_under_way_are_bounded_per_view(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gureum.drivers.dns.forward.UNDER_WAY_PER_VIEW", 0)

    async def body() -> None:
        async with serving() as (names, ports):
            names.forward(("127.0.0.1#1",))
            assert rcode(await ask(ports, "example.org")) == "SERVFAIL"

    run(body())


class Refusing(Upstream):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = dnslib.DNSRecord.parse(data).reply()
        reply.header.rcode = dnslib.RCODE.REFUSED
        self.transport.sendto(reply.pack(), addr)


def test_upstream_that_refuses_is_passed_over(run: Run) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        made = [await loop.create_datagram_endpoint(one, local_addr=("127.0.0.1", 0)) for one in (Refusing, Upstream)]
        upstreams = [f"127.0.0.1#{transport.get_extra_info('sockname')[1]}" for transport, _ in made]
        async with serving() as (names, ports):
            names.forward(tuple(upstreams))
            assert values(await ask(ports, "example.org")) == ["192.0.2.7"]
            names.forward((upstreams[0],))
            assert rcode(await ask(ports, "example.org")) == "REFUSED"
        for transport, _ in made:
            transport.close()

    run(body())


def test_host_resolvers_are_read() -> None:
    text = "# made by hand\nsearch lan\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver x\nnameserver\nnameserver fd00::1\n"
    assert host_resolvers(text) == ("127.0.0.53", "fd00::1")
    assert host_resolvers("nameserver 192.0.2.1\n" * 5) == ("192.0.2.1",) * 3
    DnsNames().forward(host_resolvers(text))


def test_bad_upstreams_are_refused() -> None:
    for text in ("localhost", "192.0.2.1#0", "192.0.2.1#99999", "192.0.2.1:53"):
        with pytest.raises(ValueError, match=r"."):
            DnsNames().forward((text,))


labels = st.binary(min_size=1, max_size=63)
raw_names = st.lists(labels, max_size=6).map(lambda ls: b"".join(bytes((len(x),)) + x for x in ls) + b"\0")
queries = st.builds(
    lambda head, name, tail: head + name + tail,
    st.tuples(*[st.integers(0, 65535)] * 2, *[st.integers(0, 3)] * 4).map(lambda n: struct.pack("!6H", *n)),
    raw_names,
    st.binary(max_size=64),
)


@settings(max_examples=160, deadline=None)
@given(st.one_of(queries, st.binary(max_size=600)))
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1")
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\x3f" + b"-" * 63 + b"\0\0\1\0\1")
@example(b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\1a" * 126 + b"\0\0\1\0\1")
def test_no_packet_raises_and_every_answer_parses(packet: bytes) -> None:
    with asyncio.Runner() as runner:
        reply = runner.run(answer_of(packet))
    if reply is not None:
        assert len(packet) >= 12
        assert reply[:2] == packet[:2]
        assert len(reply) <= 1232
        assert reply[2] & 0x80
        if packet[12:].isascii():  # dnslib reads no names with other octets, which DNS has (RFC 2181, 11)
            dnslib.DNSRecord.parse(reply)


async def answer_of(packet: bytes) -> bytes | None:
    records = Records()
    records.replace("x", (Record("*.a.test", "A", ("10.0.0.1",)), Record("*-b.test", "TXT", ("t",))), ())
    return View("vpc-1", records, Forwarder(), 100).answer(packet, 0, lambda late: None)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3))),
    st.data(),
)
def test_forgetting_every_owner_leaves_nothing(steps: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    records = Records()
    fresh = Records()
    for owner, parts in steps:
        if data.draw(st.booleans()):
            name = ".".join([*parts, "gureum", "test"])
            view = data.draw(st.sampled_from(["", "vpc-1"]))
            records.replace(owner, (Record(name, "A", ("10.0.0.1",), view=view),), (Zone("gureum.test"),))
        else:
            records.forget(owner)
    for owner in "abc":
        records.forget(owner)
    assert {scope: set(table) for scope, table in records._nodes.items() if table} == {
        scope: set(table) for scope, table in fresh._nodes.items()
    }
    assert {scope: table for scope, table in records._zones.items() if table} == fresh._zones
