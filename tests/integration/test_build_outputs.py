"""What a build gives besides the image: files, archives, checks, the same bytes for the same time."""

import asyncio
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from stand_ins import base

from wherry.build.builder import Builder, build
from wherry.build.errors import BuildError, InvalidOptions
from wherry.build.options import BuildOptions
from wherry.build.outputs import Output, parse_output
from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

DOCKERFILE = """\
FROM busybox
COPY --chown=3:4 --chmod=640 file /kept/file
RUN ln -s file /kept/link && rm -r /var/spool
CMD cat /kept/file
"""


@pytest_asyncio.fixture
async def engine(wherry_engine: Engine) -> Engine:
    await wherry_engine.images.load(await asyncio.to_thread(base, "busybox"))
    return wherry_engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "Dockerfile").write_text(DOCKERFILE)
    (path / "file").write_text("content")
    return path


def quiet(message: dict[str, Any]) -> None:
    return None


async def test_the_result_as_files_and_as_archives(engine: Engine, context: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outputs = [f"type=local,dest={out}", f"type=tar,dest={tmp_path}/root.tar", f"type=oci,dest={tmp_path}/oci.tar"]
    options = BuildOptions(
        tags=["made:1"],
        outputs=[parse_output(text) for text in outputs],
        id_file=tmp_path / "id",
        metadata_file=tmp_path / "metadata.json",
    )
    image_id = await build(engine, options, context, quiet)
    assert (out / "kept/file").read_text() == "content"
    assert (out / "kept/file").stat().st_uid == 3
    assert (out / "kept/file").stat().st_mode & 0o777 == 0o640
    assert (out / "kept/link").readlink() == Path("file")
    assert not (out / "var/spool").exists()
    with tarfile.open(tmp_path / "root.tar") as archive:
        member = archive.getmember("kept/file")
        assert (member.uid, member.gid, member.mode) == (3, 4, 0o640)
        assert "proc/self" not in archive.getnames()
    assert (tmp_path / "id").read_text() == image_id
    told = json.loads((tmp_path / "metadata.json").read_text())
    assert told["containerimage.config.digest"] == image_id
    assert told["image.name"] == "docker.io/library/made:1"
    await engine.images.remove("made:1", force=True)
    loaded = await engine.images.load(tmp_path / "oci.tar")
    assert [image.id for image in loaded] == [image_id]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "context", "id", "metadata.json", "oci.tar", "out", "root.tar",
    ]  # fmt: skip


async def test_an_output_that_cannot_be_written_says_why(engine: Engine, context: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for text in (f"type=local,dest={tmp_path}/file/below", f"type=tar,dest={tmp_path}/none/x", "type=oci,dest=/"):
        with pytest.raises(BuildError, match="cannot write the output"):
            await build(engine, BuildOptions(outputs=[parse_output(text)]), context, quiet)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("out", Output("local", Path("out"))),
        ("type=local,dest=out", Output("local", Path("out"))),
        ("type=docker", Output("docker", None)),
        ('type=tar,"dest=a,b"', Output("tar", Path("a,b"))),
    ],
)
def test_outputs_are_read(text: str, expected: Output) -> None:
    assert parse_output(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a destination"),
        ("dest=x", "type is required for output"),
        ("type=registry", "unsupported output type 'registry'"),
        ("type=local", "dest is required for local output"),
        ("type=tar,dest=x,push=true", "unsupported output option 'push'"),
        ("type=local,x", "invalid value x"),
    ],
)
def test_outputs_that_are_none_are_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidOptions, match=words):
        parse_output(text)


async def test_one_time_gives_one_image(engine: Engine, context: Path) -> None:
    options = BuildOptions(epoch=1_000_000_000, no_cache=True)
    first = await build(engine, options, context, quiet)
    await asyncio.to_thread((context / "file").touch)
    second = await build(engine, options, context, quiet)
    config = engine.images.resolve(first).config
    assert config["created"].startswith("2001-09-09T01:46:40")
    assert engine.images.resolve(second).config == config
    assert first == second


async def test_named_contexts_stand_in_for_images_and_directories(engine: Engine, tmp_path: Path) -> None:
    for name in ("context", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "file").write_text("other")
    (tmp_path / "context" / "Dockerfile").write_text(
        "FROM alias\nCOPY --from=files file /a\nRUN --mount=from=files,target=/m cp /m/file /b\n"
    )
    contexts = {"alias": "docker-image://busybox", "files": str(tmp_path / "other")}
    output = Output("local", tmp_path / "out")
    await build(engine, BuildOptions(contexts=contexts, outputs=[output]), tmp_path / "context", quiet)
    assert (tmp_path / "out/a").read_text() == (tmp_path / "out/b").read_text() == "other"


async def test_checks_are_told_and_can_be_asked_for_alone(engine: Engine, context: Path) -> None:
    said: list[str] = []
    await build(engine, BuildOptions(), context, lambda message: said.append(str(message.get("stream"))))
    wanted = (
        "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals "
        "(line 4)"
    )
    assert f"[Warning] {wanted}\n" in said
    before = len(engine.images.list())
    builder = await Builder.of(engine)
    assert [str(warning) for warning in await builder.check(BuildOptions(), context)] == [wanted]
    assert len(engine.images.list()) == before


async def test_the_cache_keeps_its_layers_when_images_are_pruned(engine: Engine, context: Path) -> None:
    image_id = await build(engine, BuildOptions(tags=["made"]), context, quiet)
    await engine.images.prune({"dangling": ["false"]})
    assert engine.images.find("made") is None
    await engine.images.load(await asyncio.to_thread(base, "busybox"))
    said: list[str] = []
    again = await build(engine, BuildOptions(), context, lambda message: said.append(str(message.get("stream"))))
    assert again == image_id
    assert said.count(" ---> Using cache\n") == 3
