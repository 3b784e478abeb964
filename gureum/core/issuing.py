"""Certificates that a face asks the home's authority for: the words of the question, the same over the agent's socket and inside one process.

    {"op": "issue", "names": ["a.example.com"], "days": 395, "key_type": "rsa"}
    ──► {"chain_pem": "…", "key_pem": "…", "not_after": 1800000000.0}     or {"refused": "why"}: asking again will not help

The private key leaves the agent once, over a socket that only root can open, and is sealed by who asked.
"""

from __future__ import annotations

from typing import Any, cast

from gureum.ports import PortError
from gureum.ports.certificates import Certificates, KeyType

LIMIT_NAMES = 100
KEY_TYPES = ("ec", "ec384", "rsa")


async def issue(certificates: Certificates, request: dict[str, Any]) -> dict[str, Any]:
    """PortError when it may be tried again. KeyError, TypeError and ValueError for a question that is none."""
    names = tuple(str(name) for name in request["names"])
    key_type = str(request.get("key_type", "ec"))
    if key_type not in KEY_TYPES or len(names) > LIMIT_NAMES:
        raise ValueError("no such key, or too many names")
    try:
        issued = await certificates.issue(names, days=int(request.get("days", 397)), key_type=cast(KeyType, key_type))
    except PortError as refused:
        if refused.retry:
            raise
        return {"refused": refused.why}
    return {
        "chain_pem": issued.chain_pem.decode(),
        "key_pem": issued.key_pem.decode(),
        "not_after": issued.not_after,
    }
