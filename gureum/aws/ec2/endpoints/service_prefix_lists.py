"""AWS's own prefix lists: the ranges of S3 and DynamoDB, to which gateway endpoints lead. They are there to be named in rules and shown in
routes; they hold no ranges, for these services are not reached through a VPC here."""

from __future__ import annotations

import hashlib

from gureum.aws.call import Call
from gureum.aws.ec2 import ids
from gureum.aws.ec2.networks.kinds import PrefixList, PrefixListSpec
from gureum.engine.resource import Meta

OWNER = "AWS"
GATEWAY_SERVICES = ("s3", "dynamodb")


def service_name(region: str, service: str) -> str:
    """ "s3" → "com.amazonaws.us-east-1.s3"."""
    return f"com.amazonaws.{region}.{service}"


def list_id(name: str) -> str:
    """The id of the list of that name, the same at all times."""
    return f"pl-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def service_lists(call: Call) -> dict[str, PrefixList]:
    """Those of the region, by id. Never stored. Each counts as one rule (AWS: "AWS-managed prefix list weight")."""
    names = [service_name(call.region, service) for service in GATEWAY_SERVICES]
    return {
        list_id(name): PrefixList(
            meta=Meta(scope=call.scope, name=list_id(name), uid="", created=0.0),
            spec=PrefixListSpec(name, "IPv4", 1, 1),
        )
        for name in names
    }


def find_list(call: Call, id_: str) -> PrefixList:
    """The account's own or AWS's. AWS: Malformed, NotFound."""
    return service_lists(call).get(id_) or ids.find(call, PrefixList, ids.PREFIX_LIST, id_)
