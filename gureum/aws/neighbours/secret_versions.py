"""The versions of a secret: moto dates each by now, and fails where there is no such secret. AWS: Secrets Manager ListSecretVersionIds."""

from __future__ import annotations

import json
from typing import Any

from moto.secretsmanager.exceptions import SecretNotFoundException
from moto.secretsmanager.models import SecretsManagerBackend


def lead() -> None:
    """Idempotent."""
    setattr(SecretsManagerBackend, "list_secret_version_ids", _list)  # noqa: B010 - moto has no other way in


def _list(state: Any, secret_id: str) -> str:
    secret = state.secrets.get(secret_id)
    if secret is None:
        raise SecretNotFoundException
    versions = [
        {"CreatedDate": one["createdate"], "VersionId": id_, "VersionStages": one["version_stages"]}
        for id_, one in secret.versions.items()
    ]
    return json.dumps({"ARN": secret.arn, "Name": secret.name, "Versions": versions})
