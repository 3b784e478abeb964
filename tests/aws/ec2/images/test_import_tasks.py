"""Import tasks before anything is fetched: what is asked, told, cancelled."""

from __future__ import annotations

import pytest


def test_a_task_is_active_until_it_is_cancelled(cloud):
    container = {"Url": "oci://127.0.0.1:5000/web:1.0", "Format": "oci"}
    tags = [{"ResourceType": "import-image-task", "Tags": [{"Key": "a", "Value": "b"}]}]
    task = cloud("ImportImage", DiskContainers=[container], Description="web", TagSpecifications=tags)
    assert (task["Status"], task["Description"], task["Tags"][0]["Value"]) == ("active", "web", "b")
    name = task["ImportTaskId"]
    listed = cloud("DescribeImportImageTasks", Filters=[{"Name": "task-state", "Values": ["active"]}])
    assert [one["ImportTaskId"] for one in listed["ImportImageTasks"]] == [name]
    assert cloud("CancelImportTask", ImportTaskId=name)["State"] == "deleted"
    (told,) = cloud("DescribeImportImageTasks", ImportTaskIds=[name])["ImportImageTasks"]
    assert (told["Status"], told["StatusMessage"]) == ("deleted", "The task was cancelled")
    assert cloud.code("CancelImportTask", ImportTaskId=name) == "IncorrectState"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "MissingParameter"),
        ({"DiskContainers": [{}]}, "InvalidParameterCombination"),
        ({"DiskContainers": [{"Url": "oci://1.2.3.4/web"}]}, "InvalidParameterValue"),
        ({"DiskContainers": [{"Url": "../secret"}]}, "InvalidParameterValue"),
        ({"DiskContainers": [{"UserBucket": {"S3Bucket": "b"}}]}, "InvalidParameterValue"),
        ({"DiskContainers": [{"Format": "ova", "Url": "s3://bucket/key"}]}, "NotImplemented"),
        ({"DiskContainers": [{"Url": "s3://bucket/a"}, {"Url": "s3://bucket/b"}]}, "NotImplemented"),
        ({"DiskContainers": [{"Url": "s3://bucket/key"}], "Platform": "Windows"}, "NotImplemented"),
        ({"DiskContainers": [{"SnapshotId": "snap-0123456789abcdef0"}]}, "InvalidSnapshot.NotFound"),
    ],
)
def test_what_cannot_be_imported_is_refused(cloud, params, code):
    assert cloud.code("ImportImage", **params) == code


def test_tasks_of_snapshots_are_none(cloud):
    assert cloud("DescribeImportSnapshotTasks") == {"ImportSnapshotTasks": []}
    assert cloud.code("DescribeImportSnapshotTasks", ImportTaskIds=["import-snap-1"]) == "InvalidConversionTaskId"
