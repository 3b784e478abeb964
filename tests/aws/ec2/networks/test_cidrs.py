"""CIDR arithmetic, against the definitions."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.ec2.networks.cidrs import free_address, free_block, is_usable, overlaps, parse_cidr, usable_size
from gureum.aws.errors import AwsError

networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(16, 28),
)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_a_cidr_becomes_its_network(address, length):
    parsed = parse_cidr(f"{IPv4Address(address)}/{length}")
    assert int(parsed.network_address) == address >> (32 - length) << (32 - length)
    assert parsed.prefixlen == length


@given(st.text(max_size=30))
def test_text_is_a_cidr_or_refused(text):
    try:
        parsed = parse_cidr(text)
    except AwsError as error:
        refused = error.code
    else:
        refused = ""
        assert isinstance(parsed, IPv4Network)
    assert refused in ("", "InvalidParameterValue")


@given(networks, st.integers(0, 2**20), st.data())
def test_a_free_address_is_usable_and_not_taken(network, start, data):
    cidr = str(network)
    usable = [str(network[n]) for n in range(4, min(network.num_addresses - 1, 40))]
    taken = data.draw(st.sets(st.sampled_from(usable)))
    found = free_address(cidr, taken, start)
    if found is None:
        assert len(taken) == usable_size(cidr)
    else:
        assert found not in taken
        assert is_usable(cidr, IPv4Address(found))


@given(networks.filter(lambda network: network.prefixlen <= 28), st.integers(0, 2**20))
def test_the_lower_half_is_left_to_those_who_choose_themselves(network, start):
    found = free_address(str(network), set(), start)
    assert int(IPv4Address(found)) - int(network[0]) >= 4 + usable_size(str(network)) // 2


@given(networks.filter(lambda network: network.prefixlen >= 26), st.integers(0, 2**20))
def test_all_usable_addresses_are_given_once(network, start):
    cidr, taken = str(network), set()
    while (found := free_address(cidr, taken, start)) is not None:
        assert found not in taken
        taken.add(found)
    assert len(taken) == usable_size(cidr) == network.num_addresses - 5
    assert not taken & {str(network[n]) for n in (0, 1, 2, 3, -1)}


@given(networks, networks)
def test_overlap_is_that_one_holds_the_others_start(one, other):
    expected = one[0] in other or other[0] in one
    assert overlaps(one, [str(other)]) == overlaps(other, [str(one)]) == expected


@given(st.lists(st.integers(0, 15), unique=True))
def test_carving_gives_the_lowest_free_block(used):
    blocks = list(IPv4Network("172.31.0.0/16").subnets(new_prefix=20))
    found = free_block("172.31.0.0/16", [str(blocks[n]) for n in used], 20)
    left = [n for n in range(16) if n not in used]
    assert found == (str(blocks[left[0]]) if left else None)


@pytest.mark.parametrize(("cidr", "size"), [("10.0.0.0/16", 65531), ("10.0.0.0/24", 251), ("10.0.0.0/28", 11)])
def test_sizes_as_aws_tells_them(cidr, size):
    assert usable_size(cidr) == size
