"""One API call as an operation sees it: who asks for what, where, and the way to read and write.

Operations get everything they need from their `Call`; they never see the transport. An operation whose commit meets a `Conflict` is run
again from its beginning by the gateway, so it must decide everything from what it reads in that run.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gureum.aws.credentials import Principal
from gureum.aws.errors import AwsError
from gureum.aws.partitions import partition_of
from gureum.base.ids import new_id
from gureum.base.settings import Settings
from gureum.core.issuers import Issuers, NoIssuers
from gureum.core.log_tails import LogTails
from gureum.core.neighbours import Known, NoNeighbours
from gureum.engine.client import Client, Transaction
from gureum.engine.events import Events
from gureum.engine.resource import Meta, Resource, key_of, kind
from gureum.engine.tracing import Tracer
from gureum.ports.telemetry import Logs, Metrics

T = TypeVar("T", bound=Resource)


LIMIT_FRAGMENTS = 10_000
TOKEN_LIFE_S = 24 * 3600.0
"""AWS: ec2 "Ensuring idempotency": a client token is good for 24 hours."""
LIMIT_TOKEN = 64
"""Characters of a client token, all ASCII. AWS: ec2 "Ensuring idempotency"."""
SWEEP_TOKENS_FROM, SWEEP_TOKENS_AT_ONCE = 200, 50


class TokenSpec(msgspec.Struct, frozen=True):
    """What an idempotent call made: `fingerprint` of its parameters, `names` of the objects that tell its result."""

    fingerprint: str
    names: tuple[str, ...]


@kind("aws.ClientToken")
class ClientToken(Resource, frozen=True):
    """Remembers a client token; lives as long as AWS promises (24 hours), then is swept."""

    spec: TokenSpec


class Call:
    """`params`: parsed and checked input by botocore member names, only what was given. `account`: 12 digits. `scope`: "account/region",
    the scope of regional objects. `now`: Unix seconds of this call. `agent`: streams and reads of the machine (consoles); `compiled`: the
    operation's compiled protocol, for fragments; `sealer`: encrypts secrets at rest; `metrics`, `logs`: the telemetry store; `tails`: who
    watches log events; `known`: what neighbours answer; `issuers`: whose tokens can be checked here; `guest`: a machine of the cloud calls,
    which must stay in its account; `principal`: who calls (if unsaid, the account's root)."""

    def __init__(
        self,
        *,
        service: str,
        operation: str,
        params: dict[str, Any],
        account: str,
        region: str,
        access_key: str,
        request_id: str,
        client: Client,
        settings: Settings,
        events: Events,
        tracer: Tracer,
        metrics: Metrics,
        logs: Logs,
        agent: Any = None,
        compiled: Any = None,
        sealer: Any = None,
        fragments: dict[Any, Any] | None = None,
        now: float | None = None,
        tails: LogTails | None = None,
        known: Known | None = None,
        issuers: Issuers | None = None,
        guest: bool = False,
        principal: Principal | None = None,
    ) -> None:
        self.service = service
        self.operation = operation
        self.params = params
        self.account = account
        self.region = region
        self.access_key = access_key
        self.request_id = request_id
        self.client = client
        self.settings = settings
        self.events = events
        self.tracer = tracer
        self.metrics = metrics
        self.logs = logs
        self.agent = agent
        self.compiled = compiled
        self.sealer = sealer
        self.fragments = {} if fragments is None else fragments
        self.now = client.clock.now() if now is None else now
        self.scope = f"{account}/{region}"
        self.tails = LogTails() if tails is None else tails
        self.guest = guest
        self.principal = principal or Principal(f"arn:{self.partition}:iam::{account}:root", account)
        self.known = Known(NoNeighbours()) if known is None else known
        self.issuers: Issuers = NoIssuers() if issuers is None else issuers

    @property
    def dry_run(self) -> bool:
        return bool(self.params.get("DryRun"))

    def with_params(self, params: dict[str, Any]) -> Call:
        """The same call with other parameters (those of a launch template merged under its own)."""
        other = copy.copy(self)
        other.params = params
        return other

    def within(self, scope: str) -> Call:
        """The same call as if it came from there: to look at what is another account's."""
        if scope == self.scope:
            return self
        other = copy.copy(self)
        other.scope = scope
        other.account, _, other.region = scope.partition("/")
        return other

    def get(self, cls: type[T], name: str) -> T | None:
        return self.client.get(cls, self.scope, name)

    def all(self, cls: type[T]) -> list[T]:
        return self.client.all(cls, self.scope)

    def by(self, cls: type[T], index: str, value: str) -> list[T]:
        return self.client.by(cls, self.scope, index, value)

    def meta(self, name: str, *, tags: dict[str, str] | None = None, owner: Resource | None = None) -> Meta:
        """The envelope of a new object of this call's scope."""
        return Meta(
            scope=self.scope,
            name=name,
            uid=new_id("", 32),
            created=self.now,
            owner=key_of(owner) if owner else "",
            tags=tags or {},
        )

    def transaction(self) -> Transaction:
        return self.client.transaction()

    async def commit(self, transaction: Transaction) -> None:
        """Writes; a dry run ends here with AWS's answer that it would have succeeded."""
        self.end_dry_run()
        await transaction.commit()
        self.tracer.wrote(transaction.written)

    def end_dry_run(self) -> None:
        """AWS: DryRunOperation, HTTP 412, when the call would have succeeded."""
        if self.dry_run:
            raise AwsError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412)

    def arn(self, resource: str, *, service: str = "", region: str | None = None) -> str:
        """`resource`: "vpc/vpc-1". AWS: Amazon Resource Names."""
        where = f"{service or self.service}:{self.region if region is None else region}:{self.account}"
        return f"arn:{self.partition}:{where}:{resource}"

    @property
    def partition(self) -> str:
        """AWS: the first part of ARNs after "arn"."""
        return partition_of(self.region)

    def fragment(
        self, shape: str, obj: Resource, show: Callable[[], dict[str, Any]], depends: tuple[int, ...] = ()
    ) -> Any:
        """The encoded form of `obj` as `shape` in this call's protocol, kept as long as its revision and those in `depends` stay."""
        if self.compiled is None:
            return show()
        key = (obj.meta.uid, shape, self.compiled.protocol)
        version = (obj.meta.revision, depends)
        kept = self.fragments.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        encoded = self.compiled.encoder(shape)(show())
        if len(self.fragments) >= LIMIT_FRAGMENTS:
            self.fragments.clear()
        self.fragments[key] = (version, encoded)
        return encoded

    def done_before(self) -> tuple[str, ...] | None:
        """Names that an earlier call with the same ClientToken made, or None. AWS: IdempotentParameterMismatch when its parameters were others,
        InvalidParameterValue for what is no client token."""
        text = self.params.get("ClientToken") or ""
        if len(text) > LIMIT_TOKEN or not text.isascii():
            raise AwsError(
                "InvalidParameterValue",
                f"Value ({text[:200]}) for parameter clientToken is invalid. It must be at most {LIMIT_TOKEN} ASCII characters.",
            )
        token = self._token()
        if token is None or self._is_over(token):
            return None
        if token.spec.fingerprint != self._fingerprint():
            raise AwsError(
                "IdempotentParameterMismatch",
                "The request uses the same client token as a previous, but non-identical request.",
            )
        return token.spec.names

    def remember(self, transaction: Transaction, names: tuple[str, ...]) -> None:
        """In the same commit as what was made: a repeated call with this ClientToken finds `names`."""
        if not self.params.get("ClientToken"):
            return
        spec, old = TokenSpec(fingerprint=self._fingerprint(), names=names), self._token()
        if old is None:
            transaction.create(ClientToken(meta=self.meta(self._token_name()), spec=spec))
        elif self._is_over(old):
            meta = msgspec.structs.replace(old.meta, created=self.now)
            transaction.update(ClientToken(meta=meta, spec=spec))
        self._sweep_tokens(transaction)

    def told_token(self) -> dict[str, str]:
        """{"ClientToken": …} for results that tell it, at first and when the call comes again; nothing where none was given."""
        token = self.params.get("ClientToken")
        return {"ClientToken": str(token)} if token else {}

    def _is_over(self, token: ClientToken) -> bool:
        return token.meta.created < self.now - TOKEN_LIFE_S

    def _sweep_tokens(self, transaction: Transaction) -> None:
        """Takes old tokens away with the new one, once there are many."""
        tokens = self.all(ClientToken)
        if len(tokens) > SWEEP_TOKENS_FROM:
            own = self._token_name()
            over = [one for one in tokens if self._is_over(one) and one.meta.name != own]
            for one in over[:SWEEP_TOKENS_AT_ONCE]:
                transaction.delete(one)

    def _token(self) -> ClientToken | None:
        return self.get(ClientToken, self._token_name()) if self.params.get("ClientToken") else None

    def _token_name(self) -> str:
        text = f"{self.service}:{self.operation}:{self.params['ClientToken']}"
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def _fingerprint(self) -> str:
        text = json.dumps(
            {k: v for k, v in self.params.items() if k not in ("ClientToken", "DryRun")}, sort_keys=True, default=str
        )
        return hashlib.sha256(text.encode()).hexdigest()
