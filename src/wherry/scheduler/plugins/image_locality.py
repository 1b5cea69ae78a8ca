"""ImageLocality: prefer nodes that have the pod's images already, weighted by size and by how widespread they are."""

from typing import Any

import numpy as np

from wherry.scheduler.framework import MAX_SCORE, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.snapshot import Floats, Ints, Snapshot

_MEGABYTE = 1024 * 1024
_SMALLEST = 23 * _MEGABYTE
_LARGEST = 1000 * _MEGABYTE


def normalized_name(image: str) -> str:
    """With a tag: `nginx` is `nginx:latest`."""
    if image.rpartition("/")[2].find(":") < 0 and "@" not in image:
        return f"{image}:latest"
    return image


def _spellings(image: str) -> tuple[str, ...]:
    """The names under which a node may list the image."""
    name = normalized_name(image)
    first, slash, _ = name.partition("/")
    if not slash:
        return name, f"docker.io/library/{name}"
    if "." not in first and ":" not in first and first != "localhost":
        return name, f"docker.io/{name}"
    return (name,)


class ImageLocality(Plugin):
    name = "ImageLocality"
    weight = 1

    def __init__(self) -> None:
        self._generation = -1
        self._cache: dict[tuple[str, ...], Floats | None] = {}

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        if self._generation != snapshot.generation:
            self._generation = snapshot.generation
            self._cache.clear()
        images = pod.images
        if images not in self._cache:
            self._cache[images] = self._scores(images, snapshot)
        scores = self._cache[images]
        return None if scores is None else scores[among]

    def _scores(self, images: tuple[str, ...], snapshot: Snapshot) -> Floats | None:
        sizes = np.zeros(snapshot.size)
        nodes = max(snapshot.node_count, 1)
        for image in images:
            names = _spellings(image)

            def size_on(node: Any, names: tuple[str, ...] = names) -> float:
                for entry in (node.get("status") or {}).get("images") or ():
                    if any(name in names for name in entry.get("names") or ()):
                        return float(entry.get("sizeBytes", 0))
                return 0.0

            here = snapshot.vector((self.name, names), size_on, np.float64)
            sizes += here * (np.count_nonzero(here) / nodes)
        if not sizes.any():
            return None
        largest = _LARGEST * max(len(images), 1)
        clipped = np.clip(sizes, _SMALLEST, largest)
        scores: Floats = np.floor(MAX_SCORE * (clipped - _SMALLEST) / (largest - _SMALLEST))
        return scores
