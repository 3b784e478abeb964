"""Text of tenants in HAProxy's configuration: nothing they write can end a word, a line or an expression.

HAProxy reads a line three times: into words, some words as lists of arguments, some as log formats. For each reading there is one
function here; everything a tenant has written goes through exactly one of them.
"""

from __future__ import annotations

import re

from gureum.ports import PortError

_PLAIN = re.compile(rb"[A-Za-z0-9_/.,:=@~-]+")
_SPECIAL = re.compile(rb"[^A-Za-z0-9_/.,:=@~-]")
_SERVER = re.compile(r"[A-Za-z0-9._:-]{1,120}")
_QUOTE, _ESCAPED_QUOTE = r"\x27", r"\x5c\x27"
_GROUP = re.compile(r"[a-z0-9-]{1,40}")
# RFC 9110's token, as long as the longest that the API takes: the name of an application's cookie.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")


def word(text: str) -> str:
    r"""One word of a line: every byte that might mean something is written \xHH, which is read as that byte and nothing else. ValueError
    for a NUL, which no word can hold."""
    raw = text.encode()
    if b"\0" in raw:
        raise ValueError("a NUL cannot be configured")
    if not raw:
        return "''"
    if _PLAIN.fullmatch(raw):
        return text
    return _SPECIAL.sub(lambda found: b"\\x%02x" % found[0][0], raw).decode()


def log_format(text: str) -> str:
    """Literal text within a word that is read as a log format."""
    return word(text.replace("%", "%%")) if text else ""


def header_name(name: str) -> str:
    """A header's name as a word of its own."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    return word(name)


def header_argument(name: str) -> str:
    """A header's or a cookie's name as an argument of a fetch. Of a token's characters only the quote means something in a list of arguments."""
    return header_name(name).replace(_QUOTE, _ESCAPED_QUOTE)


def server_name(name: str) -> str:
    if not _SERVER.fullmatch(name):
        raise ValueError(f"not a server name: {name!r}")
    return name


def group_name(name: str) -> str:
    if not _GROUP.fullmatch(name):
        raise ValueError(f"not a group name: {name!r}")
    return name


def pattern(text: str, *, any_run: str = ".*", any_one: str = ".") -> tuple[str, str]:
    """A pattern with `*` and `?` as HAProxy's (matching method, word). The cheap methods are taken where they say the same."""
    tokens = _tokens(text)
    literal = "".join(token for token in tokens if token not in _WILD)
    shape = "".join("*" if token == _MANY else "?" if token == _ONE else "a" for token in tokens)
    shape = re.sub("a+", "a", shape)
    if any_run == ".*" and shape in _CHEAP:
        return _CHEAP[shape], word(literal)
    return "reg", word(f"^{_expression(tokens, any_run, any_one)}$")


def beginning(text: str) -> tuple[str, bool] | None:
    """(what comes first, whether anything may follow) of a pattern without wildcards but for one at its end; None of others."""
    tokens = _tokens(text)
    more = tokens[-1:] == [_MANY]
    literal = tokens[:-1] if more else tokens
    return None if any(token in _WILD for token in literal) else ("".join(literal), more)


def regex(text: str, any_run: str, any_one: str) -> str:
    r"""The regular expression (not yet a word) of a pattern of queries, without anchors: AWS has `\` before a wildcard that is meant as it
    stands there, and nowhere else."""
    return _expression(_tokens(text, escapes=True), any_run, any_one)


def _expression(tokens: list[str], any_run: str, any_one: str) -> str:
    """What stands between two runs is taken where it first fits, for good (an atomic group): a later place could only leave less for the
    rest. Else a path of one kilobyte would cost a tenth of a second, and a "no" where the engine gives up. The last run alone goes back."""
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token == _MANY:
            pieces.append([])
        else:
            pieces[-1].append(any_one if token == _ONE else re.escape(token))
    first, *more = ("".join(piece) for piece in pieces)
    if not more:
        return first
    return first + "".join(f"(?>{any_run}?{piece})" for piece in more[:-1]) + any_run + more[-1]


_MANY, _ONE = "*any", "?one"
_WILD = (_MANY, _ONE)
_CHEAP = {"a": "str", "": "str", "a*": "beg", "*a": "end", "*a*": "sub"}


def _tokens(text: str, *, escapes: bool = False) -> list[str]:
    """Characters one by one, wildcards as marks; several stars are one."""
    tokens: list[str] = []
    characters = iter(text)
    for character in characters:
        if escapes and character == "\\":
            tokens.append(next(characters, "\\"))
        elif character == "*":
            if not tokens or tokens[-1] != _MANY:
                tokens.append(_MANY)
        else:
            tokens.append(_ONE if character == "?" else character)
    return tokens


def refused(why: str) -> PortError:
    """What cannot be had here, however often it is asked for."""
    return PortError(why, retry=False)
