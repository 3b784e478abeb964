"""The kubeconfig: what makes kubectl an administrator of each cluster, a context for each.

The file is gureum's: it is written anew when clusters come and go, and only the context that was chosen stays.
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

CURRENT = re.compile(rb"^current-context: *[\"']?([a-z0-9.-]+)", re.MULTILINE)


class Access(NamedTuple):
    """To one cluster. `name`: of the context; `admin`: key and certificate, PEM; `authority`: PEM of whom the client is to trust."""

    name: str
    server: str
    authority: bytes
    admin: bytes


def kubeconfig(ways: list[Access], known: bytes = b"") -> str:
    """The first is the one that is used unless another is chosen in the file as it is. Answers are not compressed: nothing lies between."""
    chosen = CURRENT.search(known)
    names = [one.name for one in ways]
    current = chosen.group(1).decode() if chosen and chosen.group(1).decode() in names else names[0]
    parts = ["apiVersion: v1", "kind: Config", f"current-context: {current}", "clusters:"]
    for one in ways:
        parts += [
            f"- name: {one.name}",
            "  cluster:",
            f"    server: {one.server}",
            f"    certificate-authority-data: {_base64(one.authority)}",
            "    disable-compression: true",
        ]
    parts.append("contexts:")
    for one in ways:
        parts += [f"- name: {one.name}", "  context:", f"    cluster: {one.name}", f"    user: {one.name}-admin"]
    parts.append("users:")
    for one in ways:
        at = one.admin.index(b"-----BEGIN CERTIFICATE")
        parts += [
            f"- name: {one.name}-admin",
            "  user:",
            f"    client-certificate-data: {_base64(one.admin[at:])}",
            f"    client-key-data: {_base64(one.admin[:at])}",
        ]
    return "\n".join(parts) + "\n"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
