"""Pods from files on this machine, which run also when the API cannot be reached.

Each file of the manifest folder (`<root>/manifests`; YAML or JSON, not beginning with a dot) holds one Pod. It gets
the node's name behind its own and an identity made from its content, so that another content is another pod. The API
shows each one as a *mirror pod*, which only tells: deleting it brings it back, and only the file ends the pod.
Specified in https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.node import pods
from wherry.node.folder_watch import FolderWatch
from wherry.schema.builtin import PODS
from wherry.schema.errors import AlreadyExists, ApiError, Conflict, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

RETRY = 2.0
CONFIG_SEEN = "kubernetes.io/config.seen"


class BadManifest(ValueError):
    """A file that holds no pod that can be run; the text says why."""


class StaticWorker(Protocol):
    """What a static pod's worker is told."""

    def mirrored(self, mirror: Object | None) -> None: ...

    def end_static(self) -> None: ...


def read_manifest(path: Path, node: str) -> Object:
    """The pod in a file, as it runs on `node`. Blocking. Raises BadManifest, OSError."""
    import yaml

    from wherry.schema.decode import check_fields
    from wherry.schema.defaults import apply_defaults
    from wherry.schema.validation import validate_create

    raw = path.read_bytes()
    try:
        pod: Any = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadManifest(f"it is neither YAML nor JSON: {error}") from error
    if not isinstance(pod, dict) or (pod.get("apiVersion"), pod.get("kind")) != ("v1", "Pod"):
        raise BadManifest("it holds no Pod of v1")
    meta = pod.setdefault("metadata", {})
    if not isinstance(meta, dict) or not isinstance(pod.get("spec"), dict) or not meta.get("name"):
        raise BadManifest("it has no metadata.name or no spec")
    try:
        unknown = check_fields(PODS, pod)
    except ApiError as error:
        raise BadManifest(str(error)) from error
    for message in unknown:
        log.warning("%s: %s", path, message)
    own = f"{meta['name']}-{node.lower()}"
    identity = hashlib.sha256(b"\0".join((node.encode(), bytes(path), raw))).hexdigest()[:32]
    meta |= {"name": own, "namespace": meta.get("namespace") or "default", "uid": identity}
    for field in ("generateName", "resourceVersion", "creationTimestamp", "ownerReferences", "managedFields"):
        meta.pop(field, None)
    spec = pod["spec"]
    spec["nodeName"] = node
    tolerations = spec.setdefault("tolerations", [])
    if not any(one.get("operator") == "Exists" and not one.get("key") for one in tolerations):
        tolerations.append({"operator": "Exists", "effect": "NoExecute"})
    pod.pop("status", None)
    apply_defaults(PODS, pod)
    causes = validate_create(PODS, pod)
    if causes:
        raise BadManifest("; ".join(f"{field}: {message}" for _, message, field in causes))
    annotations = meta.setdefault("annotations", {})
    annotations.pop(pods.CONFIG_MIRROR, None)
    annotations |= {pods.CONFIG_HASH: identity, pods.CONFIG_SOURCE: "file"}
    pod["status"] = {}
    return pod


def mirror_of(pod: Object, node: Object | None) -> Object:
    """What the API is shown of a static pod; `node` owns it."""
    meta = pod["metadata"]
    shown = {key: meta[key] for key in ("name", "namespace", "labels") if key in meta}
    shown["annotations"] = meta["annotations"] | {pods.CONFIG_MIRROR: meta["annotations"][pods.CONFIG_HASH]}
    if node is not None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
        shown["ownerReferences"] = [owner | {"controller": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": shown, "spec": pod["spec"]}


class StaticPods:
    """Follows the folder and keeps the mirrors.

    `add(pod)` begins a pod; `worker(uid)` is a pod's worker while it has one; `seen()` are the pods that the API has
    of this node; `node()` is the Node's object, once it is registered.
    """

    def __init__(
        self,
        folder: Path,
        client: Client,
        node_name: str,
        clock: Clock,
        *,
        add: Callable[[Object], None],
        worker: Callable[[str], StaticWorker | None],
        seen: Callable[[], Iterable[Object]],
        node: Callable[[], Object | None],
    ) -> None:
        self._folder = folder
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._add = add
        self._worker = worker
        self._seen = seen
        self._node = node
        self._pods: dict[str, Object] = {}
        self._refused: dict[Path, str] = {}
        self._changed = asyncio.Event()

    def pods(self) -> list[Object]:
        """Those that the folder declares now."""
        return list(self._pods.values())

    def api_changed(self) -> None:
        """A mirror came, changed or went."""
        self._changed.set()

    async def load(self) -> None:
        """Read the folder: begin what is new, end what is gone. A file that cannot be used is logged once."""
        found = {pods.uid(pod): pod for pod in await asyncio.to_thread(self._read)}
        gone = [uid for uid in self._pods if uid not in found]
        fresh = [pod for uid, pod in found.items() if uid not in self._pods]
        self._pods = {uid: self._pods.get(uid, pod) for uid, pod in found.items()}
        for uid in gone:
            worker = self._worker(uid)
            if worker is not None:
                worker.end_static()
        for pod in fresh:
            pod["metadata"]["annotations"][CONFIG_SEEN] = pods.format_micro_time(self._clock.time())
            self._add(pod)
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. Raises OSError when the folder cannot be watched."""
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        with FolderWatch(self._folder) as watch:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_mirrors(), name="mirror pods")
                while True:
                    await self.load()
                    await watch.wait()

    def _read(self) -> list[Object]:
        self._folder.mkdir(parents=True, exist_ok=True)
        found = []
        refused = {}
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                found.append(read_manifest(path, self._node_name))
            except (BadManifest, OSError) as error:
                refused[path] = str(error)
                if self._refused.get(path) != str(error):
                    log.error("static pod of %s cannot be run: %s", path, error)
        self._refused = refused
        return found

    async def _keep_mirrors(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._sync()
            except (ApiError, OSError) as error:
                log.warning("mirror pods cannot be kept: %s", error)
                await self._clock.sleep(RETRY)
                self._changed.set()

    async def _sync(self) -> None:
        mirrors = {pods.full_name(pod): pod for pod in self._seen() if pods.is_mirror(pod)}
        for pod in self.pods():
            mirror = mirrors.pop(pods.full_name(pod), None)
            worker = self._worker(pods.uid(pod))
            if mirror is not None and (pods.uid(mirror) != pods.uid(pod) or pods.is_deleted(mirror)):
                await self._delete(mirror)
                mirror = None
            if mirror is None:
                try:
                    mirror = await self._client.create(PODS, mirror_of(pod, self._node()), pods.namespace(pod))
                except AlreadyExists:
                    # Its deletion is on the way to us: that event brings us back here.
                    continue
            if worker is not None:
                worker.mirrored(mirror)
        for mirror in mirrors.values():
            if self._worker(pods.uid(mirror)) is None:
                await self._delete(mirror)

    async def _delete(self, mirror: Object) -> None:
        try:
            await self._client.delete(
                PODS,
                pods.name(mirror),
                pods.namespace(mirror),
                uid=mirror["metadata"]["uid"],
                grace_period_seconds=0,
            )
        except (NotFound, Conflict):
            log.debug("mirror pod %s is gone already", pods.full_name(mirror))
