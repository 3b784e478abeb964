"""Who uses a certificate, as DescribeCertificate tells it: ARNs of the load balancers whose listeners have it.

Listeners are found by their index of certificates' ARNs and lead to their load balancers as their owners, so that this service need not load the
other.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.partitions import partition_of
from gureum.engine.resource import Resource

_SHORT = {"application": "app", "network": "net"}


def arns_of_users(call: Call, users: list[Resource]) -> list[str]:
    owners = {one.meta.owner: call.client.by_key(one.meta.owner) for one in users if one.meta.owner}
    return [arn_of_user(owners[key]) for key in sorted(owners) if owners[key] is not None]


def arn_of_user(balancer: Any) -> str:
    account, _, region = balancer.meta.scope.partition("/")
    label = f"{_SHORT[balancer.spec.type]}/{balancer.spec.name}/{balancer.meta.name}"
    return f"arn:{partition_of(region)}:elasticloadbalancing:{region}:{account}:loadbalancer/{label}"
