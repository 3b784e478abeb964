"""Which changes of rules a running worker can take, and in which order."""

from __future__ import annotations

from gureum.drivers.haproxy import config as haproxy_config
from gureum.drivers.haproxy.crowding import Host
from gureum.drivers.haproxy.maps import Changes, pieces, plan
from gureum.ports.proxies import Condition, FixedResponse, Forward, Group, Listener, ProxySpec, Rule

GROUPS = (Group("tg-a", "arn", "HTTP"), Group("tg-b", "arn", "HTTP"))
TO_A, TO_B = Forward((("tg-a", 1),)), Forward((("tg-b", 1),))


def on(path: str, host: str = "a.example.com") -> tuple[Condition, ...]:
    return (Condition("path-pattern", (path,)), Condition("host-header", (host,)))


def change(old: tuple[Rule, ...], new: tuple[Rule, ...]) -> Changes | None:
    def files(rules: tuple[Rule, ...]) -> dict[str, str]:
        listener = Listener(80, "HTTP", "arn", (*rules, Rule(0, TO_A)))
        spec = ProxySpec("n", "/run/netns/x", "10.0.0.9", "app/lb/1", (listener,), GROUPS)
        return haproxy_config.render(spec, Host())

    return plan(files(old), files(new))


FIRST = Rule(1, TO_A, on("/a*"))


def test_an_action_is_changed_by_itself() -> None:
    found = change((FIRST,), (Rule(1, TO_B, on("/a*")),))
    assert found is not None
    assert [step.text for step in (*found.before, *found.after)] == ["set map 80.actions 1 tg-b"]
    assert found.versions == {}


def test_what_a_new_rule_does_is_there_before_it_is_found_and_goes_after_it() -> None:
    second = Rule(2, TO_B, on("/b*", "b.example.com"))
    there, gone = change((FIRST,), (FIRST, second)), change((FIRST, second), (FIRST,))
    assert there is not None
    assert gone is not None
    assert [step.text for step in there.before] == ["add map 80.actions 2 tg-b"]
    assert list(there.versions) == ["80.rules"]
    assert [step.text for step in there.after] == ["add map 80.hosts b.example.com b.example.com"]
    assert gone.before == []
    assert [step.text for step in gone.after] == ["del map 80.hosts b.example.com", "del map 80.actions 2"]


def shared(a: int, b: int, **more: int) -> Rule:
    return Rule(2, Forward((("tg-a", a), ("tg-b", b)), **more), on("/s*"))


def test_weights_change_as_a_whole_in_the_running_worker() -> None:
    found = change((FIRST, shared(9, 1)), (FIRST, shared(1, 1)))
    assert found == Changes([], {"80.weights": "2:tg-a 524288\n2:tg-b 1048576\n"}, [])
    assert change((shared(1, 0),), (shared(0, 0),)) == Changes([], {"80.weights": ""}, [])
    assert change((shared(1, 0),), (shared(0, 999),)) == Changes([], {"80.weights": "2:tg-b 1048576\n"}, [])


def test_weights_that_change_with_a_rules_conditions_need_a_reload() -> None:
    """Else a request could meet the new conditions with the old weights."""
    assert change((shared(9, 1),), (Rule(2, shared(1, 9).action, on("/else*")),)) is None


def test_another_stickiness_or_group_of_a_weighted_rule_needs_a_reload() -> None:
    assert change((shared(1, 1),), (shared(1, 1, stickiness_s=60),)) is None
    assert change((shared(1, 1),), (Rule(2, TO_A, on("/s*")),)) is None


def test_priorities_that_are_exchanged_need_a_reload() -> None:
    old = (FIRST, Rule(2, TO_B, on("/b*")))
    assert change(old, (Rule(1, TO_B, on("/b*")), Rule(2, TO_A, on("/a*")))) is None


def test_what_maps_do_not_hold_needs_a_reload() -> None:
    assert change((FIRST,), (Rule(1, TO_A, (Condition("http-header", ("x",), "X-A"),)),)) is None
    assert change((FIRST,), (Rule(1, FixedResponse(200, "", "x"), on("/a*")),)) is None
    assert change((FIRST,), ()) is None


def test_a_long_map_goes_in_pieces_of_whole_lines() -> None:
    lines = [f"example.com:/{n}{'x' * 100} {n}\n" for n in range(1000)]
    found = pieces("".join(lines))
    assert "".join(found) == "".join(lines)
    assert max(map(len, found)) <= 16384
    assert all(piece.endswith("\n") for piece in found)
    assert len(found) < 10
    assert pieces("") == []
