"""Layers against the kernel: what an archive may hold, and what it may not do."""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from wherry.host.database import Database
from wherry.host.instance import open_instance
from wherry.images.errors import BadArchive, ImageError
from wherry.images.store import ImageStore
from wherry.images.tarstream import CHAR, DIRECTORY, END, HARDLINK, SYMLINK, Entry, encode_header, padding

pytestmark = pytest.mark.root


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[ImageStore]:
    instance = open_instance(tmp_path / "root", tmp_path / "run")
    instance.root.mkdir()
    database = Database(instance.database)
    yield await ImageStore.open(instance, database)
    database.close()


def archive(*entries: Entry | tuple[Entry, bytes]) -> bytes:
    out = b""
    for item in entries:
        entry, content = item if isinstance(item, tuple) else (item, b"")
        entry.size = len(content)
        out += encode_header(entry) + content + padding(len(content))
    return out + END


async def chain(store: ImageStore, *layers: bytes) -> str:
    parent: str | None = None
    for data in layers:
        made = await store.layers.register(parent, store.layers.stage([data]))
        parent = made.chain_id
    assert parent is not None
    return parent


class Tree:
    """A chain mounted for a while."""

    def __init__(self, store: ImageStore, chain_id: str, target: Path) -> None:
        self._store, self._chain, self.path = store, chain_id, target

    def __enter__(self) -> Path:
        self.path.mkdir()
        self._store.snapshots.prepare("tree", self._chain, init=False)
        self._store.snapshots.mount("tree", self.path)
        return self.path

    def __exit__(self, *_: object) -> None:
        self._store.snapshots.unmount(self.path)
        self._store.snapshots.remove("tree")
        self.path.rmdir()


def rich_layer() -> bytes:
    return archive(
        Entry(b"d/", DIRECTORY, 0o1777, 5, 6, mtime=10**18),
        (Entry(b"d/file", mode=0o4711, uid=33, gid=44, mtime=10**18, xattrs={b"user.note": b"\x00\xff"}), b"hello"),
        Entry(b"d/hard", HARDLINK, linkname=b"d/file"),
        Entry(b"d/link", SYMLINK, linkname=b"../outside"),
        Entry(b"d/null", CHAR, 0o666, major=1, minor=3),
        Entry(b"d/pipe", b"6", 0o600),
        (Entry(b"d/\xff\xfe"), b"not utf-8"),
        (Entry(b"d/" + b"deep/" * 60 + b"leaf"), b"deep"),
        (Entry(b"twice"), b"first"),
        (Entry(b"twice"), b"second!"),
        (Entry(b"became"), b"a file"),
        Entry(b"became/", DIRECTORY, 0o755),
        (Entry(b"became/full"), b"x"),
    )


async def test_all_kinds_of_entries_arrive_and_the_archive_comes_back_byte_for_byte(
    store: ImageStore, tmp_path: Path
) -> None:
    data = rich_layer()
    top = await chain(store, data)
    with Tree(store, top, tmp_path / "m") as root:
        found = os.stat(root / "d" / "file")
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_nlink) == (0o4711, 33, 44, 2)
        assert found.st_mtime_ns == 10**18
        assert os.getxattr(root / "d" / "file", "user.note") == b"\x00\xff"
        assert os.readlink(root / "d" / "link") == "../outside"
        assert os.stat(root / "d" / "null").st_rdev == os.makedev(1, 3)
        assert stat.S_ISFIFO(os.stat(root / "d" / "pipe").st_mode)
        assert (root / os.fsdecode(b"d/\xff\xfe")).read_bytes() == b"not utf-8"
        assert (root / "twice").read_bytes() == b"second!"
        assert (root / "became" / "full").read_bytes() == b"x"
        assert os.stat(root / "d").st_mtime_ns == 10**18
    layer = store.layers.chain(top).layer
    assert b"".join(store.layers.tar_stream(layer)) == data


async def test_whiteouts_and_opaque_directories_hide_what_is_below(store: ImageStore, tmp_path: Path) -> None:
    below = archive(
        Entry(b"d/", DIRECTORY, 0o755), (Entry(b"d/a"), b"a"), (Entry(b"d/b"), b"b"),
        Entry(b"o/", DIRECTORY, 0o755), (Entry(b"o/old"), b"old"), (Entry(b"gone"), b"gone"),
        Entry(b"again/", DIRECTORY, 0o755), (Entry(b"again/old"), b"old"),
    )  # fmt: skip
    above = archive(
        Entry(b"d/", DIRECTORY, 0o755), Entry(b"d/.wh.a"), Entry(b"o/", DIRECTORY, 0o755),
        (Entry(b"o/new"), b"new"), Entry(b"o/.wh..wh..opq"), Entry(b".wh.gone"), Entry(b".wh..wh.plnk"),
        Entry(b".wh.again"), Entry(b"again/", DIRECTORY, 0o755), (Entry(b"again/new"), b"new"),
    )  # fmt: skip
    with Tree(store, await chain(store, below, above), tmp_path / "m") as root:
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    assert found == ["again", "again/new", "d", "d/b", "o", "o/new"]


async def test_a_layer_may_lean_on_the_ones_below(store: ImageStore, tmp_path: Path) -> None:
    below = archive(Entry(b"d/", DIRECTORY, 0o1777, 7, 8), (Entry(b"d/file", mode=0o640, uid=3), b"content"))
    above = archive((Entry(b"d/new"), b"new"), Entry(b"d/hard", HARDLINK, linkname=b"d/file"))
    top = await chain(store, below, above)
    with Tree(store, top, tmp_path / "m") as root:
        found = os.stat(root / "d")
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1777, 7, 8)
        assert (root / "d" / "hard").read_bytes() == b"content"
        assert stat.S_IMODE(os.stat(root / "d" / "hard").st_mode) == 0o640
    assert b"".join(store.layers.tar_stream(store.layers.chain(top).layer)) == above


async def test_what_a_container_wrote_becomes_a_layer_that_gives_the_same_tree(
    store: ImageStore, tmp_path: Path
) -> None:
    top = await chain(store, rich_layer())
    target = tmp_path / "m"
    target.mkdir()
    store.snapshots.prepare("c", top)
    store.snapshots.mount("c", target)
    (target / "d" / "file").unlink()
    os.link(target / "twice", target / "linked")
    (target / "became" / "full").unlink()
    (target / "became").rmdir()
    (target / "became").mkdir()
    (target / "became" / "other").write_text("y")
    store.snapshots.unmount(target)
    kinds = {str(item["Path"]): item["Kind"] for item in store.snapshots.changes("c")}
    assert kinds["/d/file"] == 2
    assert kinds["/linked"] == 1
    assert not any(path.startswith(("/dev", "/etc", "/proc", "/.dockerenv")) for path in kinds)
    staged = store.snapshots.commit("c")
    made = await store.layers.register(top, staged)
    assert "sha256:" + hashlib.sha256(b"".join(store.layers.tar_stream(made.layer))).hexdigest() == made.layer.diff_id
    store.snapshots.remove("c")
    with Tree(store, made.chain_id, tmp_path / "again") as root:
        assert not (root / "d" / "file").exists()
        assert (root / "d" / "hard").read_bytes() == b"hello"
        assert os.stat(root / "linked").st_nlink == 2
        assert [path.name for path in (root / "became").iterdir()] == ["other"]


async def test_more_than_a_hundred_layers_mount(store: ImageStore, tmp_path: Path) -> None:
    layers = [archive((Entry(b"f%d" % number), b"x")) for number in range(130)]
    with Tree(store, await chain(store, *layers), tmp_path / "m") as root:
        assert len(list(root.iterdir())) == 130


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(Entry(b"../evil"), b"x")], '"../evil" is outside of "/"'),
        ([(Entry(b"a/../../evil"), b"x")], 'is outside of "/"'),
        ([Entry(b"d/.wh..", b"0")], 'invalid whiteout ".wh.."'),
        ([Entry(b".wh...", b"0")], "invalid whiteout"),
        ([Entry(b"h", HARDLINK, linkname=b"../../etc/passwd")], "invalid hardlink"),
        ([Entry(b"h", HARDLINK, linkname=b"/etc/passwd")], "no such file or directory"),
        ([Entry(b"w", CHAR, major=0, minor=0)], "overlayfs reserves"),
        ([Entry(b"x", b"Z")], "unhandled tar header type"),
    ],
)
async def test_archives_that_try_to_get_out_are_refused_and_leave_nothing(
    store: ImageStore, tmp_path: Path, entries: list[Entry], message: str
) -> None:
    with pytest.raises(BadArchive) as caught:
        await chain(store, archive(*entries))
    assert message in caught.value.message
    assert [path.name for path in (tmp_path / "root" / "images" / "layers").iterdir()] == ["empty"]


@pytest.mark.parametrize("link", [b"/", b"../../../..", b"/proc/self/root", b"/etc"])
async def test_writing_through_a_link_stays_inside(store: ImageStore, tmp_path: Path, link: bytes) -> None:
    name = f"wherry-escape-{os.getpid()}"
    data = archive(
        Entry(b"out", SYMLINK, linkname=link),
        (Entry(b"out/" + name.encode()), b"x"),
        (Entry(b"etc/" + name.encode()), b"x"),
    )
    await chain(store, data)
    assert not any(Path(top, name).exists() for top in ("/", "/etc", tmp_path, "/proc/self/root/etc"))


async def test_an_archive_cannot_steer_the_overlay_itself(store: ImageStore) -> None:
    top = await chain(store, archive(Entry(b"d/", DIRECTORY, 0o755, xattrs={b"trusted.overlay.redirect": b"/x"})))
    path = store.layers.fs(store.layers.chain(top).layer) / "d"
    assert "trusted.overlay.redirect" not in os.listxattr(path)


async def test_a_limit_stops_an_archive_that_unpacks_to_too_much(store: ImageStore) -> None:
    store.layers.limits.bytes = 1000
    with pytest.raises(BadArchive, match="unpacks to more than 1000 bytes"):
        await chain(store, archive((Entry(b"a"), b"x" * 600), (Entry(b"b"), b"x" * 600)))


def docker_archive(change: Callable[[dict[str, bytes]], None] = lambda files: None) -> bytes:
    layer = archive((Entry(b"hello"), b"world"))
    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    files = {
        "layer.tar": layer,
        "config.json": b'{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}'
        % diff_id.encode(),
        "manifest.json": b'[{"Config":"config.json","RepoTags":["hello:1"],"Layers":["layer.tar"]}]',
    }
    change(files)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 700):
        yield data[at : at + 700]


def _replace(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files[name] = files[name].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (docker_archive(lambda files: files.pop("manifest.json") and None), "manifest.json: no such file"),
        (docker_archive(lambda files: files.pop("layer.tar") and None), "layer.tar: no such file"),
        (docker_archive(lambda files: files.pop("config.json") and None), "config.json: no such file"),
        (docker_archive(_replace("manifest.json", b"[{", b"[")), "invalid manifest.json"),
        (docker_archive(_replace("layer.tar", b"world", b"w0rld")), "invalid diffID for layer layer.tar"),
        (docker_archive(_replace("manifest.json", b'["layer.tar"]', b"[]")), "layers length mismatch"),
        (docker_archive(_replace("manifest.json", b"hello:1", b"Hello:1")), "must be lowercase"),
        (docker_archive()[:1500], "unexpected EOF"),
        (b"\x1f\x8bnonsense", "gzip"),
        (b"", "manifest.json: no such file"),
    ],
)
async def test_a_broken_archive_loads_nothing(store: ImageStore, tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        await store.load(pieces(data))
    assert message in caught.value.message
    assert store.list() == []
    assert [path.name for path in (tmp_path / "root" / "images" / "layers").iterdir()] == ["empty"]


async def test_save_and_load_keep_every_digest(store: ImageStore) -> None:
    (image,) = await store.load(pieces(docker_archive()))
    await store.tag("hello:1", "other/name", "x")
    saved = b"".join([chunk async for chunk in store.save(["hello:1", "other/name:x"])])
    await store.remove("hello:1")
    await store.remove("other/name:x")
    assert store.list() == []
    (again,) = await store.load(pieces(saved))
    assert again.id == image.id
    assert again.tags == ["hello:1", "other/name:x"]
    assert again.diff_ids == image.diff_ids


async def test_what_a_crash_left_is_swept_at_the_next_start(store: ImageStore, tmp_path: Path) -> None:
    await store.load(pieces(docker_archive()))
    layers = tmp_path / "root" / "images" / "layers"
    (layers / "tmp-dead" / "fs").mkdir(parents=True)
    (layers / "0123456789abcdef01234567").mkdir()
    (tmp_path / "root" / "images" / "blobs" / "tmp" / "x").write_text("half")
    (image,) = store.catalog.all()
    instance = open_instance(tmp_path / "root", tmp_path / "run")
    database = Database(instance.database)
    again = await ImageStore.open(instance, database)
    assert [found.id for found in again.catalog.all()] == [image.id]
    assert len(list(layers.iterdir())) == 2
    assert image.chain_id is not None
    assert again.layers.has(image.chain_id)
    database.close()
