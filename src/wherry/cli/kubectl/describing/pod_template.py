"""Containers, volumes, tolerations: what pods and pod templates have in common."""

from typing import Any

from wherry.cli.kubectl.describing.writer import Object, Writer, boolean, selector_text, time_of


def describe_template(out: Writer, template: Object) -> None:
    """The section `Pod Template:`."""
    out.raw("Pod Template:\n")
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    out.labels("Labels", meta.get("labels"), "  ", "\t")
    if meta.get("annotations"):
        items = [f"{key}: {value}" for key, value in sorted(meta["annotations"].items())]
        out.below("Annotations", items, "  ", "\t")
    if spec.get("serviceAccountName"):
        out.field("Service Account", spec["serviceAccountName"], 1)
    if spec.get("initContainers"):
        containers(out, "Init Containers", spec["initContainers"], None, "  ")
    containers(out, "Containers", spec.get("containers") or [], None, "  ")
    volumes(out, spec.get("volumes") or [], "  ")
    spread(out, spec.get("topologySpreadConstraints") or [], "  ")
    if spec.get("priorityClassName"):
        out.field("Priority Class Name", spec["priorityClassName"], 1)
    out.labels("Node-Selectors", spec.get("nodeSelector"), "  ", "\t")
    tolerations(out, spec.get("tolerations") or [], "  ")


def containers(
    out: Writer, label: str, found: list[Object], statuses: Any, space: str, pod: Object | None = None
) -> None:
    """A list of containers; `statuses` (by name) only for those of a pod."""
    out.raw(f"{space}{label}:{'' if found else ' <none>'}\n")
    for container in found:
        status = (statuses or {}).get(container["name"])
        _basic(out, container, status, space)
        _words(out, "Command", container.get("command"))
        _words(out, "Args", container.get("args"))
        if status is not None:
            _state(out, status)
        resources = container.get("resources") or {}
        for field, title in (("limits", "Limits"), ("requests", "Requests")):
            amounts = resources.get(field) or {}
            if amounts:
                out.line(2, f"{title}:")
                for name in sorted(amounts):
                    out.field(name, amounts[name], 3)
        for field, title in (
            ("livenessProbe", "Liveness"),
            ("readinessProbe", "Readiness"),
            ("startupProbe", "Startup"),
        ):
            if container.get(field):
                out.field(title, probe(container[field]), 2)
        if container.get("envFrom"):
            _env_from(out, container["envFrom"])
        _env(out, container.get("env") or [], pod)
        _mounts(out, container)


def _basic(out: Writer, container: Object, status: Object | None, space: str) -> None:
    out.line(1, f"{space[:-1] if space else ''}{container['name']}:")
    if status is not None:
        out.field("Container ID", status.get("containerID", ""), 2)
    out.field("Image", container.get("image", ""), 2)
    if status is not None:
        out.field("Image ID", status.get("imageID", ""), 2)
    ports = container.get("ports") or []
    inner = ", ".join(f"{p['containerPort']}/{p.get('protocol', 'TCP')}" for p in ports)
    outer = ", ".join(f"{p.get('hostPort') or 0}/{p.get('protocol', 'TCP')}" for p in ports)
    many = "s" if len(ports) > 1 else ""
    out.field(f"Port{many}", inner or "<none>", 2)
    out.field(f"Host Port{many}", outer or "<none>", 2)
    profile = (container.get("securityContext") or {}).get("seccompProfile")
    if profile:
        out.field("SeccompProfile", profile.get("type", ""), 2)
        if profile.get("localhostProfile"):
            out.field("LocalhostProfile", profile["localhostProfile"], 3)


def _words(out: Writer, title: str, words: list[str] | None) -> None:
    if words:
        out.line(2, f"{title}:")
        for word in words:
            for line in word.split("\n"):
                out.line(3, line)


def _state(out: Writer, status: Object) -> None:
    _one_state(out, "State", status.get("state") or {})
    if (status.get("lastState") or {}).get("terminated"):
        _one_state(out, "Last State", status["lastState"])
    out.field("Ready", boolean(status.get("ready")), 2)
    out.field("Restart Count", status.get("restartCount", 0), 2)


def _one_state(out: Writer, name: str, state: Object) -> None:
    if state.get("running") is not None:
        out.field(name, "Running", 2)
        out.field("Started", time_of(state["running"].get("startedAt")), 3)
    elif state.get("terminated") is not None:
        ended = state["terminated"]
        out.field(name, "Terminated", 2)
        for key, title in (("reason", "Reason"), ("message", "Message")):
            if ended.get(key):
                out.field(title, ended[key], 3)
        out.field("Exit Code", ended.get("exitCode", 0), 3)
        if ended.get("signal"):
            out.field("Signal", ended["signal"], 3)
        out.field("Started", time_of(ended.get("startedAt")), 3)
        out.field("Finished", time_of(ended.get("finishedAt")), 3)
    else:
        out.field(name, "Waiting", 2)
        if (state.get("waiting") or {}).get("reason"):
            out.field("Reason", state["waiting"]["reason"], 3)


def probe(one: Object) -> str:
    """`http-get http://:8080/ delay=0s timeout=1s period=10s #success=1 #failure=3`."""
    rest = (
        f"delay={one.get('initialDelaySeconds') or 0}s timeout={one.get('timeoutSeconds') or 0}s "
        f"period={one.get('periodSeconds') or 0}s #success={one.get('successThreshold') or 0} "
        f"#failure={one.get('failureThreshold') or 0}"
    )
    if one.get("exec") is not None:
        return f"exec [{' '.join(one['exec'].get('command') or ())}] {rest}"
    if one.get("httpGet") is not None:
        http = one["httpGet"]
        scheme, path = str(http.get("scheme") or "").lower(), http.get("path") or ""
        path = path if not path or path.startswith("/") else "/" + path
        host = f"{http.get('host') or ''}:{http['port']}" if str(http.get("port") or "") else http.get("host") or ""
        return f"http-get {scheme}://{host}{path} {rest}"
    if one.get("tcpSocket") is not None:
        return f"tcp-socket {one['tcpSocket'].get('host') or ''}:{one['tcpSocket'].get('port')} {rest}"
    if one.get("grpc") is not None:
        return f"grpc <pod>:{one['grpc'].get('port')} {one['grpc'].get('service') or ''} {rest}"
    return f"unknown {rest}"


def _env_from(out: Writer, sources: list[Object]) -> None:
    out.line(2, "Environment Variables from:")
    for source in sources:
        kind, reference = (
            ("ConfigMap", source["configMapRef"])
            if source.get("configMapRef")
            else ("Secret", source.get("secretRef") or {})
        )
        prefix = f" with prefix '{source['prefix']}'" if source.get("prefix") else ""
        optional = "true" if reference.get("optional") else "false"
        out.line(3, f"{reference.get('name', '')}\t{kind}{prefix}\tOptional: {optional}")


def _env(out: Writer, env: list[Object], pod: Object | None) -> None:
    out.line(2, f"Environment:{'' if env else chr(9) + '<none>'}")
    for variable in env:
        source = variable.get("valueFrom")
        name = variable["name"]
        if not source:
            for index, line in enumerate(str(variable.get("value") or "").split("\n")):
                out.line(3, f"{name}:\t{line}" if not index else f"\t{line}")
        elif source.get("fieldRef"):
            reference = source["fieldRef"]
            value = _field_value(pod, reference["fieldPath"]) if pod is not None else ""
            out.line(3, f"{name}:\t{value} ({reference.get('apiVersion', 'v1')}:{reference['fieldPath']})")
        elif source.get("resourceFieldRef"):
            reference = source["resourceFieldRef"]
            out.line(3, f"{name}:\t{_resource_value(pod, reference)} ({reference.get('resource', '')})")
        elif source.get("secretKeyRef"):
            reference = source["secretKeyRef"]
            optional = "true" if reference.get("optional") else "false"
            out.line(
                3,
                f"{name}:\t<set to the key '{reference['key']}' in secret "
                f"'{reference.get('name', '')}'>\tOptional: {optional}",
            )
        elif source.get("configMapKeyRef"):
            reference = source["configMapKeyRef"]
            optional = "true" if reference.get("optional") else "false"
            out.line(
                3,
                f"{name}:\t<set to the key '{reference['key']}' of config map "
                f"'{reference.get('name', '')}'>\tOptional: {optional}",
            )


def _field_value(pod: Object | None, path: str) -> str:
    from wherry.schema.jsonpath import parse, show

    if pod is None:
        return ""
    try:
        values = [value for group in parse("{." + path + "}").find(pod) for value in group]
    except ValueError:
        return ""
    return show(values[0]) if values else ""


def _resource_value(pod: Object | None, reference: Object) -> str:
    for container in ((pod or {}).get("spec") or {}).get("containers") or ():
        if not reference.get("containerName") or container["name"] == reference["containerName"]:
            field, _, name = reference.get("resource", "").partition(".")
            return str(((container.get("resources") or {}).get(field) or {}).get(name, "0"))
    return ""


def _mounts(out: Writer, container: Object) -> None:
    mounts = sorted(container.get("volumeMounts") or (), key=lambda mount: str(mount.get("mountPath")))
    out.line(2, f"Mounts:{'' if mounts else chr(9) + '<none>'}")
    for mount in mounts:
        flags = ["ro" if mount.get("readOnly") else "rw"]
        if mount.get("subPath"):
            flags.append(f'path="{mount["subPath"]}"')
        out.line(3, f"{mount['mountPath']} from {mount['name']} ({','.join(flags)})")
    devices = container.get("volumeDevices") or []
    if devices:
        out.line(2, "Devices:")
        for device in devices:
            out.line(3, f"{device['devicePath']} from {device['name']}")


def spread(out: Writer, constraints: list[Object], space: str) -> None:
    if not constraints:
        return
    out.raw(f"{space}Topology Spread Constraints:\t")
    for index, one in enumerate(sorted(constraints, key=lambda c: str(c.get("topologyKey")))):
        if index:
            out.raw(f"{space}\t")
        text = f"{one.get('topologyKey')}:{one.get('whenUnsatisfiable')} when max skew {one.get('maxSkew')} is exceeded"
        if one.get("labelSelector") is not None:
            text += f" for selector {selector_text(one['labelSelector'])}"
        out.raw(text + "\n")


def tolerations(out: Writer, found: list[Object], space: str = "") -> None:
    items = []
    for one in sorted(found, key=lambda t: str(t.get("key") or "")):
        text = one.get("key") or ""
        if one.get("value"):
            text += f"={one['value']}"
        if one.get("effect"):
            text += f":{one['effect']}"
        if one.get("operator") == "Exists" and not one.get("value"):
            text += " op=Exists" if one.get("key") or one.get("effect") else "op=Exists"
        if one.get("tolerationSeconds") is not None:
            text += f" for {one['tolerationSeconds']}s"
        items.append(text)
    out.below("Tolerations", items, space, "\t")


def _flag(value: Any) -> str:
    return "true" if value else "false"


def _optional(value: Any) -> str:
    return "<nil>" if value is None else _flag(value)


def volumes(out: Writer, found: list[Object], space: str) -> None:
    if not found:
        out.raw(f"{space}Volumes:\t<none>\n")
        return
    out.raw(f"{space}Volumes:\n")
    for volume in found:
        out.line(1, f"{space[:-1] if space else ''}{volume['name']}:")
        volume_source(out, volume)


def volume_source(out: Writer, volume: Object) -> None:
    """The lines of one volume's source; shared with persistent volumes."""
    kind = next((key for key in volume if key in SOURCES), None)
    if kind is None:
        out.line(1, "<unknown>")
        return
    source = volume[kind] or {}
    told, fields = SOURCES[kind]
    out.line(2, f"Type:\t{told}")
    if kind == "projected":
        _projected(out, source)
    elif kind == "downwardAPI":
        out.raw("    Items:\n")
        for item in source.get("items") or ():
            reference = (item.get("fieldRef") or {}).get("fieldPath") or (item.get("resourceFieldRef") or {}).get(
                "resource", ""
            )
            out.line(3, f"{reference} -> {item['path']}")
    for title, key in fields:
        value = source.get(key)
        if key == "optional" or key in ("readOnly",):
            shown = _flag(value)
        elif key == "sizeLimit":
            shown = str(value) if value else "<unset>"
        elif isinstance(value, dict):
            shown = value.get("name", "")
        else:
            shown = "" if value is None else str(value)
        out.line(2, f"{title}:\t{shown}")


def _projected(out: Writer, source: Object) -> None:
    for one in source.get("sources") or ():
        if one.get("secret"):
            out.line(2, f"SecretName:\t{one['secret'].get('name', '')}")
            out.line(2, f"SecretOptionalName:\t{_optional(one['secret'].get('optional'))}")
        elif one.get("downwardAPI"):
            out.line(2, "DownwardAPI:\ttrue")
        elif one.get("configMap"):
            out.line(2, f"ConfigMapName:\t{one['configMap'].get('name', '')}")
            optional = one["configMap"].get("optional")
            out.line(2, f"ConfigMapOptional:\t{_optional(optional)}")
        elif one.get("serviceAccountToken"):
            out.line(2, f"TokenExpirationSeconds:\t{one['serviceAccountToken'].get('expirationSeconds', 3600)}")


SOURCES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "hostPath": ("HostPath (bare host directory volume)", [("Path", "path"), ("HostPathType", "type")]),
    "emptyDir": (
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        [("Medium", "medium"), ("SizeLimit", "sizeLimit")],
    ),
    "secret": ("Secret (a volume populated by a Secret)", [("SecretName", "secretName"), ("Optional", "optional")]),
    "configMap": ("ConfigMap (a volume populated by a ConfigMap)", [("Name", "name"), ("Optional", "optional")]),
    "projected": ("Projected (a volume that contains injected data from multiple sources)", []),
    "downwardAPI": ("DownwardAPI (a volume populated by information about the pod)", []),
    "persistentVolumeClaim": (
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        [("ClaimName", "claimName"), ("ReadOnly", "readOnly")],
    ),
    "nfs": (
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        [("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly")],
    ),
    "local": ("LocalVolume (a persistent volume backed by local storage on a node)", [("Path", "path")]),
    "image": ("Image (a container image or OCI artifact)", [("Reference", "reference"), ("PullPolicy", "pullPolicy")]),
    "csi": (
        "CSI (a Container Storage Interface (CSI) volume source)",
        [("Driver", "driver"), ("FSType", "fsType"), ("VolumeHandle", "volumeHandle"), ("ReadOnly", "readOnly")],
    ),
    "ephemeral": (
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        [],
    ),
}
