"""Which images may go when the disk is short."""

from wherry.node.image_gc import MIN_AGE, StoredImage, oldest_first


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
