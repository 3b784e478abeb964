"""Rules of Systems Manager as tables: which invocations start, how a command stands, what a document makes of parameters, when a session ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gureum.aws.errors import AwsError
from gureum.aws.ssm.builtin_documents import BUILTINS
from gureum.aws.ssm.channel_messages import INPUT, SIZE, Message
from gureum.aws.ssm.command_kinds import Command, CommandSpec, Invocation, InvocationSpec, InvocationStatus, plan
from gureum.aws.ssm.command_outputs import ERRORS_FOLLOW, ERRORS_TRUNCATED, LIMIT_BOTH, TRUNCATED, both, head
from gureum.aws.ssm.document_content import check, fill, read, steps_of, values_of
from gureum.aws.ssm.document_kinds import Document, DocumentSpec, DocumentVersion, VersionSpec, find
from gureum.aws.ssm.guest_users import read_account
from gureum.aws.ssm.live_sessions import size_of, why_to_end
from gureum.aws.ssm.session_kinds import Preferences, Session, SessionSpec, changed, hash_of, opens
from gureum.aws.ssm.sessions import read_preferences
from gureum.engine.resource import Meta
from gureum.ports import PortError

STEPS = {"mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["id"]}}]}
META = Meta(scope="1/r", name="c", uid="u", created=0.0)
SHORT = {
    "P": ("Pending", "Pending"),
    "R": ("InProgress", "InProgress"),
    "S": ("Success", "Success"),
    "F": ("Failed", "Failed"),
    "E": ("TimedOut", "ExecutionTimedOut"),
    "D": ("TimedOut", "DeliveryTimedOut"),
    "C": ("Cancelled", "Cancelled"),
    "T": ("Cancelled", "Terminated"),
}


def command(**spec: Any) -> Command:
    return Command(meta=META, spec=CommandSpec("d", "1", 0.0, 0.0, 60, instances=(), steps=(), **spec))


def invocations(states: str) -> list[Invocation]:
    return [
        Invocation(
            meta=Meta(scope="1/r", name=str(at), uid=str(at), created=0.0),
            spec=InvocationSpec("c", f"i-{at}", at),
            status=InvocationStatus(*SHORT[state]),
        )
        for at, state in enumerate(states)
    ]


OPERATOR = "Unrecognized precondition(s): 'unrecognized operator: \"StringNotEquals\"'"


@pytest.mark.parametrize(
    ("condition", "skipped", "failed"),
    [
        ({}, "", ""),
        ({"StringEquals": ["platformType", "linux"]}, "", ""),
        ({"StringEquals": ["Linux", "platformType"]}, "", ""),
        ({"StringEquals": ["platformType", "Windows"]}, "'\"StringEquals\": [platformType, Windows]'", ""),
        ({"StringEquals": ["{{ who }}", "world"]}, "", ""),
        ({"StringEquals": ["moon", "{{ who }}"]}, "[moon, {{ who }}]", ""),
        ({"StringNotEquals": ["platformType", "Linux"]}, "", OPERATOR),
        ({"StringNotEquals": ["a", "b"], "StringEquals": ["platformType", "MacOS"]}, "unsatisfied", ""),
        ({"StringEquals": ["a"]}, "", "operator accepts exactly 2 arguments"),
        ({"StringEquals": ["a", "a"]}, "", "operator's arguments can't be identical"),
        ({"StringEquals": ["a", "b"]}, "", "must contain a valid document parameter"),
        ({"StringEquals": ["{{ ssm:name }}", "b"]}, "", "can't contain SSM parameters"),
        ({"StringEquals": ["platformType", "{{ who }}"]}, "", "can't contain document parameters"),
    ],
)
def test_preconditions_are_judged_as_by_the_agent(condition: dict[str, Any], skipped: str, failed: str) -> None:
    """amazon-ssm-agent's runpluginutil.go."""
    step = {"action": "aws:runShellScript", "name": "a", "precondition": condition, "inputs": {"runCommand": ["id"]}}
    content = {"schemaVersion": "2.2", "parameters": {"who": {"type": "String"}}, "mainSteps": [step]}
    check(content, "Command")
    (found,) = steps_of(content, {"who": "world"})
    assert (found.skipped, bool(found.refused)) == (bool(skipped), bool(failed))
    assert skipped in found.why
    assert failed in found.refused
    if condition:
        (older,) = steps_of(content | {"schemaVersion": "2.0"}, {"who": "world"})
        assert "prior to 2.2" in older.refused


def test_a_precondition_of_another_shape_is_no_document() -> None:
    for condition in ("no", {"StringEquals": "platformType"}, {"StringEquals": [1, 2]}):
        step = {"action": "aws:runShellScript", "name": "a", "precondition": condition}
        with pytest.raises(AwsError, match="InvalidDocumentContent"):
            check({"schemaVersion": "2.2", "mainSteps": [step]}, "Command")


@pytest.mark.parametrize(
    ("states", "at_once", "errors", "start", "stop", "details"),
    [
        ("PPP", "50", "0", "012", "", "Pending"),
        ("PPP", "1", "0", "0", "", "Pending"),
        ("RPP", "1", "0", "", "", "InProgress"),
        ("SPP", "1", "0", "1", "", "InProgress"),
        ("SRPPPPPPPP", "25%", "0", "2", "", "InProgress"),
        ("PPPP", "1%", "0", "0", "", "Pending"),
        ("FPP", "1", "0", "", "12", "InProgress"),
        ("FPP", "1", "1", "1", "", "InProgress"),
        ("FFPP", "1", "50%", "2", "", "InProgress"),
        ("DPP", "1", "0", "1", "", "InProgress"),
        ("SSS", "1", "0", "", "", "Success"),
        ("FSS", "1", "0", "", "", "Failed"),
        ("FSS", "1", "1", "", "", "Incomplete"),
        ("FTT", "1", "0", "", "", "Failed"),
        ("ESS", "1", "0", "", "", "ExecutionTimedOut"),
        ("DSS", "1", "0", "", "", "DeliveryTimedOut"),
        ("DSS", "1", "1", "", "", "Incomplete"),
        ("", "1", "0", "", "", "NoInstancesInTag"),
    ],
)
def test_which_start_and_how_the_command_stands(
    states: str, at_once: str, errors: str, start: str, stop: str, details: str
) -> None:
    """AWS: "Understanding command statuses", "Run commands at scale" (Systems Manager user guide)."""
    found = plan(command(most_at_once=at_once, most_errors=errors), invocations(states))
    assert ("".join(found.start), "".join(found.stop), found.status.details) == (start, stop, details)


@pytest.mark.parametrize(("states", "details"), [("RP", "Cancelling"), ("CC", "Cancelled"), ("SS", "Success")])
def test_cancelled_commands(states: str, details: str) -> None:
    assert plan(command(cancelled=True), invocations(states)).status.details == details


def test_beginnings_of_outputs() -> None:
    assert head("", "abc", 3) == "abc"
    text = head("x" * 20, "y" * 100, 50)
    assert len(text) == 50
    assert text.endswith(TRUNCATED)
    assert head(text, "more", 50) == text


@pytest.mark.parametrize(
    ("out", "err", "ends"),
    [
        (10, 10, ("o", "e")),
        (5000, 0, (TRUNCATED,)),
        (5000, 10, (TRUNCATED, "e")),
        (10, 5000, ("o", ERRORS_TRUNCATED)),
        (5000, 5000, (TRUNCATED, ERRORS_TRUNCATED)),
    ],
)
def test_both_outputs_have_room_in_one_text(out: int, err: int, ends: tuple[str, ...]) -> None:
    """amazon-ssm-agent, iohandler.go: what a step complained of was cut off behind a long output."""
    text = both("o" * out, "e" * err)
    parts = text.split(ERRORS_FOLLOW)
    assert (len(parts), len(text) <= LIMIT_BOTH) == (2 if err else 1, True)
    assert all(part.endswith(end) for part, end in zip(parts, ends, strict=True))
    assert len(text) >= LIMIT_BOTH - 1 or (out, err) == (10, 10)


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{{ list }}", ["a", "b"]),
        (["{{list}}", "c"], ["a", "b", "c"]),
        ("run {{ text }}!", "run it!"),
        ("run {{ list }}", 'run ["a", "b"]'),
        ({"x": ["{{ text }}"]}, {"x": ["it"]}),
        ("{{ none }} {{ text }}", "{{ none }} it"),
        (7, 7),
    ],
)
def test_places_are_filled(value: Any, filled: Any) -> None:
    assert fill(value, {"list": ["a", "b"], "text": "it"}) == filled


def test_what_is_filled_in_is_not_filled_again() -> None:
    assert fill("{{ a }}", {"a": "{{ b }}", "b": "x"}) == "{{ b }}"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "InvalidDocumentContent"),
        ("[]", "InvalidDocumentContent"),
        ('{"schemaVersion": "9"}', "InvalidDocumentSchemaVersion"),
        ('{"schemaVersion": "2.2"}', "InvalidDocumentContent"),
        ('{"schemaVersion": "2.2", "mainSteps": [{}]}', "InvalidDocumentContent"),
        ('{"schemaVersion": "2.2", "mainSteps": [{"action": "a", "name": "b c"}]}', "InvalidDocumentContent"),
        (
            '{"schemaVersion": "2.2", "mainSteps": [{"action": "a", "name": "b", "inputs": 7}]}',
            "InvalidDocumentContent",
        ),
        ('{"schemaVersion": "1.2", "runtimeConfig": {"aws:runShellScript": 7}}', "InvalidDocumentContent"),
        ('{"schemaVersion": "2.2", "parameters": {"a": {"type": "Odd"}}, "mainSteps": []}', "InvalidDocumentContent"),
        (f'{{"x": "{"y" * 70000}"}}', "MaxDocumentSizeExceeded"),
        ('{"x": ' + "[" * 50 + "]" * 50 + "}", "InvalidDocumentContent"),
        ('{"x": NaN}', "InvalidDocumentContent"),
        ('{"x": 1e999}', "InvalidDocumentContent"),
        (f'{{"x": {"9" * 5000}}}', "InvalidDocumentContent"),
        (
            '{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:configureJava", "name": "b"}]}',
            "InvalidDocumentContent",
        ),
    ],
)
def test_documents_that_are_none(text: str, code: str) -> None:
    with pytest.raises(AwsError) as refused:
        check(read(text, "JSON"), "Command")
    assert refused.value.code == code


@pytest.mark.parametrize(
    "bound", [{"minChars": "two"}, {"maxChars": [1]}, {"maxItems": -1}, {"minItems": True}, {"allowedValues": 5}]
)
def test_bounds_of_parameters_are_numbers_and_lists(bound: dict[str, Any]) -> None:
    with pytest.raises(AwsError, match="InvalidDocumentContent"):
        check({"schemaVersion": "2.2", "parameters": {"p": {"type": "String", **bound}}, **STEPS}, "Command")


@pytest.mark.parametrize(("items", "good"), [(1, False), (2, True), (3, True), (4, False)])
def test_lists_have_as_many_items_as_their_parameter_says(items: int, good: bool) -> None:
    """AWS: "Data elements and parameters", minItems, maxItems."""
    content = {"parameters": {"p": {"type": "StringList", "minItems": 2, "maxItems": "3"}}}
    if good:
        assert values_of(content, {"p": ["a"] * items}) == {"p": ["a"] * items}
    else:
        with pytest.raises(AwsError, match="InvalidParameters"):
            values_of(content, {"p": ["a"] * items})


def test_yaml_says_what_json_can_say() -> None:
    """Systems Manager knows a document in YAML as JSON: keys and times are texts."""
    found = read("description: 2020-01-01\nparameters: {5: {default: 2020-01-01T10:00:00}, true: 1}", "YAML")
    assert found == {
        "description": "2020-01-01",
        "parameters": {"5": {"default": "2020-01-01T10:00:00"}, "true": 1},
    }
    for text in ("a: !!binary aGk=", "a: !!set {b, c}", "a: .inf"):
        with pytest.raises(AwsError, match="InvalidDocumentContent"):
            read(text, "YAML")


@pytest.mark.parametrize("timeout", ["²", "9" * 5000, "0", "172801"])
def test_a_timeout_is_a_number_of_seconds(timeout: str) -> None:
    step = {"action": "aws:runShellScript", "name": "a", "inputs": {"timeoutSeconds": timeout}}
    with pytest.raises(AwsError, match="InvalidParameters"):
        steps_of({"schemaVersion": "2.2", "mainSteps": [step]}, {})


def test_a_short_document_cannot_ask_for_gigabytes() -> None:
    """Were it filled in to be measured, this one would take all memory."""
    for commands in (["{{ p }}" * 9000], ["x{{\np}}"] * 6000):
        step = {"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": commands}}
        with pytest.raises(AwsError, match="MaxDocumentSizeExceeded"):
            steps_of({"schemaVersion": "2.2", "mainSteps": [step]}, {"p": "A" * 50_000_000})


@pytest.mark.parametrize("time", ["²", "9" * 5000, "61", "0", True])
def test_idle_times_are_minutes(time: Any) -> None:
    with pytest.raises(AwsError, match="InvalidDocumentContent"):
        read_preferences({"idleSessionTimeout": time})


@pytest.mark.parametrize(
    "told", ["{}", "[]", "[" * 9999, '{"cols": 1e999, "rows": 3}', '{"cols": "²", "rows": 3}', '{"cols": 0, "rows": 3}']
)
def test_sizes_of_terminals_that_are_none(told: str) -> None:
    """An infinite one ended the client's connection."""
    assert size_of(Message(INPUT, 0, told.encode(), SIZE)) is None


def test_a_document_that_an_older_gureum_took_hides_no_other() -> None:
    """ListDocuments reads each."""
    document = Document(meta=META, spec=DocumentSpec("d", "Command"))
    version = DocumentVersion(meta=META, spec=VersionSpec("d", 1, '{"schemaVersion": "2.2", "x": NaN}', "JSON", 0.0))
    client = SimpleNamespace(get=lambda *_: version)
    call: Any = SimpleNamespace(account="1", get=lambda *_: document, client=client)
    found = find(call, "d")
    assert (found.name, found.number) == ("d", 1)
    with pytest.raises(AwsError, match="InvalidDocumentContent"):
        steps_of(found.content, {})


def test_every_builtin_document_is_one() -> None:
    for kind, content in BUILTINS.values():
        check(content, kind)
    values = values_of(BUILTINS["AWS-RunShellScript"][1], {"commands": ["id", "pwd"]})
    (step,) = steps_of(BUILTINS["AWS-RunShellScript"][1], values)
    assert (step.name, step.commands, step.timeout_s) == ("aws:runShellScript", ("id", "pwd"), 3600)


def test_parameters_that_are_variables_are_in_the_environment_of_each_script() -> None:
    """AWS: "Data elements and parameters", interpolationType."""
    shell = {"action": "aws:runShellScript", "inputs": {"runCommand": ['echo "$SSM_Message" {{ Message }}']}}
    content = {
        "schemaVersion": "2.2",
        "parameters": {"Message": {"type": "String", "interpolationType": "ENV_VAR"}, "b": {"type": "String"}},
        "mainSteps": [{**shell, "name": "one"}, {**shell, "name": "two"}],
    }
    steps = steps_of(content, values_of(content, {"Message": ["a; id"], "b": ["x"]}))
    assert [one.environment for one in steps] == [{"SSM_Message": "a; id"}] * 2


def test_plugins_that_are_not_built_say_so() -> None:
    content = {"schemaVersion": "2.2", "mainSteps": [{"action": "aws:softwareInventory", "name": "a", "inputs": {}}]}
    with pytest.raises(AwsError) as refused:
        steps_of(content, {})
    assert (refused.value.code, refused.value.status) == ("NotImplemented", 501)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root",
        "0:0:0:/root",
        "x:0:0:/root:/bin/sh",
        "99999:0:0:/root:/bin/sh",
        "²:0:0:/root:/bin/sh",
        "0:0:" + "1 " * 99 + ":/:/bin/sh",
    ],
)
def test_a_machine_cannot_say_nonsense_of_its_accounts(text: str) -> None:
    with pytest.raises(PortError):
        read_account("x", text)
    account = read_account("x", "1001:1001:1001 10:/home/x:/bin/sh; reboot")
    assert (account.groups, account.home, account.shell) == ((10,), "/home/x", "/bin/sh")


def session(**fields: Any) -> Session:
    spec = SessionSpec("i-1", "d", "o", 1000.0, token_hash=hash_of("right"), token_until=1060.0, **fields)
    return Session(meta=Meta(scope="1/r", name="s", uid="u", created=1000.0), spec=spec)


def test_a_token_opens_in_its_time_only() -> None:
    one = session()
    assert opens(one, "right", 1059.0)
    assert not opens(one, "right", 1061.0)
    assert not opens(one, "wrong", 1001.0)
    assert not opens(changed(one, token_hash=""), "", 1001.0)
    assert not opens(changed(one, ending=True), "right", 1001.0)
    assert "right" not in repr(one)


@pytest.mark.parametrize(
    ("fields", "active_at", "now", "state", "ends"),
    [
        ({}, 1000.0, 2199.0, "running", False),
        ({}, 1000.0, 2201.0, "running", True),
        ({"preferences": Preferences(idle_minutes=1)}, 1000.0, 1061.0, "running", True),
        ({"preferences": Preferences(longest_minutes=5)}, 1290.0, 1299.0, "running", False),
        ({"preferences": Preferences(longest_minutes=5)}, 1300.0, 1301.0, "running", True),
        ({"ending": True}, 1000.0, 1000.0, "running", True),
        ({}, 1000.0, 1001.0, "stopping", True),
    ],
)
def test_when_a_session_ends(fields: dict[str, Any], active_at: float, now: float, state: str, ends: bool) -> None:
    instance = SimpleNamespace(status=SimpleNamespace(state=state))
    world: Any = SimpleNamespace(client=SimpleNamespace(get=lambda *_: instance))
    assert (why_to_end(world, session(**fields), active_at, now) is not None) is ends
