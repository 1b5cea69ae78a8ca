"""What is done to one container: make, replace, start with its hooks, stop, remove."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from wherry.compose import names
from wherry.compose.container import stop_seconds
from wherry.compose.content import copy_in
from wherry.compose.errors import ComposeError
from wherry.compose.observe import image_or_none
from wherry.compose.project import Project
from wherry.compose.report import Report, silent
from wherry.docker_api.client import DockerClient, DockerError

HookOutput = Callable[[str, bytes], None]
"""Called with the container's name and what a hook's command printed."""


@dataclass
class Containers:
    """Acts on the containers of one project. `timeout` is that of `-t`: seconds until a stop becomes a kill."""

    client: DockerClient
    project: Project | None
    report: Report = silent
    timeout: int | None = None
    hook_output: HookOutput | None = None
    before_start: Callable[[str, str], None] | None = None
    """Called with id and name of a container just before it starts: to attach to it."""
    after_start: Callable[[str, str], None] | None = None
    """Called as soon as it has: its log can be followed from then on."""
    dry: bool = False
    started: list[str] = field(default_factory=list)
    """Ids of the containers that were started, made or found running, in that order."""

    def create(self, service: str, name: str, body: dict[str, Any]) -> str:
        """Makes a container with its configs and secrets; its id."""
        created: dict[str, Any] = self.client.post("/containers/create", {"name": name}, body)
        for warning in created.get("Warnings") or ():
            self.report(f"Container {name}", warning, "warning")
        if self.project is not None:
            copy_in(self.client, self.project, service, created["Id"])
        return str(created["Id"])

    def replace(self, service: str, old: str, name: str, body: dict[str, Any], *, renew_volumes: bool) -> str:
        """Docker Compose's way: the new one is made under a passing name, the old one goes, the new one takes the name.

        Anonymous volumes go over to the new container. Killed in between, the label `com.docker.compose.replace`
        tells the next run what is left to do.
        """
        inspection: dict[str, Any] = self.client.get(f"/containers/{old}/json")
        body = {**body, "Labels": {**body["Labels"], names.REPLACES: name}}
        if not renew_volumes:
            body["HostConfig"] = self._inherit_volumes(service, inspection, body)
        passing = f"{old[:12]}_{name}"
        self._remove_quietly(passing)
        created = self.create(service, passing, body)
        if inspection["State"]["Running"]:
            self.stop(old, service, quiet=True)
        self.remove(old, quiet=True)
        self.client.post(f"/containers/{created}/rename", {"name": name})
        return created

    def _remove_quietly(self, name: str) -> None:
        with contextlib.suppress(DockerError):
            self.client.delete(f"/containers/{quote(name)}", {"force": True, "v": True})

    def _inherit_volumes(self, service: str, inspection: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        host: dict[str, Any] = body["HostConfig"]
        anonymous = {mount["Target"] for mount in host["Mounts"] if mount["Type"] == "volume" and "Source" not in mount}
        image = image_or_none(self.client, body["Image"]) or {}
        taken = {bind.split(":")[1] for bind in host["Binds"]}
        taken |= {mount["Target"] for mount in host["Mounts"] if "Source" in mount or mount["Type"] == "tmpfs"}
        anonymous |= set((image.get("Config") or {}).get("Volumes") or {}) - taken
        inherited = [
            {"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"], "ReadOnly": not mount["RW"]}
            for mount in inspection.get("Mounts") or ()
            if mount["Type"] == "volume" and mount["Destination"] in anonymous and mount.get("Name")
        ]
        targets = {mount["Target"] for mount in inherited}
        kept = [mount for mount in host["Mounts"] if mount["Target"] not in targets]
        return {**host, "Mounts": [*kept, *inherited]}

    def start(self, container: str, service: str, name: str, *, fresh: bool) -> None:
        """Starts one and runs its post_start hooks; `fresh` says that it has never run."""
        if fresh and self.project is not None:
            copy_in(self.client, self.project, service, container)
        if self.before_start is not None:
            self.before_start(container, name)
        self.client.post(f"/containers/{container}/start")
        if self.after_start is not None:
            self.after_start(container, name)
        self._hooks(container, service, "post_start")

    def stop(self, container: str, service: str, name: str = "", *, quiet: bool = False) -> None:
        """Runs the pre_stop hooks, then asks the container to end, and kills it when its time is over."""
        if not quiet:
            self.report(f"Container {name}", "Stopping")
        self._hooks(container, service, "pre_stop")
        seconds = self.timeout
        if seconds is None and self.project is not None and service in self.project.services:
            definition = self.project.services[service]
            seconds = stop_seconds(definition) if "stop_grace_period" in definition else None
        self.client.post(f"/containers/{container}/stop", {"t": seconds})
        if not quiet:
            self.report(f"Container {name}", "Stopped", "done")

    def remove(
        self, container: str, name: str = "", *, volumes: bool = False, force: bool = True, quiet: bool = False
    ) -> None:
        if not quiet:
            self.report(f"Container {name}", "Removing")
        try:
            self.client.delete(f"/containers/{container}", {"force": force, "v": volumes})
        except DockerError as error:
            # Gone already, or going by itself (`--rm`).
            if error.status not in (404, 409) or (error.status == 409 and "already in progress" not in error.message):
                raise
        if not quiet:
            self.report(f"Container {name}", "Removed", "done")

    def _hooks(self, container: str, service: str, key: str) -> None:
        if self.project is None or service not in self.project.services:
            return
        hooks = self.project.services[service].get(key) or ()
        if hooks and key == "pre_stop" and not self.client.get(f"/containers/{container}/json")["State"]["Running"]:
            return
        for hook in hooks:
            self._hook(container, service, hook)

    def _hook(self, container: str, service: str, hook: dict[str, Any]) -> None:
        environment = hook.get("environment") or {}
        body = {
            "AttachStdout": True,
            "AttachStderr": True,
            "Cmd": hook["command"],
            "User": hook.get("user", ""),
            "Privileged": hook.get("privileged", False),
            "WorkingDir": hook.get("working_dir", ""),
            "Env": [f"{name}={value}" for name, value in environment.items() if value is not None],
        }
        created = self.client.post(f"/containers/{container}/exec", body=body)["Id"]
        stream = self.client.hijack(f"/exec/{created}/start", body={"Detach": False, "Tty": False})
        for _, data in frames(stream.read):
            if self.hook_output is not None:
                self.hook_output(service, data)
        stream.close()
        code = self.client.get(f"/exec/{created}/json")["ExitCode"]
        if code:
            raise ComposeError(f"{service} hook exited with status {code}")


def frames(read: Callable[[], bytes]) -> "list[tuple[int, bytes]]":
    """All of a multiplexed stream, in order: (1 stdout or 2 stderr, bytes)."""
    data = bytearray()
    while piece := read():
        data += piece
    found = []
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "big")
        found.append((data[position], bytes(data[position + 8 : position + 8 + size])))
        position += 8 + size
    return found
