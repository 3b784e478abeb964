"""Security policies of HTTPS and TLS listeners: the predefined ones, their protocols and ciphers (OpenSSL's names).

AWS: "Security policies for your Application Load Balancer" and "… Network Load Balancer", protocols and ciphers by policy. Policies whose
promise gureum cannot keep (a validated FIPS module, hybrid post-quantum key exchange) are known and refused by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gureum.aws.call import Call
from gureum.aws.elbv2.faults import not_built
from gureum.aws.elbv2.paging import page
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation

DEFAULT_POLICY = "ELBSecurityPolicy-2016-08"
TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
# In AWS's order of preference; each policy is this list without what it leaves out.
_ORDER = (
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA", "AES256-GCM-SHA384", "AES256-SHA256", "AES256-SHA",
)  # fmt: skip


class Policy(msgspec.Struct, frozen=True):
    """`protocols`: as AWS names them, newest first. `types`: of load balancers that have it."""

    name: str
    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]
    types: tuple[str, ...] = ("application", "network")


def _ciphers(*, forward_only: bool = False, cbc: bool = True, sha1: bool = True) -> tuple[str, ...]:
    return tuple(
        name
        for name in _ORDER
        if (name.startswith("ECDHE-") or not forward_only)
        and (cbc or "-GCM-" in name)
        and (sha1 or not name.endswith("-SHA"))
    )


_V10, _V11, _V12, _V13 = "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"
_POLICIES = (
    Policy("ELBSecurityPolicy-TLS13-1-3-2021-06", (_V13,), TLS13),
    Policy(
        "ELBSecurityPolicy-TLS13-1-2-Res-2021-06", (_V13, _V12), TLS13 + _ciphers(forward_only=True, cbc=False, sha1=False)
    ),
    Policy("ELBSecurityPolicy-TLS13-1-2-2021-06", (_V13, _V12), TLS13 + _ciphers(forward_only=True, sha1=False)),
    Policy("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", (_V13, _V12), TLS13 + _ciphers(sha1=False)),
    Policy("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", (_V13, _V12), TLS13 + _ciphers()),
    Policy("ELBSecurityPolicy-TLS13-1-1-2021-06", (_V13, _V12, _V11), TLS13 + _ciphers()),
    Policy("ELBSecurityPolicy-TLS13-1-0-2021-06", (_V13, _V12, _V11, _V10), TLS13 + _ciphers()),
    Policy("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", (_V12,), _ciphers()),
    Policy("ELBSecurityPolicy-TLS-1-2-2017-01", (_V12,), _ciphers(sha1=False)),
    Policy("ELBSecurityPolicy-TLS-1-1-2017-01", (_V12, _V11), _ciphers()),
    Policy(DEFAULT_POLICY, (_V12, _V11, _V10), _ciphers()),
    Policy("ELBSecurityPolicy-2015-05", (_V12, _V11, _V10), _ciphers(), ("network",)),
    Policy("ELBSecurityPolicy-FS-1-2-Res-2020-10", (_V12,), _ciphers(forward_only=True, cbc=False, sha1=False)),
    Policy("ELBSecurityPolicy-FS-1-2-Res-2019-08", (_V12,), _ciphers(forward_only=True, sha1=False)),
    Policy("ELBSecurityPolicy-FS-1-2-2019-08", (_V12,), _ciphers(forward_only=True)),
    Policy("ELBSecurityPolicy-FS-1-1-2019-08", (_V12, _V11), _ciphers(forward_only=True)),
    Policy("ELBSecurityPolicy-FS-2018-06", (_V12, _V11, _V10), _ciphers(forward_only=True)),
)  # fmt: skip
POLICIES = {policy.name: policy for policy in _POLICIES}
NOT_BUILT = frozenset(
    f"ELBSecurityPolicy-{name}"
    for name in (
        *(f"TLS13-1-{version}-FIPS-2023-04" for version in ("3", "2", "2-Res", "2-Ext0", "2-Ext1", "2-Ext2", "1", "0")),
        *(f"TLS13-1-{version}-PQ-2025-09" for version in ("3", "2", "2-Res", "2-Ext1", "2-Ext2", "0")),
        *(f"TLS13-1-{version}-FIPS-PQ-2025-09" for version in ("3", "2", "2-Res", "2-Ext0", "2-Ext1", "2-Ext2", "0")),
    )
)


@operation("DescribeSSLPolicies")
def describe_ssl_policies(call: Call) -> Result:
    """AWS: elbv2 DescribeSSLPolicies."""
    wanted, type_ = call.params.get("Names"), call.params.get("LoadBalancerType")
    chosen = [find_policy(name) for name in wanted] if wanted else list(_POLICIES)
    shown, more = page(call.params, [one for one in chosen if not type_ or type_ in one.types], lambda one: one.name)
    return {"SslPolicies": [_show(policy) for policy in shown], **more}


def find_policy(name: str, type_: str = "") -> Policy:
    """`type_`: of the load balancer that is to have it. AWS: SSLPolicyNotFound."""
    if name in NOT_BUILT:
        raise not_built(f"The SSL policy {name}")
    policy = POLICIES.get(name)
    if policy is None or (type_ and type_ not in policy.types):
        raise AwsError("SSLPolicyNotFound", f"SSL policy '{name}' not found")
    return policy


def _show(policy: Policy) -> dict[str, Any]:
    return {
        "Name": policy.name,
        "SslProtocols": list(policy.protocols),
        "Ciphers": [{"Name": name, "Priority": i} for i, name in enumerate(policy.ciphers, 1)],
        "SupportedLoadBalancerTypes": list(policy.types),
    }
