"""AWS's predefined TLS policies: protocol versions and ciphers by name, in AWS's order of preference.

Both the face that describes them (elbv2 DescribeSSLPolicies) and the proxies that obey them read this table. Source: Elastic Load
Balancing, "Security policies for your Application Load Balancer". Policies with PQ in their name need a key exchange (ML-KEM) that
OpenSSL has from 3.5 on and are not in the table.
"""

from __future__ import annotations

import msgspec

DEFAULT = "ELBSecurityPolicy-2016-08"
"""What a listener gets that names none (AWS: elbv2 CreateListener)."""


class TlsPolicy(msgspec.Struct, frozen=True):
    """`protocols`: as AWS writes them ("TLSv1.2"), newest first. `ciphers`: OpenSSL's names, TLS 1.3's first."""

    protocols: tuple[str, ...]
    ciphers: tuple[str, ...]


_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_TLS13_FIPS = _TLS13[:2]
_GCM_128 = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256")
_CBC2_128 = ("ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256")
_CBC_128 = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA")
_GCM_256 = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384")
_CBC2_256 = ("ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384")
_CBC_256 = ("ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA")
_RSA_128, _RSA_128_SHA = ("AES128-GCM-SHA256", "AES128-SHA256"), ("AES128-SHA",)
_RSA_256, _RSA_256_SHA = ("AES256-GCM-SHA384", "AES256-SHA256"), ("AES256-SHA",)

_RES = (*_GCM_128, *_GCM_256)
_PLAIN = (*_GCM_128, *_CBC2_128, *_GCM_256, *_CBC2_256)
_EXT0 = (*_GCM_128, *_CBC2_128, *_CBC_128, *_GCM_256, *_CBC2_256, *_CBC_256)
_EXT1 = (*_PLAIN, *_RSA_128, *_RSA_256)
_EXT2 = (*_EXT0, *_RSA_128, *_RSA_128_SHA, *_RSA_256, *_RSA_256_SHA)

_V13, _V12, _V11, _V10 = "TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1"
_FROM_12, _FROM_11, _FROM_10 = (_V12,), (_V12, _V11), (_V12, _V11, _V10)


def _policies() -> dict[str, TlsPolicy]:
    new = {
        "1-3": ((), ()),
        "1-2": (_FROM_12, _PLAIN),
        "1-2-Res": (_FROM_12, _RES),
        "1-2-Ext1": (_FROM_12, _EXT1),
        "1-2-Ext2": (_FROM_12, _EXT2),
        "1-1": (_FROM_11, _EXT2),
        "1-0": (_FROM_10, _EXT2),
    }
    old = {
        "FS-1-2-Res-2020-10": (_FROM_12, _RES),
        "FS-1-2-Res-2019-08": (_FROM_12, _PLAIN),
        "FS-1-2-2019-08": (_FROM_12, _EXT0),
        "FS-1-1-2019-08": (_FROM_11, _EXT0),
        "FS-2018-06": (_FROM_10, _EXT0),
        "TLS-1-2-Ext-2018-06": (_FROM_12, _EXT2),
        "TLS-1-2-2017-01": (_FROM_12, _EXT1),
        "TLS-1-1-2017-01": (_FROM_11, _EXT2),
        "2016-08": (_FROM_10, _EXT2),
        "2015-05": (_FROM_10, _EXT2),
        "TLS-1-0-2015-04": (_FROM_10, (*_EXT2, "DES-CBC3-SHA")),
    }
    found = {name: TlsPolicy(*parts) for name, parts in old.items()}
    for name, (protocols, ciphers) in new.items():
        found[f"TLS13-{name}-2021-06"] = TlsPolicy((_V13, *protocols), (*_TLS13, *ciphers))
    for name, (protocols, ciphers) in (new | {"1-2-Ext0": (_FROM_12, _EXT0)}).items():
        found[f"TLS13-{name}-FIPS-2023-04"] = TlsPolicy((_V13, *protocols), (*_TLS13_FIPS, *ciphers))
    return {f"ELBSecurityPolicy-{name}": policy for name, policy in found.items()}


POLICIES: dict[str, TlsPolicy] = _policies()
