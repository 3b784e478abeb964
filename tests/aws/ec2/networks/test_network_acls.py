"""Network ACLs: what the operations answer and refuse, and what of them reaches the machine."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gureum.aws.ec2.interfaces.interfaces import new_interface
from gureum.aws.ec2.networks.kinds import AclEntry, Attachment, NetworkAcl, NetworkAclSpec, Subnet
from gureum.aws.ec2.networks.network_acl_entries import lets_all_pass, lower_acl
from gureum.drivers.simulated.packets import Packet, passes
from gureum.engine.resource import Meta
from gureum.ports import firewalls

EVERYWHERE = "0.0.0.0/0"
ANY = {"Protocol": "-1", "CidrBlock": EVERYWHERE}


@pytest.fixture
def vpc(cloud):
    return cloud.vpc()


@pytest.fixture
def subnet(cloud, vpc):
    return cloud.subnet(vpc)


@pytest.fixture
def acl(cloud, vpc):
    return cloud("CreateNetworkAcl", VpcId=vpc)["NetworkAcl"]["NetworkAclId"]


def described(cloud, acl):
    return cloud.one("DescribeNetworkAcls", "NetworkAcls", NetworkAclIds=[acl])


def default(cloud, vpc):
    here = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "default", "Values": ["true"]}]
    return cloud.one("DescribeNetworkAcls", "NetworkAcls", Filters=here)["NetworkAclId"]


def association(cloud, subnet):
    of_subnet = [{"Name": "association.subnet-id", "Values": [subnet]}]
    found = cloud.one("DescribeNetworkAcls", "NetworkAcls", Filters=of_subnet)["Associations"]
    return next(one["NetworkAclAssociationId"] for one in found if one["SubnetId"] == subnet)


def add(cloud, acl, number, *, egress=False, action="allow", verb="Create", **words):
    words = words or ANY
    name = f"{verb}NetworkAclEntry"
    return cloud(name, NetworkAclId=acl, RuleNumber=number, Egress=egress, RuleAction=action, **words)


def occupy(cloud, subnet):
    call = cloud.call()
    transaction = call.transaction()
    attachment = Attachment("eni-attach-0123456789abcdef0", "i-0123456789abcdef0", 0, 0.0)
    new_interface(call, transaction, call.get(Subnet, subnet), attachment=attachment, sandbox="i-0123456789abcdef0")
    asyncio.run(transaction.commit())


# --- ACLs ---


def test_a_new_acl_denies_everything_and_has_no_subnets(cloud, vpc, subnet):
    tags = [{"ResourceType": "network-acl", "Tags": [{"Key": "Name", "Value": "tight"}]}]
    made = cloud("CreateNetworkAcl", VpcId=vpc, TagSpecifications=tags)["NetworkAcl"]
    assert (made["VpcId"], made["IsDefault"], made["Associations"]) == (vpc, False, [])
    assert made["Tags"] == [{"Key": "Name", "Value": "tight"}]
    assert made["Entries"] == [
        {"RuleNumber": 32767, "Protocol": "-1", "RuleAction": "deny", "Egress": egress, "CidrBlock": EVERYWHERE}
        for egress in (True, False)
    ]
    assert described(cloud, made["NetworkAclId"]) == made


def test_the_same_token_makes_one_acl(cloud, vpc):
    first, second = (cloud("CreateNetworkAcl", VpcId=vpc, ClientToken="once") for _ in range(2))
    assert first == second
    assert first["ClientToken"] == "once"
    other = cloud.vpc("10.1.0.0/16")
    assert cloud.code("CreateNetworkAcl", VpcId=other, ClientToken="once") == "IdempotentParameterMismatch"


def test_a_subnet_moves_from_one_acl_to_another(cloud, vpc, subnet, acl):
    before = association(cloud, subnet)
    moved = cloud("ReplaceNetworkAclAssociation", AssociationId=before, NetworkAclId=acl)["NewAssociationId"]
    assert moved != before
    assert described(cloud, acl)["Associations"] == [
        {"NetworkAclAssociationId": moved, "NetworkAclId": acl, "SubnetId": subnet}
    ]
    assert described(cloud, default(cloud, vpc))["Associations"] == []
    gone = cloud.refused("ReplaceNetworkAclAssociation", AssociationId=before, NetworkAclId=acl)
    assert gone == ("InvalidAssociationID.NotFound", f"The association ID '{before}' does not exist")
    foreign = cloud("CreateNetworkAcl", VpcId=cloud.vpc("10.1.0.0/16"))["NetworkAcl"]["NetworkAclId"]
    wrong = cloud.code("ReplaceNetworkAclAssociation", AssociationId=moved, NetworkAclId=foreign)
    assert wrong == "InvalidParameterValue"


def test_an_acl_in_use_and_the_default_one_stay(cloud, vpc, subnet, acl):
    first = default(cloud, vpc)
    assert cloud.refused("DeleteNetworkAcl", NetworkAclId=first) == (
        "InvalidParameterValue",
        f"cannot delete default network ACL {first}",
    )
    moved = cloud("ReplaceNetworkAclAssociation", AssociationId=association(cloud, subnet), NetworkAclId=acl)
    assert cloud.refused("DeleteNetworkAcl", NetworkAclId=acl) == (
        "DependencyViolation",
        f"The networkAcl '{acl}' has dependencies and cannot be deleted.",
    )
    cloud("ReplaceNetworkAclAssociation", AssociationId=moved["NewAssociationId"], NetworkAclId=first)
    cloud("DeleteNetworkAcl", NetworkAclId=acl)
    assert cloud.code("DescribeNetworkAcls", NetworkAclIds=[acl]) == "InvalidNetworkAclID.NotFound"


def test_a_vpc_goes_with_its_default_acl_but_not_with_another(cloud, vpc, acl):
    assert cloud.code("DeleteVpc", VpcId=vpc) == "DependencyViolation"
    cloud("DeleteNetworkAcl", NetworkAclId=acl)
    cloud("DeleteVpc", VpcId=vpc)


def test_a_vpc_has_two_hundred_acls(cloud, vpc):
    for _ in range(199):
        cloud("CreateNetworkAcl", VpcId=vpc)
    assert cloud.code("CreateNetworkAcl", VpcId=vpc) == "NetworkAclLimitExceeded"


# --- entries ---


def test_entries_are_shown_by_direction_and_number(cloud, acl):
    add(cloud, acl, 200, Protocol="6", CidrBlock="100.68.0.18/18", PortRange={"From": 22, "To": 23})
    add(cloud, acl, 100, action="deny", Protocol="icmp", CidrBlock=EVERYWHERE, IcmpTypeCode={"Type": 8, "Code": -1})
    add(cloud, acl, 100, egress=True, Protocol="58", CidrBlock=EVERYWHERE, IcmpTypeCode={"Type": 1, "Code": 1})
    shown = [entry for entry in described(cloud, acl)["Entries"] if entry["RuleNumber"] != 32767]
    base = {"Egress": False, "CidrBlock": EVERYWHERE, "RuleAction": "allow"}
    assert shown == [
        base | {"RuleNumber": 100, "Egress": True, "Protocol": "58"},
        base | {"RuleNumber": 100, "RuleAction": "deny", "Protocol": "1", "IcmpTypeCode": {"Type": 8, "Code": -1}},
        base | {"RuleNumber": 200, "Protocol": "6", "CidrBlock": "100.68.0.0/18", "PortRange": {"From": 22, "To": 23}},
    ]


def test_a_number_stands_once_in_each_direction(cloud, acl):
    add(cloud, acl, 100)
    add(cloud, acl, 100, egress=True)
    refused = cloud.refused(
        "CreateNetworkAclEntry", NetworkAclId=acl, RuleNumber=100, Egress=False, RuleAction="deny", **ANY
    )
    assert refused == ("NetworkAclEntryAlreadyExists", "The network acl entry identified by 100 already exists.")


def test_entries_are_replaced_and_deleted(cloud, acl):
    missing = {"NetworkAclId": acl, "RuleNumber": 100, "Egress": True}
    for name, words in (("Replace", {"RuleAction": "allow", **ANY}), ("Delete", {})):
        assert cloud.code(f"{name}NetworkAclEntry", **missing, **words) == "InvalidNetworkAclEntry.NotFound"
    add(cloud, acl, 100, egress=True)
    add(cloud, acl, 100, egress=True, action="deny", verb="Replace", Protocol="47", CidrBlock="10.0.0.0/8")
    assert described(cloud, acl)["Entries"][0] == {
        "RuleNumber": 100,
        "Protocol": "47",
        "RuleAction": "deny",
        "Egress": True,
        "CidrBlock": "10.0.0.0/8",
    }
    cloud("DeleteNetworkAclEntry", **missing)
    assert [entry["RuleNumber"] for entry in described(cloud, acl)["Entries"]] == [32767, 32767]


def test_twenty_entries_in_each_direction(cloud, acl):
    for number in range(1, 21):
        add(cloud, acl, number)
        add(cloud, acl, number, egress=True)
    words = {"NetworkAclId": acl, "RuleNumber": 21, "RuleAction": "deny", **ANY}
    for egress in (True, False):
        assert cloud.code("CreateNetworkAclEntry", Egress=egress, **words) == "NetworkAclEntryLimitExceeded"
    add(cloud, acl, 20, action="deny", verb="Replace")


def test_entries_for_ipv6_are_kept_shown_and_found_but_decide_no_packet_of_ipv4(cloud, vpc, subnet):
    acl = default(cloud, vpc)
    all_6 = {"NetworkAclId": acl, "Protocol": "-1", "Ipv6CidrBlock": "::/0"}
    for egress in (True, False):
        cloud("CreateNetworkAclEntry", RuleNumber=1, Egress=egress, RuleAction="deny", **all_6)
    ping = {"Protocol": "58", "Ipv6CidrBlock": "2001:db8::1/64", "IcmpTypeCode": {"Type": 128, "Code": -1}}
    cloud("CreateNetworkAclEntry", NetworkAclId=acl, RuleNumber=101, Egress=False, RuleAction="allow", **ping)
    taken = cloud.code(
        "CreateNetworkAclEntry", NetworkAclId=acl, RuleNumber=101, Egress=False, RuleAction="allow", **ANY
    )
    assert taken == "NetworkAclEntryAlreadyExists"
    shown = {(one["RuleNumber"], one["Egress"]): one for one in described(cloud, acl)["Entries"]}
    assert shown[1, False] == {
        "RuleNumber": 1,
        "Protocol": "-1",
        "RuleAction": "deny",
        "Egress": False,
        "Ipv6CidrBlock": "::/0",
    }
    assert shown[101, False]["Ipv6CidrBlock"] == "2001:db8::/64"
    assert shown[101, False]["IcmpTypeCode"] == {"Type": 128, "Code": -1}
    for value, found in (("::/0", [acl]), ("2001:db8::/32", [])):
        filters = [{"Name": "entry.ipv6-cidr", "Values": [value]}]
        assert [one["NetworkAclId"] for one in cloud("DescribeNetworkAcls", Filters=filters)["NetworkAcls"]] == found
    assert lets_all_pass(cloud.call().get(NetworkAcl, acl))
    assert [entry.number for entry in lower_acl(cloud.call().get(NetworkAcl, acl), ()).entries] == [100, 100]
    cloud("DeleteNetworkAclEntry", NetworkAclId=acl, RuleNumber=1, Egress=True)
    assert (1, True) not in {(one["RuleNumber"], one["Egress"]) for one in described(cloud, acl)["Entries"]}


TCP = {"Protocol": "6", "CidrBlock": EVERYWHERE}
PING = {"Protocol": "1", "CidrBlock": EVERYWHERE}


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (0, ANY, "InvalidParameterValue"),
        (-1, ANY, "InvalidParameterValue"),
        (32767, ANY, "InvalidParameterValue"),
        (1, {"Protocol": "-1"}, "MissingParameter"),
        (1, {"Protocol": "-1", "Ipv6CidrBlock": "::/129"}, "InvalidParameterValue"),
        (1, {"Protocol": "58", "Ipv6CidrBlock": "::/0"}, "MissingParameter"),
        (1, {**ANY, "Ipv6CidrBlock": "::/0"}, "InvalidParameterCombination"),
        (1, {"Protocol": "-1", "CidrBlock": "10.0.0.0/33"}, "InvalidParameterValue"),
        (1, {"Protocol": "256", "CidrBlock": EVERYWHERE}, "InvalidParameterValue"),
        (1, {"Protocol": "sctp", "CidrBlock": EVERYWHERE}, "InvalidParameterValue"),
        (1, TCP, "MissingParameter"),
        (1, {**TCP, "PortRange": {"From": 80}}, "MissingParameter"),
        (1, {**TCP, "PortRange": {"From": 81, "To": 80}}, "InvalidParameterValue"),
        (1, {**TCP, "PortRange": {"From": -1, "To": 80}}, "InvalidParameterValue"),
        (1, {**TCP, "PortRange": {"From": 0, "To": 65536}}, "InvalidParameterValue"),
        (1, PING, "MissingParameter"),
        (1, {**PING, "IcmpTypeCode": {"Type": 256, "Code": 0}}, "InvalidParameterValue"),
        (1, {**PING, "IcmpTypeCode": {"Type": -1, "Code": 0}}, "InvalidParameterValue"),
    ],
)
def test_entries_that_are_refused(cloud, acl, number, words, code):
    given = {"NetworkAclId": acl, "RuleNumber": number, "Egress": False, "RuleAction": "allow", **words}
    assert cloud.code("CreateNetworkAclEntry", **given) == code


def test_the_closing_entry_cannot_be_deleted(cloud, acl):
    assert cloud.code("DeleteNetworkAclEntry", NetworkAclId=acl, RuleNumber=32767, Egress=True) == (
        "InvalidParameterValue"
    )


@pytest.mark.parametrize(
    ("name", "value", "matches"),
    [
        ("entry.cidr", "10.9.0.0/16", True),
        ("entry.icmp.type", "8", True),
        ("entry.icmp.code", "-1", True),
        ("entry.icmp.code", "443", False),
        ("entry.ipv6-cidr", "::/0", False),
        ("entry.port-range.from", "443", True),
        ("entry.port-range.to", "444", True),
        ("entry.port-range.to", "-1", False),
        ("entry.protocol", "tcp", True),
        ("entry.protocol", "6", True),
        ("entry.protocol", "udp", False),
        ("entry.rule-action", "allow", True),
        ("entry.rule-number", "100", True),
        ("entry.rule-number", "300", False),
        ("entry.egress", "true", True),
        ("association.subnet-id", "subnet-*", True),
        ("default", "true", False),
        ("tag:Name", "tight", True),
    ],
)
def test_filters(cloud, vpc, subnet, acl, name, value, matches):
    add(cloud, acl, 100, Protocol="6", CidrBlock="10.9.0.0/16", PortRange={"From": 443, "To": 444})
    add(cloud, acl, 200, Protocol="1", CidrBlock=EVERYWHERE, IcmpTypeCode={"Type": 8, "Code": -1})
    cloud("ReplaceNetworkAclAssociation", AssociationId=association(cloud, subnet), NetworkAclId=acl)
    cloud("CreateTags", Resources=[acl], Tags=[{"Key": "Name", "Value": "tight"}])
    found = cloud("DescribeNetworkAcls", Filters=[{"Name": name, "Values": [value]}])["NetworkAcls"]
    assert (acl in [one["NetworkAclId"] for one in found]) == matches


# --- what reaches the machine ---


def test_an_acl_that_lets_everything_pass_is_not_on_the_machine(cloud, vpc, subnet):
    occupy(cloud, subnet)
    first = default(cloud, vpc)
    assert cloud.wished("Network")[vpc].acls == ()
    add(cloud, first, 50, Protocol="6", CidrBlock=EVERYWHERE, PortRange={"From": 0, "To": 65535})
    add(cloud, first, 200, action="deny")
    assert cloud.wished("Network")[vpc].acls == ()
    add(cloud, first, 60, action="deny", Protocol="6", CidrBlock="10.9.0.0/16", PortRange={"From": 22, "To": 22})
    (lowered,) = cloud.wished("Network")[vpc].acls
    assert lowered == firewalls.Acl(
        first,
        ("10.0.1.0/24",),
        (
            firewalls.AclEntry("out", 100, True, "all", EVERYWHERE),
            firewalls.AclEntry("in", 50, True, "tcp", EVERYWHERE),
            firewalls.AclEntry("in", 60, False, "tcp", "10.9.0.0/16", (22, 22)),
            firewalls.AclEntry("in", 100, True, "all", EVERYWHERE),
            firewalls.AclEntry("in", 200, False, "all", EVERYWHERE),
        ),
    )


def test_each_change_reaches_the_machine_in_one_network(cloud, vpc, subnet, acl):
    other = cloud.subnet(vpc, "10.0.2.0/24")
    occupy(cloud, subnet)

    def changed(name, **params):
        del cloud.changes[:]
        cloud(name, **params)
        put = [one for puts, _ in cloud.changes for one in puts]
        assert [one.kind for one in put] == ["Network"]
        return put[0].spec.acls

    moved = changed("ReplaceNetworkAclAssociation", AssociationId=association(cloud, subnet), NetworkAclId=acl)
    assert moved == (firewalls.Acl(acl, ("10.0.1.0/24",)),)
    both = changed("ReplaceNetworkAclAssociation", AssociationId=association(cloud, other), NetworkAclId=acl)
    assert both == (firewalls.Acl(acl, ("10.0.1.0/24", "10.0.2.0/24")),)
    entry = {"NetworkAclId": acl, "RuleNumber": 100, "Egress": True}
    ping = {"Protocol": "1", "CidrBlock": EVERYWHERE, "IcmpTypeCode": {"Type": 8, "Code": -1}}
    (lowered,) = changed("CreateNetworkAclEntry", RuleAction="allow", **entry, **ping)
    assert lowered.entries == (firewalls.AclEntry("out", 100, True, "icmp", EVERYWHERE, (8, -1)),)
    (lowered,) = changed("ReplaceNetworkAclEntry", RuleAction="deny", **entry, **ANY)
    assert lowered.entries == (firewalls.AclEntry("out", 100, False, "all", EVERYWHERE),)
    (lowered,) = changed("DeleteNetworkAclEntry", **entry)
    assert lowered.entries == ()


entries = st.lists(
    st.builds(
        AclEntry,
        st.integers(1, 5),
        st.booleans(),
        st.sampled_from([True, True, True, False]),
        st.sampled_from(["-1", "-1", "6", "47"]),
        st.sampled_from([EVERYWHERE, EVERYWHERE, "10.0.0.0/16"]),
    ),
    max_size=6,
    unique_by=lambda entry: (entry.number, entry.egress),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries, entries)
def test_what_is_left_out_would_let_everything_pass(some, more):
    """Nothing is left out that would stop a packet. (A deny behind an allow of the same packets is not seen through: such a list is kept.)"""
    either = {(entry.number, entry.egress): entry for entry in (*some, *more)}.values()
    meta = Meta(scope="a/b", name="acl-1", uid="", created=0.0)
    acl = NetworkAcl(meta=meta, spec=NetworkAclSpec("vpc-1", is_default=False, entries=tuple(either)))
    open_group = firewalls.Group(
        "sg", (firewalls.Rule("in", "all", cidr=EVERYWHERE), firewalls.Rule("out", "all", cidr=EVERYWHERE))
    )
    rules = firewalls.RuleSet(
        "vpc-1",
        ("10.0.0.0/16",),
        (open_group,),
        (firewalls.Port("a", ("10.0.0.10",), ("sg",), (("10.0.0.10", "198.18.0.9"),)),),
        ("10.0.0.0/24",),
        (lower_acl(acl, ["10.0.0.0/24"]),),
    )
    world = [
        Packet(*ends, protocol, (0, 80))
        for far in ("192.0.2.1", "10.0.9.9")
        for ends in (("a", "", "10.0.0.10", far), ("", "a", far, "10.0.0.10"))
        for protocol in ("tcp", "47", "99")
    ]
    assert all(passes(rules, packet) for packet in world) or not lets_all_pass(acl)
