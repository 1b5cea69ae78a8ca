"""Pull and push against real registries: every way to log in, broken connections, mirrors, every class of error."""

import asyncio
import hashlib
import io
import json
import random
import socket
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from docker_client import DockerCli
from registries import CREDENTIALS, PASSWORD, PROGRAM, USER, Fault, Proxy, Registry, proxy, registry
from stand_ins import base

from wherry.engine.engine import Engine
from wherry.images.errors import (
    DigestMismatch,
    Forbidden,
    ImageError,
    InvalidParameter,
    NotFound,
    Unauthorized,
    Unavailable,
)
from wherry.images.references import parse_reference
from wherry.images.registry import endpoints
from wherry.images.store import ImageStore

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(PROGRAM is None, reason="needs Debian's docker-registry"),
]


def layer_tar(name: str, size: int, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(random.Random(seed).randbytes(size)))
    return buffer.getvalue()


async def image_of(images: ImageStore, name: str, sizes: list[int]) -> str:
    """An image with one layer of incompressible bytes a size; its id."""
    parent: str | None = None
    diff_ids = []
    for number, size in enumerate(sizes):
        staged = await asyncio.to_thread(images.layers.stage, [layer_tar(f"file-{number}", size, seed=number)])
        chain = await images.layers.register(parent, staged)
        parent = chain.chain_id
        diff_ids.append(chain.layer.diff_id)
    document = {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"layer {n}"} for n in range(len(sizes))],
    }  # fmt: skip
    return (await images.create(document, names=[parse_reference(name).key])).id


def largest_blob(of: Registry) -> str:
    """The hex digits of its digest."""
    return max(of.storage.rglob("data"), key=lambda path: path.stat().st_size).parent.name


async def forget(images: ImageStore) -> None:
    """Remove every image and every layer."""
    for image in list(images.catalog.all()):
        await images.remove(image.id, force=True)
    await images.collect()
    assert not images.list()
    assert images.disk_usage() == 0


@pytest.fixture
def images(wherry_engine: Engine) -> ImageStore:
    return wherry_engine.images


@pytest_asyncio.fixture
async def plain(tmp_path: Path) -> AsyncIterator[Registry]:
    async with registry(tmp_path / "registry") as running:
        yield running


@pytest.mark.parametrize(
    ("auth", "tls"), [("none", False), ("none", True), ("basic", False), ("basic", True), ("token", False)]
)
async def test_an_image_survives_push_and_pull(images: ImageStore, tmp_path: Path, auth: str, tls: bool) -> None:
    await images.load(base("busybox"))
    async with registry(tmp_path / "registry", auth=auth, tls=tls) as running:
        credentials = CREDENTIALS if auth != "none" else {}
        name = f"{running.address}/team/public/box:1"
        pushed_id = images.resolve("busybox").id
        await images.tag("busybox", f"{running.address}/team/public/box", "1")
        said: list[dict[str, Any]] = []
        await images.push(name, None, said.append, auth=credentials)
        digest = said[-1]["aux"]["Digest"]
        assert {m["status"] for m in said if "id" in m} >= {"Preparing", "Pushed"}
        await forget(images)
        image = await images.pull(name, auth=credentials)
        assert image.id == pushed_id
        await forget(images)
        by_digest = await images.pull(f"{running.address}/team/public/box@{digest}", auth=credentials)
        assert by_digest.id == pushed_id
        about = await images.distribution(name, auth=credentials)
        assert about["Descriptor"]["digest"] == digest
        if auth != "none":
            with pytest.raises((Unauthorized, NotFound, Forbidden)) as refused:
                await images.pull(name, auth={**credentials, "password": "wrong"})
            assert "unauthorized" in refused.value.message or "incorrect" in refused.value.message
            assert await images.authenticate({**credentials, "serveraddress": running.address}) == ""
            with pytest.raises(Unauthorized, match="login attempt to"):
                await images.authenticate({**credentials, "password": "no", "serveraddress": running.address})
        if auth == "basic":
            with pytest.raises(ImageError, match="no basic auth credentials"):
                await images.pull(name)
        if auth == "token":
            assert (await images.pull(name)).id == pushed_id, "anybody may pull this one"
            with pytest.raises(ImageError, match=r"denied|access|authorized"):
                await images.push(name)


async def test_the_docker_client_logs_in_pushes_and_pulls(
    docker_cli: DockerCli, images: ImageStore, tmp_path: Path
) -> None:
    async with registry(tmp_path / "registry", auth="basic") as running:
        name = f"{running.address}/team/box:1"
        await docker_cli("tag", "busybox", name)
        refused = await docker_cli("push", name, fails=True)
        assert "no basic auth credentials" in refused.err
        wrong = await docker_cli("login", "-u", USER, "--password-stdin", running.address, stdin=b"no", fails=True)
        assert "unauthorized" in wrong.err.lower()
        await docker_cli("login", "-u", USER, "--password-stdin", running.address, stdin=PASSWORD.encode())
        pushed = await docker_cli("push", name)
        assert "1: digest: sha256:" in pushed.out
        await docker_cli("rmi", name)
        pulled = await docker_cli("pull", name)
        assert f"Status: Downloaded newer image for {name}" in pulled.out
        again = await docker_cli("pull", name)
        assert f"Status: Image is up to date for {name}" in again.out


async def test_a_layer_that_the_registry_has_is_not_sent_again(images: ImageStore, plain: Registry) -> None:
    await image_of(images, f"{plain.address}/one:1", [1 << 20, 1 << 16])
    await images.push(f"{plain.address}/one:1")
    await images.tag(f"{plain.address}/one:1", f"{plain.address}/one", "2")
    said: list[dict[str, Any]] = []
    await images.push(f"{plain.address}/one:2", None, said.append)
    assert [m["status"] for m in said if "id" in m].count("Layer already exists") == 2
    await images.tag(f"{plain.address}/one:1", f"{plain.address}/other/two", "1")
    said.clear()
    await images.push(f"{plain.address}/other/two:1", None, said.append)
    assert [m["status"] for m in said if "id" in m].count("Mounted from one") == 2


async def test_a_broken_download_goes_on_where_it_broke(images: ImageStore, plain: Registry) -> None:
    wanted = await image_of(images, f"{plain.address}/big:1", [3 << 20])
    await images.push(f"{plain.address}/big:1")
    await forget(images)
    async with proxy(plain) as front:
        big = largest_blob(plain)
        front.faults = [Fault(big, cut=1 << 20, times=2)]
        image = await images.pull(f"{front.address}/big:1")
        assert image.id == wanted
        ranges = [part for _, path, part in front.requests if big in path and part]
        assert ranges == ["bytes=1048576-", "bytes=2097152-"]


async def test_a_pull_that_was_given_up_is_taken_up_by_the_next(images: ImageStore, plain: Registry) -> None:
    wanted = await image_of(images, f"{plain.address}/big:1", [1 << 16, 3 << 20])
    await images.push(f"{plain.address}/big:1")
    await forget(images)
    async with proxy(plain) as front:
        big = largest_blob(plain)
        front.faults = [Fault(big, cut=2 << 20, times=1), Fault(big, status=503)]
        pulling = asyncio.create_task(images.pull(f"{front.address}/big:1"))
        async with front.changed:
            await front.changed.wait_for(lambda: sum(big in path for _, path, _ in front.requests) == 2)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        assert not images.list()
        front.faults, front.requests = [], []
        image = await images.pull(f"{front.address}/big:1")
        assert image.id == wanted
        assert [part for _, path, part in front.requests if big in path] == ["bytes=2097152-"]
        assert not list((images.root / "images" / "downloads").iterdir())


async def test_layers_come_side_by_side(images: ImageStore, plain: Registry) -> None:
    await image_of(images, f"{plain.address}/wide:1", [1 << 18] * 6)
    await images.push(f"{plain.address}/wide:1")
    await forget(images)
    said: list[dict[str, Any]] = []
    await images.pull(f"{plain.address}/wide:1", said.append)
    statuses = [m["status"] for m in said if "id" in m]
    assert statuses.count("Pulling fs layer") == 6
    assert statuses.count("Pull complete") == 6


async def test_mirrors_stand_in_for_docker_hub(images: ImageStore, plain: Registry, tmp_path: Path) -> None:
    wanted = await image_of(images, f"{plain.address}/library/thing:1", [1 << 16])
    await images.push(f"{plain.address}/library/thing:1")
    await forget(images)
    async with registry(tmp_path / "empty") as empty:
        mirrors = ["http://127.0.0.1:9/", empty.url, plain.url]
        (images.root / "daemon.json").write_text(json.dumps({"registry-mirrors": mirrors}))
        image = await images.pull("thing:1")
        assert image.id == wanted
        assert image.tags == ["thing:1"] or "docker.io/library/thing:1" in image.names
    (images.root / "daemon.json").write_text(json.dumps({"registry-mirrors": ["ftp://x"]}))
    with pytest.raises(InvalidParameter, match='unsupported scheme "ftp"'):
        await images.pull("thing:1")


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


async def test_certificates_are_checked_off_this_machine(
    images: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = own_address()
    if host is None or host.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    async with registry(tmp_path / "registry", tls=True, host=host) as running:
        name = f"{running.address}/box:1"
        await image_of(images, name, [1 << 10])
        with pytest.raises(Unavailable, match="tls: failed to verify certificate"):
            await images.push(name)
        monkeypatch.setattr(endpoints, "CERTIFICATES", tmp_path / "certs.d")
        (tmp_path / "certs.d" / running.address).mkdir(parents=True)
        assert running.authority is not None
        (tmp_path / "certs.d" / running.address / "ca.crt").write_bytes(running.authority.read_bytes())
        await images.push(name)
        (tmp_path / "certs.d" / running.address / "ca.crt").unlink()
        (images.root / "daemon.json").write_text(json.dumps({"insecure-registries": [f"{host}/32"]}))
        await images.pull(name)
    async with registry(tmp_path / "second", host=host) as running:
        (images.root / "daemon.json").unlink()
        name = f"{running.address}/box:1"
        await image_of(images, name, [1 << 10])
        with pytest.raises(Unavailable):
            await images.push(name)
        (images.root / "daemon.json").write_text(json.dumps({"insecure-registries": [running.address]}))
        await images.push(name)


NOBODY = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}).encode()
DENIED = json.dumps({"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}).encode()
TOO_MANY = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your limit"}]}).encode()
NO_PLATFORM = json.dumps({"manifests": [{"digest": "sha256:" + "0" * 64}]}).encode()
SCHEMA_1 = json.dumps({"schemaVersion": 1, "name": "x", "fsLayers": []}).encode()


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault("/v2/", status=401, body=NOBODY, headers={"WWW-Authenticate": 'Basic realm="x"'}), Unauthorized,
         "no basic auth credentials"),
        (Fault("/manifests/", status=403, body=DENIED), NotFound, "requested access to the resource is denied"),
        (Fault("/manifests/", status=404, body=b"gone"), NotFound, "not found"),
        (Fault("/manifests/", status=429, body=TOO_MANY), Unavailable, "toomanyrequests: You have reached your limit"),
        (Fault("/manifests/", status=500, body=b"oops"), Unavailable, "received unexpected HTTP status: 500"),
        (Fault("/manifests/", status=503), Unavailable, "received unexpected HTTP status: 503"),
        (Fault("/v2/", status=500), Unavailable, "500"),
        (Fault("/manifests/", status=418), ImageError, "418"),
        (Fault("/manifests/", change=lambda data: data[:-20]), InvalidParameter, "invalid manifest"),
        (Fault("/manifests/", change=lambda data: b"[]"), InvalidParameter, "manifest"),
        (Fault("/manifests/", change=lambda data: b"null"), InvalidParameter, "manifest"),
        (Fault("/manifests/", change=lambda data: b'{"config": 7, "layers": []}'), InvalidParameter, "manifest"),
        (Fault("/manifests/", change=lambda data: b'{"config": {}, "layers": []}'), InvalidParameter, "manifest"),
        (Fault("/manifests/", change=lambda data: b'{"config": {"digest": "sha256:../../x"}, "layers": []}'),
         InvalidParameter, "digest"),
        (Fault("/manifests/", change=lambda data: data.replace(b'"layers":[{', b'"layers":[7,{')), InvalidParameter,
         "manifest"),
        (Fault("/manifests/", change=lambda data: data.replace(b'"size":', b'"size":-')), InvalidParameter, "size"),
        (Fault("/manifests/", change=lambda data: data.replace(b'"layers":[', b'"layers":[], "was":[')),
         InvalidParameter, "layers"),
        (Fault("/manifests/", change=lambda data: SCHEMA_1), InvalidParameter, "schema 1 support has been removed"),
        (Fault("/manifests/", change=lambda data: NO_PLATFORM), NotFound,
         "no matching manifest for linux/amd64"),
        (Fault("/manifests/", change=lambda data: b'{"manifests": 7}'), InvalidParameter, "manifest"),
        (Fault("/manifests/", change=lambda data: b" " * (5 << 20)), InvalidParameter, "larger than"),
        (Fault("/blobs/", status=404), NotFound, "not found"),
        (Fault("/blobs/", change=lambda data: b"x" * len(data)), DigestMismatch, "verification failed"),
        (Fault("/blobs/", change=lambda data: data + b"x" * (9 << 20)), ImageError, "larger|verification"),
    ],
)  # fmt: skip
async def test_errors_of_every_class_say_what_is_wrong_and_leave_nothing(
    images: ImageStore, plain: Registry, fault: Fault, kind: type[ImageError], words: str
) -> None:
    await image_of(images, f"{plain.address}/box:1", [1 << 16])
    await images.push(f"{plain.address}/box:1")
    await forget(images)
    async with proxy(plain) as front:
        front.faults = [Fault(fault.path, fault.status, fault.body, fault.headers, fault.cut, 1_000, fault.change)]
        with pytest.raises(kind, match=words):
            await images.pull(f"{front.address}/box:1")
        assert not images.list()
        await images.collect()
        assert images.disk_usage() == 0
        assert not list(images.layers.directory.glob("tmp-*"))
        front.faults = []
        await images.pull(f"{front.address}/box:1")


async def test_a_layer_with_wrong_bytes_is_refused(images: ImageStore, plain: Registry) -> None:
    await image_of(images, f"{plain.address}/box:1", [1 << 20])
    await images.push(f"{plain.address}/box:1")
    await forget(images)
    big = largest_blob(plain)
    async with proxy(plain) as front:
        for change in (
            lambda data: data[:-1] + bytes([data[-1] ^ 1]),
            lambda data: data[: len(data) // 2],
            lambda data: data + b"tail",
            lambda data: bytes(len(data)),
        ):
            front.faults = [Fault(big, change=change)]
            with pytest.raises(ImageError, match=r"verification failed|invalid|unexpected EOF|wrong diff id"):
                await images.pull(f"{front.address}/box:1")
            assert not images.list()
            assert not list((images.root / "images" / "downloads").iterdir())
            front.faults = []
        await images.pull(f"{front.address}/box:1")


async def test_nobody_answers(images: ImageStore) -> None:
    with pytest.raises(Unavailable, match="connect: connection refused"):
        await images.pull("127.0.0.1:9/box:1")
    with pytest.raises(Unavailable, match="no such host"):
        await images.pull("registry.invalid/box:1")


async def test_an_index_gives_the_platform_that_was_asked_for(images: ImageStore, plain: Registry) -> None:
    manifests = []
    for number, architecture in enumerate(("amd64", "arm64")):
        staged = await asyncio.to_thread(images.layers.stage, [layer_tar("file", 1000, seed=number)])
        chain = await images.layers.register(None, staged)
        document = {
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [chain.layer.diff_id]},
        }  # fmt: skip
        name = f"{plain.address}/multi:{architecture}"
        await images.create(document, names=[name])
        said: list[dict[str, Any]] = []
        await images.push(name, None, said.append)
        aux = said[-1]["aux"]
        manifests.append(
            {
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": aux["Digest"],
                "size": aux["Size"], "platform": {"os": "linux", "architecture": architecture},
            }
        )  # fmt: skip
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()
    await put_manifest(plain, "multi", "all", index, kind)
    await forget(images)
    here = await images.pull(f"{plain.address}/multi:all")
    assert here.config["architecture"] == "amd64"
    digest = "sha256:" + hashlib.sha256(index).hexdigest()
    assert any(name.endswith(digest) for name in here.names)
    other = await images.pull(f"{plain.address}/multi:all", platform="linux/arm64")
    assert other.config["architecture"] == "arm64"
    about = await images.distribution(f"{plain.address}/multi:all")
    assert [item["architecture"] for item in about["Platforms"]] == ["amd64", "arm64"]
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        await images.pull(f"{plain.address}/multi:all", platform="linux/s390x")


async def put_manifest(to: Registry, repository: str, tag: str, body: bytes, kind: str) -> None:
    import aiohttp

    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{to.url}/v2/{repository}/manifests/{tag}", data=body, headers={"Content-Type": kind}) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def test_a_push_that_fails_says_why(images: ImageStore, plain: Registry) -> None:
    async with proxy(plain) as front:
        name = f"{front.address}/box:1"
        await image_of(images, name, [1 << 16])
        await check_push(images, front, name, Fault("/uploads/", status=500, method="POST"), Unavailable, "500")
        await check_push(
            images, front, name, Fault("/uploads/", status=403, body=DENIED, method="POST"), Forbidden, "is denied"
        )
        await check_push(images, front, name, Fault("/manifests/", status=500, method="PUT"), Unavailable, "500")
        await check_push(images, front, name, Fault("/uploads/", status=202, method="POST"), ImageError, "saying where")
        await images.push(name)
    with pytest.raises(NotFound, match="tag does not exist"):
        await images.push(f"{plain.address}/box:none")
    with pytest.raises(NotFound, match="An image does not exist locally with the tag"):
        await images.push(f"{plain.address}/none")


async def test_an_upload_that_breaks_is_begun_anew(images: ImageStore, plain: Registry) -> None:
    async with proxy(plain) as front:
        name = f"{front.address}/box:1"
        wanted = await image_of(images, name, [1 << 20])
        front.faults = [Fault("/uploads/", status=503, method="PATCH", times=1)]
        said: list[dict[str, Any]] = []
        await images.push(name, None, said.append)
        assert "Retrying in 1 second" in [message.get("status") for message in said]
        assert sum(method == "PATCH" for method, _, _ in front.requests) == 2
        front.faults = []
        await forget(images)
        assert (await images.pull(name)).id == wanted


async def check_push(
    images: ImageStore, front: Proxy, name: str, fault: Fault, kind: type[ImageError], words: str
) -> None:
    front.faults = [fault]
    with pytest.raises(kind, match=words):
        await images.push(name)
    front.faults = []
