"""boto3 clients that wait as long as a journal is played, and find S3 Control, whose names begin with the account, without a resolver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

PATIENCE_S = 900


def patient_clients(url: Callable[[], str]) -> Callable[..., Any]:
    """A maker of clients; one for each service, account and region."""
    made: dict[tuple[str, str, str], Any] = {}

    def client(service: str, *, account: str = "111122223333", region: str = "us-east-1") -> Any:
        place = (service, account, region)
        if place not in made:
            made[place] = boto3.client(
                service,
                endpoint_url=url(),
                region_name=region,
                aws_access_key_id=account,
                aws_secret_access_key="test",
                config=Config(retries={"max_attempts": 0}, read_timeout=PATIENCE_S),
            )
            if service == "s3control":
                made[place].meta.events.register("request-created.s3-control", _without_account(account))
        return made[place]

    return client


def _without_account(account: str) -> Callable[..., None]:
    def mend(request: Any, **_: Any) -> None:
        request.url = request.url.replace(f"//{account}.", "//")

    return mend
