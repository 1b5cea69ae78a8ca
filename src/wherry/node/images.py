"""Having a container's image: pull policies, pull secrets and back-off, with the kubelet's events and reasons.

The engine, the builder and the kubelet share one image store, so an image that was built or loaded here runs at
once. Under `Always`, an image that never came from a registry is not looked for in one: there is nothing newer.
Specified in https://kubernetes.io/docs/concepts/containers/images/.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wherry.client.clock import Clock
from wherry.node import pods
from wherry.node.objects import ObjectCache
from wherry.node.runtime import ImageInfo, RegistryAuth, Runtime, RuntimeFailure
from wherry.schema.builtin import SECRETS
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object

BACKOFF_FIRST, BACKOFF_MAX = 10.0, 300.0
SHOW_ERROR = 2.0
"""Seconds that ErrImagePull stands before it becomes ImagePullBackOff."""


class Record(Protocol):
    """Record an event about a pod (and one of its containers)."""

    def __call__(self, pod: Object, type: str, reason: str, message: str, container: str = "") -> None: ...


class ImageError(Exception):
    """No image for now: the waiting reason, its message, and when to ask again (epoch seconds)."""

    def __init__(self, reason: str, message: str, retry_at: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


@dataclass
class _Backoff:
    delay: float
    until: float
    error: str


class Images:
    """Images for this node's pods."""

    def __init__(self, runtime: Runtime, objects: ObjectCache, record: Record, clock: Clock) -> None:
        self._runtime = runtime
        self._objects = objects
        self._record = record
        self._clock = clock
        self._backoffs: dict[tuple[str, str], _Backoff] = {}
        self._pulling: dict[str, asyncio.Lock] = {}

    async def ensure(self, pod: Object, container: Object) -> ImageInfo:
        """The image of `container`, pulled when the policy asks for it. Raises ImageError."""
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        return await self._ensure(pod, container["name"], str(container.get("image") or ""), policy)

    async def volumes(self, pod: Object, container: Object) -> dict[str, ImageInfo]:
        """Volume name → image, of the image volumes that `container` mounts. Raises ImageError."""
        sources = {one["name"]: one["image"] for one in pod["spec"].get("volumes") or () if "image" in one}
        mounted = [mount["name"] for mount in container.get("volumeMounts") or () if mount["name"] in sources]
        found = {}
        for name in dict.fromkeys(mounted):
            source = sources[name]
            policy = source.get("pullPolicy") or "IfNotPresent"
            found[name] = await self._ensure(pod, container["name"], str(source.get("reference") or ""), policy)
        return found

    async def _ensure(self, pod: Object, name: str, reference: str, policy: str) -> ImageInfo:
        now = self._clock.time()
        try:
            present = await self._runtime.image(reference)
        except ValueError as error:
            why = f'couldn\'t parse image name "{reference}": {error}'
            message = f'Failed to apply default image tag "{reference}": {why}'
            self._record(pod, "Warning", "InspectFailed", message, name)
            self._record(pod, "Warning", "Failed", "Error: InvalidImageName", name)
            raise ImageError("InvalidImageName", message, now + BACKOFF_MAX) from error
        local = present is not None and not present.digests
        if present is not None and (policy != "Always" or local):
            message = f'Container image "{reference}" already present on machine'
            self._record(pod, "Normal", "Pulled", message, name)
            self._backoffs.pop((pods.uid(pod), reference), None)
            return present
        if policy == "Never":
            message = f'Container image "{reference}" is not present with pull policy of Never'
            self._record(pod, "Warning", "ErrImageNeverPull", message, name)
            self._record(pod, "Warning", "Failed", "Error: ErrImageNeverPull", name)
            raise ImageError("ErrImageNeverPull", message, now + BACKOFF_FIRST)
        return await self._pull(pod, name, reference)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._backoffs if key[0] == uid]:
            del self._backoffs[key]

    async def _pull(self, pod: Object, name: str, reference: str) -> ImageInfo:
        key = (pods.uid(pod), reference)
        backoff = self._backoffs.get(key)
        now = self._clock.time()
        if backoff is not None and now < backoff.until:
            self._record(pod, "Normal", "BackOff", f'Back-off pulling image "{reference}"', name)
            self._record(pod, "Warning", "Failed", "Error: ImagePullBackOff", name)
            message = f'Back-off pulling image "{reference}": ErrImagePull: {backoff.error}'
            raise ImageError("ImagePullBackOff", message, backoff.until)
        self._record(pod, "Normal", "Pulling", f'Pulling image "{reference}"', name)
        auths = await self._auths(pod)
        try:
            async with self._pulling.setdefault(reference, asyncio.Lock()):
                begun = self._clock.monotonic()
                image = await self._runtime.pull(reference, auths)
        except RuntimeFailure as error:
            now = self._clock.time()
            delay = BACKOFF_FIRST if backoff is None else min(BACKOFF_MAX, backoff.delay * 2)
            self._backoffs[key] = _Backoff(delay, now + delay, str(error))
            self._record(pod, "Warning", "Failed", f'Failed to pull image "{reference}": {error}', name)
            self._record(pod, "Warning", "Failed", "Error: ErrImagePull", name)
            raise ImageError("ErrImagePull", str(error), now + SHOW_ERROR) from error
        ended = self._clock.monotonic()
        whole = (self._clock.time() - now) if ended < begun else ended - begun
        took = _seconds(ended - begun)
        message = f'Successfully pulled image "{reference}" in {took} ({_seconds(whole)} including waiting). ' \
                  f"Image size: {image.size} bytes."  # fmt: skip
        self._record(pod, "Normal", "Pulled", message, name)
        self._backoffs.pop(key, None)
        return image

    async def _auths(self, pod: Object) -> dict[str, RegistryAuth]:
        """Registry host (and path) → credentials, from the pod's imagePullSecrets."""
        found: dict[str, RegistryAuth] = {}
        for reference in pod["spec"].get("imagePullSecrets") or []:
            name = reference.get("name", "")
            try:
                secret = await self._objects.find(SECRETS, pods.namespace(pod), name, pods.uid(pod))
            except (ApiError, OSError):
                secret = None
            if secret is None:
                message = (
                    f"Unable to retrieve some image pull secrets ({name}); "
                    "attempting to pull the image may not succeed."
                )
                self._record(pod, "Warning", "FailedToRetrieveImagePullSecret", message)
                continue
            found.update(registry_auths(secret))
        return found


def registry_auths(secret: Object) -> dict[str, RegistryAuth]:
    """Credentials of a Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg."""
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            entries: Mapping[str, Any] = json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        elif ".dockercfg" in data:
            entries = json.loads(base64.b64decode(data[".dockercfg"]))
        else:
            return {}
    except (ValueError, AttributeError):
        return {}
    found: dict[str, RegistryAuth] = {}
    for host, entry in entries.items():
        username, password = entry.get("username", ""), entry.get("password", "")
        if entry.get("auth"):
            username, _, password = base64.b64decode(entry["auth"]).decode("utf-8", "replace").partition(":")
        key = host.removeprefix("https://").removeprefix("http://").rstrip("/")
        found[key] = RegistryAuth(username, password, entry.get("identitytoken", ""))
    return found


def _seconds(amount: float) -> str:
    """`1.234s`, `85ms`: durations as the Pulled event shows them."""
    return f"{amount * 1000:.0f}ms" if amount < 1 else f"{amount:.3f}".rstrip("0").rstrip(".") + "s"
