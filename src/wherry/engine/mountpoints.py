"""A container's mounts: Docker's ways to ask for them (Binds, Mounts, Volumes, tmpfs), and what becomes of them.

A *mount point* is what `docker inspect` shows under `Mounts`: Type, Name, Source, Destination, Driver, Mode, RW,
Propagation. Ours carry private keys too (in lower case): `nocopy`, `owned` (an anonymous volume made for this
container, removed by `rm -v`), `subpath`, `create` (make a missing source), `tmpfs` (options), `recursive`; and of an
image that is mounted `image` (its id), `chain` and `key` (of its snapshot).
Specified in the Docker Engine API, HostConfig.Binds and HostConfig.Mounts; the messages are those of its daemon.
"""

import asyncio
import os
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from wherry.engine.errors import EngineError, InvalidParameter, NotFound
from wherry.engine.rootpaths import open_in_root, open_root
from wherry.engine.volumes import Volumes
from wherry.images.errors import ImageError
from wherry.images.snapshots import Snapshotter

if TYPE_CHECKING:
    from wherry.images.store import ImageStore

MountPoint: TypeAlias = dict[str, Any]

_PROPAGATIONS = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_CONSISTENCIES = frozenset({"consistent", "cached", "delegated", "default"})
_LABELS = frozenset({"z", "Z"})


def parse_bind(spec: str) -> MountPoint:
    """`/host:/inside:ro`, `name:/inside`, `/inside` (anonymous volume). Raises InvalidParameter."""
    parts = spec.split(":")
    if not spec or any(not part for part in parts) or len(parts) > 3:
        raise InvalidParameter(f"invalid volume specification: '{spec}'")
    if len(parts) == 1:
        return _volume("", _destination(spec, parts[0]), mode="")
    source, destination = parts[0], _destination(spec, parts[1], "bind" if parts[0].startswith("/") else "volume")
    mode = parts[2] if len(parts) == 3 else ""
    options = _parse_mode(spec, mode)
    if source.startswith("/"):
        if options["nocopy"]:
            raise InvalidParameter(f"invalid mode: {mode}")
        return {
            "Type": "bind",
            "Source": posixpath.normpath(source),
            "Destination": destination,
            "Mode": mode,
            "RW": options["rw"],
            "Propagation": options["propagation"],
            "create": True,
        }
    point = _volume(source, destination, mode=mode or "z")
    point["RW"] = options["rw"]
    point["Propagation"] = options["propagation"] or ""
    if options["nocopy"]:
        point["nocopy"] = True
    return point


def parse_mount(mount: Mapping[str, Any]) -> MountPoint:
    """One entry of HostConfig.Mounts. Raises InvalidParameter as Docker words it."""
    kind = mount.get("Type") or "volume"
    target = mount.get("Target") or ""

    def refuse(why: str) -> InvalidParameter:
        return InvalidParameter(f'invalid mount config for type "{kind}": {why}')

    if kind not in ("bind", "volume", "tmpfs", "image"):
        if kind in ("npipe", "cluster"):
            raise InvalidParameter(f'mount type "{kind}" is not supported by this engine')
        raise InvalidParameter(f'invalid mount config for type "{kind}": mount type unknown')
    if not target:
        raise refuse("field Target must not be empty")
    if not target.startswith("/"):
        raise refuse(f"invalid mount path: '{target}' mount path must be absolute")
    destination = posixpath.normpath(target)
    if destination == "/":
        raise refuse("invalid specification: destination can't be '/'")
    read_only = bool(mount.get("ReadOnly"))
    source = mount.get("Source") or ""
    for name, owner in (
        ("BindOptions", "bind"),
        ("VolumeOptions", "volume"),
        ("TmpfsOptions", "tmpfs"),
        ("ImageOptions", "image"),
    ):
        if mount.get(name) and owner != kind:
            raise refuse(f"field {name} must not be specified")
    if kind == "bind":
        options = mount.get("BindOptions") or {}
        if not source:
            raise refuse("field Source must not be empty")
        if not source.startswith("/"):
            raise refuse(f"invalid mount path: '{source}' mount path must be absolute")
        propagation = options.get("Propagation") or ""
        if propagation and propagation not in _PROPAGATIONS:
            raise refuse(f"invalid propagation mode: {propagation}")
        create = bool(options.get("CreateMountpoint"))
        if not create and not os.path.exists(source):
            raise refuse(f"bind source path does not exist: {source}")
        return {
            "Type": "bind",
            "Source": posixpath.normpath(source),
            "Destination": destination,
            "Mode": "",
            "RW": not read_only,
            "Propagation": propagation,
            "create": create,
            "recursive": not options.get("NonRecursive"),
            "force_recursive_read_only": bool(options.get("ReadOnlyForceRecursive")),
            "plain_read_only": bool(options.get("ReadOnlyNonRecursive")),
        }
    if kind == "tmpfs":
        if source:
            raise refuse("field Source must not be specified")
        options = mount.get("TmpfsOptions") or {}
        words = tmpfs_options(["=".join(option) for option in options.get("Options") or ()])
        if options.get("SizeBytes"):
            words.append(f"size={int(options['SizeBytes'])}")
        if options.get("Mode"):
            words.append(f"mode={int(options['Mode']):o}")
        if read_only:
            words.append("ro")
        return {
            "Type": "tmpfs",
            "Source": "",
            "Destination": destination,
            "Mode": "",
            "RW": not read_only,
            "Propagation": "",
            "tmpfs": words,
        }
    if kind == "image":
        if not source:
            raise refuse("field Source must not be empty")
        point = {
            "Type": "image",
            "Source": source,
            "Destination": destination,
            "Mode": "",
            "RW": not read_only,
            "Propagation": "",
        }
        if subpath := (mount.get("ImageOptions") or {}).get("Subpath"):
            point["subpath"] = _relative(subpath, refuse)
        return point
    options = mount.get("VolumeOptions") or {}
    point = _volume(source, destination, mode="z")
    point["RW"] = not read_only
    if options.get("NoCopy"):
        point["nocopy"] = True
    subpath = options.get("Subpath") or ""
    if subpath:
        if not source:
            raise refuse("must not set Subpath when using anonymous volumes")
        point["subpath"] = _relative(subpath, refuse)
    driver = options.get("DriverConfig") or {}
    point["Driver"] = driver.get("Name") or "local"
    if driver.get("Options"):
        point["driver_options"] = dict(driver["Options"])
    if options.get("Labels"):
        point["labels"] = dict(options["Labels"])
    return point


def _relative(subpath: str, refuse: Callable[[str], InvalidParameter]) -> str:
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise refuse(f"subpath must be a relative path within the volume: {subpath}")
    return subpath


def parse_tmpfs(destination: str, options: str) -> MountPoint:
    """One entry of HostConfig.Tmpfs."""
    if not destination.startswith("/"):
        raise InvalidParameter(f"invalid mount path: '{destination}' mount path must be absolute")
    if posixpath.normpath(destination) in ("/", "//"):
        raise InvalidParameter("invalid specification: destination can't be '/'")
    return {
        "Type": "tmpfs",
        "Source": "",
        "Destination": posixpath.normpath(destination),
        "Mode": options,
        "RW": "ro" not in options.split(","),
        "Propagation": "",
        "tmpfs": tmpfs_options([word for word in options.split(",") if word]),
        "hidden": True,
    }


_OPPOSITES = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}


def tmpfs_options(given: Sequence[str]) -> list[str]:
    """Docker's defaults for a tmpfs (noexec, nosuid, nodev), but for those that `given` undoes."""
    return [word for allow, word in _OPPOSITES.items() if allow not in given] + list(given)


def plan(
    host_config: Mapping[str, Any],
    config: Mapping[str, Any],
    volumes_from: Callable[[str], Iterable[MountPoint]],
    own: Sequence[Path] = (),
    *,
    plain_read_only: bool = False,
) -> list[MountPoint]:
    """All mount points of a container to be, later sources overriding earlier ones where Docker lets them.

    `volumes_from` gives the mount points of a container by reference; `own` are the engine's own folders; with
    `plain_read_only` no read-only bind is so recursively. Raises InvalidParameter ("Duplicate mount point") for two
    explicit mounts at one place.
    """
    points: dict[str, MountPoint] = {}
    for reference in host_config.get("VolumesFrom") or ():
        container, _, mode = reference.partition(":")
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise InvalidParameter(f"invalid mode: {mode}")
        for point in volumes_from(container):
            copied = dict(point)
            copied.pop("owned", None)
            if mode == "ro":
                copied["RW"] = False
            copied["nocopy"] = True
            copied["Mode"] = ""
            points[point["Destination"]] = copied
    explicit: dict[str, MountPoint] = {}

    def add(point: MountPoint) -> None:
        destination = point["Destination"]
        if destination in explicit:
            raise InvalidParameter(f"Duplicate mount point: {destination}")
        if point["Type"] == "bind":
            _settle_propagation(point, own)
            if plain_read_only and not point["RW"]:
                point["plain_read_only"] = True
        explicit[destination] = point

    driver = host_config.get("VolumeDriver") or "local"
    for spec in host_config.get("Binds") or ():
        point = parse_bind(spec)
        if point["Type"] == "volume":
            point["Driver"] = driver
        add(point)
    for mount in host_config.get("Mounts") or ():
        add(parse_mount(mount))
    for destination, options in (host_config.get("Tmpfs") or {}).items():
        add(parse_tmpfs(destination, options or ""))
    points.update(explicit)
    for declared in config.get("Volumes") or {}:
        destination = posixpath.normpath(declared)
        if not declared.startswith("/"):
            raise InvalidParameter(
                f"invalid volume specification: '{declared}': invalid mount config for type \"volume\": "
                f"invalid mount path: '{declared}' mount path must be absolute"
            )
        if destination not in points:
            points[destination] = _volume("", destination, mode="") | {"Driver": driver}
    return list(points.values())


def _settle_propagation(point: MountPoint, own: Sequence[Path]) -> None:
    """Give a bind its default. Raises InvalidParameter where it must not be private.

    A container that saw the engine's own folders privately would hold every other container's mounts in them, as
    they were when it began, for as long as it runs.
    """
    source, given = Path(point["Source"]), point["Propagation"]
    for folder in own:
        if source.is_relative_to(folder) or folder.is_relative_to(source):
            if given not in ("", "rslave", "rshared"):
                raise InvalidParameter(
                    'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source '
                    f'is within the daemon root, daemon root: "{folder}", bind mount source: "{source}", '
                    f'propagation: "{given}"'
                )
            point["Propagation"] = given or "rslave"
    point["Propagation"] = point["Propagation"] or "rprivate"


def resolve_images(points: Sequence[MountPoint], owner: str, store: "ImageStore") -> None:
    """Note on each image to be mounted which one it is, and the key of its snapshot. Raises InvalidParameter."""
    for number, point in enumerate(point for point in points if point["Type"] == "image"):
        try:
            image = store.resolve(point["Source"])
        except ImageError as error:
            # Not Docker's 404, which its client takes for a missing image of the container itself.
            raise InvalidParameter(error.message) from None
        point |= {"image": image.id, "chain": image.chain_id, "key": f"{owner}-{number}"}


def images(points: Sequence[MountPoint]) -> list[MountPoint]:
    """Those that mount an image."""
    return [point for point in points if point["Type"] == "image" and "key" in point]


async def acquire(points: Sequence[MountPoint], volumes: Volumes, owner: str) -> None:
    """Make the volumes that `points` name, and note that container `owner` uses them. Fills in Name and Source."""
    for point in points:
        if point["Type"] != "volume":
            continue
        anonymous = not point.get("Name")
        try:
            volume = await volumes.acquire(
                point.get("Name") or None,
                owner,
                driver=point.get("Driver") or "local",
                options=point.get("driver_options"),
                labels=point.get("labels"),
            )
        except NotFound as error:
            # A driver that is not there. Not Docker's 404, which its client takes for a missing image.
            raise InvalidParameter(error.message) from None
        point["Name"], point["Source"] = volume["Name"], volume["Mountpoint"]
        if anonymous:
            point["owned"] = True


async def prepare(
    points: Sequence[MountPoint], volumes: Volumes, snapshots: Snapshotter, owner: str, rootfs: Path
) -> list[dict[str, Any]]:
    """OCI mounts for `points`, shallow destinations first; volumes are mounted and initialised from the image.

    Images are mounted below `images/` beside `rootfs`: the caller unmounts what is there.
    """
    result = []
    for point in sorted(points, key=lambda point: point["Destination"].count("/")):
        if point["Type"] == "tmpfs":
            result.append(_oci_tmpfs(point))
            continue
        if point["Type"] == "volume":
            source = await volumes.mount(
                point["Name"],
                owner,
                destination=point["Destination"],
                read_only=not point["RW"],
                propagation=point.get("Propagation") or "",
            )
            if not point.get("nocopy"):
                image_directory = _existing_directory(rootfs, point["Destination"])
                if image_directory is not None:
                    try:
                        await volumes.initialise(point["Name"], Path(f"/proc/self/fd/{image_directory}"))
                    finally:
                        os.close(image_directory)
            if point.get("subpath"):
                source = await asyncio.to_thread(_subpath, source, point["subpath"])
        elif point["Type"] == "image":
            source = rootfs.parent / "images" / point["key"].rpartition("-")[2]
            await asyncio.to_thread(source.mkdir, parents=True)
            await asyncio.to_thread(snapshots.mount, point["key"], source)
            if point.get("subpath"):
                source = await asyncio.to_thread(_subpath, source, point["subpath"])
        else:
            source = Path(point["Source"])
            await asyncio.to_thread(_ensure_bind_source, source, bool(point.get("create")))
        result.append(_oci_bind(point, source))
    return result


async def release(points: Sequence[MountPoint], volumes: Volumes, owner: str) -> None:
    """The container has stopped: its volumes may be unmounted."""
    for point in points:
        if point["Type"] == "volume":
            await volumes.unmount(point["Name"], owner)


def shown(point: MountPoint) -> MountPoint | None:
    """The mount point as the API shows it; None for those it does not list (HostConfig.Tmpfs)."""
    if point.get("hidden"):
        return None
    api = {"Type": point["Type"]}
    if point.get("Name"):
        api["Name"] = point["Name"]
    api["Source"] = point["Source"]
    api["Destination"] = point["Destination"]
    if point["Type"] == "volume":
        api["Driver"] = point.get("Driver") or "local"
    api["Mode"] = point["Mode"]
    api["RW"] = point["RW"]
    api["Propagation"] = point["Propagation"]
    return api


def _volume(name: str, destination: str, *, mode: str) -> MountPoint:
    return {
        "Type": "volume",
        "Name": name,
        "Source": "",
        "Destination": destination,
        "Driver": "local",
        "Mode": mode,
        "RW": True,
        "Propagation": "",
    }


def _destination(spec: str, path: str, kind: str = "volume") -> str:
    where = f"invalid volume specification: '{spec}': invalid mount config for type \"{kind}\": "
    if not path.startswith("/"):
        raise InvalidParameter(f"{where}invalid mount path: '{path}' mount path must be absolute")
    normal = posixpath.normpath(path)
    if normal in ("/", "//"):
        raise InvalidParameter(f"{where}invalid specification: destination can't be '/'")
    return normal


def _parse_mode(spec: str, mode: str) -> dict[str, Any]:
    result: dict[str, Any] = {"rw": True, "propagation": "", "nocopy": False}
    seen: set[str] = set()

    def once(group: str) -> None:
        if group in seen:
            raise InvalidParameter(f"invalid mode: {mode}")
        seen.add(group)

    for word in mode.split(",") if mode else ():
        if word in ("ro", "rw"):
            once("access")
            result["rw"] = word == "rw"
        elif word in _PROPAGATIONS:
            once("propagation")
            result["propagation"] = word
        elif word in _LABELS:
            once("label")
        elif word in _CONSISTENCIES:
            once("consistency")
        elif word == "nocopy":
            once("copy")
            result["nocopy"] = True
        else:
            raise InvalidParameter(f"invalid mode: {mode}")
    return result


def _oci_tmpfs(point: MountPoint) -> dict[str, Any]:
    return {
        "destination": point["Destination"],
        "type": "tmpfs",
        "source": "tmpfs",
        "options": list(dict.fromkeys(point["tmpfs"])),
    }


def _oci_bind(point: MountPoint, source: Path) -> dict[str, Any]:
    options = ["rbind" if point.get("recursive", True) else "bind"]
    if not point["RW"]:
        # crun refuses `rro` for what is no directory, and a file has nothing below it.
        options.append("ro" if point.get("plain_read_only") or not source.is_dir() else "rro")
    options.append(point.get("Propagation") or "rprivate")
    return {"destination": point["Destination"], "type": "bind", "source": str(source), "options": options}


def _ensure_bind_source(source: Path, create: bool) -> None:
    try:
        os.stat(source)
    except FileNotFoundError:
        if not create:
            raise InvalidParameter(
                f'invalid mount config for type "bind": bind source path does not exist: {source}'
            ) from None
        try:
            source.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                f"error while creating mount source path '{source}': mkdir {source}: "
                f"{os.strerror(error.errno or 0).lower()}"
            ) from error
    except OSError as error:
        raise EngineError(f"stat {source}: {os.strerror(error.errno or 0).lower()}") from error


def _existing_directory(rootfs: Path, path: str) -> int | None:
    base = open_root(rootfs)
    try:
        return open_in_root(base, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    finally:
        os.close(base)


def _subpath(volume: Path, subpath: str) -> Path:
    """Resolved inside the volume. Raises NotFound when there is no such thing in it."""
    base = open_root(volume)
    try:
        descriptor = open_in_root(base, subpath, os.O_PATH)
    except OSError as error:
        raise NotFound(f"cannot access path {volume}/{subpath}: {os.strerror(error.errno or 0).lower()}") from error
    finally:
        os.close(base)
    try:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)
