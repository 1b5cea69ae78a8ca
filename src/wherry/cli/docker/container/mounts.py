"""`--mount`, `--volume` and `--device`: text to the API's JSON."""

from __future__ import annotations

import os

from wherry.cli.docker.errors import CliError
from wherry.cli.format.units import parse_bytes

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


def parse_mount(text: str) -> dict[str, Any]:
    """`type=bind,source=/a,target=/b,readonly` as the API's Mount. ValueError says what is wrong."""
    import csv

    mount: dict[str, Any] = {"Type": "volume"}
    try:
        fields = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration):
        raise ValueError("value is empty" if not text else f"invalid mount specification: {text}") from None
    for field in fields:
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            if key not in _SWITCHES:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        _set(mount, key, value, field)
    if not mount.get("Target"):
        raise ValueError("target is required")
    for kind, options in (("volume", "VolumeOptions"), ("bind", "BindOptions"), ("tmpfs", "TmpfsOptions")):
        if options in mount and mount["Type"] != kind:
            if options == "VolumeOptions" and mount["Type"] == "image":
                continue
            raise ValueError(f"cannot mix '{kind}-*' options with mount type '{mount['Type']}'")
    return mount


def _set(mount: dict[str, Any], key: str, value: str, field: str) -> None:
    if key == "type":
        mount["Type"] = value.lower()
    elif key in ("source", "src"):
        relative = value == "." or value.startswith(("." + os.sep, ".." + os.sep))
        mount["Source"] = os.path.abspath(value) if relative else value
    elif key in ("target", "dst", "destination"):
        mount["Target"] = value
    elif key in ("readonly", "ro"):
        mount["ReadOnly"] = _truth(key, value)
    elif key == "consistency":
        mount["Consistency"] = value.lower()
    elif key == "bind-propagation":
        _options(mount, "BindOptions")["Propagation"] = value.lower()
    elif key == "bind-nonrecursive":
        _options(mount, "BindOptions")["NonRecursive"] = _truth(key, value)
    elif key == "bind-create-src":
        _options(mount, "BindOptions")["CreateMountpoint"] = _truth(key, value)
    elif key == "bind-recursive":
        options = _options(mount, "BindOptions")
        if value == "disabled":
            options["NonRecursive"] = True
        elif value == "writable":
            options["ReadOnlyNonRecursive"] = True
        elif value == "readonly":
            options["ReadOnlyForceRecursive"] = True
        elif value != "enabled":
            raise ValueError(
                f'invalid value for {key}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )
    elif key == "volume-nocopy":
        _options(mount, "VolumeOptions")["NoCopy"] = _truth(key, value)
    elif key == "volume-subpath":
        _options(mount, "VolumeOptions")["Subpath"] = value
    elif key == "volume-label":
        name, _, setting = value.partition("=")
        _options(mount, "VolumeOptions").setdefault("Labels", {})[name] = setting
    elif key == "volume-driver":
        _options(mount, "VolumeOptions").setdefault("DriverConfig", {})["Name"] = value
    elif key == "volume-opt":
        name, _, setting = value.partition("=")
        driver = _options(mount, "VolumeOptions").setdefault("DriverConfig", {})
        driver.setdefault("Options", {})[name] = setting
    elif key == "image-subpath":
        mount.setdefault("ImageOptions", {})["Subpath"] = value
    elif key == "tmpfs-size":
        try:
            _options(mount, "TmpfsOptions")["SizeBytes"] = parse_bytes(value)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None
    elif key == "tmpfs-mode":
        try:
            _options(mount, "TmpfsOptions")["Mode"] = int(value, 8)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _options(mount: dict[str, Any], name: str) -> dict[str, Any]:
    default: dict[str, Any] = {"DriverConfig": {}} if name == "VolumeOptions" else {}
    options: dict[str, Any] = mount.setdefault(name, default)
    return options


def _truth(key: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(f"invalid value for {key}: {value}")


def split_volumes(specs: list[str]) -> tuple[list[str], dict[str, Any]]:
    """`-v` values as the API's Binds and Volumes; relative paths become absolute."""
    binds: list[str] = []
    volumes: dict[str, Any] = {}
    for spec in specs:
        source, colon, rest = spec.partition(":")
        if not colon:
            volumes[spec] = {}
            continue
        if source.startswith("."):
            source = os.path.abspath(source)
        elif source.startswith("~"):
            source = os.path.expanduser(source)
        binds.append(f"{source}:{rest}")
    return binds, volumes


def parse_device(text: str) -> dict[str, str]:
    """`/dev/a[:/dev/b][:rwm]` as the API's DeviceMapping."""
    parts = text.split(":")
    if len(parts) > 3 or not text:
        raise CliError(f"bad format for path: {text}")
    host, inside, rights = parts[0], parts[0], "rwm"
    if len(parts) == 3:
        inside, rights = parts[1] or host, parts[2]
        if not _rights(rights):
            raise CliError(f"bad mode specified: {rights}")
    elif len(parts) == 2:
        if _rights(parts[1]):
            rights = parts[1]
        else:
            inside = parts[1]
    if not inside.startswith("/"):
        raise CliError(f"{inside} is not an absolute path")
    return {"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": rights}


def _rights(text: str) -> bool:
    return bool(text) and len(set(text)) == len(text) and set(text) <= set("rwm")
