"""What `docker run` may ask for, as far as it needs no machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gureum.docker.containers import checks, options
from gureum.docker.containers.endpoints import endpoint
from gureum.docker.errors import DockerError
from gureum.docker.networks import links
from gureum.docker.volumes import mount_checks

PAGE = Path(__file__).parents[3] / "docs" / "docker-options.md"


def test_the_page_names_every_option_that_is_not_built() -> None:
    page = PAGE.read_text()
    named = [what[what.index("--") : -1] for what in checks.NOT_BUILT.values()]
    assert [option for option in named if f"`{option}`" not in page] == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ({"PidMode": "container:x"}, 0),
        ({"PidMode": "sideways"}, 400),
        ({"CgroupnsMode": "host"}, 0),
        ({"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined", "label=disable"]}, 0),
        ({"SecurityOpt": ["seccomp={}"]}, 501),
        ({"LogConfig": {"Type": "none", "Config": {"whatever": "x"}}}, 0),
        ({"LogConfig": {"Config": {"max-file": "0"}}}, 400),
        ({"CpusetCpus": "a-b"}, 400),
        ({"MemorySwappiness": -1}, 0),
        ({"MemorySwappiness": 100}, 0),
        ({"MemorySwappiness": 101}, 400),
        ({"DeviceCgroupRules": ["c 1:3 rwm", "a *:* r"]}, 0),
        ({"DeviceCgroupRules": ["c 1:3 x"]}, 400),
        ({"NanoCpus": 10**9}, 0),
        ({"NanoCpus": 10**13}, 400),
        ({"Memory": -5}, 400),
        ({"ShmSize": -1}, 400),
        ({"OomScoreAdj": 1001}, 400),
        ({"OomScoreAdj": -1000}, 0),
        ({"Annotations": {"": "x"}}, 400),
        ({"ExtraHosts": ["far:10.1.2.3", "six:[::1]", "six:::1", "out=host-gateway"]}, 0),
        ({"ExtraHosts": ["far"]}, 400),
        ({"ExtraHosts": [":10.1.2.3"]}, 400),
        ({"ExtraHosts": ["far:10.1.2.3\nnear"]}, 400),
    ],
)
def test_options_are_checked(host: dict[str, object], status: int) -> None:
    try:
        checks.check({}, host)
        found = 0
    except DockerError as error:
        found = error.status
    assert found == status


@pytest.mark.parametrize("entry", ["", "=", "=value"])
def test_variables_have_names(entry: str) -> None:
    with pytest.raises(DockerError, match=f"invalid environment variable: {entry}"):
        checks.check({"Env": ["A=b", "C", entry]}, {})


@pytest.mark.parametrize(
    ("mount", "text"),
    [
        ({"Type": "bind"}, 'invalid mount config for type "bind": field Target must not be empty'),
        ({"Type": "bind", "Target": "/x"}, "field Source must not be empty"),
        ({"Type": "tmpfs", "Target": "/x", "Source": "/y"}, "field Source must not be specified"),
        (
            {"Type": "volume", "Target": "/x", "ReadOnly": True},
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        ({"Type": "volume", "Target": "/x", "BindOptions": {}}, "field BindOptions must not be specified"),
        ({"Type": "bind", "Target": "/x", "Source": "/y", "TmpfsOptions": {}}, "field TmpfsOptions must not be"),
    ],
)
def test_mounts_are_checked_as_they_stand(mount: dict[str, object], text: str) -> None:
    """Docker: volume/mounts, and what its own tests of ContainerCreate expect."""
    with pytest.raises(DockerError, match=text):
        mount_checks.check_fields(mount)


def test_logs_are_as_large_as_all_files_together() -> None:
    given = {"max-size": "1m", "max-file": "3"}
    assert options.log_bytes({"LogConfig": {"Type": "json-file", "Config": given}}) == 3 << 20
    assert options.log_bytes({}) == 0
    assert options.log_bytes({"LogConfig": {"Type": "none"}}) == options.UNKEPT_LOG_BYTES


def test_processors() -> None:
    assert options.processors("0-2,5") == {0, 1, 2, 5}
    assert options.processors("") == set()


def test_a_link_that_is_none_is_refused() -> None:
    with pytest.raises(DockerError, match="bad format for links: :x"):
        links.resolved(None, [":x"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"DriverOpts": {"com.example.x": "y"}, "MacAddress": "02:42:AC-11:00:02"}, 0),
        ({"MacAddress": "02:42"}, 400),
        ({"Links": [":x"]}, 400),
        ({"IPAMConfig": {"LinkLocalIPs": ["169.254.8.8"]}}, 501),
        ({"DriverOpts": {"com.docker.network.endpoint.ifname": "lan"}}, 501),
    ],
)
def test_what_is_asked_of_a_place_in_a_network_is_checked(settings: dict[str, object], status: int) -> None:
    found = 0
    try:
        endpoint("", settings, None, {})
    except DockerError as refused:
        found = refused.status
    assert found == status
