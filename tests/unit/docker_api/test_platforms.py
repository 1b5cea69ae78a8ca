"""The parameter `platform`: one image is of one platform."""

import pytest

from wherry.docker_api.platforms import matches, shown

ARM = {"os": "linux", "architecture": "arm64", "variant": "v8"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ARM, True),
        ({"os": "linux", "architecture": "arm64"}, True),
        ({"os": "linux", "architecture": "arm64", "variant": "v9"}, False),
        ({"os": "linux", "architecture": "amd64"}, False),
        ({"os": "windows", "architecture": "arm64"}, False),
    ],
)
def test_a_variant_counts_when_both_name_one(wanted: dict[str, str], expected: bool) -> None:
    assert matches(ARM, wanted) is expected


def test_platforms_are_shown_as_paths() -> None:
    assert (shown(ARM), shown({"os": "linux", "architecture": "amd64"})) == ("linux/arm64/v8", "linux/amd64")
