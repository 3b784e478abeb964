"""Where moto's answer differs from AWS's in a way that clients stumble over: its body is mended on the way out."""

from __future__ import annotations

import json

from gureum.aws.protocols import Request

WITH_QUEUE_URLS = frozenset({"CreateQueue", "GetQueueUrl", "ListQueues", "ListDeadLetterSourceQueues"})


def mend(service: str, operation: str, region: str, request: Request, body: bytes) -> bytes:
    """The body to be sent. Queues' URLs lead here, since clients call a queue by the URL that they were given; policies in queues' attributes
    have no spaces, since Terraform compares them as texts."""
    if service != "sqs":
        return body
    host = request.headers.get("host")
    if operation in WITH_QUEUE_URLS and host:
        return body.replace(f"https://sqs.{region}.amazonaws.com/".encode(), f"http://{host}/".encode())
    if operation == "GetQueueAttributes" and body.startswith(b"{"):
        found = json.loads(body)
        for name, value in found.get("Attributes", {}).items():
            if name.startswith("Redrive") and isinstance(value, str):
                found["Attributes"][name] = json.dumps(json.loads(value), separators=(",", ":"))
        return json.dumps(found).encode()
    return body
