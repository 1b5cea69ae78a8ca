"""Images travel between Wherry, skopeo, podman and dockerd, by registry and by archive, and stay the same."""

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from registries import PROGRAM, Registry, registry
from stand_ins import base

from wherry.build.builder import build
from wherry.build.options import BuildOptions
from wherry.engine.engine import Engine
from wherry.images.store import ImageStore

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PROGRAM is None, reason="needs Debian's docker-registry"),
]
needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman")

DOCKERFILE = """\
FROM busybox
COPY --chown=7:8 file /kept/
RUN ln /kept/file /kept/hard && chmod 4711 /kept/hard && ln -s file /kept/soft
RUN mkdir /gone /opaque && touch /gone/x /opaque/old
RUN rm -r /gone && rm -r /opaque && mkdir /opaque && touch /opaque/new && mkfifo /kept/pipe
ENV A=b
CMD ["cat", "/kept/hard"]
"""


async def run(*command: str, fails: bool = False, **env: str) -> str:
    """Runs a program; its output."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env={**os.environ, **env}
    )
    out, err = await process.communicate()
    text = out.decode() + err.decode()
    assert (process.returncode != 0) is fails, f"{command}: {text}"
    return text


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncIterator[Registry]:
    async with registry(tmp_path / "registry") as running:
        yield running


@pytest_asyncio.fixture
async def images(wherry_engine: Engine, tmp_path: Path) -> ImageStore:
    """A store with `mine`, an image with whiteouts, an opaque directory, hard links and odd modes."""
    store = wherry_engine.images
    await store.load(await asyncio.to_thread(base, "busybox"))
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "context" / "file").write_text("content\n")
    await build(wherry_engine, BuildOptions(tags=["mine"]), tmp_path / "context", lambda message: None)
    return store


async def again(images: ImageStore, name: str) -> str:
    """Forget everything, pull `name`; the image's id."""
    await clear(images)
    return (await images.pull(name)).id


async def clear(images: ImageStore) -> None:
    for image in list(images.catalog.all()):
        if images.catalog.get(image.id) is not None:
            await images.remove(image.id, force=True)
    for record in (images.companions.get("builder"),):
        if record is not None:
            await record.cache.prune()
    await images.collect()
    assert images.disk_usage() == 0


async def save(images: ImageStore, name: str, to: Path) -> None:
    with open(to, "wb") as file:  # noqa: ASYNC230 - nothing else waits
        async for chunk in images.save([name]):
            file.write(chunk)


@needs_skopeo
async def test_skopeo_reads_what_is_pushed_and_saved(images: ImageStore, here: Registry, tmp_path: Path) -> None:
    wanted = images.resolve("mine").id
    await images.tag("mine", f"{here.address}/mine", "1")
    await images.push(f"{here.address}/mine:1")
    source = f"docker://{here.address}/mine:1"
    config = await run("skopeo", "inspect", "--tls-verify=false", "--config", "--raw", source)
    assert '"A=b"' in config
    # Every layer is read, decompressed and checked on the way.
    await run("skopeo", "copy", "-q", "--src-tls-verify=false", source, f"docker-archive:{tmp_path}/copied.tar:mine:1")
    await save(images, "mine", tmp_path / "saved.tar")
    for archive in (f"docker-archive:{tmp_path}/saved.tar", f"oci-archive:{tmp_path}/saved.tar"):
        target = f"dir:{tmp_path}/unpacked-{archive.partition(':')[0]}"
        await run("skopeo", "copy", "-q", archive, target)
    await clear(images)
    loaded = await images.load(tmp_path / "copied.tar")
    assert [image.id for image in loaded] == [wanted]
    assert loaded[0].tags == ["mine:1"]


@needs_skopeo
@pytest.mark.parametrize("form", ["oci", "v2s2", "zstd"])
async def test_what_skopeo_writes_is_pulled(images: ImageStore, here: Registry, tmp_path: Path, form: str) -> None:
    layers = images.resolve("mine").diff_ids
    await save(images, "mine", tmp_path / "saved.tar")
    source, target = f"docker-archive:{tmp_path}/saved.tar", f"docker://{here.address}/theirs:1"
    flags = ["--format", "oci" if form == "zstd" else form, "--dest-tls-verify=false"]
    if form == "zstd":
        flags += ["--dest-compress-format", "zstd"]
    await run("skopeo", "copy", "-q", *flags, source, target)
    raw = await run("skopeo", "inspect", "--raw", "--tls-verify=false", target)
    assert ("tar+zstd" in raw) is (form == "zstd")
    await again(images, f"{here.address}/theirs:1")
    assert images.resolve(f"{here.address}/theirs:1").diff_ids == layers


@needs_skopeo
async def test_an_oci_archive_is_loaded(images: ImageStore, tmp_path: Path) -> None:
    layers = images.resolve("mine").diff_ids
    await save(images, "mine", tmp_path / "saved.tar")
    archive = f"oci-archive:{tmp_path}/oci.tar:some/name:1"
    await run("skopeo", "copy", "-q", f"docker-archive:{tmp_path}/saved.tar", archive)
    await clear(images)
    loaded = await images.load(tmp_path / "oci.tar")
    assert loaded[0].diff_ids == layers
    assert loaded[0].tags == ["some/name:1"]


@needs_podman
async def test_podman_pulls_runs_and_pushes_back(images: ImageStore, here: Registry, tmp_path: Path) -> None:
    wanted = images.resolve("mine").id
    await images.tag("mine", f"{here.address}/mine", "1")
    await images.push(f"{here.address}/mine:1")
    place = tempfile.mkdtemp(prefix="wh-pod-")  # podman refuses long paths
    podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "vfs",
              "--cgroup-manager", "cgroupfs", "--events-backend", "file"]  # fmt: skip
    try:
        await run(*podman, "pull", "-q", "--tls-verify=false", f"{here.address}/mine:1")
        ids = await run(*podman, "images", "--no-trunc", "-q")
        assert ids.strip() == wanted
        mounted = (await run(*podman, "image", "mount", f"{here.address}/mine:1")).strip()
        top = Path(mounted)
        assert not (top / "gone").exists()
        assert sorted(path.name for path in (top / "opaque").iterdir()) == ["new"]
        assert (top / "kept/hard").stat().st_mode & 0o7777 == 0o4711
        assert (top / "kept/file").stat().st_ino == (top / "kept/hard").stat().st_ino
        assert (top / "kept/file").stat().st_uid == 7
        await run(*podman, "image", "unmount", f"{here.address}/mine:1")
        for name, form in (("docker", "v2s2"), ("oci", "oci")):
            target = f"{here.address}/back/{name}:1"
            await run(*podman, "push", "-q", "--tls-verify=false", "--format", form, f"{here.address}/mine:1", target)
        assert await again(images, f"{here.address}/back/docker:1") == wanted
        diff_ids = images.resolve(wanted).diff_ids
        await again(images, f"{here.address}/back/oci:1")
        assert images.resolve(f"{here.address}/back/oci:1").diff_ids == diff_ids
        await run(*podman, "save", "-q", "--format", "docker-archive", "-o", f"{tmp_path}/pod.tar", wanted)
        await clear(images)
        assert [image.id for image in await images.load(tmp_path / "pod.tar")] == [wanted]
        await save(images, wanted, tmp_path / "ours.tar")
        await run(*podman, "rmi", "-f", wanted)
        assert wanted.removeprefix("sha256:")[:12] in await run(*podman, "load", "-i", f"{tmp_path}/ours.tar")
    finally:
        await run(*podman, "rmi", "-af")
        shutil.rmtree(place)


def _peer_module() -> "ModuleType":
    path = Path(__file__).parents[2] / "bench" / "peer.py"
    specification = importlib.util.spec_from_file_location("bench_peer", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["bench_peer"] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dockerd() -> Iterator[str]:
    """The DOCKER_HOST of a dockerd of the tests' own."""
    peer: Any = _peer_module()
    if not peer.Peer.available():
        pytest.skip("needs root and Debian's docker.io")
    with peer.Peer() as running:
        yield running.host


async def test_dockerd_pulls_pushes_saves_and_loads_the_same_image(
    images: ImageStore, here: Registry, tmp_path: Path, dockerd: str
) -> None:
    wanted = images.resolve("mine").id
    name = f"{here.address}/mine:1"
    await images.tag("mine", f"{here.address}/mine", "1")
    await images.push(name)
    env = {"DOCKER_HOST": dockerd, "DOCKER_CONFIG": str(tmp_path)}
    await run("docker", "pull", "-q", name, **env)
    assert wanted in await run("docker", "images", "--no-trunc", "-q", **env)
    assert await run("docker", "run", "--rm", "--net=none", name, **env) == "content\n"
    back = f"{here.address}/back:1"
    await run("docker", "tag", name, back, **env)
    await run("docker", "push", "-q", back, **env)
    assert await again(images, back) == wanted
    await run("docker", "save", "-o", f"{tmp_path}/theirs.tar", name, **env)
    await clear(images)
    loaded = await images.load(tmp_path / "theirs.tar")
    assert [image.id for image in loaded] == [wanted]
    assert loaded[0].tags == [name]
    await save(images, name, tmp_path / "ours.tar")
    await run("docker", "rmi", "-f", wanted, **env)
    assert f"Loaded image: {name}" in await run("docker", "load", "-i", f"{tmp_path}/ours.tar", **env)
    assert wanted in await run("docker", "images", "--no-trunc", "-q", **env)
    container = (await run("docker", "create", "--net=none", name, **env)).strip()
    await run("docker", "export", "-o", f"{tmp_path}/flat.tar", container, **env)
    await run("docker", "rm", container, **env)
    with open(tmp_path / "flat.tar", "rb") as file:  # noqa: ASYNC230 - nothing else waits

        async def chunks() -> AsyncIterator[bytes]:
            while data := await asyncio.to_thread(file.read, 1 << 20):
                yield data

        imported = await images.import_(chunks(), repo="flat", config={"Cmd": ["true"]})
    assert images.resolve("flat").id == imported
