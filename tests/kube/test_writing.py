"""Create, update, patch and delete: what changes, what is refused, who wins."""

from __future__ import annotations

import asyncio

import pytest

from tests.kube.api import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def test_what_changes_nothing_makes_no_revision():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", MAPS, config_map("a", {"k": "v"}))
            assert await api.patch(f"{MAPS}/a", {"data": {"k": "v"}}) == made
            assert await api.ok("PUT", f"{MAPS}/a", made) == made
            applied = config_map("b", {"k": "v"})
            first = await api.patch(f"{MAPS}/b?fieldManager=m", applied, APPLY)
            assert await api.patch(f"{MAPS}/b?fieldManager=m", applied, APPLY) == first

    asyncio.run(run())


def test_a_put_of_an_old_version_is_a_conflict():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", MAPS, config_map("a"))
            await api.patch(f"{MAPS}/a", {"data": {"k": "v"}})
            status, answer = await api.call("PUT", f"{MAPS}/a", made)
            assert (status, answer["reason"]) == (409, "Conflict")
            assert "the object has been modified" in answer["message"]

    asyncio.run(run())


def test_revision_0_is_any_revision():
    """As clients write it that replace what they have not seen (k8s.io/apiserver/pkg/registry/generic: ParseResourceVersion)."""

    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("a"))
            replaced = await api.ok("PUT", f"{MAPS}/a", with_revision(config_map("a", {"k": "v"}), "0"))
            assert replaced["data"] == {"k": "v"}
            patched = await api.patch(f"{MAPS}/a", {"metadata": {"resourceVersion": "0"}, "data": {"k": "w"}})
            assert patched["data"] == {"k": "w"}
            leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
            lease = {"metadata": {"name": "a"}, "spec": {}}
            await api.ok("POST", leases, lease)
            status, answer = await api.call("PUT", f"{leases}/a", with_revision(lease, "0"))
            assert (status, answer["reason"]) == (422, "Invalid")
            assert "must be specified for an update" in answer["message"]

    asyncio.run(run())


def with_revision(obj, revision):
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": revision}}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b"apiVersion: v1\nkind: Pod\nmetadata: {}\n",
            "(61706956657273696f6e3a2076310a6b696e643a20506f640a6d65746164 ...)",
        ),
        (b"{", "({)"),
        (b"[]", "(5b5d)"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_start(body, told):
    async def run():
        async with Api() as api:
            status, answer = await api.call("POST", "/api/v1/namespaces", body)
            assert (status, answer["reason"]) == (400, "BadRequest")
            assert answer["message"].startswith("the object provided is unrecognized (must be of type Namespace): ")
            assert answer["message"].endswith(told)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("type_", "key"),
    [("kubernetes.io/dockercfg", ".dockercfg"), ("kubernetes.io/dockerconfigjson", ".dockerconfigjson")],
)
def test_what_opens_a_registry_is_an_object_of_json(type_, key):
    async def run():
        async with Api() as api:
            path = "/api/v1/namespaces/default/secrets"
            for number, (text, good) in enumerate((("e30=", True), ("W10=", False), ("Yg==", False))):
                secret = {"metadata": {"name": f"s{number}"}, "type": type_, "data": {key: text}}
                status, answer = await api.call("POST", path, secret)
                assert (status == 201) == good, answer
                if not good:
                    assert f"data[{key}]: Invalid value: " in answer["message"]

    asyncio.run(run())


def test_sixteen_writers_lose_no_update():
    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("a"))

            async def write(at):
                await api.patch(f"{MAPS}/a", {"data": {f"k{at}": "v"}}, MERGE)

            await asyncio.gather(*(write(at) for at in range(16)))
            assert len((await api.ok("GET", f"{MAPS}/a"))["data"]) == 16

    asyncio.run(run())


def test_names_that_are_wrong_are_told_as_the_decoder_meets_them():
    """Kubernetes' conformance asks for this order (test/e2e/apimachinery/field_validation.go)."""

    async def run():
        async with Api() as api:
            body = b'{"metadata":{"name":"a"},"other":1,"data":{"k":"v","k":"w"},"more":2}'
            told = 'unknown field "other", duplicate field "data.k", unknown field "more"'
            status, answer = await api.call("POST", f"{MAPS}?fieldValidation=Strict", body)
            assert (status, answer["message"].partition("strict decoding error: ")[2]) == (400, told)
            response = await api.respond("POST", MAPS, body)
            assert [one[7:-1] for one in response.headers["warning"].replace('\\"', '"').split(", ")] == told.split(
                ", "
            )

    asyncio.run(run())


HERE = "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
MICRO, SECONDS = "2006-01-02T15:04:05.000000Z07:00", "2006-01-02T15:04:05Z07:00"
QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def pod_with(limits, **more):
    resources = {"resources": {"limits": limits}} if limits else {}
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x", **resources}]}, **more}


def service_to(port):
    return {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": port}]}}


def lease_of(time):
    return {"metadata": {"name": "l"}, "spec": {"renewTime": time}}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (f"{HERE}/pods", pod_with({"cpu": "abc"}), QUANTITY),
        (f"{HERE}/pods", pod_with({"cpu": True}), QUANTITY),
        (f"{HERE}/pods", pod_with({"cpu": 0.5}), ""),
        (f"{HERE}/pods", pod_with({"cpu": "0.5", "memory": "1e3"}), ""),
        (
            f"{HERE}/pods",
            pod_with(None, status={"startTime": "yesterday"}),
            f'parsing time "yesterday" as "{SECONDS}": cannot parse "yesterday" as "2006"',
        ),
        (f"{HERE}/pods", pod_with(None, status={"startTime": "2026-01-01T00:00:00.5+09:00"}), ""),
        (LEASES, lease_of("2026-01-01T00:00:00Z"), f'parsing time "2026-01-01T00:00:00Z" as "{MICRO}"'),
        (LEASES, lease_of("2026-01-01T00:00:00.000001Z"), ""),
        (LEASES, lease_of(None), ""),
        (f"{HERE}/services", service_to(True), "json: cannot unmarshal bool into Go value of type int32"),
        (f"{HERE}/services", service_to(1.5), "json: cannot unmarshal number 1.5 into Go value of type int32"),
        (f"{HERE}/services", service_to("http"), ""),
    ],
)
def test_what_no_typed_client_could_read_is_refused(path, body, told):
    """One such object would keep every client with types (client-go) from reading the list that it is in."""

    async def run():
        async with Api() as api:
            status, answer = await api.call("POST", path, body)
            assert status == (400 if told else 201), answer
            assert not told or told in answer["message"]

    asyncio.run(run())


def test_an_empty_time_of_managed_fields_is_none():
    """As older homes have it."""
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "time": "", "fieldsType": "FieldsV1"}

    async def run():
        async with Api() as api:
            made = await api.ok("POST", MAPS, config_map("a", {"k": "v"}))
            made["metadata"]["managedFields"] = [{**entry, "fieldsV1": {"f:data": {"f:k": {}}}}]
            made["data"]["z"] = "w"
            changed = await api.ok("PUT", f"{MAPS}/a?fieldManager=n", made)
            assert ["time" in one for one in changed["metadata"]["managedFields"]] == [False, True]

    asyncio.run(run())


def test_a_review_can_be_asked_for_as_a_table():
    async def run():
        async with Api() as api:
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            table = await api.ok("POST", path, {}, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
            assert (table["kind"], len(table["rows"])) == ("Table", 1)

    asyncio.run(run())


def test_unknown_fields_are_refused_warned_of_or_dropped():
    async def run():
        async with Api() as api:
            body = config_map("a") | {"spec": 1}
            status, answer = await api.call("POST", f"{MAPS}?fieldValidation=Strict", body)
            assert status == 400
            assert 'strict decoding error: unknown field "spec"' in answer["message"]
            response = await api.respond("POST", MAPS, body)
            assert response.status == 201
            assert response.headers["warning"] == '299 - "unknown field \\"spec\\""'
            assert "spec" not in await api.ok("GET", f"{MAPS}/a")

    asyncio.run(run())


def test_finalizers_hold_an_object_until_they_are_gone():
    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("a", finalizers=["example.com/x"]))
            marked = await api.ok("DELETE", f"{MAPS}/a")
            assert marked["metadata"]["deletionTimestamp"]
            operations = [{"op": "remove", "path": "/metadata/finalizers"}]
            await api.patch(f"{MAPS}/a", operations, JSON_PATCH)
            assert (await api.call("GET", f"{MAPS}/a"))[0] == 404

    asyncio.run(run())


def test_preconditions_and_dry_runs():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", MAPS, config_map("a"))
            status, _ = await api.call("DELETE", f"{MAPS}/a", {"preconditions": {"uid": "other"}})
            assert status == 409
            await api.ok("DELETE", f"{MAPS}/a?dryRun=All")
            await api.ok("POST", f"{MAPS}?dryRun=All", config_map("b"))
            assert await api.ok("GET", f"{MAPS}/a") == made
            assert (await api.call("GET", f"{MAPS}/b"))[0] == 404
            tried = await api.patch(f"{MAPS}/a?dryRun=All", {"data": {"k": "tried"}}, MERGE)
            assert tried["data"]["k"] == "tried"
            assert await api.ok("GET", f"{MAPS}/a") == made

    asyncio.run(run())


def test_what_admission_and_the_server_add_to_a_new_pod_is_nobodys():
    async def run():
        async with Api() as api:
            spec = {"containers": [{"name": "c", "image": "app"}]}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
            for name in ("a", "b"):
                pod["metadata"]["name"] = name
                made = await api.ok("POST", "/api/v1/namespaces/default/pods?fieldManager=me", pod)
                assert {"tolerations", "volumes", "priority"} <= set(made["spec"])
                assert made["status"]["phase"] == "Pending"
                (entry,) = made["metadata"]["managedFields"]
                assert list(entry["fieldsV1"]) == ["f:spec"]
                assert not {"f:tolerations", "f:volumes", "f:priority"} & set(entry["fieldsV1"]["f:spec"])
                assert "f:volumeMounts" not in entry["fieldsV1"]["f:spec"]["f:containers"]['k:{"name":"c"}']
                assert "f:dnsPolicy" in entry["fieldsV1"]["f:spec"]

    asyncio.run(run())


def test_appliers_conflict_by_field():
    async def run():
        async with Api() as api:
            await api.patch(f"{MAPS}/a?fieldManager=one", config_map("a", {"k": "1", "l": "1"}), APPLY)
            status, answer = await api.call(
                "PATCH", f"{MAPS}/a?fieldManager=two", config_map("a", {"k": "2"}), content_type=APPLY
            )
            assert status == 409
            assert answer["details"]["causes"][0]["reason"] == "FieldManagerConflict"
            assert answer["details"]["causes"][0]["field"] == ".data.k"
            forced = await api.patch(f"{MAPS}/a?fieldManager=two&force=true", config_map("a", {"k": "2"}), APPLY)
            assert forced["data"] == {"k": "2", "l": "1"}

    asyncio.run(run())


def test_secrets_are_sealed_in_the_store():
    async def run():
        async with Api() as api:
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aHVudGVyMg=="}}
            made = await api.ok("POST", "/api/v1/namespaces/default/secrets", secret)
            stored = [entry.value for entry in api.store.range("kube/") if "/secrets/" in entry.key]
            assert len(stored) == 1
            assert b"aHVudGVyMg" not in stored[0]
            assert await api.ok("GET", "/api/v1/namespaces/default/secrets/s") == made
            listed = await api.ok("GET", "/api/v1/secrets")
            assert listed["items"] == [made]
            assert await api.ok("PUT", "/api/v1/namespaces/default/secrets/s", made) == made

    asyncio.run(run())


def test_what_is_applied_has_the_form_of_its_schema_whatever_validation_is_wished():
    container = {"name": "c", "image": "i", "env": [{"name": "A"}, {"name": "A"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    wished = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": "3", "bogus": None},
    }
    path = "/apis/apps/v1/namespaces/default/deployments/d?fieldManager=m&fieldValidation=Ignore"

    async def run():
        async with Api() as api:
            status, answer = await api.call("PATCH", path, wished, content_type=APPLY)
            assert status == 500
            start = "failed to create typed patch object (default/d; apps/v1, Kind=Deployment): errors:"
            assert answer["message"].split("\n  ") == [
                start,
                '.spec.template.spec.containers[name="c"].env: duplicate entries for key [name="A"]',
                ".spec.replicas: expected numeric (int or float), got string",
                ".spec.bogus: field not declared in schema",
            ]

    asyncio.run(run())


def test_options_that_say_nothing_known_are_refused_before_the_write():
    cases = [
        ("POST", "dryRun=Some", "", 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'),
        ("PUT", "fieldManager=" + "m" * 129, "", 'UpdateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes'),
        ("PATCH", "fieldManager=" + "m" * 129, APPLY, '"" is invalid: fieldManager: Too long: may not be more than 128 bytes'),
        ("PATCH", "force=true", MERGE, 'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'),
        ("PATCH", "fieldManager=a%01", MERGE, "should only contain printable characters"),
        ("DELETE", "orphanDependents=true&propagationPolicy=Orphan", "", '"Orphan": orphanDependents and deletionPropagation cannot be both set'),
        ("DELETE", "propagationPolicy=Odd", "", 'supported values: "Background", "Foreground", "Orphan", "nil"'),
        ("DELETE", "dryRun=Some", "", 'DeleteOptions.meta.k8s.io "" is invalid: dryRun'),
    ]  # fmt: skip

    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("a"))
            for method, query, media, text in cases:
                path = f"{MAPS}{'' if method == 'POST' else '/a'}?{query}"
                body = None if method == "DELETE" else config_map("a")
                status, answer = await api.call(method, path, body, content_type=media or "application/json")
                assert status == 422, answer
                assert text in answer["message"]

    asyncio.run(run())


def test_an_empty_map_is_none_and_nobodys():
    async def run():
        async with Api() as api:
            made = await api.ok("POST", f"{MAPS}?fieldManager=one", config_map("a", {}, labels={}))
            assert not {"data", "labels"} & (made.keys() | made["metadata"].keys())
            await api.patch(f"{MAPS}/a?fieldManager=two", config_map("a", {"k": "v"}), APPLY)
            pod = {"metadata": {"name": "p"}, "spec": {"containers": [], "volumes": []}}
            _, refused = await api.call("POST", "/api/v1/namespaces/default/pods", pod)
            assert "spec.containers: Required value" in refused["message"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong", [{"operation": "Foo"}, {"fieldsType": "FieldsV2"}, {"fieldsV1": {"odd": {}}}, {"apiVersion": ""}]
)
def test_managed_fields_that_cannot_be_read_are_as_if_not_there(wrong):
    async def run():
        async with Api() as api:
            made = await api.ok("POST", f"{MAPS}?fieldManager=one", config_map("a", {"k": "v"}))
            entry = {**made["metadata"]["managedFields"][0], "manager": "two", "fieldsV1": {}}
            odd = config_map("a", {"k": "v"}, managedFields=[entry | wrong])
            changed = await api.ok("PUT", f"{MAPS}/a?fieldManager=two", odd)
            assert changed["metadata"]["managedFields"] == made["metadata"]["managedFields"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "kind", "parts"),
    [
        ("/apis/policy/v1/namespaces/default/poddisruptionbudgets", "PodDisruptionBudget", {"spec": {}, "status": {}}),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases", "Lease", {"spec": {}}),
    ],
)
def test_spec_and_status_are_there_though_nothing_is_in_them(path, kind, parts):
    async def run():
        async with Api() as api:
            version = path.removeprefix("/apis/").removeprefix("/api/").partition("/n")[0]
            made = await api.ok("POST", path, {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}})
            assert {name: made[name] for name in made if name in ("spec", "status")} == parts

    asyncio.run(run())


def test_a_new_node_is_not_ready_and_has_all_fields_of_its_info():
    async def run():
        async with Api() as api:
            status = {"capacity": {"pods": "3"}, "nodeInfo": {"architecture": "amd64"}}
            made = await api.ok("POST", "/api/v1/nodes", {"metadata": {"name": "a"}, "status": status})
            assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
            assert made["status"]["allocatable"] == {"pods": "3"}
            assert made["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 0}}
            info = made["status"]["nodeInfo"]
            assert (len(info), info["architecture"], info["bootID"]) == (10, "amd64", "")

    asyncio.run(run())


def test_a_new_service_says_that_it_has_no_load_balancer():
    async def run():
        async with Api() as api:
            spec = {"ports": [{"port": 80}]}
            made = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec}
            made = await api.ok("POST", "/api/v1/namespaces/default/services", made)
            assert made["status"] == {"loadBalancer": {}}

    asyncio.run(run())


def test_an_empty_namespace_in_the_path_is_all_of_them():
    async def run():
        async with Api() as api:
            await api.ok("POST", MAPS, config_map("a"))
            found = await api.ok("GET", "/api/v1/namespaces//configmaps?fieldSelector=metadata.name=a")
            assert [one["metadata"]["namespace"] for one in found["items"]] == ["default"]

    asyncio.run(run())


POD = "/api/v1/namespaces/default/pods"


def with_container(container):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        (with_container({"name": "a", "image": 1}), "number into Go struct field Container.spec.containers.image of type string"),
        (with_container({"ports": "a"}), "string into Go struct field Container.spec.containers.ports of type []v1.ContainerPort"),
        (with_container(["a"]), "array into Go struct field PodSpec.spec.containers of type v1.Container"),
        ({"metadata": {"labels": {"a": 1}}}, "number into Go struct field ObjectMeta.metadata.labels of type string"),
        ({"metadata": "a"}, "string into Go struct field Pod.metadata of type v1.ObjectMeta"),
        ({"spec": {"priority": "a"}}, "string into Go struct field PodSpec.spec.priority of type int32"),
    ],
)  # fmt: skip
def test_a_type_that_does_not_fit_is_told_by_its_struct_and_fields(pod, text):
    async def run():
        async with Api() as api:
            status, answer = await api.call("POST", POD, pod)
            assert status == 400
            assert answer["message"] == f'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal {text}'

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (MERGE, "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32"),
        (STRATEGIC, '"map[spec:map[priority:a]]": unrecognized type: int32'),
    ],
)
def test_a_patch_of_another_type_is_invalid(kind, text):
    async def run():
        async with Api() as api:
            await api.ok("POST", POD, with_container({"name": "a", "image": "a"}))
            status, answer = await api.call("PATCH", f"{POD}/a", {"spec": {"priority": "a"}}, content_type=kind)
            assert (status, answer["reason"]) == (422, "Invalid")
            assert answer["message"].startswith(' "" is invalid: patch: Invalid value: ')
            assert answer["message"].endswith(text)

    asyncio.run(run())


TWICE = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: b\n  a: c\n"


@pytest.mark.parametrize(
    ("method", "kind", "body", "text"),
    [
        ("POST", "application/yaml", TWICE, 'strict decoding error: yaml: unmarshal errors:\n  line 6: key "a" already set in map'),
        ("PATCH", APPLY, TWICE, 'YAML to JSON: yaml: unmarshal errors:\n  line 6: key "a" already set in map'),
        ("POST", "application/json", b'{"data": {"a": "b", "a": "c"}}', 'strict decoding error: duplicate field "data.a"'),
        ("PATCH", MERGE, b'{"data": {"a": "b", "a": "c"}}', 'strict decoding error: duplicate field "data.a"'),
        ("PATCH", STRATEGIC, b'{"data": {"a": "b", "a": "c"}}', 'strict decoding error: duplicate field "data.a"'),
    ],
)  # fmt: skip
def test_what_is_said_twice_is_refused_or_warned_of(method, kind, body, text):
    async def run():
        async with Api() as api:
            if method == "PATCH":
                await api.ok("POST", MAPS, config_map("a"))
            path = MAPS if method == "POST" else f"{MAPS}/a"
            query = "fieldManager=m&force=true" if kind == APPLY else "fieldManager=m"
            status, answer = await api.call(method, f"{path}?{query}&fieldValidation=Strict", body, content_type=kind)
            assert status in (400, 422)
            assert answer["message"].endswith(text)
            if b"metadata" in body:
                response = await api.respond(method, f"{path}?{query}", body, content_type=kind)
                assert response.status < 300
                assert response.headers["warning"] == '299 - "line 6: key \\"a\\" already set in map"'

    asyncio.run(run())
