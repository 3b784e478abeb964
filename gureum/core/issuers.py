"""Who else vouches for callers: issuers of tokens within this gureum (its Kubernetes clusters), whose keys STS asks for without a connection."""

from __future__ import annotations

from typing import Any, Protocol


class Issuers(Protocol):
    async def keys(self, issuer: str) -> dict[str, Any] | None:
        """The public keys (RFC 7517, a JWK Set) of who is called `issuer` ("https://…", as tokens say it); None: there is none of that name here."""
        ...


class NoIssuers:
    """Nobody here issues tokens."""

    async def keys(self, issuer: str) -> dict[str, Any] | None:
        return None
