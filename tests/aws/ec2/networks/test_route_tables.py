"""Route tables, routes and associations."""

from __future__ import annotations

import pytest


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def table(cloud, vpc):
    return cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]


def routes(cloud, table):
    shown = cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])
    return {route["DestinationCidrBlock"]: (route.get("GatewayId"), route["State"]) for route in shown["Routes"]}


def test_a_route_to_a_gateway_lives_and_dies_with_the_attachment(cloud, vpc, table):
    gateway = cloud.gateway(vpc)
    assert cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway) == {
        "Return": True
    }
    assert routes(cloud, table) == {"10.0.0.0/16": ("local", "active"), "0.0.0.0/0": (gateway, "active")}
    cloud("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    assert routes(cloud, table)["0.0.0.0/0"] == (gateway, "blackhole")
    cloud("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    assert routes(cloud, table)["0.0.0.0/0"] == (gateway, "active")
    cloud("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    cloud("DeleteInternetGateway", InternetGatewayId=gateway)
    assert routes(cloud, table)["0.0.0.0/0"] == (gateway, "blackhole")
    cloud("DeleteRoute", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    assert list(routes(cloud, table)) == ["10.0.0.0/16"]


def test_routes_are_refused_as_aws_does(cloud, vpc, table):
    gateway = cloud.gateway(vpc)
    to = {"RouteTableId": table, "GatewayId": gateway}
    cloud("CreateRoute", DestinationCidrBlock="0.0.0.0/0", **to)
    assert cloud("CreateRoute", DestinationCidrBlock="0.0.0.0/0", **to) == {"Return": True}
    interface = cloud.interface(cloud.subnet(vpc))
    other = {"RouteTableId": table, "NetworkInterfaceId": interface}
    assert cloud.refused("CreateRoute", DestinationCidrBlock="0.0.0.0/0", **other) == (
        "RouteAlreadyExists",
        "The route identified by 0.0.0.0/0 already exists.",
    )
    assert cloud.code("ReplaceRoute", DestinationCidrBlock="9.0.0.0/8", **other) == "InvalidParameterValue"
    cloud("ReplaceRoute", DestinationCidrBlock="0.0.0.0/0", **other)
    assert routes(cloud, table)["0.0.0.0/0"] == (None, "blackhole")
    assert cloud.refused("DeleteRoute", RouteTableId=table, DestinationCidrBlock="9.0.0.0/8") == (
        "InvalidRoute.NotFound",
        f"no route with destination-cidr-block 9.0.0.0/8 in route table {table}",
    )
    assert cloud.code("DeleteRoute", RouteTableId=table, DestinationCidrBlock="10.0.0.0/16") == "InvalidParameterValue"
    missing = "igw-0123456789abcdef0"
    assert (
        cloud.code("CreateRoute", RouteTableId=table, DestinationCidrBlock="8.0.0.0/8", GatewayId=missing)
        == "InvalidInternetGatewayID.NotFound"
    )
    for strange, code in (("local", "InvalidGatewayID.NotFound"), ("eigw-0123456789abcdef0", "NotImplemented")):
        assert (
            cloud.code("CreateRoute", RouteTableId=table, DestinationCidrBlock="8.0.0.0/8", GatewayId=strange) == code
        )
    elsewhere = cloud.gateway(cloud.vpc())
    assert (
        cloud.code("CreateRoute", RouteTableId=table, DestinationCidrBlock="8.0.0.0/8", GatewayId=elsewhere)
        == "InvalidParameterValue"
    )
    assert cloud.code("CreateRoute", RouteTableId=table, DestinationCidrBlock="8.0.0.0/8") == "MissingParameter"
    assert (
        cloud.code("CreateRoute", RouteTableId=table, DestinationCidrBlock="8.0.0.0/8", TransitGatewayId="tgw-1")
        == "NotImplemented"
    )
    assert (
        cloud.code("CreateRoute", RouteTableId="rtb-12345678", DestinationCidrBlock="8.0.0.0/8", GatewayId=gateway)
        == "InvalidRouteTableID.NotFound"
    )


def test_a_route_within_the_vpc_is_for_a_subnet_and_leads_to_an_interface(cloud, vpc, table):
    gateway = cloud.gateway(vpc)
    subnet = cloud.subnet(vpc, "10.0.1.0/24")
    eni = cloud.interface(subnet)
    for destination in ("10.0.0.0/16", "10.0.1.0/24"):
        # The text as told in github.com/hashicorp/terraform/issues/26018.
        assert cloud.refused(
            "CreateRoute", RouteTableId=table, DestinationCidrBlock=destination, GatewayId=gateway
        ) == (
            "InvalidParameterValue",
            "Route target is not supported. This route only supports interface and instance targets.",
        )
    to = {"RouteTableId": table, "NetworkInterfaceId": eni}
    assert cloud.code("CreateRoute", DestinationCidrBlock="10.0.0.0/16", **to) == "RouteAlreadyExists"
    assert cloud.code("CreateRoute", DestinationCidrBlock="10.0.1.0/25", **to) == "InvalidParameterValue"
    cloud("CreateRoute", DestinationCidrBlock="10.0.1.0/24", **to)
    assert set(routes(cloud, table)) == {"10.0.0.0/16", "10.0.1.0/24"}


def test_the_local_route_gets_another_target_and_its_own_again(cloud, vpc, table):
    eni = cloud.interface(cloud.subnet(vpc))
    local = {"RouteTableId": table, "DestinationCidrBlock": "10.0.0.0/16"}
    cloud("ReplaceRoute", NetworkInterfaceId=eni, **local)
    (shown,) = cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])["Routes"]
    assert (shown["NetworkInterfaceId"], shown["Origin"]) == (eni, "CreateRouteTable")
    assert cloud.code("DeleteRoute", **local) == "InvalidParameterValue"
    assert (
        cloud.code("ReplaceRoute", LocalTarget=True, NetworkInterfaceId=eni, **local) == "InvalidParameterCombination"
    )
    cloud("ReplaceRoute", LocalTarget=True, **local)
    assert routes(cloud, table) == {"10.0.0.0/16": ("local", "active")}
    other = {"RouteTableId": table, "DestinationCidrBlock": "8.0.0.0/8"}
    assert cloud.code("ReplaceRoute", LocalTarget=True, **other) == "InvalidParameterValue"


def test_a_cidr_that_goes_takes_its_local_route_along(cloud, vpc, table):
    eni = cloud.interface(cloud.subnet(vpc))
    association = cloud("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.1.0.0/16")["CidrBlockAssociation"]
    cloud("ReplaceRoute", RouteTableId=table, DestinationCidrBlock="10.1.0.0/16", NetworkInterfaceId=eni)
    cloud("DisassociateVpcCidrBlock", AssociationId=association["AssociationId"])
    cloud("AssociateVpcCidrBlock", VpcId=vpc, CidrBlock="10.1.0.0/16")
    assert routes(cloud, table)["10.1.0.0/16"] == ("local", "active")


def test_an_internet_gateway_has_a_table_for_what_comes_in(cloud, vpc, table):
    gateway = cloud.gateway(vpc)
    at = {"RouteTableId": table, "GatewayId": gateway}
    association = cloud("AssociateRouteTable", **at)["AssociationId"]
    assert cloud("AssociateRouteTable", **at)["AssociationId"] == association
    (shown,) = cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])["Associations"]
    assert (shown["GatewayId"], shown["Main"], shown.get("SubnetId")) == (gateway, False, None)
    here = [{"Name": "association.gateway-id", "Values": [gateway]}]
    assert cloud.one("DescribeRouteTables", "RouteTables", Filters=here)["RouteTableId"] == table
    other = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    assert cloud.code("AssociateRouteTable", RouteTableId=other, GatewayId=gateway) == "Resource.AlreadyAssociated"
    assert cloud.code("DeleteRouteTable", RouteTableId=table) == "DependencyViolation"
    new = cloud("ReplaceRouteTableAssociation", AssociationId=association, RouteTableId=other)["NewAssociationId"]
    cloud("DisassociateRouteTable", AssociationId=new)
    cloud("AssociateRouteTable", **at)
    cloud("DetachInternetGateway", InternetGatewayId=gateway, VpcId=vpc)
    assert cloud.one("DescribeRouteTables", "RouteTables", RouteTableIds=[table])["Associations"] == []
    assert cloud.code("AssociateRouteTable", **at) == "InvalidParameterValue"


def test_a_gateways_table_leads_to_interfaces_within_the_vpc_only(cloud, vpc, table):
    gateway = cloud.gateway(vpc)
    eni = cloud.interface(cloud.subnet(vpc, "10.0.0.0/24"))
    cloud.subnet(vpc, "10.0.1.0/24")
    out = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    cloud("CreateRoute", GatewayId=gateway, **out)
    assert cloud.refused("AssociateRouteTable", RouteTableId=table, GatewayId=gateway) == (
        "InvalidParameterValue",
        f"Route table contains unsupported route target: {gateway}.",
    )
    cloud("ReplaceRoute", NetworkInterfaceId=eni, **out)
    assert cloud.code("AssociateRouteTable", RouteTableId=table, GatewayId=gateway) == "InvalidParameterValue"
    cloud("DeleteRoute", **out)
    association = cloud("AssociateRouteTable", RouteTableId=table, GatewayId=gateway)["AssociationId"]
    assert cloud.code("CreateRoute", NetworkInterfaceId=eni, **out) == "InvalidParameterValue"
    assert cloud.code("CreateRoute", GatewayId=gateway, **out) == "InvalidParameterValue"
    cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="10.0.1.0/24", NetworkInterfaceId=eni)
    mains = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    main = cloud.one("DescribeRouteTables", "RouteTables", Filters=mains)
    first = main["Associations"][0]["RouteTableAssociationId"]
    to_main = {"AssociationId": association, "RouteTableId": main["RouteTableId"]}
    assert cloud.code("ReplaceRouteTableAssociation", **to_main) == "InvalidParameterValue"
    to_edge = {"AssociationId": first, "RouteTableId": table}
    assert cloud.code("ReplaceRouteTableAssociation", **to_edge) == "InvalidParameterValue"


def test_a_subnet_has_one_table_at_a_time(cloud, vpc, table):
    subnet = cloud.subnet(vpc)
    association = cloud("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"]
    assert cloud("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)["AssociationId"] == association
    other = cloud("CreateRouteTable", VpcId=vpc)["RouteTable"]["RouteTableId"]
    assert cloud.code("AssociateRouteTable", RouteTableId=other, SubnetId=subnet) == "Resource.AlreadyAssociated"
    assert cloud.code("DeleteRouteTable", RouteTableId=table) == "DependencyViolation"
    new = cloud("ReplaceRouteTableAssociation", AssociationId=association, RouteTableId=other)["NewAssociationId"]
    assert new != association
    here = [{"Name": "association.subnet-id", "Values": [subnet]}]
    assert cloud.one("DescribeRouteTables", "RouteTables", Filters=here)["RouteTableId"] == other
    cloud("DisassociateRouteTable", AssociationId=new)
    assert cloud("DescribeRouteTables", Filters=here)["RouteTables"] == []
    assert cloud.code("DisassociateRouteTable", AssociationId=new) == "InvalidAssociationID.NotFound"
    elsewhere = cloud.subnet(cloud.vpc())
    assert cloud.code("AssociateRouteTable", RouteTableId=table, SubnetId=elsewhere) == "InvalidParameterValue"


def test_another_table_can_become_the_main_one(cloud, vpc, table):
    here = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    old = cloud.one("DescribeRouteTables", "RouteTables", Filters=here)
    main = old["Associations"][0]["RouteTableAssociationId"]
    assert cloud.code("DisassociateRouteTable", AssociationId=main) == "InvalidParameterValue"
    cloud("ReplaceRouteTableAssociation", AssociationId=main, RouteTableId=table)
    assert cloud.one("DescribeRouteTables", "RouteTables", Filters=here)["RouteTableId"] == table
    assert cloud.code("DeleteRouteTable", RouteTableId=table) == "DependencyViolation"
    cloud("DeleteRouteTable", RouteTableId=old["RouteTableId"])
    cloud("DeleteVpc", VpcId=vpc)


@pytest.mark.parametrize("destination", ["169.254.168.0/22", "169.254.169.254/32", "169.254.171.0/24"])
def test_no_route_leads_away_from_metadata_and_names(cloud, vpc, table, destination):
    """VPC User Guide, "Route table concepts"."""
    gateway = cloud.gateway(vpc)
    asked = {"RouteTableId": table, "DestinationCidrBlock": destination, "GatewayId": gateway}
    assert cloud.code("CreateRoute", **asked) == "InvalidParameterValue"
    cloud("CreateRoute", **{**asked, "DestinationCidrBlock": "169.254.0.0/16"})


def test_filters_look_into_routes(cloud, vpc, table):
    gateway = cloud.gateway(vpc)
    cloud("CreateRoute", RouteTableId=table, DestinationCidrBlock="8.8.0.0/16", GatewayId=gateway)
    for name, value in {
        "route-table-id": table,
        "route.destination-cidr-block": "8.8.0.0/16",
        "route.gateway-id": gateway,
    }.items():
        found = cloud.one("DescribeRouteTables", "RouteTables", Filters=[{"Name": name, "Values": [value]}])
        assert found["RouteTableId"] == table, name
    origin = [{"Name": "route.origin", "Values": ["CreateRoute"]}, {"Name": "vpc-id", "Values": [vpc]}]
    assert cloud.one("DescribeRouteTables", "RouteTables", Filters=origin)["RouteTableId"] == table


def test_the_same_client_token_makes_one_table(cloud, vpc):
    first = cloud("CreateRouteTable", VpcId=vpc, ClientToken="once")["RouteTable"]["RouteTableId"]
    assert cloud("CreateRouteTable", VpcId=vpc, ClientToken="once")["RouteTable"]["RouteTableId"] == first
    assert cloud.code("CreateRouteTable", VpcId=cloud.vpc(), ClientToken="once") == "IdempotentParameterMismatch"
