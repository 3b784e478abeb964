"""The rendered OCI configuration: what every guest is kept from, and what a machine may."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gureum.drivers.containers import oci_spec, seccomp
from gureum.ports.containers import Application, ContainerSpec, Limits, Mount

HOST = oci_spec.HostFacts((("RLIMIT_NOFILE", 1024, 20000),), "x86_64", 1)
MACHINE = ContainerSpec("web", "/roots/web", ("/sbin/init",), "/ns/net", "/ns/user", 65536, machine=True)
PLAIN = ContainerSpec("web", "/roots/web", ("nginx",), "/ns/net")


def render(spec: ContainerSpec, host: oci_spec.HostFacts = HOST) -> dict[str, Any]:
    return oci_spec.render(spec, host, cgroup_path="/gureum-ab12/web")


@pytest.mark.parametrize("spec", [MACHINE, PLAIN])
def test_every_container_has_namespaces_of_its_own(spec: ContainerSpec) -> None:
    kinds = {space["type"]: space.get("path") for space in render(spec)["linux"]["namespaces"]}
    assert {"network", "pid", "mount", "ipc", "uts", "cgroup"} <= kinds.keys()
    assert kinds["network"] == "/ns/net"
    assert kinds.get("user") == (spec.sandbox_user or None)


def test_docker_containers_have_exactly_dockers_capabilities() -> None:
    bits = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8,
            "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}  # fmt: skip
    names = render(PLAIN)["process"]["capabilities"]["bounding"]
    assert sum(1 << bits[name.removeprefix("CAP_")] for name in names) == 0xA80425FB


def test_machine_without_user_namespace_never_gets_sys_admin() -> None:
    unshifted = ContainerSpec("web", "/", ("init",), "/ns/net", machine=True)
    assert "CAP_SYS_ADMIN" not in oci_spec.capabilities_of(unshifted)
    assert "/proc/sys" in render(unshifted)["linux"]["readonlyPaths"]
    assert "CAP_SYS_ADMIN" in oci_spec.capabilities_of(MACHINE)


@pytest.mark.parametrize("spec", [MACHINE, PLAIN])
def test_nobody_gets_power_over_the_kernel(spec: ContainerSpec) -> None:
    forbidden = {
        "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYSLOG", "CAP_BPF", "CAP_PERFMON", "CAP_MAC_ADMIN", "CAP_DAC_READ_SEARCH",
        "CAP_MAC_OVERRIDE", "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_WAKE_ALARM", "CAP_CHECKPOINT_RESTORE", "CAP_SYS_RESOURCE",
    }  # fmt: skip
    process = render(spec)["process"]
    for kind in ("bounding", "effective", "permitted"):
        assert forbidden.isdisjoint(process["capabilities"][kind])
    assert "inheritable" not in process["capabilities"]
    assert "ambient" not in process["capabilities"]


@pytest.mark.parametrize("spec", [MACHINE, PLAIN])
def test_devices_are_the_harmless_ones(spec: ContainerSpec) -> None:
    rules = render(spec)["linux"]["resources"]["devices"]
    assert rules[0] == {"allow": False, "access": "rwm"}
    opened = {
        (rule.get("type"), rule.get("major")) for rule in rules[1:] if "r" in rule["access"] or "w" in rule["access"]
    }
    assert opened == {("c", 1), ("c", 5), ("c", 136)}
    assert all("minor" in rule for rule in rules[1:] if rule.get("major") in (1, 5))


@pytest.mark.parametrize("spec", [MACHINE, PLAIN])
def test_host_control_groups_of_v1_are_not_shown(spec: ContainerSpec) -> None:
    assert all(mount["type"] != "cgroup" for mount in render(spec)["mounts"])


def test_v2_shows_the_own_subtree_only_writable_for_machines() -> None:
    host = oci_spec.HostFacts((), "x86_64", 2)
    (shown,) = (mount for mount in render(MACHINE, host)["mounts"] if mount["type"] == "cgroup")
    assert "ro" not in shown["options"]
    (shown,) = (mount for mount in render(PLAIN, host)["mounts"] if mount["type"] == "cgroup")
    assert "ro" in shown["options"]


def test_bound_folders_carry_no_devices_and_send_no_mounts_back() -> None:
    spec = ContainerSpec("web", "/", ("x",), "", mounts=(Mount("/data", "bind", "/host/data", ("ro",)),))
    shown = render(spec)["mounts"][-1]
    assert (shown["destination"], shown["source"]) == ("/data", "/host/data")
    assert {"rprivate", "nodev", "nosuid", "ro"} <= set(shown["options"])


@pytest.mark.parametrize(
    ("limits", "resources"),
    [
        (Limits(), {}),
        (Limits(memory_bytes=1 << 20), {"memory": {"limit": 1 << 20}}),
        (Limits(cpus=0.5), {"cpu": {"quota": 50_000, "period": 100_000}}),
        (Limits(cpus=2, cpu_shares=512), {"cpu": {"quota": 200_000, "period": 100_000, "shares": 512}}),
        (Limits(cpus=0.0001), {"cpu": {"quota": 1000, "period": 100_000}}),
        (Limits(pids=10), {"pids": {"limit": 10}}),
    ],
)
def test_limits_as_resources(limits: Limits, resources: dict[str, Any]) -> None:
    assert oci_spec.resources(limits) == resources


def test_what_a_guest_divides_its_group_into_is_bounded_on_v2() -> None:
    v2 = oci_spec.HostFacts((), "x86_64", 2)
    application = ContainerSpec("web", "/", ("x",), "", application=Application())
    for spec in (MACHINE, application):
        assert render(spec, v2)["linux"]["resources"]["unified"] == {"cgroup.max.descendants": "1024"}
        assert "unified" not in render(spec)["linux"]["resources"]


def test_shares_weigh_the_same_on_v2_whatever_the_runtime_makes_of_them() -> None:
    v2 = oci_spec.HostFacts((), "x86_64", 2)
    spec = ContainerSpec("web", "/", ("x",), "", limits=Limits(cpu_shares=1024), application=Application())
    assert render(spec, v2)["linux"]["resources"]["unified"]["cpu.weight"] == "100"


def test_shares_as_weights() -> None:
    assert [oci_spec.cpu_weight(shares) for shares in (0, 2, 1024, 262144, 1 << 30)] == [1, 1, 100, 10000, 10000]
    # What releases of the OCI runtimes since crun 1.23 and runc 1.3.2 were seen to make of them (opencontainers/runc issue 4896).
    assert [oci_spec.cpu_weight(shares) for shares in (2000, 22000)] == [170, 1204]


def test_environment_has_a_path_unless_one_is_given() -> None:
    assert render(PLAIN)["process"]["env"][0].startswith("PATH=/usr/local/sbin:")
    given = ContainerSpec("web", "/", ("x",), "", env=("PATH=/bin", "A=b"))
    assert render(given)["process"]["env"] == ["PATH=/bin", "A=b"]
    assert "TERM=xterm" in render(MACHINE)["process"]["env"]


def test_configuration_is_json_and_says_nothing_of_the_host() -> None:
    text = json.dumps(render(MACHINE))
    assert "rlimits" in text
    assert "hooks" not in text


# --- the system calls ---

NEVER = """
acct add_key bpf create_module delete_module finit_module init_module io_uring_enter io_uring_register io_uring_setup
ioperm iopl kexec_file_load kexec_load keyctl lookup_dcookie nfsservctl open_by_handle_at perf_event_open quotactl
request_key settimeofday clock_settime swapon swapoff syslog _sysctl sysfs uselib userfaultfd ustat vm86 fanotify_init
"""
SYS_ADMIN = frozenset({"CAP_SYS_ADMIN"})


@pytest.mark.parametrize("capabilities", [frozenset[str](), SYS_ADMIN, frozenset(oci_spec.MACHINE_CAPABILITIES)])
@pytest.mark.parametrize(
    "name",
    NEVER.split(),
)
def test_calls_that_nobody_may_make(capabilities: frozenset[str], name: str) -> None:
    assert name not in seccomp.allowed(capabilities)


def test_list_has_no_call_twice() -> None:
    names = seccomp.allowed(frozenset(oci_spec.MACHINE_CAPABILITIES))
    assert len(names) == len(set(names))


def test_anything_unknown_fails_and_clone3_sends_to_clone() -> None:
    filter_ = seccomp.render(frozenset(), "x86_64")
    assert (filter_["defaultAction"], filter_["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in filter_["syscalls"]
    assert seccomp.render(frozenset(), "aarch64")["architectures"] == ["SCMP_ARCH_AARCH64"]


@pytest.mark.parametrize(("capabilities", "flags"), [(frozenset[str](), 0x7E020000), (SYS_ADMIN, 0x10000000)])
def test_clone_may_make_no_user_namespace(capabilities: frozenset[str], flags: int) -> None:
    rules = seccomp.render(capabilities, "x86_64")["syscalls"]
    (clone,) = (rule for rule in rules if "clone" in rule["names"])
    assert clone["args"] == [{"index": 0, "value": flags, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    unshare = [rule for rule in rules if "unshare" in rule["names"]]
    assert unshare == ([clone] if capabilities else [])


def test_a_machine_begins_as_what_gives_up_its_console() -> None:
    config = oci_spec.render(MACHINE, HOST, cgroup_path="/gureum-ab12/web", init="/run/free-console")
    assert config["process"]["args"] == ["/dev/.init", "/sbin/init"]
    (mount,) = (one for one in config["mounts"] if one["destination"] == "/dev/.init")
    assert mount["source"] == "/run/free-console"
    assert {"ro", "nosuid", "nodev"} <= set(mount["options"])
    assert render(MACHINE)["process"]["args"] == ["/sbin/init"]
