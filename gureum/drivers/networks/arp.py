"""Who answers ARP: requests from a network's router to the interfaces in its machines, the look of an instance's reachability check.

    first round    one socket for all that are asked: those that are well answer before the call that asks them returns
    then           a socket of its own, bound to its link, for each that was silent

A guest is hostile: it may answer for others or send answers without end. An answer counts only from the link that was asked, and whoever fills the
common socket cannot fill the one of another. The packets pass no rule set: packet sockets stand before and behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from pathlib import Path

from gureum.drivers.networks import namespaces
from gureum.drivers.networks.network_names import interface_link
from gureum.drivers.networks.routers import ROUTER_MAC
from gureum.ports import PortError
from gureum.ports.checks import Asked

_ETH_P_ARP = 0x0806
_REQUEST, _REPLY = 1, 2
_ARP = struct.Struct(
    "!HHBBH6s4s6s4s"
)  # RFC 826: hardware, protocol, their lengths, operation; MAC and address of sender and target
_OWN_MAC = bytes.fromhex(ROUTER_MAC.replace(":", ""))
_BROADCAST = b"\xff" * 6
_BATCH = 64
"""Asked before the answers are read: a socket's buffer holds some hundred packets."""
_ROUND_S, _FURTHER_ROUNDS = 0.3, 2
_AT_ONCE = 64

Links = dict[str, Asked]


async def answering(namespace: Path, asked: Iterable[Asked]) -> frozenset[str]:
    """Names of the interfaces that answer. PortError when there is no such namespace."""
    left: Links = {interface_link(one.interface): one for one in asked}
    names = {one.interface for one in left.values()}
    async with _opened(namespace, "") as common:
        waiting = iter(list(left.items()))
        while batch := list(islice(waiting, _BATCH)):
            for link, one in batch:
                _ask(common, link, one)
            _read(common, left)
        await _wait(common, left)
    slots = asyncio.Semaphore(_AT_ONCE)
    await asyncio.gather(*(_ask_again(namespace, link, left, slots) for link in list(left)))
    return frozenset(names - {one.interface for one in left.values()})


async def _ask_again(namespace: Path, link: str, left: Links, slots: asyncio.Semaphore) -> None:
    async with slots:
        try:
            async with _opened(namespace, link) as own:
                for _ in range(_FURTHER_ROUNDS):
                    if link in left:
                        _ask(own, link, left[link])
                        await _wait(own, only := {link: left[link]})
                        if not only:
                            del left[link]
        except PortError:
            return  # its link is gone: nobody answers


@contextlib.asynccontextmanager
async def _opened(namespace: Path, link: str) -> AsyncIterator[socket.socket]:
    """A packet socket in the namespace, of one link or of all; closing one waits for the kernel, so a thread does it."""
    try:
        with namespaces.entered(namespace):
            # Of no protocol it hears nothing before it is bound to its link.
            protocol = 0 if link else socket.htons(_ETH_P_ARP)
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        raise PortError(f"cannot look from {namespace.name}: {error.strerror}") from error
    try:
        if link:
            opened.bind((link, _ETH_P_ARP))
        yield opened
    except OSError as error:
        raise PortError(f"cannot look from {namespace.name}: {error.strerror}") from error
    finally:
        await asyncio.to_thread(opened.close)


def _ask(sock: socket.socket, link: str, one: Asked) -> None:
    target, own = socket.inet_aton(one.address), socket.inet_aton(one.gateway)
    packet = _ARP.pack(1, 0x0800, 6, 4, _REQUEST, _OWN_MAC, own, b"\0" * 6, target)
    try:
        sock.sendto(packet, (link, _ETH_P_ARP, 0, 0, _BROADCAST))
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.ENXIO, errno.ENETDOWN, errno.ENOBUFS, errno.EAGAIN):
            raise  # those: the link is gone or down, or too much is under way: no answer comes


def _read(sock: socket.socket, left: Links) -> None:
    """Takes what has come, at most so much at once, and those that have answered out of `left`."""
    for _ in range(4 * _BATCH):
        try:
            packet, (link, *_) = sock.recvfrom(_ARP.size)
        except (BlockingIOError, InterruptedError):
            return
        one = left.get(link)
        if one is None or len(packet) < _ARP.size:
            continue
        _, _, _, _, operation, _, sender, _, _ = _ARP.unpack(packet)
        if operation == _REPLY and sender == socket.inet_aton(one.address):
            del left[link]


async def _wait(sock: socket.socket, left: Links) -> None:
    """Reads until all have answered or the round is over."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + _ROUND_S
    while True:
        _read(sock, left)
        rest = ends - loop.time()
        if not left or rest <= 0:
            return
        came = loop.create_future()
        loop.add_reader(sock, _note, came)
        try:
            await asyncio.wait_for(came, rest)
        except TimeoutError:
            return
        finally:
            loop.remove_reader(sock)


def _note(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)
