"""Client ids of OpenID Connect providers can be added and taken away; moto knows only those that a provider is made with.

AWS: IAM AddClientIDToOpenIDConnectProvider, RemoveClientIDFromOpenIDConnectProvider: both do nothing where nothing is to be done.
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import EmptyResult
from moto.iam.exceptions import LimitExceededException
from moto.iam.responses import IamResponse

LIMIT_CLIENTS = 100
"""AWS: "IAM and STS quotas", client IDs in an OIDC provider."""


def install() -> None:
    """Idempotent."""
    setattr(IamResponse, "add_client_id_to_open_id_connect_provider", _add)  # noqa: B010
    setattr(IamResponse, "remove_client_id_from_open_id_connect_provider", _remove)  # noqa: B010


def _add(response: Any) -> Any:
    ids, one = _asked(response)
    if one not in ids:
        if len(ids) >= LIMIT_CLIENTS:
            text = f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {LIMIT_CLIENTS}"
            raise LimitExceededException(text)
        ids.append(one)
    return EmptyResult()


def _remove(response: Any) -> Any:
    ids, one = _asked(response)
    if one in ids:
        ids.remove(one)
    return EmptyResult()


def _asked(response: Any) -> tuple[list[str], str]:
    """The provider's ids, and the one that is asked about."""
    provider = response.backend.get_open_id_connect_provider(response._get_param("OpenIDConnectProviderArn"))
    return provider.client_id_list, str(response._get_param("ClientID"))
