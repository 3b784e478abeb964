"""Which services moto answers, and which of their calls change nothing.

Only services whose effects are data: what would have to run a program or move a packet (Lambda, ECS, RDS …) is not answered by a pretence.
"""

from __future__ import annotations

import importlib.util
import re

OFFERED = {
    "dynamodb": "dynamodb",
    "dynamodbstreams": "dynamodbstreams",
    "ecr": "ecr",
    "events": "events",
    "iam": "iam",
    "kinesis": "kinesis",
    "kms": "kms",
    "organizations": "organizations",
    "resource-groups": "resourcegroups",
    "route53": "route53",
    "s3": "s3",
    "s3control": "s3control",
    "secretsmanager": "secretsmanager",
    "ses": "ses",
    "sns": "sns",
    "sqs": "sqs",
}
"""Service, as botocore names it → moto's name of it."""

_READS = re.compile(
    r"(Get|List|Describe|Head|BatchGet|Lookup|Search|Simulate|Estimate|Query$|Scan$|TestEventPattern|ValidatePolicy|Verify(Mac)?$|Encrypt$|Decrypt$"
    r"|ReEncrypt$|GenerateDataKey|GenerateRandom|GenerateMac|Sign$|TransactGetItems$)"
)
_REST = frozenset({"s3", "s3control", "route53"})


def chosen(setting: str) -> frozenset[str]:
    """The services that the setting `neighbours` chooses: "on" all, "off" none, else those it names. ValueError for one that is not offered."""
    if setting in ("on", "off"):
        return frozenset(OFFERED) if setting == "on" else frozenset()
    names = frozenset(name.strip() for name in setting.split(",") if name.strip())
    if unknown := sorted(names - set(OFFERED)):
        raise ValueError(f"no such neighbour: {', '.join(unknown)}; there are {', '.join(sorted(OFFERED))}")
    return names


def is_installed() -> bool:
    """Whether moto can be loaded; it is not loaded by asking."""
    return importlib.util.find_spec("moto") is not None


def changes(service: str, method: str, operation: str) -> bool:
    """Whether a call may change something, so that it belongs in the journal. Where in doubt, it does."""
    if service in _REST:
        return method not in ("GET", "HEAD", "OPTIONS")
    return _READS.match(operation) is None
