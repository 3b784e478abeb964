"""Certificate requests: asked for, approved, signed (Kubernetes, "Certificates and Certificate Signing Requests")."""

from __future__ import annotations

import asyncio
import base64
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gureum.base.clock import SystemClock
from gureum.kube.cluster import Cluster
from gureum.kube.pki import Pki
from gureum.kube.requests import User
from tests.kube.api import Api, keyring

PATH = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
JANE = User("jane", ("system:authenticated",))
KEY = ec.generate_private_key(ec.SECP256R1())
CLIENT = ["digital signature", "client auth"]


def api_with_keys(tmp_path):
    api, pki = Api(), Pki(tmp_path / "pki", None)
    api.cluster = Cluster(
        "default", api.store, keyring(api.folder), SystemClock(), token_key=pki.token_key, sign=pki.sign_request
    )
    return api, pki


def signing_request(
    name="r", cn="jane", org=(), signer="kube-apiserver-client", usages=CLIENT, alternatives=(), **spec
):
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in org]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem).decode(), "signerName": f"kubernetes.io/{signer}", "usages": list(usages), **spec,
        },
    }  # fmt: skip


def decided(one, kind="Approved"):
    condition = {"type": kind, "status": "True", "reason": "Test", "message": "by a test"}
    return {**one, "status": {**one.get("status", {}), "conditions": [condition]}}


async def settled(api, name="r"):
    """The request after the controller has worked on it."""
    for _ in range(1000):
        one = await api.ok("GET", f"{PATH}/{name}")
        status = one.get("status") or {}
        if "certificate" in status or any(each["type"] == "Failed" for each in status.get("conditions", ())):
            return one
        await asyncio.sleep(0.01)
    raise AssertionError(one)


def certificate_of(one):
    return x509.load_pem_x509_certificate(base64.b64decode(one["status"]["certificate"]))


def test_an_approved_request_is_signed_for_who_asked(tmp_path):
    api, pki = api_with_keys(tmp_path)

    async def run():
        async with api:
            asked = signing_request(org=["team"], expirationSeconds=3600, username="somebody else")
            one = await api.ok("POST", PATH, asked)
            assert one["spec"]["username"] == "kubernetes-admin"
            one = await api.ok("PUT", f"{PATH}/r/approval", decided(one))
            certificate = certificate_of(await settled(api))
            certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(pki.authority))
            assert certificate.subject.rfc4514_string() == "CN=jane,O=team"
            lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            assert lifetime.total_seconds() == 3600 + 300
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
            assert usage.digital_signature
            assert not usage.key_cert_sign

    asyncio.run(run())


def test_only_approvers_approve_and_only_signers_sign(tmp_path):
    api, _ = api_with_keys(tmp_path)
    rbac = "/apis/rbac.authorization.k8s.io/v1"

    async def run():
        async with api:
            rules = [{
                "apiGroups": ["certificates.k8s.io"], "verbs": ["get", "update"],
                "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"],
            }]  # fmt: skip
            await api.ok("POST", f"{rbac}/clusterroles", {"metadata": {"name": "half"}, "rules": rules})
            subjects = [{"kind": "User", "name": "jane"}]
            for role in ("half", "system:certificates.k8s.io:kube-apiserver-client-approver"):
                one = await api.ok("POST", PATH, signing_request(f"for-{role[:4]}"))
                status, answer = await api.call("PUT", f"{PATH}/for-{role[:4]}/approval", decided(one), user=JANE)
                assert status == 403
                reference = {"kind": "ClusterRole", "name": role}
                body = {"metadata": {"name": role}, "roleRef": reference, "subjects": subjects}
                await api.ok("POST", f"{rbac}/clusterrolebindings", body)
            assert answer["message"] == (
                'certificatesigningrequests.certificates.k8s.io "for-syst" is forbidden: '
                'user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"'
            )
            await api.ok("PUT", f"{PATH}/for-syst/approval", decided(one), user=JANE)
            forged = {**one, "status": {"certificate": base64.b64encode(b"x").decode()}}
            del forged["metadata"]["resourceVersion"]
            status, answer = await api.call("PUT", f"{PATH}/for-syst/status", forged, user=JANE)
            assert (status, "not permitted to sign" in answer["message"]) == (403, True)

    asyncio.run(run())


def test_nobody_becomes_a_master_by_a_certificate(tmp_path):
    api, _ = api_with_keys(tmp_path)

    async def run():
        async with api:
            status, answer = await api.call("POST", PATH, signing_request(org=["system:masters"]))
            assert status == 403
            assert answer["message"].endswith(
                "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
            )

    asyncio.run(run())


def test_a_decision_stays_and_is_one(tmp_path):
    api, _ = api_with_keys(tmp_path)

    async def run():
        async with api:
            one = await api.ok("POST", PATH, signing_request(signer="kubelet-serving"))
            denied = await api.ok("PUT", f"{PATH}/r/approval", decided(one, "Denied"))
            both = {
                **denied,
                "status": {"conditions": [*denied["status"]["conditions"], *decided(one)["status"]["conditions"]]},
            }
            for wanted, text in (
                (both, 'status.conditions[1].type: Invalid value: "Approved": Approved and Denied conditions are mutually exclusive'),
                ({**denied, "status": {}}, 'status.conditions: Forbidden: updates may not remove a condition of type "Denied"'),
            ):  # fmt: skip
                status, answer = await api.call("PUT", f"{PATH}/r/approval", wanted)
                assert status == 422
                assert text in answer["message"]

    asyncio.run(run())


def test_kubelets_ask_as_nodes(tmp_path):
    api, _ = api_with_keys(tmp_path)
    node, names = "system:node:n1", [x509.DNSName("n1"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]
    serving = {"signer": "kubelet-serving", "usages": ["digital signature", "server auth"]}

    async def run():
        async with api:
            for name, asked, text in (
                ("a", {"cn": "n1", "org": ["system:nodes"], "alternatives": names, **serving},
                 "subject common name does not begin with system:node:"),
                ("b", {"cn": node, "org": ["other"], "alternatives": names, **serving}, "subject organization is not system:nodes"),
                ("c", {"cn": node, "org": ["system:nodes"], **serving}, "DNS or IP subjectAltName is required"),
                ("d", {"cn": node, "org": ["system:nodes"], "alternatives": names, "signer": "kube-apiserver-client-kubelet"},
                 "DNS subjectAltNames are not allowed"),
                ("e", {"usages": ["server auth"]}, "invalid usage for client certificate: server auth"),
                ("f", {"cn": node, "org": ["system:nodes"], "alternatives": names, **serving}, ""),
            ):  # fmt: skip
                one = await api.ok("POST", PATH, signing_request(name, **asked))
                await api.ok("PUT", f"{PATH}/{name}/approval", decided(one))
                one = await settled(api, name)
                failed = [each for each in one["status"]["conditions"] if each["type"] == "Failed"]
                assert [each["message"] for each in failed] == ([text] if text else [])
            found = certificate_of(one).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert list(found) == names

    asyncio.run(run())


def test_a_node_that_may_gets_its_own_certificate_by_itself(tmp_path):
    api, _ = api_with_keys(tmp_path)

    async def run():
        async with api:
            reference = {
                "kind": "ClusterRole",
                "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            }
            subjects = [{"kind": "Group", "name": "system:nodes"}]
            for role in ("system:node-bootstrapper", reference["name"]):
                body = {
                    "metadata": {"name": role},
                    "roleRef": {"kind": "ClusterRole", "name": role},
                    "subjects": subjects,
                }
                await api.ok("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body)
            user = User("system:node:n1", ("system:nodes", "system:authenticated"))
            asked = signing_request(cn=user.name, org=["system:nodes"], signer="kube-apiserver-client-kubelet")
            await api.ok("POST", PATH, asked, user=user)
            assert certificate_of(await settled(api)).subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"

    asyncio.run(run())


def test_what_is_no_request_is_refused(tmp_path):
    api, _ = api_with_keys(tmp_path)

    async def run():
        async with api:
            asked = signing_request(usages=["client auth", "client auth", "magic"], expirationSeconds=5)
            asked["spec"] |= {
                "request": base64.b64encode(b"hello").decode(),
                "signerName": "kubernetes.io/legacy-unknown",
            }
            status, answer = await api.call("POST", PATH, asked)
            assert status == 422
            assert [one["field"] for one in answer["details"]["causes"]] == [
                "spec.request", "spec.usages[1]", "spec.usages[2]", "spec.signerName", "spec.expirationSeconds",
            ]  # fmt: skip
            good = signing_request()
            spoiled = base64.b64decode(good["spec"]["request"]).splitlines()
            spoiled[-2] = spoiled[-2][:-8] + b"AAAAAAA="
            good["spec"]["request"] = base64.b64encode(b"\n".join(spoiled)).decode()
            assert (await api.call("POST", PATH, good))[0] == 422

    asyncio.run(run())
