"""Names of images as people write them ("nginx", "localhost:5000/web:1", "web@sha256:…") and in full. Source: distribution reference grammar."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from gureum.docker.errors import bad_parameter

DEFAULT_DOMAIN, OFFICIAL, DEFAULT_TAG = "docker.io", "library", "latest"
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


class Reference(msgspec.Struct, frozen=True):
    """`tag` and `digest` "" where none is given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """In full: "docker.io/library/nginx"."""
        return f"{self.domain}/{self.path}"

    @property
    def full(self) -> str:
        """With its digest, else its tag ("latest" where none is given)."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or DEFAULT_TAG}"

    @property
    def familiar_repository(self) -> str:
        """As people write it: "nginx", "user/web", "localhost:5000/web"."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        return self.path.removeprefix(f"{OFFICIAL}/")

    @property
    def familiar(self) -> str:
        name = self.familiar_repository
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag or DEFAULT_TAG}"


def parse(text: str) -> Reference:
    """DockerError 400 "invalid reference format"."""
    rest, _, digest = text.partition("@")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, path = first, remainder
    else:
        domain, path = DEFAULT_DOMAIN, rest
    path, colon, tag = path.partition(":")
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if path.lower() != path:
        raise bad_parameter(f"invalid reference format: repository name ({path}) must be lowercase")
    sound = _NAME.fullmatch(path) and _DOMAIN.fullmatch(domain) and len(path) < 256
    if (
        not sound
        or (colon and not _TAG.fullmatch(tag))
        or (digest and not _DIGEST.fullmatch(digest))
        or text.endswith("@")
    ):
        raise bad_parameter("invalid reference format")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{OFFICIAL}/{path}"
    return Reference(domain, path, tag, digest)


def familiar(full: str) -> str:
    """ "docker.io/library/nginx:1" → "nginx:1"."""
    return full.removeprefix(f"{DEFAULT_DOMAIN}/{OFFICIAL}/").removeprefix(f"{DEFAULT_DOMAIN}/")


_PIECE = re.compile(r"\*+|\?|\[\^?(?:\\.|[^\]\\])+\]|\\.|.", re.DOTALL)


def path_pattern(pattern: str) -> Callable[[str], bool]:
    """Go's path.Match: `*` and `?` stand for anything but "/", "[a-z]" and "[^a-z]" for one of a class. DockerError 400."""
    chunks = [""]
    for piece in _PIECE.findall(pattern):
        if piece[0] == "*":
            chunks.append("")
        else:
            chunks[-1] += _piece(piece)
    # Where one after a star fits first is where it is, so that no pattern takes long; only the last one has to reach the end.
    first, *between = chunks
    last = f"[^/]*{between.pop()}" if between else ""
    try:
        compiled = re.compile(first + "".join(f"(?>[^/]*?{one})" for one in between) + last)
    except re.error as error:
        raise bad_parameter("syntax error in pattern") from error
    return lambda text: compiled.fullmatch(text) is not None


def _piece(piece: str) -> str:
    if piece == "?":
        return "[^/]"
    if piece in ("[", "\\"):
        raise bad_parameter("syntax error in pattern")
    if piece[0] == "[":
        inner = re.sub(r"(?<!\\)([\[&~|])", r"\\\1", piece[1:-1])
        return f"(?!/)[{inner}]"
    return re.escape(piece[-1])
