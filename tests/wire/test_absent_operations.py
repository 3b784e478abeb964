"""Each operation of the models of what observes and scales is built, or refuses by its name: NotImplemented, with the status 501."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from gureum.engine.registry import Registry
from tests.wire.conftest import Endpoint

ABSENT = {"autoscaling": 2, "cloudwatch": 38, "logs": 85}
"""How many, in the models of requirements.lock: one that is built makes it fewer."""


@pytest.mark.parametrize("service", sorted(ABSENT))
def test_what_is_not_built_says_so_by_its_name(endpoint: Endpoint, service: str) -> None:
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False, inject_host_prefix=False)
    keys = {"aws_access_key_id": "565600000001", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client(service, endpoint_url=endpoint.url, config=config, **keys)
    absent = sorted(set(client.meta.service_model.operation_names) - set(built(service)))
    assert len(absent) == ABSENT[service]
    for operation in absent:
        with pytest.raises(ClientError) as refused:
            getattr(client, xform_name(operation))()
        answer: dict[str, Any] = refused.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("NotImplemented", 501)
        assert answer["Error"]["Message"] == f"gureum does not build {operation} of {service} yet."


def built(service: str) -> list[str]:
    registry = Registry()
    registry.scan(f"gureum.aws.{service}")
    marks: list[Any] = [mark for mark in registry.marks("operation").values() if mark.name.startswith(f"{service}:")]
    return sorted(mark.options["operation"] for mark in marks)
