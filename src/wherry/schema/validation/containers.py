"""Checks of containers: what all kinds of containers in a pod share, and what sets them apart."""

from typing import Any, Final

from wherry.schema import names
from wherry.schema.validation import resources
from wherry.schema.validation.field import NEGATIVE, Causes
from wherry.schema.validation.volumes import field_selector, local_path, resource_field

JsonDict = dict[str, Any]

PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_ENV_FIELDS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_MAX_ID: Final = 2**31 - 1


class PodView:
    """What the checks of one container must know of its pod."""

    def __init__(self, spec: JsonDict, volumes: dict[str, JsonDict]) -> None:
        self.spec = spec
        self.volumes = volumes
        self.claims = frozenset(claim.get("name", "") for claim in spec.get("resourceClaims") or ())
        self.names: set[str] = set()


def containers(pod: PodView, path: str, causes: Causes) -> None:
    """`spec.containers`."""
    found = pod.spec.get("containers") or []
    if not found:
        causes.required(path)
        return
    for index, container in enumerate(found):
        where = f"{path}[{index}]"
        _common(container, pod, where, causes)
        _unique(container, pod, where, causes)
        _lifecycle(container.get("lifecycle"), f"{where}.lifecycle", causes)
        _probes(container, where, causes)
        if container.get("restartPolicy") and container["restartPolicy"] not in ("Always", "Never", "OnFailure"):
            causes.unsupported(f"{where}.restartPolicy", container["restartPolicy"], ("Always", "Never", "OnFailure"))
    _host_port_conflicts(found, path, causes)


def init_containers(pod: PodView, path: str, causes: Causes) -> None:
    """`spec.initContainers`; those with restartPolicy Always are sidecars and may have probes."""
    found = pod.spec.get("initContainers") or []
    for index, container in enumerate(found):
        where = f"{path}[{index}]"
        _common(container, pod, where, causes)
        _unique(container, pod, where, causes)
        if container.get("restartPolicy") == "Always":
            _lifecycle(container.get("lifecycle"), f"{where}.lifecycle", causes)
            _probes(container, where, causes)
        else:
            if container.get("restartPolicy") not in (None, "Always", "Never", "OnFailure"):
                causes.unsupported(
                    f"{where}.restartPolicy", container["restartPolicy"], ("Always", "Never", "OnFailure")
                )
            for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(field) is not None:
                    causes.forbidden(
                        f"{where}.{field}", "may not be set for init containers without restartPolicy=Always"
                    )
    _host_port_conflicts(found, path, causes)


_NOT_EPHEMERAL: Final = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
)


def ephemeral_containers(pod: PodView, path: str, causes: Causes) -> None:
    """`spec.ephemeralContainers`."""
    others = {one.get("name") for field in ("containers", "initContainers") for one in pod.spec.get(field) or ()}
    for index, container in enumerate(pod.spec.get("ephemeralContainers") or ()):
        where = f"{path}[{index}]"
        _common(container, pod, where, causes)
        _unique(container, pod, where, causes)
        target = container.get("targetContainerName")
        if target and target not in others:
            causes.not_found(f"{where}.targetContainerName", target)
        for field in _NOT_EPHEMERAL:
            if container.get(field):
                causes.forbidden(f"{where}.{field}", "cannot be set for an Ephemeral Container")
        if container.get("resources"):
            causes.forbidden(f"{where}.resources", "cannot be set for an Ephemeral Container")
        for at, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    causes.forbidden(f"{where}.volumeMounts[{at}].{field}", "cannot be set for an Ephemeral Container")


def _unique(container: JsonDict, pod: PodView, where: str, causes: Causes) -> None:
    name = container.get("name") or ""
    if name and name in pod.names:
        causes.duplicate(f"{where}.name", name)
    pod.names.add(name)


def _common(container: JsonDict, pod: PodView, where: str, causes: Causes) -> None:
    name = container.get("name")
    if not name:
        causes.required(f"{where}.name")
    elif problems := names.dns_label(name):
        causes.all_invalid(f"{where}.name", name, problems)
    image = container.get("image") or ""
    if not image:
        causes.required(f"{where}.image")
    elif image != image.strip():
        causes.invalid(f"{where}.image", image, "must not have leading or trailing whitespace")
    policy = container.get("terminationMessagePolicy")
    if policy not in ("File", "FallbackToLogsOnError"):
        if not policy:
            causes.required(f"{where}.terminationMessagePolicy")
        else:
            causes.unsupported(f"{where}.terminationMessagePolicy", policy, ("FallbackToLogsOnError", "File"))
    if ports := container.get("ports"):
        _ports(ports, f"{where}.ports", causes)
    if env := container.get("env"):
        _env(env, f"{where}.env", causes)
    if sources := container.get("envFrom"):
        _env_from(sources, f"{where}.envFrom", causes)
    devices = _devices(container.get("volumeDevices"), pod, f"{where}.volumeDevices", causes)
    if mounts := container.get("volumeMounts"):
        _mounts(mounts, pod, container, devices, f"{where}.volumeMounts", causes)
    pull = container.get("imagePullPolicy")
    if pull not in PULL_POLICIES:
        causes.one_of(f"{where}.imagePullPolicy", pull, PULL_POLICIES)
    resources.requirements(container.get("resources"), f"{where}.resources", pod.claims, causes)
    if context := container.get("securityContext"):
        _security_context(context, pod.spec, f"{where}.securityContext", causes)
    for index, resize in enumerate(container.get("resizePolicy") or ()):
        _resize_policy(resize, f"{where}.resizePolicy[{index}]", causes)


def _resize_policy(resize: JsonDict, path: str, causes: Causes) -> None:
    # The real server reports the list, not the entry.
    path = path.rpartition("[")[0]
    causes.one_of(path, resize.get("resourceName"), ("cpu", "memory"))
    causes.one_of(path, resize.get("restartPolicy"), ("NotRequired", "RestartContainer"))


def _ports(ports: list[JsonDict], path: str, causes: Causes) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        if name := port.get("name"):
            if problems := names.port_name(name):
                causes.all_invalid(f"{where}.name", name, problems)
            elif name in seen:
                causes.duplicate(f"{where}.name", name)
            else:
                seen.add(name)
        number = port.get("containerPort") or 0
        if not number:
            causes.required(f"{where}.containerPort")
        else:
            causes.all_invalid(f"{where}.containerPort", number, names.port_number(number))
        if host := port.get("hostPort"):
            causes.all_invalid(f"{where}.hostPort", host, names.port_number(host))
        protocol = port.get("protocol")
        if protocol not in PROTOCOLS:
            causes.one_of(f"{where}.protocol", protocol, PROTOCOLS)


def _host_port_conflicts(found: list[JsonDict], path: str, causes: Causes) -> None:
    taken: set[str] = set()
    for index, container in enumerate(found):
        for at, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort") or 0
            if not number:
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{number}"
            if key in taken:
                causes.duplicate(f"{path}[{index}].ports[{at}].hostPort", key)
            taken.add(key)


def _env(env: list[JsonDict], path: str, causes: Causes) -> None:
    for index, one in enumerate(env):
        where = f"{path}[{index}]"
        name = one.get("name")
        if not name:
            causes.required(f"{where}.name")
        else:
            causes.all_invalid(f"{where}.name", name, names.env_var_name(name))
        source = one.get("valueFrom")
        if source is not None:
            _env_source(source, one.get("value"), f"{where}.valueFrom", causes)


def _env_source(source: JsonDict, value: str | None, path: str, causes: Causes) -> None:
    count = 0
    if ref := source.get("fieldRef"):
        count += 1
        if ref.get("fieldPath") in ("metadata.labels", "metadata.annotations"):
            causes.unsupported(f"{path}.fieldRef.fieldPath", ref["fieldPath"], _ENV_FIELDS)
        else:
            field_selector(ref, _ENV_FIELDS, f"{path}.fieldRef", causes)
    if ref := source.get("resourceFieldRef"):
        count += 1
        resource_field(ref, f"{path}.resourceFieldRef", causes)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if (ref := source.get(field)) is not None:
            count += 1
            if not ref.get("name"):
                causes.required(f"{path}.{field}.name")
            if not ref.get("key"):
                causes.required(f"{path}.{field}.key")
            else:
                causes.all_invalid(f"{path}.{field}.key", ref["key"], names.config_key(ref["key"]))
    if source.get("fileKeyRef") is not None:
        count += 1
    if not count:
        causes.invalid(
            path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        )
    if value:
        if count:
            causes.invalid(path, "", "may not be specified when `value` is not empty")
    elif count > 1:
        causes.invalid(path, "", "may not have more than one field specified at a time")


def _env_from(sources: list[JsonDict], path: str, causes: Causes) -> None:
    for index, source in enumerate(sources):
        where = f"{path}[{index}]"
        if prefix := source.get("prefix"):
            causes.all_invalid(f"{where}.prefix", prefix, names.env_var_name(prefix))
        count = 0
        for field in ("configMapRef", "secretRef"):
            if (ref := source.get(field)) is not None:
                count += 1
                if not ref.get("name"):
                    causes.required(f"{where}.{field}.name")
        if not count:
            causes.invalid(where, "", "must specify one of: `configMapRef` or `secretRef`")
        elif count > 1:
            causes.invalid(where, "", "may not have more than one field specified at a time")


def _devices(devices: Any, pod: PodView, path: str, causes: Causes) -> set[str]:
    paths: set[str] = set()
    seen: set[str] = set()
    for index, device in enumerate(devices or ()):
        where = f"{path}[{index}]"
        name, target = device.get("name") or "", device.get("devicePath") or ""
        if not name:
            causes.required(f"{where}.name")
        if name in seen:
            causes.invalid(f"{where}.name", name, "must be unique")
        volume = pod.volumes.get(name)
        if volume is None:
            causes.not_found(f"{where}.name", name)
        elif "persistentVolumeClaim" not in volume and "ephemeral" not in volume:
            causes.invalid(
                f"{where}.name",
                name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            )
        if not target:
            causes.required(f"{where}.devicePath")
        elif target in paths:
            causes.invalid(f"{where}.devicePath", target, "must be unique")
        paths.add(target)
        seen.add(name)
    return paths


def _mounts(
    mounts: list[JsonDict], pod: PodView, container: JsonDict, devices: set[str], path: str, causes: Causes
) -> None:
    targets: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{path}[{index}]"
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            causes.required(f"{where}.name")
        if name not in pod.volumes:
            causes.not_found(f"{where}.name", name)
        if not target:
            causes.required(f"{where}.mountPath")
        if target in targets:
            causes.invalid(f"{where}.mountPath", target, "must be unique")
        targets.add(target)
        if target in devices:
            causes.invalid(f"{where}.mountPath", target, "must not already exist as a path in volumeDevices")
        if sub := mount.get("subPath"):
            local_path(sub, f"{where}.subPath", causes)
        if expression := mount.get("subPathExpr"):
            if sub:
                causes.invalid(f"{where}.subPathExpr", expression, "subPathExpr and subPath are mutually exclusive")
            local_path(expression, f"{where}.subPathExpr", causes)
        propagation = mount.get("mountPropagation")
        if propagation is not None:
            modes = ("Bidirectional", "HostToContainer", "None")
            if propagation not in modes:
                causes.unsupported(f"{where}.mountPropagation", propagation, modes)
            elif propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
                causes.forbidden(
                    f"{where}.mountPropagation",
                    "Bidirectional mount propagation is available only to privileged containers",
                )


def _probes(container: JsonDict, where: str, causes: Causes) -> None:
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe is None:
            continue
        path = f"{where}.{field}"
        handler(probe, path, causes)
        for number in (
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ):
            if (probe.get(number) or 0) < 0:
                causes.invalid(f"{path}.{number}", probe[number], NEGATIVE)
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None:
            if field == "readinessProbe":
                causes.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
            elif grace <= 0:
                causes.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")
        if field != "readinessProbe" and (probe.get("successThreshold") or 0) > 1:
            causes.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _lifecycle(lifecycle: JsonDict | None, path: str, causes: Causes) -> None:
    for field in ("postStart", "preStop"):
        if lifecycle and (hook := lifecycle.get(field)) is not None:
            handler(hook, f"{path}.{field}", causes)


def handler(found: JsonDict, path: str, causes: Causes) -> None:
    """A probe's or hook's action: exactly one of exec, httpGet, tcpSocket, grpc, sleep."""
    count = 0
    for field in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        action = found.get(field)
        if action is None:
            continue
        where = f"{path}.{field}"
        count += 1
        if count > 1:
            causes.forbidden(where, "may not specify more than 1 handler type")
        elif field == "exec":
            if not action.get("command"):
                causes.required(f"{where}.command")
        elif field == "httpGet":
            _http_get(action, where, causes)
        elif field == "sleep":
            if (action.get("seconds") or 0) < 0:
                causes.invalid(where, action["seconds"], "must be greater than or equal to 0")
        else:
            port_or_name(action.get("port"), f"{where}.port", causes)
    if not count:
        causes.required(path, "must specify a handler type")


def _http_get(action: JsonDict, path: str, causes: Causes) -> None:
    if not action.get("path"):
        causes.required(f"{path}.path")
    port_or_name(action.get("port"), f"{path}.port", causes)
    scheme = action.get("scheme")
    if scheme not in ("HTTP", "HTTPS"):
        causes.unsupported(f"{path}.scheme", scheme or "", ("HTTP", "HTTPS"))
    for index, header in enumerate(action.get("httpHeaders") or ()):
        name = header.get("name") or ""
        # The real server reports the list's path, without the index.
        del index
        causes.all_invalid(f"{path}.httpHeaders", name, names.http_header_name(name))


def port_or_name(port: Any, path: str, causes: Causes) -> None:
    if isinstance(port, str):
        causes.all_invalid(path, port, names.port_name(port))
    else:
        causes.all_invalid(path, port or 0, names.port_number(port or 0))


def _security_context(context: JsonDict, spec: JsonDict, path: str, causes: Causes) -> None:
    for field in ("runAsUser", "runAsGroup"):
        number = context.get(field)
        if number is not None and not 0 <= number <= _MAX_ID:
            causes.invalid(f"{path}.{field}", number, names.out_of_range(0, _MAX_ID))
    if context.get("procMount") not in (None, "Default", "Unmasked"):
        causes.unsupported(f"{path}.procMount", context["procMount"], ("Default", "Unmasked"))
    seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", causes)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            causes.invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            causes.invalid(
                path, context, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            )


def seccomp(profile: JsonDict | None, path: str, causes: Causes) -> None:
    if profile is None:
        return
    kind, local = profile.get("type"), profile.get("localhostProfile")
    kinds = ("Localhost", "RuntimeDefault", "Unconfined")
    if not kind:
        causes.required(f"{path}.type", "type is required when seccompProfile is set")
    elif kind not in kinds:
        causes.unsupported(f"{path}.type", kind, kinds)
    elif kind == "Localhost":
        if not local:
            causes.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            local_path(local, f"{path}.localhostProfile", causes)
    elif local is not None:
        causes.invalid(f"{path}.localhostProfile", local, "can only be set when seccomp type is Localhost")
