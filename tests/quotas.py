"""Quotas for tests that are not about quotas: one account makes what many would."""

from __future__ import annotations

ROOMY = {
    "quota_vpcs": 100,
    "quota_internet_gateways": 100,
    "quota_elastic_ips": 100,
    "quota_nat_gateways_per_zone": 50,
    "quota_elastic_ips_per_nat_gateway": 8,
}
