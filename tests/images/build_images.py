"""Stand-ins for images of public registries, built by Wherry's own builder on the bases of make_images.py.

    build_images.py [NAME ...]     builds what is missing and prints the path of each archive; needs root

Each NAME is a directory here with a Dockerfile. The archives lie beside those of make_images.py and are made
anew when the Dockerfile, what it copies or its base has changed. They are compressed (zstd): `docker load` and
`ImageStore.load` of Wherry read them as they are, and a dockerd that cannot gets them through `zstd -d`.
"""

import argparse
import asyncio
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import zstandard
from make_images import cache_directory, locked, make

from wherry.build.builder import build
from wherry.build.options import BuildOptions
from wherry.engine.engine import Engine
from wherry.host import leftovers
from wherry.host.instance import Instance, open_instance

HERE = Path(__file__).resolve().parent

Variant = tuple[list[str], dict[str, str | None]]
"""Tags, and the build arguments that make what they name."""

VARIANTS: dict[str, list[Variant]] = {
    "python": [(["python:3.9-slim", "python:3.11-slim", "python:latest"], {})],
    "golang": [(["golang:1.19", "golang:latest"], {})],
    "alpine": [(["alpine:latest", "alpine:3.18"], {})],
    "nginx": [
        (["nginx:1.21"], {"NGINX_VERSION": "1.21.6"}),
        (["nginx:1.22", "nginx:latest"], {"NGINX_VERSION": "1.22.1"}),
    ],
    "postgres": [(["postgres:13", "postgres:latest"], {})],
    "mongo": [(["mongo:5.0"], {})],
    "fluentd": [(["fluentd:v1.14"], {})],
    "mybackend": [(["mybackend:1.0"], {})],
    "myfrontend": [(["myfrontend:1.0"], {})],
}


def fingerprint(name: str, bases: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted((HERE / name).rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    digest.update(repr(VARIANTS[name]).encode())
    for base in bases:
        found = base.stat()
        digest.update(f"{base.name} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


async def build_one(name: str, bases: list[Path], instance: Instance, target: Path) -> None:
    """Build on an instance of its own and save."""
    engine = await Engine.open(instance)
    try:
        for base in bases:
            await engine.images.load(base)

        def show(message: dict[str, Any]) -> None:
            sys.stderr.write(str(message.get("stream") or ""))

        for tags, arguments in VARIANTS[name]:
            await build(engine, BuildOptions(tags=tags, args=arguments), HERE / name, show)
        names = [tag for tags, _ in VARIANTS[name] for tag in tags]
        compressor = zstandard.ZstdCompressor(level=5, threads=2)
        with open(target, "wb") as archive, compressor.stream_writer(archive) as file:  # noqa: ASYNC230 - the only task
            async for chunk in engine.images.save(names):
                file.write(chunk)
    finally:
        await engine.close()


def ensure(name: str) -> Path:
    """The archive of stand-in `name`, built now if it is missing or out of date."""
    bases = [make("busybox"), make("debian")]
    cache = cache_directory()
    with locked(cache / f"{name}.lock"):
        target = cache / f"{name}-{fingerprint(name, bases)}.tar.zst"
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix="wh-img-") as directory:
                instance = open_instance(Path(directory) / "root", Path(directory) / "run")
                temporary = target.with_suffix(".tmp")
                try:
                    asyncio.run(build_one(name, bases, instance, temporary))
                finally:
                    leftovers.purge(instance)
                os.replace(temporary, target)
            for old in cache.glob(f"{name}-*.tar*"):
                if old != target:
                    old.unlink()
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    for name in parser.parse_args().names:
        print(ensure(name), flush=True)


if __name__ == "__main__":
    main()
