"""Metadata: the instance metadata service (IMDS v1 and v2) that the agent runs for guests at 169.254.169.254.

The control plane hands over one document per instance; the driver serves it to whoever asks from one of the instance's
addresses in its network (the kernel keeps guests from sending with others' addresses).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol

import msgspec


class MetadataOptions(msgspec.Struct, frozen=True):
    """AWS: ec2 InstanceMetadataOptions. `enabled`: HttpEndpoint. `tokens_required`: HttpTokens. `hop_limit`:
    HttpPutResponseHopLimit, 1-64: the IP TTL of packets that carry a token. `tags_enabled`: InstanceMetadataTags."""

    enabled: bool = True
    tokens_required: bool = False
    hop_limit: int = 1
    tags_enabled: bool = False


class InstanceMetadata(msgspec.Struct, frozen=True):
    """What one instance sees.

    `owner`: the instance's id; tokens are bound to it. `addresses`: the source addresses that identify it in `network`.
    `tree`: path under /latest/ → content, e.g. "meta-data/instance-id" → "i-0abc". Directories list themselves; a path
    that ends with "/" gives a directory's listing where it is not the plain one, e.g. "meta-data/public-keys/" →
    "0=my-key".
    Paths under "meta-data/tags/" are shown only with `tags_enabled`. With "dynamic/instance-identity/document" come
    pkcs7, rsa2048 and signature beside it, made by the local CA's identity key.
    `user_data`: None when there is none. `sealed`: path as in `tree` → (content sealed by the home's key, what it was sealed for); it is opened
    only to be told.
    """

    owner: str
    network: str
    addresses: tuple[str, ...]
    tree: dict[str, str]
    options: MetadataOptions = MetadataOptions()
    user_data: bytes | None = None
    sealed: dict[str, tuple[str, str]] = {}


class Metadata(Protocol):
    """`replace` and `forget` act at once, also on connections that are open."""

    def replace(self, document: InstanceMetadata) -> None:
        """From now on this is what its owner sees. ValueError when a path, an address or the hop limit is not one.
        An address that another owner of the same network had is this owner's from now on."""

    def forget(self, owner: str) -> None:
        """Its addresses are answered 503 (try again) from now on, its tokens are void."""

    async def serve(self, network: str, sockets: Sequence[socket.socket]) -> None:
        """Answers on these bound TCP sockets, which the driver owns from now on. A second call for a network replaces
        its sockets."""

    async def stop(self, network: str) -> None: ...
    async def close(self) -> None: ...
