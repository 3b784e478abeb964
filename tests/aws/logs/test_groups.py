"""Log groups and streams. Rules and limits: the API reference (botocore's texts of each operation)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gureum.aws.logs.groups import RETENTION_DAYS
from gureum.aws.logs.kinds import LogStream, key_name
from gureum.aws.logs.leftovers import drop_leftovers


def names(result):
    return [one["logGroupName"] for one in result["logGroups"]]


def streams(result):
    return [one["logStreamName"] for one in result["logStreams"]]


def test_a_group_is_described_with_all_it_has(logs):
    logs.group("/app/web", "a", tags={"team": "x"}, deletionProtectionEnabled=True)
    logs.put("/app/web", "a", "hello")
    logs("PutRetentionPolicy", logGroupName="/app/web", retentionInDays=7)
    [group] = logs("DescribeLogGroups")["logGroups"]
    assert group == {
        "logGroupName": "/app/web",
        "creationTime": logs.now_ms,
        "arn": "arn:aws:logs:us-east-1:111122223333:log-group:/app/web:*",
        "logGroupArn": "arn:aws:logs:us-east-1:111122223333:log-group:/app/web",
        "metricFilterCount": 0,
        "storedBytes": 31,
        "logGroupClass": "STANDARD",
        "deletionProtectionEnabled": True,
        "retentionInDays": 7,
    }
    assert logs("ListTagsLogGroup", logGroupName="/app/web") == {"tags": {"team": "x"}}


def test_groups_are_sorted_chosen_and_paged(logs):
    for name in ("b", "a/DataLogs", "B", "a", "xDataLogs"):
        logs.group(name)
    assert names(logs("DescribeLogGroups")) == ["B", "a", "a/DataLogs", "b", "xDataLogs"]
    assert names(logs("DescribeLogGroups", logGroupNamePrefix="a")) == ["a", "a/DataLogs"]
    short = logs("DescribeLogGroups", logGroupNamePattern="DataLogs")
    assert names(short) == ["a/DataLogs", "xDataLogs"]
    # AWS's answer as LocalStack has recorded it (test_describe_log_groups_with_pattern).
    names_of_fields = {"logGroupName", "creationTime", "arn", "logGroupArn", "logGroupClass", "metricFilterCount"}
    assert set(short["logGroups"][0]) == names_of_fields
    assert (
        logs.code("DescribeLogGroups", logGroupNamePrefix="a", logGroupNamePattern="a") == "InvalidParameterException"
    )
    found, token = [], {}
    while True:
        page = logs("DescribeLogGroups", limit=2, **token)
        found += names(page)
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == ["B", "a", "a/DataLogs", "b", "xDataLogs"]
    assert logs.code("DescribeLogGroups", nextToken="xx") == "InvalidParameterException"
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:b"
    assert names(logs("DescribeLogGroups", logGroupIdentifiers=[arn, "a", "none"])) == ["a", "b"]
    assert (
        logs.code("DescribeLogGroups", logGroupIdentifiers=["a"], logGroupNamePrefix="a") == "InvalidParameterException"
    )
    assert names(logs("DescribeLogGroups", includeLinkedAccounts=True, accountIdentifiers=["999999999999"])) == []
    assert logs.code("DescribeLogGroups", accountIdentifiers=["999999999999"]) == "InvalidParameterException"


def test_groups_are_listed_by_pattern_class_and_tags(logs):
    logs.group("one-prod", tags={"env": "prod-1"})
    logs.group("two-prod", tags={"env": "dev"}, logGroupClass="INFREQUENT_ACCESS")
    logs.group("three")
    assert names(logs("ListLogGroups", logGroupNamePattern="prod")) == ["one-prod", "two-prod"]
    assert names(logs("ListLogGroups", logGroupNamePattern="^two|^thr")) == ["three", "two-prod"]
    assert names(logs("ListLogGroups", logGroupClass="INFREQUENT_ACCESS")) == ["two-prod"]
    assert names(logs("ListLogGroups", logGroupTags=[{"key": "env", "values": ["prod*"]}])) == ["one-prod"]
    assert names(logs("ListLogGroups", logGroupTags=[{"key": "env", "values": ["!prod*"]}])) == ["two-prod"]
    assert names(logs("ListLogGroups", logGroupTags=[{"key": "env"}])) == ["one-prod", "two-prod"]
    assert names(logs("ListLogGroups", fieldIndexNames=["f"])) == []
    assert names(logs("DescribeLogGroups", logGroupClass="ESSENTIALS")) == ["two-prod"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"logGroupName": "taken"}, "ResourceAlreadyExistsException"),
        ({"logGroupName": "a b"}, "InvalidParameterException"),
        ({"logGroupName": "x" * 513}, "InvalidParameterException"),
        ({"logGroupName": "aws/mine"}, "InvalidParameterException"),
        ({"logGroupName": "new", "kmsKeyId": "arn:aws:kms:us-east-1:111122223333:key/1"}, "NotImplemented"),
        ({"logGroupName": "new", "logGroupClass": "DELIVERY"}, "NotImplemented"),
        ({"logGroupName": "new", "logGroupClass": "FAST"}, "InvalidParameterException"),
        ({"logGroupName": "new", "tags": {"aws:x": "y"}}, "InvalidParameterException"),
    ],
)
def test_groups_that_cannot_be_made(logs, params, code):
    logs.group("taken")
    assert logs.code("CreateLogGroup", **params) == code


def test_a_deleted_group_leaves_nothing(logs):
    logs.group("g", "s", "t")
    logs.put("g", "s", "old")
    logs(
        "PutMetricFilter",
        logGroupName="g",
        filterName="f",
        filterPattern="",
        metricTransformations=[{"metricName": "m", "metricNamespace": "n", "metricValue": "1"}],
    )
    logs("DeleteLogGroup", logGroupName="g")
    assert logs.code("DeleteLogGroup", logGroupName="g") == "ResourceNotFoundException"
    logs.group("g")
    assert logs("DescribeLogStreams", logGroupName="g")["logStreams"] == []
    assert logs("FilterLogEvents", logGroupName="g")["events"] == []
    assert logs("DescribeMetricFilters", logGroupName="g")["metricFilters"] == []


def test_a_group_of_more_streams_than_a_commit_holds_is_deleted(logs):
    logs.group("g", *(f"s{n}" for n in range(1100)))
    logs("DeleteLogGroup", logGroupName="g")
    logs.group("g")
    assert logs("DescribeLogStreams", logGroupName="g")["logStreams"] == []


def test_a_protected_group_is_kept(logs):
    logs.group("g", "s", deletionProtectionEnabled=True)
    assert logs.code("DeleteLogGroup", logGroupName="g") == "ValidationException"
    assert logs.code("DeleteLogStream", logGroupName="g", logStreamName="s") == "ValidationException"
    logs("PutLogGroupDeletionProtection", logGroupIdentifier="g", deletionProtectionEnabled=False)
    logs("DeleteLogGroup", logGroupName="g")


def test_retention_has_the_values_of_the_reference(logs):
    logs.group("g")
    for days in RETENTION_DAYS:
        logs("PutRetentionPolicy", logGroupName="g", retentionInDays=days)
        assert logs("DescribeLogGroups")["logGroups"][0]["retentionInDays"] == days
    for days in (0, 2, 8, 364, -1):
        code, text = logs.refused("PutRetentionPolicy", logGroupName="g", retentionInDays=days)
        assert code == "InvalidParameterException"
        assert text.startswith("Invalid retention value. Valid values are: [1, 3, 5, 7, 14, 30, ")
    logs("DeleteRetentionPolicy", logGroupName="g")
    assert "retentionInDays" not in logs("DescribeLogGroups")["logGroups"][0]


def test_events_past_the_retention_are_gone(logs):
    logs.group("g", "s")
    logs("PutRetentionPolicy", logGroupName="g", retentionInDays=3)
    logs.put("g", "s", "old")
    logs.clock.time += 3 * 86_400 + 1
    assert logs("FilterLogEvents", logGroupName="g")["events"] == []
    logs.put("g", "s", "new")
    logs("DeleteRetentionPolicy", logGroupName="g")
    logs.clock.time += 3 * 86_400 + 1
    assert len(logs("FilterLogEvents", logGroupName="g")["events"]) == 1


def test_tags_in_both_forms_are_the_same_tags(logs):
    logs.group("g")
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:g"
    logs("TagResource", resourceArn=arn, tags={"a": "1", "b": "2"})
    logs("TagLogGroup", logGroupName="g", tags={"b": "3", "c": ""})
    assert logs("ListTagsForResource", resourceArn=arn)["tags"] == {"a": "1", "b": "3", "c": ""}
    logs("UntagResource", resourceArn=arn, tagKeys=["a", "nobody"])
    logs("UntagLogGroup", logGroupName="g", tags=["c"])
    assert logs("ListTagsLogGroup", logGroupName="g")["tags"] == {"b": "3"}
    assert logs.code("TagResource", resourceArn=arn, tags={f"k{n}": "" for n in range(50)}) == "TooManyTagsException"
    assert logs.code("TagResource", resourceArn=arn, tags={"aws:x": ""}) == "InvalidParameterException"
    assert logs.code("TagResource", resourceArn="arn:aws:sns:x", tags={"a": ""}) == "InvalidParameterException"
    other = arn.replace("us-east-1", "eu-west-1")
    assert logs.code("ListTagsForResource", resourceArn=other) == "ResourceNotFoundException"


def test_streams_are_ordered_by_name_or_by_their_newest_event(logs):
    logs.group("g", "b", "a", "c/1", "empty")
    for stream, minutes in (("a", 3), ("b", 1), ("c/1", 2)):
        logs.put("g", stream, "x", at_ms=logs.now_ms - minutes * 60_000)
    described = logs("DescribeLogStreams", logGroupName="g")
    assert streams(described) == ["a", "b", "c/1", "empty"]
    assert streams(logs("DescribeLogStreams", logGroupName="g", descending=True)) == ["empty", "c/1", "b", "a"]
    assert streams(logs("DescribeLogStreams", logGroupName="g", logStreamNamePrefix="c")) == ["c/1"]
    ordered = {"logGroupIdentifier": "arn:aws:logs:us-east-1:111122223333:log-group:g", "orderBy": "LastEventTime"}
    assert streams(logs("DescribeLogStreams", **ordered)) == ["empty", "a", "c/1", "b"]
    page = logs("DescribeLogStreams", descending=True, limit=3, **ordered)
    assert streams(page) == ["b", "c/1", "a"]
    rest = logs("DescribeLogStreams", descending=True, limit=3, nextToken=page["nextToken"], **ordered)
    assert streams(rest) == ["empty"]
    assert "nextToken" not in rest
    assert logs.code("DescribeLogStreams", logStreamNamePrefix="c", **ordered) == "InvalidParameterException"
    assert logs.code("DescribeLogStreams") == "InvalidParameterException"
    # AWS's answer as LocalStack has recorded it (test_describe_log_streams_with_log_group_identifier).
    assert logs.code("DescribeLogStreams", logGroupName="g", logGroupIdentifier="g") == "ValidationException"
    assert logs.code("DescribeLogStreams", logGroupName="none") == "ResourceNotFoundException"
    shown = {one["logStreamName"]: one for one in described["logStreams"]}
    assert "lastEventTimestamp" not in shown["empty"]
    assert shown["a"]["firstEventTimestamp"] == shown["a"]["lastEventTimestamp"] == logs.now_ms - 180_000
    assert shown["a"]["lastIngestionTime"] == logs.now_ms
    assert shown["a"]["arn"] == "arn:aws:logs:us-east-1:111122223333:log-group:g:log-stream:a"
    assert shown["a"]["storedBytes"] == 0


def test_streams_that_cannot_be_made_or_found(logs):
    logs.group("g", "s")
    assert logs.refused("CreateLogStream", logGroupName="g", logStreamName="s") == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )
    assert logs.code("CreateLogStream", logGroupName="none", logStreamName="s") == "ResourceNotFoundException"
    for name in ("a:b", "a*b", "", "x" * 513):
        assert logs.code("CreateLogStream", logGroupName="g", logStreamName=name) == "InvalidParameterException"
    assert logs.refused("DeleteLogStream", logGroupName="g", logStreamName="none") == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )


def test_names_of_all_lengths_and_characters_are_kept_apart(logs):
    wanted = sorted(["ß" * 512, "ß" * 511, "a/b", "a%2Fb", "$LATEST[1]", "\x01", "x" * 512, "🦀" * 256])
    logs.group("g" * 512, *wanted)
    assert sorted(streams(logs("DescribeLogStreams", logGroupName="g" * 512))) == wanted


def test_a_deleted_stream_takes_its_events_along(logs):
    logs.group("g", "s", "t")
    logs.put("g", "s", "one")
    logs.put("g", "t", "two")
    logs("DeleteLogStream", logGroupName="g", logStreamName="s")
    logs("CreateLogStream", logGroupName="g", logStreamName="s")
    assert logs("GetLogEvents", logGroupName="g", logStreamName="s")["events"] == []
    assert [one["message"] for one in logs("FilterLogEvents", logGroupName="g")["events"]] == ["two"]


def test_events_of_a_stream_whose_deletion_was_cut_off_go_at_the_next_start(logs):
    group = logs.group("/app", "gone", "kept")
    for stream in ("gone", "kept"):
        logs.put(group, stream, f"of {stream}")
    stream = logs.client.get(LogStream, "111122223333/us-east-1", key_name(group, "gone"))

    async def dies() -> None:
        """The daemon, between the two steps of DeleteLogStream."""
        transaction = logs.client.transaction()
        transaction.delete(stream)
        await transaction.commit()

    asyncio.run(dies())
    world = SimpleNamespace(client=logs.client, logs=logs.events)
    asyncio.run(drop_leftovers(world))
    logs("CreateLogStream", logGroupName=group, logStreamName="gone")
    found = logs("FilterLogEvents", logGroupName=group)["events"]
    assert [one["message"] for one in found] == ["of kept"]
