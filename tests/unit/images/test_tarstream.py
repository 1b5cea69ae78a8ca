import io
import tarfile

import pytest

from wherry.images.errors import BadArchive
from wherry.images.tarstream import DIRECTORY, END, SYMLINK, Entry, TarReader, encode_header, padding


def read(data: bytes, chunk: int = 1000) -> list[Entry]:
    return list(TarReader(data[at : at + chunk] for at in range(0, len(data), chunk)))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"a", mode=0o4755, uid=33, gid=34, mtime=1_700_000_000 * 10**9),
        Entry(b"d/" * 60 + b"file", linkname=b""),
        Entry(b"x" * 300),
        Entry(b"link", SYMLINK, linkname=b"y" * 200),
        Entry(b"\xff\xfe/name"),
        Entry(b"big", uid=3_000_000, gid=4_000_000),
        Entry(b"attr", xattrs={b"security.capability": b"\x01\x00\x00\x02\n=x"}),
        Entry(b"old", mtime=-5 * 10**9),
        Entry(b"dir/", DIRECTORY, 0o1777),
        Entry(b"null", b"3", major=1, minor=3),
    ],
)
@pytest.mark.parametrize("chunk", [1, 511, 512, 100_000])
def test_an_entry_survives_being_written_and_read(entry: Entry, chunk: int) -> None:
    (found,) = read(encode_header(entry) + END, chunk)
    for name in ("name", "type", "mode", "uid", "gid", "mtime", "linkname", "major", "minor", "xattrs"):
        assert getattr(found, name) == getattr(entry, name), name


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_tools_are_read(form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name in ("short", "dir/" + "n" * 90, "é" * 20):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(name), 7
            archive.addfile(member, io.BytesIO(b"x" * len(name)))
    reader = TarReader([out.getvalue()])
    found = {entry.name.decode(): b"".join(bytes(piece) for piece in reader.content()) for entry in reader}
    assert found == {name: b"x" * len(name) for name in ("short", "dir/" + "n" * 90, "é" * 20)}


def test_every_byte_of_the_archive_is_accounted_for() -> None:
    content = b"hello"
    data = (
        encode_header(Entry(b"p" * 200, size=5)) + content + padding(5) + encode_header(Entry(b"q")) + END + bytes(512)
    )
    reader = TarReader([data])
    rebuilt = b""
    for entry in reader:
        rebuilt += entry.header + b"".join(bytes(piece) for piece in reader.content())
    assert rebuilt + reader.trailer == data


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 512,
        encode_header(Entry(b"a", size=10)),
        encode_header(Entry(b"a", size=10)) + b"short",
        b"short",
    ],
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(BadArchive):
        for entry in (reader := TarReader([data])):
            assert entry
            list(reader.content())
