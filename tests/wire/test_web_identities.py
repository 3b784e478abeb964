"""Roles for whom a token vouches: of a service account of gureum's Kubernetes, and of a provider on the loopback; with signatures checked.

AWS: sts AssumeRoleWithWebIdentity; "IAM roles for service accounts" (EKS user guide); IAM user guide, "Obtain the thumbprint for an OpenID Connect
identity provider".
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.certificates import pair
from tests.cloud.running import Cloud, until
from tests.wire.conftest import _running
from tests.wire.test_identities import ACCOUNT, OTHER, SECRET, client, refusal

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE, SUBJECT = "sts.amazonaws.com", "system:serviceaccount:default:default"
THUMBPRINT = "9" * 40


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    settings = {"simulate": "true", "ephemeral": "true", "verify_signatures": "true", "secret_key": SECRET}
    yield from _running(Cloud(tmp_path_factory.mktemp("gureum"), **settings), "up", "--simulate")


def service_account_token(cloud: Cloud, audience: str = AUDIENCE, cluster: str = "") -> str:
    """As the kubelet asks for one that a pod's volume is to hold (TokenRequest)."""
    pki = cloud.home / "kube" / (f"clusters/{cluster}" if cluster else "pki")
    context = ssl.create_default_context(cafile=str(cloud.home / "kube" / "pki" / "ca.crt"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(pki / "admin.pem")
    base = f"https://127.0.0.1:{cloud.identity['kube_port']}" + (f"/clusters/{cluster}" if cluster else "")
    url = f"{base}/api/v1/namespaces/default/serviceaccounts/default/token"
    body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
    body |= {"spec": {"audiences": [audience], "expirationSeconds": 600}}
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, context=context, timeout=20) as answer:
        return str(json.load(answer)["status"]["token"])


def make_provider(cloud: Cloud, url: str, account: str = ACCOUNT, thumbprint: str = THUMBPRINT) -> str:
    iam = client(cloud, "iam", account)
    wanted = {"Url": url, "ClientIDList": [AUDIENCE], "ThumbprintList": [thumbprint]}
    return str(iam.create_open_id_connect_provider(**wanted)["OpenIDConnectProviderArn"])


def make_role(cloud: Cloud, name: str, provider: str, subject: str = SUBJECT, **more: Any) -> str:
    issuer = provider.partition("/")[2]
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": {"StringEquals": {f"{issuer}:sub": subject, f"{issuer}:aud": AUDIENCE}},
        **more,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = client(cloud, "iam", provider.split(":")[4]).create_role(RoleName=name, AssumeRolePolicyDocument=policy)
    return str(made["Role"]["Arn"])


def unsigned(cloud: Cloud) -> Any:
    config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
    return boto3.client("sts", endpoint_url=cloud.url, region_name="us-east-1", config=config)


def assume(cloud: Cloud, role: str, token: str) -> dict[str, Any]:
    wanted = {"RoleArn": role, "RoleSessionName": "pod", "WebIdentityToken": token}
    return dict(unsigned(cloud).assume_role_with_web_identity(**wanted))


def refused(cloud: Cloud, role: str, token: str) -> tuple[str, str]:
    call = unsigned(cloud).assume_role_with_web_identity
    return refusal(call, RoleArn=role, RoleSessionName="pod", WebIdentityToken=token)


@pytest.fixture(scope="module")
def provider(cloud: Cloud) -> str:
    return make_provider(cloud, ISSUER)


def encoded(content: Any) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": [AUDIENCE], "sub": SUBJECT, "iat": now, "exp": now + 600} | more


def by_cluster(cloud: Cloud, told: dict[str, Any]) -> str:
    """Signed with the key of the cluster's tokens."""
    key = serialization.load_pem_private_key((cloud.home / "kube" / "pki" / "sa.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    text = f"{encoded({'alg': 'ES256'})}.{encoded(told)}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{encoded(r.to_bytes(32) + s.to_bytes(32))}"


def as_pod(cloud: Cloud, role: str, folder: Path) -> dict[str, str]:
    """The environment of a pod's program, with its token in `folder`."""
    file = folder / "token"
    file.write_text(service_account_token(cloud))
    found = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    found |= {"AWS_ENDPOINT_URL": cloud.url, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ROLE_SESSION_NAME": "pod"}
    return found | {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "HOME": str(folder)}


def test_a_pod_is_its_role_by_the_command_line(cloud: Cloud, provider: str, tmp_path: Path) -> None:
    role = make_role(cloud, "of-the-cli", provider)
    environment = as_pod(cloud, role, tmp_path)

    def aws(*words: str) -> Any:
        command = [str(Path(sys.executable).parent / "aws"), *words, "--output", "json"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    assert aws("sts", "get-caller-identity")["Arn"].endswith(":assumed-role/of-the-cli/pod")
    token = Path(environment["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text()
    asked = ("--role-arn", role, "--role-session-name", "me", "--web-identity-token", token)
    told = aws("sts", "assume-role-with-web-identity", *asked)
    assert (told["SubjectFromWebIdentityToken"], told["Provider"]) == (SUBJECT, provider)


def test_a_pod_with_its_projected_token_is_its_role_by_stock_boto3(cloud: Cloud, provider: str, tmp_path: Path) -> None:
    role = make_role(cloud, "of-pods", provider)
    environment = as_pod(cloud, role, tmp_path)
    program = (
        "import boto3; print(boto3.client('sts').get_caller_identity()['Arn']); boto3.client('ec2').describe_vpcs()"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.strip() == f"arn:aws:sts::{ACCOUNT}:assumed-role/of-pods/pod", run.stderr


def test_the_answer_tells_who_vouched_for_whom(cloud: Cloud, provider: str) -> None:
    role = make_role(cloud, "told", provider)
    made = assume(cloud, role, service_account_token(cloud))
    assert (made["Provider"], made["Audience"], made["SubjectFromWebIdentityToken"]) == (provider, AUDIENCE, SUBJECT)
    assert made["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/told/pod"
    assert made["AssumedRoleUser"]["AssumedRoleId"].startswith("AROA")


def test_trust_policies_say_which_account_of_the_cluster(cloud: Cloud, provider: str) -> None:
    token = service_account_token(cloud)
    denied = ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    another = make_role(cloud, "of-another", provider, "system:serviceaccount:kube-system:admin")
    assert refused(cloud, another, token) == denied
    plain = {"Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole*"], "Condition": {}}
    assert refused(cloud, make_role(cloud, "of-everybody", provider, **plain), token) == denied
    assert refused(cloud, make_role(cloud, "of-aws", provider, Action=["sts:AssumeRole"]), token) == denied
    unknown = {"Condition": {"StringEquals": {f"{provider.partition('/')[2]}:email": "a@example.com"}}}
    assert refused(cloud, make_role(cloud, "of-who-has-mail", provider, **unknown), token) == denied
    assert refused(cloud, f"arn:aws:iam::{ACCOUNT}:role/nobody", token) == denied
    like = {"Condition": {"StringLike": {f"{provider.partition('/')[2]}:sub": "system:serviceaccount:default:*"}}}
    assert assume(cloud, make_role(cloud, "of-a-namespace", provider, **like), token)
    code, text = refused(cloud, f"arn:aws:iam::{OTHER}:role/of-pods", token)
    assert (code, text) == ("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {ISSUER}")


def test_tokens_that_are_not_good_are_refused_with_aws_words(cloud: Cloud, provider: str) -> None:
    role = make_role(cloud, "strict", provider)
    assert assume(cloud, role, by_cluster(cloud, claims()))
    assert refused(cloud, role, service_account_token(cloud, "another")) == (
        "InvalidIdentityToken",
        "Incorrect token audience",
    )
    old = int(time.time()) - 60
    code, text = refused(cloud, role, by_cluster(cloud, claims(exp=old)))
    assert code == "ExpiredTokenException"
    assert text.endswith(f"must be before the expiration date/time {old}")
    head, body, signature = service_account_token(cloud).split(".")
    other = encoded(json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "system:admin"})
    invalid = [
        "plain",
        "a.b.c",
        f"{head}.{other}.{signature}",
        f"{encoded({'alg': 'none'})}.{encoded(claims())}.",
        f"{encoded({'alg': 'HS256'})}.{encoded(claims())}.{encoded(b'x' * 32)}",
        f"{encoded({'alg': []})}.{encoded(claims())}.{signature}",
        f"{encoded(b'[' * 5000)}.{encoded(claims())}.{signature}",
        by_cluster(cloud, {name: value for name, value in claims().items() if name != "exp"}),
        by_cluster(cloud, claims(nbf=time.time() + 600)),
        by_cluster(cloud, claims(iss="kubernetes/serviceaccount")),
        by_cluster(cloud, claims(iss=["a"])),
        by_cluster(cloud, claims(exp=10**400)),
        by_cluster(cloud, claims(exp=True)),
        by_cluster(cloud, claims(sub=None)),
    ]
    for token in invalid:
        assert refused(cloud, role, token)[0] == "InvalidIdentityToken", token
    asked = {"RoleArn": role, "RoleSessionName": "pod", "WebIdentityToken": by_cluster(cloud, claims())}
    call = unsigned(cloud).assume_role_with_web_identity
    assert refusal(call, **asked, DurationSeconds=7200)[0] == "ValidationError"
    assert refusal(unsigned(cloud).get_caller_identity)[0] == "MissingAuthenticationToken"


def test_another_clusters_tokens_are_not_this_ones(cloud: Cloud, provider: str) -> None:
    cloud.command("kube", "clusters", "create", "second")
    token = service_account_token(cloud, cluster="second")
    role = make_role(cloud, "of-the-first", provider)
    issuer = f"{ISSUER}/clusters/second"
    assert refused(cloud, role, token) == (
        "InvalidIdentityToken",
        f"No OpenIDConnect provider found in your account for {issuer}",
    )
    second = make_role(cloud, "of-the-second", make_provider(cloud, issuer))
    assert assume(cloud, second, token)["Provider"].endswith("/clusters/second")
    assert refused(cloud, second, service_account_token(cloud))[0] == "AccessDenied"


def test_tags_and_source_identity_of_a_token_are_its_sessions(cloud: Cloud, provider: str) -> None:
    tags = {"principal_tags": {"team": ["blue"]}, "transitive_tag_keys": ["team"]}
    told = {"https://aws.amazon.com/tags": tags, "https://aws.amazon.com/source_identity": "anna"}
    token = by_cluster(cloud, claims(**told))
    untagged = make_role(cloud, "untagged", provider)
    assert refused(cloud, untagged, token) == ("AccessDenied", "Not authorized to perform sts:TagSession")
    actions = ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"]
    made = assume(cloud, make_role(cloud, "tagged", provider, Action=actions), token)
    assert made["SourceIdentity"] == "anna"
    assert made["PackedPolicySize"] > 0


class Issuer:
    """An identity provider on the loopback, as Keycloak or Dex would be one."""

    def __init__(self, folder: Path) -> None:
        certificate, key = pair("localhost")
        (folder / "both.pem").write_text(certificate + key)
        der = ssl.PEM_cert_to_DER_cert(certificate)
        self.thumbprint = hashlib.sha1(der).hexdigest()
        self._key = rsa.generate_private_key(65537, 2048)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "both.pem")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/realm"
        self.jwks_uri = f"{self.url}/keys"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, **more: Any) -> str:
        text = f"{encoded({'alg': 'RS256', 'kid': 'one'})}.{encoded(claims(iss=self.url, **more))}"
        return f"{text}.{encoded(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answers(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256"}
        key |= {"n": encoded(numbers.n.to_bytes(256)), "e": encoded(numbers.e.to_bytes(3))}
        return {
            "/realm/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": self.jwks_uri},
            "/realm/keys": {"keys": [key]},
        }

    def _handler(self) -> Callable[..., http.server.BaseHTTPRequestHandler]:
        answers = self._answers

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers().get(self.path)
                body = json.dumps(found).encode()
                self.send_response(200 if found else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        return Handler


def test_a_provider_on_the_loopback_is_asked_for_its_keys(cloud: Cloud, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    made = make_provider(cloud, issuer.url, thumbprint=issuer.thumbprint)
    role = make_role(cloud, "of-the-loopback", made)
    assert assume(cloud, role, issuer.token())["Audience"] == AUDIENCE
    assert assume(cloud, role, issuer.token(aud=["x"], azp=AUDIENCE))
    assert refused(cloud, role, issuer.token()[:-8] + "AAAAAAAA")[0] == "InvalidIdentityToken"
    issuer.jwks_uri = "https://192.0.2.1/keys"  # not on this machine: nobody connects there
    assert refused(cloud, role, issuer.token())[0] == "InvalidIdentityToken"
    iam = client(cloud, "iam")
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=made, ThumbprintList=[THUMBPRINT])
    issuer.jwks_uri = f"{issuer.url}/keys"
    code, text = refused(cloud, role, issuer.token())
    assert code == "InvalidIdentityToken"
    assert text.startswith("Couldn't retrieve verification key")
    issuer.close()
    assert refused(cloud, role, issuer.token())[0] == "IDPCommunicationError"


def test_no_provider_beyond_this_machine_is_asked(cloud: Cloud) -> None:
    for number, url in enumerate(("https://192.0.2.1/a", "https://issuer.example.com", "https://169.254.169.254/a")):
        role = make_role(cloud, f"beyond-{number}", make_provider(cloud, url))
        code, text = refused(cloud, role, by_cluster(cloud, claims(iss=url)))
        assert code == "InvalidIdentityToken"
        assert text.startswith("Couldn't retrieve verification key")


def test_a_machine_gets_a_roles_credentials_by_its_token_alone(real_cloud: Cloud) -> None:
    """The way of a pod: no key, and the API by its name from inside."""
    cloud = real_cloud
    role = make_role(cloud, "of-machines", make_provider(cloud, ISSUER))
    (machine,) = cloud.launch(cloud.client("ec2"))
    asked = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role, "RoleSessionName": "pod"}

    def ask(**more: str) -> str:
        form = urllib.parse.urlencode(asked | more)
        run = cloud.inside(
            machine["InstanceId"], "wget", "-q", "-O", "-", "--post-data", form, "http://aws.gureum.test/"
        )
        return run.stdout + run.stderr

    answer = until(lambda: ask(WebIdentityToken=service_account_token(cloud)))
    assert f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/of-machines/pod</Arn>" in answer
    assert "403" in ask(Action="GetCallerIdentity")
    assert "400" in ask(WebIdentityToken="a.b.c")
    assert "AccessKeyId" not in ask(WebIdentityToken="x" * 70000)
