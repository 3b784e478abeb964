"""What the instance metadata service answers. Pure: a request and an instance's document in, a response out.

    PUT /latest/api/token        a token, 400 without a good TTL, 403 with X-Forwarded-For (it came through a proxy)
    GET /                        versions
    GET /VERSION/PATH            content; a directory's listing (301 to the name with "/" without it); 401; 404

Sources: AWS: ec2 user guide, "Use the Instance Metadata Service" (IMDSv2, error codes), instancedata-data-categories;
headers and bodies of errors as answers of real instances in public reports show them.
"""

from __future__ import annotations

import ipaddress
from email.utils import formatdate
from urllib.parse import quote, unquote

import msgspec

from gureum.drivers.imds.tokens import TTL_LIMIT_S, Tokens
from gureum.ports.metadata import InstanceMetadata, MetadataOptions

VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01"),
    *("2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19"),
    *("2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03"),
    *("2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest"),
)
"""Each shows the newest tree: on AWS an older version lacks what came after it, which no client relies on."""

TOKEN_PATH = "/latest/api/token"
TTL_HEADER = b"x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = b"x-aws-ec2-metadata-token"
REASONS = {
    200: "OK",
    301: "Moved Permanently",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
IDENTITY = "dynamic/instance-identity/"
SIGNED = ("pkcs7", "rsa2048", "signature")


class Request(msgspec.Struct, gc=False):
    """`path`: as sent, without the query. `headers`: lower-case names; of one sent twice the first counts. `refuse`:
    this status is the answer, since the request could not be read."""

    method: bytes
    path: str
    headers: dict[bytes, bytes]
    keep_alive: bool
    refuse: int = 0


class Response(msgspec.Struct, frozen=True, gc=False):
    """`ttl_s`: the TTL header's value, 0 for none. `sign`: the name of an identity signature whose content is to be
    made before this can be sent (then the body is empty). `sealed`: the path whose content is to be opened first."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    ttl_s: int = 0
    location: str = ""
    allow: str = ""
    sign: str = ""
    sealed: str = ""


class Page(msgspec.Struct, frozen=True, gc=False):
    """An instance's document made ready: `leaves`, `sealed` and `listings` by path under /latest/ without a final slash."""

    owner: str
    network: str
    addresses: tuple[str, ...]
    options: MetadataOptions
    leaves: dict[str, bytes]
    listings: dict[str, bytes]
    modified: str
    sealed: dict[str, tuple[str, str]] = {}


def compile_page(document: InstanceMetadata, now: float) -> Page:
    """ValueError when a path, an address or the hop limit is not one."""
    options = document.options
    if not 1 <= options.hop_limit <= 64:
        raise ValueError(f"hop limit must be 1-64, not {options.hop_limit}")
    for address in document.addresses:
        ipaddress.ip_address(address)
    leaves: dict[str, bytes] = {}
    given: dict[str, bytes] = {}
    for path, content in document.tree.items():
        name = path.removesuffix("/")
        if not name or "//" in path or path.startswith("/"):
            raise ValueError(f"not a metadata path: {path!r}")
        if name.startswith("meta-data/tags") and not options.tags_enabled:
            continue
        (given if path.endswith("/") else leaves)[name] = content.encode()
    if document.user_data is not None:
        leaves["user-data"] = document.user_data
    shown = {*leaves, *document.sealed}
    if IDENTITY + "document" in leaves:
        shown.update(IDENTITY + name for name in SIGNED)
    listings = list_directories(shown)
    listings.update(given)
    modified = formatdate(now, usegmt=True)
    return Page(
        document.owner, document.network, document.addresses, options, leaves, listings, modified, document.sealed
    )


def list_directories(paths: set[str]) -> dict[str, bytes]:
    """Every directory's listing: names by the line, directories with "/" (except at the top, as on AWS), no newline at
    the end. A name that is both is listed once, as a directory."""
    children: dict[str, set[str]] = {"": set()}
    for path in paths:
        parent, child = "", path
        while "/" in child:
            head, child = child.split("/", 1)
            children.setdefault(parent, set()).add(head + "/")
            parent = f"{parent}/{head}" if parent else head
        children.setdefault(parent, set()).add(child)
    listings = {}
    for parent, names in children.items():
        once = {name for name in names if name + "/" not in names}
        if not parent:
            once = {name.removesuffix("/") for name in once}
        listings[parent] = "\n".join(sorted(once)).encode()
    return listings


def answer(request: Request, page: Page | None, tokens: Tokens, now: float) -> Response:
    """`page`: what the asker's address stands for; None (not known yet, or no more) is 503, and clients try again."""
    if page is None:
        return error(503)
    options = page.options
    if not options.enabled:
        return error(403)
    if request.method == b"PUT":
        return put_token(request, page, tokens, now)
    if request.method not in (b"GET", b"HEAD"):
        return error(405, allow="GET, HEAD, PUT")
    ttl_s = 0
    token = request.headers.get(TOKEN_HEADER)
    if token is not None:
        ttl_s = tokens.remaining_s(token, bound_to(page), now)
    if (token is None and options.tokens_required) or (token is not None and not ttl_s):
        return error(401)
    return get(request.path, page, ttl_s)


def put_token(request: Request, page: Page, tokens: Tokens, now: float) -> Response:
    """A PUT: only tokens are made by it. The 403 has no body, as on AWS."""
    if request.path != TOKEN_PATH or b"x-forwarded-for" in request.headers:
        return Response(403)
    text = request.headers.get(TTL_HEADER, b"").strip()
    if not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= TTL_LIMIT_S:
        return error(400)
    ttl_s = int(text)
    return Response(200, tokens.make(bound_to(page), ttl_s, now), ttl_s=ttl_s)


def get(path: str, page: Page, ttl_s: int) -> Response:
    """A permitted GET. `ttl_s`: what its token is still good for, 0 without one."""
    parts = [part for part in unquote(path).split("/") if part]
    if not parts:
        return Response(200, "\n".join(VERSIONS).encode(), ttl_s=ttl_s)
    version, name = parts[0], "/".join(parts[1:])
    if version not in VERSIONS:
        return error(404)
    if name == "api/token":
        return error(405, allow="OPTIONS, PUT")
    if (leaf := page.leaves.get(name)) is not None:
        kind = "application/octet-stream" if name == "user-data" else "text/plain"
        return Response(200, leaf, content_type=kind, ttl_s=ttl_s)
    if name in page.sealed:
        return Response(200, sealed=name, ttl_s=ttl_s)
    if name.startswith(IDENTITY) and name[len(IDENTITY) :] in SIGNED and IDENTITY + "document" in page.leaves:
        return Response(200, sign=name[len(IDENTITY) :], ttl_s=ttl_s)
    listing = page.listings.get(name)
    if listing is None:
        return error(404)
    if not path.endswith("/"):
        return Response(301, location=quote("/" + "/".join(parts) + "/"))
    return Response(200, listing, ttl_s=ttl_s)


def bound_to(page: Page) -> str:
    """What a token is bound to; neither part can contain a space."""
    return f"{page.network} {page.owner}"


def error(status: int, allow: str = "") -> Response:
    """The body is AWS's for 401 and 404, and the same form for the others."""
    title = f"{status} - {REASONS[status]}"
    body = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n'
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n'
        '\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n'
        f" <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    )
    return Response(status, body.encode(), content_type="text/html", allow=allow)


def render(response: Response, *, date: str, modified: str, authority: str, keep_alive: bool, head: bool) -> bytes:
    """The bytes on the wire. `authority`: this server's "address" or "address:port", for a redirect."""
    lines = [f"HTTP/1.1 {response.status} {REASONS[response.status]}"]
    if response.location:
        lines.append(f"Location: http://{authority}{response.location}")
    if response.ttl_s:
        lines.append(f"X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {response.ttl_s}")
    if response.allow:
        lines.append(f"Allow: {response.allow}")
    lines.append(f"Content-Type: {response.content_type}")
    if response.status == 200 and modified:
        lines.append(f"Accept-Ranges: none\r\nLast-Modified: {modified}")
    lines.append(f"Content-Length: {len(response.body)}\r\nDate: {date}\r\nServer: EC2ws")
    lines.append("Connection: keep-alive\r\n\r\n" if keep_alive else "Connection: close\r\n\r\n")
    text = "\r\n".join(lines).encode()
    return text if head else text + response.body
