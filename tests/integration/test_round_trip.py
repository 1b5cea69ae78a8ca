"""Odd files on every way that an image takes: import, build, commit, save, load, push, pull. Nothing is lost on any."""

import asyncio
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from registries import PROGRAM, registry
from stand_ins import base

from wherry.build.builder import Builder, build
from wherry.build.options import BuildOptions
from wherry.engine.engine import Engine
from wherry.images.store import ImageStore

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(PROGRAM is None, reason="needs Debian's docker-registry"),
]

DEEP = "/".join(["deep" * 10] * 30)
DOCKERFILE = """\
FROM odd
RUN rm -r opaque gone && mkdir opaque && echo new > opaque/new \\
    && rm a && ln b c && mknod null c 1 5 && chmod 4711 b
COPY . /copied/
COPY --from=odd /d /again/
"""


def odd_root() -> bytes:
    """A root file system with one of everything."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, data: bytes = b"", **facts: Any) -> None:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime, member.size = 0o644, 1_000_000_000, len(data)
            for key, value in facts.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))

        deep = [DEEP[: at * 41 + 40] for at in range(30)]
        for name in ("d", "dev", "opaque", "opaque/old", "gone", "proc", "sys", "tmp", "etc", *deep):
            add(name, type=tarfile.DIRTYPE, mode=0o1777 if name == "tmp" else 0o755)
        add("a", b"first name")
        add("b", type=tarfile.LNKTYPE, linkname="a")
        add("opaque/old/file", b"hidden later")
        add("gone/file", b"hidden later")
        add("d/set-id", b"x", mode=0o6755, uid=12345, gid=54321)
        add("d/link", type=tarfile.SYMTYPE, linkname="../../outside")
        add("d/pipe", type=tarfile.FIFOTYPE)
        add("d/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("d/disk", type=tarfile.BLKTYPE, devmajor=7, devminor=0)
        attributes = {"SCHILY.xattr.user.note": "v\u00e4lue", "SCHILY.xattr.trusted.kept": "t"}
        add("d/attributes", b"x", pax_headers=attributes)
        add(os.fsdecode(b"d/\xff\xfe name\n"), b"not UTF-8")
        add("d/\u00fcml\u00e4ut", b"UTF-8")
        add(f"{DEEP}/leaf", b"deep")
        add("d/zeros", bytes(3 << 20))
        add("d/large-date", b"x", mtime=5_000_000_000.5)
    return buffer.getvalue()


def tree(top: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything below `top`: kind and mode, owner, date, content, device, target, attributes, which names are one."""
    found: dict[bytes, tuple[Any, ...]] = {}
    inodes: dict[int, bytes] = {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = folder + b"/" + name
            inside = os.path.relpath(path, os.fsencode(top))
            info = os.lstat(path)
            content: Any = None
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay.")
            }
            device = info.st_rdev if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode) else 0
            first = inodes.setdefault(info.st_ino, inside) if info.st_nlink > 1 and content else b""
            found[inside] = (
                info.st_mode, info.st_uid, info.st_gid, int(info.st_mtime), content, device, attributes, first,
            )  # fmt: skip
    return found


async def mounted(images: ImageStore, name: str, place: Path) -> dict[bytes, tuple[Any, ...]]:
    """The tree of an image."""

    def work() -> dict[bytes, tuple[Any, ...]]:
        place.mkdir()
        images.snapshots.prepare("looked-at", images.resolve(name).chain_id, init=False)
        images.snapshots.mount("looked-at", place)
        try:
            return tree(place)
        finally:
            images.snapshots.unmount(place)
            images.snapshots.remove("looked-at")
            place.rmdir()

    return await asyncio.to_thread(work)


async def clear(engine: Engine) -> None:
    for image in reversed(engine.images.catalog.all()):  # children first
        if engine.images.catalog.get(image.id) is not None:
            await engine.images.remove(image.id, force=True)
    await (await Builder.of(engine)).cache.prune()
    await engine.images.collect()
    assert engine.images.disk_usage() == 0


async def saved(images: ImageStore, name: str, to: Path) -> Path:
    with open(to, "wb") as file:  # noqa: ASYNC230 - nothing else waits
        async for chunk in images.save([name]):
            file.write(chunk)
    return to


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 16):
        yield data[at : at + (1 << 16)]


async def test_a_context_with_holes_is_read(wherry_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY sparse /\n")
    with open(tmp_path / "sparse", "wb") as file:  # noqa: ASYNC230 - a few bytes
        for at in (1 << 20, 3 << 20):
            file.seek(at)
            file.write(b"data" * 1024)
        file.truncate(5 << 20)
    for form in ("gnu", "posix"):
        packed = subprocess.run(  # noqa: ASYNC221 - nothing else waits
            ["tar", "-cS", f"--format={form}", "-C", tmp_path, "Dockerfile", "sparse"], capture_output=True, check=True
        ).stdout
        assert len(packed) < 1 << 20
        await build(wherry_engine, BuildOptions(tags=[form]), stream(packed), lambda message: None)
        made = await mounted(wherry_engine.images, form, tmp_path / "m")
        assert made[b"sparse"][4] == hashlib.sha256((tmp_path / "sparse").read_bytes()).hexdigest()


async def test_odd_files_keep_everything_on_every_way(wherry_engine: Engine, tmp_path: Path) -> None:
    engine, images = wherry_engine, wherry_engine.images
    await images.load(await asyncio.to_thread(base, "busybox"))
    root = odd_root()
    await images.import_(stream(root), repo="bare")
    bare = await mounted(images, "bare", tmp_path / "m")
    assert bare[b"a"][7] == bare[b"b"][7] == b"a"
    assert bare[b"d/attributes"][6] == {"user.note": "v\u00e4lue".encode(), "trusted.kept": b"t"}
    assert bare[b"d/disk"][5] == os.makedev(7, 0)
    assert bare[b"d/\xff\xfe name\n"][4] == hashlib.sha256(b"not UTF-8").hexdigest()
    assert bare[DEEP.encode() + b"/leaf"][4] == hashlib.sha256(b"deep").hexdigest()
    # The archive that came in is the one that goes out.
    layer = images.layers.stack(images.resolve("bare").chain_id)[0].layer
    assert b"".join(images.layers.tar_stream(layer)) == root

    # A build on top: with busybox, so that there is something to run.
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM bare\nCOPY --from=busybox /bin /bin\n")
    await build(engine, BuildOptions(tags=["odd"]), context, lambda message: None)
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / os.fsdecode(b"\xfe")).write_text("from the context")
    (context / "sparse").touch()
    os.truncate(context / "sparse", 5 << 20)
    await build(engine, BuildOptions(tags=["built"]), context, lambda message: None)
    built = await mounted(images, "built", tmp_path / "m")
    assert b"a" not in built and not any(path.startswith(b"gone") for path in built)
    assert [path for path in built if path.startswith(b"opaque/")] == [b"opaque/new"]
    assert built[b"b"][7] == built[b"c"][7] == b"b"
    assert stat.S_IMODE(built[b"b"][0]) == 0o4711
    assert built[b"null"][5] == os.makedev(1, 5)
    assert built[b"copied/\xfe"][4] == hashlib.sha256(b"from the context").hexdigest()
    assert built[b"copied/sparse"][4] == hashlib.sha256(bytes(5 << 20)).hexdigest()
    for name in (b"set-id", b"link", b"pipe", b"null", b"attributes", b"\xff\xfe name\n", b"large-date"):
        assert built[b"again/" + name] == bare[b"d/" + name]

    # A container on top of that.
    made = await engine.containers.create(
        None, {"Image": "built", "Cmd": ["sh", "-c", "rm -r again/link copied && ln b more && mkdir copied"]}
    )
    await engine.containers.start(made["Id"])
    assert (await engine.containers.wait(made["Id"]))[0] == 0
    await engine.containers.commit(made["Id"], repo="committed")
    await engine.containers.remove(made["Id"])
    before = await mounted(images, "committed", tmp_path / "m")
    assert b"copied/sparse" not in before and b"again/link" not in before
    assert before[b"more"][7] == before[b"b"][7]
    image = images.resolve("committed")

    archive = await saved(images, "committed", tmp_path / "saved.tar")
    await clear(engine)
    await images.load(archive)
    assert images.resolve("committed").id == image.id
    assert images.resolve("committed").diff_ids == image.diff_ids
    assert await mounted(images, "committed", tmp_path / "m") == before
    assert (await saved(images, "committed", tmp_path / "again.tar")).read_bytes() == archive.read_bytes()
    async with registry(tmp_path / "registry") as running:
        remote = f"{running.address}/odd:1"
        await images.tag("committed", remote)
        await images.push(remote)
        await clear(engine)
        assert (await images.pull(remote)).id == image.id
    assert await mounted(images, remote, tmp_path / "m") == before
    await images.tag(remote, "committed")
    assert (await saved(images, "committed:latest", tmp_path / "pulled.tar")).read_bytes() == archive.read_bytes()
