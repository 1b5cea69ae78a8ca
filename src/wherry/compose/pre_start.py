"""`pre_start`: what runs to its end, each in a container of its own, before a service's container starts.

https://docs.docker.com/reference/compose-file/services/. A step with `per_replica` runs before each replica that has
never run, with the volumes of that one; the others run once for the service. No record is needed of what has run: a
container that has started had all its steps succeed, and one that is made anew has its steps anew, as `pre_start`
belongs to what its configuration hash is made of.
"""

import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from wherry.compose.container import create_body
from wherry.compose.containers import Containers, frames
from wherry.compose.credentials import auth_header
from wherry.compose.errors import ComposeError
from wherry.compose.images import split_reference
from wherry.compose.names import image_name
from wherry.compose.observe import image_or_none
from wherry.compose.project import Project
from wherry.docker_api.client import DockerClient, DockerError

Output = Callable[[str, bytes], None]


@dataclass
class PreStart:
    """Runs the steps of one project's services; may be called from several threads at once."""

    client: DockerClient
    project: Project
    containers: Containers
    references: dict[str, str] = field(default_factory=dict)
    """The container that stands for each service, where a step shares a namespace with one."""
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _done: set[tuple[str, int]] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def run(self, service: str, number: int, container: str, *, shared: bool) -> None:
        """All steps before a replica that has never run. `shared`: those for the service as a whole, too.

        Raises ComposeError for a step that fails.
        """
        steps = self.project.services[service].get("pre_start") or ()
        if not steps:
            return
        with self._guard:
            lock = self._locks.setdefault(service, threading.Lock())
        for index, step in enumerate(steps):
            if step.get("per_replica"):
                self._step(service, number, index, step, container)
            elif shared:
                with lock:
                    if (service, index) not in self._done:
                        self._step(service, number, index, step, "")
                        self._done.add((service, index))

    def _step(self, service: str, number: int, index: int, step: dict[str, Any], replica: str) -> None:
        name = self.project.separator.join((self.project.name, service, "pre_start", secrets.token_hex(4)))
        body = self.body(service, number, step, name, replica)
        self._ensure_image(service, body["Image"])
        made = self.containers.create(service, name, body)
        try:
            self.client.post(f"/containers/{made}/start")
            code = int(self.client.post(f"/containers/{made}/wait")["StatusCode"])
            output = self._output(made)
            if self.containers.hook_output is not None and output:
                self.containers.hook_output(service, output)
        finally:
            self.containers.remove(made, volumes=True, quiet=True)
        if code:
            said = output.decode(errors="replace").strip()
            raise self.project.error(
                f'service "{service}": pre_start exited with status {code}{": " + said if said else ""}',
                ("services", service, "pre_start", index),
            )

    def body(self, service: str, number: int, step: dict[str, Any], name: str, replica: str) -> dict[str, Any]:
        """The create request of a step's container; `replica` is the container whose own volumes it has, if any."""
        definition = self.project.services[service]
        changes: dict[str, Any] = {
            "restart": "no",
            "ports": [],
            "healthcheck": {"disable": True},
            "command": step.get("command"),
            "environment": {**(definition.get("environment") or {}), **_values(step)},
            "tty": False,
            "stdin_open": False,
            "deploy": None,
        }
        for key in ("user", "privileged", "working_dir"):
            if key in step:
                changes[key] = step[key]
        if "image" in step:
            # The service's own are for the service's image.
            changes["entrypoint"] = None
            for key in ("user", "working_dir"):
                changes.setdefault(key, None)
        # It is in the service's networks, and takes nobody's name or address there.
        changes["networks"] = dict.fromkeys(definition.get("networks") or ())
        if not replica:
            changes["tmpfs"] = []
            changes["volumes"] = [
                one for one in definition.get("volumes") or () if one["type"] == "bind" or one.get("source")
            ]
        body = create_body(
            self.project, service, number, oneoff=True, overrides=changes, references=self.references, name=name,
            use_aliases=False,
        )  # fmt: skip
        body["Image"] = step.get("image") or body["Image"]
        if replica:
            host = body["HostConfig"]
            host |= {"VolumesFrom": [*(host.get("VolumesFrom") or ()), replica], "Binds": [], "Mounts": []}
        return body

    def _ensure_image(self, service: str, image: str) -> None:
        if image == image_name(self.project, service) or image_or_none(self.client, image):
            return
        reference, tag = split_reference(image)
        query = {"fromImage": reference, "tag": tag}
        for message in self.client.call("POST", "/images/create", query, headers=auth_header(image)).json_lines():
            if "error" in message:
                raise ComposeError(f"{service}: {message['error']}")

    def _output(self, container: str) -> bytes:
        query = {"stdout": True, "stderr": True}
        with contextlib.suppress(DockerError):
            response = self.client.call("GET", f"/containers/{quote(container)}/logs", query)
            pieces = iter([response.read(), b""])
            return b"".join(data for _, data in frames(lambda: next(pieces)))
        return b""


def _values(step: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in (step.get("environment") or {}).items() if value is not None}
