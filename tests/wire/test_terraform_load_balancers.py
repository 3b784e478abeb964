"""Terraform with the real AWS provider: load balancers of both types, target groups and their targets, listeners and rules; apply, nothing to do,
change, nothing to do, destroy. The machine is simulated: states move, nothing runs.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest

from tests.wire.terraform_runs import Terraform

ACCOUNT, OTHER, SITE = "333344447777", "333344448888", "333344449999"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, simulated_cloud):
    Terraform(
        tmp_path,
        "load_balancers",
        port=str(simulated_cloud.identity["aws_port"]),
        access_key=ACCOUNT,
    ).apply_change_destroy()
    elbv2, ec2 = (simulated_cloud.client(name, account=ACCOUNT) for name in ("elbv2", "ec2"))
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert elbv2.describe_target_groups()["TargetGroups"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
    assert ec2.describe_addresses()["Addresses"] == []


@pytest.mark.long
def test_every_argument_is_applied_read_back_changed_and_destroyed(tmp_path, simulated_cloud):
    """What the provider's acceptance tests (internal/service/elbv2) configure, in one configuration: after each apply nothing is left to do, so each
    argument is read back as it was given."""
    port = str(simulated_cloud.identity["aws_port"])
    Terraform(tmp_path, "load_balancer_kinds", port=port, access_key=OTHER).apply_change_destroy()
    elbv2 = simulated_cloud.client("elbv2", account=OTHER)
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert elbv2.describe_target_groups()["TargetGroups"] == []


@pytest.mark.long
def test_a_website_with_logs_in_a_bucket_and_a_certificate_proven_by_dns(tmp_path, simulated_cloud):
    """What most configurations of a load balancer are part of: bucket, zone, certificate and alias are of four services, two of them neighbours."""
    pytest.importorskip("moto", reason="neighbours are not installed")
    Terraform(tmp_path, "website", endpoint=simulated_cloud.url, access_key=SITE).apply_change_destroy()
    elbv2, acm = (simulated_cloud.client(name, account=SITE) for name in ("elbv2", "acm"))
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert acm.list_certificates()["CertificateSummaryList"] == []
