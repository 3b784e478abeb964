"""Ranges of service addresses, and the addresses that are given (Kubernetes, "Extend Service IP Ranges")."""

from __future__ import annotations

import asyncio
import ipaddress

from tests.kube.api import Api

SERVICES = "/api/v1/namespaces/default/services"
CIDRS, ADDRESSES = (f"/apis/networking.k8s.io/v1/{plural}" for plural in ("servicecidrs", "ipaddresses"))


def service(name, **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def cidr(name, *cidrs):
    return {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}


async def until(look):
    for _ in range(500):
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(look)


def test_the_api_has_its_service_in_the_first_range():
    async def run():
        async with Api() as api:
            own = await api.ok("GET", f"{SERVICES}/kubernetes")
            assert own["spec"]["clusterIP"] == "10.96.0.1"
            shown = await api.ok("GET", f"{ADDRESSES}/10.96.0.1")
            assert shown["spec"]["parentRef"] == {
                "group": "",
                "resource": "services",
                "namespace": "default",
                "name": "kubernetes",
            }

            await api.ok("DELETE", f"{SERVICES}/kubernetes")

            async def again():
                status, one = await api.call("GET", f"{SERVICES}/kubernetes")
                return status == 200 and one["metadata"]["uid"] != own["metadata"]["uid"]

            await until(again)

            async def ready():
                one = await api.ok("GET", f"{CIDRS}/kubernetes")
                return one.get("status", {}).get("conditions", [{}])[0].get("status") == "True"

            await until(ready)

    asyncio.run(run())


def test_an_address_is_shown_as_long_as_its_service_has_it():
    async def run():
        async with Api() as api:
            address = (await api.ok("POST", SERVICES, service("web")))["spec"]["clusterIP"]
            shown = await api.ok("GET", f"{ADDRESSES}/{address}")
            assert shown["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"] == "ipallocator.k8s.io"
            await api.ok("DELETE", f"{ADDRESSES}/{address}")

            async def back():
                return (await api.call("GET", f"{ADDRESSES}/{address}"))[0] == 200

            await until(back)
            await api.ok("DELETE", f"{SERVICES}/web")
            assert (await api.call("GET", f"{ADDRESSES}/{address}"))[0] == 404
            # An address that somebody keeps is not given.
            kept = {"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": {"resource": "services", "name": "x"}}}
            await api.ok("POST", ADDRESSES, kept)
            status, answer = await api.call("POST", SERVICES, service("other", clusterIP="10.96.7.7"))
            assert (status, "provided IP is already allocated" in answer["message"]) == (422, True)

    asyncio.run(run())


def test_a_further_range_gives_addresses_and_stays_while_they_are_used():
    async def run():
        async with Api() as api:
            outside = service("far", clusterIP="10.200.0.9")
            status, answer = await api.call("POST", SERVICES, outside)
            assert status == 422
            assert "is not in the valid range. The range of valid IPs is 10.96.0.0/16" in answer["message"]
            await api.ok("POST", CIDRS, cidr("more", "10.200.0.0/28"))
            await api.ok("POST", SERVICES, outside)

            async def state(wanted):
                status, one = await api.call("GET", f"{CIDRS}/more")
                return (
                    status == 404
                    if wanted == "gone"
                    else one.get("status", {}).get("conditions", [{}])[0].get("status") == wanted
                )

            await until(lambda: state("True"))
            await api.ok("DELETE", f"{CIDRS}/more")
            await until(lambda: state("False"))
            made = await asyncio.gather(*(api.ok("POST", SERVICES, service(f"s{number}")) for number in range(8)))
            first = ipaddress.ip_network("10.96.0.0/16")
            assert all(ipaddress.ip_address(one["spec"]["clusterIP"]) in first for one in made)
            await api.ok("DELETE", f"{SERVICES}/far")
            await until(lambda: state("gone"))

    asyncio.run(run())


def test_ranges_are_checked():
    async def run():
        async with Api() as api:
            for cidrs, text in (
                (["10.0.0.1/24"], "must be a valid CIDR value"),
                (["fd00::/64"], "IPv6 is not built"),
                ([], "at least one CIDR required"),
                (["10.1.0.0/24", "10.2.0.0/24"], "no more than one IP for each IP family"),
            ):
                status, answer = await api.call("POST", CIDRS, cidr("bad", *cidrs))
                assert (status, text in answer["message"]) == (422, True), answer
            await api.ok("POST", CIDRS, cidr("tiny", "10.9.9.9/32"))
            for name, text in (("10.1.1.01", "canonical format"), ("x", "canonical format")):
                status, answer = await api.call("POST", ADDRESSES, {"metadata": {"name": name}, "spec": {}})
                assert (status, text in answer["message"]) == (422, True), answer
            spec = {"cidrs": ["10.9.9.8/32"]}
            status, answer = await api.call(
                "PATCH", f"{CIDRS}/tiny", {"spec": spec}, content_type="application/merge-patch+json"
            )
            assert (status, "field is immutable" in answer["message"]) == (422, True)

    asyncio.run(run())
