"""Server certificates of IAM, with boto3, and that listeners hold them. AWS: IAM UploadServerCertificate, UpdateServerCertificate,
DeleteServerCertificate; elbv2 CreateListener (API References); refusals' words as they are told in public reports.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import serialization

from tests.certificates import pair
from tests.cloud.running import until
from tests.wire.terraform_runs import Terraform

pytest.importorskip("moto", reason="neighbours are not installed")
ACCOUNT, OTHER, TERRAFORM = "333355557777", "333355558888", "333355559999"


def refused(call: Any, **params: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def kill_daemon(cloud: Any) -> None:
    old = cloud.process("daemon")
    os.kill(old, signal.SIGKILL)
    until(lambda: cloud.process("daemon") != old)


@pytest.fixture
def iam(simulated_cloud: Any) -> Any:
    client = simulated_cloud.client("iam", account=ACCOUNT)
    yield client
    for one in client.list_server_certificates()["ServerCertificateMetadataList"]:
        client.delete_server_certificate(ServerCertificateName=one["ServerCertificateName"])


def upload(iam: Any, name: str, domain: str = "", **more: Any) -> dict[str, Any]:
    body, key = pair(domain or f"{name}.example.com")
    given = {"ServerCertificateName": name, "CertificateBody": body, "PrivateKey": key, **more}
    return dict(iam.upload_server_certificate(**given)["ServerCertificateMetadata"])


def test_a_certificate_has_an_id_dates_and_tags_of_its_own(simulated_cloud: Any, iam: Any) -> None:
    tags = [{"Key": "stage", "Value": "test"}]
    body, key = pair("one.example.com")
    given = {"CertificateBody": body, "PrivateKey": key, "Path": "/front/", "Tags": tags}
    one = iam.upload_server_certificate(ServerCertificateName="one", **given)["ServerCertificateMetadata"]
    two = upload(iam, "two")
    assert one["Arn"] == f"arn:aws:iam::{ACCOUNT}:server-certificate/front/one"
    assert one["ServerCertificateId"].startswith("ASCA")
    assert len(one["ServerCertificateId"]) == 21
    assert one["ServerCertificateId"] != two["ServerCertificateId"]
    assert one["Expiration"] == dt.datetime(2037, 1, 2, tzinfo=dt.UTC)
    assert abs(dt.datetime.now(dt.UTC) - one["UploadDate"]) < dt.timedelta(minutes=5)
    kill_daemon(simulated_cloud)
    found = iam.get_server_certificate(ServerCertificateName="one")["ServerCertificate"]
    assert (found["ServerCertificateMetadata"], found["CertificateBody"], found["Tags"]) == (one, body.strip(), tags)
    assert iam.list_server_certificates(PathPrefix="/front")["ServerCertificateMetadataList"] == [one]
    first = iam.list_server_certificates(MaxItems=1)
    assert (first["ServerCertificateMetadataList"], first["IsTruncated"]) == ([one], True)
    rest = iam.list_server_certificates(Marker=first["Marker"])
    assert (rest["ServerCertificateMetadataList"], rest["IsTruncated"]) == ([two], False)
    iam.tag_server_certificate(ServerCertificateName="one", Tags=[{"Key": "a", "Value": "b"}])
    iam.untag_server_certificate(ServerCertificateName="one", TagKeys=["stage"])
    assert iam.list_server_certificate_tags(ServerCertificateName="one")["Tags"] == [{"Key": "a", "Value": "b"}]


def test_a_certificate_is_renamed_and_stays_what_it_is(simulated_cloud: Any, iam: Any) -> None:
    old, other = upload(iam, "old", Tags=[{"Key": "a", "Value": "b"}]), upload(iam, "other")
    iam.update_server_certificate(ServerCertificateName="old", NewServerCertificateName="new", NewPath="/moved/")
    kill_daemon(simulated_cloud)
    new = iam.get_server_certificate(ServerCertificateName="new")["ServerCertificate"]
    changed = {"ServerCertificateName": "new", "Path": "/moved/"}
    changed["Arn"] = f"arn:aws:iam::{ACCOUNT}:server-certificate/moved/new"
    assert new["ServerCertificateMetadata"] == old | changed
    assert new["Tags"] == [{"Key": "a", "Value": "b"}]
    rename, gone = iam.update_server_certificate, "The Server Certificate with name old cannot be found."
    assert refused(rename, ServerCertificateName="old", NewPath="/") == ("NoSuchEntity", gone, 404)
    taken = "The Server Certificate with name other already exists."
    wanted = {"ServerCertificateName": "new", "NewServerCertificateName": other["ServerCertificateName"]}
    assert refused(rename, **wanted) == ("EntityAlreadyExists", taken, 409)


def test_what_is_no_certificate_is_not_taken(iam: Any) -> None:
    (body, key), (other, _) = pair("a.example.com"), pair("b.example.com")
    loaded = serialization.load_pem_private_key(key.encode(), None)
    locked = loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    ).decode()
    unreadable = "Unable to parse certificate. Please ensure the certificate is in PEM format."
    chain = "Unable to validate certificate chain. The certificate chain must start with the immediate signing certificate, followed by any"
    chain += " intermediaries in order. The index within the chain of the invalid certificate is: 0"
    for given, code, text in [
        ({"CertificateBody": "certbody"}, "MalformedCertificate", unreadable),
        ({"CertificateBody": body + other}, "MalformedCertificate", unreadable),
        ({"PrivateKey": "privatekey"}, "MalformedCertificate", "Private Key was in an unrecognized format."),
        ({"PrivateKey": locked}, "MalformedCertificate", "Unable to parse key; the body is encrypted."),
        ({"CertificateChain": "chain"}, "MalformedCertificate", unreadable),
        ({"CertificateChain": other}, "MalformedCertificate", chain),
        ({"ServerCertificateName": "a/b"}, "ValidationError", None),
        ({"ServerCertificateName": "a\nb"}, "ValidationError", None),
        ({"Path": "/a b/"}, "ValidationError", None),
        ({"CertificateChain": body * 20_000}, "ValidationError", None),
        ({"CertificateBody": other}, "KeyPairMismatch", "Public key certificate and private key doesn't match."),
    ]:
        wanted = {"ServerCertificateName": "bad", "CertificateBody": body, "PrivateKey": key} | given
        told = refused(iam.upload_server_certificate, **wanted)
        assert (told[0], told[1] if text else None, told[2]) == (code, text, 400)
    upload(iam, "good")
    text = "The Server Certificate with name good already exists."
    wanted = {"ServerCertificateName": "good", "CertificateBody": body, "PrivateKey": key}
    assert refused(iam.upload_server_certificate, **wanted) == ("EntityAlreadyExists", text, 409)
    for number in range(19):
        iam.upload_server_certificate(**wanted | {"ServerCertificateName": f"n{number}"})
    text = "Cannot exceed quota for ServerCertificatesPerAccount: 20"
    wanted["ServerCertificateName"] = "more"
    assert refused(iam.upload_server_certificate, **wanted) == ("LimitExceeded", text, 409)


def test_a_certificate_that_listeners_have_is_not_deleted(simulated_cloud: Any, iam: Any) -> None:
    """Found by its id, so also when it was renamed, in any region, and after a restart."""
    region = "eu-west-1"
    ec2, elb = (simulated_cloud.client(name, account=ACCOUNT, region=region) for name in ("ec2", "elbv2"))
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"{region}{zone}")["Subnet"][
            "SubnetId"
        ]
        for i, zone in enumerate("ab")
    ]
    balancer = elb.create_load_balancer(Name="web", Subnets=subnets, Scheme="internal")["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    made, extra = upload(iam, "used"), upload(iam, "extra", Path="/a/b/")
    answer = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]
    listener = {"LoadBalancerArn": arn, "Protocol": "HTTPS", "Port": 443, "DefaultActions": answer}
    nowhere = made["Arn"].replace(ACCOUNT, OTHER)
    for wrong in (nowhere, f"{made['Arn']}x", extra["Arn"].replace("/a/b/", "/a/"), "arn:aws:iam::", "arn:aws:iam"):
        wanted = listener | {"Certificates": [{"CertificateArn": wrong}]}
        assert refused(elb.create_listener, **wanted)[:2] == ("CertificateNotFound", f"Certificate '{wrong}' not found")
    listener["Certificates"] = [{"CertificateArn": made["Arn"]}]
    shown = elb.create_listener(**listener)["Listeners"][0]
    assert shown["Certificates"] == [{"CertificateArn": made["Arn"]}]
    assert elb.create_listener(**listener)["Listeners"] == [shown], "the same again is the same"
    held = {"ListenerArn": shown["ListenerArn"], "Certificates": [{"CertificateArn": extra["Arn"]}]}
    elb.add_listener_certificates(**held)
    iam.update_server_certificate(ServerCertificateName="used", NewServerCertificateName="renamed")
    kill_daemon(simulated_cloud)
    for name, id_ in (("renamed", made["ServerCertificateId"]), ("extra", extra["ServerCertificateId"])):
        text = f"Certificate: {id_} is currently in use by {arn}. Please remove it first before deleting it from IAM."
        assert refused(iam.delete_server_certificate, ServerCertificateName=name) == ("DeleteConflict", text, 409)
    assert refused(iam.delete_server_certificate, ServerCertificateName="none")[0] == "NoSuchEntity"
    elb.remove_listener_certificates(**held)
    iam.delete_server_certificate(ServerCertificateName="extra")
    elb.delete_load_balancer(LoadBalancerArn=arn)
    iam.delete_server_certificate(ServerCertificateName="renamed")


@pytest.mark.long
def test_terraform_tags_and_replaces_what_listeners_serve(tmp_path: Any, simulated_cloud: Any) -> None:
    """What the provider's acceptance tests of aws_lb_listener and aws_lb_listener_certificate configure."""
    (body, key), (other, other_key) = pair("site.example.com"), pair("other.example.com")
    texts = {"body": body, "key": key, "other": other, "other_key": other_key}
    place = {"endpoint": simulated_cloud.url, "access_key": TERRAFORM}
    Terraform(tmp_path, "server_certificates", **place, **texts).apply_change_destroy()
    iam = simulated_cloud.client("iam", account=TERRAFORM)
    assert iam.list_server_certificates()["ServerCertificateMetadataList"] == []
