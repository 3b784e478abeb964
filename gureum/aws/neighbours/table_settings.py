"""What tables are told, and moto forgets, so that Terraform sets it anew at each run: the most that a table on demand, or an index of it, may be read
and written; its class; and another encryption of one that is there. State only.

AWS: DynamoDB CreateTable, UpdateTable: OnDemandThroughput (-1 takes a limit away), TableClass, SSESpecification.
"""

from __future__ import annotations

from typing import Any

from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler

LIMITS = "OnDemandThroughput"
_CREATE = DynamoHandler.create_table
_UPDATE = DynamoHandler.update_table
_DESCRIBE = Table.describe


def lead() -> None:
    """Idempotent."""
    setattr(DynamoHandler, "create_table", _create)  # noqa: B010 - moto has no other way in
    setattr(DynamoHandler, "update_table", _update)  # noqa: B010
    setattr(Table, "describe", _describe)  # noqa: B010


def _create(response: Any) -> Any:
    answer = _CREATE(response)
    _note(response, response.body.get("GlobalSecondaryIndexes") or [])
    return answer


def _update(response: Any) -> Any:
    answer = _UPDATE(response)
    updates = response.body.get("GlobalSecondaryIndexUpdates") or []
    _note(response, [told for one in updates for way, told in one.items() if way != "Delete"])
    if sealing := response.body.get("SSESpecification"):
        table = response.dynamodb_backend.get_table(response.body["TableName"])
        if sealing.get("Enabled") and "KMSMasterKeyId" not in sealing:
            key = table._get_default_encryption_key(table.account_id, table.region_name)
            sealing = {**sealing, "KMSMasterKeyId": key}
        table.sse_specification = sealing
    return answer


def _note(response: Any, indexes: list[dict[str, Any]]) -> None:
    table = response.dynamodb_backend.get_table(response.body["TableName"])
    told = {"": response.body.get(LIMITS), **{one["IndexName"]: one.get(LIMITS) for one in indexes}}
    table.told_class = response.body.get("TableClass") or getattr(table, "told_class", "")
    known = getattr(table, "told_limits", {})
    table.told_limits = known | {name: {**known.get(name, {}), **one} for name, one in told.items() if one}


def _describe(table: Any, base_key: str = "TableDescription") -> dict[str, Any]:
    found: dict[str, Any] = _DESCRIBE(table, base_key)
    limits = getattr(table, "told_limits", {})
    if "" in limits:
        found[base_key][LIMITS] = limits[""]
    if told := getattr(table, "told_class", ""):
        found[base_key]["TableClassSummary"] = {"TableClass": told}
    for one in found[base_key].get("GlobalSecondaryIndexes") or []:
        if one["IndexName"] in limits:
            one[LIMITS] = limits[one["IndexName"]]
    return found
