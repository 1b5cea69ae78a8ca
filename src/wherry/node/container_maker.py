"""Making one container of a pod: environment, mounts and body, up to the created container; and its last words.

Whatever is missing (a ConfigMap, a key, a path) becomes the reason for which the container waits.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wherry.node import container_spec, env, pods
from wherry.node.container_spec import Mount, Placement
from wherry.node.decide import Start
from wherry.node.env import ConfigError, Surroundings
from wherry.node.runtime import ImageInfo, RuntimeFailure
from wherry.node.sandbox import Sandbox
from wherry.node.services import NodeServices
from wherry.node.state import ContainerView, StartError
from wherry.node.volumes.hostpath import VolumeError
from wherry.node.volumes.manager import Volume
from wherry.schema.builtin import CONFIG_MAPS, SECRETS
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object

RETRY_START = 10.0
MESSAGE_LIMIT = 4096
LOG_MESSAGE_LINES, LOG_MESSAGE_BYTES = 80, 2048


@dataclass(frozen=True)
class Place:
    """Where a container comes to be: its pod, the pod's sandbox and its volumes."""

    pod: Object
    sandbox: Sandbox
    volumes: Mapping[str, Volume]
    images: Mapping[str, ImageInfo] = field(default_factory=dict)
    """By the names of the image volumes."""


class NotMade(Exception):
    """There is no container; `error` says why it waits."""

    def __init__(self, error: StartError) -> None:
        super().__init__(error.message)
        self.error = error


class ContainerMaker:
    """For the pods of one node."""

    def __init__(self, node: NodeServices) -> None:
        self._node = node

    async def create(
        self, place: Place, container: Object, action: Start, image: ImageInfo, target: ContainerView | None
    ) -> str:
        """The id of the created container. `target` is the one whose processes it shall see (`kubectl debug
        --target`). Raises NotMade."""
        pod, name = place.pod, action.name
        retry_at = self._node.clock.time() + RETRY_START
        try:
            around = await self._full_surroundings(pod, container, place.sandbox)
            environment = env.environment(pod, container, around)
            mounts = await self._node.volumes.container_mounts(pod, container, place.volumes, environment, place.images)
            mounts += await asyncio.to_thread(self._own_mounts, pod, container, action.attempt)
            placement = self._placement(place, action, image, environment, mounts)
            named = container.get("targetContainerName")
            if named and (target is None or not target.running):
                raise ConfigError(f"unable to find target container {named}")
            if target is not None and not placement.pidns:
                placement = replace(placement, pidns=f"/proc/{target.pid}/ns/pid")
            body = container_spec.create_body(pod, container, placement)
        except (ConfigError, VolumeError, ApiError, OSError) as error:
            raise NotMade(StartError("CreateContainerConfigError", str(error), retry_at)) from error
        try:
            return await self._node.runtime.create(container_spec.container_name(pod, name, action.attempt), body)
        except RuntimeFailure as error:
            raise NotMade(StartError("CreateContainerError", str(error), retry_at)) from error

    async def _full_surroundings(self, pod: Object, container: Object, sandbox: Sandbox) -> Surroundings:
        """With the ConfigMaps and Secrets that this container's environment names."""
        maps, secrets = env.references([container])
        namespace = pods.namespace(pod)

        async def fetch(resource: object, names: set[str]) -> dict[str, Object]:
            kind = CONFIG_MAPS if resource is CONFIG_MAPS else SECRETS
            found = {}
            for name in names:
                obj = await self._node.objects.find(kind, namespace, name, pods.uid(pod))
                if obj is not None:
                    found[name] = obj
            return found

        return replace(
            self._node.surroundings(sandbox),
            config_maps=await fetch(CONFIG_MAPS, maps),
            secrets=await fetch(SECRETS, secrets),
        )

    def _placement(
        self, place: Place, action: Start, image: ImageInfo, environment: dict[str, str], mounts: list[Mount]
    ) -> Placement:
        sandbox, facts = place.sandbox, self._node.facts
        return Placement(
            attempt=action.attempt,
            backoff=action.backoff,
            sandbox=sandbox.id,
            image_id=image.id,
            image_user=image.user,
            environment=environment,
            mounts=mounts,
            netns=sandbox.netns,
            ipcns=sandbox.ipcns,
            shm=sandbox.shm,
            pidns=sandbox.pidns,
            cgroup_parent=sandbox.cgroup,
            resolv_conf=sandbox.resolv_conf,
            hosts=sandbox.hosts,
            hostname="" if pods.host_network(place.pod) else pods.hostname(place.pod),
            memory_capacity=facts.memory,
            pids_limit=facts.pids_limit,
            seccomp_profiles=self._node.instance.root / "seccomp",
        )

    def _own_mounts(self, pod: Object, container: Object, attempt: int) -> list[Mount]:
        """The termination message file."""
        path = self._message_file(pod, container["name"], attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        return [Mount(str(path), container.get("terminationMessagePath") or container_spec.DEFAULT_MESSAGE_PATH)]

    def _message_file(self, pod: Object, name: str, attempt: int) -> Path:
        return self._node.volumes.pod_dir(pods.uid(pod)) / "containers" / name / str(attempt)

    async def termination_message(self, pod: Object, view: ContainerView) -> str:
        """What an ended container left as its message; from its log where the pod asks for that."""
        container = pods.find_container(pod, view.name) or {}
        path = self._message_file(pod, view.name, view.attempt)

        def read() -> str:
            try:
                with path.open("rb") as file:
                    return file.read(MESSAGE_LIMIT).decode("utf-8", "replace")
            except OSError:
                return ""

        text = await asyncio.to_thread(read)
        failed = view.exit_code != 0
        if not text and failed and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            raw = await self._node.runtime.tail(view.id, LOG_MESSAGE_LINES)
            text = raw[-LOG_MESSAGE_BYTES:].decode("utf-8", "replace")
        return text
