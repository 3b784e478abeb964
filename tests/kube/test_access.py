"""Who may what: roles, tokens, impersonation, and nobody gives away what he has not."""

from __future__ import annotations

import asyncio
import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from gureum.base.clock import SystemClock
from gureum.kube.cluster import Cluster
from gureum.kube.requests import BETWEEN, User
from tests.kube.api import APPLY, MERGE, Api, config_map, keyring

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
JANE = User("jane", ("system:authenticated",))


def binding(role, subject, kind="RoleBinding", role_kind="ClusterRole"):
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": role},
        "roleRef": reference,
        "subjects": [subject],
    }


def api_with_tokens():
    api = Api()
    key = ec.generate_private_key(ec.SECP256R1())
    api.cluster = Cluster("default", api.store, keyring(api.folder), SystemClock(), token_key=key)
    return api


def test_a_bound_role_allows_what_it_says_where_it_is_bound():
    async def run():
        async with Api() as api:
            status, answer = await api.call("GET", MAPS, user=JANE)
            assert status == 403
            assert answer["message"] == (
                'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"'
            )
            await api.ok(
                "POST", f"{RBAC}/namespaces/default/rolebindings", binding("view", {"kind": "User", "name": "jane"})
            )
            await api.ok("GET", MAPS, user=JANE)
            assert (await api.call("GET", "/api/v1/configmaps", user=JANE))[0] == 403
            assert (await api.call("POST", MAPS, config_map("a"), user=JANE))[0] == 403
            assert (await api.call("GET", "/api/v1/namespaces/default/secrets", user=JANE))[0] == 403
            review = {
                "spec": {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default"}}
            }
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            assert (await api.ok("POST", path, review, user=JANE))["status"]["allowed"]
            await api.ok("DELETE", f"{RBAC}/namespaces/default/rolebindings/view")
            assert (await api.call("GET", MAPS, user=JANE))[0] == 403

    asyncio.run(run())


def test_nobody_gives_away_what_he_has_not():
    async def run():
        async with Api() as api:
            path = f"{RBAC}/namespaces/default/rolebindings"
            await api.ok("POST", path, binding("admin", {"kind": "User", "name": "jane"}))
            status, answer = await api.call(
                "POST", path, binding("cluster-admin", {"kind": "User", "name": "jane"}), user=JANE
            )
            assert status == 403
            assert "attempting to grant RBAC permissions not currently held" in answer["message"]
            await api.ok("POST", path, binding("view", {"kind": "User", "name": "joe"}), user=JANE)

    asyncio.run(run())


def cluster_role(name, rules=(), selectors=None, **labels):
    gathers = {} if selectors is None else {"aggregationRule": {"clusterRoleSelectors": selectors}}
    return {"metadata": {"name": name, "labels": labels}, "rules": list(rules), **gathers}


def test_who_may_write_roles_gains_nothing_by_gathering_others_or_by_binding_what_is_not_there_yet():
    async def run():
        async with Api() as api:
            roles, bindings = f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings"
            resources = ["clusterroles", "clusterrolebindings"]
            rule = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": resources, "verbs": ["create", "patch"]}
            await api.ok("POST", roles, cluster_role("writer", [rule]))
            await api.ok("POST", bindings, binding("writer", {"kind": "User", "name": "jane"}, "ClusterRoleBinding"))
            await api.ok("POST", roles, cluster_role("small", [rule]), user=JANE)
            gathering = {"aggregationRule": {"clusterRoleSelectors": [{}]}}
            for method, path, body in (
                ("PATCH", f"{roles}/small", gathering),
                ("POST", roles, cluster_role("all", selectors=[{}])),
                ("PATCH", f"{roles}/view", {"metadata": {"labels": {"a": "b"}}}),
            ):
                status, answer = await api.call(
                    method, path, body, user=JANE, content_type=MERGE if method == "PATCH" else "application/json"
                )
                assert status == 403, answer
                assert answer["message"].endswith("must have cluster-admin privileges to use the aggregationRule")
            later = binding("later", {"kind": "User", "name": "jane"}, "ClusterRoleBinding")
            status, answer = await api.call("POST", bindings, later, user=JANE)
            assert (status, answer["message"]) == (404, 'clusterroles.rbac.authorization.k8s.io "later" not found')
            given = {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]}
            status, answer = await api.call("POST", roles, cluster_role("more", [given]), user=JANE)
            assert answer["message"] == (
                'clusterroles.rbac.authorization.k8s.io "more" is forbidden: user "jane" (groups=["system:authenticated"]) '
                "is attempting to grant RBAC permissions not currently held:\n"
                '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}\n'
                '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
            )

    asyncio.run(run())


def test_a_gathered_role_has_the_rules_of_those_that_its_selectors_mean():
    async def run():
        async with Api() as api:
            rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
            wished = {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}
            await api.ok("POST", f"{RBAC}/clusterroles", cluster_role("part", [rule], team="a"))
            await api.ok("POST", f"{RBAC}/clusterroles", cluster_role("whole", selectors=[wished]))
            await api.ok(
                "POST",
                f"{RBAC}/clusterrolebindings",
                binding("whole", {"kind": "User", "name": "jane"}, "ClusterRoleBinding"),
            )
            await api.ok("GET", MAPS, user=JANE)
            assert (await api.call("GET", "/api/v1/namespaces/default/secrets", user=JANE))[0] == 403
            while not api.cluster.controllers.idle:
                await asyncio.sleep(0)
            assert (await api.ok("GET", f"{RBAC}/clusterroles/whole"))["rules"] == [rule]
            assert (await api.ok("GET", f"{RBAC}/clusterroles/view"))["rules"]

    asyncio.run(run())


def test_a_service_accounts_token_is_its_account_until_it_is_gone():
    async def run():
        async with api_with_tokens() as api:
            accounts = "/api/v1/namespaces/default/serviceaccounts"
            await api.ok("POST", accounts, {"metadata": {"name": "robot"}})
            token = (await api.ok("POST", f"{accounts}/robot/token", {"spec": {}}))["status"]["token"]
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            header = {"authorization": f"Bearer {token}"}
            who = (await api.ok("POST", path, {}, user=None, **header))["status"]["userInfo"]
            assert who["username"] == "system:serviceaccount:default:robot"
            forged = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
            assert (await api.call("POST", path, {}, user=None, authorization=f"Bearer {forged}"))[0] == 401
            await api.ok("DELETE", f"{accounts}/robot")
            assert (await api.call("POST", path, {}, user=None, **header))[0] == 401

    asyncio.run(run())


def test_strangers_see_only_what_is_public():
    async def run():
        async with Api() as api:
            assert (await api.respond("GET", "/healthz", user=None)).status == 200
            assert (await api.call("GET", "/version", user=None))[0] == 200
            for path in ("/api", "/apis/apps/v1", "/openapi/v3", MAPS, "/"):
                status, answer = await api.call("GET", path, user=None)
                assert (status, answer["reason"]) == (403, "Forbidden"), path

    asyncio.run(run())


def test_who_may_impersonate_acts_as_another():
    async def run():
        async with Api() as api:
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            answer = await api.ok("POST", path, {}, impersonate_user="jane", impersonate_group="a")
            assert answer["status"]["userInfo"] == {"username": "jane", "groups": ["a", "system:authenticated"]}
            response = await api.respond("POST", path, {}, user=JANE, impersonate_user="joe")
            assert response.status == 403
            assert json.loads(response.body)["message"].startswith(
                'users "joe" is forbidden: User "jane" cannot impersonate'
            )

    asyncio.run(run())


def test_who_may_see_one_object_may_list_and_watch_it():
    """As `kubectl get --watch` and `kubectl wait` do it: by a field selector."""

    async def run():
        async with Api() as api:
            rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch"], "resourceNames": ["a"]}
            await api.ok("POST", f"{RBAC}/clusterroles", cluster_role("one", [rule]))
            await api.ok(
                "POST", f"{RBAC}/namespaces/default/rolebindings", binding("one", {"kind": "User", "name": "jane"})
            )
            await api.ok("POST", MAPS, config_map("a"))
            found = await api.ok("GET", f"{MAPS}?fieldSelector=metadata.name%3Da", user=JANE)
            assert [one["metadata"]["name"] for one in found["items"]] == ["a"]
            watch = await api.respond(
                "GET", f"{MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da", user=JANE
            )
            assert watch.status == 200
            for selector in ("", "metadata.name%3Db", "metadata.name!%3Da", "metadata.name"):
                answer = (await api.call("GET", f"{MAPS}?fieldSelector={selector}", user=JANE))[1]
                assert answer["reason"] == "Forbidden", selector

    asyncio.run(run())


def test_who_may_patch_creates_nothing_by_applying_it():
    """As in the original, where an apply that creates asks for both verbs."""

    async def run():
        async with Api() as api:
            rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}
            await api.ok("POST", f"{RBAC}/clusterroles", cluster_role("patcher", [rule]))
            patcher = binding("patcher", {"kind": "User", "name": "jane"})
            await api.ok("POST", f"{RBAC}/namespaces/default/rolebindings", patcher)
            path = f"{MAPS}/new?fieldManager=m"
            status, answer = await api.call("PATCH", path, config_map("new"), content_type=APPLY, user=JANE)
            told = 'configmaps "new" is forbidden: User "jane" cannot create resource "configmaps" in API group ""'
            assert (status, answer["message"].startswith(told)) == (403, True), answer
            await api.ok("POST", MAPS, config_map("new"))
            await api.ok("PATCH", path, config_map("new", {"k": "v"}), content_type=APPLY, user=JANE)

    asyncio.run(run())


def test_all_that_is_said_of_an_impersonated_user_is_heard_and_must_be_allowed():
    async def run():
        async with Api() as api:
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            extra = {"impersonate-extra-acme.com%2fproject": f"a{BETWEEN}b", "impersonate-uid": "7"}
            said = await api.ok("POST", path, {}, impersonate_user="jane", **extra)
            info = {"username": "jane", "groups": ["system:authenticated"], "uid": "7"}
            assert said["status"]["userInfo"] == info | {"extra": {"acme.com/project": ["a", "b"]}}
            said = await api.ok("POST", path, {}, impersonate_user="jane", impersonate_group=f",,,a{BETWEEN}b,c")
            assert said["status"]["userInfo"]["groups"] == [",,,a", "b,c", "system:authenticated"]
            # Who may be anybody may not yet say what else is true of them.
            rule = {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}
            await api.ok("POST", f"{RBAC}/clusterroles", cluster_role("actor", [rule]))
            actor = binding("actor", {"kind": "User", "name": "jane"}, "ClusterRoleBinding")
            await api.ok("POST", f"{RBAC}/clusterrolebindings", actor)
            await api.ok("POST", path, {}, user=JANE, impersonate_user="joe")
            for name, resource in (
                ("impersonate-uid", 'uids.authentication.k8s.io "7"'),
                ("impersonate-extra-scopes", 'userextras.authentication.k8s.io "7"'),
            ):
                status, answer = await api.call("POST", path, {}, user=JANE, impersonate_user="joe", **{name: "7"})
                assert status == 403, answer
                assert answer["message"].startswith(f'{resource} is forbidden: User "jane" cannot impersonate resource')
                status, answer = await api.call("POST", path, {}, **{name: "7"})
                assert (status, answer["message"]) == (400, f"requested {name} without impersonating a user")

    asyncio.run(run())


def test_who_is_impersonated_as_nobody_is_not_authenticated():
    async def run():
        async with Api() as api:
            review = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/api"}}}
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            status, answer = await api.call("POST", path, review, impersonate_user="system:anonymous")
            assert (status, answer["reason"]) == (403, "Forbidden")
            version = await api.respond("GET", "/version", impersonate_user="system:anonymous")
            assert version.status == 200  # system:unauthenticated may read it
            login = {"kind": "Group", "name": "system:unauthenticated"}
            basic = binding("system:basic-user", login, "ClusterRoleBinding")
            await api.ok("POST", f"{RBAC}/clusterrolebindings", {**basic, "metadata": {"name": "x"}})
            me = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            said = await api.ok("POST", me, {}, impersonate_user="system:anonymous")
            assert said["status"]["userInfo"]["groups"] == ["system:unauthenticated"]

    asyncio.run(run())


def test_a_secret_keeps_a_token_that_is_good_as_long_as_both_are_there():
    api, secrets = api_with_tokens(), "/api/v1/namespaces/default/secrets"
    marks = {"kubernetes.io/service-account.name": "robot"}
    kept = {"metadata": {"name": "kept", "annotations": marks}, "type": "kubernetes.io/service-account-token"}

    async def token_of():
        for _ in range(500):
            found = (await api.ok("GET", f"{secrets}/kept")).get("data") or {}
            if "token" in found:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(found)

    async def enters(token):
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        return await api.call("POST", path, {}, user=None, authorization=f"Bearer {token}")

    async def run():
        async with api:
            account = await api.ok(
                "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}}
            )
            await api.ok("POST", secrets, kept)
            found = await token_of()
            assert base64.b64decode(found["namespace"]) == b"default"
            token = base64.b64decode(found["token"]).decode()
            status, review = await enters(token)
            assert (status, review["status"]["userInfo"]["username"]) == (201, "system:serviceaccount:default:robot")
            marked = (await api.ok("GET", f"{secrets}/kept"))["metadata"]["annotations"]
            assert marked["kubernetes.io/service-account.uid"] == account["metadata"]["uid"]
            await api.ok("DELETE", f"{secrets}/kept")
            assert (await enters(token))[0] == 401
            await api.ok("POST", secrets, kept)
            other = base64.b64decode((await token_of())["token"]).decode()
            await api.ok("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot")
            assert (await enters(other))[0] == 401
            for _ in range(500):
                if (await api.call("GET", f"{secrets}/kept"))[0] == 404:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("the secret outlives its account")

    asyncio.run(run())


def test_who_is_given_a_token_can_check_it():
    api = api_with_tokens()

    async def run():
        async with api:
            found = await api.ok("GET", "/.well-known/openid-configuration")
            assert found["issuer"] == "https://kubernetes.default.svc.cluster.local"
            (key,) = (await api.ok("GET", "/openid/v1/jwks"))["keys"]
            path = "/api/v1/namespaces/default/serviceaccounts/default/token"
            token = (await api.ok("POST", path, {}))["status"]["token"]
            head, body, signature = token.split(".")
            decode = [base64.urlsafe_b64decode(part + "==") for part in (head, signature, key["x"], key["y"])]
            assert json.loads(decode[0])["kid"] == key["kid"]
            x, y = (int.from_bytes(part) for part in decode[2:])
            r, s = int.from_bytes(decode[1][:32]), int.from_bytes(decode[1][32:])
            public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            public.verify(utils.encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            assert (await api.call("GET", "/openid/v1/jwks", user=JANE))[0] == 403

    asyncio.run(run())
