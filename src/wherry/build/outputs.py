"""`--output`: what a build gives besides the image in the store, and the files that tell about it.

    type=local,dest=DIR     the result's file system, as files
    type=tar,dest=FILE      the same as one archive
    type=oci,dest=FILE      an OCI layout (which is a Docker archive too)
    type=docker,dest=FILE   the same; without a destination the image just stays in the store

Specified in Docker's documentation of `docker buildx build --output`. Files are written on the machine and with the
rights of this process: the API does not take these options from its clients.
"""

import asyncio
import csv
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images import diff
from ..images.catalog import Image
from ..images.threads import in_thread
from .copying import Ownership, Selection, Writer
from .errors import BuildError, InvalidOptions
from .sources import TreeSource

if TYPE_CHECKING:
    from ..engine.engine import Engine

_KINDS = ("local", "tar", "oci", "docker")


@dataclass(frozen=True)
class Output:
    """`kind` is local, tar, oci or docker; `destination` is None for the image store."""

    kind: str
    destination: Path | None


def parse_output(text: str) -> Output:
    """`type=local,dest=out`, or a path alone for `local`. Raises InvalidOptions."""
    fields = next(csv.reader([text]), [])
    if not fields:
        raise InvalidOptions("an output needs a destination")
    if len(fields) == 1 and "=" not in fields[0]:
        return Output("local", Path(fields[0]))
    values: dict[str, str] = {}
    for item in fields:
        key, separator, value = item.partition("=")
        if not separator:
            raise InvalidOptions(f"invalid value {item}")
        values[key.strip().lower()] = value
    kind = values.pop("type", "")
    destination = values.pop("dest", "")
    if kind not in _KINDS:
        raise InvalidOptions(f"unsupported output type {kind!r}: local, tar, oci and docker are" if kind else
                             "type is required for output")  # fmt: skip
    if values:
        raise InvalidOptions(f"unsupported output option {sorted(values)[0]!r} for type={kind}")
    if kind != "docker" and not destination:
        raise InvalidOptions(f"dest is required for {kind} output")
    return Output(kind, Path(destination) if destination else None)


async def write(engine: "Engine", image: Image, output: Output) -> None:
    """Make the output of a finished image. A file is complete or not there; a directory is added to."""
    if output.destination is None:
        return
    if output.kind in ("oci", "docker"):
        names = image.tags[:1] or [image.id]
        await _write_file(output.destination, engine, names)
        return
    await _from_mounted(engine, image, output)


async def _write_file(destination: Path, engine: "Engine", names: list[str]) -> None:
    temporary = _beside(destination)
    try:
        with open(temporary, "wb") as file:  # noqa: ASYNC230 - written by a thread below
            async for chunk in engine.images.save(names):
                await asyncio.to_thread(file.write, chunk)
        os.replace(temporary, destination)
    except OSError as error:
        raise BuildError(f"cannot write the output {destination}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


async def _from_mounted(engine: "Engine", image: Image, output: Output) -> None:
    snapshots = engine.images.snapshots
    key = f"build-{secrets.token_hex(8)}"
    destination = output.destination
    assert destination is not None

    def work() -> None:
        with tempfile.TemporaryDirectory(prefix="output-", dir=engine.instance.run) as place:
            target = Path(place)
            snapshots.prepare(key, image.chain_id, init=False)
            try:
                snapshots.mount(key, target)
                try:
                    if output.kind == "local":
                        _copy_out(target, destination)
                    else:
                        _archive(target, destination)
                finally:
                    snapshots.unmount(target, lazy=True)
            finally:
                snapshots.remove(key)

    try:
        await in_thread(work)
    except OSError as error:
        raise BuildError(f"cannot write the output {destination}: {error.strerror}") from error


def _copy_out(top: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    source = TreeSource(top)
    root = source.stat(b"")
    assert root is not None
    writer = Writer(destination, Ownership())
    try:
        writer.write(Selection(source, [(b"", root)], [b""]), "/", "COPY")
    finally:
        writer.close()
        source.close()


def _archive(top: Path, destination: Path) -> None:
    temporary = _beside(destination)
    try:
        with open(temporary, "wb") as file:
            for piece in diff.tar_stream(top, flat=True):
                file.write(piece)
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(destination: Path) -> Path:
    return destination.parent / f".{destination.name}.{secrets.token_hex(4)}"


def metadata(image: Image, tags: list[str]) -> dict[str, Any]:
    """What `--metadata-file` holds."""
    found: dict[str, Any] = {"containerimage.config.digest": image.id, "containerimage.digest": image.id}
    if tags:
        found["image.name"] = ",".join(tags)
    return found


async def write_about(image: Image, tags: list[str], *, id_file: Path | None, metadata_file: Path | None) -> None:
    """`--iidfile` and `--metadata-file`."""

    def work() -> None:
        if id_file is not None:
            id_file.write_text(image.id)
        if metadata_file is not None:
            metadata_file.write_text(json.dumps(metadata(image, tags), indent=2) + "\n")

    try:
        await asyncio.to_thread(work)
    except OSError as error:
        raise BuildError(f"cannot write {error.filename}: {error.strerror}") from error
