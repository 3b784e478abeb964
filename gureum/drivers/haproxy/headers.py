"""What a request carries to its target and an answer to its client beyond what was sent: forwarding headers, trace ids, cookies. Pure.

AWS: Application Load Balancers guide, "HTTP headers", "Request tracing", "Header modification", "Sticky sessions", "Desync mitigation mode"; Elastic
Load Balancing guide, "How Elastic Load Balancing works", "HTTP headers".
"""

from __future__ import annotations

from collections.abc import Sequence

from gureum.drivers.haproxy import desync as haproxy_desync
from gureum.drivers.haproxy import ordinary as haproxy_ordinary
from gureum.drivers.haproxy.cookies import group_cookies_out
from gureum.drivers.haproxy.errors import REASONS, SERVER, TOO_LATE_S, UNREACHED
from gureum.drivers.haproxy.text import header_name, log_format, refused, word
from gureum.ports.proxies import Listener

_DEFAULT_PORTS = (80, 443)
_MOST_FORWARDED = 30
_LONGEST_TRACE_BYTES = 7168
_ANSWER_HEADERS = {
    "routing.http.response.strict_transport_security.header_value": "Strict-Transport-Security",
    "routing.http.response.access_control_allow_origin.header_value": "Access-Control-Allow-Origin",
    "routing.http.response.access_control_allow_methods.header_value": "Access-Control-Allow-Methods",
    "routing.http.response.access_control_allow_headers.header_value": "Access-Control-Allow-Headers",
    "routing.http.response.access_control_allow_credentials.header_value": "Access-Control-Allow-Credentials",
    "routing.http.response.access_control_expose_headers.header_value": "Access-Control-Expose-Headers",
    "routing.http.response.access_control_max_age.header_value": "Access-Control-Max-Age",
    "routing.http.response.content_security_policy.header_value": "Content-Security-Policy",
    "routing.http.response.x_content_type_options.header_value": "X-Content-Type-Options",
    "routing.http.response.x_frame_options.header_value": "X-Frame-Options",
}
SPELLINGS = (
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "Host",
    "X-Amzn-Trace-Id",
    "Upgrade",
    "Connection",
)
"""Names that targets get like this by HTTP/1.1, for programs that take capital letters for another name. All others have small letters."""
OWN_HEADERS = f"hdr Server {SERVER} hdr Date %[date,http_date]"
"""Of each answer that is the proxy's own: with the answer, so that no condition has to be looked at in those of targets."""

GRPC = "{ req.hdr(content-type) -m beg application/grpc }"
GRPC_SENT = "{ var(txn.grpc_sent) -m found }"
"""In a backend: the same, which an ordinary request is not, so that no header has to be looked for."""

_BODY_S = 60
MOST_WAITING = 2048
"""Requests of HTTP/2 under way in a worker (crowding.py counts them) up to which bodies are waited for. Each holds a buffer, and 128 of them come by
one connection: without an end to them few hundred connections took all the memory that a proxy may have, and it died."""
_LONG_LINE = r"(?:^|\n)[^\n]{16384}"
"""From its beginning: looked for from anywhere, four headers of 15 KB took a core longer than all else together."""

# The buffer's length costs nothing to know, the headers' text would be put together for each request.
_LONG = "{ req.len gt 16000 }"


def refuse(status: int, condition: str, *, http2: bool, close: bool = False) -> list[str]:
    """`http2`: whether the listener speaks it too. `close`: nothing more is read from the client's connection."""
    waiting = body_first(condition) if http2 else []
    last = " hdr connection close" if close else ""
    return [*waiting, f"http-request return {page_arguments(status)}{last} if {condition}"]


def page_arguments(status: int) -> str:
    """What stands after `return`, for AWS's page of the status."""
    return f"status {status} content-type text/html file {status}.html {OWN_HEADERS}"


def body_first(condition: str = "") -> list[str]:
    """Before an answer of our own: were an HTTP/2 stream closed while its body comes in, many clients would see a broken stream instead of it. What
    does not come is 408 in its place, so it is waited for as long as AWS lets a connection idle by default; where too many wait, not at all."""
    late = f"{{ req.ver 2.0 }} !{{ method GET HEAD }} {{ sc_conn_cur(1) le {MOST_WAITING} }}"
    return [f"http-request wait-for-body time {_BODY_S}s if {late} {condition}".rstrip()]


def ordinary(attributes: dict[str, str], *, http2: bool) -> list[str]:
    """After this line come only the requests that need a closer look."""
    if _with_port(attributes):
        return []  # HAProxy's own X-Forwarded-For has no port: each request gets it by lines that come later
    return haproxy_ordinary.request(http2=http2, valid_names=_only_valid(attributes))


def continued(attributes: dict[str, str], *, http2: bool) -> list[str]:
    """Headers that go on from what a request brings. Requests that need no closer look beyond that leave after them."""
    valid = _only_valid(attributes)
    return [
        *refuse(463, f"{{ req.hdr_cnt(x-forwarded-for) gt {_MOST_FORWARDED} }}", http2=http2),
        f"http-request set-var(txn.grpc_sent) bool(true) if {GRPC}",
        *haproxy_ordinary.noted(http2=http2, valid_names=valid),
        *_forwarded(attributes),
        *_trace(),
        haproxy_ordinary.leave(),
    ]


def _only_valid(attributes: dict[str, str]) -> bool:
    return attributes.get("routing.http.drop_invalid_header_fields.enabled") == "true"


def checks(attributes: dict[str, str], *, http2: bool) -> list[str]:
    """What is refused whatever the rules say."""
    refusals = [
        (505, "{ fc_http_major 1 } !{ req.ver -m beg 1. }", True),
        (405, "METH_TRACE", False),
        # A target that said yes would be spoken to past all rules, for as long as the connection lasts.
        (400, "METH_CONNECT", True),
        (400, "!{ req.hdr(host) -m found } !{ req.ver 1.0 }", False),
        (414, f"{_LONG} {{ url,length gt 16384 }}", False),
        (400, f"{_LONG} {{ req.hdrs,length gt 16384 }} {{ req.hdrs -m reg -- {word(_LONG_LINE)} }}", False),
    ]
    lines = [
        line for status, condition, close in refusals for line in refuse(status, condition, http2=http2, close=close)
    ]
    found, blocked = haproxy_desync.classify(_desync_mode(attributes))
    return lines + found + (refuse(400, blocked, http2=http2, close=True) if blocked else [])


def _desync_mode(attributes: dict[str, str]) -> str:
    return attributes.get("routing.http.desync_mitigation_mode", "defensive")


def of_listener(listener: Listener, attributes: dict[str, str]) -> list[str]:
    """Changes of every request that depend on the listener, after the rules have seen it as it was sent."""
    lines = []
    if attributes.get("routing.http.preserve_host_header.enabled") != "true" and listener.port not in _DEFAULT_PORTS:
        bare = "{ req.hdr(host) -m found } !{ req.hdr(host) -m reg :[0-9]+$ }"
        lines.append(f"http-request set-header host %[req.hdr(host)]:{listener.port} if {bare}")
    if (
        listener.protocol == "HTTPS"
        and attributes.get("routing.http.x_amzn_tls_version_and_cipher_suite.enabled") == "true"
    ):
        for what, fetch in (("version", "ssl_fc_protocol"), ("cipher_suite", "ssl_fc_cipher")):
            default = "x-amzn-tls-" + what.replace("_", "-")
            name = listener.attributes.get(f"routing.http.request.x_amzn_tls_{what}.header_name") or default
            lines.append(f"http-request set-header {header_name(name)} %[{fetch}]")
    return lines


def of_target(listeners: Sequence[Listener]) -> list[str]:
    """A backend's lines: changes of every request that is sent to a target. `listeners`: those that it may come from."""
    schemes = {"https" if one.protocol == "HTTPS" else "http" for one in listeners}
    ports = {one.port for one in listeners}
    scheme = schemes.pop() if len(schemes) == 1 else "%[ssl_fc,iif(https,http)]"
    port = ports.pop() if len(ports) == 1 else "%[dst_port]"
    return [
        f"http-request set-header X-Forwarded-Proto {scheme}",
        f"http-request set-header X-Forwarded-Port {port}",
        f"http-request add-header X-Amzn-Trace-Id Root={TRACE_ID} if !{{ var(txn.trace) -m found }}",
    ]


def mended(attributes: dict[str, str], *, dns_name: str, idle_s: int) -> list[str]:
    """Changes of requests that are not ordinary. `dns_name`: the load balancer's own ("" for none); `idle_s`: its idle timeout."""
    return [
        *_host(attributes, dns_name),
        *_expected(idle_s),
        *(["http-request del-header [^-a-zA-Z0-9] -m reg"] if _only_valid(attributes) else []),
        *_upgrades(),
        *haproxy_desync.to_target(_desync_mode(attributes)),
    ]


def _host(attributes: dict[str, str], dns_name: str) -> list[str]:
    """AWS: names of hosts get small letters, and a request of HTTP/1.0 without any is given the load balancer's."""
    own = [f"http-request set-header Host {word(dns_name)} if !{{ req.hdr(host) -m found }}"] if dns_name else []
    if attributes.get("routing.http.preserve_host_header.enabled") == "true":
        return own
    return [*own, "http-request set-header Host %[req.hdr(host),lower] if { req.hdr(host) -m reg [A-Z] }"]


def _expected(idle_s: int) -> list[str]:
    """AWS: a client that waits for 100 Continue (HTTP/1.1) is told so at once, whatever its target would say, which does not see that it was asked.
    HAProxy tells it when it waits for a body itself: here, for its first byte."""
    asked = "{ req.hdr(expect) -i 100-continue }"
    return [
        f"http-request wait-for-body time {idle_s}s at-least 1 if {{ fc_http_major 1 }} {asked}",
        f"http-request del-header expect if {asked}",
    ]


def _forwarded(attributes: dict[str, str]) -> list[str]:
    mode = attributes.get("routing.http.xff_header_processing.mode", "append")
    if mode == "preserve":
        return []
    if mode == "remove":
        return ["http-request del-header x-forwarded-for"]
    if mode != "append":
        raise refused(f"unknown X-Forwarded-For mode {mode}")
    client = "%[src]:%[src_port]" if _with_port(attributes) else "%[src]"
    once = "{ req.fhdr_cnt(x-forwarded-for) 1 }"
    none = f"http-request set-header X-Forwarded-For {client} if !{{ req.hdr(x-forwarded-for) -m found }}"
    return [
        # The second line would see what the first has made: it goes first.
        f"http-request add-header X-Forwarded-For {client} if !{once} {{ req.fhdr_cnt(x-forwarded-for) gt 1 }}",
        f'http-request set-header X-Forwarded-For "%[req.fhdr(x-forwarded-for)], {client}" if {once}',
        *([none] if _with_port(attributes) else []),
    ]


def forwarded_option(attributes: dict[str, str]) -> list[str]:
    """HAProxy's own X-Forwarded-For, the cheapest, for requests that came without; after all lines."""
    mode = attributes.get("routing.http.xff_header_processing.mode", "append")
    return ["option forwardfor if-none"] if mode == "append" and not _with_port(attributes) else []


def _with_port(attributes: dict[str, str]) -> bool:
    return attributes.get("routing.http.xff_client_port.enabled") == "true"


def _upgrades() -> list[str]:
    """AWS: connections are upgraded to WebSockets. To anything else (HTTP/2 without TLS) a target could be led past all rules. What else a client
    says of its connection is not for the target (RFC 9110, 7.6.1), which might drop what it names: X-Forwarded-For."""
    sockets = "{ var(txn.upgrade) -m str -i websocket }"
    other = f"{{ var(txn.upgrade) -m found }} !{sockets}"
    return [
        "http-request set-var(txn.upgrade) req.fhdr(upgrade) if { req.hdr(upgrade) -m found }",
        *(f"http-request del-header {name} if {other}" for name in ("upgrade", "http2-settings")),
        "http-request del-header connection",
        f"http-request set-header connection upgrade if {sockets}",
    ]


def _trace() -> list[str]:
    """Of a request that came with a trace: Self before a Root that another gave, else Root; a Self of another is taken out. What came without any
    is given one last, by its target's group; its id is the log's own."""
    header = "req.fhdr(x-amzn-trace-id)"
    return [
        f"http-request del-header x-amzn-trace-id if {{ {header} -m len gt {_LONGEST_TRACE_BYTES} }}",
        "http-request replace-header x-amzn-trace-id (^|;)\\ *Self=[^;]*;?(.*)$ \\1\\2",
        f"http-request set-var-fmt(txn.trace) Self={TRACE_ID};%[{header}] if {{ {header} -m reg (^|;)\\ *Root= }}",
        f"http-request set-var-fmt(txn.trace) Root={TRACE_ID};%[{header}] if {{ {header} -m found }} !{{ var(txn.trace) -m found }}",
        "http-request set-header X-Amzn-Trace-Id %[var(txn.trace)] if { var(txn.trace) -m found }",
    ]


TRACE_ID = "%[unique-id]"


def until(attributes: dict[str, str]) -> str:
    """Of a connection: when it is to be closed after an answer."""
    keep_alive = int(attributes.get("client_keep_alive.seconds", "3600"))
    return f"tcp-request connection set-var(sess.until) date({keep_alive})"


def to_client(listener: Listener, *, sticky: bool) -> list[str]:
    """Changes of answers: cookies of weighted groups (`sticky`: some rule's), headers, statuses in AWS's form."""
    lines = [
        *(group_cookies_out(secure=listener.protocol == "HTTPS") if sticky else ()),
        *haproxy_ordinary.response(),
        f"http-response return {page_arguments(502)} if {{ res.hdrs,length gt {haproxy_ordinary.LONGEST_ANSWER_HEADERS} }}",
        # AWS: 502 for headers that are not valid. HAProxy 2.6 lets a NUL pass, which would break a client of HTTP/2.
        f"http-response return {page_arguments(502)} if {{ res.hdrs -m reg -- {word(chr(92) + 'x00')} }}",
        f"http-response return {page_arguments(502)} if !{{ status 100:999 }}",
        f"http-response return {page_arguments(502)} if {{ status 101 }} !{{ var(txn.upgrade) -m str -i websocket }}",
        "http-after-response set-header Connection close if { date,sub(sess.until) ge 0 } !{ status 101 }",
    ]
    for key, value in listener.attributes.items():
        if key in _ANSWER_HEADERS and value:
            lines.append(f"http-after-response set-header {_ANSWER_HEADERS[key]} {log_format(value)}")
    # By the header the lines below know answers of our own: it goes last.
    hidden = listener.attributes.get("routing.http.response.server.enabled") == "false"
    lines += [
        *_left(f"{{ status lt {min(_REWORDED)} }}", hidden=hidden),
        *map(_reworded, _REWORDED),
        *_left("{ status lt 500 }", hidden=hidden),
        # A target that takes no connection is 502, one that does not answer in time 504; HAProxy calls both 503.
        f"http-after-response set-status 504 if {UNREACHED} {{ date,sub(txn.began) ge {TOO_LATE_S} }}",
        f"http-after-response set-status 502 if {{ status 503 }} {UNREACHED}",
        *map(_reworded, (502, 503, 504, 505)),
        *([_HIDE] if hidden else ()),
    ]
    return lines


_HIDE = "http-after-response del-header Server"


def _left(condition: str, *, hidden: bool) -> list[str]:
    return [*([f"{_HIDE} if {condition}"] if hidden else ()), f"http-after-response allow if {condition}"]


_REWORDED = (405, 414)
"""Refusals whose words AWS has from nginx: HAProxy's are others."""


def _reworded(status: int) -> str:
    reason = word(REASONS[status])
    return f"http-after-response set-status {status} reason {reason} if {{ status {status} }} {_OWN}"


_OWN = f"{{ res.hdr(server) -m str {SERVER} }}"
