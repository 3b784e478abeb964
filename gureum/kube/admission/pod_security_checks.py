"""The Pod Security Standards: what a pod must not do at the levels `baseline` and `restricted`, each check with its words.

Source: Kubernetes, "Pod Security Standards"; texts and versions are those of k8s.io/pod-security-admission/policy. A check is a function of the pod's
metadata and spec that tells what is wrong as (reason, detail), or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Object = dict[str, Any]
Finding = tuple[str, str]
CheckPod = Callable[[Object, Object, int], Finding | None]
"""(metadata, spec, minor version of the standards) to what is wrong."""

LATEST = 34
_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SYSCTLS = {
    0: "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies net.ipv4.ping_group_range"
    " net.ipv4.ip_unprivileged_port_start",
    27: "net.ipv4.ip_local_reserved_ports",
    29: "net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes",
    32: "net.ipv4.tcp_rmem net.ipv4.tcp_wmem",
}
"""By the minor version from which they count as safe."""
_SELINUX_TYPES = {0: "container_t container_init_t container_kvm_t", 31: "container_engine_t"}
_VOLUMES = frozenset(
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]
)
_PROFILES = ("RuntimeDefault", "Localhost")
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


class Check(NamedTuple):
    """`since`: the minor version from which it is asked; `replaces`: the baseline check that it is a stricter form of."""

    identifier: str
    find: CheckPod
    since: int = 0
    replaces: str = ""


def violations(level: str, minor: int, metadata: Object, spec: Object) -> list[Finding]:
    """All that is wrong with a pod at a level (privileged, baseline, restricted) of the standards of a version."""
    if level == "privileged":
        return []
    wanted = [check for check in _RESTRICTED if level == "restricted" and minor >= check.since]
    replaced = {check.replaces for check in wanted}
    first = [check for check in _BASELINE if minor >= check.since and check.identifier not in replaced]
    return [found for check in (*first, *wanted) if (found := check.find(metadata, spec, minor)) is not None]


# Words


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{one}"' for one in items)


def _plural(one: str, count: int, many: str = "") -> str:
    return one if count == 1 else many or f"{one}s"


def _named(names: list[str]) -> str:
    return f"{_plural('container', len(names))} {_quoted(names)}"


def _setters(pod: bool, names: list[str]) -> str:
    """Who sets something: the pod, containers or both; "" when nobody does."""
    return " and ".join([*(["pod"] if pod else []), *([_named(names)] if names else [])])


# Where things are


def containers_of(spec: Object) -> list[Object]:
    return [one for field in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(field) or ()]


def _context(one: Object) -> Object:
    return one.get("securityContext") or {}


def _bad_containers(spec: Object, bad: Callable[[Object], object]) -> list[str]:
    """Names of the containers of whose security context `bad` is true."""
    return [str(one.get("name")) for one in containers_of(spec) if bad(_context(one))]


def _up_to(table: dict[int, str], minor: int) -> frozenset[str]:
    return frozenset(name for since, names in table.items() if since <= minor for name in names.split())


def _for_windows(spec: Object, minor: int) -> bool:
    """Whether what Windows has not is not asked of the pod."""
    return minor >= 25 and (spec.get("os") or {}).get("name") == "windows"


# Baseline


def _app_armor(metadata: Object, spec: Object, minor: int) -> Finding | None:
    values: set[str] = set()

    def bad(context: Object) -> bool:
        profile = context.get("appArmorProfile")
        if not profile or profile.get("type") in _PROFILES:
            return False
        values.add(str(profile.get("type", "")))
        return True

    setters = [one for one in [_setters(bad(_context(spec)), _bad_containers(spec, bad))] if one]
    annotations = sorted(
        f'{name}="{value}"'
        for name, value in (metadata.get("annotations") or {}).items()
        if name.startswith(_APP_ARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if annotations:
        setters.append(_plural("annotation", len(annotations)))
    shown = [*sorted(values), *annotations]
    if not setters:
        return None
    detail = f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(shown)}"
    return _plural("forbidden AppArmor profile", len(shown)), detail


def _capabilities(metadata: Object, spec: Object, minor: int) -> Finding | None:
    names, added = _adding(spec, _CAPABILITIES)
    if not names:
        return None
    return (
        "non-default capabilities",
        f"{_named(names)} must not include {_quoted(sorted(added))} in securityContext.capabilities.add",
    )


def _adding(spec: Object, allowed: frozenset[str]) -> tuple[list[str], set[str]]:
    """The containers that add capabilities beyond those, and which."""
    found: set[str] = set()

    def bad(context: Object) -> bool:
        more = {str(one) for one in (context.get("capabilities") or {}).get("add") or ()} - allowed
        found.update(more)
        return bool(more)

    return _bad_containers(spec, bad), found


def _host_namespaces(metadata: Object, spec: Object, minor: int) -> Finding | None:
    shared = [name for name in ("hostIPC", "hostNetwork", "hostPID") if spec.get(name)]
    return ("host namespaces", ", ".join(shared)) if shared else None


def _host_paths(metadata: Object, spec: Object, minor: int) -> Finding | None:
    names = [str(one.get("name")) for one in spec.get("volumes") or () if one.get("hostPath") is not None]
    return ("hostPath volumes", f"{_plural('volume', len(names))} {_quoted(names)}") if names else None


def _host_ports(metadata: Object, spec: Object, minor: int) -> Finding | None:
    names, ports = [], set()
    for one in containers_of(spec):
        own = {str(port["hostPort"]) for port in one.get("ports") or () if port.get("hostPort")}
        if own:
            names.append(str(one.get("name")))
            ports |= own
    if not names:
        return None
    verb = _plural("uses", len(names), "use")
    return "hostPort", f"{_named(names)} {verb} {_plural('hostPort', len(ports))} {', '.join(sorted(ports))}"


def _hosts_of_probes(metadata: Object, spec: Object, minor: int) -> Finding | None:
    names, hosts = set(), set()
    for one in containers_of(spec):
        cycle = one.get("lifecycle") or {}
        asked = [one.get(name) for name in ("livenessProbe", "readinessProbe", "startupProbe")]
        asked += [cycle.get("postStart"), cycle.get("preStop")]
        own = {
            str(way["host"])
            for handler in asked
            if handler
            for way in (handler.get("httpGet") or {}, handler.get("tcpSocket") or {})
            if way.get("host")
        }
        if own:
            names.add(str(one.get("name")))
            hosts |= own
    if not names:
        return None
    verb, what = _plural("uses", len(names), "use"), _plural("probe or lifecycle host", len(hosts))
    return "probe or lifecycle host", f"{_named(sorted(names))} {verb} {what} {_quoted(sorted(hosts))}"


def _privileged(metadata: Object, spec: Object, minor: int) -> Finding | None:
    names = _bad_containers(spec, lambda context: context.get("privileged"))
    return ("privileged", f"{_named(names)} must not set securityContext.privileged=true") if names else None


def _proc_mount(metadata: Object, spec: Object, minor: int) -> Finding | None:
    kinds: set[str] = set()

    def bad(context: Object) -> bool:
        kind = context.get("procMount")
        if kind in (None, "Default"):
            return False
        kinds.add(str(kind))
        return True

    names = _bad_containers(spec, bad)
    detail = f"{_named(names)} must not set securityContext.procMount to {_quoted(sorted(kinds))}"
    return ("procMount", detail) if names else None


def _selinux(metadata: Object, spec: Object, minor: int) -> Finding | None:
    allowed = _up_to(_SELINUX_TYPES, minor) | {""}
    kinds: set[str] = set()
    set_fields: set[str] = set()

    def bad(context: Object) -> bool:
        options = context.get("seLinuxOptions") or {}
        kind = str(options.get("type") or "")
        own = {name for name in ("user", "role") if options.get(name)}
        set_fields.update(own)
        if kind not in allowed:
            kinds.add(kind)
        return bool(own) or kind not in allowed

    setters = _setters(bad(_context(spec)), _bad_containers(spec, bad))
    if not setters:
        return None
    data = [f"{_plural('type', len(kinds))} {_quoted(sorted(kinds))}"] if kinds else []
    data += [f"{name} may not be set" for name in ("user", "role") if name in set_fields]
    return "seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"


def _seccomp_setters(spec: Object) -> Finding | None:
    values: set[str] = set()

    def bad(context: Object) -> bool:
        profile = context.get("seccompProfile")
        if not profile or profile.get("type") in _PROFILES:
            return False
        values.add(str(profile.get("type", "")))
        return True

    setters = _setters(bad(_context(spec)), _bad_containers(spec, bad))
    if not setters:
        return None
    detail = f"{setters} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}"
    return "seccompProfile", detail


def _seccomp_baseline(metadata: Object, spec: Object, minor: int) -> Finding | None:
    if minor >= 19:
        return _seccomp_setters(spec)
    annotations = metadata.get("annotations") or {}
    names = [_SECCOMP_POD, *(f"{_SECCOMP_CONTAINER}{one.get('name')}" for one in containers_of(spec))]
    shown = sorted(
        f'{name}="{annotations[name]}"'
        for name in names
        if name in annotations
        and annotations[name] not in ("runtime/default", "docker/default")
        and not annotations[name].startswith("localhost/")
    )
    detail = f"forbidden {_plural('annotation', len(shown))} {', '.join(shown)}"
    return ("seccompProfile", detail) if shown else None


def _sysctls(metadata: Object, spec: Object, minor: int) -> Finding | None:
    safe = _up_to(_SYSCTLS, minor)
    names = [str(one.get("name")) for one in _context(spec).get("sysctls") or () if one.get("name") not in safe]
    return ("forbidden sysctls", ", ".join(names)) if names else None


def _host_process(metadata: Object, spec: Object, minor: int) -> Finding | None:
    def bad(context: Object) -> bool:
        return bool((context.get("windowsOptions") or {}).get("hostProcess"))

    setters = _setters(bad(_context(spec)), _bad_containers(spec, bad))
    text = f"{setters} must not set securityContext.windowsOptions.hostProcess=true"
    return ("hostProcess", text) if setters else None


# Restricted


def _escalation(metadata: Object, spec: Object, minor: int) -> Finding | None:
    if _for_windows(spec, minor):
        return None
    names = _bad_containers(spec, lambda context: context.get("allowPrivilegeEscalation") is not False)
    text = f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", text) if names else None


def _dropped(metadata: Object, spec: Object, minor: int) -> Finding | None:
    if _for_windows(spec, minor):
        return None
    missing = _bad_containers(
        spec, lambda context: "ALL" not in ((context.get("capabilities") or {}).get("drop") or ())
    )
    adding, added = _adding(spec, frozenset({"NET_BIND_SERVICE"}))
    texts = [f'{_named(missing)} must set securityContext.capabilities.drop=["ALL"]'] if missing else []
    if adding:
        texts.append(f"{_named(adding)} must not include {_quoted(sorted(added))} in securityContext.capabilities.add")
    return ("unrestricted capabilities", "; ".join(texts)) if texts else None


def _volumes(metadata: Object, spec: Object, minor: int) -> Finding | None:
    names, kinds = [], set()
    for one in spec.get("volumes") or ():
        given = [name for name in one if name != "name" and one[name] is not None]
        if not any(name in _VOLUMES for name in given):
            names.append(str(one.get("name")))
            kinds.add("unknown" if given in ([], ["image"]) else given[0])
    if not names:
        return None
    verb = _plural("uses", len(names), "use")
    kind = _plural("restricted volume type", len(kinds))
    detail = f"{_plural('volume', len(names))} {_quoted(names)} {verb} {kind} {_quoted(sorted(kinds))}"
    return "restricted volume types", detail


def _non_root(metadata: Object, spec: Object, minor: int) -> Finding | None:
    own = _context(spec).get("runAsNonRoot")
    setters = _setters(own is False, _bad_containers(spec, lambda context: context.get("runAsNonRoot") is False))
    if setters:
        return "runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false"
    silent = _bad_containers(spec, lambda context: context.get("runAsNonRoot") is None)
    if not silent or own:
        return None
    return "runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true"


def _user(metadata: Object, spec: Object, minor: int) -> Finding | None:
    def bad(context: Object) -> bool:
        user = context.get("runAsUser")
        return user is not None and user == 0

    setters = _setters(bad(_context(spec)), _bad_containers(spec, bad))
    return ("runAsUser=0", f"{setters} must not set runAsUser=0") if setters else None


def _seccomp_restricted(metadata: Object, spec: Object, minor: int) -> Finding | None:
    if _for_windows(spec, minor):
        return None
    found = _seccomp_setters(spec)
    if found is not None:
        return found
    silent = _bad_containers(spec, lambda context: context.get("seccompProfile") is None)
    if not silent or _context(spec).get("seccompProfile") is not None:
        return None
    text = f'pod or {_named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return "seccompProfile", text


_BASELINE = (
    Check("appArmorProfile", _app_armor),
    Check("capabilities_baseline", _capabilities),
    Check("hostNamespaces", _host_namespaces),
    Check("hostPathVolumes", _host_paths),
    Check("hostPorts", _host_ports),
    Check("hostProbesAndHostLifecycle", _hosts_of_probes, since=34),
    Check("privileged", _privileged),
    Check("procMount", _proc_mount),
    Check("seLinuxOptions", _selinux),
    Check("seccompProfile_baseline", _seccomp_baseline),
    Check("sysctls", _sysctls),
    Check("windowsHostProcess", _host_process),
)
_RESTRICTED = (
    Check("allowPrivilegeEscalation", _escalation, since=8),
    Check("capabilities_restricted", _dropped, since=22, replaces="capabilities_baseline"),
    Check("restrictedVolumes", _volumes, replaces="hostPathVolumes"),
    Check("runAsNonRoot", _non_root),
    Check("runAsUser", _user, since=23),
    Check("seccompProfile_restricted", _seccomp_restricted, since=19, replaces="seccompProfile_baseline"),
)
"""In the order in which the original tells of them: by name, baseline first."""
