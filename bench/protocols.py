"""What the protocols cost per call, beside botocore's own parsers and serialisers walking the same models.

    .venv/bin/python bench/protocols.py

botocore does the client's half (it writes requests and reads responses), so it is a yardstick for walking a model, not
a rival. Times are the best of several rounds on one core.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize

from gureum.aws.protocols import Request, compile_operation, identify

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=0"


def instance(i: int) -> dict[str, Any]:
    """As full as a running instance of ours."""
    number = f"{i:017x}"
    group = {"GroupId": f"sg-{number}", "GroupName": "default"}
    address = f"10.0.{i // 256}.{i % 256}"
    return {
        "InstanceId": f"i-{number}",
        "ImageId": "ami-0abcdef1234567890",
        "State": {"Code": 16, "Name": "running"},
        "PrivateDnsName": f"ip-10-0-0-{i}.ec2.internal",
        "PublicDnsName": "",
        "StateTransitionReason": "",
        "AmiLaunchIndex": 0,
        "ProductCodes": [],
        "InstanceType": "t3.micro",
        "LaunchTime": 1700000000.0 + i,
        "Placement": {"AvailabilityZone": "us-east-1a", "GroupName": "", "Tenancy": "default"},
        "Monitoring": {"State": "disabled"},
        "SubnetId": f"subnet-{number}",
        "VpcId": f"vpc-{number}",
        "PrivateIpAddress": address,
        "Architecture": "x86_64",
        "RootDeviceType": "ebs",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "AttachTime": 1700000000.0,
                    "DeleteOnTermination": True,
                    "Status": "attached",
                    "VolumeId": f"vol-{number}",
                },
            }
        ],
        "VirtualizationType": "hvm",
        "ClientToken": number,
        "Tags": [{"Key": "Name", "Value": f"web {i}"}, {"Key": "stage", "Value": "test"}],
        "SecurityGroups": [group],
        "SourceDestCheck": True,
        "Hypervisor": "xen",
        "NetworkInterfaces": [
            {
                "NetworkInterfaceId": f"eni-{number}",
                "SubnetId": f"subnet-{number}",
                "VpcId": f"vpc-{number}",
                "OwnerId": "000000000000",
                "Status": "in-use",
                "MacAddress": "02:00:00:00:00:01",
                "PrivateIpAddress": address,
                "SourceDestCheck": True,
                "Groups": [group],
                "Attachment": {
                    "AttachmentId": f"eni-attach-{number}",
                    "DeviceIndex": 0,
                    "Status": "attached",
                    "DeleteOnTermination": True,
                },
            }
        ],
        "EbsOptimized": False,
        "EnaSupport": True,
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": "optional",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        },
    }


def describe(wrap: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The result of DescribeInstances with 100 instances."""
    return {
        "Reservations": [
            {"ReservationId": f"r-{i:017x}", "OwnerId": "000000000000", "Groups": [], "Instances": [wrap(instance(i))]}
            for i in range(100)
        ]
    }


def best_us(work: Callable[[], Any], rounds: int = 7, seconds: float = 0.15) -> float:
    """Microseconds of one call in the best round."""
    work()
    started = time.perf_counter()
    work()
    count = max(1, int(seconds / max(time.perf_counter() - started, 1e-7)))
    times = []
    gc.disable()
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(count):
            work()
        times.append((time.perf_counter() - started) / count)
    gc.enable()
    return min(times) * 1e6


def model_of(service: str) -> botocore.model.ServiceModel:
    return botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)


def row(name: str, ours: float, theirs: float | None = None) -> None:
    ratio = f"{theirs:>10.1f} {theirs / ours:>7.1f}x" if theirs is not None else ""
    print(f"{name:<62}{ours:>10.1f}{ratio}")


def bench_calls() -> None:
    print(f"{'microseconds per call':<62}{'gureum':>10}{'botocore':>10}")
    ec2, model = compile_operation("ec2", "DescribeInstances", "ec2"), model_of("ec2")
    operation = model.operation_model("DescribeInstances")
    result = describe(dict)
    body = ec2.serialize(result, "r").body
    parser = botocore.parsers.create_parser("ec2")
    answer = {"body": body, "headers": {}, "status_code": 200}
    row(
        f"ec2: write 100 instances ({len(body) // 1024} KiB)",
        best_us(lambda: ec2.serialize(result, "r")),
        best_us(lambda: parser.parse(answer, operation.output_shape), 3),
    )
    fragments = describe(ec2.encoder("Instance"))
    assert ec2.serialize(fragments, "r").body == body
    row("ec2: write 100 instances from fragments", best_us(lambda: ec2.serialize(fragments, "r")))
    row("ec2: write 1 instance", best_us(lambda: ec2.serialize({"Reservations": result["Reservations"][:1]}, "r")))

    params = {
        "Filters": [{"Name": "vpc-id", "Values": ["vpc-0123456", "vpc-0123457"]}],
        "InstanceIds": ["i-1"],
        "MaxResults": 10,
    }
    form = (
        b"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-0123456"
        b"&Filter.1.Value.2=vpc-0123457&InstanceId.1=i-1&MaxResults=10"
    )
    request = Request(
        "POST",
        "/",
        "",
        {"authorization": SIGNED.format("ec2"), "content-type": "application/x-www-form-urlencoded"},
        form,
    )
    serializer = botocore.serialize.create_serializer("ec2")
    assert ec2.parse(request) == params
    row(
        "ec2: parse and validate a small call",
        best_us(lambda: ec2.validate(ec2.parse(request))),
        best_us(lambda: serializer.serialize_to_request(params, operation)),
    )
    row("identify it", best_us(lambda: identify(request)))

    put = compile_operation("dynamodb", "PutItem", "json")
    item = json.dumps(
        {"TableName": "table", "Item": {"id": {"S": "x" * 20}, "n": {"N": "1"}, "l": {"L": [{"S": "a"}, {"S": "b"}]}}}
    ).encode()
    row(
        "json: parse and validate PutItem", best_us(lambda: put.validate(put.parse(Request("POST", "/", "", {}, item))))
    )
    logs, shape = (
        compile_operation("logs", "GetLogEvents", "json"),
        model_of("logs").operation_model("GetLogEvents").output_shape,
    )
    events = {
        "events": [
            {"timestamp": 1700000000000 + i, "message": f"line {i}", "ingestionTime": 1700000000000}
            for i in range(1000)
        ]
    }
    raw = {"body": logs.serialize(events, "r").body, "headers": {}, "status_code": 200}
    json_parser = botocore.parsers.create_parser("json")
    row(
        "json: write 1000 log events",
        best_us(lambda: logs.serialize(events, "r")),
        best_us(lambda: json_parser.parse(raw, shape), 3),
    )
    metrics = compile_operation("cloudwatch", "GetMetricData", "smithy-rpc-v2-cbor")
    data = {
        "MetricDataResults": [
            {
                "Id": "m1",
                "Timestamps": [1700000000.0 + 60 * i for i in range(500)],
                "Values": [i / 7 for i in range(500)],
            }
        ]
    }
    cbor = {"body": metrics.serialize(data, "r").body, "headers": {}, "status_code": 200}
    cbor_parser, cbor_shape = (
        botocore.parsers.create_parser("smithy-rpc-v2-cbor"),
        model_of("cloudwatch").operation_model("GetMetricData").output_shape,
    )
    row(
        "cbor: write 500 data points",
        best_us(lambda: metrics.serialize(data, "r")),
        best_us(lambda: cbor_parser.parse(cbor, cbor_shape), 3),
    )
    route = Request(
        "GET",
        "/2015-03-31/functions/my-function/policy",
        "Qualifier=1",
        {"authorization": SIGNED.format("lambda")},
        b"",
    )
    row("rest-json: identify by route", best_us(lambda: identify(route)))


_COST = """
import time, sys
started = time.perf_counter()
from gureum.aws.protocols import compile_operation, load_service, service_index
def rss(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
def show(name, started): print(f"{name:<62}{(time.perf_counter() - started) * 1e3:>8.1f} ms {rss():>8.1f} MiB")
show("import", started)
started = time.perf_counter(); load_service("ec2"); show("load EC2's model", started)
started = time.perf_counter(); compile_operation("ec2", "DescribeInstances", "ec2"); show("compile DescribeInstances", started)
started = time.perf_counter()
for name in "RunInstances DescribeVpcs CreateVpc DescribeSubnets CreateSecurityGroup".split():
    compile_operation("ec2", name, "ec2")
show("compile 5 more", started)
started = time.perf_counter()
for name in load_service("ec2").operations:
    compile_operation("ec2", name, "ec2")
show("compile all of EC2's", started)
started = time.perf_counter(); service_index(); show("index of all services (once, when first needed)", started)
assert "botocore" not in sys.modules
"""


def bench_start() -> None:
    print("\nfrom a fresh process, resident memory after each")
    print(subprocess.run([sys.executable, "-c", _COST], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    bench_calls()
    bench_start()
