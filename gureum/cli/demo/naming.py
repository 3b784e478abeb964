"""What the tour's things are called: everything it makes carries this name, by which it is found and removed again."""

from __future__ import annotations

NAME = "gureum-demo"


def tags(kind: str, name: str = "") -> str:
    return f"ResourceType={kind},Tags=[{{Key=Name,Value={NAME}{f'-{name}' if name else ''}}}]"
