"""What each API version changes in bodies and answers: a row for each, at the version before and at the first with it.

The rows follow Docker's version history of the Engine API and its daemon's checks of the version, 1.24 to 1.50, outside
Swarm and plugins. `test_compat_routes` has those that are about parameters, headers and streams.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from wherry.docker_api import compat
from wherry.docker_api.routing import Version
from wherry.engine.errors import InvalidParameter, NotFound

MAC = "02:42:ac:11:00:99"
ABSENT = object()


def at(value: Any, path: str) -> Any:
    """`HostConfig.Mounts.0.Type` of nested objects and lists; ABSENT where there is none. Or with `|` for each dot."""
    for part in path.split("|") if "|" in path else path.split("."):
        if isinstance(value, list):
            value = value[int(part)]
        elif part not in value:
            return ABSENT
        else:
            value = value[part]
    return value


def host(**fields: Any) -> dict[str, Any]:
    return {"HostConfig": fields}


def mount(**fields: Any) -> dict[str, Any]:
    return host(Mounts=[fields])


def endpoints(**given: Any) -> dict[str, Any]:
    return {"NetworkingConfig": {"EndpointsConfig": given}}


ETH0 = "net.ipv4.conf.eth0.log_martians"

# The version that brought the change, the body, a field of it, what the field is before that version and from it on.
BODIES: list[tuple[str, Version, dict[str, Any], str, Any, Any]] = [
    ("the daemon removes", (1, 25), host(AutoRemove=True), "HostConfig.AutoRemove", False, True),
    ("ipc mode", (1, 40), host(), "HostConfig.IpcMode", "shareable", ABSENT),
    ("ipc mode given", (1, 40), host(IpcMode="none"), "HostConfig.IpcMode", "none", "none"),
    (
        "non-recursive binds",
        (1, 40),
        mount(Type="bind", BindOptions={"NonRecursive": True}),
        "HostConfig.Mounts.0.BindOptions.NonRecursive",
        ABSENT,
        True,
    ),
    ("cgroup namespace", (1, 41), host(), "HostConfig.CgroupnsMode", "host", ABSENT),
    ("console size", (1, 42), host(ConsoleSize=[1, 2]), "HostConfig.ConsoleSize", ABSENT, [1, 2]),
    (
        "making mount points",
        (1, 42),
        mount(Type="bind", BindOptions={"CreateMountpoint": True}),
        "HostConfig.Mounts.0.BindOptions.CreateMountpoint",
        ABSENT,
        True,
    ),
    ("kernel memory", (1, 42), host(KernelMemory=9), "HostConfig.KernelMemory", ABSENT, ABSENT),
    ("annotations", (1, 43), host(Annotations={"a": "b"}), "HostConfig.Annotations", ABSENT, {"a": "b"}),
    ("start interval", (1, 44), {"Healthcheck": {"StartInterval": 9}}, "Healthcheck.StartInterval", ABSENT, 9),
    ("recursive read-only", (1, 44), host(Binds=["/a:/a:ro"]), "PlainReadOnly", True, ABSENT),
    (
        "an endpoint's MAC address",
        (1, 44),
        endpoints(bridge={"MacAddress": MAC}),
        "NetworkingConfig.EndpointsConfig.bridge.MacAddress",
        ABSENT,
        MAC,
    ),
    (
        "the container's MAC address",
        (1, 44),
        {"MacAddress": MAC, **endpoints(blue={})},
        "NetworkingConfig.EndpointsConfig.blue.MacAddress",
        MAC,
        InvalidParameter,
    ),
    (
        "several endpoints",
        (1, 44),
        endpoints(blue={}, red=None),
        "NetworkingConfig.EndpointsConfig",
        InvalidParameter,
        {"blue": {}, "red": {}},
    ),
    (
        "forced recursive read-only",
        (1, 44),
        mount(Type="bind", BindOptions={"ReadOnlyForceRecursive": True}),
        "HostConfig.Mounts.0.BindOptions.ReadOnlyForceRecursive",
        InvalidParameter,
        True,
    ),
    (
        "volume subpath",
        (1, 45),
        mount(Type="volume", VolumeOptions={"Subpath": "a"}),
        "HostConfig.Mounts.0.VolumeOptions.Subpath",
        InvalidParameter,
        "a",
    ),
    (
        "gateway priority",
        (1, 48),
        endpoints(blue={"GwPriority": 3}),
        "NetworkingConfig.EndpointsConfig.blue.GwPriority",
        ABSENT,
        3,
    ),
    ("image mounts", (1, 48), mount(Type="image"), "HostConfig.Mounts.0.Type", InvalidParameter, "image"),
    (
        "sysctls of eth0",
        (1, 48),
        host(Sysctls={ETH0: "1"}),
        "NetworkingConfig|EndpointsConfig|bridge|DriverOpts|com.docker.network.endpoint.sysctls",
        "net.ipv4.conf.IFNAME.log_martians=1",
        InvalidParameter,
    ),
    *(
        (
            f"{options} on another type",
            (1, 42),
            mount(Type=kind, **{options: {}}),
            f"HostConfig.Mounts.0.{options}",
            before,
            InvalidParameter,
        )
        for options, kind, before in (
            ("VolumeOptions", "bind", ABSENT),
            ("TmpfsOptions", "volume", ABSENT),
            # Mounts of other types were refused with these long before, and still are, by the engine.
            ("BindOptions", "volume", {}),
        )
    ),
    # In all versions:
    ("pids limit", (1, 50), host(PidsLimit=-1), "HostConfig.PidsLimit", None, None),
    ("default network", (1, 50), endpoints(default={}), "NetworkingConfig.EndpointsConfig.bridge", {}, {}),
    ("null bindings", (1, 50), host(PortBindings={"80": None}), "HostConfig.PortBindings.80.0.HostPort", "", ""),
]  # fmt: skip


def before(version: Version) -> Version:
    return (version[0], version[1] - 1)


@pytest.mark.parametrize(
    ("body", "version", "path", "expected"),
    [
        pytest.param(body, *case, id=f"{name} in 1.{case[0][1]}")
        for name, since, body, path, older, newer in BODIES
        for case in (((1, 24), path, older), (before(since), path, older), (since, path, newer), ((1, 50), path, newer))
    ],
)
def test_create_bodies(body: dict[str, Any], version: Version, path: str, expected: Any) -> None:
    given = copy.deepcopy(body)
    if expected is InvalidParameter:
        with pytest.raises(InvalidParameter):
            compat.create_body(given, version)
    else:
        compat.create_body(given, version)
        assert at(given, path) == expected


WARNINGS: list[tuple[dict[str, Any], Version, str]] = [
    (host(KernelMemory=9), (1, 41), "Your kernel does not support kernel memory limit capabilities"),
    (host(KernelMemory=9), (1, 42), ""),
    (host(KernelMemoryTCP=9), (1, 39), ""),
    (host(KernelMemoryTCP=9), (1, 40), "Kernel memory TCP limits are not supported"),
    ({"MacAddress": MAC}, (1, 43), ""),
    ({"MacAddress": MAC}, (1, 44), "The container-wide MacAddress field is now deprecated"),
    ({"MacAddress": MAC, **host(NetworkMode="host")}, (1, 44), "The container-wide MacAddress field"),
    (host(VolumeDriver="x", Mounts=[{"Type": "volume"}]), (1, 47), ""),
    (host(VolumeDriver="x", Mounts=[{"Type": "volume"}]), (1, 48), "WARNING: the container-wide volume-driver"),
    (host(VolumeDriver="x", Mounts=[{"Type": "bind"}]), (1, 48), ""),
    (
        host(VolumeDriver="x", Mounts=[{"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "y"}}}]),
        (1, 48),
        "",
    ),
    (
        host(Sysctls={ETH0: "1"}),
        (1, 47),
        f'Migrated sysctl "{ETH0}" to DriverOpts{{"com.docker.network.endpoint.sysctls":'
        '"net.ipv4.conf.IFNAME.log_martians=1"}.',
    ),
    (host(Sysctls={"net.core.somaxconn": "1"}), (1, 50), ""),
]


@pytest.mark.parametrize(("body", "version", "expected"), WARNINGS)
def test_warnings_of_a_create(body: dict[str, Any], version: Version, expected: str) -> None:
    warnings = compat.create_body(copy.deepcopy(body), version)
    assert len(warnings) == bool(expected)
    assert "".join(warnings).startswith(expected)


def test_the_cgroup_namespace_of_older_clients_is_the_hosts_on_cgroup_v1_only() -> None:
    body: dict[str, Any] = {}
    compat.create_body(body, (1, 40), cgroup_version=2)
    assert "CgroupnsMode" not in body["HostConfig"]


def test_the_mac_address_goes_to_the_main_network() -> None:
    body: dict[str, Any] = {"MacAddress": MAC, "HostConfig": {"NetworkMode": "blue"}}
    assert compat.create_body(body, (1, 43)) == []
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"blue": {"MacAddress": MAC}}
    with pytest.raises(InvalidParameter, match="conflicting options: mac-address"):
        compat.create_body({"MacAddress": MAC, "HostConfig": {"NetworkMode": "host"}}, (1, 43))
    other = {"MacAddress": MAC, **host(NetworkMode="blue"), **endpoints(blue={"MacAddress": "02:00:00:00:00:01"})}
    with pytest.raises(InvalidParameter, match="must match the endpoint-specific MAC address"):
        compat.create_body(other, (1, 44))


def test_sysctls_of_eth0_go_before_the_endpoints_own() -> None:
    option = "com.docker.network.endpoint.sysctls"
    body = {
        **host(Sysctls={ETH0: "1", "net.core.somaxconn": "2"}),
        **endpoints(bridge={"DriverOpts": {option: "net.ipv4.conf.IFNAME.rp_filter=0"}}),
    }
    compat.create_body(body, (1, 46))
    assert body["HostConfig"]["Sysctls"] == {"net.core.somaxconn": "2"}
    assert body["NetworkingConfig"]["EndpointsConfig"]["bridge"]["DriverOpts"] == {
        option: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.rp_filter=0"
    }
    with pytest.raises(InvalidParameter, match="unable to determine network endpoint for sysctl net"):
        compat.create_body(host(Sysctls={"net.ipv4.conf.eth1.rp_filter": "1"}), (1, 46))
    shared = host(NetworkMode="container:x", Sysctls={ETH0: "1"})
    assert compat.create_body(shared, (1, 46)) == []


def test_a_runtime_beside_the_host_config_is_not_overlooked() -> None:
    body: dict[str, Any] = {"Runtime": "runc"}
    compat.create_body(body, (1, 50))
    assert (body["HostConfig"]["Runtime"], "Runtime" in body) == ("runc", False)
    body = {"Runtime": "runc", "HostConfig": {"Runtime": "crun"}}
    compat.create_body(body, (1, 50))
    assert body["HostConfig"]["Runtime"] == "crun"


@pytest.mark.parametrize(
    ("body", "version", "expected", "warnings"),
    [
        ({"PidsLimit": 5}, (1, 39), {}, 0),
        ({"PidsLimit": 5}, (1, 40), {"PidsLimit": 5}, 0),
        ({"PidsLimit": -3}, (1, 40), {"PidsLimit": 0}, 0),
        ({"KernelMemory": 5}, (1, 41), {}, 1),
        ({"KernelMemory": 5}, (1, 42), {}, 0),
        ({"KernelMemoryTCP": 5}, (1, 50), {}, 1),
    ],
)
def test_update_bodies(body: dict[str, Any], version: Version, expected: dict[str, Any], warnings: int) -> None:
    assert len(compat.update_body(body, version)) == warnings
    assert body == expected


Answer = Callable[[dict[str, Any], Version], dict[str, Any]]
IMAGE = {
    "Id": "x",
    "Size": 7,
    "RepoTags": None,
    "RepoDigests": None,
    "Containers": 2,
    "Descriptor": {},
    "Manifests": [],
}
INSPECTED_IMAGE = {"Id": "x", "Size": 7, "Created": "", "Config": {"Cmd": ["sh"]}, "Descriptor": {}, "Manifests": []}
SHORT = "0123456789ab"
CONTAINER = {
    "Id": f"{SHORT}cdef",
    "Config": {"Hostname": "h"},
    "ImageManifestDescriptor": {},
    "NetworkSettings": {"Networks": {"blue": {"Aliases": ["db"]}, "bridge": {"Aliases": None}}},
}
SUMMARY = {"HostConfig": {"NetworkMode": "bridge", "Annotations": {"a": "b"}}, "ImageManifestDescriptor": {}}
INFO = {
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
    "KernelVersion": "",
    "KernelMemory": True,
    "Runtimes": {"crun": {"path": "crun", "status": {}}},
    "Containerd": {},
    "RegistryConfig": {"Mirrors": []},
    "FirewallBackend": {},
    "RuncCommit": {"ID": "abc"},
    "DiscoveredDevices": [],
}
USAGE = {
    "Images": [IMAGE],
    "Containers": [SUMMARY],
    "Volumes": [],
    "BuildCache": [{"ID": "a", "Size": 3, "Parent": "p", "Parents": ["p"]}, {"ID": "b", "Size": 4}],
}
NOTHING: list[Any] = []

# As above: the answer's function, what the engine gives, the version that changed a field, before it and from it on.
ANSWERS: list[tuple[Answer, dict[str, Any], Version, str, Any, Any]] = [
    (compat.image_summary, IMAGE, (1, 43), "RepoTags", ["<none>:<none>"], NOTHING),
    (compat.image_summary, IMAGE, (1, 43), "RepoDigests", ["<none>@<none>"], NOTHING),
    (compat.image_summary, IMAGE, (1, 44), "VirtualSize", 7, ABSENT),
    (compat.image_summary, IMAGE, (1, 47), "Manifests", ABSENT, NOTHING),
    (compat.image_summary, IMAGE, (1, 48), "Descriptor", ABSENT, {}),
    (compat.image_summary, IMAGE, (1, 50), "Containers", -1, -1),
    (compat.image, INSPECTED_IMAGE, (1, 44), "VirtualSize", 7, ABSENT),
    (compat.image, INSPECTED_IMAGE, (1, 44), "Created", "0001-01-01T00:00:00Z", ""),
    (compat.image, INSPECTED_IMAGE, (1, 45), "Container", "", ABSENT),
    (compat.image, INSPECTED_IMAGE, (1, 45), "ContainerConfig.Hostname", "", ABSENT),
    (compat.image, INSPECTED_IMAGE, (1, 48), "Descriptor", ABSENT, {}),
    (compat.image, INSPECTED_IMAGE, (1, 48), "Manifests", ABSENT, NOTHING),
    (compat.image, INSPECTED_IMAGE, (1, 50), "RepoTags", NOTHING, NOTHING),
    (compat.image, INSPECTED_IMAGE, (1, 50), "Config.Cmd", ["sh"], ["sh"]),
    (compat.image, INSPECTED_IMAGE, (1, 50), "Config.OnBuild", None, None),
    *(
        (compat.image, INSPECTED_IMAGE, (1, 50), f"Config.{field}", value, ABSENT)
        for field, value in {
            "Hostname": "",
            "Domainname": "",
            "AttachStdin": False,
            "AttachStdout": False,
            "AttachStderr": False,
            "Tty": False,
            "OpenStdin": False,
            "StdinOnce": False,
            "Image": "",
        }.items()
    ),
    (compat.container_summary, SUMMARY, (1, 46), "HostConfig.Annotations", ABSENT, {"a": "b"}),
    (compat.container_summary, SUMMARY, (1, 48), "ImageManifestDescriptor", ABSENT, {}),
    (compat.container, CONTAINER, (1, 45), "NetworkSettings.Networks.blue.Aliases", ["db", SHORT, "h"], ["db"]),
    (compat.container, CONTAINER, (1, 45), "NetworkSettings.Networks.bridge.Aliases", None, None),
    (compat.container, CONTAINER, (1, 48), "ImageManifestDescriptor", ABSENT, {}),
    (compat.info, INFO, (1, 25), "SecurityOptions", ["seccomp", "cgroupns"], INFO["SecurityOptions"]),
    (compat.info, INFO, (1, 39), "KernelVersion", "<unknown>", ""),
    (compat.info, {}, (1, 39), "OperatingSystem", "<unknown>", ABSENT),
    (compat.info, INFO, (1, 42), "KernelMemory", True, ABSENT),
    (compat.info, INFO, (1, 44), "Runtimes.crun.status", ABSENT, {}),
    (compat.info, INFO, (1, 46), "Containerd", ABSENT, {}),
    (compat.info, INFO, (1, 47), "RegistryConfig.AllowNondistributableArtifactsCIDRs", None, ABSENT),
    (compat.info, INFO, (1, 47), "RegistryConfig.AllowNondistributableArtifactsHostnames", None, ABSENT),
    (compat.info, INFO, (1, 49), "FirewallBackend", ABSENT, {}),
    (compat.info, INFO, (1, 49), "RuncCommit.Expected", "abc", ABSENT),
    (compat.info, INFO, (1, 50), "DiscoveredDevices", ABSENT, NOTHING),
    (compat.info, INFO, (1, 50), "BridgeNfIptables", False, ABSENT),
    (compat.info, INFO, (1, 50), "BridgeNfIp6tables", False, ABSENT),
    (compat.disk_usage, USAGE, (1, 42), "BuilderSize", 7, ABSENT),
    (compat.disk_usage, USAGE, (1, 42), "BuildCache.0.Parent", "p", ABSENT),
    (compat.disk_usage, USAGE, (1, 42), "BuildCache.0.Parents", ABSENT, ["p"]),
    (compat.disk_usage, USAGE, (1, 44), "Images.0.VirtualSize", 7, ABSENT),
    (compat.disk_usage, USAGE, (1, 44), "Images.0.Containers", 2, 2),
    (compat.disk_usage, USAGE, (1, 46), "Containers.0.HostConfig.Annotations", ABSENT, {"a": "b"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "given", "version", "path", "expected"),
    [
        pytest.param(answer, given, *case, id=f"{answer.__name__} {path} in 1.{case[0][1]}")
        for answer, given, since, path, older, newer in ANSWERS
        for case in (((1, 24), path, older), (before(since), path, older), (since, path, newer), ((1, 50), path, newer))
    ],
)
def test_answers(answer: Answer, given: dict[str, Any], version: Version, path: str, expected: Any) -> None:
    kept = copy.deepcopy(given)
    assert at(answer(given, version), path) == expected
    assert given == kept


def test_platforms() -> None:
    compat.check_platform("linux")
    with pytest.raises(InvalidParameter):
        compat.check_platform("//")
    with pytest.raises(InvalidParameter, match="operating system is not supported: windows"):
        compat.check_platform("windows/amd64")
    with pytest.raises(NotFound):
        compat.check_platform("linux/s390x")
