"""kubectl certificate: from a key of one's own to a user of the API."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives import serialization

from tests.kube.test_certificates import KEY, signing_request

KEY_PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def test_who_is_approved_enters_with_his_certificate(kube, kubectl, tmp_path):
    kubectl("create", "-f", "-", stdin=json.dumps(signing_request("jane", org=["team"])))
    assert "Pending" in kubectl("get", "csr", "jane")
    kubectl("certificate", "approve", "jane")
    kubectl("wait", "csr/jane", "--for=jsonpath={.status.certificate}", "--timeout=30s")
    assert "Approved,Issued" in kubectl("get", "csr", "jane")
    assert "kubernetes-admin" in kubectl("describe", "csr", "jane")
    certificate, key = tmp_path / "crt", tmp_path / "key"
    certificate.write_bytes(base64.b64decode(kubectl("get", "csr", "jane", "-o", "jsonpath={.status.certificate}")))
    key.write_bytes(KEY_PEM)
    mine = (f"--client-certificate={certificate}", f"--client-key={key}")
    bare = {"KUBECONFIG": str(kube.bare_kubeconfig())}
    who = json.loads(kubectl.run("auth", "whoami", "-o", "json", *mine, **bare).stdout)["status"]["userInfo"]
    assert (who["username"], who["groups"]) == ("jane", ["team", "system:authenticated"])
    assert "is forbidden" in kubectl.run("get", "secrets", *mine, check=False, **bare).stderr
    # Another cluster has another authority.
    kube.run(kube.face.clusters.create("elsewhere"))
    other = f"--server={kube.url}/clusters/elsewhere"
    assert (
        "You must be logged in to the server" in kubectl.run("get", "secrets", other, *mine, check=False, **bare).stderr
    )
    kube.run(kube.face.clusters.delete("elsewhere"))


def test_who_is_denied_gets_none(kubectl):
    kubectl("create", "-f", "-", stdin=json.dumps(signing_request("no")))
    kubectl("certificate", "deny", "no")
    assert "Denied" in kubectl("get", "csr", "no")
    assert "already Denied" in kubectl.run("certificate", "approve", "no", check=False).stderr
