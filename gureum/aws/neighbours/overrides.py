"""What moto itself does otherwise than AWS, in a way that programs stumble over and that cannot be mended on its answers.

Each of these only lets through or keeps what was refused or lost before, so journals of before are played as they were; where one does not, it is
not done for their calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import xmltodict
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import unix_time_millis
from moto.iam.access_control import PermissionResult
from moto.iam.responses import IamResponse
from moto.s3 import responses as s3_responses
from moto.s3.models import FakeBucket, S3Backend
from moto.s3.responses import S3Response
from moto.s3.utils import metadata_from_headers
from moto.sqs.models import Queue

from gureum.aws.neighbours import iam_names, mfa_tags, oidc_clients
from gureum.aws.neighbours.mends import BY_ADDRESS, OF_OBJECTS, OPERATION

_ACTION = BaseResponse._get_action
_PERMISSION = FakeBucket.get_permission
_LOG = S3Backend.log_incoming_request
_SET = Queue._set_attributes
_METADATA = metadata_from_headers
_REPLICATION = S3Response.get_bucket_replication
S3_DOCUMENTS = "http://s3.amazonaws.com/doc/2006-03-01/"
REDRIVE_ALLOW = "RedriveAllowPolicy"


def install(wanted: Callable[[], bool]) -> None:
    """Idempotent. `wanted`: whether what draws randomness is left out; no for calls of journals of before, which were made with it."""

    def log_incoming_request(backend: Any, request: Any, bucket_name: str) -> None:
        """moto writes a made-up line into the bucket for access logs with each look, too, which is in no journal: after a restart other objects lay
        there, and what had been emptied and deleted was there again. So logging is state only."""
        if not wanted():
            _LOG(backend, request, bucket_name)

    setattr(S3Backend, "log_incoming_request", log_incoming_request)  # noqa: B010
    setattr(BaseResponse, "_get_action", _get_action)  # noqa: B010
    setattr(FakeBucket, "get_permission", _get_permission)  # noqa: B010 - moto has no other way in
    setattr(S3Response, "get_bucket_replication", _get_bucket_replication)  # noqa: B010
    setattr(s3_responses, "metadata_from_headers", _metadata_from_headers)  # noqa: B010
    install_operations()
    setattr(Queue, "_set_attributes", _set_attributes)  # noqa: B010
    setattr(Queue, "messages", property(_messages))  # noqa: B010
    setattr(Queue, "approximate_number_of_messages_delayed", property(_delayed))  # noqa: B010
    setattr(Queue, "approximate_number_of_messages_not_visible", property(_not_visible))  # noqa: B010
    setattr(Queue, "redrive_allow_policy", None)  # noqa: B010
    if REDRIVE_ALLOW not in Queue.BASE_ATTRIBUTES:
        Queue.BASE_ATTRIBUTES.append(REDRIVE_ALLOW)


def install_operations() -> None:
    """Those that moto does not have. Idempotent."""
    setattr(IamResponse, "list_service_specific_credentials", _list_service_specific_credentials)  # noqa: B010
    iam_names.install()
    mfa_tags.install()
    oidc_clients.install()


def _get_action(response: Any) -> Any:
    """moto takes a call for what "Action" says in its address or anywhere in its body: a message that holds "&Action=PurgeQueue&" emptied its
    queue, and what was taken for a look was kept in no journal. It is the operation that was judged."""
    told = response.headers.get(OPERATION)
    if told == BY_ADDRESS:
        return response._get_action_from_method_and_request_uri(response.normalized_request)
    return told or _ACTION(response)


def _get_permission(bucket: Any, action: str, resource: str) -> Any:
    """moto denies what a statement of a bucket's policy denies under conditions, whatever they are: nobody could use a bucket that wants TLS. As
    policies are judged by nobody, only what is denied to everybody without a condition is denied."""
    policy = bucket.policy
    if policy is None:
        return _PERMISSION(bucket, action, resource)
    try:
        document = json.loads(policy)
        statements = document["Statement"]
        judged = [one for one in _several(statements) if one.get("Effect") != "Deny" or _is_for_all(one)]
    except (ValueError, KeyError, TypeError, AttributeError):  # journals of before hold such
        return PermissionResult.NEUTRAL
    try:
        bucket.policy = json.dumps({**document, "Statement": judged}).encode()
        return _PERMISSION(bucket, action, resource)
    finally:
        bucket.policy = policy


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _messages(queue: Any) -> list[Any]:
    """Those that can be received. moto looks at its clock for each message, and at all messages with each that is sent: a queue of some thousands
    took a fifth of a second a call."""
    now = unix_time_millis()
    return [one for one in queue._messages if now > one.visible_at and now >= one.delayed_until]


def _delayed(queue: Any) -> int:
    now = unix_time_millis()
    return sum(now < one.delayed_until for one in queue._messages)


def _not_visible(queue: Any) -> int:
    now = unix_time_millis()
    return sum(now <= one.visible_at for one in queue._messages)


def _list_service_specific_credentials(response: Any) -> Any:
    """There are none, since none can be made (CreateServiceSpecificCredential is not built). Terraform asks before it deletes a user."""
    name = response._get_param("UserName")
    if name:
        response.backend.get_user(name)
    return ActionResult({"ServiceSpecificCredentials": [], "IsTruncated": False})


def _get_bucket_replication(response: Any) -> Any:
    """moto answers filters and markers that are always the same; it keeps what it was told as it came."""
    kept = response.backend.get_bucket_replication(response.bucket_name)
    if not kept:
        return _REPLICATION(response)
    told = {name: value for name, value in kept.items() if not name.startswith("@")}
    return str(xmltodict.unparse({"ReplicationConfiguration": {"@xmlns": S3_DOCUMENTS, **told}}))


def _metadata_from_headers(headers: Any) -> Any:
    """What an object is said to be, also by the names that hide it from moto's readers of bodies."""
    found = _METADATA(headers)
    for name, hidden in OF_OBJECTS.items():
        if value := headers.get(hidden):
            found[name.title()] = value
    return found


def _is_for_all(statement: dict[str, Any]) -> bool:
    return not statement.get("Condition") and statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})


def _set_attributes(queue: Any, attributes: dict[str, Any], now: float | None = None) -> None:
    """moto takes a queue's policy away when other attributes are set. AWS: an empty text takes it away."""
    kept = getattr(queue, "policy", None)
    _SET(queue, attributes, now)
    if "Policy" not in attributes:
        queue.policy = kept
    if not attributes.get(REDRIVE_ALLOW, "x"):
        queue.redrive_allow_policy = None
