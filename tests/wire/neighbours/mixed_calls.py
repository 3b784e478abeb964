"""Calls to neighbours as a seed picks them: many services, accounts and regions; what is made is tagged, changed, versioned and deleted again, and
many calls are wrong in the end (of what is gone, there twice, or not allowed), as programs' are.

Names come from small pools, so that calls meet. What a service names itself (ids of keys, uploads, zones) is remembered.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

ACCOUNTS = ("111122223333", "444455556666", "777788889999")
REGIONS = ("us-east-1", "eu-west-1")
GLOBAL = frozenset({"iam", "route53", "organizations"})
POOL = 10
LIMIT_REMEMBERED = 60
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
Call = Callable[["MixedCalls"], Any]


class MixedCalls:
    """`client`: makes a boto3 client of a service, by account and region. `outcomes`: service, operation and "" or the error's code → how often."""

    def __init__(self, client: Callable[..., Any], seed: int, *, calls: dict[str, list[tuple[int, Call]]]) -> None:
        self.random = random.Random(seed)
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        self.faults: list[str] = []
        self.account, self.region = ACCOUNTS[0], REGIONS[0]
        self.clients: dict[tuple[str, str, str], Any] = {}
        self._client = client
        self._calls = calls
        self._known: dict[tuple[str, str, str], list[Any]] = {}
        self._weights = {service: sum(weight for weight, _ in each) for service, each in calls.items()}

    def run(self, count: int) -> None:
        services = list(self._calls)
        weights = [self._weights[name] for name in services]
        while self.outcomes.total() < count:
            self.account, self.region = self.random.choice(ACCOUNTS), self.random.choice(REGIONS)
            service = self.random.choices(services, weights)[0]
            each = self._calls[service]
            self.random.choices([one for _, one in each], [weight for weight, _ in each])[0](self)

    def call(self, service: str, operation: str, **params: Any) -> dict[str, Any]:
        """The answer; {} where it is an error."""
        try:
            found: dict[str, Any] = getattr(self.client(service), operation)(**params)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            self.outcomes[service, operation, code] += 1
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                self.faults.append(f"{service} {operation}: {error} of {params}")
            return {}
        except ParamValidationError as error:
            self.faults.append(f"{service} {operation}: {error}")
            self.outcomes[service, operation, "params"] += 1
            return {}
        self.outcomes[service, operation, ""] += 1
        return found

    def client(self, service: str) -> Any:
        place = (service, self.account, self.region)
        if place not in self.clients:
            self.clients[place] = self._client(service, account=self.account, region=self.region)
        return self.clients[place]

    def name(self, kind: str) -> str:
        """One of the pool of that kind: perhaps there, perhaps not."""
        return f"{kind}-{self.random.randrange(POOL)}"

    def bucket(self) -> str:
        return f"{self.name('bucket')}.{self.account}"

    def arn(self, service: str, rest: str) -> str:
        return f"arn:aws:{service}:{'' if service in GLOBAL else self.region}:{self.account}:{rest}"

    def queue(self, name: str = "") -> str:
        return f"http://127.0.0.1/{self.account}/{name or self.name('queue')}"

    def remember(self, kind: str, one: Any) -> None:
        if one is not None:
            known = self._known.setdefault((kind, self.account, self.region), [])
            known.append(one)
            del known[:-LIMIT_REMEMBERED]

    def known(self, kind: str, otherwise: Any = None) -> Any:
        """One that was remembered in this account and region."""
        found = self._known.get((kind, self.account, self.region))
        return self.random.choice(found) if found else otherwise

    def one_of(self, *these: Any) -> Any:
        return self.random.choice(these)

    def text(self, most: int = 200) -> str:
        """Of words, with what readers of forms, JSON and XML stumble over."""
        words = ("구름", "&Action=DeleteQueue&", '{"a": 1}', "<b>", "%2F", "plain", "+", "=", "\n", "ü")
        return " ".join(self.random.choice(words) for _ in range(self.random.randint(1, max(2, most // 8))))

    def tags(self) -> list[dict[str, str]]:
        keys = self.random.sample(("team", "cost", "env"), self.random.randint(1, 3))
        return [{"Key": key, "Value": str(self.random.randrange(9))} for key in keys]

    def policy(self, resource: str = "*", principal: Any = None) -> str:
        statement = {
            "Sid": f"S{self.random.randrange(9)}",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "sqs:SendMessage"],
        }
        who = {} if principal is None else {"Principal": principal}
        return json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": resource, **who}]})
