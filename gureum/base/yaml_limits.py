"""How hostile_yaml.py reads: depth and number of nodes before anything recurses, the number with aliases written out before anything grows."""

from __future__ import annotations

import yaml

from gureum.base.hostile_yaml import HostileYaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Where PyYAML was built with libyaml its parser reads ten times as much in the same time."""


def load(text: bytes, depth: int, nodes: int) -> object:
    """The only document: None, bool, int, float, str, dates, lists and dicts. Raises HostileYaml."""
    try:
        _check_events(text, depth, nodes)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            return None
        _expanded(node, {}, nodes)
        return _constructed(node)
    except yaml.MarkedYAMLError as error:
        raise HostileYaml(_reason(error)) from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise HostileYaml(str(error) or type(error).__name__) from None


def _constructed(node: yaml.Node) -> object:
    loader = _Loader(b"")
    try:
        found: object = loader.construct_document(node)
        return found
    finally:
        loader.dispose()


def doubles(text: bytes) -> list[tuple[int, str]]:
    """Keys that stand once more in their mapping: the line of the value, from 1, and the key."""
    found: list[tuple[int, str]] = []
    waiting, seen = [yaml.compose(text, Loader=_Loader)], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            found += _doubles_of(node)
    return sorted(found)


def _doubles_of(node: yaml.MappingNode) -> list[tuple[int, str]]:
    names: set[str] = set()
    found = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in names:
            found.append((value.start_mark.line + 1, key.value))
        names.add(key.value)
    return found


def _reason(error: yaml.MarkedYAMLError) -> str:
    where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
    return f"{error.problem or error.context}{where}"


def _check_events(text: bytes, most_depth: int, most_nodes: int) -> None:
    """Depth and number, before anything that recurses sees the text."""
    depth = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > most_depth:
            raise HostileYaml(f"it is nested more than {most_depth} deep")
        if nodes > most_nodes:
            raise HostileYaml(f"it has more than {most_nodes} nodes")


def _expanded(node: yaml.Node, known: dict[int, int], most_nodes: int) -> int:
    """How many nodes `node` is when every alias is written out. `known`: by identity; 0 while it is being counted."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise HostileYaml("it contains itself")
        return known[id(node)]
    known[id(node)] = 0
    count = 1
    if isinstance(node, yaml.SequenceNode):
        count += sum(_expanded(entry, known, most_nodes) for entry in node.value)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            count += _expanded(key, known, most_nodes) + _expanded(value, known, most_nodes)
    if count > most_nodes:
        raise HostileYaml(f"it has more than {most_nodes} nodes once its aliases are followed")
    known[id(node)] = count
    return count
