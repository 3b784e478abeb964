"""Messages of SNS to subscribers by HTTP on this machine: sent beside moto's thread, which a slow subscriber would hold for everybody, and not again
when the journal is played. AWS: a subscriber that does not answer is not the publisher's fault."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from moto.sns import models

log = logging.getLogger("gureum.neighbours")
LIMIT_WAITING, SENDERS = 1000, 4
TIMEOUT_S = 3.0


class Deliveries:
    """Stands where moto's SNS looks for the module `requests`. `live`: whether calls are made now, and not played again."""

    def __init__(self, live: Callable[[], bool]) -> None:
        self._live = live
        self._waiting = 0
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="sns")

    def install(self) -> None:
        vars(models)["requests"] = self

    def post(self, url: str, json: Any = None, headers: dict[str, str] | None = None) -> None:
        """Never fails. Beyond the limit messages are dropped, as after AWS's last retry."""
        if not self._live():
            return
        if self._waiting >= LIMIT_WAITING:
            log.warning("a message was not delivered", extra={"why": "too many wait"})
            return
        self._waiting += 1
        self._senders.submit(self._send, url, json, headers)

    def _send(self, url: str, json: Any, headers: dict[str, str] | None) -> None:
        try:
            # A subscriber may not lead elsewhere: nothing leaves this machine.
            requests.post(url, json=json, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as fault:
            log.info("a message was not delivered", extra={"why": type(fault).__name__})
        finally:
            self._waiting -= 1
