"""What is asked of HAProxy, and who is cut off while it starts itself anew."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from gureum.drivers.haproxy import control as haproxy_control
from gureum.ports import PortError
from gureum.ports.proxies import Group, ProxySpec, Server


class Master(threading.Thread):
    """Cuts off the first `times` that ask, in one of the two ways that HAProxy does, then answers."""

    def __init__(self, path: Path, times: int, *, resets: bool) -> None:
        super().__init__(daemon=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._times, self._resets, self.asked = times, resets, 0

    def run(self) -> None:
        with self._listener:
            for left in range(self._times, -1, -1):
                connection, _ = self._listener.accept()
                with connection:
                    self.asked += 1
                    if left and self._resets:
                        connection.recv(1)  # the rest is unread: the kernel resets
                    else:
                        connection.recv(4096)
                    if not left:
                        connection.sendall(b"4 worker 0 0d00h00m01s 3.0.11\n\n")


@pytest.mark.parametrize("resets", [True, False])
def test_who_is_cut_off_by_a_master_that_starts_anew_asks_again(tmp_path: Path, resets: bool) -> None:
    master = Master(tmp_path / "master", 2, resets=resets)
    master.start()
    shown = asyncio.run(haproxy_control.master_command(tmp_path / "master", "show proc", lambda: True))
    assert haproxy_control.workers(shown) == [haproxy_control.Worker(4, 0)]
    assert master.asked == 3


def test_nobody_asks_again_once_the_process_is_gone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "master"))
    with pytest.raises(PortError, match="does not answer"):
        asyncio.run(haproxy_control.master_command(tmp_path / "master", "show proc", lambda: False))


@pytest.mark.parametrize("there", [True, False])
def test_who_comes_up_is_told_before_who_goes_down(there: bool) -> None:
    """Between the two a request would find no server, and be answered 503."""
    goes, comes = Server("a:80", "10.0.0.1", 80, up=True), Server("b:80", "10.0.0.2", 80)
    old = Group("tg-0123456789abcdef", "arn", "HTTP", servers=(goes, comes) if there else (goes,))
    new = msgspec.structs.replace(
        old, servers=(msgspec.structs.replace(goes, up=False), msgspec.structs.replace(comes, up=True))
    )
    specs = [ProxySpec("eni-0123456789abcdef0", "/net", "10.0.0.9", "app/a/b", groups=(one,)) for one in (old, new)]
    known = {"a:80", "b:80"} if there else {"a:80"}
    for steps in (
        haproxy_control.plan(specs[0], specs[1], {}),
        haproxy_control.restated(new, {"a:80", "b:80"}, known, leaving=True),
    ):
        texts = [step.text for step in steps or ()]
        assert texts[-2:] == [f"set server {new.name}/b:80 state ready", f"set server {new.name}/a:80 state maint"]
