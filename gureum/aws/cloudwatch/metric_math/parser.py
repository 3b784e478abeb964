"""The grammar of metric math, by recursive descent.

    or:      and (("OR" | "||") and)*                    binds least
    and:     compare (("AND" | "&&") compare)*
    compare: sum (("==" | "!=" | "<=" | ">=" | "<" | ">") sum)*
    sum:     product (("+" | "-") product)*
    product: unary (("*" | "/") unary)*
    unary:   "-" unary | power
    power:   atom ("^" unary)?
    atom:    number | "text" | id | NAME | NAME "(" args ")" | "[" args "]" | "(" or ")"

Ids begin with a small letter, functions and their keywords (ASC, REPEAT) with a capital one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

LIMIT_DEPTH = 40
LIMIT_LENGTH = 2048


class MathError(Exception):
    """An expression that cannot be: `text` says why, in a user's words."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class NotBuilt(MathError):
    """AWS has it, gureum not yet; `text` is the function's name."""


class Number(msgspec.Struct, frozen=True):
    value: float


class Text(msgspec.Struct, frozen=True):
    value: str


class Name(msgspec.Struct, frozen=True):
    """An id of another query, or a keyword."""

    value: str


class Negate(msgspec.Struct, frozen=True):
    inner: Node


class Chain(msgspec.Struct, frozen=True):
    """Operands with the operators between them, of one level, from left to right. (Not a tree: a sum of 500 metrics would be too deep.)"""

    first: Node
    rest: tuple[tuple[str, Node], ...]


class Array(msgspec.Struct, frozen=True):
    items: tuple[Node, ...]


class Function(msgspec.Struct, frozen=True):
    name: str
    arguments: tuple[Node, ...]


Node = Number | Text | Name | Negate | Chain | Array | Function

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z][A-Za-z0-9_]*)
    |(?P<text>"[^"]*"|'[^']*')|(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],]))""",
    re.VERBOSE | re.ASCII,
)
_SPACES = re.compile(r"\s*")
_WORDS = {"AND": "&&", "OR": "||"}
_LEVELS = (("||",), ("&&",), ("==", "!=", "<=", ">=", "<", ">"), ("+", "-"), ("*", "/"))


class Token(NamedTuple):
    kind: str
    text: str


def parse(text: str) -> Node:
    """The syntax tree. MathError for what is no expression."""
    if len(text) > LIMIT_LENGTH:
        raise MathError(f"The expression is longer than {LIMIT_LENGTH} characters.")
    parser = _Parser(_tokens(text))
    node = parser.level(0)
    parser.expect("end", "")
    return node


def _tokens(text: str) -> list[Token]:
    tokens, place = [], 0
    end = len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            at = _SPACES.match(text, place)
            assert at is not None
            raise MathError(f"Unexpected character '{text[at.end()]}' at position {at.end() + 1}.")
        kind = str(found.lastgroup)
        word = found.group(kind)
        tokens.append(Token("sign", _WORDS[word]) if word in _WORDS else Token(kind, word))
        place = found.end()
    return [*tokens, Token("end", "")]


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def level(self, level: int) -> Node:
        """A row of operands with the operators of this level between them, from left to right."""
        if level == len(_LEVELS):
            return self._unary()
        first = self.level(level + 1)
        rest = []
        while self._peek.kind == "sign" and self._peek.text in _LEVELS[level]:
            operator = self._next().text
            rest.append((operator, self.level(level + 1)))
        return Chain(first, tuple(rest)) if rest else first

    def expect(self, kind: str, text: str) -> Token:
        token = self._next()
        if token.kind != kind or (text and token.text != text):
            wanted = f"'{text}'" if text else "the end"
            raise MathError(f"Expected {wanted} but found {_shown(token)}.")
        return token

    @property
    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _takes(self, sign: str) -> bool:
        if self._peek == Token("sign", sign):
            self._next()
            return True
        return False

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > LIMIT_DEPTH:
            raise MathError("The expression is nested too deeply.")
        try:
            return Negate(self._unary()) if self._takes("-") else self._power()
        finally:
            self._depth -= 1

    def _power(self) -> Node:
        base = self._atom()
        return Chain(base, (("^", self._unary()),)) if self._takes("^") else base

    def _atom(self) -> Node:
        token = self._next()
        if token.kind == "number":
            return Number(float(token.text))
        if token.kind == "text":
            return Text(token.text[1:-1])
        if token.kind == "name":
            return self._named(token.text)
        if token == Token("sign", "("):
            inner = self.level(0)
            self.expect("sign", ")")
            return inner
        if token == Token("sign", "["):
            return Array(self._arguments("]"))
        raise MathError(f"Unexpected {_shown(token)}.")

    def _named(self, name: str) -> Node:
        if not self._takes("("):
            return Name(name)
        if not name.isupper():
            raise MathError(f"Unknown function '{name}'. Functions are written in capital letters.")
        return Function(name, self._arguments(")"))

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        if self._takes(closing):
            return ()
        items = [self.level(0)]
        while self._takes(","):
            items.append(self.level(0))
        self.expect("sign", closing)
        return tuple(items)


def _shown(token: Token) -> str:
    return "the end of the expression" if token.kind == "end" else f"'{token.text[:50]}'"
