"""Files of volumes and the checks on hostPath and subPath."""

import os
from pathlib import Path

import pytest
from node_samples import make_pod

from wherry.node import resources
from wherry.node.volumes import atomic, hostpath, manager, subpath
from wherry.node.volumes.atomic import File
from wherry.node.volumes.hostpath import VolumeError


def test_an_update_swaps_all_files_at_once(tmp_path: Path) -> None:
    assert atomic.write(tmp_path, {"a": File(b"1"), "dir/b": File(b"2", 0o600)})
    first = (tmp_path / "..data").readlink()
    assert (tmp_path / "a").readlink() == Path("..data/a")
    assert (tmp_path / "dir" / "b").read_bytes() == b"2"
    assert (tmp_path / "dir" / "b").stat().st_mode & 0o777 == 0o600
    assert not atomic.write(tmp_path, {"a": File(b"1"), "dir/b": File(b"2", 0o600)})
    assert (tmp_path / "..data").readlink() == first
    assert atomic.write(tmp_path, {"a": File(b"3")})
    assert sorted(entry for entry in os.listdir(tmp_path) if not entry.startswith("..")) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not (tmp_path / first).exists()


@pytest.mark.parametrize("path", ["../x", "/x", "..hidden", ""])
def test_paths_out_of_the_volume_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        atomic.write(tmp_path, {path: File(b"")})


def test_host_path_types(tmp_path: Path) -> None:
    file, folder, new = tmp_path / "file", tmp_path / "folder", tmp_path / "new"
    file.touch()
    folder.mkdir()
    assert hostpath.check(str(folder), "Directory") == folder
    assert hostpath.check(str(new / "deep"), "DirectoryOrCreate").is_dir()
    assert hostpath.check(str(tmp_path / "made"), "FileOrCreate").is_file()
    with pytest.raises(VolumeError, match=f"hostPath type check failed: {file} is not a directory"):
        hostpath.check(str(file), "Directory")
    with pytest.raises(VolumeError, match="is not a socket file"):
        hostpath.check(str(file), "Socket")


def test_a_sub_path_cannot_leave_its_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "evil").symlink_to("/etc")
    for path in ("evil", "evil/passwd", "../x", "/etc"):
        with pytest.raises(VolumeError):
            subpath.prepare(volume, path, tmp_path / "target")


def test_huge_pages_are_of_a_size_that_the_pod_requests() -> None:
    pod = make_pod()
    pod["spec"]["containers"][0]["resources"] = {"limits": {"hugepages-2Mi": "4Mi", "memory": "32Mi"}}
    assert resources.huge_page_sizes(pod) == ["2Mi"]
    assert resources.huge_page_limit(pod, "2Mi") == 4 * 1024 * 1024
    assert resources.huge_page_limit(pod, "1Gi") == 0
    assert manager._page_size("HugePages", ["2Mi"]) == "2Mi"
    assert manager._page_size("HugePages-1Gi", ["1Gi", "2Mi"]) == "1Gi"
    for medium, asked in (("HugePages", ["1Gi", "2Mi"]), ("HugePages", []), ("HugePages-1Gi", ["2Mi"])):
        with pytest.raises(VolumeError):
            manager._page_size(medium, asked)
