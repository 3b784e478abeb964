"""`gureum explain` knows a load balancer by both its names."""

from __future__ import annotations

import itertools

from tests.cloud.running import Cloud

accounts = itertools.count(444600000000)


def test_a_load_balancer_is_explained_by_its_name_and_by_its_arn(simulated_cloud: Cloud) -> None:
    account = str(next(accounts))
    ec2, elbv2 = (simulated_cloud.client(name, account=account) for name in ("ec2", "elbv2"))
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]][:2]
    (made,) = elbv2.create_load_balancer(Name="told-by-name", Subnets=subnets)["LoadBalancers"]
    for known_as in ("told-by-name", made["LoadBalancerArn"]):
        id_ = made["LoadBalancerArn"].rpartition("/")[2]
        assert f"elbv2.LoadBalancer {id_}" in simulated_cloud.command("explain", known_as).stdout
