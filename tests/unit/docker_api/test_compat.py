"""What each API version changes in bodies and answers."""

from typing import Any

import pytest

from wherry.docker_api import compat
from wherry.engine.errors import InvalidParameter, NotFound

MAC = "02:42:ac:11:00:99"


def test_the_default_network_is_bridge() -> None:
    body: dict[str, Any] = {"NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": ["a"]}}}}
    assert compat.create_body(body, (1, 50)) == []
    assert body["HostConfig"]["NetworkMode"] == "bridge"
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"bridge": {"Aliases": ["a"]}}


def test_a_runtime_beside_the_host_config_is_not_overlooked() -> None:
    body: dict[str, Any] = {"Runtime": "runc"}
    compat.create_body(body, (1, 50))
    assert (body["HostConfig"]["Runtime"], "Runtime" in body) == ("runc", False)
    body = {"Runtime": "runc", "HostConfig": {"Runtime": "crun"}}
    compat.create_body(body, (1, 50))
    assert body["HostConfig"]["Runtime"] == "crun"


def test_the_mac_address_moves_to_the_endpoint() -> None:
    body: dict[str, Any] = {"MacAddress": MAC, "HostConfig": {"NetworkMode": "blue"}}
    assert compat.create_body(body, (1, 43)) == []
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"blue": {"MacAddress": MAC}}
    body = {"MacAddress": MAC}
    (warning,) = compat.create_body(body, (1, 44))
    assert warning.startswith("The container-wide MacAddress field is now deprecated")
    with pytest.raises(InvalidParameter, match="conflicting options: mac-address"):
        compat.create_body({"MacAddress": MAC, "HostConfig": {"NetworkMode": "host"}}, (1, 43))


def test_several_endpoints_need_1_44() -> None:
    body: dict[str, Any] = {"NetworkingConfig": {"EndpointsConfig": {"blue": {}, "red": None}}}
    with pytest.raises(InvalidParameter, match="multiple network endpoints: blue, red"):
        compat.create_body(body, (1, 43))
    assert compat.create_body(body, (1, 44)) == []


def test_mount_options_must_fit_their_type_since_1_42() -> None:
    body: dict[str, Any] = {"HostConfig": {"Mounts": [{"Type": "bind", "VolumeOptions": {"NoCopy": True}}]}}
    with pytest.raises(InvalidParameter, match='VolumeOptions must not be specified on mount type "bind"'):
        compat.create_body(body, (1, 42))
    compat.create_body(body, (1, 41))
    assert body["HostConfig"]["Mounts"] == [{"Type": "bind"}]


def test_older_defaults_stay() -> None:
    body: dict[str, Any] = {"HostConfig": {"ConsoleSize": [1, 2], "Annotations": {"a": "b"}, "PidsLimit": -1}}
    compat.create_body(body, (1, 39))
    host = body["HostConfig"]
    assert (host["IpcMode"], host["CgroupnsMode"], host["PidsLimit"]) == ("shareable", "host", None)
    assert not {"ConsoleSize", "Annotations"} & set(host)


def test_images_before_1_44_have_a_virtual_size() -> None:
    summary = {"Id": "x", "Size": 7, "RepoTags": None, "RepoDigests": None, "Containers": 2}
    assert compat.image_summary(summary, (1, 42))["RepoTags"] == ["<none>:<none>"]
    assert compat.image_summary(summary, (1, 42))["VirtualSize"] == 7
    new = compat.image_summary(summary, (1, 50))
    assert (new["RepoTags"], new["Containers"], "VirtualSize" in new) == ([], -1, False)
    assert summary["RepoTags"] is None


def test_platforms() -> None:
    compat.check_platform("linux")
    with pytest.raises(InvalidParameter):
        compat.check_platform("//")
    with pytest.raises(InvalidParameter, match="operating system is not supported: windows"):
        compat.check_platform("windows/amd64")
    with pytest.raises(NotFound):
        compat.check_platform("linux/s390x")


def test_an_images_config_has_every_field_that_its_version_has() -> None:
    new = compat.image({"Id": "x", "Config": {"Cmd": ["sh"]}}, (1, 50))["Config"]
    assert new["Cmd"] == ["sh"]
    assert new["OnBuild"] is None
    assert "AttachStdin" not in new
    assert compat.image({"Id": "x"}, (1, 49))["Config"]["AttachStdin"] is False
