"""Forwarding on the host's own links, switched on while some home needs it, and put back.

The kernel forwards what comes in by a link whose `forwarding` is on (ip-sysctl, net.ipv4.conf.X.forwarding). Answers
from outside come in by the link to the world, so that is on while a home lets guests out by it. Where it was on already
(Docker, a host that routes) nothing is changed and nothing put back. Homes share a link: a file per link tells who holds
it. It is written first and taken away last, so that what dies between leaves nothing that the next does not put back.

    /run/gureum/forwarding/<inode of the namespace>-<link>      a home's id per line
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gureum.drivers.networks import namespaces

_KEYS = Path("/proc/sys/net/ipv4")


class Forwarding:
    """What one home has switched on in the present namespace, which is the host's."""

    def __init__(self, home_id: str, folder: Path) -> None:
        self._home_id = home_id
        self._folder = folder

    def claim(self, links: Iterable[str]) -> frozenset[str]:
        """This home needs `links` and no others any more. Those of them whose forwarding is gureum's doing (`switch_on`)."""
        wanted = frozenset(links)
        with self._locked():
            for link in self._held() - wanted:
                self._let_go(link)
            return frozenset(link for link in wanted if self._claim(link))

    def switch_on(self, claimed: Iterable[str]) -> None:
        namespaces.write_sysctls({f"?ipv4/conf/{link}/forwarding": "1" for link in claimed})

    def release(self) -> None:
        """This home needs none any more."""
        with self._locked():
            for link in self._held():
                self._let_go(link)

    def _claim(self, link: str) -> bool:
        key, path = _KEYS / "conf" / link / "forwarding", self._path(link)
        if not key.exists() or (not path.exists() and key.read_text().strip() == "1"):
            return False
        _write(path, {*_homes(path), self._home_id})
        return True

    def _let_go(self, link: str) -> None:
        path = self._path(link)
        others = _homes(path) - {self._home_id}
        if others:
            _write(path, others)
            return
        if (_KEYS / "ip_forward").read_text().strip() != "1":  # else somebody has since let the whole host forward
            namespaces.write_sysctls({f"?ipv4/conf/{link}/forwarding": "0"})
        path.unlink(missing_ok=True)

    def _held(self) -> frozenset[str]:
        start = _namespace()
        mine = (path for path in self._folder.glob(f"{start}-*") if self._home_id in _homes(path))
        return frozenset(path.name.removeprefix(f"{start}-") for path in mine)

    def _path(self, link: str) -> Path:
        return self._folder / f"{_namespace()}-{link}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _namespace() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def _homes(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except FileNotFoundError:
        return set()


def _write(path: Path, homes: set[str]) -> None:
    fresh = path.with_name(f".{path.name}")
    fresh.write_text("".join(f"{home}\n" for home in sorted(homes)))
    fresh.replace(path)
