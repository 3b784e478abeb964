"""ACM with boto3: what is imported is checked and comes back, what is requested is issued by the home's own authority. Simulated: no machine runs,
the authority is real.

Rules and errors: AWS's acm API reference and "prerequisites for importing certificates".
"""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from tests.cloud.running import Cloud

accounts = itertools.count(555500000000)
WAIT_S = 20.0
DAY = dt.timedelta(days=1)
HOME = ("gureum", "SHA256WITHECDSA")


@pytest.fixture
def acm(simulated_cloud: Cloud) -> Any:
    return simulated_cloud.client("acm", account=str(next(accounts)))


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, name: str = "Test CA", parent: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named(name)
        self.certificate = (parent or self).sign(self.key.public_key(), self.name, ca=True)

    def sign(self, key: Any, subject: x509.Name, *names: str, ca: bool = False, **when: Any) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(0x0A1B2C)
            .not_valid_before(when.get("start", now - DAY))
            .not_valid_after(when.get("end", now + 90 * DAY))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), False)
            usage = dict.fromkeys(
                ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
            )
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=True, key_encipherment=True, encipher_only=False, decipher_only=False, **usage
                ),
                critical=True,
            )
        return builder.sign(self.key, hashes.SHA256())


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def leaf(root: Authority, rsa_key: rsa.RSAPrivateKey) -> x509.Certificate:
    return root.sign(rsa_key.public_key(), named("www.example.com"), "www.example.com", "example.com")


def issued(acm: Any, arn: str, status: str = "ISSUED") -> dict[str, Any]:
    """The certificate when it has that status."""
    deadline = time.monotonic() + WAIT_S
    while (shown := acm.describe_certificate(CertificateArn=arn)["Certificate"])["Status"] != status:
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)
    return dict(shown)


def refused(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


# --- import ---


def test_imported_certificate_is_described_and_comes_back(
    acm: Any, root: Authority, leaf: x509.Certificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    arn = acm.import_certificate(
        Certificate=pem(leaf),
        PrivateKey=key_pem(rsa_key),
        CertificateChain=pem(root.certificate),
        Tags=[{"Key": "env", "Value": "test"}],
    )["CertificateArn"]
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert arn.startswith("arn:aws:acm:us-east-1:5555")
    wanted = {
        "DomainName": "www.example.com",
        "SubjectAlternativeNames": ["www.example.com", "example.com"],
        "Status": "ISSUED",
        "Type": "IMPORTED",
        "KeyAlgorithm": "RSA-2048",
        "SignatureAlgorithm": "SHA256WITHECDSA",
        "Subject": "CN=www.example.com",
        "Issuer": "Test CA",
        "Serial": "0a:1b:2c",
        "InUseBy": [],
        "RenewalEligibility": "INELIGIBLE",
        "KeyUsages": [{"Name": "DIGITAL_SIGNATURE"}, {"Name": "KEY_ENCIPHERMENT"}],
        "ExtendedKeyUsages": [{"Name": "TLS_WEB_SERVER_AUTHENTICATION", "OID": "1.3.6.1.5.5.7.3.1"}],
        "DomainValidationOptions": [{"DomainName": "www.example.com"}, {"DomainName": "example.com"}],
    }
    assert {key: shown[key] for key in wanted} == wanted
    assert shown["NotAfter"] == leaf.not_valid_after_utc
    back = acm.get_certificate(CertificateArn=arn)
    assert back["Certificate"].encode() == pem(leaf)
    assert back["CertificateChain"].encode() == pem(root.certificate)
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "env", "Value": "test"}]


def test_a_subject_is_told_in_the_certificates_order(acm: Any, root: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [(NameOID.COUNTRY_NAME, "AU"), (NameOID.ORGANIZATION_NAME, "A, B"), (NameOID.COMMON_NAME, "s.example.com")]
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
    body = pem(root.sign(key.public_key(), subject))
    arn = acm.import_certificate(Certificate=body, PrivateKey=key_pem(key))["CertificateArn"]
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert (shown["Subject"], shown["DomainName"]) == (r"C=AU,O=A\, B,CN=s.example.com", "s.example.com")


def test_a_certificate_that_does_not_say_what_it_is_for_is_for_any_use(acm: Any, root: Authority) -> None:
    """Without the two extensions AWS tells ANY and NONE."""
    key = ec.generate_private_key(ec.SECP256R1())
    body = pem(root.sign(key.public_key(), named("any.example.com")))
    arn = acm.import_certificate(Certificate=body, PrivateKey=key_pem(key))["CertificateArn"]
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert (shown["KeyUsages"], shown["ExtendedKeyUsages"]) == ([{"Name": "ANY"}], [{"Name": "NONE"}])
    wanted = {"keyTypes": ["EC_prime256v1"], "extendedKeyUsage": ["NONE"]}
    (listed,) = acm.list_certificates(Includes=wanted)["CertificateSummaryList"]
    assert (listed["KeyUsages"], listed["ExtendedKeyUsages"]) == (["ANY"], ["NONE"])


def test_what_does_not_belong_together_is_refused(
    acm: Any, root: Authority, leaf: x509.Certificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    now = dt.datetime.now(dt.UTC)
    key, good = key_pem(rsa_key), pem(leaf)
    other = key_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    expired = pem(root.sign(rsa_key.public_key(), named("a.example.com"), start=now - 9 * DAY, end=now - DAY))
    early = pem(root.sign(rsa_key.public_key(), named("a.example.com"), start=now + DAY))
    odd_key = ed25519.Ed25519PrivateKey.generate()
    odd = pem(root.sign(odd_key.public_key(), named("a.example.com")))
    for body, private, chain, words in [
        (b"nonsense", key, None, "The certificate is not PEM-encoded or is not valid."),
        (good + good, key, None, "more than one certificate"),
        (good, b"nonsense", None, "The private key is not PEM-encoded or is not valid."),
        (good, key_pem(rsa_key, b"secret"), None, "encrypted"),
        (good, other, None, "does not match"),
        (good, key, b"nonsense", "The certificate chain is not PEM-encoded or is not valid."),
        (
            good,
            key,
            pem(Authority("Another").certificate),
            "Could not validate the certificate with the certificate chain.",
        ),
        (expired, key, None, "expired"),
        (early, key, None, "not in effect yet"),
        (odd, key_pem(odd_key), None, "The private key is not supported."),
        (good, key + b"#" * 5120, None, "larger than 5120"),
    ]:
        params = {"Certificate": body, "PrivateKey": private} | ({"CertificateChain": chain} if chain else {})
        code, message = refused(acm.import_certificate, **params)
        assert code == "ValidationException", words
        assert words in message
    assert acm.list_certificates()["CertificateSummaryList"] == []


def test_a_chain_of_several_is_checked_link_by_link(acm: Any, root: Authority) -> None:
    middle = Authority("Middle", root)
    key = ec.generate_private_key(ec.SECP384R1())
    body = pem(middle.sign(key.public_key(), named("c.example.com"), "c.example.com"))
    chain = pem(middle.certificate) + pem(root.certificate)
    arn = acm.import_certificate(Certificate=body, PrivateKey=key_pem(key), CertificateChain=chain)["CertificateArn"]
    assert acm.describe_certificate(CertificateArn=arn)["Certificate"]["KeyAlgorithm"] == "EC-secp384r1"
    swapped = pem(root.certificate) + pem(middle.certificate)
    code, _ = refused(acm.import_certificate, Certificate=body, PrivateKey=key_pem(key), CertificateChain=swapped)
    assert code == "ValidationException"


def test_import_again_keeps_the_arn(acm: Any, root: Authority, leaf: x509.Certificate, rsa_key: Any) -> None:
    arn = acm.import_certificate(Certificate=pem(leaf), PrivateKey=key_pem(rsa_key))["CertificateArn"]
    key = rsa.generate_private_key(65537, 2048)
    newer = root.sign(key.public_key(), named("www.example.com"), "www.example.com", "new.example.com")
    again = acm.import_certificate(CertificateArn=arn, Certificate=pem(newer), PrivateKey=key_pem(key))
    assert again["CertificateArn"] == arn
    assert acm.get_certificate(CertificateArn=arn)["Certificate"].encode() == pem(newer)
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert shown["SubjectAlternativeNames"] == ["www.example.com", "new.example.com"]
    tags = [{"Key": "a", "Value": "b"}]
    params = {"CertificateArn": arn, "Certificate": pem(newer), "PrivateKey": key_pem(key), "Tags": tags}
    assert refused(acm.import_certificate, **params)[0] == "ValidationException"
    asked = acm.request_certificate(DomainName="x.example.com")["CertificateArn"]
    params = {"CertificateArn": asked, "Certificate": pem(newer), "PrivateKey": key_pem(key)}
    assert refused(acm.import_certificate, **params)[0] == "ValidationException"


def test_what_may_not_take_an_imported_certificates_place(
    acm: Any, root: Authority, leaf: x509.Certificate, rsa_key: Any
) -> None:
    """AWS: acm user guide, "Reimport a certificate": key type and size, all names, and usages stay."""
    arn = acm.import_certificate(Certificate=pem(leaf), PrivateKey=key_pem(rsa_key))["CertificateArn"]
    name, nobody = named("www.example.com"), x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ACME")])
    other_type, other_size = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 1024)
    cases = [
        (other_type, root.sign(other_type.public_key(), name, "www.example.com"), "key type and size"),
        (other_size, root.sign(other_size.public_key(), name, "www.example.com"), "key type and size"),
        (rsa_key, root.sign(rsa_key.public_key(), nobody), "all of the domain names"),
        (rsa_key, root.sign(rsa_key.public_key(), name), "existing Key Usage values: DIGITAL_SIGNATURE"),
    ]
    for key, certificate, words in cases:
        wanted = {"CertificateArn": arn, "Certificate": pem(certificate), "PrivateKey": key_pem(key)}
        code, text = refused(acm.import_certificate, **wanted)
        assert code == "ValidationException"
        assert words in text
    assert acm.get_certificate(CertificateArn=arn)["Certificate"].encode() == pem(leaf)


def openssl(folder: Path, *arguments: str) -> None:
    """Which signs with what the library does not sign with any more."""
    subprocess.run(
        ["openssl", *arguments], cwd=folder, env={"OPENSSL_CONF": "/dev/null"}, check=True, capture_output=True
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_certificate_that_no_proxy_would_load_is_served_by_none(
    simulated_cloud: Cloud, root: Authority, leaf: x509.Certificate, rsa_key: Any, tmp_path: Path
) -> None:
    """AWS: elbv2 UnsupportedCertificate, "must have … a supported signature, and a supported key size". Else the load balancer would take no
    change any more."""
    account = str(next(accounts))
    acm, ec2, elb = (simulated_cloud.client(name, account=account) for name in ("acm", "ec2", "elbv2"))
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"][:2]]
    balancer = elb.create_load_balancer(Name="lb", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    listener = {"LoadBalancerArn": balancer, "Protocol": "HTTPS", "Port": 443}
    listener["DefaultActions"] = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]
    for bits, name in (("2048", "ca"), ("1024", "small")):
        new = ("-newkey", f"rsa:{bits}", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        openssl(tmp_path, "req", "-x509", *new, "-subj", f"/CN={name}", "-days", "2")
    (tmp_path / "key").write_bytes(key_pem(rsa_key))
    openssl(tmp_path, "req", "-new", "-key", "key", "-out", "request", "-subj", "/CN=www.example.com")
    for digest, name in (("-sha1", "ca"), ("-md5", "ca"), ("-sha256", "small")):
        signer = ("-CA", f"{name}.pem", "-CAkey", f"{name}.key", "-CAcreateserial", "-days", "2")
        openssl(tmp_path, "x509", "-req", "-in", "request", "-out", "leaf.pem", digest, *signer)
        chain = {"CertificateChain": (tmp_path / "small.pem").read_bytes()} if name == "small" else {}
        given = {"Certificate": (tmp_path / "leaf.pem").read_bytes(), "PrivateKey": key_pem(rsa_key), **chain}
        weak = acm.import_certificate(**given)["CertificateArn"]
        code, text = refused(elb.create_listener, **listener, Certificates=[{"CertificateArn": weak}])
        assert (digest, code) == (digest, "UnsupportedCertificate")
        assert "must have a fully-qualified domain name, a supported signature, and a supported key size" in text
        good = acm.import_certificate(Certificate=pem(leaf), PrivateKey=key_pem(rsa_key))["CertificateArn"]
        code, text = refused(acm.import_certificate, CertificateArn=good, **given)
        assert code == "ValidationException"
        assert "not supported" in text


def test_usages_that_authorities_stopped_to_write_may_go(acm: Any, root: Authority) -> None:
    """The same page's exceptions: keyEncipherment of ECDSA keys, and clientAuth."""
    key = ec.generate_private_key(ec.SECP256R1())
    older = root.sign(key.public_key(), named("a.example.com"), "a.example.com")
    arn = acm.import_certificate(Certificate=pem(older), PrivateKey=key_pem(key))["CertificateArn"]
    now = dt.datetime.now(dt.UTC)
    usages = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"],
        False,
    )
    newer = (
        x509.CertificateBuilder(named("Test CA"), named("a.example.com"), key.public_key(), 7, now - DAY, now + DAY)
        .add_extension(x509.ExtendedKeyUsage([x509.OID_SERVER_AUTH]), False)
        .add_extension(x509.KeyUsage(digital_signature=True, encipher_only=False, decipher_only=False, **usages), True)
        .sign(root.key, hashes.SHA256())
    )
    acm.import_certificate(CertificateArn=arn, Certificate=pem(newer), PrivateKey=key_pem(key))
    shown = acm.describe_certificate(CertificateArn=arn)["Certificate"]
    assert [one["Name"] for one in shown["KeyUsages"]] == ["DIGITAL_SIGNATURE"]


# --- request ---


def test_requested_certificate_is_issued_for_its_names(acm: Any) -> None:
    arn = acm.request_certificate(
        DomainName="Shop.Example.com",
        SubjectAlternativeNames=["*.shop.example.com", "shop.example.com"],
        ValidationMethod="DNS",
        KeyAlgorithm="EC_prime256v1",
    )["CertificateArn"]
    shown = issued(acm, arn)
    assert (shown["Type"], shown["DomainName"]) == ("AMAZON_ISSUED", "shop.example.com")
    assert shown["SubjectAlternativeNames"] == ["shop.example.com", "*.shop.example.com"]
    assert (shown["Issuer"], shown["SignatureAlgorithm"]) == HOME
    first, wild = shown["DomainValidationOptions"]
    assert {first["ValidationStatus"], wild["ValidationStatus"]} == {"SUCCESS"}
    assert first["ResourceRecord"]["Type"] == "CNAME"
    assert first["ResourceRecord"]["Name"].endswith(".shop.example.com.")
    assert first["ResourceRecord"]["Value"].endswith(".acm-validations.aws.")
    assert first["ResourceRecord"] == wild["ResourceRecord"], "AWS: the wildcard has the same record"
    back = acm.get_certificate(CertificateArn=arn)
    certificate = x509.load_pem_x509_certificate(back["Certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.example.com", "*.shop.example.com"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(back["CertificateChain"].encode()))
    assert dt.timedelta(days=394) < certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) < dt.timedelta(days=396)


def test_key_algorithms_of_requests(acm: Any) -> None:
    for algorithm, told in (("RSA_2048", "RSA-2048"), ("EC_secp384r1", "EC-secp384r1")):
        arn = acm.request_certificate(DomainName="k.example.com", KeyAlgorithm=algorithm)["CertificateArn"]
        assert issued(acm, arn)["KeyAlgorithm"] == told, "as AWS answers, not as it is asked"
        (listed,) = acm.list_certificates(Includes={"keyTypes": [algorithm]})["CertificateSummaryList"]
        assert (listed["CertificateArn"], listed["KeyAlgorithm"]) == (arn, told)
        body = acm.get_certificate(CertificateArn=arn)["Certificate"]
        key: Any = x509.load_pem_x509_certificate(body.encode()).public_key()
        assert key.key_size == {"RSA_2048": 2048, "EC_secp384r1": 384}[algorithm]
    params = {"DomainName": "k.example.com", "KeyAlgorithm": "RSA_4096"}
    assert refused(acm.request_certificate, **params)[0] == "InvalidParameterException"


def test_a_certificate_has_ten_names_and_no_more(acm: Any) -> None:
    """Counted once each, the domain among them; Terraform's users meet the words (terraform-provider-aws, issue 35825)."""
    names = [f"n{i}.example.com" for i in range(10)]
    acm.request_certificate(DomainName=names[0], SubjectAlternativeNames=names)
    params = {"DomainName": "one.example.com", "SubjectAlternativeNames": names}
    assert refused(acm.request_certificate, **params) == (
        "LimitExceededException",
        "Certificate has too many domains.",
    )


def test_validation_by_mail_shows_the_mailboxes(acm: Any) -> None:
    arn = acm.request_certificate(
        DomainName="a.example.com",
        DomainValidationOptions=[{"DomainName": "a.example.com", "ValidationDomain": "example.com"}],
    )["CertificateArn"]
    (shown,) = issued(acm, arn)["DomainValidationOptions"]
    assert (shown["ValidationMethod"], shown["ValidationDomain"]) == ("EMAIL", "example.com")
    assert "admin@example.com" in shown["ValidationEmails"]
    acm.update_certificate_options(CertificateArn=arn, Options={"ValidationMethod": "DNS"})
    (shown,) = issued(acm, arn)["DomainValidationOptions"]
    assert shown["ValidationMethod"] == "DNS"
    wrong = [{"DomainName": "a.example.com", "ValidationDomain": "b.example.com"}]
    code, _ = refused(acm.request_certificate, DomainName="a.example.com", DomainValidationOptions=wrong)
    assert code == "InvalidDomainValidationOptionsException"


def test_name_that_is_somebodys_in_the_world_fails(acm: Any) -> None:
    """The home's authority may not speak for it (docs/decisions/0032)."""
    arn = acm.request_certificate(DomainName="www.some-bank.com", ValidationMethod="DNS")["CertificateArn"]
    shown = issued(acm, arn, "FAILED")
    assert shown["FailureReason"] == "DOMAIN_NOT_ALLOWED"
    assert (shown["Issuer"], shown["SignatureAlgorithm"]) == HOME, "told before it is issued, as on AWS"
    assert shown["DomainValidationOptions"][0]["ValidationStatus"] == "FAILED"
    assert refused(acm.get_certificate, CertificateArn=arn)[0] == "ValidationException"
    acm.delete_certificate(CertificateArn=arn)


@pytest.mark.parametrize(
    "names", [("-bad.example.com",), ("localhost",), ("a.*.example.com",), ("a.example.com", "b..example.com")]
)
def test_what_is_no_domain_name_is_not_requested(acm: Any, names: tuple[str, ...]) -> None:
    """The model's DomainNameString."""
    more = {"SubjectAlternativeNames": list(names[1:])} if names[1:] else {}
    before = acm.list_certificates()
    with pytest.raises(ClientError, match=r"ValidationException.*Member must satisfy regular expression pattern"):
        acm.request_certificate(DomainName=names[0], **more)
    assert acm.list_certificates()["CertificateSummaryList"] == before["CertificateSummaryList"]


def test_same_token_within_an_hour_is_the_same_certificate(acm: Any) -> None:
    params = {"DomainName": "t.example.com", "IdempotencyToken": "one"}
    arn = acm.request_certificate(**params)["CertificateArn"]
    assert acm.request_certificate(**params)["CertificateArn"] == arn
    assert acm.request_certificate(**params | {"IdempotencyToken": "two"})["CertificateArn"] != arn
    assert acm.request_certificate(DomainName="t.example.com")["CertificateArn"] != arn


def test_when_expiry_is_told_is_kept_and_a_token_counts_once(acm: Any) -> None:
    assert acm.get_account_configuration()["ExpiryEvents"] == {"DaysBeforeExpiry": 45}
    acm.put_account_configuration(ExpiryEvents={"DaysBeforeExpiry": 30}, IdempotencyToken="one")
    acm.put_account_configuration(ExpiryEvents={"DaysBeforeExpiry": 60}, IdempotencyToken="one")
    assert acm.get_account_configuration()["ExpiryEvents"] == {"DaysBeforeExpiry": 30}
    empty = refused(acm.put_account_configuration, IdempotencyToken="two")
    assert empty == ("ValidationException", "Configuration for events is empty.")


def test_what_is_not_built_says_so(acm: Any) -> None:
    authority = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/x"
    params = {"DomainName": "a.example.com", "CertificateAuthorityArn": authority}
    assert refused(acm.request_certificate, **params)[0] == "NotImplemented"
    assert refused(acm.request_certificate, DomainName="a.example.com", ManagedBy="CLOUDFRONT")[0] == "NotImplemented"
    arn = acm.request_certificate(DomainName="a.example.com")["CertificateArn"]
    params = {"CertificateArn": arn, "RevocationReason": "SUPERSEDED"}
    assert refused(acm.revoke_certificate, **params)[0] == "NotImplemented"


# --- export and renewal ---


def test_exported_key_opens_with_the_passphrase_and_is_the_certificates(acm: Any) -> None:
    arn = acm.request_certificate(
        DomainName="e.example.com", KeyAlgorithm="EC_prime256v1", Options={"Export": "ENABLED"}
    )["CertificateArn"]
    issued(acm, arn)
    assert refused(acm.renew_certificate, CertificateArn=arn)[0] == "ValidationException", "not exported yet"
    given = acm.export_certificate(CertificateArn=arn, Passphrase=b"four words or more")
    key = serialization.load_pem_private_key(given["PrivateKey"].encode(), b"four words or more")
    certificate = x509.load_pem_x509_certificate(given["Certificate"].encode())
    assert key.public_key() == certificate.public_key()
    assert refused(acm.export_certificate, CertificateArn=arn, Passphrase=b"with #")[0] == "ValidationException"
    plain = acm.request_certificate(DomainName="f.example.com")["CertificateArn"]
    issued(acm, plain)
    assert refused(acm.export_certificate, CertificateArn=plain, Passphrase=b"1234")[0] == "ValidationException"


def test_renewed_certificate_keeps_its_arn_and_has_a_new_key(acm: Any) -> None:
    arn = acm.request_certificate(
        DomainName="r.example.com", KeyAlgorithm="EC_prime256v1", Options={"Export": "ENABLED"}
    )["CertificateArn"]
    first = issued(acm, arn)
    acm.export_certificate(CertificateArn=arn, Passphrase=b"1234")
    assert issued(acm, arn)["RenewalEligibility"] == "ELIGIBLE"
    acm.renew_certificate(CertificateArn=arn)
    deadline = time.monotonic() + WAIT_S
    while (shown := issued(acm, arn)).get("RenewalSummary", {}).get("RenewalStatus") != "SUCCESS":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert shown["Serial"] != first["Serial"]
    assert shown["IssuedAt"] == first["IssuedAt"]


# --- list, tags, delete ---


def test_lists_are_filtered_as_on_aws(acm: Any, root: Authority, leaf: x509.Certificate, rsa_key: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    body = pem(root.sign(key.public_key(), named("ec.example.com")))
    by_ec = acm.import_certificate(Certificate=body, PrivateKey=key_pem(key))["CertificateArn"]
    by_rsa = acm.import_certificate(Certificate=pem(leaf), PrivateKey=key_pem(rsa_key))["CertificateArn"]
    asked = acm.request_certificate(DomainName="l.example.com")["CertificateArn"]
    issued(acm, asked)

    def listed(**params: Any) -> list[str]:
        found = acm.list_certificates(**params)["CertificateSummaryList"]
        return sorted(one["CertificateArn"] for one in found)

    assert listed() == sorted([by_rsa, asked]), "AWS: by default only RSA of 1024 and 2048 bits"
    assert listed(Includes={"keyTypes": ["EC_prime256v1"]}) == [by_ec]
    every = {"keyTypes": ["EC_prime256v1", "RSA_2048"]}
    assert listed(Includes=every) == sorted([by_ec, by_rsa, asked])
    assert listed(CertificateStatuses=["FAILED"]) == []
    assert listed(CertificateStatuses=["ISSUED"], CertificateKeyPairOrigins=["AWS_MANAGED"]) == [asked]
    assert listed(Includes={"keyUsage": ["DIGITAL_SIGNATURE"], **every}) == sorted([by_rsa, asked])
    assert listed(Includes={"extendedKeyUsage": ["TLS_WEB_CLIENT_AUTHENTICATION"], **every}) == [asked]
    assert listed(Includes={"exportOption": "ENABLED", **every}) == []
    assert refused(acm.list_certificates, SortBy="CREATED_AT")[0] == "InvalidArgsException"
    assert refused(acm.list_certificates, NextToken="nonsense")[0] == "InvalidArgsException"
    pages = acm.get_paginator("list_certificates").paginate(
        Includes=every, SortBy="CREATED_AT", SortOrder="DESCENDING", PaginationConfig={"PageSize": 1}
    )
    found = [one["CertificateArn"] for page in pages for one in page["CertificateSummaryList"]]
    assert found == [asked, by_rsa, by_ec]


def test_tags(acm: Any) -> None:
    arn = acm.request_certificate(DomainName="g.example.com", Tags=[{"Key": "a", "Value": "1"}])["CertificateArn"]
    issued(acm, arn)
    acm.add_tags_to_certificate(CertificateArn=arn, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b"}])
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [
        {"Key": "a", "Value": "2"},
        {"Key": "b", "Value": ""},
    ]
    acm.remove_tags_from_certificate(CertificateArn=arn, Tags=[{"Key": "a", "Value": "another"}, {"Key": "b"}])
    assert acm.list_tags_for_certificate(CertificateArn=arn)["Tags"] == [{"Key": "a", "Value": "2"}]
    acm.tag_resource(ResourceArn=arn, Tags=[{"Key": "c", "Value": "3"}])
    acm.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert acm.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "c", "Value": "3"}]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert refused(acm.add_tags_to_certificate, CertificateArn=arn, Tags=many)[0] == "TooManyTagsException"
    own = [{"Key": "aws:x", "Value": ""}]
    assert refused(acm.add_tags_to_certificate, CertificateArn=arn, Tags=own)[0] == "InvalidTagException"
    assert refused(acm.remove_tags_from_certificate, CertificateArn=arn, Tags=own)[0] == "InvalidTagException"
    assert refused(acm.untag_resource, ResourceArn=arn, TagKeys=["aws:x"])[0] == "ValidationException"


def test_deleted_certificate_is_not_found(acm: Any) -> None:
    arn = acm.request_certificate(DomainName="d.example.com")["CertificateArn"]
    issued(acm, arn)
    acm.delete_certificate(CertificateArn=arn)
    for call in (acm.describe_certificate, acm.get_certificate, acm.delete_certificate):
        code, message = refused(call, CertificateArn=arn)
        assert code == "ResourceNotFoundException"
        assert arn in message
    other = arn.replace("us-east-1", "eu-west-1")
    assert refused(acm.describe_certificate, CertificateArn=other)[0] == "ResourceNotFoundException"
    role = "arn:aws:acm:us-east-1:123456789012:other/1"
    assert refused(acm.describe_certificate, CertificateArn=role)[0] == "InvalidArnException"
