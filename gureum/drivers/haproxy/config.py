"""The whole configuration of a proxy, from its wish. Pure: what is written and what is run is proxies.py's business.

    frontend l-443      a listener: checks, rules, headers, log
    backend tg-…        a target group: who of its servers gets it, stickiness
    fixed-response:80:7 what a rule answers by itself, by port and priority
    80.rules …          maps of rules; 443.crts, *.pem certificates; *.html AWS's pages; body-* fixed answers

All paths are relative: the process runs in its folder, in which nobody else has a say. What is changed at run time (servers, maps) stands here
as it is wished: what is reloaded or restarted begins with the newest wish.
"""

from __future__ import annotations

import functools
import ipaddress
import zlib

from gureum.base import tls_policies
from gureum.drivers.haproxy import actions as haproxy_actions
from gureum.drivers.haproxy import crowding
from gureum.drivers.haproxy import errors as haproxy_errors
from gureum.drivers.haproxy import rules as haproxy_rules
from gureum.drivers.haproxy.cookies import key_line, target_cookies
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.headers import (
    GRPC,
    GRPC_SENT,
    OWN_HEADERS,
    SPELLINGS,
    checks,
    continued,
    forwarded_option,
    mended,
    of_listener,
    of_target,
    ordinary,
    page_arguments,
    refuse,
    to_client,
    until,
)
from gureum.drivers.haproxy.log_format import (
    CAPTURES,
    FAILED_FORMAT,
    LONG_URL,
    LONGEST_LINE,
    TCP_FORMAT,
    UNIQUE_ID,
    http_format,
)
from gureum.drivers.haproxy.text import group_name, refused, server_name
from gureum.ports.proxies import Certificate, Forward, Group, Listener, ProxySpec, Server

CONFIG = "haproxy.cfg"
CONTROL_SOCKET = "run/control"
MASTER_SOCKET = "run/master"
LOG_SOCKET = "log"
CONNECT_TIMEOUT_S = 10
NLB_IDLE_S = 350
_LONGEST_HEADERS = 65536
_TARGETS_POLICY = "ELBSecurityPolicy-TLS13-1-0-2021-06"
"""AWS, "Security policies", of back-end connections: this where the listener has TLS 1.3, else ELBSecurityPolicy-2016-08, which is the same
without 1.3."""
_MOST_STREAMS = 128
"""AWS: "You can send up to 128 requests in parallel using one HTTP/2 connection"."""
_WINDOW_BYTES = 1 << 20
"""What a client may send of a body by HTTP/2 before it is told that more may come. By 64 KB, which is HAProxy's default and AWS's, uploads wait
for that most of the time: a tenth of HTTP/1.1's speed on busy cores. Nothing is held for it but what the kernel has of the connection."""
_LAST_ID = (1 << 31) - 1
_ANY_RELOADS = 1_000_000
_OPENSSL_VERSIONS = {"TLSv1": "TLSv1.0"}
_ALPN = {
    "HTTP1Only": "http/1.1,http/1.0",
    "HTTP2Only": "h2",
    "HTTP2Optional": "http/1.1,http/1.0,h2",
    "HTTP2Preferred": "h2,http/1.1,http/1.0",
}


def gives_cookies(spec: ProxySpec) -> bool:
    """Whether some client is kept at its target or its group."""
    return any(group.stickiness for group in spec.groups) or any(map(haproxy_actions.sticky, spec.listeners))


def render(spec: ProxySpec, host: Host) -> dict[str, str]:
    """The files, without keys: name → text. PortError for what cannot be had, ValueError for what should never have come here."""
    ipaddress.IPv4Address(spec.address)
    listed = {certificate.name for certificate in spec.certificates}
    groups = {group.name: group for group in spec.groups}
    lines = _global(host, http2=_speaks_http2(spec)) + _defaults(spec)
    files = {name: content.decode() for name, content in haproxy_errors.files().items()}
    for listener in spec.listeners:
        more, made = _listener(spec, listener, groups, host)
        lines, files = lines + more, files | made
        if listener.certificates:
            missing = set(listener.certificates) - listed
            if missing:
                raise ValueError(f"certificates are missing: {sorted(missing)}")
            files[crt_list(listener.port)] = "".join(f"{pem_file(name)}\n" for name in listener.certificates)
    layer7 = [one for one in spec.listeners if one.protocol in ("HTTP", "HTTPS")]
    http2 = _speaks_http2(spec)
    for group in spec.groups:
        users = [one for one in spec.listeners if group.name in forwarded_to(one)]
        if group.protocol in ("HTTP", "HTTPS") or any(one in layer7 for one in users):
            if group.preserve_client:
                raise refused("requests come from the proxy's address")
            # `layer7`, not only its users, which may be others when a rule changes in the running worker.
            lines += _backend("http", group, [*_policy7(group, layer7), *of_target(layer7)])
        else:
            lines += _backend("tcp", group, _policy4(group, max(map(_idle_s, users), default=NLB_IDLE_S)))
    lines += _block(f"backend {haproxy_actions.NOWHERE} from http", refuse(503, "TRUE", http2=http2))
    lines.append("backend none4 from tcp")
    lines += crowding.tables(http2=http2) if spec.listeners else []
    return files | {CONFIG: "\n".join(lines) + "\n"}


def forwarded_to(listener: Listener) -> set[str]:
    return {name for rule in listener.rules if isinstance(rule.action, Forward) for name, _ in rule.action.groups}


def crt_list(port: int) -> str:
    return f"{port}.crts"


def pem_file(name: str) -> str:
    return f"{group_name(name)}.pem"


def pem(certificate: Certificate, key: str) -> str:
    return f"{key.strip()}\n{certificate.chain_pem.strip()}\n"


def _speaks_http2(spec: ProxySpec) -> bool:
    """As the listeners may; those of layer 4 do not look into it."""
    return any(listener.protocol == "HTTPS" for listener in spec.listeners)


def _global(host: Host, *, http2: bool) -> list[str]:
    return [
        "global",
        f"  nbthread {host.threads}",
        *(f"  {line}" for line in crowding.room(host, http2=http2)),
        "  # Old workers end with their last connection, a WebSocket's too, and not after some time.",
        f"  mworker-max-reloads {_ANY_RELOADS}",  # what counts is how much old workers take (old_workers.py)
        # What we tell a busy worker goes before what its clients ask: a few commands would wait for all of them at each turn.
        f"  stats socket unix@{CONTROL_SOCKET} mode 600 level admin expose-fd listeners nice -1024",
        f"  log unix@{LOG_SOCKET} len {LONGEST_LINE} format raw local0",
        f"  tune.bufsize {_LONGEST_HEADERS + 8192}",
        "  tune.maxrewrite 8192",
        "  tune.http.maxhdr 1000",
        f"  tune.h2.max-concurrent-streams {_MOST_STREAMS}",
        f"  tune.h2.initial-window-size {_WINDOW_BYTES}",
        "  tune.ssl.default-dh-param 2048",
        "  ssl-server-verify none",
        *_to_targets(),
        "  expose-experimental-directives",  # normalize-uri
        "  # Else each start and reload reads all of the host's authorities, for a client of HAProxy's that nobody uses here.",
        "  httpclient.ssl.verify none",
        *([f"  {key_line(host.cookie_key)}"] if host.cookie_key else ()),
        *(f"  h1-case-adjust {name.lower()} {name}" for name in SPELLINGS),
    ]


def _to_targets() -> list[str]:
    """TLS that targets are spoken to with: all that an old one may know, as their health is looked at, too (drivers/checks)."""
    ciphers = tls_policies.POLICIES[_TARGETS_POLICY].ciphers
    new = [name for name in ciphers if name.startswith("TLS_")]
    old = [name for name in ciphers if not name.startswith("TLS_")]
    return [
        "  ssl-default-server-options ssl-min-ver TLSv1.0",
        f"  ssl-default-server-ciphersuites {':'.join(new)}",
        f"  ssl-default-server-ciphers {':'.join(old)}:@SECLEVEL=0",
    ]


def _request_idle_s(spec: ProxySpec) -> int:
    return int(spec.attributes.get("idle_timeout.timeout_seconds", "60"))


def _defaults(spec: ProxySpec) -> list[str]:
    idle = _request_idle_s(spec)
    errors = [f"  http-error {page_arguments(code)}" for code in (400, 408, 500, 502, 504)]
    return [
        "defaults http",
        "  mode http",
        "  log global",
        "  option http-ignore-probes",
        "  option abortonclose",
        "  option h1-case-adjust-bogus-server",
        "  option idle-close-on-response",
        "  retries 0",
        "  http-reuse safe",
        f"  timeout connect {CONNECT_TIMEOUT_S}s",
        f"  timeout client {idle}s",
        f"  timeout server {idle}s",
        f"  timeout tunnel {idle}s",
        f"  timeout http-keep-alive {idle}s",
        f"  timeout queue {idle}s",
        *errors,
        f"  http-error status 503 content-type text/html lf-file connect.html {OWN_HEADERS}",
        "defaults tcp",
        "  mode tcp",
        "  log global",
        "  # A connection may last for days: what it carries is counted meanwhile, and not when it ends.",
        "  option contstats",
        "  retries 0",
        f"  timeout connect {CONNECT_TIMEOUT_S}s",
    ]


def _listener(
    spec: ProxySpec, listener: Listener, groups: dict[str, Group], host: Host
) -> tuple[list[str], dict[str, str]]:
    """Its lines, and the files they read."""
    if listener.protocol in ("HTTP", "HTTPS"):
        return _layer7(spec, listener, groups, host)
    return _layer4(spec, listener, groups, host), {}


def _bind(spec: ProxySpec, listener: Listener) -> str:
    place = f"  bind {spec.address}:{int(listener.port)}"
    if listener.protocol == "HTTP":
        return f"{place} proto h1"
    if listener.protocol == "TCP":
        return place
    if not listener.certificates:
        raise ValueError(f"listener {listener.port} has no certificate")
    policy = tls_policies.POLICIES.get(listener.policy or tls_policies.DEFAULT)
    if policy is None:
        raise refused(f"TLS policy {listener.policy} is not built")
    versions = [_OPENSSL_VERSIONS.get(name, name) for name in policy.protocols]
    new = [name for name in policy.ciphers if name.startswith("TLS_")]
    old = [name for name in policy.ciphers if not name.startswith("TLS_")]
    if versions[-1] in ("TLSv1.0", "TLSv1.1"):
        old.append("@SECLEVEL=0")  # OpenSSL 3 has switched their signatures off
    ciphers = (f" ciphersuites {':'.join(new)}" if new else "") + (f" ciphers {':'.join(old)}" if old else "")
    return f"{place} ssl crt-list {crt_list(listener.port)} ssl-min-ver {versions[-1]} ssl-max-ver {versions[0]}{ciphers}{_alpn(spec, listener)}"


def _alpn(spec: ProxySpec, listener: Listener) -> str:
    if listener.protocol == "HTTPS":
        both = spec.attributes.get("routing.http2.enabled", "true") == "true"
        return " alpn h2,http/1.1" if both else " alpn http/1.1"
    if listener.alpn == "None":
        return ""
    if listener.alpn not in _ALPN:
        raise refused(f"unknown ALPN policy {listener.alpn}")
    return f" alpn {_ALPN[listener.alpn]}"


def _layer7(
    spec: ProxySpec, listener: Listener, groups: dict[str, Group], host: Host
) -> tuple[list[str], dict[str, str]]:
    for name in forwarded_to(listener):
        if name not in groups:
            raise ValueError(f"listener {listener.port} forwards to {name}, which is not there")
    decision, actions = haproxy_rules.decide(listener), haproxy_actions.act(listener)
    tls = listener.protocol == "HTTPS"
    lines = [
        _bind(spec, listener).strip(),
        f'log-format "{http_format(listener)}"',
        f'error-log-format "{FAILED_FORMAT}"',
        *crowding.connected(host, _frontends(spec), http2=_speaks_http2(spec)),
        until(spec.attributes),
        *CAPTURES,
        f"unique-id-format {UNIQUE_ID}",
        *forwarded_option(spec.attributes),
        *(crowding.counted(host) if tls else ()),
        *decision.lines,
        *actions.lines,
        *of_listener(listener, spec.attributes),
        *ordinary(spec.attributes, http2=tls),
        *continued(spec.attributes, http2=tls),
        LONG_URL,
        *checks(spec.attributes, http2=tls),
        *mended(spec.attributes, dns_name=spec.dns_name, idle_s=_request_idle_s(spec)),
        *to_client(listener, sticky=haproxy_actions.sticky(listener)),
        *actions.uses,
    ]
    blocks = _block(f"frontend l-{listener.port} from http", lines)
    for name, answer in actions.backends.items():
        blocks += _block(f"backend {name} from http", answer)
    return blocks, decision.files | actions.files


def _frontends(spec: ProxySpec) -> list[str]:
    return [f"l-{one.port}" for one in spec.listeners]


def _block(head: str, lines: list[str]) -> list[str]:
    return [head, *(f"  {line}" for line in lines)]


def _layer4(spec: ProxySpec, listener: Listener, groups: dict[str, Group], host: Host) -> list[str]:
    if len(listener.rules) != 1 or not isinstance(listener.rules[0].action, Forward):
        raise refused(f"listener {listener.port}: a {listener.protocol} listener forwards, and nothing else")
    head = f"frontend l-{listener.port} from tcp"
    lines = [head, _bind(spec, listener), f"  timeout client {_idle_s(listener)}s"]
    lines += [f"  {line}" for line in crowding.connected(host, _frontends(spec), http2=_speaks_http2(spec))]
    lines += [f'  log-format "{TCP_FORMAT}"', f'  error-log-format "{FAILED_FORMAT}"']
    wished = [(name, weight) for name, weight in listener.rules[0].action.groups if weight]
    for name, _ in wished:
        if name not in groups:
            raise ValueError(f"listener {listener.port} forwards to {name}, which is not there")
    if len(wished) > 1:
        lines.append(f"  tcp-request content set-var(txn.dice) rand({sum(weight for _, weight in wished)})")
    below = 0
    for name, weight in wished[:-1]:
        below += weight
        lines.append(f"  use_backend {group_name(name)} if {{ var(txn.dice) -m int lt {below} }}")
    return [*lines, f"  default_backend {group_name(wished[-1][0]) if wished else 'none4'}"]


def _idle_s(listener: Listener) -> int:
    """AWS: that of TLS listeners is not to be changed."""
    return int(listener.attributes.get("tcp.idle_timeout.seconds", str(NLB_IDLE_S)))


def _backend(mode: str, group: Group, policy: list[str]) -> list[str]:
    servers = [f"server {server_name(one.name)} {server_options(group, one)}" for one in group.servers]
    return _block(f"backend {group_name(group.name)} from {mode}", policy + servers)


def _policy7(group: Group, listeners: list[Listener]) -> list[str]:
    """`listeners`: those that its requests may come from."""
    schemes = {one.protocol for one in listeners}
    http2 = "HTTPS" in schemes
    balance = {"round_robin": "roundrobin", "least_outstanding_requests": "leastconn", "weighted_random": "random(1)"}
    lines = [f"balance {balance[group.algorithm]}"]
    # A worker that is being replaced counts none of its servers, and still serves connections that are kept alive.
    lines += refuse(503, "{ nbsrv 0 } !{ stopping }", http2=http2)
    lines += _version_checks(group, http2=http2)
    if group.stickiness is not None:
        if group.stickiness.kind == "source_ip":
            raise refused("stickiness by source address is for layer 4")
        sticky = group.stickiness
        secure = http2 if len(schemes) == 1 else None
        lines += target_cookies(sticky.kind, sticky.duration_s, sticky.cookie, group.name, secure=secure)
    return lines


def _version_checks(group: Group, *, http2: bool) -> list[str]:
    """AWS, "HTTP 464": the request's version does not fit the target group's."""
    if group.version == "HTTP1":
        return refuse(464, GRPC_SENT, http2=http2)
    lines = refuse(464, "!{ req.ver 2.0 }", http2=http2)
    if group.version == "GRPC":
        lines += refuse(464, "!METH_POST", http2=http2)
        lines.append("http-request set-var(txn.grpc) int(1) if " + GRPC)
    return lines


def _policy4(group: Group, idle_s: int) -> list[str]:
    # What moves in one direction keeps the other alive, so the client's side, which is the listener's own, decides.
    lines = [f"timeout server {idle_s}s"]
    if group.preserve_client:
        lines.append("source 0.0.0.0 usesrc clientip")  # foreign_sources makes it possible
    if group.stickiness is not None:
        if group.stickiness.kind != "source_ip":
            raise refused("layer 4 has no cookies")
        return [*lines, "balance source", "hash-type consistent"]
    return [*lines, "balance roundrobin"]


@functools.lru_cache(maxsize=64)
def _ids(names: tuple[str, ...]) -> dict[str, int]:
    """By their servers' names. HAProxy hashes sources, or chance, onto servers by their ids, and would number them as they stand in the file: a
    reload, after others came or went at run time, would send who sticks elsewhere. Those that come at run time all get the places of number 0
    where none is said (2.6): the first and the last of them hide the others."""
    found: dict[int, str] = {}
    for name in sorted(names):
        number = zlib.crc32(name.encode()) >> 1
        while number == 0 or number in found:
            number = (number + 1) & _LAST_ID
        found[number] = name
    return {name: number for number, name in found.items()}


def server_options(group: Group, server: Server) -> str:
    """What stands after the server's name, in the file."""
    return server_base(group, server) + ("" if server.up else " disabled")


def server_base(group: Group, server: Server, *, slowly: bool = True) -> str:
    """What stands after its name also where it is added at run time. `slowly`: with the group's slow start, if it has one."""
    options = [f"{_host(server.address)}:{int(server.port)}", f"weight {int(server.weight)}"]
    if group.algorithm == "weighted_random" or (group.stickiness is not None and group.stickiness.kind == "source_ip"):
        options.append(f"id {_ids(tuple(one.name for one in group.servers))[server.name]}")
    two = group.version in ("HTTP2", "GRPC")
    if group.protocol in ("HTTPS", "TLS"):
        options.append("ssl verify none")
        if group.protocol == "HTTPS":
            options.append("alpn h2" if two else "alpn http/1.1")
    elif two:
        options.append("proto h2")
    if group.proxy_protocol:
        options.append("send-proxy-v2 proxy-v2-options crc32c")  # with a checksum, as AWS's
    if group.slow_start_s and slowly:
        options.append(f"slowstart {int(group.slow_start_s)}s")
    return " ".join(options)


@functools.lru_cache(maxsize=4096)
def _host(text: str) -> str:
    """ValueError for what is no address. The same are asked for at each change of a proxy."""
    address = ipaddress.ip_address(text)
    return f"[{address}]" if address.version == 6 else str(address)
