"""Limits of directories, on a filesystem of their own that keeps quotas; skipped where the kernel cannot."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.host.project_quotas import limit

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="mkfs.ext4 is not installed"),
]

NOBODY = 65534


@pytest.fixture
def filesystem(tmp_path: Path) -> Iterator[Path]:
    image, place = tmp_path / "image", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    make = ["mkfs.ext4", "-q", "-O", "project,quota", "-E", "quotatype=prjquota", str(image)]
    subprocess.run(make, check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop,prjquota", str(image), str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this kernel mounts no ext4 with quotas: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def write(path: Path, size: int) -> int:
    """How many bytes got there, written by somebody without privileges."""
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={path}", f"bs={size}", "count=1"], user=NOBODY, capture_output=True, check=False
    )
    return path.stat().st_size


def test_a_directory_holds_no_more_than_it_may(filesystem: Path) -> None:
    for name in ("small", "other"):
        (filesystem / name).mkdir()
        (filesystem / name).chmod(0o777)
        assert limit(filesystem / name, 2 << 20)
    assert write(filesystem / "small" / "fits", 1 << 20) == 1 << 20
    assert write(filesystem / "small" / "too-much", 4 << 20) < 1 << 20
    assert write(filesystem / "other" / "fits", 1 << 20) == 1 << 20, "each has its own"
    assert limit(filesystem / "small", 8 << 20)
    assert write(filesystem / "small" / "more", 4 << 20) == 4 << 20


def test_what_holds_something_already_is_left_alone(filesystem: Path) -> None:
    (filesystem / "full").mkdir()
    (filesystem / "full" / "file").touch()
    assert not limit(filesystem / "full", 1 << 20)
