"""Removing images when the disk is short: least recently used first, and only what can be had again.

Unlike a cluster's node, this machine is where its user builds images. So nothing is removed while there is room, and
never an image that did not come from a registry: `docker build` and `docker load` made those, and nobody could bring
them back. Images that a container stands on, running or not, stay too.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from wherry.client.clock import Clock
from wherry.node.runtime import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

MIN_AGE = 120.0
"""Seconds for which an image is safe after it was first seen here or last used."""


@dataclass(frozen=True)
class StoredImage:
    """One image as `Runtime.stored_images` lists it."""

    id: str
    size: int
    pulled: bool
    used: bool


class ImageCollector:
    """Remembers when each image was last used. Call `look` now and then, `free` when room is needed."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._last_used: dict[str, float] = {}

    async def look(self) -> list[StoredImage]:
        """Note which images are in use now. Raises RuntimeFailure."""
        now = self._clock.time()
        images = await self._runtime.stored_images()
        known = {image.id for image in images}
        self._last_used = {id: at for id, at in self._last_used.items() if id in known}
        for image in images:
            if image.used or image.id not in self._last_used:
                self._last_used[image.id] = now
        return images

    async def free(self, wanted: int) -> int:
        """Remove images until `wanted` bytes are free or nothing is left to remove; returns the bytes freed."""
        freed = 0
        try:
            for image in oldest_first(await self.look(), self._last_used, self._clock.time()):
                if freed >= wanted:
                    break
                try:
                    await self._runtime.remove_image(image.id)
                except RuntimeFailure as error:
                    log.info("image %s stays: %s", image.id, error)
                    continue
                log.info("image %s removed: the disk is short", image.id)
                freed += image.size
        except RuntimeFailure as error:
            log.warning("images cannot be listed: %s", error)
        return freed


def oldest_first(images: Sequence[StoredImage], last_used: dict[str, float], now: float) -> list[StoredImage]:
    """The images that may go, the one unused for longest first."""
    free = [one for one in images if one.pulled and not one.used and now - last_used.get(one.id, now) >= MIN_AGE]
    return sorted(free, key=lambda one: last_used[one.id])
