"""Web pages, as the tour fetches them: now, as soon as they are there, or not at all."""

from __future__ import annotations

import http.client
import time
from http import HTTPStatus

from gureum.cli.demo.tour import Tour
from gureum.cli.output import Failure

PAGE_LIMIT_S = 30.0
SILENCE_S = 2.0


def fetch(address: str, port: int, timeout_s: float, path: str = "/") -> str:
    """The page's text. OSError when there is none, or an error instead."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        page = answer.read().decode().strip()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise OSError(f"{answer.status} {answer.reason}")
        return page
    finally:
        connection.close()


def timed_fetch(address: str, port: int) -> float:
    started = time.monotonic()
    fetch(address, port, 5.0)
    return time.monotonic() - started


def fetch_when_up(address: str, port: int) -> str:
    """The page, as soon as the machine serves it."""
    deadline = time.monotonic() + PAGE_LIMIT_S
    while True:
        try:
            return fetch(address, port, 2.0)
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failure(f"no page from {address} within {PAGE_LIMIT_S:.0f} s: {error}") from error
            time.sleep(0.01)


def expect_silence(tour: Tour, address: str, port: int, what: str) -> None:
    """A dropped packet is never answered: neither a page nor a refusal may come."""
    try:
        fetch(address, port, SILENCE_S)
    except TimeoutError:
        tour.result(f"{what} (no answer in {SILENCE_S:.0f} s)")
        return
    except OSError as error:
        raise Failure(f"port {port} answered with {error} instead of silence") from error
    raise Failure(f"port {port} is open")
