"""The Pod Security Standards: which pods are privileged, baseline, restricted, and what makes them so.

`violations(level, metadata, spec)` gives the reasons in the words that users of a real API server see. Specified in
https://kubernetes.io/docs/concepts/security/pod-security-standards/. Only the newest version of the standards is known.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from wherry.schema.resource import Object

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS: Final = (PRIVILEGED, BASELINE, RESTRICTED)

Check = Callable[[Object, Object], str]
"""(metadata, spec) -> what is wrong, or an empty text."""

_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
_SELINUX_TYPES: Final = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_VOLUMES: Final = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"


def violations(level: str, metadata: Object, spec: Object) -> list[str]:
    """Why a pod is not of a level; empty when it is."""
    if level == PRIVILEGED:
        return []
    checks = _RESTRICTED if level == RESTRICTED else _BASELINE
    return [found for check in checks if (found := check(metadata, spec))]


def _containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _context(one: Object) -> Object:
    found: Object = one.get("securityContext") or {}
    return found


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _named(what: str, names: list[str]) -> str:
    """`container "a"` or `containers "a", "b"`."""
    return f"{what}{'s' if len(names) > 1 else ''} {_quoted(names)}"


def _bad_containers(spec: Object, bad: Callable[[Object], bool]) -> list[str]:
    return [one.get("name", "") for one in _containers(spec) if bad(one)]


def _host_process(metadata: Object, spec: Object) -> str:
    def bad(one: Object) -> bool:
        return bool((_context(one).get("windowsOptions") or {}).get("hostProcess"))

    parts = ["pod"] if bad(spec) else []
    if names := _bad_containers(spec, bad):
        parts.append(_named("container", names))
    return (
        f"hostProcess ({' and '.join(parts)} must not set securityContext.windowsOptions.hostProcess=true)"
        if parts
        else ""
    )


def _host_namespaces(metadata: Object, spec: Object) -> str:
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return f"host namespaces ({', '.join(found)})" if found else ""


def _privileged(metadata: Object, spec: Object) -> str:
    names = _bad_containers(spec, lambda one: bool(_context(one).get("privileged")))
    return f"privileged ({_named('container', names)} must not set securityContext.privileged=true)" if names else ""


def _added(one: Object) -> list[str]:
    return [str(name) for name in (_context(one).get("capabilities") or {}).get("add") or ()]


def _capabilities_baseline(metadata: Object, spec: Object) -> str:
    names, words = [], []
    for one in _containers(spec):
        bad = [name for name in _added(one) if name not in _CAPABILITIES]
        if bad:
            names.append(one.get("name", ""))
            words += bad
    if not names:
        return ""
    shown = _quoted(sorted(set(words)))
    who = _named("container", names)
    return f"non-default capabilities ({who} must not include {shown} in securityContext.capabilities.add)"


def _host_path(metadata: Object, spec: Object) -> str:
    names = [one.get("name", "") for one in spec.get("volumes") or () if "hostPath" in one]
    return f"hostPath volumes ({_named('volume', names)})" if names else ""


def _host_ports(metadata: Object, spec: Object) -> str:
    names, ports = [], []
    for one in _containers(spec):
        used = [port["hostPort"] for port in one.get("ports") or () if port.get("hostPort")]
        if used:
            names.append(one.get("name", ""))
            ports += used
    if not names:
        return ""
    shown = ", ".join(str(port) for port in sorted(set(ports)))
    return (
        f"hostPort ({_named('container', names)} use{'' if len(names) > 1 else 's'} "
        f"hostPort{'s' if len(set(ports)) > 1 else ''} {shown})"
    )


def _apparmor(metadata: Object, spec: Object) -> str:
    bad = [
        f'{key}="{value}"'
        for key, value in sorted((metadata.get("annotations") or {}).items())
        if key.startswith(_APPARMOR) and value and value != "runtime/default" and not value.startswith("localhost/")
    ]

    def unconfined(one: Object) -> bool:
        return bool((_context(one).get("appArmorProfile") or {}).get("type") == "Unconfined")

    who = ["pod"] if unconfined(spec) else []
    if names := _bad_containers(spec, unconfined):
        who.append(_named("container", names))
    if who:
        bad.append(f'{" and ".join(who)} must not set AppArmor profile type to "Unconfined"')
    return f"forbidden AppArmor profile{'s' if len(bad) > 1 else ''} ({', '.join(bad)})" if bad else ""


def _selinux(metadata: Object, spec: Object) -> str:
    who: list[str] = []
    what: list[str] = []

    def look(name: str, one: Object) -> None:
        options = _context(one).get("seLinuxOptions") or {}
        found = []
        if options.get("type", "") not in _SELINUX_TYPES:
            found.append(f'type "{options["type"]}"')
        found += [f"{field} may not be set" for field in ("user", "role") if options.get(field)]
        if found:
            who.append(name)
            what.extend(one for one in found if one not in what)

    look("pod", spec)
    for one in _containers(spec):
        look(f'container "{one.get("name", "")}"', one)
    return (
        f"seLinuxOptions ({', '.join(who)} set forbidden securityContext.seLinuxOptions: {'; '.join(what)})"
        if who
        else ""
    )


def _proc_mount(metadata: Object, spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    names = _bad_containers(spec, lambda one: _context(one).get("procMount") not in (None, "Default"))
    return (
        f'procMount ({_named("container", names)} must not set securityContext.procMount to "Unmasked")'
        if names
        else ""
    )


def _seccomp_type(one: Object) -> Any:
    return (_context(one).get("seccompProfile") or {}).get("type")


def _seccomp_baseline(metadata: Object, spec: Object) -> str:
    who = ["pod"] if _seccomp_type(spec) == "Unconfined" else []
    if names := _bad_containers(spec, lambda one: _seccomp_type(one) == "Unconfined"):
        who.append(_named("container", names))
    return (
        f'seccompProfile ({" and ".join(who)} must not set securityContext.seccompProfile.type to "Unconfined")'
        if who
        else ""
    )


def _sysctls(metadata: Object, spec: Object) -> str:
    names = [one.get("name", "") for one in _context(spec).get("sysctls") or () if one.get("name") not in _SYSCTLS]
    return f"forbidden sysctls ({', '.join(names)})" if names else ""


def _probe_hosts(metadata: Object, spec: Object) -> str:
    def hosts(one: Object) -> list[str]:
        handlers = [one.get(field) or {} for field in ("livenessProbe", "readinessProbe", "startupProbe")]
        handlers += [(one.get("lifecycle") or {}).get(field) or {} for field in ("postStart", "preStop")]
        found = [(handler.get(kind) or {}).get("host") for handler in handlers for kind in ("httpGet", "tcpSocket")]
        return [host for host in found if host]

    names, used = [], []
    for one in _containers(spec):
        if bad := hosts(one):
            names.append(one.get("name", ""))
            used += bad
    if not names:
        return ""
    return (
        f"probe or lifecycle host ({_named('container', names)} must not set probe or lifecycle "
        f"host{'s' if len(set(used)) > 1 else ''} {_quoted(sorted(set(used)))})"
    )


def _restricted_volumes(metadata: Object, spec: Object) -> str:
    names, kinds = [], []
    for one in spec.get("volumes") or ():
        bad = [kind for kind in one if kind != "name" and kind not in _VOLUMES]
        if bad:
            names.append(one.get("name", ""))
            kinds += bad
    if not names:
        return ""
    kinds = sorted(set(kinds))
    return (
        f"restricted volume types ({_named('volume', names)} use{'' if len(names) > 1 else 's'} restricted volume "
        f"type{'s' if len(kinds) > 1 else ''} {_quoted(kinds)})"
    )


def _escalation(metadata: Object, spec: Object) -> str:
    if (spec.get("os") or {}).get("name") == "windows":
        return ""
    names = _bad_containers(spec, lambda one: _context(one).get("allowPrivilegeEscalation") is not False)
    if not names:
        return ""
    return (
        f"allowPrivilegeEscalation != false ({_named('container', names)} must set "
        "securityContext.allowPrivilegeEscalation=false)"
    )


def _capabilities_restricted(metadata: Object, spec: Object) -> str:
    if (spec.get("os") or {}).get("name") == "windows":
        return ""
    missing = _bad_containers(
        spec, lambda one: "ALL" not in ((_context(one).get("capabilities") or {}).get("drop") or ())
    )
    adding, words = [], []
    for one in _containers(spec):
        bad = [name for name in _added(one) if name != "NET_BIND_SERVICE"]
        if bad:
            adding.append(one.get("name", ""))
            words += bad
    parts = []
    if missing:
        parts.append(f'{_named("container", missing)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        shown = _quoted(sorted(set(words)))
        parts.append(f"{_named('container', adding)} must not include {shown} in securityContext.capabilities.add")
    return f"unrestricted capabilities ({'; '.join(parts)})" if parts else ""


def _non_root(metadata: Object, spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    pod = _context(spec).get("runAsNonRoot")
    explicit = _bad_containers(spec, lambda one: _context(one).get("runAsNonRoot") is False)
    if explicit or pod is False:
        who = ["pod"] if pod is False else []
        if explicit:
            who.append(_named("container", explicit))
        return f"runAsNonRoot != true ({' and '.join(who)} must not set securityContext.runAsNonRoot=false)"
    if pod:
        return ""
    names = _bad_containers(spec, lambda one: _context(one).get("runAsNonRoot") is None)
    return (
        f"runAsNonRoot != true (pod or {_named('container', names)} must set securityContext.runAsNonRoot=true)"
        if names
        else ""
    )


def _run_as_root(metadata: Object, spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    who = ["pod"] if _context(spec).get("runAsUser") == 0 else []
    if names := _bad_containers(spec, lambda one: _context(one).get("runAsUser") == 0):
        who.append(_named("container", names))
    return f"runAsUser=0 ({' and '.join(who)} must not set runAsUser=0)" if who else ""


def _seccomp_restricted(metadata: Object, spec: Object) -> str:
    if (spec.get("os") or {}).get("name") == "windows":
        return ""
    good = ("RuntimeDefault", "Localhost")
    pod = _seccomp_type(spec)
    explicit = _bad_containers(spec, lambda one: _seccomp_type(one) not in (None, *good))
    if explicit or (pod is not None and pod not in good):
        who = ["pod"] if pod is not None and pod not in good else []
        if explicit:
            who.append(_named("container", explicit))
        return f'seccompProfile ({" and ".join(who)} must not set securityContext.seccompProfile.type to "Unconfined")'
    if pod in good:
        return ""
    names = _bad_containers(spec, lambda one: _seccomp_type(one) is None)
    if not names:
        return ""
    return (
        f"seccompProfile (pod or {_named('container', names)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost")'
    )


_COMMON: Final[tuple[Check, ...]] = (
    _apparmor, _host_namespaces, _host_ports, _probe_hosts, _privileged, _proc_mount, _selinux, _sysctls, _host_process,
)  # fmt: skip
_BASELINE: Final[tuple[Check, ...]] = (
    _apparmor, _capabilities_baseline, _host_namespaces, _host_path, _host_ports, _probe_hosts, _privileged,
    _proc_mount, _seccomp_baseline, _selinux, _sysctls, _host_process,
)  # fmt: skip
_RESTRICTED: Final[tuple[Check, ...]] = (
    *_COMMON, _escalation, _capabilities_restricted, _restricted_volumes, _non_root, _run_as_root, _seccomp_restricted,
)  # fmt: skip
