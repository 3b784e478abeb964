"""moto, called with a request and answering with a response: its state in this process, one call at a time (it is not made for threads).

What a call takes from outside is given to it, so that the same call later gives the same ids and dates: the time by `_Clock`, randomness by moto's
own seed. What it draws from the system's randomness all the same is carried over by keepers.py. A state comes into being with the first call that
looks into it, be it a read, which is in no journal; so what it draws then (IAM gives ids to AWS's policies) is from a seed of its own: else the ids
of a later call would be others when the journal is played, and a key of KMS would be gone after a restart, with all that is encrypted by it.
"""

from __future__ import annotations

import datetime as dt
import importlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from moto import backends
from moto.core import utils as moto_time
from moto.core.base_backend import AccountSpecificBackend
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.config import default_user_config
from moto.moto_api._internal import mock_random
from moto.moto_api._internal.models import moto_api_backend

from gureum.aws.errors import AwsError
from gureum.aws.neighbours import (
    aws_policies,
    bucket_settings,
    default_keys,
    iam_ids,
    lost_targets,
    memory,
    overrides,
    server_certificates,
)
from gureum.aws.neighbours.deliveries import Deliveries
from gureum.aws.neighbours.journal import Sent
from gureum.aws.neighbours.keepers import Keeper, keeper_of
from gureum.aws.neighbours.offered import OFFERED
from gureum.aws.neighbours.topic_signatures import SigningKey

log = logging.getLogger("gureum.neighbours")
BORN_S = 1577836800.0
"""When things are said to have been made that come with an account (EventBridge's default bus): 2020. They have no call of their own."""
OWN_BUCKETS = "MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS"
_GET = AccountSpecificBackend.__getitem__


class Answer(msgspec.Struct, frozen=True):
    """`headers`: lower-case names. `failed`: what went wrong in moto itself; "" usually."""

    status: int
    headers: dict[str, str]
    body: bytes
    failed: str = ""


class _Clock:
    """Stands where `moto.core.utils` looks for the module `datetime`: moto has no clock that can be set, and everything that it dates, it dates by
    that module's `utcnow`. Shifted only while the journal is played."""

    timedelta = dt.timedelta
    timezone = dt.timezone

    def __init__(self) -> None:
        self.now_s: float | None = None
        self.datetime = _datetime_of(self)

    def time(self) -> float:
        """As the module `time` has it."""
        return time.time() if self.now_s is None else self.now_s

    def __getattr__(self, name: str) -> Any:
        return getattr(dt, name)


_CLOCKS = {
    "ecr": (("moto.ecr.models", "datetime"),),
    "resource-groups": (("moto.resourcegroups.models", "datetime"),),
    "s3control": (("moto.s3control.models", "datetime"),),
    "secretsmanager": (("moto.secretsmanager.models", "time"),),
}
"""Service → modules of moto with a clock of their own, and its name there: the class `datetime`, or the module `time`."""


def _datetime_of(clock: _Clock) -> type[dt.datetime]:
    class Datetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.fromtimestamp(clock.time(), tz)

    return Datetime


class Backends:
    """Only one per process. Its methods are called by one thread. `derive`: a key of the home's for a purpose. `playing`: calls
    of the journal are made again; nobody outside is to hear of them."""

    def __init__(self, derive: Callable[[str], bytes]) -> None:
        self._stubber = BotocoreStubber()
        self._clock = _Clock()
        vars(moto_time)["datetime"] = self._clock
        self._apart = self._fixed = True
        default_keys.lead(derive, lambda: self._fixed)
        iam_ids.lead(lambda: self._fixed)
        aws_policies.lead(lambda: self._apart)
        server_certificates.lead(lambda: self._fixed)
        self.playing = False
        Deliveries(lambda: not self.playing).install()
        overrides.install(lambda: self._fixed)
        bucket_settings.install()
        lost_targets.install()
        memory.install()
        setattr(AccountSpecificBackend, "__getitem__", self._getting())  # noqa: B010 - moto has no other way in
        # Templates attach AWS's own policies to their roles (aws_policies.py).
        default_user_config["iam"]["load_aws_managed_policies"] = True
        self._keepers: dict[str, Keeper] = {}
        self._signer = SigningKey()

    def _getting(self) -> Any:
        """How a region's state of an account is got, or made at the first time."""

        def get(states: Any, region: str) -> Any:
            if not self._apart or region in states.keys():  # noqa: SIM118 - `in` alone is also true for regions that have no state yet
                return _GET(states, region)
            before, now_s = mock_random.getstate(), self._clock.now_s
            mock_random.seed(f"{states.service_name}/{states.account_id}/{region}")
            self._clock.now_s = BORN_S
            try:
                return _GET(states, region)
            finally:
                mock_random.setstate(before)
                self._clock.now_s = now_s

        return get

    def call(
        self,
        account: str,
        sent: Sent,
        seed: bytes,
        at: float | None,
        *,
        own_only: bool = False,
        apart: bool = True,
        fixed: bool = True,
    ) -> Answer:
        """`seed`: b"" where nothing needs to be repeated. `at`: the time that it is for moto, Unix seconds; None: now. `own_only`: buckets of
        other accounts are denied. `apart`: states that it brings into being have a seed of their own. `fixed`: keys of AWS's aliases are not
        drawn, and ids of IAM are as AWS writes them."""
        self._clock.now_s = at
        self._apart, self._fixed = apart, fixed
        if seed:
            mock_random.seed(seed)
        if own_only:
            os.environ[OWN_BUCKETS] = "false"  # moto asks for it in each call
        headers = HeadersDict({**sent.headers, "x-moto-account-id": account})
        request = AWSPreparedRequest(sent.method, sent.url, headers, sent.body, False)
        try:
            found: Any = self._stubber.process_request(request)
        except NotImplementedError as missing:
            raise AwsError("NotImplemented", f"moto does not build this: {missing}", status=501) from missing
        except Exception as fault:  # noqa: BLE001 - a fault of moto is an answer to its caller, who must get one
            log.error("moto failed", extra={"fault": type(fault).__name__, "url": sent.url.partition("?")[0]})
            return Answer(500, {}, b"", f"{type(fault).__name__}: {fault}")
        finally:
            self._clock.now_s = None
            self._apart = self._fixed = True
            os.environ.pop(OWN_BUCKETS, None)
            if seed:
                mock_random.seed()
        if found is None:
            return Answer(404, {}, b"")
        status, given, answer = found
        return Answer(int(status), _texts(given), answer.encode() if isinstance(answer, str) else bytes(answer))

    def prepare(self, service: str) -> None:
        """Before the first call of a service: what it dates by modules of its own, it dates by this clock, too; and its keys are led."""
        if service == "dynamodb":
            importlib.import_module("gureum.aws.neighbours.table_keys").lead(lambda: self._fixed)
            importlib.import_module("gureum.aws.neighbours.table_settings").lead()
        if service == "events":
            lost_targets.lead_events()
        if service == "secretsmanager":
            importlib.import_module("gureum.aws.neighbours.secret_versions").lead()
        if service == "kinesis":
            importlib.import_module("gureum.aws.neighbours.stream_tags").lead()
        if service == "kms":
            importlib.import_module("gureum.aws.neighbours.key_rotation").lead()
            importlib.import_module("gureum.aws.neighbours.key_pairs").lead()
        for module, name in _CLOCKS.get(service, ()):
            vars(importlib.import_module(module))[name] = self._clock if name == "time" else self._clock.datetime

    def kept(self, service: str, account: str, region: str) -> dict[str, bytes]:
        """What the call just made drew from the system's randomness, to be given to `restore` when it is made again."""
        keeper = self._keeper(service)
        found = keeper.take(self.backend(service, account, region)) if keeper is not None else {}
        return {**found, **self._signer.take()}

    def looks_changed(self) -> bool:
        """Whether a key of AWS's came into being since this was last asked."""
        return default_keys.were_made()

    def give(self, service: str, kept: dict[str, bytes]) -> None:
        """Before a call is made again: what it kept."""
        self._signer.give(kept)
        keeper = self._keeper(service)
        if keeper is not None:
            keeper.give(kept)

    def restore(self, service: str, account: str, region: str, kept: dict[str, bytes]) -> None:
        keeper = self._keeper(service)
        if keeper is not None:
            keeper.put(self.backend(service, account, region), kept)

    def backend(self, service: str, account: str, region: str) -> Any:
        """moto's state of a service; services that have no regions have one state ("aws")."""
        found: Any = backends.get_backend(OFFERED[service])[account]  # type: ignore[call-overload]
        return found[region] if region in found.regions else found["aws"]

    def server_certificate(self, account: str, region: str, named: dict[str, str]) -> dict[str, str] | None:
        """As `SERVER_CERTIFICATE` is answered (core/neighbours.py)."""
        state = self.backend("iam", account, region)
        return server_certificates.find(state, arn=named.get("Arn", ""), name=named.get("Name", ""))

    def states(self, service: str) -> Any:
        """moto's states of a service: account → region, or partition where it has none."""
        return backends.get_backend(OFFERED[service])  # type: ignore[call-overload]

    def reset(self) -> None:
        moto_api_backend.reset()
        self._keepers.clear()
        self._signer = SigningKey()

    def _keeper(self, service: str) -> Keeper | None:
        if service not in self._keepers:
            made = keeper_of(service)
            if made is None:
                return None
            self._keepers[service] = made
        return self._keepers[service]


def _texts(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(headers).items() if str(name).lower() != "status"}
