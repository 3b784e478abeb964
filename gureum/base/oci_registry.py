"""Fetches an image from a registry on this machine into an OCI layout (OCI distribution-spec 1.1, image-layout).

    GET /v2/NAME/manifests/TAG ─► index: the manifest for this architecture ─► its blobs, each checked against its digest

Only loopback addresses, nothing but GET, no redirects, no proxies, no credentials: what asks for this may be anybody who reaches the API. All blocks
(worker threads only).
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(
    r"(?P<host>localhost|\[[0-9a-f:]+\]|[0-9.]+)(:(?P<port>\d{1,5}))?/(?P<name>[a-z0-9]+([._/-]+[a-z0-9]+){0,60})"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
LIMIT_MANIFEST_BYTES = 4 << 20
LIMIT_IMAGE_BYTES = 16 << 30
LIMIT_LAYERS = 500
TIMEOUT_S = 30.0
_COPY_BYTES = 1 << 20


class RegistryError(Exception):
    """Says what is wrong with the reference, or with what the registry answers; nothing of the answer's own words."""


class Reference:
    """Of "127.0.0.1:5000/team/web:1.0" or "localhost:5000/web@sha256:…". RegistryError when it is none, or names another machine."""

    def __init__(self, text: str) -> None:
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise RegistryError("not a reference to an image on a registry of this machine (127.0.0.1:5000/NAME:TAG)")
        host = found["host"]
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError as error:
            raise RegistryError("not an address of a registry") from error
        if not loopback:
            raise RegistryError("the registry is not on this machine")
        self.base = f"http://{host}:{int(found['port'] or 5000)}/v2/{found['name']}"
        self.version = found["digest"] or found["tag"] or "latest"


def fetch(reference: Reference, layout: Path, architecture: str) -> None:
    """`layout`: a folder that is not there yet. `architecture`: in OCI's words ("amd64"). RegistryError."""
    blobs = layout / "blobs/sha256"
    layout.mkdir(mode=0o700, parents=True)
    blobs.mkdir(parents=True)
    body, kind = _manifest(reference, reference.version)
    found = _decode(body)
    if isinstance(found.get("manifests"), list):
        body, kind = _manifest(reference, _choose(found["manifests"], architecture))
        found = _decode(body)
    layers = found.get("layers")
    if not isinstance(layers, list) or len(layers) > LIMIT_LAYERS or not isinstance(found.get("config"), dict):
        raise RegistryError("the registry's answer is no manifest of an image")
    left = LIMIT_IMAGE_BYTES
    for descriptor in (found["config"], *layers):
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
            raise RegistryError("the manifest names a blob without a sha256 digest")
        left -= _blob(reference, digest, blobs, left)
    digest = hashlib.sha256(body).hexdigest()
    (blobs / digest).write_bytes(body)
    entry = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(body)}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def _choose(entries: list[Any], architecture: str) -> str:
    for entry in entries:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(platform, dict) or platform.get("os") != "linux":
            continue
        digest = entry.get("digest")
        if platform.get("architecture") == architecture and isinstance(digest, str) and _DIGEST.fullmatch(digest):
            return digest
    raise RegistryError(f"the image is not there for linux/{architecture}")


def _manifest(reference: Reference, version: str) -> tuple[bytes, str]:
    with _get(f"{reference.base}/manifests/{version}", ", ".join(_ACCEPTED)) as answer:
        body = answer.read(LIMIT_MANIFEST_BYTES + 1)
        kind = str(answer.headers.get_content_type())
    if len(body) > LIMIT_MANIFEST_BYTES:
        raise RegistryError("the manifest is too large")
    if version.startswith("sha256:") and hashlib.sha256(body).hexdigest() != version.removeprefix("sha256:"):
        raise RegistryError("the manifest has not the digest that was asked for")
    return body, kind if kind in _ACCEPTED else _ACCEPTED[1]


def _blob(reference: Reference, digest: str, folder: Path, limit: int) -> int:
    path, sum_, size = folder / digest.removeprefix("sha256:"), hashlib.sha256(), 0
    if path.exists():
        return 0
    with _get(f"{reference.base}/blobs/{digest}", "*/*") as answer, path.open("wb") as file:
        while piece := answer.read(_COPY_BYTES):
            size += len(piece)
            if size > limit:
                raise RegistryError("the image is too large")
            sum_.update(piece)
            file.write(piece)
    if sum_.hexdigest() != path.name:
        raise RegistryError("a blob has not the digest that the manifest names")
    return size


def _get(url: str, accept: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    try:
        return opener.open(urllib.request.Request(url, headers={"Accept": accept}), timeout=TIMEOUT_S)  # noqa: S310 - always http
    except urllib.error.HTTPError as error:
        error.close()
        raise RegistryError(f"the registry answers {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        raise RegistryError("the registry does not answer") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _decode(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise RegistryError("the registry's answer is not JSON") from error
    if not isinstance(found, dict):
        raise RegistryError("the registry's answer is no manifest")
    return found
