"""Terraform with the real AWS provider: parameters of all types and tiers, documents, session preferences and a setting are made, changed and
destroyed. The changes are those of the provider's acceptance tests, which ran against AWS."""

from __future__ import annotations

import boto3
import pytest

from tests.wire.terraform_runs import Terraform

ACCOUNT = "210987654325"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, endpoint):
    Terraform(tmp_path, "parameters", port=str(endpoint.port), access_key=ACCOUNT).apply_change_destroy()
    ssm = boto3.client(
        "ssm", endpoint_url=endpoint.url, region_name="us-east-1", aws_access_key_id=ACCOUNT, aws_secret_access_key="x"
    )
    assert ssm.describe_parameters()["Parameters"] == []
    assert ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Self"]}])["DocumentIdentifiers"] == []
    setting = ssm.get_service_setting(SettingId="/ssm/parameter-store/high-throughput-enabled")["ServiceSetting"]
    assert (setting["SettingValue"], setting["Status"]) == ("false", "Default")
