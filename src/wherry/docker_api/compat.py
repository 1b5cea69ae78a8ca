"""What older API versions expect: one function per kind of body, from or to the shape of version 1.50.

Each difference carries the version that introduced it; specified in the Docker Engine API's version history.
Functions that shape answers return a new object where they change anything: the engine's own stays as it is.
"""

import re
from typing import Any

from wherry.docker_api.endpoint_settings import move_mac_address, move_sysctls
from wherry.docker_api.routing import Version
from wherry.engine.errors import InvalidParameter, NotFound

_PLATFORM = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,2}")
_BUILTIN_MODES = ("default", "bridge", "host", "none")


def container_summary(summary: dict[str, Any], version: Version) -> dict[str, Any]:
    """One entry of `GET /containers/json`."""
    if version < (1, 46) and "Annotations" in (summary.get("HostConfig") or {}):
        host_config = {key: value for key, value in summary["HostConfig"].items() if key != "Annotations"}
        summary = {**summary, "HostConfig": host_config}
    if version < (1, 48) and "ImageManifestDescriptor" in summary:
        summary = {key: value for key, value in summary.items() if key != "ImageManifestDescriptor"}
    return summary


def container(inspected: dict[str, Any], version: Version) -> dict[str, Any]:
    """`GET /containers/{id}/json`."""
    if version < (1, 48) and "ImageManifestDescriptor" in inspected:
        inspected = {key: value for key, value in inspected.items() if key != "ImageManifestDescriptor"}
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    if version < (1, 45) and networks:
        # 1.45 moved the short id and the host name from Aliases to DNSNames.
        extra = [inspected["Id"][:12], inspected["Config"].get("Hostname") or ""]
        shown = {
            name: endpoint
            if name in _BUILTIN_MODES
            else {**endpoint, "Aliases": list(dict.fromkeys([*(endpoint.get("Aliases") or []), *filter(None, extra)]))}
            for name, endpoint in networks.items()
        }
        inspected = {**inspected, "NetworkSettings": {**inspected["NetworkSettings"], "Networks": shown}}
    return inspected


def create_body(body: dict[str, Any], version: Version, *, cgroup_version: int = 1) -> list[str]:
    """Bring the body of `POST /containers/create` to version 1.50, in place. Returns warnings for the answer.

    `PlainReadOnly` in the body tells the engine that read-only binds leave what is mounted below them as it is.
    Raises InvalidParameter for combinations that the client's version forbids.
    """
    host: dict[str, Any] = body.get("HostConfig") or {}
    body["HostConfig"] = host
    networking: dict[str, Any] = body.get("NetworkingConfig") or {}
    body["NetworkingConfig"] = networking
    endpoints: dict[str, Any] = {name: value or {} for name, value in (networking.get("EndpointsConfig") or {}).items()}
    networking["EndpointsConfig"] = endpoints
    _refuse_namespace_paths(host)
    runtime = body.pop("Runtime", None)
    if runtime and not host.get("Runtime"):
        # docker-py puts it there; dockerd overlooks it, and runs what it always runs.
        host["Runtime"] = runtime
    if host.get("NetworkMode") in (None, "", "default"):
        host["NetworkMode"] = "bridge"
        if "default" in endpoints:
            endpoints["bridge"] = endpoints.pop("default")
    mounts: list[dict[str, Any]] = host.get("Mounts") or []
    warnings = _kernel_memory(host, version)
    if version < (1, 25):
        # Such a client removes the container itself, once it has read its exit code.
        host["AutoRemove"] = False
    if version < (1, 40):
        for mount in mounts:
            (mount.get("BindOptions") or {}).pop("NonRecursive", None)
        host["IpcMode"] = host.get("IpcMode") or "shareable"
    if version < (1, 41) and cgroup_version == 1:
        host["CgroupnsMode"] = host.get("CgroupnsMode") or "host"
    if version < (1, 42):
        host.pop("ConsoleSize", None)
    _check_mount_options(mounts, version)
    if version < (1, 43):
        host.pop("Annotations", None)
    if version < (1, 44):
        (body.get("Healthcheck") or {}).pop("StartInterval", None)
        body["PlainReadOnly"] = True
        if len(endpoints) > 1:
            raise InvalidParameter(
                f"Container cannot be created with multiple network endpoints: {', '.join(endpoints)}"
            )
    if version < (1, 48):
        for endpoint in endpoints.values():
            endpoint.pop("GwPriority", None)
    if version >= (1, 48):
        warnings += _volume_driver(host, mounts)
    warnings += move_mac_address(body, host, endpoints, version)
    warnings += move_sysctls(host, endpoints, version)
    if host.get("PidsLimit") is not None and host["PidsLimit"] <= 0:
        host["PidsLimit"] = None
    for port, bindings in (host.get("PortBindings") or {}).items():
        if not bindings:
            host["PortBindings"][port] = [{"HostIp": "", "HostPort": ""}]
    return warnings


def update_body(body: dict[str, Any], version: Version) -> list[str]:
    """Bring the body of `POST /containers/{id}/update` to version 1.50, in place. Returns warnings for the answer."""
    if version < (1, 40):
        body.pop("PidsLimit", None)
    if body.get("PidsLimit") is not None and body["PidsLimit"] <= 0:
        body["PidsLimit"] = 0
    return _kernel_memory(body, version)


def _kernel_memory(limits: dict[str, Any], version: Version) -> list[str]:
    """Kernels have dropped the one limit, and the engine sets neither: clients are told where their version has it."""
    warnings = []
    if (limits.pop("KernelMemory", None) or 0) > 0 and version < (1, 42):
        warnings.append(
            "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation "
            "discarded."
        )
    if (limits.pop("KernelMemoryTCP", None) or 0) > 0 and version >= (1, 40):
        warnings.append("Kernel memory TCP limits are not supported by this engine. Limitation discarded.")
    return warnings


def _volume_driver(host: dict[str, Any], mounts: list[dict[str, Any]]) -> list[str]:
    if host.get("VolumeDriver"):
        for mount in mounts:
            driver = (mount.get("VolumeOptions") or {}).get("DriverConfig") or {}
            if mount.get("Type") == "volume" and not driver.get("Name"):
                return [
                    "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via "
                    "'mount'. Use '--mount type=volume,volume-driver=...' instead"
                ]
    return []


def _refuse_namespace_paths(host: dict[str, Any]) -> None:
    # The engine joins namespaces by path for callers in its own process; over HTTP that would escape isolation.
    for field in ("NetworkMode", "IpcMode", "PidMode", "UTSMode", "UsernsMode", "CgroupnsMode"):
        value = host.get(field) or ""
        if value.startswith("ns:"):
            raise InvalidParameter(f"invalid {field}: {value}")


def _check_mount_options(mounts: list[dict[str, Any]], version: Version) -> None:
    for mount in mounts:
        kind = mount.get("Type") or ""
        for field, wanted in (("VolumeOptions", "volume"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs")):
            if mount.get(field) is None or kind == wanted:
                continue
            if version >= (1, 42):
                raise InvalidParameter(f'{field} must not be specified on mount type "{kind}"')
            if field != "BindOptions":
                del mount[field]
        bind = mount.get("BindOptions") or {}
        if version < (1, 42):
            bind.pop("CreateMountpoint", None)
        if version < (1, 44) and kind == "bind" and bind.get("ReadOnlyForceRecursive"):
            raise InvalidParameter("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
        if version < (1, 45) and (mount.get("VolumeOptions") or {}).get("Subpath"):
            raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")
        if version < (1, 48) and kind == "image":
            raise InvalidParameter('Mount type "Image" needs API v1.48 or newer')


def check_platform(platform: str) -> None:
    """Raises InvalidParameter for what is no platform, NotFound for one that this machine cannot run."""
    from platform import machine

    if not _PLATFORM.fullmatch(platform):
        raise InvalidParameter(f'"{platform}": unknown operating system or architecture: invalid argument')
    parts = platform.lower().split("/")
    own = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine(), machine())
    synonyms = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
    systems = {"linux"}
    given_os = parts[0] if parts[0] in ("linux", "windows", "darwin", "freebsd") else "linux"
    given_arch = parts[1] if len(parts) > 1 else (own if parts[0] in systems else parts[0])
    if given_os != "linux":
        raise InvalidParameter(f"operating system is not supported: {given_os}")
    if synonyms.get(given_arch, given_arch) != own:
        raise NotFound(f"no image for the platform {platform}: this machine is linux/{own}")


def image_summary(summary: dict[str, Any], version: Version) -> dict[str, Any]:
    """One entry of `GET /images/json`."""
    shown = dict(summary)
    shown["RepoTags"] = shown.get("RepoTags") or []
    shown["RepoDigests"] = shown.get("RepoDigests") or []
    if version < (1, 43) and not shown["RepoTags"] and not shown["RepoDigests"]:
        shown["RepoTags"], shown["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]
    if version < (1, 44):
        shown["VirtualSize"] = shown.get("Size", 0)
    if version < (1, 48):
        shown.pop("Descriptor", None)
    if version < (1, 47):
        shown.pop("Manifests", None)
    if version < (1, 51):
        shown["Containers"] = -1
    return shown


_IMAGE_CONFIG: dict[str, Any] = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
_IMAGE_CONFIG_BEFORE_1_50: dict[str, Any] = {
    "AttachStderr": False,
    "AttachStdin": False,
    "AttachStdout": False,
    "Domainname": "",
    "Hostname": "",
    "Image": "",
    "OpenStdin": False,
    "StdinOnce": False,
    "Tty": False,
}


def image(inspected: dict[str, Any], version: Version) -> dict[str, Any]:
    """`GET /images/{name}/json`."""
    shown = dict(inspected)
    shown["RepoTags"] = shown.get("RepoTags") or []
    shown["RepoDigests"] = shown.get("RepoDigests") or []
    absent = _IMAGE_CONFIG if version >= (1, 50) else {**_IMAGE_CONFIG_BEFORE_1_50, **_IMAGE_CONFIG}
    shown["Config"] = {**absent, **(shown.get("Config") or {})}
    if version < (1, 44):
        shown["VirtualSize"] = shown.get("Size", 0)
        shown["Created"] = shown.get("Created") or "0001-01-01T00:00:00Z"
    if version < (1, 45):
        shown.setdefault("Container", "")
        shown.setdefault("ContainerConfig", {**_IMAGE_CONFIG_BEFORE_1_50, **_IMAGE_CONFIG})
    if version < (1, 48):
        shown.pop("Descriptor", None)
        shown.pop("Manifests", None)
    return shown


def info(shown: dict[str, Any], version: Version) -> dict[str, Any]:
    """`GET /info`."""
    shown = dict(shown)
    if version < (1, 25):
        shown["SecurityOptions"] = [_security_name(option) for option in shown.get("SecurityOptions") or []]
    if version < (1, 39):
        for field in ("KernelVersion", "OperatingSystem"):
            shown[field] = shown.get(field) or "<unknown>"
    if version >= (1, 42):
        shown.pop("KernelMemory", None)
    if version < (1, 44) and shown.get("Runtimes"):
        shown["Runtimes"] = {
            name: {key: value for key, value in runtime.items() if key != "status"}
            for name, runtime in shown["Runtimes"].items()
        }
    if version < (1, 46):
        shown.pop("Containerd", None)
    if version < (1, 47):
        gone = {"AllowNondistributableArtifactsCIDRs": None, "AllowNondistributableArtifactsHostnames": None}
        shown["RegistryConfig"] = {**(shown.get("RegistryConfig") or {}), **gone}
    if version < (1, 49):
        shown.pop("FirewallBackend", None)
        for field in ("ContainerdCommit", "RuncCommit", "InitCommit"):
            if shown.get(field):
                shown[field] = {**shown[field], "Expected": shown[field].get("ID", "")}
    if version < (1, 50):
        shown.pop("DiscoveredDevices", None)
        shown |= {"BridgeNfIptables": False, "BridgeNfIp6tables": False}
    return shown


def _security_name(option: str) -> str:
    """`seccomp` of `name=seccomp,profile=builtin`."""
    fields = dict(part.partition("=")[::2] for part in option.split(","))
    return fields.get("name", option)


def disk_usage(usage: dict[str, Any], version: Version) -> dict[str, Any]:
    """`GET /system/df`, its images as `images.list` gives them, with the number of each one's containers."""
    shown = dict(usage)
    if "Images" in shown:
        # Alone of all answers it counts the containers of an image in every version, and knows no `<none>`.
        shown["Images"] = [
            {**image_summary(item, (1, 51)), **({"VirtualSize": item.get("Size", 0)} if version < (1, 44) else {})}
            for item in shown["Images"]
        ]
    if "Containers" in shown:
        shown["Containers"] = [container_summary(item, version) for item in shown["Containers"]]
    if "BuildCache" in shown:
        unknown = "Parents" if version < (1, 42) else "Parent"
        shown["BuildCache"] = [
            {key: value for key, value in record.items() if key != unknown} for record in shown["BuildCache"]
        ]
        if version < (1, 42):
            shown["BuilderSize"] = sum(record.get("Size", 0) for record in shown["BuildCache"])
    return shown
