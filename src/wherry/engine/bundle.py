"""What the runtime is given: the network a container joins, its files, namespaces and specification, written out.

All of it is decided anew at each start, from the record and from what other containers are doing at that moment.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from wherry.engine import links, oci, seccomp_bpf, users
from wherry.engine.errors import Conflict, InvalidParameter
from wherry.engine.model import Container
from wherry.engine.networks.types import NetworkRequest, NetworkSandbox
from wherry.engine.rootpaths import make_directory
from wherry.host import mounts

if TYPE_CHECKING:
    from wherry.engine.containers import Containers
    from wherry.engine.lifecycle import Lifecycle


class Bundles:
    """Makes the OCI bundle of a start. One per engine."""

    def __init__(self, containers: "Containers", places: "Lifecycle") -> None:
        self._containers = containers
        self._engine = containers.engine
        self._places = places

    async def attach_network(self, container: Container) -> NetworkSandbox:
        record, host_config, config = container.record, container.host_config, container.config
        mode = host_config["NetworkMode"]
        if mode.startswith("ns:"):
            return NetworkSandbox(netns=Path(mode[3:]), settings={}, hosts="", resolv_conf="")
        if mode.startswith("container:"):
            target = self._containers.get(mode.removeprefix("container:"))
            if not target.state.alive:
                raise Conflict(f"cannot join network of a non running container: {target.id}")
            mode = f"container:{target.id}"
        elif config.get("NetworkDisabled"):
            mode = "none"
        request = NetworkRequest(
            container_id=record.id,
            name=record.name,
            hostname=config["Hostname"] or record.id[:12],
            mode=mode,
            domainname=config["Domainname"],
            endpoints=record.endpoints,
            port_bindings=host_config["PortBindings"] or {},
            exposed_ports=config.get("ExposedPorts") or {},
            publish_all=bool(host_config["PublishAllPorts"]),
            dns=host_config["Dns"] or [],
            dns_search=host_config["DnsSearch"] or [],
            dns_options=host_config["DnsOptions"] or [],
            extra_hosts=host_config["ExtraHosts"] or [],
            links=host_config["Links"] or [],
            mac=config.get("MacAddress") or "",
            sysctls=host_config.get("Sysctls") or {},
        )
        return await self._engine.networks.attach(request)

    async def write(
        self, container: Container, sandbox: NetworkSandbox, rootfs: Path, oci_mounts: list[dict[str, Any]]
    ) -> dict[str, Any]:
        record, config, host_config = container.record, container.config, container.host_config
        home = self._places.home(record.id)
        hostname = self.hostname(container)
        files = self._files(container, sandbox, home, hostname)
        taken = {mount["destination"] for mount in oci_mounts}
        files = {inside: source for inside, source in files.items() if inside not in taken}
        directory = config["WorkingDir"] or "/"

        def look() -> users.User:
            if directory != "/":
                with contextlib.suppress(OSError):
                    os.close(make_directory(rootfs, directory))
            return users.look_up(rootfs, config["User"], host_config["GroupAdd"] or ())

        user = await asyncio.to_thread(look)
        command = [record.path, *record.args]
        if host_config.get("Init"):
            command = [oci.INIT_INSIDE, "--", *command]
        inputs = oci.SpecInputs(
            id=record.id,
            hostname=hostname,
            domainname=config["Domainname"],
            rootfs=rootfs,
            user=user,
            layout=self._engine.layout,
            cgroup_path=self._places.cgroup(container).path,
            command=command,
            netns=sandbox.netns,
            new_netns=sandbox.netns is None and host_config["NetworkMode"] == "none",
            namespaces=self._namespaces(container),
            files=files,
            mounts=oci_mounts,
            shm_source=self._shm_source(container),
            environment=links.environment(self._containers, container),
        )
        spec = oci.build_spec(config, host_config, inputs)
        profile = spec["linux"].get("seccomp")
        if profile is not None and self._places.runtime(container).takes_compiled_seccomp:
            program = await asyncio.to_thread(seccomp_bpf.compiled, profile)
            if program is not None:
                spec.setdefault("annotations", {})[seccomp_bpf.ANNOTATION] = program
                # The rules are in the program; reading them again would cost crun 9 ms. Were the annotation ever
                # ignored, what is left forbids everything: it fails closed.
                spec["linux"]["seccomp"] = {"defaultAction": profile["defaultAction"]}
        (self._places.bundle(record.id) / "config.json").write_bytes(orjson.dumps(spec))
        return spec

    def hostname(self, container: Container) -> str:
        host_config = container.host_config
        mode = host_config["NetworkMode"]
        pod = container.record.pod or {}
        if pod.get("Hostname"):
            return str(pod["Hostname"])
        if mode.startswith("container:"):
            return self.hostname(self._containers.get(mode.removeprefix("container:")))
        if (mode == "host" or host_config["UTSMode"] == "host") and container.config["Hostname"] == container.id[:12]:
            return os.uname().nodename
        return str(container.config["Hostname"] or container.id[:12])

    def _files(self, container: Container, sandbox: NetworkSandbox, home: Path, hostname: str) -> dict[str, Path]:
        pod = container.record.pod
        if pod is not None:
            given = {"/etc/resolv.conf": pod.get("ResolvConf"), "/etc/hosts": pod.get("Hosts")}
            return {inside: Path(path) for inside, path in given.items() if path}
        mode = container.host_config["NetworkMode"]
        if mode.startswith("container:"):
            home = self._places.home(self._containers.get(mode.removeprefix("container:")).id)
        else:
            home.mkdir(parents=True, exist_ok=True)
            (home / "hostname").write_text(hostname + "\n")
            (home / "hosts").write_text(sandbox.hosts)
            (home / "resolv.conf").write_text(sandbox.resolv_conf)
        return {f"/etc/{name}": home / name for name in ("resolv.conf", "hostname", "hosts")}

    def _namespaces(self, container: Container) -> dict[str, str]:
        result = {}
        for kind, key in (("pid", "PidMode"), ("ipc", "IpcMode"), ("uts", "UTSMode")):
            mode = container.host_config.get(key) or ""
            if mode.startswith("ns:"):
                result[kind] = mode[3:]
            elif mode.startswith("container:"):
                target = self._containers.get(mode.removeprefix("container:"))
                if not target.state.alive:
                    raise Conflict(
                        f"cannot join {kind.upper()} of a non running container: {target.id}"
                        if kind == "pid"
                        else f"non running container {target.id}: cannot join its {kind} namespace"
                    )
                if kind == "ipc" and (target.host_config.get("IpcMode") or "") not in ("shareable", "host"):
                    raise InvalidParameter(
                        f"can't join IPC of container {target.id}: non-shareable IPC (hint: use IpcMode:shareable for "
                        "the donor container)"
                    )
                result[kind] = f"/proc/{target.state.pid}/ns/{kind}"
        return result

    def _shm_source(self, container: Container) -> Path | None:
        """Where a shared /dev/shm is on the host: made for `shareable`, joined for `container:`."""
        mode = container.host_config.get("IpcMode") or ""
        pod = container.record.pod or {}
        if pod.get("Shm"):
            return Path(pod["Shm"])
        if mode.startswith("container:"):
            target = self._containers.get(mode.removeprefix("container:"))
            return None if target.host_config.get("IpcMode") == "host" else self._places.bundle(target.id) / "shm"
        if mode == "shareable":
            path = self._places.bundle(container.id) / "shm"
            path.mkdir(exist_ok=True)
            if not mounts.is_mounted(path):
                flags = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
                mounts.tmpfs(path, size=container.host_config["ShmSize"], flags=flags)
            return path
        return None
