"""A whole gureum for a test module: its own home, real machines, real clients; gone without a trace at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.docker_clients import Docker, import_busybox
from tests.cloud.running import Cloud, whole_life


@pytest.fixture(scope="module")
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A test module's `SETTINGS` are the cloud's."""
    settings = getattr(request.module, "SETTINGS", {})
    with whole_life(Cloud(tmp_path_factory.mktemp("gureum"), **settings)) as made:
        yield made


@pytest.fixture(scope="module")
def ec2(cloud: Cloud) -> Any:
    """EC2 with a default group that lets the web and SSH in."""
    client = cloud.client("ec2")
    group = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][
        0
    ]
    for port in (22, 80):
        client.authorize_security_group_ingress(
            GroupId=group["GroupId"], IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp="0.0.0.0/0"
        )
    return client


@pytest.fixture(scope="module")
def docker(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """The docker command line against this cloud, with an image of busybox. What a module leaves running goes."""
    made = Docker(cloud, tmp_path_factory.mktemp("docker-config"))
    import_busybox(made)
    yield made
    left = made("ps", "-aq").split()
    if left:
        made("rm", "-fv", *left)


@pytest.fixture(scope="module")
def docker_py(docker: Docker) -> Iterator[Any]:
    """docker-py's client of the same cloud."""
    module = pytest.importorskip("docker", reason="docker-py is not installed")
    client = module.DockerClient(base_url=docker.host)
    yield client
    client.close()
