"""What rules of an Application Load Balancer mean, told a second time: a model by which real ones are judged, and a chance that makes both.

Nothing here is taken from the code that is tested: patterns are matched by a table, not by expressions.

AWS: Application Load Balancers guide, "Condition types for listener rules"; elbv2 RuleCondition and the structures that it names.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable, Sequence

import msgspec

from gureum.ports.proxies import Condition, Rule

Pairs = tuple[tuple[str, str], ...]


class Sent(msgspec.Struct, frozen=True):
    """A request. `query`: None without `?`."""

    method: str
    host: str
    path: str
    query: str | None
    headers: Pairs
    source: str

    def text(self) -> bytes:
        url = self.path if self.query is None else f"{self.path}?{self.query}"
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{self.method} {url} HTTP/1.1\r\nHost: {self.host}\r\n{headers}Connection: close\r\n\r\n".encode()


def rule_for(rules: Iterable[Rule], sent: Sent) -> Rule:
    """AWS: rules are evaluated by priority, the default one last; all conditions of a rule have to be met."""
    by_priority = sorted(rules, key=lambda rule: rule.priority or 50001)
    return next(rule for rule in by_priority if all(meets(sent, one) for one in rule.conditions))


def meets(sent: Sent, condition: Condition) -> bool:
    """One of its values is enough. Of hosts, headers and queries the case of letters does not matter, of paths and methods it does."""
    values = condition.values
    match condition.field:
        case "host-header":
            return any(fits(value, sent.host, fold=True) for value in values)
        case "path-pattern":
            return any(fits(value, normalized(sent.path)) for value in values)
        case "http-request-method":
            return sent.method in values
        case "source-ip":
            address = ipaddress.ip_address(sent.source)
            return any(address in ipaddress.ip_network(value) for value in values)
        case "http-header":
            found = [text for name, text in sent.headers if name.lower() == condition.name.lower()]
            return any(fits(value, text, fold=True) for value in values for text in found)
        case "query-string":
            pairs = [one.partition("=")[::2] for one in (sent.query or "").split("&") if "=" in one]
            return any(_has(key, value, pairs) for key, value in condition.pairs)


def normalized(path: str) -> str:
    """AWS: "The rule evaluation is performed only after URI normalization occurs." RFC 3986, 6.2.2.2 and 6.2.2.3; no path has empty segments here."""
    path = re.sub(r"%([0-9a-fA-F]{2})", lambda code: _decoded(code[0], chr(int(code[1], 16))), path)
    found: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            found = found[:-1]
        elif segment != ".":
            found.append(segment)
    folder = path.endswith(("/.", "/..", "/"))
    return "/" + "/".join(one for one in found if one) + ("/" if folder and any(found) else "")


def _decoded(code: str, character: str) -> str:
    return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else code


def _has(key: str, value: str, pairs: Sequence[tuple[str, ...]]) -> bool:
    """AWS: the key can be left out. `\\` before a wildcard makes it a character."""
    return any(
        (not key or fits(key, name, fold=True, escapes=True)) and fits(value, text, fold=True, escapes=True)
        for name, text in pairs
    )


def fits(pattern: str, text: str, *, fold: bool = False, escapes: bool = False) -> bool:
    """`*`: 0 or more characters, `?`: exactly one."""
    if fold:
        pattern, text = pattern.lower(), text.lower()
    reached = {0}  # how much of the text may stand before here
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            reached = set(range(min(reached, default=len(text) + 1), len(text) + 1))
            continue
        wanted = next(characters, "\\") if escapes and character == "\\" else character
        anything = character == "?"
        reached = {place + 1 for place in reached if place < len(text) and (anything or text[place] == wanted)}
    return len(text) in reached


class Chance:
    """Rules and requests of few words, so that they meet often. Equal seeds give equal ones."""

    def __init__(self, seed: int, sources: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._sources = sources
        self._usual = [self.request() for _ in range(30)]

    def conditions(self) -> tuple[Condition, ...]:
        """As many as a rule may have: five values and five wildcards. Few are for most requests: rules after them would be met by none."""
        kinds = [self._host, self._path, self._path, self._method, self._source, self._header, self._query]
        chosen = self._random.sample(kinds, self._random.choice((1, 1, 1, 2, 2, 3)))
        if len(chosen) == 1:
            chosen += self._random.sample([self._header, self._query, self._method], self._random.choice((0, 1)))
        found: dict[str, Condition] = {}
        for make in chosen:
            condition = make()
            found.setdefault(condition.field if condition.field in _ONCE else repr(condition), condition)
        conditions = tuple(found.values())
        wide = sum(all(meets(sent, one) for one in conditions) for sent in self._usual) > self._random.choice(
            (2, 4, 10)
        )
        return self.conditions() if wide or not _is_allowed(conditions) else conditions

    def request(self) -> Sent:
        one = self._random
        headers = [
            (self._cased(one.choice(("X-Kind", "X-Other"))), self._text()) for _ in range(one.choice((0, 1, 1, 2)))
        ]
        pairs = [f"{self._text(plain=True)}={self._text(plain=True)}" for _ in range(one.choice((0, 1, 1, 2, 3)))]
        if one.random() < 0.2:
            pairs.append(one.choice(("", "a", "=", "a=b=ab", "x*=a?b", "=ab")))
        one.shuffle(pairs)
        host = self._cased(".".join((*self._some(("a", "b", "ab")), "example", "com")))
        path = "/" + "/".join(self._segment() for _ in range(one.choice((0, 1, 1, 2, 2, 3))))
        query = "&".join(pairs) if pairs or one.random() < 0.3 else None
        method = one.choice(("GET", "GET", "POST", "DELETE", "MY-METHOD", "get"))
        return Sent(method, host, path, query, tuple(headers), one.choice(self._sources))

    def pick(self, *among: object) -> object:
        return self._random.choice(among)

    def number(self, below: int) -> int:
        return self._random.randrange(below)

    def _some(self, words: Sequence[str]) -> list[str]:
        return [self._random.choice(words) for _ in range(self._random.choice((0, 1, 1, 2)))]

    def _cased(self, text: str) -> str:
        return self._random.choice((text, text, text.lower(), text.upper(), text.swapcase()))

    def _wild(self, text: str, odds: float = 0.3) -> str:
        """Some of it replaced by a wildcard."""
        if self._random.random() > odds:
            return text
        start = self._random.randrange(len(text) + 1)
        end = min(len(text), start + self._random.choice((0, 1, 1, 3, 99)))
        return self._wild(text[:start] + self._random.choice("**?") + text[end:], odds / 2)

    def _segment(self) -> str:
        return self._random.choice(
            (
                "a",
                "b",
                "ab",
                "A",
                "a.b",
                "x$1",
                "it's",
                "(a|b)",
                "[a]+",
                "a+",
                "%25",
                "\\a",
                "a\\b",
                "~",
                "{}",
                "^a",
                '"',
                *("..", "..", ".", "%2e%2E", "%61", "%2F"),
            )
        )

    def _text(self, *, plain: bool = False) -> str:
        words = ("a", "b", "ab", "A", "a,b", "a.b", "%20", "a*b", "a?b")
        return self._random.choice(words if plain else (*words, "a b", "x\\y", "", '"a"', "#{host}", "%[src]"))

    def _path(self) -> Condition:
        paths = (
            "/" + "/".join(self._segment() for _ in range(self._random.choice((0, 1, 1, 2)))) for _ in self._count()
        )
        return Condition(
            "path-pattern", tuple(self._random.choice((path + "*", path + "/*", self._wild(path))) for path in paths)
        )

    def _host(self) -> Condition:
        names = (
            ".".join(("*" if self._random.random() < 0.4 else self._random.choice(("a", "b", "ab", "?")), "example"))
            for _ in self._count()
        )
        return Condition("host-header", tuple(self._cased(f"{name}.com") for name in names))

    def _method(self) -> Condition:
        return Condition(
            "http-request-method", tuple(self._random.choice(("GET", "POST", "MY-METHOD")) for _ in self._count())
        )

    def _source(self) -> Condition:
        blocks = [
            f"{self._random.choice(self._sources)}/32",
            str(ipaddress.ip_network(f"{self._sources[0]}/30", strict=False)),
            "2001:db8::/32",
        ]
        return Condition("source-ip", tuple(self._random.choice(blocks) for _ in self._count()))

    def _header(self) -> Condition:
        values = tuple(self._wild(self._text() or "x", 0.5) for _ in self._count())
        return Condition("http-header", values, name=self._cased(self._random.choice(("X-Kind", "X-Other"))))

    def _query(self) -> Condition:
        def some() -> str:
            text = self._text(plain=True)
            return self._random.choice((self._wild(text, 0.6), text.replace("*", "\\*").replace("?", "\\?")))

        return Condition(
            "query-string", pairs=tuple((self._random.choice(("", some())), some()) for _ in self._count())
        )

    def _count(self) -> range:
        return range(self._random.choice((1, 1, 2, 3)))


_ONCE = ("host-header", "path-pattern", "http-request-method", "source-ip")


def _is_allowed(conditions: Sequence[Condition]) -> bool:
    """AWS: five values and five wildcards a rule."""
    texts = [text for one in conditions for text in (*one.values, *(part for pair in one.pairs for part in pair))]
    values = sum(len(one.values) + len(one.pairs) for one in conditions)
    return values < 6 and sum(text.count("*") + text.count("?") for text in texts) < 6
