"""One Compose file, by `wherry compose` on Wherry and by docker-compose 1.29 on Debian's dockerd: the same containers.

Names are compared with `--compatibility`, as docker-compose 1 parts them with underscores. Skipped without the peers.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wherry.testing.plugin import RunningWherry, start, stop

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from peer import Peer

if TYPE_CHECKING:
    from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

OLD = "/usr/bin/docker-compose"
COMPOSE = """
version: "2.4"
services:
  db:
    image: busybox
    command: sleep 1000
    init: true
    stop_signal: SIGKILL
    environment: {B: "2", A: "one two"}
    volumes: ["data:/data", "./conf:/conf:ro", "/anonymous"]
    networks: {back: {aliases: [store], ipv4_address: 10.94.3.7}}
    restart: on-failure:3
    labels: {team: a}
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 30
    healthcheck: {test: "true", interval: 1s, retries: 2}
  web:
    image: busybox
    entrypoint: ["sleep"]
    command: ["1000"]
    stop_signal: SIGKILL
    depends_on: [db]
    env_file: web.env
    networks: [front, back]
    expose: ["9000"]
    ports: ["127.0.0.1:18765:80", "127.0.0.1:18766:53/udp"]
    hostname: webhost
    user: "1000:1000"
    working_dir: /tmp
    cap_drop: [ALL]
    cap_add: [CHOWN]
    dns: [9.9.9.9]
    dns_search: [example.test]
    extra_hosts: ["other:10.1.2.3"]
    read_only: true
    tmpfs: ["/run:size=1m"]
    sysctls: {net.core.somaxconn: "100"}
    ulimits: {nofile: {soft: 100, hard: 200}}
    shm_size: 8m
    security_opt: ["no-new-privileges:true"]
    stop_grace_period: 5s
    logging: {driver: json-file, options: {max-size: 1m}}
    scale: 1
  worker:
    image: busybox
    command: sh -c "sleep $$TIME"
    environment: [TIME=1000]
    stop_signal: SIGKILL
    scale: 2
    network_mode: none
    privileged: false
    tty: true
networks:
  front: {}
  back: {ipam: {config: [{subnet: 10.94.3.0/24}]}, internal: true, labels: {zone: inner}}
volumes:
  data: {labels: {kept: "yes"}}
"""
_SETTINGS = (
    "RestartPolicy", "PortBindings", "Memory", "NanoCpus", "PidsLimit", "CapAdd", "CapDrop", "Dns", "DnsSearch",
    "ReadonlyRootfs", "Tmpfs", "Sysctls", "ShmSize", "SecurityOpt", "LogConfig", "Privileged", "Init", "NetworkMode",
)  # fmt: skip
_LABELS = ("project", "service", "container-number", "oneoff")


@pytest.fixture(scope="module")
def archive() -> Path:
    maker = Path(__file__).parents[1] / "images" / "make_images.py"
    made = subprocess.run([sys.executable, maker, "busybox"], capture_output=True, text=True, check=True)
    return Path(made.stdout.strip())


@pytest.fixture(scope="module")
def hosts(wherry_instances: "TestInstances", archive: Path) -> Iterator[dict[str, str]]:
    """DOCKER_HOST of each engine; both have the image."""
    if not Peer.available() or not Path(OLD).exists():
        pytest.skip("needs Debian's docker.io, containerd and docker-compose")
    running: RunningWherry = start(wherry_instances.make(), "--engine-only")
    try:
        with Peer() as peer:
            found = {"wherry": running.env["DOCKER_HOST"], "dockerd": peer.host}
            for host in found.values():
                docker(host, "load", "-i", str(archive))
            yield found
    finally:
        stop(running.instance)


def docker(host: str, *arguments: str) -> str:
    done = subprocess.run(
        ["docker", *arguments], env={**os.environ, "DOCKER_HOST": host}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def compose(host: str, folder: Path, *arguments: str) -> None:
    ours = [str(Path(sys.executable).parent / "wherry"), "compose", "--compatibility"]
    program = [OLD] if "dockerd" in host else ours
    done = subprocess.run(
        [*program, *arguments], env={**os.environ, "DOCKER_HOST": host}, cwd=folder, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def container(found: dict[str, Any]) -> dict[str, Any]:
    """What of an inspection both must agree on."""
    config, host = found["Config"], found["HostConfig"]
    labels = {key: value for key, value in config["Labels"].items() if not key.startswith("com.docker.compose.")}
    labels |= {key: config["Labels"][f"com.docker.compose.{key}"] for key in _LABELS}
    networks = {}
    for name, endpoint in found["NetworkSettings"]["Networks"].items():
        aliases = {one for one in endpoint.get("Aliases") or () if not found["Id"].startswith(one)}
        # Docker Compose 2 adds the container's name to those that version 1 gave; dockerd 20.10 adds the hostname.
        aliases -= {found["Name"].removeprefix("/"), config["Hostname"]}
        networks[name] = (sorted(aliases), (endpoint.get("IPAMConfig") or {}).get("IPv4Address", ""))
    mounts = [
        (one["Type"], one["Destination"], one["RW"], "" if len(one.get("Name", "")) == 64 else
         one.get("Name") or one["Source"])
        for one in found["Mounts"]
    ]  # fmt: skip
    settings = {key: host.get(key) or None for key in _SETTINGS}
    # Not set is what docker-compose 1 sends for "no"; newer daemons show both as "no".
    settings["RestartPolicy"] = (host["RestartPolicy"]["Name"] or "no", host["RestartPolicy"]["MaximumRetryCount"])
    settings["Ulimits"] = [(one["Name"], one["Soft"], one["Hard"]) for one in host.get("Ulimits") or ()]
    settings["ExtraHosts"] = sorted(host.get("ExtraHosts") or ())
    health = config.get("Healthcheck") or {}
    return {
        "labels": labels,
        "networks": networks,
        "mounts": sorted(mounts),
        "environment": sorted(one for one in config["Env"] or () if not one.startswith("PATH=")),
        "command": (config.get("Entrypoint"), config.get("Cmd")),
        "ports": sorted(config.get("ExposedPorts") or {}),
        "health": (health.get("Test"), health.get("Interval"), health.get("Retries")),
        "who": (config["User"], config["WorkingDir"], config["Tty"], config.get("StopSignal"),
                config.get("StopTimeout")),
        "settings": settings,
    }  # fmt: skip


def snapshot(host: str) -> dict[str, Any]:
    ids = docker(host, "ps", "-aq", "--filter", "label=com.docker.compose.project=app").split()
    containers = {one["Name"]: container(one) for one in json.loads(docker(host, "inspect", *ids))}
    networks = {}
    for name in docker(host, "network", "ls", "--format", "{{.Name}}", "--filter", "name=app_").split():
        found = json.loads(docker(host, "network", "inspect", name))[0]
        networks[name] = (found["Driver"], found["Internal"], found["Labels"]["com.docker.compose.network"],
                          found["Labels"].get("zone"))  # fmt: skip
    volumes = {}
    for name in docker(host, "volume", "ls", "-q", "--filter", "name=app_").split():
        labels = json.loads(docker(host, "volume", "inspect", name))[0]["Labels"]
        volumes[name] = (labels["com.docker.compose.volume"], labels.get("kept"))
    return {"containers": containers, "networks": networks, "volumes": volumes}


def test_the_same_file_gives_the_same_project(hosts: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "conf").mkdir(parents=True)
    (folder / "docker-compose.yml").write_text(COMPOSE)
    (folder / "web.env").write_text("FROM_FILE=yes\n")
    found = {}
    for name, host in hosts.items():  # one after the other: both publish the same ports
        compose(host, folder, "up", "-d")
        try:
            found[name] = snapshot(host)
        finally:
            compose(host, folder, "down", "-v")
        assert not docker(host, "ps", "-aq", "--filter", "label=com.docker.compose.project=app")
    for kind in ("networks", "volumes"):
        assert found["wherry"][kind] == found["dockerd"][kind]
    assert set(found["wherry"]["containers"]) == set(found["dockerd"]["containers"])
    for name, expected in found["dockerd"]["containers"].items():
        for aspect, value in expected.items():
            assert found["wherry"]["containers"][name][aspect] == value, f"{name}: {aspect}"
