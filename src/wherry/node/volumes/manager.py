"""Making a pod's volumes ready on this node, and releasing them.

Everything of a pod lives below `<root>/pods/<uid>`: `volumes/<plugin>/<name>` as in a kubelet's folder, `subpaths/`
for the bind mounts of subPath, `shm`, and the host files. `prepare` is idempotent and doubles as the refresh: it is
run again when an object changed, and rewrites only what differs. hostPath and claims are used where they lie.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.host import mounts, project_quotas
from wherry.node import pods, resources
from wherry.node.container_spec import Mount
from wherry.node.env import Surroundings, expand
from wherry.node.objects import ObjectCache
from wherry.node.runtime import ImageInfo
from wherry.node.volumes import atomic, hostpath, projected, subpath
from wherry.node.volumes.hostpath import VolumeError
from wherry.schema import quantity
from wherry.schema.builtin import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object

FILE_KINDS = {
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
LOCAL_PROVISIONER = "wherry.dev/local-path"
"""Who made the volumes that belong to one claim each: these, unlike other folders of the host, are the pod's own."""
TOKEN_REFRESH = 0.8
"""A token is renewed when this share of its life has passed, or after a day."""


class MountFailed(Exception):
    """One or more volumes cannot be made ready now; `failures` has volume name → message."""

    def __init__(self, failures: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in failures.items()))
        self.failures = failures


@dataclass(frozen=True)
class Volume:
    """A volume that is ready: where it lies on the host. An image's content is mounted by the engine itself."""

    path: Path
    read_only: bool = False
    image: bool = False


@dataclass
class _Token:
    text: str
    renew_at: float


class VolumeManager:
    """Volumes of all pods on this node. `root` is the folder that holds `pods/`."""

    def __init__(self, root: Path, client: Client, objects: ObjectCache, clock: Clock) -> None:
        self._root = root
        self._client = client
        self._objects = objects
        self._clock = clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    def pod_dir(self, uid: str) -> Path:
        return self._root / "pods" / uid

    async def prepare(self, pod: Object, around: Surroundings) -> dict[str, Volume]:
        """Volume name → Volume for all volumes of the pod's spec. Raises MountFailed."""
        volumes = pod["spec"].get("volumes") or []
        results = await asyncio.gather(*(self._prepare_one(pod, v, around) for v in volumes), return_exceptions=True)
        ready: dict[str, Volume] = {}
        failures: dict[str, str] = {}
        for volume, result in zip(volumes, results, strict=True):
            if isinstance(result, Volume):
                ready[volume["name"]] = result
            elif isinstance(result, VolumeError | ApiError | OSError | ValueError):
                failures[volume["name"]] = str(result)
            else:
                raise result
        if failures:
            raise MountFailed(failures)
        return ready

    def renew_at(self, uid: str) -> float | None:
        """When the next token of this pod must be renewed."""
        times = [token.renew_at for (owner, _, _), token in self._tokens.items() if owner == uid]
        return min(times) if times else None

    async def container_mounts(
        self,
        pod: Object,
        container: Object,
        volumes: Mapping[str, Volume],
        environment: Mapping[str, str],
        images: Mapping[str, ImageInfo],
    ) -> list[Mount]:
        """The mounts of one container; `images` by the names of image volumes. Raises VolumeError for an unknown
        volume or an unsafe subPath."""
        found: list[Mount] = []
        for index, mount in enumerate(container.get("volumeMounts") or []):
            volume = volumes.get(mount["name"])
            if volume is None:
                raise VolumeError(f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"')
            relative = mount.get("subPath") or ""
            if mount.get("subPathExpr"):
                relative = expand(mount["subPathExpr"], environment.get)
                if "$(" in relative:
                    raise VolumeError(f"missing value for {mount['subPathExpr']!r}")
            target_path = mount["mountPath"]
            target_path = target_path if target_path.startswith("/") else "/" + target_path
            if volume.image:
                found.append(Mount(images[mount["name"]].id, target_path, True, image=True, subpath=relative))
                continue
            source = volume.path
            if relative:
                target = self.pod_dir(pods.uid(pod)) / "subpaths" / mount["name"] / container["name"] / str(index)
                source = await asyncio.to_thread(subpath.prepare, source, relative, target)
            found.append(
                Mount(
                    source=str(source),
                    target=target_path,
                    read_only=bool(mount.get("readOnly")) or volume.read_only,
                    propagation=PROPAGATION[mount.get("mountPropagation") or "None"],
                    recursive_read_only=mount.get("recursiveReadOnly") in ("Enabled", "IfPossible"),
                )
            )
        return found

    async def release(self, uid: str) -> None:
        """Unmount and delete everything of a pod. Idempotent. Raises OSError when something is still busy."""
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]
        self._objects.release(uid)
        await asyncio.to_thread(_remove_tree, self.pod_dir(uid))

    async def _prepare_one(self, pod: Object, volume: Object, around: Surroundings) -> Volume:
        uid = pods.uid(pod)
        name = volume["name"]
        base = self.pod_dir(uid) / "volumes"
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for kind, folder in FILE_KINDS.items():
            if kind in volume:
                readers = self._readers(pod, around)
                content = await projected.files(pod, volume, readers)
                target = base / folder / name
                await asyncio.to_thread(_write_files, target, content, group)
                return Volume(target)
        if "emptyDir" in volume:
            target = base / "kubernetes.io~empty-dir" / name
            sizes = resources.huge_page_sizes(pod)
            await asyncio.to_thread(_empty_dir, target, volume["emptyDir"] or {}, group, sizes)
            return Volume(target)
        if "hostPath" in volume:
            source = volume["hostPath"]
            return Volume(await asyncio.to_thread(hostpath.check, source["path"], source.get("type") or ""))
        if "persistentVolumeClaim" in volume:
            source = volume["persistentVolumeClaim"]
            return await self._claim(pod, source["claimName"], bool(source.get("readOnly")), group)
        if "ephemeral" in volume:
            return await self._claim(pod, f"{pods.name(pod)}-{name}", False, group)
        if "image" in volume:
            return Volume(base, read_only=True, image=True)
        kinds = [key for key in volume if key != "name"]
        raise VolumeError(f"no volume plugin matched: {', '.join(kinds) or 'no source'} is not supported")

    def _readers(self, pod: Object, around: Surroundings) -> projected.Readers:
        namespace, uid = pods.namespace(pod), pods.uid(pod)

        async def config_map(name: str) -> Object | None:
            return await self._objects.find(CONFIG_MAPS, namespace, name, uid)

        async def secret(name: str) -> Object | None:
            return await self._objects.find(SECRETS, namespace, name, uid)

        async def token(audience: str, seconds: int) -> str:
            return await self._token(pod, audience, seconds)

        return projected.Readers(config_map, secret, token, around)

    async def _token(self, pod: Object, audience: str, seconds: int) -> str:
        key = (pods.uid(pod), audience, seconds)
        cached = self._tokens.get(key)
        now = self._clock.time()
        if cached is not None and now < cached.renew_at:
            return cached.text
        account = pod["spec"].get("serviceAccountName") or "default"
        spec: dict[str, Any] = {
            "expirationSeconds": seconds,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pods.name(pod), "uid": pods.uid(pod)},
        }
        spec["audiences"] = [audience] if audience else []
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
        try:
            answer = await self._client.create(
                SERVICE_ACCOUNTS, request, pods.namespace(pod), name=account, subresource="token"
            )
        except (ApiError, OSError) as error:
            if cached is not None:
                return cached.text
            raise VolumeError(f"failed to fetch token: {error}") from error
        text = str(answer["status"]["token"])
        expires = pods.parse_time(answer["status"].get("expirationTimestamp")) or now + seconds
        self._tokens[key] = _Token(text, now + min(86400.0, (expires - now) * TOKEN_REFRESH))
        return text

    async def _claim(self, pod: Object, claim_name: str, read_only: bool, group: int | None) -> Volume:
        namespace, uid = pods.namespace(pod), pods.uid(pod)
        claim = await self._objects.get(PERSISTENT_VOLUME_CLAIMS, namespace, claim_name, uid)
        if claim["metadata"].get("deletionTimestamp"):
            raise VolumeError(f'can\'t start pod because PVC "{claim_name}" is being deleted')
        volume_name = (claim.get("spec") or {}).get("volumeName")
        if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
            raise VolumeError(f"error processing PVC {namespace}/{claim_name}: PVC is not bound")
        found = await self._objects.get(PERSISTENT_VOLUMES, "", volume_name, uid)
        spec = found["spec"]
        owner = (spec.get("claimRef") or {}).get("uid")
        if owner and owner != claim["metadata"].get("uid"):
            raise VolumeError(
                f"unexpected pvc uid {owner} of PV {volume_name}, expected {claim['metadata'].get('uid')}"
            )
        if spec.get("volumeMode") == "Block":
            raise VolumeError(f"volume {volume_name} has volumeMode Block, which is not supported")
        provisioner = (found["metadata"].get("annotations") or {}).get("pv.kubernetes.io/provisioned-by")
        own = provisioner == LOCAL_PROVISIONER
        if own and "hostPath" in spec:
            path = await asyncio.to_thread(_open_folder, Path(spec["hostPath"]["path"]))
            size = quantity.parse((spec.get("capacity") or {}).get("storage", "0")).nano // 10**9
            if size > 0:
                await asyncio.to_thread(project_quotas.limit, path, size)
        elif "hostPath" in spec:
            path = await asyncio.to_thread(hostpath.check, spec["hostPath"]["path"], spec["hostPath"].get("type") or "")
        elif "local" in spec:
            path = Path(spec["local"]["path"])
            if not path.exists():
                raise VolumeError(f'path "{path}" does not exist')
        else:
            known = ("accessModes", "capacity", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName",
                     "volumeMode", "nodeAffinity", "mountOptions", "volumeAttributesClassName")  # fmt: skip
            kinds = [key for key in spec if key not in known]
            raise VolumeError(f"no volume plugin matched: {', '.join(kinds)} is not supported")
        if group is not None and ("local" in spec or own):
            policy = (pod["spec"].get("securityContext") or {}).get("fsGroupChangePolicy")
            await asyncio.to_thread(set_group, path, int(group), policy == "OnRootMismatch")
        return Volume(path, read_only)


def _open_folder(path: Path) -> Path:
    """A folder that whoever the pod runs as may write to. Blocking."""
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(0o777)
    return path


def set_group(path: Path, group: int, only_on_mismatch: bool) -> None:
    """Give a volume to `group`: owner group, group-writable, and set-group-id folders. Blocking."""
    root = path.stat()
    if only_on_mismatch and root.st_gid == group and root.st_mode & 0o2070 == 0o2070:
        return
    for base, _, names in os.walk(path):
        folder = os.stat(base)
        os.chown(base, -1, group)
        os.chmod(base, (folder.st_mode & 0o7777) | 0o2770)
        for entry in names:
            file = os.path.join(base, entry)
            if os.path.islink(file):
                os.lchown(file, -1, group)
                continue
            mode = os.stat(file).st_mode & 0o7777
            os.chown(file, -1, group)
            os.chmod(file, mode | 0o660)


def _write_files(target: Path, content: Mapping[str, atomic.File], group: int | None) -> None:
    target.mkdir(parents=True, exist_ok=True)
    atomic.write(target, content, group)


def _empty_dir(target: Path, source: Mapping[str, Any], group: int | None, huge_pages: Sequence[str]) -> None:
    """`huge_pages`: the sizes that the pod asks for."""
    medium = source.get("medium") or ""
    if medium not in ("", "Memory") and not medium.startswith("HugePages"):
        raise VolumeError(f'unknown storage medium "{medium}"')
    if target.is_dir() and (medium == "" or mounts.is_mounted(target)):
        return
    target.mkdir(parents=True, exist_ok=True)
    if medium == "Memory":
        limit = source.get("sizeLimit")
        mounts.tmpfs(target, size=resources.value(limit) if limit else None, mode=0o777)
    elif medium:
        size = _page_size(medium, huge_pages)
        mounts.mount("hugetlbfs", target, "hugetlbfs", data=f"pagesize={resources.value(size)},mode=0777")
    if group is not None:
        os.chown(target, -1, int(group))
        target.chmod(0o2777)
    else:
        target.chmod(0o777)


def _page_size(medium: str, asked: Sequence[str]) -> str:
    """Of `HugePages-2Mi`, or of `HugePages` where the pod asks for pages of one size only. Raises VolumeError."""
    named = medium.removeprefix("HugePages").removeprefix("-")
    if not asked or (named and named not in asked):
        raise VolumeError(f'medium "{medium}": the pod does not request huge pages of that size')
    if not named and len(asked) > 1:
        raise VolumeError('medium "HugePages" can only be used if the pod requests one page size')
    return named or asked[0]


def _remove_tree(folder: Path) -> None:
    if not folder.exists():
        return
    mounts.unmount_under(folder)
    left = mounts.mounts_under(folder)
    if left:
        # Never delete through a mount: what lies behind it is not the pod's.
        raise OSError(f"{folder}: still mounted: {', '.join(left)}")
    shutil.rmtree(folder, ignore_errors=True)
