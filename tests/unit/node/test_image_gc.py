"""Which images may go when the disk is short."""

from typing import Any

from wherry.node.image_gc import MIN_AGE, ImageCollector, StoredImage, oldest_first
from wherry.node.runtime import RuntimeFailure
from wherry.testing.clock import MockClock


def test_only_pulled_unused_images_go_and_the_longest_unused_first() -> None:
    images = [
        StoredImage("recent", 1, pulled=True, used=False),
        StoredImage("older", 1, pulled=True, used=False),
        StoredImage("oldest", 1, pulled=True, used=False),
        StoredImage("built", 1, pulled=False, used=False),
        StoredImage("running", 1, pulled=True, used=True),
    ]
    now = 10_000.0
    last_used = {"recent": now - 1, "older": now - MIN_AGE, "oldest": now - 500, "built": 0.0, "running": 0.0}
    assert [image.id for image in oldest_first(images, last_used, now)] == ["oldest", "older"]


class Store:
    """A runtime that has images only."""

    def __init__(self, *images: StoredImage) -> None:
        self.images = list(images)

    async def stored_images(self) -> list[StoredImage]:
        return list(self.images)

    async def remove_image(self, id: str) -> None:
        if id == "held":
            raise RuntimeFailure("somebody holds it")
        self.images = [image for image in self.images if image.id != id]


async def test_no_more_goes_than_is_needed_and_what_cannot_go_is_passed_over() -> None:
    clock = MockClock()
    store = Store(*(StoredImage(name, 10, pulled=True, used=False) for name in ("held", "first", "second")))
    runtime: Any = store
    collector = ImageCollector(runtime, clock)
    assert await collector.free(5) == 0  # seen for the first time: nobody knows yet when they were used
    await clock.advance(MIN_AGE + 1)
    assert await collector.free(5) == 10
    assert [image.id for image in store.images] == ["held", "second"]
