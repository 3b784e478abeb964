"""What buckets are told, and moto forgets or refuses: lifecycle rules as they came (moto keeps a part of their filters and actions; Terraform waits
until it reads what it wrote), where events go when that was refused, and access logs to any bucket that is there (of a bucket whose owner owns all of
it, AWS wants no permission first).

Journals of before are played as they were: this only keeps and lets through what was lost or refused.
"""

from __future__ import annotations

import copy
from typing import Any

import xmltodict
from moto.s3.models import FakeBucket, FakeDeleteMarker
from moto.s3.responses import S3Response

S3_DOCUMENTS = "http://s3.amazonaws.com/doc/2006-03-01/"
MINIMUM, MINIMUM_UNSAID = "x-amz-transition-default-minimum-object-size", "all_storage_classes_128K"
_PUT = S3Response._bucket_response_put
_GET = S3Response.get_bucket_lifecycle
_SET = FakeBucket.set_lifecycle
_NOTIFY = FakeBucket.set_notification_configuration


def install() -> None:
    """Idempotent."""
    setattr(S3Response, "_bucket_response_put", _put)  # noqa: B010 - moto has no other way in
    setattr(S3Response, "get_bucket_lifecycle", _get_lifecycle)  # noqa: B010
    setattr(FakeBucket, "set_lifecycle", _set_lifecycle)  # noqa: B010
    setattr(FakeBucket, "set_notification_configuration", _set_notification)  # noqa: B010
    setattr(FakeBucket, "_log_permissions_enabled_policy", staticmethod(_may_log))  # noqa: B010
    setattr(FakeDeleteMarker, "dispose", _dispose)  # noqa: B010


def _put(response: Any, request: Any, bucket_name: str, querystring: dict[str, Any]) -> Any:
    answer = _PUT(response, request, bucket_name, querystring)
    if "lifecycle" in querystring:
        said = response.headers.get(MINIMUM) or MINIMUM_UNSAID
        response.backend.get_bucket(bucket_name).told_minimum = said
        return 200, {MINIMUM: said}, ""
    return answer


def _set_lifecycle(bucket: Any, rules: list[dict[str, Any]]) -> None:
    told = copy.deepcopy(rules)
    _SET(bucket, rules)
    bucket.told_rules = told


def _get_lifecycle(response: Any) -> Any:
    answer = _GET(response)
    bucket = response.backend.get_bucket(response.bucket_name)
    told = getattr(bucket, "told_rules", None)
    if not told:
        return answer
    document = {"LifecycleConfiguration": {"@xmlns": S3_DOCUMENTS, "Rule": told}}
    return 200, {MINIMUM: getattr(bucket, "told_minimum", MINIMUM_UNSAID)}, str(xmltodict.unparse(document))


def _set_notification(bucket: Any, wanted: dict[str, Any] | None) -> None:
    """moto refuses destinations in another region after it has taken them."""
    before = bucket.notification_configuration
    try:
        _NOTIFY(bucket, wanted)
    except Exception:
        bucket.notification_configuration = before
        raise


def _may_log(target_bucket: Any, target_prefix: str | None) -> bool:
    return True


def _dispose(marker: Any, garbage: bool = False) -> None:
    """moto disposes of the latest version of an object that is deleted, and fails where that is a marker."""
