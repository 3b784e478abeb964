"""Endpoint services: a machine of one account reaches another account's network load balancer by an interface endpoint, though both networks
have the same addresses and no way between them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, PAGE, Cloud, until

CONSUMER, PROVIDER = "111122223333", "444455556666"
ZONE = "us-east-1a"


class Side:
    """An account's network 10.0.0.0/16, without a way out."""

    def __init__(self, cloud: Cloud, account: str) -> None:
        self.cloud, self.ec2 = cloud, cloud.client("ec2", account=account)
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONE)
        self.subnet = made["Subnet"]["SubnetId"]
        of_vpc = [{"Name": "vpc-id", "Values": [self.vpc]}]
        self.group = self.ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"][0]["GroupId"]
        self.ec2.authorize_security_group_ingress(
            GroupId=self.group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="10.0.1.0/24"
        )

    def machine(self, user_data: str = "") -> dict[str, Any]:
        wanted = {"ImageId": BUSYBOX, "InstanceType": NANO, "SubnetId": self.subnet, "UserData": user_data}
        return dict(self.cloud.launch(self.ec2, **wanted)[0])


@pytest.fixture(scope="module")
def consumer(cloud: Cloud) -> Side:
    return Side(cloud, CONSUMER)


@pytest.fixture(scope="module")
def provider(cloud: Cloud) -> Side:
    return Side(cloud, PROVIDER)


@pytest.fixture(scope="module")
def balancer(cloud: Cloud, provider: Side) -> str:
    """The ARN of one with a machine behind it that serves a page."""
    elb = cloud.client("elbv2", account=PROVIDER)
    server = provider.machine(PAGE)["InstanceId"]
    made = elb.create_load_balancer(Name="inner", Type="network", Scheme="internal", Subnets=[provider.subnet])
    arn = str(made["LoadBalancers"][0]["LoadBalancerArn"])
    checks = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2}
    group = elb.create_target_group(Name="pages", Protocol="TCP", Port=80, VpcId=provider.vpc, **checks)
    pages = group["TargetGroups"][0]["TargetGroupArn"]
    elb.register_targets(TargetGroupArn=pages, Targets=[{"Id": server}])
    forward = [{"Type": "forward", "TargetGroupArn": pages}]
    elb.create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=80, DefaultActions=forward)

    def healthy() -> bool:
        found = elb.describe_target_health(TargetGroupArn=pages)["TargetHealthDescriptions"]
        return [one["TargetHealth"]["State"] for one in found] == ["healthy"]

    until(healthy)
    return arn


def test_a_machine_reaches_the_service_when_its_owner_lets_it(
    cloud: Cloud, consumer: Side, provider: Side, balancer: str
) -> None:
    made = provider.ec2.create_vpc_endpoint_service_configuration(NetworkLoadBalancerArns=[balancer])
    service = made["ServiceConfiguration"]
    wanted = {"VpcId": consumer.vpc, "VpcEndpointType": "Interface", "ServiceName": service["ServiceName"]}
    with pytest.raises(consumer.ec2.exceptions.ClientError, match="InvalidServiceName"):
        consumer.ec2.create_vpc_endpoint(**wanted, SubnetIds=[consumer.subnet])
    provider.ec2.modify_vpc_endpoint_service_permissions(
        ServiceId=service["ServiceId"], AddAllowedPrincipals=[f"arn:aws:iam::{CONSUMER}:root"]
    )
    endpoint = consumer.ec2.create_vpc_endpoint(**wanted, SubnetIds=[consumer.subnet])["VpcEndpoint"]
    assert endpoint["State"] == "pendingAcceptance"
    machine, name = consumer.machine()["InstanceId"], endpoint["DnsEntries"][0]["DnsName"]

    def page() -> str:
        return cloud.inside(machine, "timeout", "1", "wget", "-q", "-O", "-", f"http://{name}/").stdout

    def state(ec2: Any = consumer.ec2) -> str:
        return str(ec2.describe_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])["VpcEndpoints"][0]["State"])

    assert page() == ""
    decide = {"ServiceId": service["ServiceId"], "VpcEndpointIds": [endpoint["VpcEndpointId"]]}
    assert provider.ec2.accept_vpc_endpoint_connections(**decide)["Unsuccessful"] == []
    until(lambda: state() == "available")
    until(lambda: page().startswith("hello"))
    assert provider.ec2.reject_vpc_endpoint_connections(**decide)["Unsuccessful"] == []
    until(lambda: page() == "")
    assert state() == "rejected"
    consumer.ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    provider.ec2.delete_vpc_endpoint_service_configurations(ServiceIds=[service["ServiceId"]])
    left = provider.ec2.describe_network_interfaces(Filters=[{"Name": "interface-type", "Values": ["vpc_endpoint"]}])
    assert left["NetworkInterfaces"] == []
