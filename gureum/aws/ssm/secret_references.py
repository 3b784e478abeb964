"""Secrets of Secrets Manager under names of parameters: `/aws/reference/secretsmanager/NAME`, read by GetParameter and GetParameters.

AWS: "Referencing AWS Secrets Manager secrets from Parameter Store parameters". Its example has other letters in the keys of SourceResult than what
AWS answers (LocalStack's test_get_secret_parameter, validated against AWS).
"""

from __future__ import annotations

import json
from typing import Any

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.core.neighbours import NeighbourRefused

PREFIX = "/aws/reference/secretsmanager/"


def find_secret(call: Call, name: str, selector: str, *, decrypt: bool) -> dict[str, Any]:
    """API form. `selector`: a version's id or stage, "" for the current one. AWS: ParameterNotFound; ValidationException where it is not to be
    decrypted. Unasked."""
    if not decrypt:
        raise AwsError(
            "ValidationException", "WithDecryption flag must be True for retrieving a Secret Manager secret."
        )
    if not call.known.answers("secretsmanager"):
        raise AwsError("NotImplemented", "Secrets Manager is not answered here.", status=501)
    secret = name.removeprefix(PREFIX)
    try:
        versions = _ask(call, "DescribeSecret", SecretId=secret).get("VersionIdsToStages") or {}
        wanted = {"VersionId" if selector in versions else "VersionStage": selector} if selector else {}
        found = _ask(call, "GetSecretValue", SecretId=secret, **wanted)
    except NeighbourRefused as refused:
        text = f"An error occurred (ParameterNotFound) when referencing Secrets Manager: Secret {name} not found."
        raise AwsError("ParameterNotFound", text) from refused
    if "SecretString" not in found:
        raise AwsError("ValidationException", f"The secret {secret} is binary, which a parameter cannot be.")
    created = found["CreatedDate"].timestamp()
    source = {"createdDate": created, "versionStages": found.get("VersionStages") or [], "ARN": found["ARN"]}
    source |= {key: found[key[0].upper() + key[1:]] for key in ("name", "versionId", "secretString")}
    shown: dict[str, Any] = {
        "Name": name,
        "Type": "SecureString",
        "Value": found["SecretString"],
        "Version": 0,
        "SourceResult": json.dumps(source),
        "LastModifiedDate": created,
        "ARN": found["ARN"],
        "DataType": "text",
    }
    return shown | ({"Selector": f":{selector}"} if selector else {})


def _ask(call: Call, operation: str, **params: str) -> dict[str, Any]:
    return call.known.answer("secretsmanager", operation, call.account, call.region, **params)
