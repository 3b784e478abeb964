"""Network Insights: what analyses find, against AWS's words and against what packets would do."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from tests.topologies import (
    ANYWHERE,
    PORTS,
    AclRule,
    Built,
    GroupRule,
    Model,
    Network,
    Subnet,
    Topology,
    address_of,
    topologies,
)

OUT, IN_WEB = GroupRule(True, 0, ANYWHERE), GroupRule(False, 80, ANYWHERE)
OPEN = ((OUT, IN_WEB), (OUT,))


def subnet(*routes, acl=None, groups=(0,), public=False) -> Subnet:
    return Subnet(routes, acl, groups, public)


def analyse(cloud, source, destination="", port=80, **params):
    named = {"Source": source, "Protocol": "tcp", "DestinationPort": port, **params}
    if destination:
        named["Destination"] = destination
    path = cloud("CreateNetworkInsightsPath", **named, ClientToken=f"{source}{destination}{port}{params}")
    path_id = path["NetworkInsightsPath"]["NetworkInsightsPathId"]
    started = cloud("StartNetworkInsightsAnalysis", NetworkInsightsPathId=path_id, ClientToken="once" + path_id)
    return started["NetworkInsightsAnalysis"]


def codes(analysis):
    return [one["ExplanationCode"] for one in analysis["Explanations"]]


def components(analysis):
    return [one["Component"]["Id"].partition("-")[0] for one in analysis["ForwardPathComponents"]]


def test_a_path_within_a_vpc_is_told_step_by_step(cloud):
    built = Built(cloud, Topology((Network((subnet(), subnet()), OPEN, False, False),), ()))
    first, second = built.interfaces[0, 0], built.interfaces[0, 1]
    found = analyse(cloud, first, second)
    assert (found["Status"], found["NetworkPathFound"]) == ("succeeded", True)
    assert components(found) == ["eni", "sg", "acl", "acl", "sg", "eni"]
    rule = found["ForwardPathComponents"][4]["SecurityGroupRule"]
    assert (rule["Direction"], rule["PortRange"]) == ("ingress", {"From": 80, "To": 80})
    assert [one["SequenceNumber"] for one in found["ForwardPathComponents"]] == list(range(1, 7))
    assert found["ReturnPathComponents"]
    missed = analyse(cloud, first, second, port=81)
    assert (missed["NetworkPathFound"], codes(missed)) == (False, ["ENI_SG_RULES_MISMATCH"])
    assert missed["Explanations"][0]["NetworkInterface"] == {"Id": second}


def test_the_acl_that_stops_answers_is_named(cloud):
    acl = (AclRule(False, True, ANYWHERE), AclRule(True, False, ANYWHERE, (1024, 65535)))
    built = Built(cloud, Topology((Network((subnet(), subnet(acl=acl)), OPEN, False, False),), ()))
    found = analyse(cloud, built.interfaces[0, 0], built.interfaces[0, 1])
    assert codes(found) == ["SUBNET_ACL_RESTRICTION"]
    assert found["Explanations"][0]["Direction"] == "egress"


def test_to_and_from_the_internet(cloud):
    to_gateway = (ANYWHERE, "igw")
    networks = (Network((subnet(to_gateway, public=True), subnet((ANYWHERE, "nat"))), OPEN, True, True),)
    built = Built(cloud, Topology(networks, ()))
    gateway = cloud.one("DescribeInternetGateways", "InternetGateways", Filters=[
        {"Name": "attachment.vpc-id", "Values": [built.vpcs[0]]}
    ])["InternetGatewayId"]  # fmt: skip
    public, hidden = built.interfaces[0, 0], built.interfaces[0, 1]
    assert components(analyse(cloud, public, gateway)) == ["eni", "sg", "rtb", "acl", "igw"]
    assert "nat" in components(analyse(cloud, hidden, gateway))
    assert analyse(cloud, gateway, public)["NetworkPathFound"]
    assert codes(analyse(cloud, gateway, hidden)) == ["IGW_PUBLIC_IP_ASSOCIATION_FOR_INGRESS"]
    assert codes(analyse(cloud, gateway, public, port=81)) == ["ENI_SG_RULES_MISMATCH"]
    cloud("ModifyVpcBlockPublicAccessOptions", InternetGatewayBlockMode="block-ingress")
    assert codes(analyse(cloud, public, gateway, port=22)) == ["VPC_BLOCK_PUBLIC_ACCESS_ENABLED"]
    assert analyse(cloud, hidden, gateway, port=22)["NetworkPathFound"]


def test_routes_that_lead_nowhere_are_named(cloud):
    networks = (Network((subnet(("10.1.0.0/16", "peer:1")), subnet()), OPEN, False, False),) * 2
    built = Built(cloud, Topology((networks[0], Network((subnet(), subnet()), OPEN, False, False)), ((0, 1),)))
    near, far = built.interfaces[0, 0], built.interfaces[1, 0]
    assert codes(analyse(cloud, near, far)) == ["NO_ROUTE_TO_DESTINATION"]  # the answer's
    assert codes(analyse(cloud, built.interfaces[0, 1], far)) == ["NO_ROUTE_TO_DESTINATION"]
    (peering,) = cloud("DescribeVpcPeeringConnections")["VpcPeeringConnections"]
    cloud("DeleteVpcPeeringConnection", VpcPeeringConnectionId=peering["VpcPeeringConnectionId"])
    assert codes(analyse(cloud, near, far, port=81)) == ["BAD_STATE_ROUTE"]


def test_paths_and_analyses_are_kept_and_go(cloud):
    built = Built(cloud, Topology((Network((subnet(), subnet()), OPEN, False, False),), ()))
    found = analyse(cloud, built.interfaces[0, 0], built.interfaces[0, 1])
    path, analysis = found["NetworkInsightsPathId"], found["NetworkInsightsAnalysisId"]
    built.cloud("RevokeSecurityGroupIngress", GroupId=built._groups[0, 0], IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": ANYWHERE}]}
    ])  # fmt: skip
    wanted = [{"Name": "path-found", "Values": ["true"]}]
    kept = cloud.one("DescribeNetworkInsightsAnalyses", "NetworkInsightsAnalyses", Filters=wanted)
    assert kept == found  # as it was when it was asked
    assert cloud.code("DeleteNetworkInsightsPath", NetworkInsightsPathId=path) == "DependencyViolation"
    cloud("DeleteNetworkInsightsAnalysis", NetworkInsightsAnalysisId=analysis)
    cloud("DeleteNetworkInsightsPath", NetworkInsightsPathId=path)
    unknown = {"NetworkInsightsPathId": path}
    assert cloud.code("DeleteNetworkInsightsPath", **unknown) == "InvalidNetworkInsightsPathId.NotFound"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Source": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"Source": "eni-0123456789abcdef0"}, "InvalidNetworkInterfaceID.NotFound"),
        ({"Source": "subnet-0123456789abcdef0"}, "InvalidParameterValue"),
        ({"Source": "tgw-0123456789abcdef0"}, "NotImplemented"),
        ({"Protocol": "icmp"}, "InvalidParameterValue"),
        ({"SourceIp": "10.0.9.9"}, "InvalidParameterValue"),
        ({"DestinationPort": 80, "FilterAtSource": {"SourceAddress": "10.0.0.10"}}, "InvalidParameterCombination"),
        ({"Destination": ""}, "MissingParameter"),
        (
            {"DestinationIp": "10.0.0.1", "FilterAtDestination": {"SourceAddress": "10.0.0.10"}},
            "InvalidParameterCombination",
        ),
        ({"FilterAtDestination": {"SourceAddress": "10.0.0.10"}}, "NotImplemented"),
        ({"FilterAtSource": {"DestinationPortRange": {"FromPort": 1, "ToPort": 9}}}, "NotImplemented"),
    ],
)
def test_what_is_no_path_is_refused(cloud, params, code):
    built = Built(cloud, Topology((Network((subnet(), subnet()), OPEN, False, False),), ()))
    ends = {"Source": built.interfaces[0, 0], "Destination": built.interfaces[0, 1], "Protocol": "tcp"}
    assert cloud.code("CreateNetworkInsightsPath", **(ends | params), ClientToken="a") == code


def test_analyses_find_what_packets_find(new_cloud):
    seen: Counter[bool] = Counter()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(topologies())
    def check(topology: Topology) -> None:
        cloud = new_cloud()
        try:
            built = Built(cloud, topology)
            model = Model(topology, built.publics)
            for source in topology.machines:
                for end in topology.machines:
                    if source != end:
                        found = analyse(cloud, built.interfaces[source], built.interfaces[end], PORTS[0])
                        expected = model.reaches(source, end, PORTS[0])
                        assert found["NetworkPathFound"] == expected, (source, end, address_of(end), codes(found))
                        seen[expected] += 1
        finally:
            cloud.lowering.close()
            cloud.client.close()

    check()
    assert min(seen.values()) > 10
