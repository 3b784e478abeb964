"""The filter-pattern language. Tables are from the CloudWatch Logs User Guide ("Filter pattern syntax" and its pages on unstructured, JSON and
space-delimited events and on regular expressions) and from the metric filters of the CIS AWS Foundations Benchmark."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gureum.aws.errors import AwsError
from gureum.aws.logs.pattern_regex import compile_regex
from gureum.aws.logs.patterns import compile_pattern
from gureum.telemetry.pages import has_all

EVENTS = ("[ERROR 400] BAD REQUEST", "[ERROR 401] UNAUTHORIZED REQUEST", "[ERROR 419] MISSING ARGUMENTS", "[WARN] x")
OR_EVENTS = ("ERROR WARN message", "ERROR message", "WARN message")


@pytest.mark.parametrize(
    ("pattern", "events", "matching"),
    [
        ("", EVENTS, [0, 1, 2, 3]),
        ("  ", EVENTS, [0, 1, 2, 3]),
        ("ERROR", EVENTS, [0, 1, 2]),
        ("error", EVENTS, []),
        ("ERROR ARGUMENTS", EVENTS, [2]),
        ("ERROR -ARGUMENTS", EVENTS, [0, 1]),
        ('ERROR - "MISSING ARGUMENTS"', EVENTS, [0, 1]),
        ("-ERROR", EVENTS, [3]),
        ("?ERROR ?ARGUMENTS", EVENTS, [0, 1, 2]),
        ('"BAD REQUEST"', EVENTS, [0]),
        ("?ERROR ?WARN", OR_EVENTS, [0, 1, 2]),
        ("ERROR WARN", OR_EVENTS, [0]),
        ("ERROR -WARN", OR_EVENTS, [1]),
        ("?WARN ERROR", OR_EVENTS, [0, 1]),
        ("%AUTHORIZED%", EVENTS, [1]),
        (r"%ERROR\s4[01][01]%", EVENTS, [0, 1]),
        ("[w1=ERROR, w2]", OR_EVENTS, [1]),
        ("[w1=ERROR || w1=WARN, w2]", OR_EVENTS, [1, 2]),
        ("[w1!=ERROR && w1!=WARN, w2]", OR_EVENTS, []),
        ("{$.foo = bar}", ('{"foo": "bar"}', '{"foo": "baz"}'), [0]),
        ("{$.foo = bar || $.foo = baz }", ('{"foo": "bar"}', '{"foo": "baz"}', "foo bar"), [0, 1]),
        ('"say \\"hi\\""', ('say "hi"', "say hi"), [0]),
    ],
)
def test_patterns_choose_the_events_that_the_guide_names(pattern, events, matching):
    test = compile_pattern(pattern).test
    assert [place for place, event in enumerate(events) if test(event)] == matching


TRAIL = {
    "eventType": "UpdateTrail",
    "sourceIPAddress": "111.111.111.111",
    "arrayKey": ["value", "another value"],
    "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
    "SomeObject": None,
    "ThisFlag": True,
}
USERS = {
    "user": {"id": 1, "email": "John.Stiles@example.com"},
    "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
    "actions": ["GET", "PUT", "DELETE"],
    "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]],
}
NUMBERS = {"latency": 1500, "numbers": [0.001], "errorCode": 400, "processes": [0, 0, 0, 0, {"averageRuntime": 55.5}]}
ROOT = {"userIdentity": {"type": "Root"}, "eventType": "AwsApiCall", "errorCode": "Client.UnauthorizedOperation"}


@pytest.mark.parametrize(
    ("pattern", "event", "matches"),
    [
        ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
        ('{ $.eventType = "Update*" }', TRAIL, True),
        ('{ $.eventType = "*Trail" }', TRAIL, True),
        ('{ $.eventType = "Up*Trail" }', TRAIL, False),
        ("{ $.eventType = Up*Trail }", {"eventType": "Up*Trail"}, True),
        ("{ $.eventType = %Trail% }", TRAIL, True),
        ("{ $.eventType != %Trail% }", TRAIL, False),
        (r"{ $.sourceIPAddress = %^111\.\d{1,3}\.% }", TRAIL, True),
        ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
        ("{ $.sourceIPAddress != 111.111.* }", TRAIL, False),
        ('{ $.arrayKey[0] = "value" }', TRAIL, True),
        ('{ $.arrayKey[1] = "value" }', TRAIL, False),
        ('{ $.arrayKey[7] = "value" }', TRAIL, False),
        ('{ $.arrayKey[*] = "another value" }', TRAIL, True),
        ("{ $.objectList[1].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].id = 3 }", TRAIL, False),
        ("{ $.eventType[0] = U }", TRAIL, False),
        ("{ $.SomeObject IS NULL }", TRAIL, True),
        ("{ $.eventType IS NULL }", TRAIL, False),
        ("{ $.SomeOtherObject IS NULL }", TRAIL, False),
        ("{ $.SomeOtherObject NOT EXISTS }", TRAIL, True),
        ("{ $.SomeObject NOT EXISTS }", TRAIL, False),
        ("{ $.ThisFlag IS TRUE }", TRAIL, True),
        ("{ $.ThisFlag IS FALSE }", TRAIL, False),
        ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', USERS, True),
        ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', USERS, False),
        ('{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }', USERS, True),
        ('{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nomatch }', USERS, False),
        ("{ $.coordinates[2][1] = 8 }", USERS, True),
        ("{ $.users = 1 }", {"users": [1, 2, 3]}, False),
        ("{ $.users != 1 }", {"users": [1, 2, 3]}, False),
        ("{ $.nobody != 1 }", USERS, False),
        ("{ $.latency >= 500 }", NUMBERS, True),
        ("{ $.numbers[0] < 10e3 }", NUMBERS, True),
        ("{ $.numbers[0] < 10e-3 }", NUMBERS, True),
        ("{ $.numbers[0] > 10e-3 }", NUMBERS, False),
        ("{ $.processes[4].averageRuntime <= 55.5 }", NUMBERS, True),
        ("{ $.errorCode = 400 }", NUMBERS, True),
        ("{ $.errorCode = 4* }", NUMBERS, True),
        ("{ $.errorCode != 500 }", NUMBERS, True),
        ("{ $.latency > +1000 }", NUMBERS, True),
        ("{ $.latency = * }", NUMBERS, True),
        ("{ $.latency = * }", TRAIL, False),
        ("{ $.['a.b'] = 1 }", {"a.b": 1}, True),
        ("{ $.*.id = 1 }", USERS, True),
        # CIS AWS Foundations Benchmark 3.1, 3.3
        ('{($.errorCode="*UnauthorizedOperation") || ($.errorCode="AccessDenied*")}', ROOT, True),
        ('{$.userIdentity.type="Root" && $.userIdentity.invokedBy NOT EXISTS && $.eventType !="AwsServiceEvent"}', ROOT, True),
    ],
)  # fmt: skip
def test_json_patterns(pattern, event, matches):
    test = compile_pattern(pattern).test
    assert test(json.dumps(event)) is matches
    assert not test("no JSON")
    assert not test("[1]")


APACHE = (
    '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534',
    '127.0.0.1 - frank [10/Oct/2000:13:35:22 -0700] "GET /apache_pb.gif HTTP/1.0" 500 5324',
    '127.0.0.1 - frank [10/Oct/2000:13:50:35 -0700] "GET /products/index.html HTTP/1.0" 404 900',
)


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", [0, 1, 2]),
        ("[ip, user, username, timestamp, request, status_code]", []),
        ("[..., status_code, bytes]", [0, 1, 2]),
        ("[ip, user, ..., status_code, bytes]", [0, 1, 2]),
        ("[ip, user, ...]", [0, 1, 2]),
        ("[…]", [0, 1, 2]),
        ("[ip, user, username, timestamp, request, status_code, bytes > 1000]", [0, 1]),
        ("[ip, user, username, timestamp, request, status_code = 200, bytes]", [0]),
        ("[ip, user, username, timestamp, request, status_code = 4*, bytes]", [2]),
        ("[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]", [2]),
        ("[ip, user, username, timestamp, request, status_code != 4* && status_code != 200, bytes]", [1]),
        ("[ip, user, username, timestamp, request, status_code = 404 || status_code = 500, bytes]", [1, 2]),
        ("[ip, user, username, timestamp, request, (status_code = 404 || status_code = 500) && bytes > 1000, bytes]", [1]),
        ("[ip=%127\\.0\\.0\\.[1-9]%, ..., bytes]", [0, 1, 2]),
        ('[..., request="*index.html HTTP/1.0", , ]', [2]),
        ("[..., bytes < 1]", []),
        ("[..., user > 1, s, b]", []),
    ],
)  # fmt: skip
def test_space_delimited_patterns(pattern, matching):
    test = compile_pattern(pattern).test
    assert [place for place, event in enumerate(APACHE) if test(event)] == matching


def test_fields_are_shown_by_name_and_those_without_by_place():
    found = compile_pattern("[..., request=*.html*, status_code=4*,]").extract(APACHE[2])
    assert found == {
        "$1": "127.0.0.1",
        "$2": "-",
        "$3": "frank",
        "$4": "10/Oct/2000:13:50:35 -0700",
        "$request": "GET /products/index.html HTTP/1.0",
        "$status_code": "404",
        "$7": "900",
    }


@pytest.mark.parametrize(
    "pattern",
    [
        "foo:bar", '"open', "-", "?", "%open", "%a(b)%", "%something!%", "%%", "%é%", "%a{3,1}%", "%[]%", "%[z-a]%", "%a|%", "%\\q%", "%*a%",
        "{", "{}", "{ $ = 1 }", "{ $. = 1 }", "{ $.a }", "{ $.a = }", "{ $.a = 1", "{ $.a = 1 } x", "{ $.a > b }", "{ $.a IS 1 }", "{ a = 1 }",
        "{ $.a = 1 && }", "{ ($.a = 1 }", "{ $.a[x] = 1 }", "{ $[0] = 1 }", "{ $.*.* = 1 }", "{ $.a > %1% }", '{ $.a = @b" }',
        "{ $.*.a = 1 || $.*.b = 1 || $.*.c = 1 || $.*.d = 1 }", "{ $.a = %a% || $.b = %b% || $.c = %c% }", "{ $.a == 1 }",
        "{" + "(" * 400 + "$.a = 1" + ")" * 400 + "}", "[", "[]x", "[a b]", "[..., a, ...]", "[a, a]", "[a >]", "[a > b]", "[a = (]", "[= 1]",
        "%" + "a{999}" * 100 + "%",
    ],
)  # fmt: skip
def test_broken_patterns_are_refused(pattern):
    with pytest.raises(AwsError) as refused:
        compile_pattern(pattern)
    assert refused.value.code == "InvalidParameterException"
    assert refused.value.message.startswith("Invalid filter pattern")


@given(st.text(alphabet="{}[]()$.*%\"\\?-=<>!&|,a1 'IS", max_size=40), st.text(max_size=60))
def test_any_pattern_is_refused_or_tests_any_text(pattern, message):
    try:
        found = compile_pattern(pattern)
    except AwsError:
        return
    assert (found.extract(message) is not None) is found.test(message)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^[hc]at", ["hat in", "cat"], ["a hat"]),
        ("[hc]at$", ["a cat"], ["cats"]),
        ("colou?r", ["color", "colour"], ["colouur"]),
        ("[abcx-z]", ["y", "a"], ["d"]),
        ("^a{3,5}$", ["aaa", "aaaaa"], ["aa", "aaaaaa"]),
        ("gray|grey", ["gray", "grey"], ["gry"]),
        (r"10\.10\.0\.1", ["10.10.0.1"], ["10x10.0.1"]),
        ("^10*$", ["1", "100"], ["2"]),
        ("^10+$", ["10", "100"], ["1"]),
        ("^1.2$", ["1x2"], ["12"]),
        (r"^\d\D\s\S\w\W$", ["1x x_-"], ["1x \t_-"]),
        (r"\x41", ["A"], ["a"]),
        ("[^a]", ["b"], ["a"]),
        (r"^[\w\-]$", ["-", "_"], ["+", "--"]),
        ("^a?$", ["", "a"], ["aa"]),
    ],
)
def test_regular_expressions(pattern, matching, others):
    test = compile_regex(pattern).test
    assert [text for text in [*matching, *others] if test(text)] == matching


ATOM = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", "c", "[b-d]", r"\w"])
REPEAT = st.sampled_from(["", "", "", "?", "*", "+", "{2}", "{1,2}", "{0,2}", "{1,}", "{0,}"])
ROW = st.tuples(
    st.sampled_from(["", "", "^"]),
    st.lists(st.tuples(ATOM, REPEAT).map("".join), min_size=1, max_size=5).map("".join),
    st.sampled_from(["", "", "$"]),
).map("".join)


@given(st.lists(ROW, min_size=1, max_size=3).map("|".join), st.text(alphabet="abcd1 ", max_size=10))
def test_regular_expressions_find_what_pythons_find(pattern, text):
    found = compile_regex(pattern)
    fits = re.search(pattern.replace("$", r"\Z"), text) is not None
    assert found.test(text) is fits
    assert not fits or not found.texts or any(one in text for one in found.texts)


def test_a_pattern_made_to_take_for_ever_does_not():
    """A backtracking engine takes 2^300 steps for the first, and the fourth power of the text's length for the second."""
    many = compile_regex("[ab]?" * 300 + "[ab]" * 300).test
    assert many("a" * 300)
    assert not many("a" * 299)
    assert not compile_regex(".*.*.*.*[xy]").test("abc " * 50_000)
    assert not compile_pattern("[a, b, c]").test("[ " * 100_000)


@pytest.mark.parametrize(
    ("pattern", "needles"),
    [
        ("ERROR disk -warn", (("ERROR",), ("disk",))),
        ("?ERROR ?WARN", (("ERROR", "WARN"),)),
        ('"out of memory"', (("out of memory",),)),
        ("?ERROR ?%W%", (("ERROR", "W"),)),
        ("?ERROR ?%[wW]%", ()),
        ("%XX[0-9]+Y% 7", (("XX",), ("7",))),
        (r"%^ab.c|[bd]e+f\.gh?%", (("ab", "f.g"),)),
        ("%colou?r% -dark %[ab]%", (("colo",),)),
        ("-warn", ()),
        ('{ $.level = "ERROR" && $.n > 3 && $.path = "*/items" }', (("ERROR", "\\"), ("/items", "\\"))),
        ('{ $.level = ERROR || $.level = "WARN" }', (("ERROR", "\\", "WARN", "\\"),)),
        ("{ $.level = ERROR || $.n = 3 }", ()),
        ('{ $.n = "1.5" || $.m = 1e3 }', ()),
        ('{ $.level != "x" }', ()),
        ("[a, b = x]", ()),
    ],
)
def test_the_texts_that_every_match_holds(pattern, needles):
    assert compile_pattern(pattern).needles == needles


VALUES = st.one_of(
    st.text(alphabet='abET"\\ é', max_size=4), st.booleans(), st.integers(-2, 200), st.floats(-2, 2), st.none()
)
WANTED = st.sampled_from(['"ab"', "ab*", "true", '"true"', "*E*", '"1.5"', "2", "é*", '"a\\"b"', "TE"])
CONDITION = st.builds("$.{} {} {}".format, st.sampled_from("xy"), st.sampled_from(["=", "!="]), WANTED)
JOINED = st.lists(CONDITION, min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(st.sampled_from([" && ", " || "]), min_size=len(parts) - 1, max_size=len(parts) - 1).map(
        lambda signs: "{ " + "".join(a + b for a, b in zip(parts, [*signs, ""], strict=True)) + " }"
    )
)


@settings(max_examples=100, deadline=None)
@example(pattern="{ $.x = é* }", event={"x": "é1"}, escaped=True)
@example(pattern='{ $.x = "a\\"b" }', event={"x": 'a"b'}, escaped=False)
@given(pattern=JOINED, event=st.dictionaries(st.sampled_from("xy"), VALUES), escaped=st.booleans())
def test_no_match_is_without_its_needles(pattern, event, escaped):
    message = json.dumps(event, ensure_ascii=escaped)
    found = compile_pattern(pattern)
    if found.test(message):
        assert has_all(message, found.needles)
