"""Secrets of type kubernetes.io/service-account-token: filled with a token that does not end, and gone with their account.

Source: Kubernetes, "Managing Service Accounts", token controller.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from gureum.kube.access.tokens import ACCOUNT_NAME, ACCOUNT_UID, ACCOUNTS, SECRETS, TOKEN_TYPE
from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Controller, Seen, itself
from gureum.kube.objects import Object

NAME = "token-controller"
_EVERY = "*"
Issue = Callable[[Object, Object], str]
"""(account, secret) to a token."""


def controller(issue: Issue, authority: str) -> Controller:
    async def reconcile(client: Client, key: str) -> None:
        namespace, _, name = key.partition("/")
        if name != _EVERY:
            await settle(client, namespace, name)
            return
        for entry in client.objects.store.range(client.objects.prefix(SECRETS, namespace)):
            await settle(client, namespace, client.objects.place(entry.key).name)

    async def settle(client: Client, namespace: str, name: str) -> None:
        secret = client.get(SECRETS, namespace, name)
        if secret is None or secret.get("type") != TOKEN_TYPE or secret["metadata"].get("deletionTimestamp"):
            return
        annotations = secret["metadata"].get("annotations") or {}
        account = client.get(ACCOUNTS, namespace, annotations.get(ACCOUNT_NAME, ""))
        uid = annotations.get(ACCOUNT_UID)
        if account is None or (uid and uid != account["metadata"]["uid"]):
            await client.delete(SECRETS, namespace, name, NAME, uid=secret["metadata"]["uid"])
            return
        wanted = {"namespace": namespace} | ({"ca.crt": authority} if authority else {})
        data = {field: base64.b64encode(value.encode()).decode() for field, value in wanted.items()}
        known = secret.get("data") or {}
        if uid and known.get("token") and all(known.get(field) == value for field, value in data.items()):
            return

        def fill(obj: Object) -> Object:
            metadata = obj["metadata"]
            marked = (metadata.get("annotations") or {}) | {ACCOUNT_UID: account["metadata"]["uid"]}
            token = (obj.get("data") or {}).get("token") or base64.b64encode(issue(account, obj).encode()).decode()
            filled = (obj.get("data") or {}) | data | {"token": token}
            return {**obj, "metadata": {**metadata, "annotations": marked}, "data": filled}

        await client.update(SECRETS, namespace, name, fill, NAME)

    return Controller("tokens", {SECRETS: itself, ACCOUNTS: _its_secrets}, reconcile)


def _its_secrets(seen: Seen) -> list[str]:
    """Whoever named an account that comes or goes."""
    return [f"{seen.place.namespace}/{_EVERY}"] if seen.before is None or seen.after is None else []
