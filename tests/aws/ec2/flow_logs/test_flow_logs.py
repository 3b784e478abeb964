"""VPC flow logs: the API's rules, the records and files. Sources: the API reference (botocore's texts of CreateFlowLogs and DescribeFlowLogs) and the
VPC User Guide ("Flow log records", "Flow log record examples", "Flow log files")."""

from __future__ import annotations

import gzip

import pytest

from gureum.aws.ec2.flow_logs.destinations import Destination
from gureum.aws.ec2.flow_logs.files import file_name, file_text, write
from gureum.aws.ec2.flow_logs.records import (
    DEFAULT_FORMAT,
    FIELDS,
    BadFormat,
    Place,
    parse_format,
    render,
    version_of_format,
)
from gureum.core.flow_windows import Window
from gureum.ports.flows import Flow

ROLE = "arn:aws:iam::111122223333:role/flow"
GROUP = {"LogGroupName": "flows", "DeliverLogsPermissionArn": ROLE}


def create(cloud, *resources, kind="VPC", **params):
    asked = {"TrafficType": "ALL", **GROUP, **params}
    return cloud("CreateFlowLogs", ResourceIds=list(resources), ResourceType=kind, **asked)["FlowLogIds"]


def test_a_flow_log_is_described_as_it_was_made(cloud):
    vpc = cloud.vpc()
    tags = [{"ResourceType": "vpc-flow-log", "Tags": [{"Key": "team", "Value": "net"}]}]
    [name] = create(cloud, vpc, MaxAggregationInterval=60, TagSpecifications=tags)
    assert name.startswith("fl-")
    assert cloud.one("DescribeFlowLogs", "FlowLogs") == {
        "FlowLogId": name,
        "FlowLogStatus": "ACTIVE",
        "CreationTime": 1_750_000_000.0,
        "ResourceId": vpc,
        "TrafficType": "ALL",
        "LogFormat": DEFAULT_FORMAT,
        "MaxAggregationInterval": 60,
        "DeliverLogsStatus": "SUCCESS",
        "DeliverLogsPermissionArn": ROLE,
        "LogDestinationType": "cloud-watch-logs",
        "LogDestination": "arn:aws:logs:us-east-1:111122223333:log-group:flows",
        "LogGroupName": "flows",
        "Tags": [{"Key": "team", "Value": "net"}],
    }


def test_the_answer_has_a_token_also_where_none_was_given(cloud):
    """As in the example of the CLI reference."""
    asked = {"ResourceIds": [cloud.vpc()], "ResourceType": "VPC", "TrafficType": "ALL", **GROUP}
    assert len(cloud("CreateFlowLogs", **asked)["ClientToken"]) == 44
    given = {"ClientToken": "mine", "TrafficType": "REJECT"}
    assert {cloud("CreateFlowLogs", **asked | given)["ClientToken"] for _ in range(2)} == {"mine"}


def test_files_are_a_destination_with_options(cloud):
    options = {"HiveCompatiblePartitions": True, "PerHourPartition": True}
    bucket = {
        "LogDestinationType": "s3",
        "LogDestination": "arn:aws:s3:::my-bucket/a/b/",
        "DestinationOptions": options,
    }
    cloud("CreateFlowLogs", ResourceIds=[cloud.vpc()], ResourceType="VPC", TrafficType="REJECT", **bucket)
    shown = cloud.one("DescribeFlowLogs", "FlowLogs")
    assert shown["LogDestination"] == "arn:aws:s3:::my-bucket/a/b/"
    assert shown["DestinationOptions"] == {"FileFormat": "plain-text", **options}
    assert "LogGroupName" not in shown
    assert shown["MaxAggregationInterval"] == 600


@pytest.mark.parametrize("arn", ["my-bucket", "my-bucket/", "my-bucket/a", "my-bucket/a/b/"])
def test_a_bucket_is_shown_as_it_was_given(cloud, arn):
    """Terraform's provider compares it letter by letter, and replaces the flow log where it differs."""
    given = {"LogDestinationType": "s3", "LogDestination": f"arn:aws:s3:::{arn}"}
    cloud("CreateFlowLogs", ResourceIds=[cloud.vpc()], ResourceType="VPC", TrafficType="ALL", **given)
    assert cloud.one("DescribeFlowLogs", "FlowLogs")["LogDestination"] == given["LogDestination"]


def test_filters_and_ids_choose(cloud):
    vpc, other = cloud.vpc(), cloud.vpc("10.1.0.0/16")
    [first] = create(cloud, vpc)
    [second] = create(cloud, other, TrafficType="REJECT", LogGroupName="more")

    def found(**params):
        return {one["FlowLogId"] for one in cloud("DescribeFlowLogs", **params)["FlowLogs"]}

    def by(name, value):
        return found(Filter=[{"Name": name, "Values": [value]}])

    assert found() == {first, second}
    assert found(FlowLogIds=[second]) == {second}
    assert by("resource-id", vpc) == {first}
    assert by("traffic-type", "REJECT") == {second}
    assert by("log-group-name", "more") == {second}
    assert by("deliver-log-status", "FAILED") == set()
    assert by("log-destination-type", "cloud-watch-logs") == {first, second}
    assert by("flow-log-id", first) == {first}
    assert cloud.code("DescribeFlowLogs", FlowLogIds=["fl-00000000000000000"]) == "InvalidFlowLogId.NotFound"
    assert cloud.code("DescribeFlowLogs", Filter=[{"Name": "x", "Values": ["y"]}]) == "InvalidParameterValue"


def test_subnets_and_interfaces_can_be_watched_several_at_once(cloud):
    vpc = cloud.vpc()
    subnets = [cloud.subnet(vpc), cloud.subnet(vpc, "10.0.2.0/24")]
    assert len(create(cloud, *subnets, kind="Subnet")) == 2
    assert len(create(cloud, cloud.interface(subnets[0]), kind="NetworkInterface")) == 1
    assert len(cloud("DescribeFlowLogs")["FlowLogs"]) == 3


def test_the_same_flow_log_is_made_only_once(cloud):
    vpc = cloud.vpc()
    create(cloud, vpc)
    params = {"ResourceIds": [vpc], "ResourceType": "VPC", "TrafficType": "ALL"}
    assert cloud.refused("CreateFlowLogs", **params, **GROUP) == (
        "FlowLogAlreadyExists",
        "Error. There is an existing Flow Log with the same configuration and log destination.",
    )
    create(cloud, vpc, LogGroupName="another")
    create(cloud, vpc, TrafficType="ACCEPT")


def test_a_client_token_makes_it_once(cloud):
    vpc = cloud.vpc()
    assert create(cloud, vpc, ClientToken="t") == create(cloud, vpc, ClientToken="t")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"TrafficType": None}, "MissingParameter"),
        ({"TrafficType": "SOME"}, "InvalidParameterValue"),
        ({"ResourceType": "House"}, "InvalidParameterValue"),
        ({"ResourceType": "TransitGateway"}, "NotImplemented"),
        ({"ResourceIds": ["vpc-00000000000000000"]}, "InvalidVpcID.NotFound"),
        ({"ResourceIds": []}, "MissingParameter"),
        ({"MaxAggregationInterval": 61}, "InvalidParameter"),
        ({"DeliverLogsPermissionArn": None}, "InvalidParameter"),
        ({"LogGroupName": None}, "InvalidParameter"),
        ({"LogGroupName": "a b"}, "InvalidParameter"),
        ({"LogDestination": "arn:aws:logs:us-east-1:111122223333:log-group:x"}, "InvalidParameter"),
        ({"LogGroupName": None, "LogDestination": "arn:aws:logs:us-east-1:999999999999:log-group:x"}, "InvalidParameter"),
        ({"LogFormat": "${srcaddr} ${nobody}"}, "InvalidParameter"),
        ({"LogFormat": "srcaddr"}, "InvalidParameter"),
        ({"LogDestinationType": "kinesis-data-firehose", "LogGroupName": None, "LogDestination": "arn:aws:firehose:x"}, "NotImplemented"),
        ({"LogDestinationType": "tape"}, "InvalidParameterValue"),
        ({"LogDestinationType": "s3"}, "InvalidParameter"),
        ({"LogDestinationType": "s3", "LogGroupName": None}, "InvalidParameter"),
        ({"LogDestinationType": "s3", "LogGroupName": None, "LogDestination": "arn:aws:s3:::b/../x"}, "InvalidParameter"),
        ({"LogDestinationType": "s3", "LogGroupName": None, "LogDestination": "arn:aws:s3:::../x"}, "InvalidParameter"),
        ({"LogDestinationType": "s3", "LogGroupName": None, "LogDestination": "arn:aws:s3:::bucket/AWSLogs"}, "InvalidParameter"),
        ({"DestinationOptions": {"FileFormat": "parquet"}}, "NotImplemented"),
        ({"DestinationOptions": {"FileFormat": "plain-text"}}, "InvalidParameter"),
        ({"DeliverCrossAccountRole": ROLE}, "NotImplemented"),
        ({"TagFieldSpecifications": [{"ResourceType": "instance", "TagKeys": ["a"]}]}, "NotImplemented"),
    ],
)  # fmt: skip
def test_flow_logs_that_cannot_be(cloud, change, code):
    params = {"ResourceIds": [cloud.vpc()], "ResourceType": "VPC", "TrafficType": "ALL", **GROUP, **change}
    assert cloud.code("CreateFlowLogs", **{name: value for name, value in params.items() if value is not None}) == code


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (GROUP | {"LogDestination": "arn:aws:s3:::bucket"}, "Please only provide LogGroupName or only provide LogDestination."),
        ({}, "LogDestination can't be empty if LogGroupName is not provided."),
        (GROUP, "LogDestination type must be cloud-watch-logs if LogGroupName is provided."),
    ],
)  # fmt: skip
def test_a_bucket_and_a_group_are_refused_in_the_words_of_aws(cloud, change, text):
    """Recorded by LocalStack's test_ec2_flow_logs_s3_validation."""
    params = {"ResourceIds": [cloud.vpc()], "ResourceType": "VPC", "TrafficType": "ALL", "LogDestinationType": "s3"}
    assert cloud.refused("CreateFlowLogs", **params, **change) == ("InvalidParameter", text)


def test_deleting_one_that_is_not_there_deletes_none(cloud):
    [name] = create(cloud, cloud.vpc())
    code, text = cloud.refused("DeleteFlowLogs", FlowLogIds=[name, "fl-00000000000000000"])
    assert code == "InvalidFlowLogId.NotFound"
    assert text.endswith("[TotalCount: 1] fl-00000000000000000")
    assert cloud.code("DeleteFlowLogs", FlowLogIds=["vpc-1"]) == "InvalidFlowLogId.Malformed"
    assert cloud("DeleteFlowLogs", FlowLogIds=[name]) == {"Unsuccessful": []}
    assert cloud("DescribeFlowLogs")["FlowLogs"] == []


def test_tags_of_flow_logs_are_tags(cloud):
    [name] = create(cloud, cloud.vpc())
    cloud("CreateTags", Resources=[name], Tags=[{"Key": "a", "Value": "b"}])
    [tag] = cloud("DescribeTags", Filters=[{"Name": "resource-id", "Values": [name]}])["Tags"]
    assert tag["ResourceType"] == "vpc-flow-log"


def test_the_agent_hears_of_interfaces_while_they_are_plugged_in(cloud):
    vpc = cloud.vpc()
    subnet = cloud.subnet(vpc)
    interface = cloud.interface(subnet)
    [of_vpc] = create(cloud, vpc, MaxAggregationInterval=60)
    [of_subnet] = create(cloud, subnet, kind="Subnet", TrafficType="REJECT")
    assert cloud.wished("FlowLog") == {}
    plug(cloud, interface, "i-1")
    wished = cloud.wished("FlowLog")
    assert wished[of_vpc].interfaces == wished[of_subnet].interfaces == ((vpc, interface),)
    assert (wished[of_vpc].interval_s, wished[of_vpc].traffic) == (60, "ALL")
    assert (wished[of_subnet].interval_s, wished[of_subnet].traffic) == (600, "REJECT")
    plug(cloud, interface, "")
    assert cloud.wished("FlowLog") == {}


def plug(cloud, name, sandbox):
    import asyncio

    import msgspec

    from gureum.aws.ec2.networks.kinds import NetworkInterface

    interface = cloud.call().get(NetworkInterface, name)
    transaction = cloud.client.transaction()
    transaction.update(
        msgspec.structs.replace(interface, spec=msgspec.structs.replace(interface.spec, sandbox=sandbox))
    )
    asyncio.run(transaction.commit())


PATHS = (("172.31.0.0/16", "1"), ("0.0.0.0/0", "8"), ("10.2.0.0/16", "4"), ("10.3.0.0/16", ""))
PLACE = Place("123456789010", "us-east-1", "eni-1235b8ca123456789", "vpc-1", "subnet-1", "i-1", "use1-az1", PATHS)
FLOW = Flow("eni-1235b8ca123456789", "172.31.16.139", "172.31.16.21", 20641, 22, 6, 20, 4249, 1418530010, 1418530070)
WINDOW = Window(1, "eni-1235b8ca123456789", 1431280876, 1431280934)
REJECTED = Flow(
    "eni-1235b8ca123456789", "172.31.9.69", "172.31.9.12", 49761, 3389, 6, 20, 4249, 1418530010, 1418530070, "REJECT"
)


@pytest.mark.parametrize(
    ("window", "record"),
    [
        (
            Window(1, "eni-1235b8ca123456789", 0, 60, (FLOW,)),
            "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK",
        ),
        (
            Window(1, "eni-1235b8ca123456789", 0, 60, (REJECTED,)),
            "2 123456789010 eni-1235b8ca123456789 172.31.9.69 172.31.9.12 49761 3389 6 20 4249 1418530010 1418530070 REJECT OK",
        ),
        (WINDOW, "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA"),
        (
            Window(1, "eni-1235b8ca123456789", 1431280876, 1431280934, skipped=True),
            "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - SKIPDATA",
        ),
    ],
)
def test_default_records_are_those_of_the_guide(window, record):
    assert render(parse_format(DEFAULT_FORMAT), window, PLACE) == [record]


def test_flows_of_a_window_that_misses_some_are_told_first():
    window = Window(1, "eni-1235b8ca123456789", 0, 60, (FLOW,), skipped=True)
    assert [one.rpartition(" ")[2] for one in render(parse_format(DEFAULT_FORMAT), window, PLACE)] == ["OK", "SKIPDATA"]


def rendered(flow, *names):
    fields = parse_format(" ".join(f"${{{name}}}" for name in names))
    return render(fields, Window(1, flow.interface, 0, 60, (flow,)), PLACE)[0]


def test_custom_formats_have_their_fields_in_their_order():
    flow = Flow("eni-1", "10.0.0.1", "8.8.8.8", 5, 53, 17, 1, 60, 3, 4, "ACCEPT", "egress", 19, "172.31.0.9", "8.8.8.8")
    assert rendered(flow, "dstaddr", "srcaddr") == "8.8.8.8 10.0.0.1"
    assert rendered(flow, "version", "vpc-id", "subnet-id", "instance-id") == "3 vpc-1 subnet-1 i-1"
    assert rendered(flow, "pkt-srcaddr", "pkt-dstaddr", "type") == "172.31.0.9 8.8.8.8 IPv4"
    assert rendered(flow, "version", "region", "az-id", "sublocation-type") == "4 us-east-1 use1-az1 -"
    assert rendered(flow, "flow-direction", "traffic-path", "pkt-dst-aws-service") == "egress 8 -"
    assert rendered(flow, "tcp-flags") == "0"
    assert rendered(flow, "version", "ecs-task-id", "reject-reason", "encryption-status") == "10 - - -"
    assert rendered(FLOW, "pkt-srcaddr", "traffic-path", "flow-direction") == "172.31.16.139 - ingress"


def test_ports_are_zero_where_there_are_none():
    ping = Flow("eni-1", "10.0.0.1", "10.0.0.2", 8, 0, 1, 4, 336, 3, 4)
    assert rendered(ping, "srcport", "dstport", "protocol") == "0 0 1"


def test_within_the_vpc_traffic_takes_the_first_path():
    flow = Flow("eni-1", "172.31.1.1", "172.31.2.2", 5, 80, 6, 1, 60, 3, 4, "ACCEPT", "egress", 3)
    assert rendered(flow, "traffic-path", "tcp-flags", "version") == "1 3 5"


@pytest.mark.parametrize(
    ("destination", "path"), [("172.31.2.2", "1"), ("10.2.3.4", "4"), ("10.3.0.1", "-"), ("10.4.0.1", "8")]
)
def test_traffic_takes_the_path_of_the_longest_route(destination, path):
    flow = Flow("eni-1", "172.31.1.1", destination, 5, 80, 6, 1, 60, 3, 4, "ACCEPT", "egress")
    assert rendered(flow, "traffic-path") == path


def test_the_version_is_the_highest_of_the_fields():
    assert version_of_format(parse_format(DEFAULT_FORMAT)) == 2
    assert version_of_format(("srcaddr",)) == 2
    assert max(FIELDS.values()) == 10
    assert len(FIELDS) == 42
    for text in ("", "srcaddr", "${}", "${x}", "${srcaddr},${dstaddr}", "${srcaddr}${dstaddr}"):
        with pytest.raises(BadFormat):
            parse_format(text)


@pytest.mark.parametrize(
    ("destination", "folder"),
    [
        (Destination("s3", bucket="b"), "AWSLogs/123456789012/vpcflowlogs/us-east-1/2018/06/20/"),
        (
            Destination("s3", bucket="b", folder="x/y", hourly=True),
            "x/y/AWSLogs/123456789012/vpcflowlogs/us-east-1/2018/06/20/16/",
        ),
        (
            Destination("s3", bucket="b", hive=True, hourly=True),
            "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/year=2018/month=06/day=20/hour=16/",
        ),
    ],
)
def test_files_are_named_as_the_guide_says(destination, folder):
    name = file_name(destination, "123456789012", "us-east-1", "fl-1234abcd", 1529511300, b"text")
    assert name == f"{folder}123456789012_vpcflowlogs_us-east-1_fl-1234abcd_20180620T1615Z_982d9e3e.log.gz"


def test_a_file_has_a_heading_and_is_there_whole_and_private(tmp_path):
    text = file_text(("srcaddr", "dstaddr"), ["1.1.1.1 2.2.2.2"])
    for _ in range(2):
        write(tmp_path, "bucket", "a/b.log.gz", text)
    [path] = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert path == tmp_path / "s3-local/bucket/a/b.log.gz"
    assert gzip.decompress(path.read_bytes()) == b"srcaddr dstaddr\n1.1.1.1 2.2.2.2\n"
    assert path.stat().st_mode & 0o777 == 0o600
