"""Terraform with the real AWS provider: certificates asked for and waited for, imported, looked up, changed, destroyed.

Needs the `terraform` binary and a provider mirror: a folder named `tf-plugins`, or GUREUM_TF_PLUGINS.
"""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.wire.terraform_runs import Terraform
from tests.wire.test_certificates import Authority, key_pem, named, pem

ACCOUNT = "333344446666"


@pytest.mark.long
def test_apply_change_and_destroy_leave_nothing_to_do(tmp_path, simulated_cloud):
    root, key = Authority(), ec.generate_private_key(ec.SECP256R1())
    Terraform(
        tmp_path,
        "certificates",
        port=str(simulated_cloud.identity["aws_port"]),
        access_key=ACCOUNT,
        certificate=pem(root.sign(key.public_key(), named("i.example.com"), "i.example.com")).decode(),
        private_key=key_pem(key).decode(),
        chain=pem(root.certificate).decode(),
    ).apply_change_destroy()
    acm = simulated_cloud.client("acm", account=ACCOUNT)
    every = {"keyTypes": ["EC_prime256v1", "RSA_2048"]}
    assert acm.list_certificates(Includes=every)["CertificateSummaryList"] == []
