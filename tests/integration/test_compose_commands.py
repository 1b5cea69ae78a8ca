"""Every command of `wherry compose` on a running project: what it prints in each form, what it does, how it ends."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import registries
from compose_project import SLEEPER, Compose, engine_with_busybox, project_in
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

if TYPE_CHECKING:
    from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def engine(wherry_instances: "TestInstances") -> Iterator[RunningWherry]:
    yield from engine_with_busybox(wherry_instances)


@pytest.fixture
def compose(engine: RunningWherry, tmp_path: Path) -> Iterator[Compose]:
    yield from project_in(engine, tmp_path)


@pytest.fixture
def running(compose: Compose) -> Compose:
    """Two services, one of which publishes a port and has a volume, and one with two containers."""
    compose.write(
        f"services:\n  web: {{{SLEEPER}, ports: ['127.0.0.1::80', '5353/udp'], volumes: ['data:/data'],\n"
        "    depends_on: [db]}\n"
        f"  db: {{{SLEEPER}, scale: 2}}\nvolumes: {{data: }}\n"
    )
    compose("up", "-d")
    return compose


def rows(text: str) -> list[list[str]]:
    """A table's cells."""
    return [re.split(r" {2,}", line) for line in text.splitlines()]


def test_listing(running: Compose) -> None:
    table = rows(running("ps").out)
    assert table[0] == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert [row[0] for row in table[1:]] == ["shop-db-1", "shop-db-2", "shop-web-1"]
    assert table[3][1:4] == ["busybox", '"sleep 1000"', "web"]
    web = running.ps()["shop-web-1"]
    published = {one["TargetPort"]: one for one in web["Publishers"]}
    assert published[80]["URL"] == "127.0.0.1"
    assert published[80]["Protocol"] == "tcp"
    assert web["State"] == "running"
    assert len(web["ID"]) == 12
    identities = running("ps", "-q").out.split()
    assert {len(one) for one in identities} == {64}
    assert len(identities) == 3
    assert running("ps", "-q", "web").out.startswith(web["ID"])
    assert running("ps", "--services").out.split() == ["db", "web"]
    assert running("ps", "--format", "{{.Name}}={{.State}}", "web").out == "shop-web-1=running\n"
    assert rows(running("ps", "--format", "table {{.Service}}\t{{.Health}}", "web").out)[0] == ["SERVICE", "HEALTH"]
    assert "no such service: nobody" in running("ps", "nobody", fails=True).err

    assert running("port", "web", "80").out == f"127.0.0.1:{published[80]['PublishedPort']}\n"
    assert running("port", "--protocol", "udp", "web", "5353").out.startswith("0.0.0.0:")
    assert "no port 81/tcp for container shop-web-1" in running("port", "web", "81", fails=True).err

    mine = ["shop", "running(3)", str(running.folder / "compose.yaml")]
    assert rows(running("ls").out)[0] == ["NAME", "STATUS", "CONFIG FILES"]
    assert mine in rows(running("ls").out)
    assert {"Name": "shop", "Status": "running(3)", "ConfigFiles": mine[2]} in json.loads(
        running("ls", "--format", "json").out
    )
    assert running("ls", "-q", "--filter", "name=shop").out == "shop\n"

    table = rows(running("images").out)
    assert table[0] == ["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"]
    assert table[1][:3] == ["shop-db-1", "busybox", "latest"]
    assert {one["ContainerName"] for one in json.loads(running("images", "--format", "json").out)} == {
        "shop-db-1", "shop-db-2", "shop-web-1",
    }  # fmt: skip
    assert len(running("images", "-q").out.split()) == 1

    assert rows(running("volumes").out) == [["DRIVER", "VOLUME NAME"], ["local", "shop_data"]]
    assert running("volumes", "-q", "db").out == ""
    assert json.loads(running("volumes", "--format", "json").out)["Name"] == "shop_data"

    table = rows(running("top", "web").out)
    assert table[0][:2] == ["SERVICE", "#"]
    assert {row[0] for row in table[1:]} == {"web"}
    table = rows(running("stats", "--no-stream").out)
    assert table[0] == ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    assert [row[1] for row in table[1:]] == ["shop-db-1", "shop-db-2", "shop-web-1"]
    assert json.loads(running("stats", "--no-stream", "--format", "json", "web").out)["Name"] == "shop-web-1"


def test_stopping_and_starting(running: Compose) -> None:
    def states() -> dict[str, str]:
        return {name: one["State"] for name, one in running.ps().items()}

    events = running.spawn("events", "--json", "db")
    assert events.stdout is not None
    try:
        wait_until(lambda: connected(events), "events has subscribed")
        err = running("pause", "db").err
        assert " Container shop-db-1  Paused\n" in err
        assert states() == {"shop-db-1": "paused", "shop-db-2": "paused", "shop-web-1": "running"}
        told = [json.loads(events.stdout.readline()) for _ in range(2)]
        assert {(one["service"], one["action"], one["type"]) for one in told} == {("db", "pause", "container")}
        assert {one["attributes"]["name"] for one in told} == {"shop-db-1", "shop-db-2"}
    finally:
        events.terminate()
        events.communicate(timeout=30)
    running("unpause")
    assert set(states().values()) == {"running"}
    assert " Container shop-db-2  Killed\n" in running("kill", "db").err
    assert states() == {"shop-db-1": "exited", "shop-db-2": "exited", "shop-web-1": "running"}
    assert running("ps", "--status", "exited", "--services").out == "db\n"
    err = running("start").err
    assert " Container shop-db-1  Started\n" in err
    before = running.inspect("shop-web-1")["State"]["StartedAt"]
    running("restart", "-t", "0", "web")
    assert running.inspect("shop-web-1")["State"]["StartedAt"] != before
    assert " Container shop-web-1  Stopped\n" in running("stop", "-t", "0").err
    assert set(states().values()) == {"exited"}
    assert "No stopped containers" not in running("rm", "-f", "db").err
    assert set(states()) == {"shop-web-1"}
    assert 'service "db" has no container to start' in running("start", "db", fails=True).err
    running("create")
    assert states() == {"shop-db-1": "created", "shop-db-2": "created", "shop-web-1": "exited"}
    assert 'service "web" is not running' in running("exec", "-T", "web", "true", fails=True).err


def connected(process: "subprocess.Popen[str]") -> bool:
    """Whether a command holds its connection to the engine: a socket among its descriptors."""
    folder = f"/proc/{process.pid}/fd"
    return any(os.readlink(f"{folder}/{one}").startswith("socket:") for one in os.listdir(folder))


def test_waiting_for_the_end(compose: Compose) -> None:
    compose.write(
        "services:\n  job: {image: busybox, command: sh -c 'read x; exit 3', stdin_open: true}\n"
        f"  other: {{{SLEEPER}}}\n"
    )
    compose("up", "-d")
    waiting = compose.spawn("wait", "job")
    wait_until(lambda: connected(waiting), "wait has begun")
    compose.running.run("sh", "-c", "echo | docker attach --sig-proxy=false shop-job-1")
    out, err = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (3, "3\n"), err
    compose("wait", "--down-project", "job", fails=True)
    assert compose.left("shop") == []


def test_copies_in_all_directions(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, scale: 2}}\n")
    compose("up", "-d")
    source = compose.folder / "dir"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("content")
    os.chown(source / "sub" / "file", 12, 34)
    compose("cp", "dir", "a:/copied")
    for number in ("1", "2"):
        assert compose("exec", "-T", "--index", number, "a", "cat", "/copied/sub/file").out == "content"
    compose("cp", "-a", "--index", "2", "dir", "a:/owned")
    assert compose("exec", "-T", "--index", "2", "a", "stat", "-c", "%u:%g", "/owned/sub/file").out == "0:0\n"
    compose("exec", "-T", "--index", "1", "a", "test", "-e", "/owned", fails=True)
    compose("cp", "a:/copied/.", "back")
    assert (compose.folder / "back" / "sub" / "file").read_text() == "content"
    assert "copied/sub/file" in compose("cp", "a:/copied", "-").out
    compose("exec", "-T", "a", "ln", "-s", "/copied/sub/file", "/link")
    compose("cp", "-L", "a:/link", "followed")
    assert (compose.folder / "followed").read_text() == "content"
    assert "copying between services is not supported" in compose("cp", "a:/x", "a:/y", fails=True).err
    assert "unknown copy direction" in compose("cp", "x", "y", fails=True).err


def test_the_foreground_chooses_what_it_shows(compose: Compose) -> None:
    compose.write(
        "services:\n  a: {image: busybox, command: echo from-a}\n  b: {image: busybox, command: echo from-b}\n"
        "  quiet: {image: busybox, command: echo from-quiet, attach: false}\n"
        "  bad: {image: busybox, command: sh -c 'echo from-bad; exit 9', profiles: [bad]}\n"
        f"  long: {{{SLEEPER}, profiles: [bad]}}\n"
    )
    out = compose("up").out
    assert "from-a" in out
    assert "from-b" in out
    assert "from-quiet" not in out
    assert "from-b" not in compose("up", "--no-attach", "b", "--force-recreate").out
    shown = compose("up", "--attach", "b", "--force-recreate").out
    assert "from-b" in shown
    assert "from-a" not in shown
    assert "from-a\n" in re.split(r"(?m)^", compose("up", "--no-log-prefix", "--force-recreate").out)
    stamped = compose("up", "--timestamps", "--force-recreate", "a").out
    assert re.search(r"(?m)^a-1  \| \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z from-a$", stamped)
    ended = compose("--profile", "bad", "up", "--abort-on-container-failure", "long", "bad", fails=True)
    assert ended.code == 9
    assert "Aborting on container exit..." in ended.out
    assert compose("--profile", "bad", "up", "--abort-on-container-exit", "long", "bad", fails=True).code == 9
    assert compose.ps()["shop-long-1"]["State"] == "exited"
    assert "no such service: nobody" in compose("up", "--exit-code-from", "nobody", fails=True).err


def test_waiting_has_its_limit(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, healthcheck: {{test: 'false', interval: 1h, start_period: 1h}}}}\n")
    assert "application not healthy after 1s" in compose("up", "--wait", "--wait-timeout", "1", fails=True).err


def test_logs_are_chosen_and_marked(compose: Compose) -> None:
    compose.write(
        "services:\n  a: {image: busybox, command: sh -c 'for i in 1 2 3; do echo a$$i; done'}\n"
        "  b: {image: busybox, command: sh -c 'echo b1 >&2'}\n"
    )
    compose("up")
    assert compose("logs").out == "a-1  | a1\na-1  | a2\na-1  | a3\nb-1  | b1\n"
    assert compose("logs", "-n", "1").out == "a-1  | a3\nb-1  | b1\n"
    assert compose("logs", "--no-log-prefix", "a").out == "a1\na2\na3\n"
    assert re.fullmatch(r"b-1  \| \d{4}-\S+Z b1\n", compose("logs", "-t", "b").out)
    assert compose("logs", "-f", "b").out == "b-1  | b1\n"
    assert compose("logs", "--since", "2099-01-01").out == ""
    assert compose("--ansi", "always", "logs", "b").out.startswith("\x1b[")


def test_configuration_in_every_form(compose: Compose) -> None:
    compose.write(
        "services:\n"
        "  web: {image: 'busybox:${TAG:-latest}', command: 'echo ${WORD}', ports: ['${PORT:-8080}:80'],\n"
        "    profiles: [p], volumes: ['./site:/site', 'data:/data'], env_file: web.env,\n"
        "    depends_on: [db], networks: [front]}\n"
        "  db: {image: busybox, environment: {NEEDED: '${NEEDED:?must be given}'}}\n"
        "networks: {front: }\nvolumes: {data: , unused: }\n"
    )
    (compose.folder / "web.env").write_text("FROM_FILE=1\n")
    (compose.folder / ".env").write_text("NEEDED=yes\nWORD=hello\n")
    whole = json.loads(compose("--profile", "p", "config", "--format", "json").out)
    assert whole["services"]["web"]["command"] == ["echo", "hello"]
    assert whole["services"]["web"]["environment"] == {"FROM_FILE": "1"}
    assert whole["services"]["web"]["volumes"][0]["source"] == str(compose.folder / "site")
    assert whole["networks"]["front"] == {"name": "shop_front"}
    assert set(whole["volumes"]) == {"data"}
    assert compose("config", "--services").out == "db\n"
    assert sorted(compose("--profile", "p", "config", "--services").out.split()) == ["db", "web"]
    assert compose("config", "--profiles").out == "p\n"
    assert compose("config", "--volumes").out.split() == ["data", "unused"]
    assert "front" in compose("config", "--networks").out.split()
    assert compose("--profile", "p", "config", "--images").out.split() == ["busybox", "busybox:latest"]
    assert "NEEDED=yes" in compose("config", "--environment").out.splitlines()
    hashes = compose("--profile", "p", "config", "--hash", "*").out.splitlines()
    assert [re.sub(r"[0-9a-f]{64}$", "HASH", line) for line in hashes] == ["db HASH", "web HASH"]
    assert compose("config", "-q").out == ""
    assert rows(compose("config", "--variables").out) == [
        ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"],
        ["NEEDED", "true"],
        ["PORT", "false", "8080"],
        ["TAG", "false", "latest"],
        ["WORD", "false"],
    ]
    raw = compose("--profile", "p", "config", "--no-interpolate").out
    assert "busybox:${TAG:-latest}" in raw
    assert "- ${PORT:-8080}:80" in raw
    assert "source: ./site" in compose("--profile", "p", "config", "--no-path-resolution").out
    assert "shop_front" not in compose("--profile", "p", "config", "--no-normalize").out
    assert "web.env" in compose("--profile", "p", "config", "--no-env-resolution").out
    compose("config", "-o", "saved.yaml")
    assert (compose.folder / "saved.yaml").read_text() == compose("config").out
    compose.write("services:\n  a: {image: busybox, networks: [gone]}\n")
    assert "undefined network gone" in compose("config", fails=True).err
    assert "gone" in compose("config", "--no-consistency").out


@pytest.mark.skipif(registries.PROGRAM is None, reason="docker-registry is not installed")
async def test_pulling_and_pushing(compose: Compose, tmp_path: Path) -> None:
    async with registries.registry(tmp_path / "registry") as registry:
        image = f"{registry.address}/team/app:1.0"
        (compose.folder / "Dockerfile").write_text("FROM busybox\nRUN echo made > /made\nCMD cat /made\n")
        compose.write(
            f"services:\n  app: {{build: ., image: '{image}'}}\n  again: {{image: '{image}'}}\n"
            "  local: {build: .}\n  never: {image: nowhere, pull_policy: never, profiles: [n]}\n"
        )
        try:
            compose("build", "app")
            err = compose("push").err
            assert " app  Pushed\n" in err
            assert "local" not in err
            identity = json.loads(compose.docker("image", "inspect", image))[0]["Id"]
            compose.docker("image", "rm", image)
            err = compose("pull", "--ignore-buildable").err
            assert " app  Skipped - No image to be pulled\n" in err
            assert " again  Pulled\n" in err
            assert json.loads(compose.docker("image", "inspect", image))[0]["Id"] == identity
            assert "Image is already present locally" in compose("pull", "--policy", "missing", "again").err
            pinned = json.loads(compose("config", "--resolve-image-digests", "--format", "json", "again").out)
            assert re.fullmatch(re.escape(image) + "@sha256:[0-9a-f]{64}", pinned["services"]["again"]["image"])
            locked = compose("config", "--lock-image-digests", "again").out
            assert locked == f"services:\n  again:\n    image: {pinned['services']['again']['image']}\n"
            (compose.folder / "lock.yaml").write_text(locked)
            assert "made" in compose("-f", "compose.yaml", "-f", "lock.yaml", "run", "--rm", "-T", "again").out
            compose.docker("image", "rm", "-f", image)
            assert "made" in compose("run", "--rm", "-T", "--quiet-pull", "again").out
            compose.write(f"services:\n  gone: {{image: '{registry.address}/gone:1'}}\n")
            failed = compose("pull", fails=True).err
            assert " gone  Error\n" in failed
            assert "not found" in failed or "manifest unknown" in failed
            compose("pull", "--ignore-pull-failures")
        finally:
            compose.running.run("docker", "image", "rm", "-f", image, "shop-local")


def test_what_comes_before_a_start_runs_once(compose: Compose) -> None:
    compose.write(
        "services:\n  app:\n    image: busybox\n    init: true\n    stop_signal: SIGKILL\n    command: sleep 1000\n"
        "    scale: 2\n    depends_on: [db]\n    environment: {A: one}\n    volumes: ['data:/data', /own]\n"
        "    pre_start:\n"
        "      - {command: sh -c 'nslookup db >&- && echo whole $$A $$B >> /data/log', environment: {B: two}}\n"
        "      - {command: sh -c 'echo replica >> /data/log; touch /own/made', per_replica: true}\n"
        f"  db: {{{SLEEPER}}}\nvolumes: {{data: }}\n"
    )
    compose("up", "-d")
    log = ("exec", "-T", "app", "cat", "/data/log")
    assert compose(*log).out == "whole one two\nreplica\nreplica\n"
    assert compose("exec", "-T", "--index", "2", "app", "ls", "/own").out == "made\n"
    compose("restart", "-t", "0")
    compose("up", "-d", "--scale", "app=3")
    assert compose(*log).out == "whole one two\n" + 3 * "replica\n"
    assert len(compose.docker("ps", "-aq", "--filter", "label=com.docker.compose.project=shop").split()) == 4
    text = (compose.folder / "compose.yaml").read_text()
    compose.write(text.replace("nslookup db >&- &&", "echo broken; exit 5;"))
    err = compose("up", "-d", fails=True).err
    assert 'compose.yaml:12: services.app.pre_start[0]: service "app": pre_start exited with status 5: broken' in err
    assert {one["State"] for name, one in compose.ps().items() if "app" in name} == {"created"}
    compose.write(text)
    compose("up", "-d")
    assert compose(*log).out.endswith("whole one two\nreplica\nreplica\n")
