"""Build contexts and archives in them that try to get out, lie or are cut: an error or harmless, and nothing left."""

import asyncio
import gzip
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import base

from wherry.build import sources
from wherry.build.builder import build
from wherry.build.errors import BuildError
from wherry.build.options import BuildOptions
from wherry.build.outputs import Output
from wherry.engine.engine import Engine
from wherry.images.errors import BadArchive, ImageError

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def archive(*members: tuple[str, Any], dockerfile: str = "FROM scratch\nCOPY . /\n") -> bytes:
    """(name, content), or (name, facts of the member) with the type and the link's target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, given in (("Dockerfile", dockerfile.encode()), *members):
            member = tarfile.TarInfo(name)
            data = given if isinstance(given, bytes) else b""
            member.size = len(data)
            for key, value in {} if isinstance(given, bytes) else given.items():
                setattr(member, key, value)
            made.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def symlink(target: str) -> dict[str, Any]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hardlink(target: str) -> dict[str, Any]:
    return {"type": tarfile.LNKTYPE, "linkname": target}


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 16):
        yield data[at : at + (1 << 16)]


def _names(place: Path) -> list[str]:
    return [path.name for path in place.iterdir()]


async def nothing_is_left(engine: Engine) -> None:
    for place in (engine.instance.root / "build" / "work", engine.instance.run / "build"):
        assert not await asyncio.to_thread(_names, place)
    keys = engine.images.snapshots.keys()
    assert not [key for key in keys if key.startswith("build-")]


GOOD = archive(("file", b"x" * 5000))
REFUSED: dict[str, tuple[bytes, str]] = {
    "climbs out": (archive(("../evil", b"x")), 'evil" is outside of the build context'),
    "climbs out of a directory": (archive(("a/../../evil", b"x")), "is outside of the build context"),
    "hard link out": (archive(("link", hardlink("../../etc/passwd"))), "invalid hardlink link -> ../../etc/passwd"),
    "hard link to this machine": (archive(("link", hardlink("/etc/passwd"))), "invalid hardlink"),
    "hard link through a link": (archive(("l", symlink("/etc")), ("h", hardlink("l/passwd"))), "invalid hardlink"),
    "Dockerfile of this machine": (
        archive(("D", symlink("/etc/passwd")), dockerfile="FROM x\n"), "Cannot locate specified Dockerfile: D",
    ),
    "links in a circle": (archive(("D", symlink("E")), ("E", symlink("D"))), "Cannot locate specified Dockerfile: D"),
    "cut": (GOOD[:2000], "unexpected EOF|truncated"),
    "cut gzip": (gzip.compress(GOOD)[:-50], "unexpected EOF|truncated"),
    "no archive": (b"FROM busybox\n" * 100, "tar"),
    "nothing": (b"", "Cannot locate specified Dockerfile|EOF"),
    "a lie about a size": (archive()[:124] + b"77777777777\0" + archive()[136:], "tar|EOF|truncated"),
    "copies a link that leads out": (
        archive(("l", symlink("/")), dockerfile="FROM scratch\nCOPY l/etc/hostname /\n"),
        "file not found in build context",
    ),
}  # fmt: skip


async def test_a_bad_context_is_refused_and_leaves_nothing(wherry_engine: Engine) -> None:
    for name, (data, words) in REFUSED.items():
        dockerfile = "D" if "specified Dockerfile: D" in words else "Dockerfile"
        with pytest.raises((BuildError, ImageError), match=words):
            await build(wherry_engine, BuildOptions(dockerfile=dockerfile), stream(data), lambda message: None)
        assert not wherry_engine.images.list(all_images=True), name
        await nothing_is_left(wherry_engine)


async def test_a_bomb_stops_at_what_the_disk_has_room_for(
    wherry_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "free", lambda fd: (1 << 20, 1000))
    bomb = gzip.compress(archive(("zeros", bytes(8 << 20))))
    assert len(bomb) < 1 << 20
    with pytest.raises(BadArchive, match="the build context unpacks to more than 1048576 bytes"):
        await build(wherry_engine, BuildOptions(), stream(bomb), lambda message: None)
    await nothing_is_left(wherry_engine)


async def test_what_leads_out_leads_nowhere(wherry_engine: Engine, tmp_path: Path) -> None:
    """Links are files like others; what follows them stays inside of the context, the archive or the image."""
    await wherry_engine.images.load(await asyncio.to_thread(base, "busybox"))
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as made:
        for name, target in (("l", str(outside)), ("../up", str(outside))):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            made.addfile(member)
        for name in ("l/through", "/absolute"):
            member = tarfile.TarInfo(name)
            member.size = 4
            made.addfile(member, io.BytesIO(b"evil"))
    text = (
        "FROM busybox\n"
        f"RUN ln -s {outside} /way\n"
        "COPY file /way/copied\n"
        "COPY dir absolute /kept/\n"
        "COPY way/file /followed\n"
    )
    context = archive(
        ("file", b"content"), ("dir/link", symlink(str(outside))), ("/absolute", b"inside"), ("way", symlink("/")),
        ("evil.tar", evil.getvalue()), dockerfile=text,
    )  # fmt: skip
    output = Output("local", tmp_path / "out")
    await build(wherry_engine, BuildOptions(outputs=[output]), stream(context), lambda message: None)
    assert (tmp_path / "out" / "followed").read_text() == "content"
    assert (tmp_path / "out" / "kept" / "link").readlink() == outside
    assert (tmp_path / "out" / "kept" / "absolute").read_text() == "inside"
    unpacked = archive(("evil.tar", evil.getvalue()), dockerfile="FROM busybox\nADD evil.tar /in/\n")
    with pytest.raises((BuildError, ImageError), match="outside"):
        await build(wherry_engine, BuildOptions(), stream(unpacked), lambda message: None)
    assert not list(outside.iterdir())
    assert not (tmp_path / "up").is_symlink()
    await nothing_is_left(wherry_engine)
