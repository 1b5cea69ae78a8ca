"""Archives and manifests of ill will or bad luck: a clear error, nothing written outside, nothing half-made."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from dockerfile_cases import tree_of_directory

from wherry.engine.engine import Engine
from wherry.images.errors import BadArchive, DigestMismatch, ImageError, InvalidParameter
from wherry.images.store import ImageStore
from wherry.images.unpack import Limits

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

Members = list[tuple[str, bytes, str, bytes]]
"""Name, type, link name, content."""


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[str, bytes, str, bytes]:
    return name, kind, link, data


def tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind, link, data in members:
            item = tarfile.TarInfo(name)
            item.type, item.linkname, item.size = kind, link, len(data)
            if kind == tarfile.CHRTYPE:
                item.devmajor = item.devminor = 0
            archive.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def images(wherry_engine: Engine) -> ImageStore:
    return wherry_engine.images


async def clean(images: ImageStore) -> None:
    """Nothing is left of what failed."""
    assert not images.list()
    await images.collect()
    assert images.disk_usage() == 0
    assert {path.name for path in images.layers.directory.iterdir()} <= {"empty"}


OUTSIDE = "/tmp/wherry-test-outside"
ESCAPES: dict[str, Members] = {
    "dots": [member("../../../../../../../../tmp/wherry-test-outside", data=b"x")],
    "dots-inside": [member("a/../../../../../../../tmp/wherry-test-outside", data=b"x")],
    "absolute": [member("/tmp/wherry-test-outside", data=b"x")],
    "through-a-link": [member("out", tarfile.SYMTYPE, "/tmp"), member("out/wherry-test-outside", data=b"x")],
    "through-a-relative-link": [
        member("out", tarfile.SYMTYPE, "../../../../../../../../tmp"), member("out/wherry-test-outside", data=b"x"),
    ],
    "through-two-links": [
        member("a", tarfile.SYMTYPE, "b/.."), member("b", tarfile.SYMTYPE, "/tmp/x"),
        member("a/wherry-test-outside", data=b"x"),
    ],
    "directory-over-a-link": [
        member("out", tarfile.SYMTYPE, "/tmp"), member("out", tarfile.DIRTYPE), member("out/wherry-test-outside"),
    ],
    "file-over-a-link": [member("out", tarfile.SYMTYPE, OUTSIDE), member("out", data=b"x")],
    "hard-link-out": [member("own", tarfile.LNKTYPE, "../../../../../../../../etc/passwd")],
    "hard-link-absolute": [member("own", tarfile.LNKTYPE, "/etc/hostname")],
    "hard-link-through-a-link": [
        member("etc", tarfile.SYMTYPE, "/etc"), member("own", tarfile.LNKTYPE, "etc/passwd"), member("own", data=b"x"),
    ],
    "hard-link-to-a-link": [
        member("link", tarfile.SYMTYPE, OUTSIDE), member("own", tarfile.LNKTYPE, "link"), member("own", data=b"x"),
    ],
    "whiteout-outside": [member("out", tarfile.SYMTYPE, "/tmp"), member("out/.wh.wherry-test-victim")],
    "whiteout-of-dots": [member("a/.wh...", data=b"")],
    "opaque-outside": [member("out", tarfile.SYMTYPE, "/tmp"), member("out/.wh..wh..opq")],
    "device-0-0": [member("null", tarfile.CHRTYPE)],
}  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
async def test_nothing_leaves_the_layer(images: ImageStore, name: str) -> None:
    victim = Path("/tmp/wherry-test-victim")
    victim.write_text("kept")
    passwd = Path("/etc/passwd").read_bytes()
    links = os.stat("/etc/passwd").st_nlink
    try:
        staged = await asyncio.to_thread(images.layers.stage, [tar(ESCAPES[name])])
    except ImageError:
        pass  # refusing is as good as confining
    else:
        try:
            chain = await images.layers.register(None, staged)
        except ImageError:
            pass
        else:
            await asyncio.to_thread(lambda: sum(map(len, images.layers.tar_stream(chain.layer))))
    assert not os.path.lexists(OUTSIDE)
    assert victim.read_text() == "kept"
    assert Path("/etc/passwd").read_bytes() == passwd
    assert os.stat("/etc/passwd").st_nlink == links
    victim.unlink()
    await clean(images)


def damaged() -> list[tuple[str, bytes]]:
    whole = tar(
        [member("dir", tarfile.DIRTYPE), member("dir/file", data=b"x" * 2000), member("l", tarfile.SYMTYPE, "f")]
    )
    huge = bytearray(whole)
    huge[512 + 124 : 512 + 136] = b"\x80" + b"\xff" * 11
    negative = bytearray(whole)
    negative[512 + 124 : 512 + 136] = b"\xff" * 12
    checksum = bytearray(whole)
    checksum[0] ^= 1
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    pax = tarfile.TarInfo("pax")
    pax.type, records = tarfile.XHDTYPE, b"99999999999 path=x\n"
    pax.size = len(records)
    return [
        ("cut in a header", whole[:700]),
        ("cut in a file", whole[:2000]),
        ("huge size", _fixed(huge)),
        ("negative size", _fixed(negative)),
        ("wrong checksum", bytes(checksum)),
        ("endless long name", long_name.tobuf(tarfile.GNU_FORMAT) + bytes(1024)),
        ("pax length", pax.tobuf(tarfile.PAX_FORMAT) + records.ljust(512, b"\0") + bytes(1024)),
        ("garbage", random.Random(1).randbytes(4096)),
        ("unknown kind", tar([member("x", b"Z")])),
        ("no name", tar([member("", data=b"x")])),
    ]


def _fixed(data: bytearray) -> bytes:
    """With the second header's checksum made right."""
    header = data[512:1024]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[512:1024] = header
    return bytes(data)


@pytest.mark.parametrize(("what", "data"), damaged(), ids=lambda value: value if isinstance(value, str) else "")
async def test_a_damaged_layer_is_refused(images: ImageStore, what: str, data: bytes) -> None:
    with pytest.raises(BadArchive):
        await asyncio.to_thread(images.layers.stage, [data])
    await clean(images)


async def test_flipped_bits_never_do_more_than_fail(images: ImageStore) -> None:
    whole = tar(
        [member("dir", tarfile.DIRTYPE), member("dir/file", data=b"x" * 700), member("l", tarfile.SYMTYPE, "dir/file"),
         member("h", tarfile.LNKTYPE, "dir/file"), member("n" * 200, data=b"y"), member("dir/.wh.gone")]
    )  # fmt: skip
    source = random.Random(7)

    def work() -> None:
        for _ in range(300):
            changed = bytearray(whole)
            for _ in range(source.randrange(1, 4)):
                at = source.randrange(len(changed))
                changed[at] = source.randrange(256)
                base = at // 512 * 512
                if source.random() < 0.8 and base + 512 <= len(changed):
                    header = changed[base : base + 512]
                    header[148:156] = b" " * 8
                    header[148:156] = b"%06o\0 " % sum(header)
                    changed[base : base + 512] = header
            try:
                images.layers.discard(images.layers.stage([bytes(changed)], limits=Limits(bytes=1 << 20, entries=1000)))
            except ImageError:
                continue

    await asyncio.to_thread(work)
    await clean(images)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
async def test_a_bomb_stops_at_the_limit(images: ImageStore, pack: Callable[[bytes], bytes]) -> None:
    from wherry.images.compression import decompress

    bomb = pack(tar([member("zeros", data=bytes(64 << 20))]))
    assert len(bomb) < 1 << 20
    with pytest.raises(BadArchive, match="unpacks to more than 1048576 bytes"):
        await asyncio.to_thread(images.layers.stage, decompress([bomb]), None, Limits(bytes=1 << 20))
    many = tar([member(f"{number}") for number in range(100)])
    with pytest.raises(BadArchive, match="more than 10 entries"):
        await asyncio.to_thread(images.layers.stage, [many], None, Limits(entries=10))
    await clean(images)


async def test_a_layer_that_would_fill_the_disk_is_refused(images: ImageStore) -> None:
    size = os.statvfs(images.layers.directory).f_blocks * os.statvfs(images.layers.directory).f_frsize
    item = tarfile.TarInfo("too-large")
    item.size = 2 * size
    with pytest.raises(ImageError, match="no space left on device"):
        await asyncio.to_thread(images.layers.stage, [item.tobuf(tarfile.GNU_FORMAT), b"x" * (1 << 20)])
    await clean(images)


LAYER = tar([member("file", data=b"content")])
DIFF_ID = "sha256:" + hashlib.sha256(LAYER).hexdigest()
CONFIG: dict[str, Any] = {
    "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
}  # fmt: skip


def archive(
    *,
    config: Any = CONFIG,
    manifest: Any = None,
    files: dict[str, bytes] | None = None,
    links: dict[str, str] | None = None,
) -> bytes:
    """A Docker archive; `manifest` and `config` may be anything."""
    data = config if isinstance(config, bytes) else json.dumps(config).encode()
    given = (
        [{"Config": "config.json", "RepoTags": ["bad:1"], "Layers": ["layer.tar"]}] if manifest is None else manifest
    )
    text = given if isinstance(given, bytes) else json.dumps(given).encode()
    content = {"layer.tar": LAYER, "config.json": data, "manifest.json": text, **(files or {})}
    members = [member(name, data=value) for name, value in content.items()]
    return tar(members + [member(name, tarfile.SYMTYPE, target) for name, target in (links or {}).items()])


def one(**changes: Any) -> list[dict[str, Any]]:
    return [{"Config": "config.json", "RepoTags": ["bad:1"], "Layers": ["layer.tar"], **changes}]


def oci(index: Any, blobs: dict[str, bytes] | None = None) -> bytes:
    content = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    return tar([member(name, data=value) for name, value in {**content, **(blobs or {})}.items()])


ZEROS = "sha256:" + "0" * 64
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "manifest.json"),
    "no manifest": (tar([member("file", data=b"x")]), "open manifest.json: no such file or directory"),
    "manifest is no JSON": (archive(manifest=b"{"), "invalid manifest.json"),
    "manifest is an object": (archive(manifest={}), "not a list"),
    "manifest of numbers": (archive(manifest=[1]), "not a list of objects"),
    "config is missing": (archive(manifest=one(Config="nothing.json")), "open nothing.json: no such file"),
    "config is a number": (archive(manifest=one(Config=5)), "Config is not what it must be"),
    "config climbs out": (archive(manifest=one(Config="../../etc/passwd")), "no such file"),
    "layers is a string": (archive(manifest=one(Layers="layer.tar")), "Layers is not what it must be"),
    "layer is missing": (archive(manifest=one(Layers=["no.tar"])), "open no.tar: no such file"),
    "one layer too many": (archive(manifest=one(Layers=["layer.tar"] * 2)), "length mismatch: expected 2, got 1"),
    "tags are numbers": (archive(manifest=one(RepoTags=[1])), "RepoTags is not what it must be"),
    "tag is none": (archive(manifest=one(RepoTags=["UPPER CASE"])), "invalid reference format"),
    "config is a list": (archive(config=[]), "it is not an object"),
    "config is no JSON": (archive(config=b"\xff\xfe"), "invalid image configuration"),
    "no rootfs": (archive(config={}), "it has no rootfs"),
    "diff ids are numbers": (archive(config={"rootfs": {"diff_ids": [1]}}), "1 is no diff id"),
    "wrong diff id": (archive(config={"rootfs": {"diff_ids": [ZEROS]}}), "invalid diffID for layer layer.tar"),
    "environment is a number": (archive(config={**CONFIG, "config": {"Env": 7}}), "Env is not a list"),
    "labels are a list": (archive(config={**CONFIG, "config": {"Labels": []}}), "Labels"),
    "deep JSON": (archive(config=b"[" * 100_000), "invalid image configuration"),
    "links in a circle": (archive(manifest=one(Layers=["a"]), links={"a": "b", "b": "a"}), "open [ab]: no such file"),
    "blob with another digest": (
        archive(files={"blobs/sha256/" + "0" * 64: b"not zeros"}), "does not have the digest that its name says",
    ),
    "layer blob with another digest": (
        archive(files={"blobs/sha256/" + "1" * 64: tar([member("x", data=b"y")])}), "does not have the digest",
    ),
    "large and no layer": (archive(files={"big": b"x" * (9 << 20)}), "neither a layer nor a manifest"),
    "cut": (archive()[:3000], "unexpected EOF|truncated"),
    "cut gzip": (gzip.compress(archive())[:-200], "unexpected EOF|truncated"),
    "cut zstd": (zstandard.ZstdCompressor().compress(archive())[:-60], "unexpected EOF|invalid data|open manifest"),
    "broken gzip": (gzip.compress(archive())[:50] + b"x" * 500, "gzip: invalid data"),
    "oci: index is a list": (oci([]), "it is not an object"),
    "oci: manifests is a number": (oci({"manifests": 5}), "manifests is not a list"),
    "oci: digest climbs out": (oci({"manifests": [{"digest": "sha256:../../x", "size": 1}]}), "is no digest"),
    "oci: manifest is missing": (oci({"manifests": [{"digest": ZEROS, "size": 1}]}), "no such file"),
    "oci: negative size": (oci({"manifests": [{"digest": ZEROS, "size": -1}]}), "size -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_archive_is_refused_and_leaves_nothing(images: ImageStore, tmp_path: Path, name: str) -> None:
    data, words = BAD[name]
    path = tmp_path / "bad.tar"
    path.write_bytes(data)
    with pytest.raises((InvalidParameter, DigestMismatch), match=words):
        await images.load(path)
    await clean(images)


async def test_the_good_one_is_loaded(images: ImageStore, tmp_path: Path) -> None:
    path = tmp_path / "good.tar"
    path.write_bytes(archive())
    (image,) = await images.load(path)
    assert image.diff_ids == [DIFF_ID]
    layer = images.layers.stack(image.chain_id)[0].layer
    assert tree_of_directory(images.layers.fs(layer))["/file"]["text"] == "content"
