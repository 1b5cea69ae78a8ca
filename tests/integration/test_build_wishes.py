"""What Wherry's own clients can ask of a build beyond Docker's API: secrets, contexts, outputs, checks; and prune."""

import asyncio
import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from own_docker import Pair

from wherry.docker_api.build_request import CONTENT_TYPE, frame
from wherry.docker_api.client import DockerClient

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

DOCKERFILE = """\
FROM basis AS one
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN \\
    (tr a-z A-Z < /run/secrets/file; echo "$TOKEN-") > /told
COPY --from=files part /part
FROM one AS two
RUN date +%s%N > /when
CMD cat /told
"""
SECRET, VARIABLE = "swordfish", "opensesame"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in ("context", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "other" / "part").write_text("part of it")
    (tmp_path / "other" / "hidden").write_text("x")
    (tmp_path / "other" / ".dockerignore").write_text("hidden\n")
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path / "context"


@pytest.fixture
def wishes(pair: Pair, context: Path) -> list[str]:
    pair.env["WHERRY_TEST_TOKEN"] = VARIABLE
    place = context.parent
    return [
        f"--secret=id=file,src={place}/secret", "--secret=id=variable,env=WHERRY_TEST_TOKEN",
        "--build-context=basis=docker-image://busybox", f"--build-context=files={place}/other",
    ]  # fmt: skip


async def test_secrets_and_contexts_reach_the_build_and_nothing_else(
    pair: Pair, wherry_engine: "Engine", context: Path, wishes: list[str]
) -> None:
    place = context.parent
    files = [f"--iidfile={place}/id", f"--metadata-file={place}/about.json"]
    built = await pair.ours("build", "--progress=plain", "-t", "told:1", *files, *wishes, str(context))
    assert built.code == 0, built
    assert (await pair.ours("run", "--rm", "told:1")).out == f"{SECRET.upper()}{VARIABLE}-\n"
    listed = await pair.ours("run", "--rm", "told:1", "sh", "-c", "cat /part; ls /run")
    assert listed.out.startswith("part of it")
    assert "secrets" not in listed.out
    image = (place / "id").read_text()
    about = json.loads((place / "about.json").read_text())
    assert (about["containerimage.config.digest"], about["image.name"]) == (image, "docker.io/library/told:1")
    inspected = json.loads((await pair.ours("image", "inspect", "told:1")).out)[0]
    assert inspected["Id"] == image
    told = built.err + json.dumps(inspected) + (await pair.ours("history", "--no-trunc", "told:1")).out
    assert SECRET not in told and VARIABLE not in told
    # Nor on the disk, but in the file that the image was made to keep (in capitals), nor in the runtime directory.
    kept = [wherry_engine.instance.root / "build", wherry_engine.instance.run]
    files_left = [path for top in kept for path in top.rglob("*") if path.is_file() and path.stat().st_size]
    found = [path for path in files_left if SECRET.encode() in path.read_bytes()]
    assert not found
    warned = "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 7)"
    assert built.err.endswith(f"\n 1 warning found (use docker --debug to expand):\n - JSONArgsRecommended: {warned}\n")


async def test_the_cache_of_one_stage_is_left_out(pair: Pair, context: Path, wishes: list[str]) -> None:
    for option, cached in (("--pull=false", ""), ("--no-cache-filter=two", "one"), ("--target=two", "one two")):
        built = await pair.ours("build", "--progress=plain", option, *wishes, str(context))
        assert built.code == 0, built
        assert re.search(r"\[one 2/3\] RUN.*\n(#\d+ \d.*\n)*#\d+ CACHED", built.err) is not None or "one" not in cached
        again = re.search(r"\[two 2/2\] RUN.*\n#\d+ CACHED", built.err) is not None
        assert again == ("two" in cached), built.err


async def test_outputs_come_back_and_are_this_users(pair: Pair, context: Path, wishes: list[str]) -> None:
    place = context.parent
    built = await pair.ours(
        "build", "-t", "out:1", f"--output={place}/folder", f"-otype=tar,dest={place}/root.tar",
        f"-otype=oci,dest={place}/oci.tar", *wishes, str(context),
    )  # fmt: skip
    assert built.code == 0, built
    assert "exporting to oci image format" in built.err
    assert (place / "folder" / "part").read_text() == "part of it"
    assert (place / "folder" / "bin" / "busybox").exists()
    with tarfile.open(place / "root.tar") as archive:
        assert archive.extractfile("told").read().decode() == f"{SECRET.upper()}{VARIABLE}-\n"  # type: ignore[union-attr]
    # Only for the outputs: the store has no such image until the archive is loaded.
    assert (await pair.ours("images", "-q", "out")).out == ""
    assert (await pair.ours("load", "-i", str(place / "oci.tar"))).out == "Loaded image: out:1\n"
    streamed = await pair.ours("build", "-q", "-o", "-", *wishes, str(context))
    assert streamed.code == 0 and len(streamed.out) > 1 << 20
    assert streamed.out.endswith("\0" * 1024)
    (context / "Dockerfile").write_text("FROM nowhere.invalid/x\n")
    failed = await pair.ours("build", f"-otype=tar,dest={place}/never.tar", str(context))
    assert failed.code == 1
    assert not list(place.glob("never*"))
    for output, words in (
        (f"type=tar,dest={place}", "is a directory"),
        ("type=registry,dest=x", "type=registry has no option dest"),
        ("type=local", "dest is required for local exporter"),
        ("type=cacheonly", "is not supported: the types are local, tar, oci, docker, image, registry"),
    ):
        refused = await pair.ours("build", "-o", output, str(context))
        assert refused.code == 1 and words in refused.err, refused


async def test_one_time_gives_one_image(pair: Pair, tmp_path: Path) -> None:
    # What the command writes has another date in every build.
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/n; mkdir /d; ln -s x /d/l; echo x > /d/made; "
        "touch -d @$((1700000000 + 60 * $(wc -l < /c/n))) /d/made /d\nCOPY . /d/copied/\n"
    )
    pair.env["SOURCE_DATE_EPOCH"] = "1000000000"
    ours = [await pair.ours("build", "-q", "--no-cache", str(tmp_path)) for _ in range(2)]
    assert ours[0].code == 0 and ours[0].out == ours[1].out
    argument = "--build-arg=SOURCE_DATE_EPOCH=1000000000"
    real = await pair.real("build", "-q", "--no-cache", argument, str(tmp_path))
    assert real.out == ours[0].out


async def test_check_only_says_what_it_finds(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nEXPOSE 80/TCP\nENV API_TOKEN=x\nCMD echo hi\n")
    before = (await pair.ours("images", "-qa")).out
    checked = await pair.ours("build", "--check", str(tmp_path))
    assert checked.code == 1
    assert checked.out.startswith("Check complete, 3 warnings have been found!\n")
    page = "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"
    assert f"\nWARNING: ExposeProtoCasing - {page}\nDefined protocol '80/TCP' in EXPOSE" in checked.out
    assert "   3 | >>> ENV API_TOKEN=x" in checked.out
    assert (await pair.ours("images", "-qa")).out == before
    (tmp_path / "Dockerfile").write_text('FROM busybox\nCMD ["true"]\n')
    fine = await pair.ours("build", "--check", str(tmp_path))
    assert (fine.code, fine.out) == (0, "Check complete, no warnings found.\n")


def parcel(head: bytes, *more: bytes) -> bytes:
    return frame(0, head) + frame(0, b"") + b"".join(more)


BROKEN = [
    (b"", "ends before its stream 0 does"),
    (frame(0, b"{"), "ends before its stream 0 does"),
    (parcel(b"{swordfish"), "the head of the build request is no JSON"),
    (parcel(b'{"secrets": 5}'), "cannot unmarshal number"),
    (parcel(b'{"secrets": {"a": "?"}}'), "invalid secret a: it is no base64"),
    (parcel(b'{"outputs": ["local"]}'), "unsupported output type 'local'"),
    (parcel(b'{"contexts": {"a": "/etc"}}'), "invalid named context a: /etc"),
    (parcel(b"{}", frame(2, b"x")), "has a frame of stream 2 in stream 1"),
    (parcel(b"{}", frame(1, b"x" * 600)[:300]), "ends before its stream 1 does"),
]


async def test_a_broken_request_is_refused(pair: Pair) -> None:
    def answer(body: bytes) -> tuple[int, str]:
        client = DockerClient(pair.real.host)
        answer = client.request("POST", "/build", data=body, headers={"Content-Type": CONTENT_TYPE})
        return answer.status, answer.read().decode()

    for body, words in BROKEN:
        status, said = await asyncio.to_thread(answer, body)
        assert (status, words in said, SECRET in said) == (400, True, False), (body, said)


CACHED = """\
FROM busybox
RUN --mount=type=cache,target=/cache echo x >> /cache/file; cp /cache/file /copy
RUN head -c 1000000 /dev/urandom > /big
ENV A=B
"""


async def test_the_build_cache_is_listed_and_pruned(pair: Pair, wherry_engine: "Engine", tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(CACHED)
    real, client = pair.real, DockerClient(pair.real.host)

    async def records(kind: str) -> list[dict[str, object]]:
        usage = await asyncio.to_thread(client.get, "/system/df")
        return [record for record in usage["BuildCache"] if record["Type"] == kind]

    async def hits() -> int:
        return (await real("build", "-t", "cached", str(tmp_path))).out.count("Using cache")

    assert await hits() == 0
    assert await hits() == 3
    assert len(await records("regular")) == 2
    (mount,) = await records("exec.cachemount")
    assert mount["Description"] == "cached mount /cache"
    await real("build", "-q", "--no-cache", "-t", "cached", str(tmp_path))
    assert (await real("run", "--rm", "cached", "cat", "/copy")).out == "x\nx\n"
    await real("image", "prune", "-f")
    await real("builder", "prune", "-f", "--filter", "until=1h")
    await real("builder", "prune", "-f", "--filter", "type=source.local")
    await real("builder", "prune", "-f", "--filter", "label=x=y")
    assert len(await records("regular")) == 3 and await records("exec.cachemount")
    # What an image holds too stays, without --all.
    await real("builder", "prune", "-f", "--filter", "type=regular")
    assert len(await records("regular")) == 2
    assert await hits() == 3
    await real("rmi", "cached")
    await real("builder", "prune", "-f", "--keep-storage", "2GB")
    assert await hits() == 3
    await real("rmi", "cached")
    await real("builder", "prune", "-f", "--keep-storage", "10kB")
    assert [record["Size"] for record in await records("regular") if record["Size"] == 1000000] == []
    pruned = await real("builder", "prune", "-af")
    assert str(mount["ID"])[:12] in pruned.out or not await records("exec.cachemount")
    assert await records("regular") == [] and await records("exec.cachemount") == []
    assert await hits() == 0
    await real("rmi", "cached")
    gc = {"builder": {"gc": {"defaultKeepStorage": "10kB"}}}
    (wherry_engine.instance.root / "daemon.json").write_text(json.dumps(gc))
    await real("build", "-q", "--build-arg", "B=c", "--label", "new=1", str(tmp_path))
    await real("image", "prune", "-f")
    assert await hits() == 3, "a cached build leaves the cache alone"
    await real("rmi", "cached")
    await real("build", "-q", "-", stdin=b"FROM busybox\nRUN echo x > /other\n")
    assert 1000000 not in [record["Size"] for record in await records("regular")]
    for wrong in ("foo=bar", "until=soon"):
        assert "invalid filter" in (await real("builder", "prune", "-f", "--filter", wrong, fails=True)).err


async def test_images_are_pruned_by_age_label_and_name(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("ARG n\nFROM busybox\nARG n\nLABEL keep=$n\nRUN echo $n > /n\n")
    real = pair.real

    async def build(n: str, *more: str) -> str:
        return (await real("build", "-q", "--build-arg", f"n={n}", *more, str(tmp_path))).out.strip()

    named, yes, no = await build("named", "-t", "named"), await build("yes"), await build("no")

    async def left() -> set[str]:
        return set((await real("images", "-aq", "--no-trunc")).out.split()) & {named, yes, no}

    assert await left() == {named, yes, no}
    await real("image", "prune", "-f", "--filter", "until=24h")
    await real("image", "prune", "-f", "--filter", "label=other")
    assert await left() == {named, yes, no}
    pruned = await real("image", "prune", "-f", "--filter", "label!=keep=yes")
    assert f"deleted: {no}" in pruned.out
    assert await left() == {named, yes}
    await real("image", "prune", "-f", "--filter", "label=keep=yes", "--filter", "until=1s")
    dangling = (await real("images", "-q", "--no-trunc", "--filter", "dangling=true")).out.split()
    assert named not in dangling
    await real("image", "prune", "-f")
    assert await left() == {named}
    await real("create", "--name", "user", "named")
    await real("image", "prune", "-af")
    assert await left() == {named}
    await real("rm", "user")
    await real("image", "prune", "-af", "--filter", "label=keep")
    assert await left() == set()
    assert "invalid filter 'foo'" in (await real("image", "prune", "-f", "--filter", "foo=x", fails=True)).err
    assert (
        "invalid filter 'until=[soon]'"
        in (await real("image", "prune", "-f", "--filter", "until=soon", fails=True)).err
    )


async def test_search_says_why_not(pair: Pair) -> None:
    assert "searching Docker Hub is not supported by this engine" in (await pair.real("search", "x", fails=True)).err
