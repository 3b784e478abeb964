"""The answers that a load balancer gives by itself: AWS's small pages. Pure.

What is no HTTP at all HAProxy answers before any rule and any page of ours: status 400 or 408 as AWS, the page its own (decision 0102).
"""

from __future__ import annotations

SERVER = "awselb/2.0"
UNREACHED = "{ var(txn.began) -m found }"
"""Of an answer: that no target took the connection. The page that HAProxy shows then notes when the request came."""
TOO_LATE_S = 9
"""The connection's time limit is ten seconds, and what is refused at once takes none; the id of a request knows whole seconds."""
REASONS = {
    301: "Moved Permanently",
    302: "Found",
    400: "Bad Request",
    405: "Not Allowed",
    408: "Request Timeout",
    414: "Request-URI Too Large",
    463: "",
    464: "",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
}


def page(status: int, title: str = "") -> str:
    title = title or f"{status} {REASONS[status]}".strip()
    lines = ("<html>", f"<head><title>{title}</title></head>", "<body>", f"<center><h1>{title}</h1></center>")
    return "\r\n".join((*lines, "</body>", "</html>", ""))


def files() -> dict[str, bytes]:
    """Name → content of everything the configuration refers to for errors."""
    found = {f"{status}.html": page(status).encode() for status in REASONS}
    # HAProxy says 503 of any target that takes no connection; which of two pages it is, is known when it is shown.
    came = "%[unique-id,field(2,-),hex2i,set-var(txn.began),mul(0),bool,iif(,)]"
    late = f"%[date,sub(txn.began),div({TOO_LATE_S}),bool,iif('504 {REASONS[504]}','502 {REASONS[502]}')]"
    found["connect.html"] = (came + page(503, late)).encode()
    return found
