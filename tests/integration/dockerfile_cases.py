"""The Dockerfile corpus: `dockerfiles/cases/*.yaml`, read, laid out on disk, and compared with what came of a build.

A case has a `name`, a `dockerfile`, and optionally a `context` (path to text, or to an object with `text`, `mode`,
`link`, `dir` or `tar`), `args`, `labels`, `secrets`, `target`, `bases` (images to build first) and `serve` (files that
a web server gives out; build argument URL). `expect` says what must come of it: `files` (path to text or to an object
with `kind`, `text`, `mode`, `uid`, `gid`, `link`), `absent` paths, `contains` (path to a part of its text), `config`
(keys of the container configuration), `env` and `env_absent`, `layers` added, `history` (the beginning of each
instruction that the file added), `author`, or an `error` and its `line`. `any` allows an error or none. `differs` tells
why dockerd's classic builder or buildah do otherwise; `compare: false` leaves a case out of that comparison.
"""

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CASES = Path(__file__).parent / "dockerfiles" / "cases"

IGNORED = frozenset(
    {"/.dockerenv", "/dev/console", "/dev/pts", "/dev/shm", "/etc/hosts", "/etc/hostname", "/etc/mtab",
     "/etc/resolv.conf", "/run/.containerenv"}
)  # fmt: skip
"""What an engine puts into every container that it exports."""


@dataclass
class Outcome:
    """What a builder made of a case: an error, or the image. `tree` is path to what is there."""

    error: str = ""
    line: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    author: str = ""
    layers: int = 0
    history: list[str] = field(default_factory=list)
    tree: dict[str, dict[str, Any]] = field(default_factory=dict)


@cache
def cases() -> list[dict[str, Any]]:
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        found += yaml.safe_load(path.read_text())
    names = [case["name"] for case in found]
    assert len(names) == len(set(names)), "two cases have one name"
    return found


def lay_out(case: dict[str, Any], directory: Path) -> None:
    """Write the context, its Dockerfile included."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "Dockerfile").write_bytes(case["dockerfile"].encode())
    write_files(case.get("context") or {}, directory)


def write_files(files: dict[str, Any], directory: Path) -> None:
    for name, given in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        item = {"text": given} if isinstance(given, str) else given
        if item.get("dir"):
            path.mkdir()
        elif "link" in item:
            path.symlink_to(item["link"])
        else:
            data = _tar(item["tar"]) if "tar" in item else item["text"].encode()
            path.write_bytes(gzip.compress(data) if item.get("gz") else data)
            path.chmod(int(item.get("mode", "644"), 8))


def _tar(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def tree_of_directory(top: Path) -> dict[str, dict[str, Any]]:
    """What lies below a mounted root file system."""
    found = {}
    for path in _walk(top):
        item = path.lstat()
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
                 stat.S_IFCHR: "char", stat.S_IFBLK: "block"}  # fmt: skip
        kind = kinds.get(stat.S_IFMT(item.st_mode), "other")
        found["/" + os.fspath(path.relative_to(top))] = _entry(
            kind,
            item.st_mode,
            item.st_uid,
            item.st_gid,
            os.readlink(path) if kind == "link" else "",
            path.read_bytes() if kind == "file" else b"",
        )
    return found


def _walk(top: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(top):
        for name in names + files:
            yield Path(directory) / name


def tree_of_archive(stream: io.BufferedIOBase) -> dict[str, dict[str, Any]]:
    """The same of an exported container's archive."""
    found: dict[str, dict[str, Any]] = {}
    kinds = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char",
             tarfile.BLKTYPE: "block"}  # fmt: skip
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            name = "/" + member.name.strip("/")
            if member.type == tarfile.LNKTYPE:
                found[name] = found["/" + member.linkname.strip("/")]
                continue
            kind = kinds.get(member.type, "file")
            content = archive.extractfile(member) if kind == "file" else None
            data = content.read() if content is not None else b""
            link = member.linkname if kind == "link" else ""
            found[name] = _entry(kind, member.mode, member.uid, member.gid, link, data)
    return found


def _entry(kind: str, mode: int, uid: int, gid: int, link: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": kind, "mode": f"{stat.S_IMODE(mode):o}", "uid": uid, "gid": gid}
    if kind == "link":
        entry |= {"link": link, "mode": "777"}
    if kind == "file":
        short = len(data) < 10_000
        entry["text"] = data.decode("utf-8", "replace") if short else hashlib.sha256(data).hexdigest()
    return entry


def complaints(case: dict[str, Any], outcome: Outcome) -> list[str]:
    """What is not as the case expects; empty when all is."""
    expect = case["expect"]
    if "error" in expect or (outcome.error and not expect.get("any")):
        return _about_error(expect, outcome)
    found = []
    if outcome.error:
        return []
    for path, wanted in (expect.get("files") or {}).items():
        there = outcome.tree.get(path)
        if there is None:
            found.append(f"{path} is missing")
            continue
        for key, value in ({"text": wanted} if isinstance(wanted, str) else wanted).items():
            if there.get(key) != value:
                found.append(f"{path}: {key} is {there.get(key)!r}, not {value!r}")
    for path, part in (expect.get("contains") or {}).items():
        if part not in outcome.tree.get(path, {}).get("text", ""):
            found.append(f"{path} does not contain {part!r}")
    found += [f"{path} is there" for path in expect.get("absent") or () if path in outcome.tree]
    for key, value in (expect.get("config") or {}).items():
        there = outcome.config.get(key)
        if key == "Env":
            there = [item for item in there or [] if not item.startswith("PATH=")]
        if there != value and (there or value):
            found.append(f"config.{key} is {there!r}, not {value!r}")
    environment = outcome.config.get("Env") or []
    found += [f"{item} is not in the environment" for item in expect.get("env") or () if item not in environment]
    for name in expect.get("env_absent") or ():
        if any(item.startswith(f"{name}=") for item in environment):
            found.append(f"{name} is in the environment")
    if "layers" in expect and outcome.layers != expect["layers"]:
        found.append(f"{outcome.layers} layers, not {expect['layers']}")
    if "author" in expect and outcome.author != expect["author"]:
        found.append(f"author is {outcome.author!r}")
    if "history" in expect:
        shown = [step.removeprefix("/bin/sh -c #(nop)").strip() for step in outcome.history]
        if len(shown) != len(expect["history"]) or not all(
            step.startswith(start) for step, start in zip(shown, expect["history"], strict=True)
        ):
            found.append(f"history is {shown}")
    for text in expect.get("history_absent") or ():
        found += [f"history tells {step!r}" for step in outcome.history if text in step]
    return found


def _about_error(expect: dict[str, Any], outcome: Outcome) -> list[str]:
    if "error" not in expect:
        return [f"failed: {outcome.error}"]
    if not outcome.error:
        return [f"did not fail with {expect['error']!r}"]
    found = []
    if expect["error"] not in outcome.error:
        found.append(f"error is {outcome.error!r}, not {expect['error']!r}")
    if "line" in expect and outcome.line != expect["line"]:
        found.append(f"error is in line {outcome.line}, not {expect['line']}")
    return found
