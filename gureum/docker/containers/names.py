"""Names for containers that are given none: an adjective and somebody of computing, as Docker's users know them."""

from __future__ import annotations

import re
import secrets

from gureum.docker.errors import bad_parameter

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
MOST_CHARACTERS = 512
_LEFT = (
    "amber", "agile", "airy", "bold", "brave", "bright", "brisk", "calm", "cheerful", "clear", "clever", "cosy",
    "curious", "daring", "eager", "early", "fair", "fearless", "fluffy", "frosty", "gentle", "glad", "golden",
    "happy", "hazy", "hopeful", "humble", "jolly", "keen", "kind", "lively", "lucid", "mellow", "merry", "misty",
    "modest", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "rainy",
    "serene", "silent", "silver", "smart", "snowy", "soft", "solid", "spry", "stormy", "sunny", "swift", "tender",
    "tidy", "tranquil", "vivid", "warm", "wise", "witty",
)  # fmt: skip
_RIGHT = (
    "babbage", "backus", "bartik", "berners", "blackwell", "boole", "borg", "brooks", "cerf", "church", "clarke",
    "codd", "conway", "curry", "dahl", "diffie", "dijkstra", "engelbart", "floyd", "gosling", "hamilton", "hamming",
    "hellman", "hoare", "holberton", "hopper", "iverson", "johnson", "kahn", "karp", "kay", "kernighan", "kleene",
    "knuth", "lamarr", "lamport", "lampson", "liskov", "lovelace", "mccarthy", "milner", "minsky", "moore", "naur",
    "neumann", "newell", "nygaard", "perlis", "perlman", "postel", "rabin", "ritchie", "rivest", "scott", "shannon",
    "simon", "stroustrup", "sutherland", "tarjan", "thompson", "turing", "ullman", "wilkes", "wing", "wirth", "zuse",
)  # fmt: skip


def check(name: str) -> None:
    """DockerError 400. Docker sets no limit to a name's length; ours keeps a name below that of the store's keys."""
    if not NAME.fullmatch(name):
        raise bad_parameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if len(name) > MOST_CHARACTERS:
        raise bad_parameter(f"Invalid container name ({name}), it is longer than {MOST_CHARACTERS} characters")


def random_name() -> str:
    return f"{secrets.choice(_LEFT)}_{secrets.choice(_RIGHT)}"
