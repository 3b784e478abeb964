"""Interface endpoints: a machine in a subnet that leads nowhere calls the API by the service's own name, with a stock client that is told nothing
but whom to trust. Who may reach the endpoint its security group says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.running import BUSYBOX, NANO, Cloud, until

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
NAME = "ec2.us-east-1.amazonaws.com"
AS_IN_THE_MACHINE = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'


class Place:
    """A VPC without any gateway: an endpoint for EC2 in one subnet, a machine with a role in the other."""

    def __init__(self, cloud: Cloud, ec2: Any, folder: Path) -> None:
        self.cloud, self.ec2 = cloud, ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=self.vpc, EnableDnsHostnames={"Value": True})
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=zone)["Subnet"][
                "SubnetId"
            ]
            for number, zone in ((1, "us-east-1a"), (2, "us-east-1b"))
        ]
        self.group = ec2.create_security_group(VpcId=self.vpc, GroupName="api", Description="api")["GroupId"]
        for port in (80, 443):
            ec2.authorize_security_group_ingress(GroupId=self.group, **self.rule(port))
        self.endpoint = self.made("ec2")
        profile = {"Name": "web"}
        wanted = {"ImageId": BUSYBOX, "InstanceType": NANO, "SubnetId": self.subnets[1], "IamInstanceProfile": profile}
        self.machine = cloud.launch(ec2, UserData="", **wanted)[0]["InstanceId"]
        resolver = folder / "resolv.conf"
        resolver.write_text("nameserver 169.254.169.253\n")
        enter = ["nsenter", f"--net=/run/netns/gm-{cloud.identity['id']}-s-{self.machine}"]
        self.enter = [*enter, "unshare", "--mount", "sh", "-c", AS_IN_THE_MACHINE, "-", str(resolver)]
        names = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GUREUM_"))}
        trust = str(cloud.home / "ca" / "ca.pem")
        self.environment = {**names, "HOME": str(folder), "AWS_CA_BUNDLE": trust, "AWS_DEFAULT_REGION": "us-east-1"}

    def made(self, service: str) -> dict[str, Any]:
        id_ = self.ec2.create_vpc_endpoint(
            VpcId=self.vpc,
            VpcEndpointType="Interface",
            ServiceName=f"com.amazonaws.us-east-1.{service}",
            SubnetIds=self.subnets[:1],
            SecurityGroupIds=[self.group],
            PrivateDnsEnabled=True,
        )["VpcEndpoint"]["VpcEndpointId"]

        def look() -> dict[str, Any] | None:
            found = self.ec2.describe_vpc_endpoints(VpcEndpointIds=[id_])["VpcEndpoints"][0]
            return dict(found) if found["State"] == "available" else None

        return dict(until(look))

    def rule(self, port: int) -> dict[str, Any]:
        return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "10.9.2.0/24"}

    def aws(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "awscli", "--output", "json", *words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.enter, *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def place(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Place:
    iam = cloud.client("iam")
    iam.create_role(RoleName="web", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName="web")
    iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
    return Place(cloud, cloud.client("ec2"), tmp_path_factory.mktemp("guest"))


def test_its_security_group_says_who_reaches_it(place: Place) -> None:
    asking = ("curl", "-sk", "--connect-timeout", "0.3", f"https://{NAME}/")
    place.ec2.revoke_security_group_ingress(GroupId=place.group, **place.rule(443))
    until(lambda: place.run(*asking).returncode == 28)
    place.ec2.authorize_security_group_ingress(GroupId=place.group, **place.rule(443))
    until(lambda: "MissingAuthenticationToken" in place.run(*asking).stdout)


def test_a_stock_client_calls_the_api_by_the_services_own_name(place: Place) -> None:
    done = place.aws("ec2", "describe-vpc-endpoints")
    assert done.returncode == 0, done.stderr
    assert [one["VpcEndpointId"] for one in json.loads(done.stdout)["VpcEndpoints"]] == [
        place.endpoint["VpcEndpointId"]
    ]


def test_the_endpoints_own_name_leads_there_too_and_to_no_other_service(place: Place) -> None:
    url = f"https://{place.endpoint['DnsEntries'][0]['DnsName']}"
    assert place.aws("ec2", "describe-vpcs", "--endpoint-url", url).returncode == 0
    refused = place.aws("sts", "get-caller-identity", "--endpoint-url", url)
    assert "SignatureDoesNotMatch" in refused.stderr
    assert "Credential should be scoped to correct service: 'ec2'" in refused.stderr


def test_machine_itself_resolves_the_name_to_the_endpoints_address(place: Place) -> None:
    eni = place.ec2.describe_network_interfaces(NetworkInterfaceIds=place.endpoint["NetworkInterfaceIds"])
    address = eni["NetworkInterfaces"][0]["PrivateIpAddress"]
    assert address in place.cloud.inside(place.machine, "nslookup", NAME).stdout
    answer = until(lambda: place.cloud.inside(place.machine, "wget", "-O", "-", f"http://{NAME}/").stderr)
    assert "403" in answer


def test_endpoint_outlives_agent_and_daemon(place: Place) -> None:
    for pid in [place.cloud.process(name) for name in ("agent", "daemon")]:
        os.kill(pid, signal.SIGKILL)
    assert place.aws("ec2", "describe-vpcs").returncode == 0


def test_without_private_names_and_after_its_end_nothing_leads_there(place: Place) -> None:
    endpoint, name = place.made("ssm"), "ssm.us-east-1.amazonaws.com"
    assert "MissingAuthenticationToken" in place.run("curl", "-sk", f"https://{name}/").stdout
    id_ = endpoint["VpcEndpointId"]
    place.ec2.modify_vpc_endpoint(VpcEndpointId=id_, PrivateDnsEnabled=False)
    until(lambda: place.run("curl", "-s", f"https://{name}/").returncode == 6)
    place.ec2.delete_vpc_endpoints(VpcEndpointIds=[id_])
    own = endpoint["DnsEntries"][0]["DnsName"]
    until(lambda: place.run("curl", "-s", f"https://{own}/").returncode == 6)
