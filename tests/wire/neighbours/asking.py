"""What tests of neighbours ask by hand, and how the daemon ends under them."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError

from tests.cloud.running import Cloud, until

ACCOUNT = "111122223333"


def kill_daemon(cloud: Cloud) -> None:
    old = cloud.process("daemon")
    os.kill(old, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != old)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def raw(
    cloud: Cloud, service: str, body: bytes, path: str = "/", method: str = "POST", target: str = ""
) -> tuple[int, str]:
    """Status and body of what no client would send."""
    credential = f"Credential={ACCOUNT}/20261129/us-east-1/{service}/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
    headers["Content-Type"] = "application/x-amz-json-1.0" if target else "application/x-www-form-urlencoded"
    if target:
        headers["X-Amz-Target"] = target
    try:
        with urllib.request.urlopen(urllib.request.Request(cloud.url + path, body, headers, method=method)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
