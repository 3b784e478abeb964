"""Terraform with the real AWS provider: log groups, streams, metric filters, subscriptions, policies, an alarm on an
expression, a dashboard and flow logs are made, changed and destroyed."""

from __future__ import annotations

import boto3
import pytest

from tests.wire.terraform_runs import Terraform

ACCOUNT = "210987654322"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, endpoint):
    Terraform(
        tmp_path,
        "logs",
        port=str(endpoint.port),
        access_key=ACCOUNT,
    ).apply_change_destroy()
    clients = {
        name: boto3.client(
            name,
            endpoint_url=endpoint.url,
            region_name="us-east-1",
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="x",
        )
        for name in ("cloudwatch", "ec2", "logs")
    }
    assert clients["logs"].describe_log_groups()["logGroups"] == []
    assert clients["ec2"].describe_flow_logs()["FlowLogs"] == []
    assert clients["logs"].describe_resource_policies()["resourcePolicies"] == []
    assert clients["cloudwatch"].describe_alarms()["MetricAlarms"] == []
    assert clients["cloudwatch"].list_dashboards()["DashboardEntries"] == []
