"""The Dockerfile corpus, built by Wherry: every case gives what it says."""

import asyncio
import http.server
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from dockerfile_cases import Outcome, cases, complaints, lay_out, tree_of_directory, write_files
from stand_ins import base

from wherry.build.builder import build
from wherry.build.errors import BuildError
from wherry.build.options import BuildOptions
from wherry.engine.engine import Engine
from wherry.engine.errors import EngineError
from wherry.host import leftovers
from wherry.images.errors import ImageError
from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def served(files: dict[str, Any] | None, directory: Path) -> Iterator[dict[str, str | None]]:
    """A web server on this machine with these files: the build argument that says where."""
    if not files:
        yield {}
        return
    directory.mkdir()
    write_files(files, directory)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: _Files(*arguments, directory=str(directory))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {"URL": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def outcome_of(engine: Engine, case: dict[str, Any], directory: Path) -> Outcome:
    """Build the case; what came of it."""
    lay_out(case, directory / "context")
    for name, text in (case.get("bases") or {}).items():
        place = directory / f"base-{name}"
        lay_out({"dockerfile": text}, place)
        await build(engine, BuildOptions(tags=[name]), place, lambda message: None)
    said: list[str] = []
    with served(case.get("serve"), directory / "served") as arguments:
        options = BuildOptions(
            args={**(case.get("args") or {}), **arguments},
            labels=case.get("labels") or {},
            target=case.get("target") or "",
            no_cache=True,
            secrets={name: text.encode() for name, text in (case.get("secrets") or {}).items()},
        )
        try:
            image_id = await build(
                engine, options, directory / "context", lambda message: said.append(str(message.get("stream")))
            )
        except (BuildError, ImageError, EngineError) as error:
            return Outcome(error=error.message, line=getattr(error, "line", 0))
    image = engine.images.resolve(image_id)
    key = f"case-{secrets.token_hex(8)}"
    target = directory / "mounted"
    target.mkdir()
    snapshots = engine.images.snapshots

    def look() -> dict[str, dict[str, Any]]:
        snapshots.prepare(key, image.chain_id, init=False)
        snapshots.mount(key, target)
        try:
            return tree_of_directory(target)
        finally:
            snapshots.unmount(target)
            snapshots.remove(key)

    tree = await asyncio.to_thread(look)
    config = image.config
    busybox = engine.images.resolve("busybox").diff_ids
    under = len(busybox) if image.diff_ids[: len(busybox)] == busybox else 0
    steps = [step.get("created_by", "") for step in config.get("history") or []]
    return Outcome(
        config=config.get("config") or {},
        author=config.get("author") or "",
        layers=len(image.diff_ids) - under,
        history=steps[under:],
        tree=tree,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(wherry_instances: TestInstances) -> AsyncIterator[Engine]:
    """One engine for the whole corpus: no case needs a cache of its own."""
    instance = wherry_instances.make()
    opened = await Engine.open(instance)
    await opened.images.load(await asyncio.to_thread(base, "busybox"))
    yield opened
    await opened.close()
    leftovers.purge(instance)
    wherry_instances.made.remove(instance)
    wherry_instances.discard(instance)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case["name"]))
async def test_a_dockerfile_gives_what_it_says(engine: Engine, tmp_path: Path, case: dict[str, Any]) -> None:
    outcome = await outcome_of(engine, case, tmp_path)
    shutil.rmtree(tmp_path / "context")
    assert not complaints(case, outcome)


def test_the_corpus_is_large_enough() -> None:
    assert len(cases()) >= 100
