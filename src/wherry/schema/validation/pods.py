"""Checks of pods and pod templates."""

import ipaddress
from collections.abc import Callable
from typing import Any, Final

from wherry.schema import names
from wherry.schema.objects import deep_copy, same
from wherry.schema.resource import Object
from wherry.schema.validation import metadata, selectors
from wherry.schema.validation.containers import (
    PodView,
    containers,
    ephemeral_containers,
    init_containers,
    seccomp,
)
from wherry.schema.validation.field import NEGATIVE, Causes, quoted
from wherry.schema.validation.pod_diff import spec_diff
from wherry.schema.validation.pod_resize import resize
from wherry.schema.validation.resources import requirements
from wherry.schema.validation.volumes import volumes

JsonDict = dict[str, Any]

RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MAX_ID: Final = 2**31 - 1
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    pod_spec(spec, "spec", causes, is_pod=True)
    if spec.get("ephemeralContainers"):
        causes.forbidden("spec.ephemeralContainers", "cannot be set on create")


def template(found: JsonDict | None, path: str, causes: Causes) -> None:
    """A pod template: labels, annotations and spec."""
    found = found or {}
    meta = found.get("metadata") or {}
    metadata.labels(meta.get("labels"), f"{path}.labels", causes)
    metadata.annotations(meta.get("annotations"), f"{path}.annotations", causes)
    spec = found.get("spec") or {}
    pod_spec(spec, f"{path}.spec", causes)
    if spec.get("ephemeralContainers"):
        causes.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def pod_spec(spec: JsonDict, path: str, causes: Causes, *, is_pod: bool = False) -> None:
    known = volumes(spec.get("volumes"), f"{path}.volumes", causes)
    pod = PodView(spec, known)
    containers(pod, f"{path}.containers", causes)
    if spec.get("initContainers"):
        init_containers(pod, f"{path}.initContainers", causes)
    if spec.get("ephemeralContainers"):
        ephemeral_containers(pod, f"{path}.ephemeralContainers", causes)
    if own := spec.get("resources"):
        requirements(own, f"{path}.resources", pod.claims, causes)
    if spec.get("restartPolicy") not in RESTART_POLICIES:
        causes.one_of(f"{path}.restartPolicy", spec.get("restartPolicy"), RESTART_POLICIES)
    if spec.get("dnsPolicy") not in DNS_POLICIES:
        causes.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), DNS_POLICIES)
    metadata.labels(spec.get("nodeSelector"), f"{path}.nodeSelector", causes)
    if context := spec.get("securityContext"):
        _security_context(context, spec, f"{path}.securityContext", causes)
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            causes.required(f"{path}.imagePullSecrets[{index}].name")
    if spec.get("affinity"):
        selectors.affinity(spec["affinity"], f"{path}.affinity", causes)
    _dns_config(spec, f"{path}.dnsConfig", causes)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        causes.all_invalid(f"{path}.readinessGates[{index}].conditionType", kind, names.qualified_name(kind))
    _scheduling_gates(spec.get("schedulingGates"), f"{path}.schedulingGates", causes)
    _spread(spec.get("topologySpreadConstraints"), f"{path}.topologySpreadConstraints", causes)
    for field, check in _NAMED:
        if value := spec.get(field):
            causes.all_invalid(f"{path}.{field}", value, check(value))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_ID:
        causes.invalid(f"{path}.activeDeadlineSeconds", deadline, names.out_of_range(1, _MAX_ID))
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        causes.invalid(f"{path}.terminationGracePeriodSeconds", grace, NEGATIVE)
    tolerations(spec.get("tolerations"), f"{path}.tolerations", causes)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        where = f"{path}.hostAliases[{index}]"
        ip_address(alias.get("ip") or "", f"{where}.ip", causes)
        for hostname in alias.get("hostnames") or ():
            causes.all_invalid(f"{where}.hostnames", hostname, names.dns_subdomain(hostname))
    if spec.get("preemptionPolicy"):
        causes.one_of(f"{path}.preemptionPolicy", spec["preemptionPolicy"], ("Never", "PreemptLowerPriority"))
    if spec.get("os") is not None:
        causes.one_of(f"{path}.os.name", spec["os"].get("name"), ("linux", "windows"))
    if spec.get("hostNetwork"):
        _host_network_ports(spec, path, causes)


_NAMED: Final[tuple[tuple[str, Callable[[str], list[str]]], ...]] = (
    ("serviceAccountName", names.dns_subdomain),
    ("nodeName", names.dns_subdomain),
    ("hostname", names.dns_label),
    ("subdomain", names.dns_label),
    ("priorityClassName", names.dns_subdomain),
    ("runtimeClassName", names.dns_subdomain),
)


def ip_address(value: str, path: str, causes: Causes) -> None:
    """A valid address of either family."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        causes.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def _host_network_ports(spec: JsonDict, path: str, causes: Causes) -> None:
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            for at, port in enumerate(container.get("ports") or ()):
                host = port.get("hostPort") or 0
                if host and host != port.get("containerPort"):
                    causes.invalid(
                        f"{path}.{field}[{index}].ports[{at}].containerPort",
                        port.get("containerPort", 0),
                        "must match `hostPort` when `hostNetwork` is true",
                    )


def _security_context(context: JsonDict, spec: JsonDict, path: str, causes: Causes) -> None:
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        causes.invalid(
            f"{path}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"
        )
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None and not 0 <= number <= _MAX_ID:
            causes.invalid(f"{path}.{field}", number, names.out_of_range(0, _MAX_ID))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= _MAX_ID:
            causes.invalid(f"{path}.supplementalGroups[{index}]", group, names.out_of_range(0, _MAX_ID))
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        name = sysctl.get("name") or ""
        where = f"{path}.sysctls[{index}].name"
        if not name:
            causes.required(where)
        elif not all(char.isalnum() or char in "-_./" for char in name) or len(name) > 253:
            causes.invalid(where, name, "must have at most 253 characters and match regex "
                           "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9][-_a-z0-9]*[a-z0-9]$")  # fmt: skip
        elif name in seen:
            causes.duplicate(where, name)
        seen.add(name)
    if context.get("fsGroupChangePolicy") not in (None, "Always", "OnRootMismatch"):
        causes.unsupported(f"{path}.fsGroupChangePolicy", context["fsGroupChangePolicy"], ("Always", "OnRootMismatch"))
    seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", causes)


def _dns_config(spec: JsonDict, path: str, causes: Causes) -> None:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            causes.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            causes.required(f"{path}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            return
    if not config:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        causes.invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers")
    for index, server in enumerate(servers):
        ip_address(server, f"{path}.nameservers[{index}]", causes)
    if len(searches) > 32:
        causes.invalid(f"{path}.searches", searches, "must not have more than 32 search paths")
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            causes.all_invalid(f"{path}.searches[{index}]", bare, names.dns_subdomain(bare.replace("_", "x")))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            causes.required(f"{path}.options[{index}]", "must not be empty")


def _scheduling_gates(gates: Any, path: str, causes: Causes) -> None:
    seen: set[str] = set()
    for index, gate in enumerate(gates or ()):
        name = gate.get("name") or ""
        causes.all_invalid(f"{path}[{index}]", name, names.qualified_name(name))
        if name in seen:
            causes.duplicate(f"{path}[{index}]", name)
        seen.add(name)


def _spread(constraints: Any, path: str, causes: Causes) -> None:
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(constraints or ()):
        where = f"{path}[{index}]"
        skew, key, when = one.get("maxSkew") or 0, one.get("topologyKey") or "", one.get("whenUnsatisfiable") or ""
        if skew <= 0:
            causes.invalid(f"{where}.maxSkew", skew, "must be greater than zero")
        if not key:
            causes.required(f"{where}.topologyKey", "can not be empty")
        else:
            causes.all_invalid(f"{where}.topologyKey", key, names.qualified_name(key))
        if when not in ("DoNotSchedule", "ScheduleAnyway"):
            causes.unsupported(f"{where}.whenUnsatisfiable", when, ("DoNotSchedule", "ScheduleAnyway"))
        if (key, when) in seen:
            causes.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}")
        seen.add((key, when))
        domains = one.get("minDomains")
        if domains is not None:
            if domains <= 0:
                causes.invalid(f"{where}.minDomains", domains, "must be greater than zero")
            if when != "DoNotSchedule":
                causes.invalid(
                    f"{where}.minDomains",
                    domains,
                    f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}",
                )
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if one.get(field) is not None:
                causes.one_of(f"{where}.{field}", one[field], ("Honor", "Ignore"))
        selectors.label_selector(one.get("labelSelector"), f"{where}.labelSelector", causes)


def tolerations(found: Any, path: str, causes: Causes) -> None:
    """`spec.tolerations`."""
    for index, one in enumerate(found or ()):
        where = f"{path}[{index}]"
        key, operator, value, effect = (one.get(field) or "" for field in ("key", "operator", "value", "effect"))
        if key:
            causes.all_invalid(f"{where}.key", key, names.qualified_name(key))
        elif operator != "Exists":
            causes.invalid(
                f"{where}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if one.get("tolerationSeconds") is not None and effect != "NoExecute":
            causes.invalid(f"{where}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator in ("", "Equal"):
            if problems := names.label_value(value):
                causes.invalid(f"{where}.operator", value, ";".join(problems))
        elif operator == "Exists":
            if value:
                causes.invalid(f"{where}.operator", one, "value must be empty when `operator` is 'Exists'")
        else:
            causes.unsupported(f"{where}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in _EFFECTS:
            causes.unsupported(f"{where}.effect", effect, _EFFECTS)


_UPDATABLE: Final = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def update(new: Object, old: Object, causes: Causes, subresource: str = "") -> None:
    """What may change in a pod: images, a shorter deadline, more tolerations, fewer gates."""
    if subresource in ("status", "binding"):
        return
    after, before = new.get("spec") or {}, old.get("spec") or {}
    pod_spec(after, "spec", causes, is_pod=True)
    if subresource == "ephemeralcontainers":
        _ephemeral_update(after, before, causes)
        return
    if subresource == "resize":
        resize(new, old, causes)
        return
    for field in ("containers", "initContainers"):
        if len(after.get(field) or ()) != len(before.get(field) or ()):
            causes.forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    _deadline_update(after, before, causes)
    _tolerations_update(after, before, causes)
    allowed = deep_copy(after)
    for field in ("containers", "initContainers"):
        for one, other in zip(allowed.get(field) or (), before.get(field) or (), strict=True):
            one["image"] = other.get("image")
    for field in ("activeDeadlineSeconds", "tolerations"):
        _reset(allowed, before, field)
    if after.get("terminationGracePeriodSeconds") == 1 and (before.get("terminationGracePeriodSeconds") or 0) < 0:
        _reset(allowed, before, "terminationGracePeriodSeconds")
    _gates_update(after, before, causes)
    if before.get("schedulingGates"):
        _reset(allowed, before, "schedulingGates")
        for field in ("nodeSelector", "affinity"):
            _reset(allowed, before, field)
        _gated_update(after, before, causes)
    else:
        _reset(allowed, before, "schedulingGates")
    _reset(allowed, before, "ephemeralContainers")
    if not same(allowed, before):
        causes.forbidden(
            "spec", f"pod updates may not change fields other than {_UPDATABLE}\n{spec_diff(before, allowed)}"
        )


def _reset(allowed: JsonDict, before: JsonDict, field: str) -> None:
    if field in before:
        allowed[field] = before[field]
    else:
        allowed.pop(field, None)


def _deadline_update(after: JsonDict, before: JsonDict, causes: Causes) -> None:
    old, new = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
    if new is not None and not 0 <= new <= _MAX_ID:
        causes.invalid("spec.activeDeadlineSeconds", new, names.out_of_range(0, _MAX_ID))
    elif new is not None and old is not None and old < new:
        causes.invalid("spec.activeDeadlineSeconds", new, "must be less than or equal to previous value")
    elif new is None and old is not None:
        causes.invalid("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")


def _tolerations_update(after: JsonDict, before: JsonDict, causes: Causes) -> None:
    kept = after.get("tolerations") or []
    for old in before.get("tolerations") or ():
        stripped = {key: value for key, value in old.items() if key != "tolerationSeconds"}
        if not any(
            {key: value for key, value in new.items() if key != "tolerationSeconds"} == stripped for new in kept
        ):
            causes.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
            return


def _gates_update(after: JsonDict, before: JsonDict, causes: Causes) -> None:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    fresh = [gate.get("name") for gate in after.get("schedulingGates") or () if gate.get("name") not in known]
    if fresh:
        causes.forbidden(
            "spec.schedulingGates", f"only deletion is allowed, but found new scheduling gate '{fresh[0]}'"
        )


def _gated_update(after: JsonDict, before: JsonDict, causes: Causes) -> None:
    old = before.get("nodeSelector") or {}
    new = after.get("nodeSelector") or {}
    if any(new.get(key) != value for key, value in old.items()):
        causes.invalid("spec.nodeSelector", new, "only additions are allowed (no mutations or deletions)")


def _ephemeral_update(after: JsonDict, before: JsonDict, causes: Causes) -> None:
    new = {one.get("name"): one for one in after.get("ephemeralContainers") or ()}
    for old in before.get("ephemeralContainers") or ():
        name = old.get("name") or ""
        if name not in new:
            causes.forbidden(
                "spec.ephemeralContainers", f"existing ephemeral containers {quoted(name)} may not be removed\n"
            )
        elif not same(new[name], old):
            causes.forbidden(
                "spec.ephemeralContainers", f"existing ephemeral containers {quoted(name)} may not be changed\n"
            )
