"""Filter patterns of words: `ERROR "out of memory" -DEBUG`, `?ERROR ?WARN`, `%regular expression%`.

All plain terms must stand in the message and none of those with a minus. Terms with a question mark are alternatives; beside others they say
nothing. AWS: CloudWatch Logs User Guide, "Using filter patterns to match terms in unstructured log events".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gureum.aws.logs.pattern_regex import BadPattern, Test
from gureum.aws.logs.pattern_values import Needles, Scanner

_WORD = re.compile(r"[^\s\"%]+")


class Terms(NamedTuple):
    test: Test
    needles: Needles


def compile_terms(text: str) -> Terms:
    """BadPattern for one that is none."""
    scanner = Scanner(text)
    found: dict[str, list[Term]] = {"": [], "-": [], "?": []}
    while not scanner.done:
        sign = next((sign for sign in "-?" if scanner.take(sign)), "")
        found[sign].append(_term(scanner))
    include, exclude, optional = ([term.test for term in found[sign]] for sign in ("", "-", "?"))
    if not include and not exclude:
        texts = tuple(text for term in found["?"] for text in term.texts)
        known = all(term.texts for term in found["?"])
        return Terms(lambda message: any(test(message) for test in optional), (texts,) if known else ())
    needles = tuple(term.texts for term in found[""] if term.texts)
    if len(include) == 1 and not exclude:
        return Terms(include[0], needles)
    return Terms(
        lambda message: all(test(message) for test in include) and not any(test(message) for test in exclude), needles
    )


class Term(NamedTuple):
    """`texts`: of which a message must hold at least one; none, where that is not plain."""

    test: Test
    texts: tuple[str, ...]


def _term(scanner: Scanner) -> Term:
    if scanner.done:
        raise BadPattern("A term is missing")
    if scanner.peek("%"):
        return Term(*scanner.regex())
    if scanner.peek('"'):
        return _contains(scanner.quoted())
    word = scanner.match(_WORD)
    if not all(one.isalnum() or one == "_" for one in word):
        raise BadPattern(f"Invalid character(s) in term '{word}'")
    return _contains(word)


def _contains(word: str) -> Term:
    return Term(lambda message: word in message, (word,) if word else ())
