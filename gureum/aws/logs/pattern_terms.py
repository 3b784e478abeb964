"""Filter patterns of words: `ERROR "out of memory" -DEBUG`, `?ERROR ?WARN`, `%regular expression%`.

All plain terms must stand in the message and none of those with a minus. Terms with a question mark are alternatives; beside others they say
nothing. AWS: CloudWatch Logs User Guide, "Using filter patterns to match terms in unstructured log events".
"""

from __future__ import annotations

import re

from gureum.aws.logs.pattern_regex import BadPattern, Test
from gureum.aws.logs.pattern_values import Scanner

_WORD = re.compile(r"[^\s\"%]+")


def compile_terms(text: str) -> Test:
    """BadPattern for one that is none."""
    scanner = Scanner(text)
    found: dict[str, list[Test]] = {"": [], "-": [], "?": []}
    while not scanner.done:
        sign = next((sign for sign in "-?" if scanner.take(sign)), "")
        found[sign].append(_term(scanner))
    include, exclude, optional = found[""], found["-"], found["?"]
    if not include and not exclude:
        return lambda message: any(test(message) for test in optional)
    if len(include) == 1 and not exclude:
        return include[0]
    return lambda message: all(test(message) for test in include) and not any(test(message) for test in exclude)


def _term(scanner: Scanner) -> Test:
    if scanner.done:
        raise BadPattern("A term is missing")
    if scanner.peek("%"):
        return scanner.regex()
    if scanner.peek('"'):
        return _contains(scanner.quoted())
    word = scanner.match(_WORD)
    if not all(one.isalnum() or one == "_" for one in word):
        raise BadPattern(f"Invalid character(s) in term '{word}'")
    return _contains(word)


def _contains(word: str) -> Test:
    return lambda message: word in message
