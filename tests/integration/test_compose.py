"""Compose projects for real: `wherry compose` and Debian's docker-compose 1.29 against one engine."""

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from compose_project import SLEEPER, TESTS, Compose, engine_with_busybox, project_in, stand_in
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

if TYPE_CHECKING:
    from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

GOLDEN = TESTS / "golden" / "compose"
GUIDE = TESTS / "guide" / "docker"
LIVE = (
    "one-off-migration", "profiles-on", "include", "extends", "health-ordered", "scaled-workers", "shared-namespaces",
    "configs-and-secrets", "networks", "volumes-of-all-kinds", "resources", "links-and-aliases", "hooks",
    "stop-and-signals", "logging-and-labels", "every-attribute",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(wherry_instances: "TestInstances") -> Iterator[RunningWherry]:
    yield from engine_with_busybox(wherry_instances)


@pytest.fixture
def compose(engine: RunningWherry, tmp_path: Path) -> Iterator[Compose]:
    yield from project_in(engine, tmp_path)


@pytest.fixture
def guide(engine: RunningWherry, tmp_path: Path) -> Iterator[Path]:
    """The guide's project in a folder of its own; its images are there."""
    for name in ("postgres", "python"):
        loaded = engine.run("docker", "load", "-i", str(stand_in(name)), timeout=120)
        assert loaded.returncode == 0, loaded.stderr
    folder = tmp_path / "guide"
    shutil.copytree(GUIDE / "webapp", folder)
    shutil.copy(GUIDE / "docker-compose.yml", folder)
    yield folder
    Compose(engine, folder)("down", "-v", "-t", "0")


def fetch(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=40) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


PROGRAMS = [
    pytest.param((), "-", id="wherry"),
    pytest.param(("/usr/bin/docker-compose",), "_", id="docker-compose-1.29"),
]


@pytest.mark.parametrize(("program", "separator"), PROGRAMS)
def test_the_guides_application(engine: RunningWherry, guide: Path, program: tuple[str, ...], separator: str) -> None:
    if program and not Path(program[0]).exists():
        pytest.skip(f"{program[0]} is not installed")
    compose = Compose(engine, guide, program)
    compose("up", "-d", timeout=240)
    try:
        assert wait_until(lambda: fetch("http://127.0.0.1:8080/"), "the web application answers", 120).startswith(
            "database at database answers"
        )
        sql = ("exec", "-T", "database", "psql", "-U", "appuser", "appdb", "-c")
        wait_until(lambda: engine.run(*compose.command, *sql, "SELECT 1", cwd=guide).returncode == 0, "psql", 120)
        compose(*sql, "CREATE TABLE kept AS SELECT 42 AS answer")

        follow = compose.spawn("logs", "-f")
        assert follow.stdout is not None
        seen = ""
        while "webapp listens" not in seen:
            line = follow.stdout.readline()
            assert line, "logs -f ended"
            seen += line
        follow.send_signal(signal.SIGINT)
        follow.wait(20)
        assert f"webapp{separator}1" in seen

        names = {f"guide{separator}{service}{separator}1" for service in ("database", "webapp")}
        assert set(compose.docker("ps", "--format", "{{.Names}}").split()) >= names
        # Whoever made it, both see the same project.
        assert set(Compose(engine, guide).ps()) == names
        label = '{{.Label "com.docker.compose.service"}}'
        assert set(compose.docker("ps", "--format", label).split()) >= {"database", "webapp"}

        compose("down")
        assert not compose.docker("ps", "-aq", "--filter", "label=com.docker.compose.project=guide")
        assert "guide_postgres-data" in compose.docker("volume", "ls")
        assert "guide_app-network" not in compose.docker("network", "ls")

        compose("up", "-d")
        wait_until(
            lambda: "42" in engine.run(*compose.command, *sql, "SELECT answer FROM kept", cwd=guide).stdout,
            "the data is still there",
            120,
        )
    finally:
        compose("down", "-v")
    assert compose.left("guide") == []


@pytest.mark.parametrize("name", LIVE)
def test_live(engine: RunningWherry, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(GOLDEN / name, tmp_path / name)
    compose = Compose(engine, folder)
    compose("up", "-d")
    try:
        plan = compose("config", "--plan").out.splitlines()
        ended = {"one-off-migration": 1, "shared-namespaces": 2}.get(name, 0)  # jobs that are over by now
        assert sum(not line.startswith("keep ") for line in plan) == ended, plan
        check = CHECKS.get(name)
        if check is not None:
            check(compose)
    finally:
        compose("down", "-v", "-t", "1")
    assert compose.left(name) == []


def check_shared(compose: Compose) -> None:
    app = compose.inspect("shared-namespaces-app-1")["State"]["Pid"]
    sidecar = compose.inspect("shared-namespaces-sidecar-1")["State"]["Pid"]
    assert os.readlink(f"/proc/{app}/ns/net") == os.readlink(f"/proc/{sidecar}/ns/net")
    assert os.readlink(f"/proc/{app}/ns/pid") == os.readlink(f"/proc/{sidecar}/ns/pid")


def check_networks(compose: Compose) -> None:
    assert "10.93.7.10" in compose("exec", "-T", "backend", "nslookup", "gateway.internal").out
    both = compose.inspect("networks-gateway-1")["NetworkSettings"]["Networks"]
    assert set(both) == {"networks_public", "networks_private"}
    assert "edge" in both["networks_public"]["Aliases"]


def check_volumes(compose: Compose) -> None:
    compose("exec", "-T", "app", "touch", "/named/x", "/long/y", "/tmpfs/z", "/var/anonymous/a")
    assert (compose.folder / "long" / "y").exists()
    assert "x" in compose("exec", "-T", "app", "ls", "/nocopy").out
    compose("exec", "-T", "app", "touch", "/bound/no", fails=True)
    # Made anew, it keeps what it had in its anonymous volume.
    compose("up", "-d", "--force-recreate", "-t", "0")
    assert compose("exec", "-T", "app", "ls", "/var/anonymous").out == "a\n"
    assert set(compose.ps()) == {"volumes-of-all-kinds-app-1"}
    compose("up", "-d", "--force-recreate", "-V", "-t", "0")
    assert compose("exec", "-T", "app", "ls", "/var/anonymous").out == ""


def check_resources(compose: Compose) -> None:
    host = compose.inspect("resources-limited-1")["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (500_000_000, 64 << 20, 50)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}


def check_hooks(compose: Compose) -> None:
    assert compose("exec", "-T", "app", "cat", "/state/started").out == "started-by-hook\n"
    compose("stop", "-t", "0")
    listed = compose.docker("run", "--rm", "-v", "hooks_state:/state", "busybox", "ls", "/state")
    assert "stopping" in listed


def check_contents(compose: Compose) -> None:
    said = compose("logs", "--no-log-prefix").out
    assert said == "level=info\nabchunter2\n"
    # Made anew after a change, it gets the new content.
    text = (compose.folder / "compose.yaml").read_text().replace("level=", "LEVEL=")
    compose.write(text)
    compose("up", "-d", "-t", "0")


def check_every_attribute(compose: Compose) -> None:
    def said(command: str) -> str:
        return compose("exec", "-T", "app", "sh", "-c", command).out

    assert said("stat -c '%a %u:%g' /etc/inline /etc/variable /run/token") == "440 5:6\n444 0:0\n400 0:0\n"
    contents = said("cat /etc/inline /etc/variable /etc/file /run/secrets/key /run/token")
    assert contents == "kept ${x} t0ken\nt0kenfile-secret\nfile-secret\nt0ken"
    assert {"FROM_FILE=from file", 'RAW="$x"', "PLAIN=1", "TOKEN=t0ken"} <= set(said("env").splitlines())
    assert said("hostname -f; pwd; ulimit -n; cat /proc/sys/net/core/somaxconn").split() == [
        "host1.corp.example", "/data", "1000", "2048",
    ]  # fmt: skip
    assert said("df -m /dev/shm /scratch /memory | awk 'NR>1 {print $2}'").split() == ["32", "1", "2"]
    assert "1234" in said("id -G").split()
    assert "192.0.2.1\tone" in said("cat /etc/hosts")
    assert {"search corp.example", "options ndots:3"} <= set(said("cat /etc/resolv.conf").splitlines())
    assert said("ls /started /data/prepared /tools/busybox /conf").split() == [
        "/data/prepared", "/started", "/tools/busybox", "/conf:", "key.txt",
    ]  # fmt: skip
    assert "10.93.40.9/24" in said("ip -o addr")
    assert "02:00:00:00:40:09" in said("ip -o link")
    assert "eth0@" in next(line for line in said("ip -o link").splitlines() if "mtu 1400" in line)
    compose("exec", "-T", "app", "touch", "/conf/no", fails=True)
    compose("exec", "-T", "app", "sh", "-c", "touch /x && chown 7 /x", fails=True)
    app, worker = compose.inspect("every-attribute-app-1"), compose.inspect("every-attribute-worker-2")
    host = app["HostConfig"]
    wanted = {
        "CapAdd": ["NET_ADMIN"], "CpuShares": 512, "NanoCpus": 500_000_000, "CpusetCpus": "0", "Memory": 64 << 20,
        "MemoryReservation": 32 << 20, "MemorySwap": 128 << 20, "PidsLimit": 99, "OomScoreAdj": 500,
        "IpcMode": "shareable", "ShmSize": 32 << 20, "Annotations": {"org.example.note": "one"},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
    }  # fmt: skip
    assert {key: host[key] for key in wanted} == wanted
    assert {"team": "blue", "color": "red"}.items() <= app["Config"]["Labels"].items()
    assert set(app["Config"]["ExposedPorts"]) == {"3000/tcp", "4000/udp", "4001/udp"}
    assert (app["Config"]["StopTimeout"], app["Config"]["Tty"], app["State"]["Health"]["Status"]) == (
        20,
        True,
        "healthy",
    )
    assert worker["HostConfig"]["Memory"] == 32 << 20
    assert worker["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 4}
    # What depends on it with `restart` is started anew with it.
    assert " Container every-attribute-worker-1  Started\n" in compose("restart", "-t", "0", "app").err
    assert compose.inspect("every-attribute-worker-2")["State"]["StartedAt"] > worker["State"]["StartedAt"]
    compose("stop", "-t", "0", "app")
    listed = compose.docker("run", "--rm", "-v", "every-attribute_data:/data", "busybox", "ls", "/data")
    assert "stopped" in listed


CHECKS: dict[str, Callable[[Compose], None]] = {
    "shared-namespaces": check_shared,
    "networks": check_networks,
    "volumes-of-all-kinds": check_volumes,
    "resources": check_resources,
    "hooks": check_hooks,
    "configs-and-secrets": check_contents,
    "every-attribute": check_every_attribute,
}


def test_up_says_why_and_touches_only_what_changed(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n  b: {{{SLEEPER}}}\n")
    compose("up", "-d")
    before = {name: one["ID"] for name, one in compose.ps().items()}
    assert compose("config", "--plan").out.splitlines() == [
        "keep shop-a-1: it is as it should be",
        "keep shop-b-1: it is as it should be",
    ]
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n  b: {{{SLEEPER}, environment: {{X: '1'}}}}\n")
    assert "recreate shop-b-1: its configuration has changed" in compose("config", "--plan").out
    err = compose("up", "-d").err
    assert " Container shop-a-1  Running\n" in err
    assert " Container shop-b-1  Recreate (its configuration has changed)\n" in err
    assert " Container shop-b-1  Recreated\n" in err
    after = {name: one["ID"] for name, one in compose.ps().items()}
    assert set(after) == {"shop-a-1", "shop-b-1"}
    assert after["shop-a-1"] == before["shop-a-1"]
    assert after["shop-b-1"] != before["shop-b-1"]


def test_a_dry_run_changes_nothing(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, volumes: ['v:/v']}}\nvolumes: {{v: }}\n")
    assert "DRY-RUN MODE - Container shop-a-1  Started" in compose("--dry-run", "up", "-d").err
    assert compose.left("shop") == []


def test_scale_and_orphans(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n  b: {{{SLEEPER}}}\n")
    compose("up", "-d", "--scale", "a=3")
    assert set(compose.ps()) == {"shop-a-1", "shop-a-2", "shop-a-3", "shop-b-1"}
    compose("scale", "a=1")
    assert set(compose.ps()) == {"shop-a-1", "shop-b-1"}
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n")
    assert "Found orphan containers ([shop-b-1])" in compose("up", "-d").err
    compose("up", "-d", "--remove-orphans")
    assert set(compose.ps()) == {"shop-a-1"}


def test_the_foreground_ends_with_the_exit_code_asked_for(compose: Compose) -> None:
    compose.write(
        f"services:\n  server: {{{SLEEPER}}}\n"
        "  tests: {image: busybox, command: sh -c 'echo tested; exit 7', depends_on: [server]}\n"
    )
    ran = compose("up", "--exit-code-from", "tests", fails=True)
    assert ran.code == 7
    assert "Attaching to server-1, tests-1\n" in ran.out
    assert "tests-1   | tested\n" in ran.out
    assert "tests-1 exited with code 7\n" in ran.out
    assert {one["State"] for one in compose.ps().values()} == {"exited"}


def test_ctrl_c_stops_what_the_foreground_started(compose: Compose) -> None:
    compose.write(
        f"services:\n  a: {{{SLEEPER.replace('sleep 1000', 'sh -c ' + chr(39) + 'echo up; sleep 1000' + chr(39))}}}\n"
    )
    process = compose.spawn("up")
    assert process.stdout is not None
    for line in process.stdout:
        if line == "a-1  | up\n":
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Gracefully Stopping... press Ctrl+C again to force" in err
    assert compose.ps()["shop-a-1"]["State"] == "exited"


def test_waiting_for_health(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, healthcheck: {{test: 'true', interval: 100ms}}}}\n")
    assert "Container shop-a-1  Healthy" in compose("up", "--wait").err
    compose.write(f"services:\n  a: {{{SLEEPER}, healthcheck: {{test: 'false', interval: 100ms, retries: 1}}}}\n")
    assert "container shop-a-1 is unhealthy" in compose("up", "--wait", fails=True).err


def test_a_dependency_that_fails_is_named(compose: Compose) -> None:
    compose.write(
        "services:\n  job: {image: busybox, command: sh -c 'exit 3'}\n"
        f"  app: {{{SLEEPER}, depends_on: {{job: {{condition: service_completed_successfully}}}}}}\n"
    )
    err = compose("up", "-d", fails=True).err
    assert 'service "job" didn\'t complete successfully: exit 3' in err
    assert compose.ps()["shop-app-1"]["State"] == "created"


@pytest.mark.parametrize("delay", [0.12, 0.2, 0.3, 0.45])
def test_a_killed_up_is_completed_by_the_next(compose: Compose, delay: float) -> None:
    services = "".join(f"  s{number}: {{{SLEEPER}, volumes: ['v{number}:/v']}}\n" for number in range(5))
    volumes = "".join(f"  v{number}:\n" for number in range(5))
    for environment in ("one", "two"):  # the second round is killed while it recreates
        text = services.replace("init: true", f"init: true, environment: [ROUND={environment}]")
        compose.write(f"services:\n{text}volumes:\n{volumes}")
        process = compose.spawn("up", "-d")
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        compose("up", "-d")
        found = compose.ps()
        assert set(found) == {f"shop-s{number}-1" for number in range(5)}
        assert {one["State"] for one in found.values()} == {"running"}
        assert all(line.startswith("keep ") for line in compose("config", "--plan").out.splitlines())
    process = compose.spawn("up", "-d", "--force-recreate")
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    compose("down", "-v")
    assert compose.left("shop") == []


def test_down_after_a_killed_up_leaves_nothing(compose: Compose) -> None:
    services = "".join(
        f"  s{number}: {{{SLEEPER}, volumes: ['v{number}:/v'], pre_start: [{{command: sleep 0.2}}]}}\n"
        for number in range(4)
    )
    volumes = "".join(f"  v{number}:\n" for number in range(4))
    compose.write(f"services:\n{services}volumes:\n{volumes}")
    for delay in (0.1, 0.2, 0.35, 0.5):
        process = compose.spawn("up", "-d")
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        compose("down", "-v", "-t", "0")
        assert compose.left("shop") == []


def test_files_that_are_missing_are_named_before_anything_is_made(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, secrets: [s]}}\nsecrets:\n  s:\n    file: gone.txt\n")
    err = compose("up", "-d", fails=True).err
    assert f"compose.yaml:5: secrets.s.file: open {compose.folder}/gone.txt: no such file or directory" in err
    compose.write(
        "services:\n  a:\n    volumes: [{type: bind, source: ./gone, target: /g, bind: {create_host_path: false}}]\n"
        f"    {SLEEPER.replace(', ', chr(10) + '    ')}\n"
    )
    assert "compose.yaml:3: services.a.volumes: invalid mount config" in compose("up", "-d", fails=True).err
    compose.write("services:\n  a: {build: ./nowhere}\n")
    assert "compose.yaml:2: services.a.build.context: unable to prepare context" in compose("build", fails=True).err
    assert compose.left("shop") == []


def test_down_without_the_file(compose: Compose, tmp_path: Path) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, volumes: ['v:/v']}}\nvolumes: {{v: }}\n")
    compose("up", "-d")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = Compose(compose.running, elsewhere)
    assert "no configuration file provided: not found" in other("down", fails=True).err
    assert "shop-a-1" in other("-p", "shop", "ps").out
    other("-p", "shop", "down", "-v")
    assert compose.left("shop") == []


def test_ports_that_conflict(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}, ports: ['18431:80']}}\n  b: {{{SLEEPER}, ports: ['18431:81']}}\n")
    err = compose("up", "-d", fails=True).err
    assert 'compose.yaml:3: services.b.ports[0]: port 18431/tcp of service "b" is published by service "a" too' in err
    assert compose.left("shop") == []
    holder = compose.docker("run", "-d", "-p", "18431:80", "busybox", "sleep", "1000").strip()
    try:
        compose.write(f"services:\n  a: {{{SLEEPER}, ports: ['18431:80']}}\n")
        assert "18431" in compose("up", "-d", fails=True).err
    finally:
        compose.docker("rm", "-f", holder)
    compose("up", "-d")


def test_one_off_runs_exec_and_copies(compose: Compose) -> None:
    compose.write(f"services:\n  db: {{{SLEEPER}}}\n  app: {{{SLEEPER}, depends_on: [db], environment: [A=1]}}\n")
    ran = compose(
        "run", "--rm", "-T", "-e", "B=2", "app", "sh", "-c", "echo $A$B; cat; exit 4", input="in\n", fails=True
    )
    assert (ran.code, ran.out) == (4, "12\nin\n")
    assert set(compose.ps()) == {"shop-db-1"}
    compose("up", "-d")
    assert compose("exec", "-T", "app", "sh", "-c", "echo out; exit 5", fails=True).code == 5
    (compose.folder / "file").write_text("content")
    compose("cp", "file", "app:/tmp/")
    compose("cp", "app:/tmp/file", "back")
    assert (compose.folder / "back").read_text() == "content"
    assert compose("top", "app").out.splitlines()[1].startswith("app")


def test_building_and_inline_dockerfiles(compose: Compose) -> None:
    shutil.copytree(GOLDEN / "build" / "web", compose.folder / "web")
    (compose.folder / "web" / ".dockerignore").write_text("secret\n")
    (compose.folder / "web" / "secret").write_text("x")
    compose.write((GOLDEN / "build" / "compose.yaml").read_text())
    compose("up", "-d", timeout=120)
    wait_until(lambda: "1.2" in compose("logs", "web").out, "the built image ran")
    assert "inline" in wait_until(lambda: compose("logs", "--no-log-prefix", "inline").out, "the inline one too")
    labels = json.loads(compose.docker("image", "inspect", "example/web"))[0]["Config"]["Labels"]
    assert labels["built"] == "by-compose"
    assert labels["com.docker.compose.service"] == "web"
    compose.write((GOLDEN / "build" / "compose.yaml").read_text().replace('VERSION: "1.2"', 'VERSION: "1.3"'))
    assert "recreate shop-web-1: its image has changed" not in compose("config", "--plan").out
    compose("up", "-d", "--build", timeout=120)
    wait_until(lambda: "1.3" in compose("logs", "web").out, "the new image ran")
    compose("down", "--rmi", "all")
    left = compose.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert "example/web:latest" not in left


def test_builds_with_secrets_and_further_contexts(compose: Compose) -> None:
    files = {
        "base/Dockerfile": "FROM busybox\nRUN echo of base > /base\n",
        "app/Dockerfile": "FROM basis\nRUN --mount=type=secret,id=word --mount=type=secret,id=env,env=TOKEN "
        'tr a-z A-Z < /run/secrets/word > /told; echo "$TOKEN" | tr a-z A-Z >> /told\n'
        'COPY --from=lib part /part\nCMD ["cat", "/base", "/told", "/part"]\n',
        "lib/part": "of lib\n",
        "word": "swordfish\n",
    }
    for name, text in files.items():
        (compose.folder / name).parent.mkdir(exist_ok=True)
        (compose.folder / name).write_text(text)
    (compose.folder / ".env").write_text("TOKEN=opensesame\n")
    compose.write(
        "services:\n"
        "  app:\n    build:\n      context: app\n      secrets: [word, {source: token, target: env}]\n"
        "      additional_contexts: {basis: 'service:base', lib: ./lib}\n"
        "  base: {build: base}\n"
        "secrets: {word: {file: word}, token: {environment: TOKEN}}\n"
    )
    built = compose("build", "app", timeout=120)
    assert "swordfish" not in built.out + built.err
    assert compose("run", "--rm", "-T", "app").out == "of base\nSWORDFISH\nOPENSESAME\nof lib\n"
    compose.write((compose.folder / "compose.yaml").read_text().replace("service:base", "service:none"))
    refused = compose("build", fails=True).err
    assert "services.app.build.additional_contexts.basis: no such service: none" in refused


def test_docker_compose_1_and_ours_work_on_the_same_project(compose: Compose) -> None:
    old = Compose(compose.running, compose.folder, ("/usr/bin/docker-compose",))
    if not Path(old.program[0]).exists():
        pytest.skip("docker-compose 1.29 is not installed")
    compose.write(f"version: '2.4'\nservices:\n  a: {{{SLEEPER}}}\n", "docker-compose.yml")
    old("up", "-d")
    assert set(compose.ps()) == {"shop_a_1"}
    compose("stop", "-t", "0")
    assert compose.ps()["shop_a_1"]["State"] == "exited"
    old("start")
    compose("up", "-d")
    assert set(compose.ps()) == {"shop-a-1"}
    assert "shop-a-1" in old("ps").out
    old("down")
    assert compose.left("shop") == []


def test_what_is_not_supported_is_refused_by_name(compose: Compose) -> None:
    compose.write(f"services:\n  a: {{{SLEEPER}}}\n")
    assert "--watch is not supported" in compose("up", "--watch", fails=True).err
    assert "`watch` is not supported" in compose("watch", fails=True).err
    assert 'unknown docker command: "compose nonsense"' in compose("nonsense", fails=True).err
