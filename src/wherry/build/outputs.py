"""`--output`: what a build gives besides the image in the store, and the files that tell about it.

    type=local,dest=DIR     the result's file system, as files
    type=tar,dest=FILE      the same as one archive
    type=oci,dest=FILE      an OCI layout (which is a Docker archive too)
    type=docker,dest=FILE   the same; without a destination the image just stays in the store

Specified in Docker's documentation of `docker buildx build --output`. A destination is a path, written with the rights
of this process, or a *sink* that takes the archive's bytes: over the API a client gets them and writes them itself.
"""

import asyncio
import csv
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images import archives, diff
from ..images.references import key_of, parse_reference
from ..images.threads import drain, in_thread
from .copying import Ownership, Selection, Writer
from .errors import BuildError, InvalidOptions
from .sources import TreeSource

if TYPE_CHECKING:
    from ..engine.engine import Engine

_KINDS = ("local", "tar", "oci", "docker")


Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Output:
    """`kind` is local, tar, oci or docker. Without a destination and a sink it is the image store."""

    kind: str
    destination: Path | None = None
    sink: Sink | None = None
    """Gets the archive's bytes (of `local`: those of `tar`)."""


@dataclass(frozen=True)
class Result:
    """What a build came to, whether the store has it as an image or not. `config` is the image configuration."""

    id: str
    config: bytes
    chain_id: str | None
    tags: list[str]


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


async def write(engine: "Engine", result: Result, output: Output) -> None:
    """Make the output of a finished build. A file is complete or not there; a directory is added to."""
    if output.sink is not None:
        async for chunk in archive(engine, result, output.kind):
            await output.sink(chunk)
        return
    destination = output.destination
    if destination is None:
        return
    try:
        if output.kind == "local":
            async with _mounted(engine, result.chain_id) as top:
                await in_thread(lambda: _copy_out(top, destination))
        else:
            await _write_file(destination, archive(engine, result, output.kind))
    except OSError as error:
        raise BuildError(f"cannot write the output {destination}: {error.strerror}") from error


def archive(engine: "Engine", result: Result, kind: str) -> AsyncIterator[bytes]:
    """The bytes of an output: an image archive (`oci`, `docker`), else that of the files."""
    layers = engine.images.layers
    if kind in ("oci", "docker"):
        stack = [chain.layer for chain in reversed(layers.stack(result.chain_id))]
        saved = archives.Saved(result.config, stack, [key_of(tag, None) for tag in result.tags], 0)
        return drain(lambda: archives.write([saved], layers))
    return _files(engine, result.chain_id)


async def _files(engine: "Engine", chain_id: str | None) -> AsyncIterator[bytes]:
    async with _mounted(engine, chain_id) as top:
        async for piece in drain(lambda: diff.tar_stream(top, flat=True)):
            yield piece


@asynccontextmanager
async def _mounted(engine: "Engine", chain_id: str | None) -> AsyncIterator[Path]:
    """The result's files in a directory."""
    snapshots = engine.images.snapshots
    key = f"build-{secrets.token_hex(8)}"
    # Below the builds' directory: what a crash leaves there is swept at the next start.
    work = engine.instance.run / "build"
    await asyncio.to_thread(lambda: work.mkdir(parents=True, exist_ok=True))
    with tempfile.TemporaryDirectory(prefix="output-", dir=work) as place:
        top = Path(place)

        def mount() -> None:
            snapshots.prepare(key, chain_id, init=False)
            snapshots.mount(key, top)

        def remove() -> None:
            snapshots.unmount(top, lazy=True)
            snapshots.remove(key)

        try:
            await in_thread(mount)
            yield top
        finally:
            await asyncio.shield(in_thread(remove))


async def _write_file(destination: Path, chunks: AsyncIterator[bytes]) -> None:
    temporary = destination.parent / f".{destination.name}.{secrets.token_hex(4)}"
    try:
        with open(temporary, "wb") as file:  # noqa: ASYNC230 - written by a thread below
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)


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


def metadata(result: Result) -> dict[str, Any]:
    """What `--metadata-file` holds."""
    found: dict[str, Any] = {"containerimage.config.digest": result.id, "containerimage.digest": result.id}
    if result.tags:
        found["image.name"] = ",".join(str(parse_reference(tag)) for tag in result.tags)
    return found


async def write_about(result: Result, *, id_file: Path | None, metadata_file: Path | None) -> None:
    """`--iidfile` and `--metadata-file`."""

    def work() -> None:
        if id_file is not None:
            id_file.write_text(result.id)
        if metadata_file is not None:
            metadata_file.write_text(json.dumps(metadata(result), indent=2) + "\n")

    try:
        await asyncio.to_thread(work)
    except OSError as error:
        raise BuildError(f"cannot write {error.filename}: {error.strerror}") from error
