from pathlib import Path
from typing import Any

import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.mountpoints import parse_bind, parse_mount, plan, shown, tmpfs_options


@pytest.mark.parametrize("plain", [False, True])
def test_read_only_binds_are_recursively_so_unless_told_otherwise(tmp_path: Path, plain: bool) -> None:
    mounts = [{"Type": "bind", "Source": str(tmp_path), "Target": "/c", "ReadOnly": True}]
    host_config = {"Binds": [f"{tmp_path}:/a:ro", f"{tmp_path}:/b"], "Mounts": mounts}
    points = {point["Destination"]: point for point in plan(host_config, {}, lambda _: (), plain_read_only=plain)}
    assert [bool(points[place].get("plain_read_only")) for place in ("/a", "/b", "/c")] == [plain, False, plain]


def test_binds_are_host_paths_volumes_or_anonymous() -> None:
    assert parse_bind("/a/../b:/c:ro,rslave") == {
        "Type": "bind", "Source": "/b", "Destination": "/c", "Mode": "ro,rslave", "RW": False,
        "Propagation": "rslave", "create": True,
    }  # fmt: skip
    named = parse_bind("data:/c:nocopy")
    assert (named["Type"], named["Name"], named["nocopy"]) == ("volume", "data", True)
    assert parse_bind("/only")["Name"] == ""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "invalid volume specification: ''"),
        ("a:b:c:d", "invalid volume specification"),
        ("x:rel", "mount path must be absolute"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/..", "destination can't be '/'"),
        ("/a:/b:bogus", "invalid mode: bogus"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
    ],
)
def test_bad_binds_are_refused_in_dockers_words(spec: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words.replace("(", r"\(")):
        parse_bind(spec)


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ({"Type": "bind", "Source": "/nonexistent", "Target": "/x"}, "bind source path does not exist: /nonexistent"),
        ({"Type": "bind", "Target": "/x"}, "field Source must not be empty"),
        ({"Type": "bind", "Source": "/"}, "field Target must not be empty"),
        ({"Type": "tmpfs", "Source": "/", "Target": "/x"}, "field Source must not be specified"),
        ({"Type": "bogus", "Target": "/x"}, "mount type unknown"),
        ({"Type": "volume", "Target": "x"}, "mount path must be absolute"),
        ({"Type": "volume", "Target": "/x", "BindOptions": {"a": 1}}, "field BindOptions must not be specified"),
        ({"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions": {"Subpath": "../y"}}, "relative path"),
    ],
)
def test_bad_mounts_are_refused_in_dockers_words(mount: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        parse_mount(mount)


def test_a_plan_lets_explicit_mounts_win_over_those_of_other_containers_and_the_image(tmp_path: Path) -> None:
    theirs = [parse_bind("/theirs:/a"), {**parse_bind("/kept"), "Name": "n", "owned": True}]
    points = plan(
        {"Binds": [f"{tmp_path}:/a"], "VolumesFrom": ["other:ro"], "Tmpfs": {"/run": "size=1m"}},
        {"Volumes": {"/a": {}, "/image": {}}},
        lambda reference: theirs,
    )
    by_place = {point["Destination"]: point for point in points}
    assert by_place["/a"]["Source"] == str(tmp_path)
    assert by_place["/kept"]["RW"] is False
    assert "owned" not in by_place["/kept"]
    assert by_place["/image"]["Type"] == "volume"
    assert shown(by_place["/run"]) is None
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /a"):
        plan({"Binds": ["/x:/a", "/y:/a/"]}, {}, lambda reference: [])


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        ("/elsewhere", "", "rprivate"),
        ("/elsewhere", "shared", "shared"),
        ("/var/lib/wherry/volumes", "", "rslave"),
        ("/", "", "rslave"),
        ("/var/lib", "rshared", "rshared"),
        ("/var/lib", "rprivate", None),
        ("/var/lib/wherryish", "private", "private"),
    ],
)
def test_the_engines_own_folders_are_not_seen_privately(source: str, given: str, expected: str | None) -> None:
    binds = {"Binds": [f"{source}:/x:{given}" if given else f"{source}:/x"]}
    own = (Path("/var/lib/wherry"),)
    if expected is None:
        with pytest.raises(InvalidParameter, match='"rslave" or "rshared" when mount source is within the daemon root'):
            plan(binds, {}, lambda reference: [], own)
        return
    assert plan(binds, {}, lambda reference: [], own)[0]["Propagation"] == expected


def test_a_tmpfs_is_closed_unless_its_options_open_it() -> None:
    assert tmpfs_options(["size=1m"]) == ["noexec", "nosuid", "nodev", "size=1m"]
    assert tmpfs_options(["exec", "dev"]) == ["nosuid", "exec", "dev"]


def test_an_image_can_be_mounted() -> None:
    point = parse_mount({"Type": "image", "Source": "busybox", "Target": "/m", "ImageOptions": {"Subpath": "bin"}})
    assert (point["Type"], point["Source"], point["Destination"], point["subpath"]) == ("image", "busybox", "/m", "bin")
    with pytest.raises(InvalidParameter):
        parse_mount({"Type": "image", "Source": "busybox", "Target": "/m", "ImageOptions": {"Subpath": ".."}})
