"""Instance types: figures against AWS's published tables, and filters. Expected figures: AWS "Amazon EC2 instance types" and
"Specifications for Amazon EC2 instance types" (network interfaces and addresses, EBS baselines)."""

from __future__ import annotations

import botocore.session
import pytest

from gureum.aws.ec2.instances.types import all_types

# name: vCPUs, memory MiB, interfaces, addresses each, network
PUBLISHED = {
    "t2.micro": (1, 1024, 2, 2, "Low to Moderate"),
    "t3.nano": (2, 512, 2, 2, "Up to 5 Gigabit"),
    "t3.large": (2, 8192, 3, 12, "Up to 5 Gigabit"),
    "t4g.xlarge": (4, 16384, 4, 15, "Up to 5 Gigabit"),
    "m5.large": (2, 8192, 3, 10, "Up to 10 Gigabit"),
    "m5.24xlarge": (96, 393216, 15, 50, "25 Gigabit"),
    "m6i.32xlarge": (128, 524288, 15, 50, "50 Gigabit"),
    "c5.9xlarge": (36, 73728, 8, 30, "12 Gigabit"),
    "c4.8xlarge": (36, 61440, 8, 30, "10 Gigabit"),
    "r4.large": (2, 15616, 3, 10, "Up to 10 Gigabit"),
    "m7g.medium": (1, 4096, 2, 4, "Up to 12.5 Gigabit"),
    "m1.small": (1, 1740, 2, 4, "Low"),
}


def names(cloud, **filters):
    wanted = [{"Name": name.replace("__", ".").replace("_", "-"), "Values": values} for name, values in filters.items()]
    pages, token = [], {}
    while True:
        page = cloud("DescribeInstanceTypes", Filters=wanted, **token)
        pages += [one["InstanceType"] for one in page["InstanceTypes"]]
        if "NextToken" not in page:
            return pages
        token = {"NextToken": page["NextToken"]}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(cloud, name):
    told = cloud.one("DescribeInstanceTypes", "InstanceTypes", InstanceTypes=[name])
    network = told["NetworkInfo"]
    assert PUBLISHED[name] == (
        told["VCpuInfo"]["DefaultVCpus"],
        told["MemoryInfo"]["SizeInMiB"],
        network["MaximumNetworkInterfaces"],
        network["Ipv4AddressesPerInterface"],
        network["NetworkPerformance"],
    )


def test_ebs_figures(cloud):
    told = cloud.one("DescribeInstanceTypes", "InstanceTypes", InstanceTypes=["m5.large"])["EbsInfo"]
    assert told["EbsOptimizedInfo"] == {
        "BaselineBandwidthInMbps": 650,
        "BaselineThroughputInMBps": 81.25,
        "BaselineIops": 3600,
        "MaximumBandwidthInMbps": 4750,
        "MaximumThroughputInMBps": 593.75,
        "MaximumIops": 18750,
    }


def test_every_type_is_one_that_aws_has(cloud):
    model = botocore.session.get_session().get_service_model("ec2")
    assert set(all_types()) <= set(model.shape_for("InstanceType").enum)
    assert names(cloud) == sorted(all_types())
    for one in all_types().values():
        assert one.vcpus == one.cores * one.threads_per_core, one.name


def test_every_filter_of_the_model_is_known(cloud):
    import re

    model = botocore.session.get_session().get_service_model("ec2")
    text = model.operation_model("DescribeInstanceTypes").input_shape.members["Filters"].documentation
    for name in re.findall(r"<code>([a-z0-9.-]+)</code> -", text):
        cloud("DescribeInstanceTypes", Filters=[{"Name": name, "Values": ["x"]}])


def test_filters(cloud):
    assert names(cloud, instance_type=["t3.n*"]) == ["t3.nano"]
    small = names(cloud, memory_info__size_in_mib=["512"], processor_info__supported_architecture=["x86_64"])
    assert small == ["t2.nano", "t3.nano", "t3a.nano"]
    assert names(
        cloud, vcpu_info__default_vcpus=["72"], hypervisor=["nitro"], instance_storage_supported=["false"]
    ) == ["c5.18xlarge", "c5n.18xlarge"]
    assert set(names(cloud, burstable_performance_supported=["true"])) == {
        name for name in all_types() if name.startswith(("t2.", "t3.", "t3a.", "t4g."))
    }


def test_what_is_no_type(cloud):
    assert cloud.refused("DescribeInstanceTypes", InstanceTypes=["t3.nano", "x1.huge", "y"]) == (
        "InvalidInstanceType",
        "The following supplied instance types do not exist: [x1.huge, y]",
    )


def test_offerings(cloud):
    filters = [{"Name": "instance-type", "Values": ["t3.micro"]}]
    found = cloud("DescribeInstanceTypeOfferings", LocationType="availability-zone", Filters=filters)
    zones = [zone["ZoneName"] for zone in cloud("DescribeAvailabilityZones")["AvailabilityZones"]]
    assert [one["Location"] for one in found["InstanceTypeOfferings"]] == zones
    assert (
        cloud.one("DescribeInstanceTypeOfferings", "InstanceTypeOfferings", Filters=filters)["Location"] == "us-east-1"
    )
