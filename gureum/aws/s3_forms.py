"""Forms by which browsers put objects into buckets (S3 POST Object): read, and written anew. Pure.

What was judged is what is passed on: a form that two programs read in two ways goes no further.
AWS: S3, "Browser-based uploads using POST", "HTML form fields"; RFC 7578.
"""

from __future__ import annotations

import re
import secrets

import msgspec

from gureum.aws.errors import AwsError
from gureum.aws.protocols import Request

LIMIT_BEFORE_BYTES = 20 * 1024
"""AWS: the fields but the file's content."""
LIMIT_PART_HEAD_BYTES = 4096
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_NAME, _FILENAME = re.compile(r'[;\s]name="([^"\r\n]*)"'), re.compile(r'[;\s]filename="([^"\r\n]*)"')
_STATUSES = ("200", "201", "204")


class Form(msgspec.Struct, frozen=True):
    """`fields`: before the file, by lower-case names, with what they stand for ("${filename}"). `filename`: "" where it was not told."""

    fields: dict[str, str]
    filename: str
    kind: str
    content: bytes

    def rebuilt(self, request: Request) -> Request:
        """The request with a body of these fields, that file, and nothing else."""
        boundary = f"gureum-{secrets.token_hex(24)}"
        fields = dict(self.fields)
        if fields.get("success_action_status", "204") not in _STATUSES:
            del fields["success_action_status"]
        parts = [
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        # Named so, because moto puts it in for a "${filename}" that is left, which stands for itself.
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="${{filename}}"\r\n\r\n'
        body = b"".join([*parts, head.encode(), self.content, f"\r\n--{boundary}--\r\n".encode()])
        headers = {**request.headers, "content-type": f"multipart/form-data; boundary={boundary}"}
        headers["content-length"] = str(len(body))
        return msgspec.structs.replace(request, body=body, headers=headers)


def is_form(request: Request, bucket: str) -> bool:
    """Whether it goes to a bucket and says that it is one. `bucket`: that the host names, if it does."""
    path = request.path.strip("/")
    told = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    return request.method == "POST" and told and not request.query and (not path if bucket else path.count("/") == 0)


def read_form(request: Request) -> Form:
    """AWS: MalformedPOSTRequest, MaxPostPreDataLengthExceededError, InvalidArgument (400)."""
    found = _BOUNDARY.search(request.headers["content-type"])
    if found is None:
        raise _malformed()
    mark = b"--" + (found[1] or found[2]).encode("latin-1")
    fields: dict[str, str] = {}
    at = _after(request.body, 0 if request.body.startswith(mark) else request.body.find(b"\r\n" + mark) + 2, mark)
    begun = at
    while at:
        head, name, filename = _head(request.body, at)
        start = at + head
        if start - begun > LIMIT_BEFORE_BYTES:
            raise _too_long()
        end = _end(request.body, start, mark)
        if name == "file":
            if not fields.get("key"):
                raise missing("key")
            told = _file_kind(request.body[at:start])
            return Form(_filled(fields, filename), filename or "", told, request.body[start:end])
        if name in fields:
            raise _malformed()
        if end - begun > LIMIT_BEFORE_BYTES:
            raise _too_long()
        fields[name] = request.body[start:end].decode("utf-8", "replace")
        at = _after(request.body, end + 2, mark)
    raise AwsError("InvalidArgument", "POST requires exactly one file upload per request.", status=400)


def missing(name: str) -> AwsError:
    text = (
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
    )
    return AwsError("InvalidArgument", text, status=400)


def _after(body: bytes, at: int, mark: bytes) -> int:
    """Where the part behind the mark at `at` begins; 0 where it was the last."""
    end = at + len(mark)
    if body[at:end] != mark or body[end : end + 2] not in (b"\r\n", b"--"):
        raise _malformed()
    return end + 2 if body[end : end + 2] == b"\r\n" else 0


def _end(body: bytes, start: int, mark: bytes) -> int:
    """Where the part that begins at `start` ends."""
    at = start - 2
    while (at := body.find(b"\r\n" + mark, at)) >= 0:
        if body[at + 2 + len(mark) : at + 4 + len(mark)] in (b"\r\n", b"--"):
            return max(at, start)
        at += 2
    raise _malformed()


def _head(body: bytes, at: int) -> tuple[int, str, str | None]:
    """Length of a part's head, its name, and its file's; None where it has none."""
    end = body.find(b"\r\n\r\n", at, at + LIMIT_PART_HEAD_BYTES)
    if end < 0:
        raise _malformed()
    line = next(
        (
            one
            for one in body[at:end].decode("utf-8", "replace").split("\r\n")
            if one.lower().startswith("content-disposition:")
        ),
        "",
    )
    name, filename = _NAME.search(line), _FILENAME.search(line)
    if name is None:
        raise _malformed()
    return end + 4 - at, name[1].lower(), filename[1] if filename else None


def _file_kind(head: bytes) -> str:
    found = re.search(rb"(?im)^content-type:[ \t]*([^\r\n]+)", head)
    return found[1].decode("latin-1").strip() if found else ""


def _filled(fields: dict[str, str], filename: str | None) -> dict[str, str]:
    if filename is None:
        return fields
    name = re.split(r"[/\\]", filename)[-1]
    return {key: value.replace("${filename}", name) if key != "policy" else value for key, value in fields.items()}


def _malformed() -> AwsError:
    text = "The body of your POST request is not well-formed multipart/form-data."
    return AwsError("MalformedPOSTRequest", text, status=400)


def _too_long() -> AwsError:
    text = "Your POST request fields preceding the upload file were too large."
    return AwsError("MaxPostPreDataLengthExceededError", text, status=400)
