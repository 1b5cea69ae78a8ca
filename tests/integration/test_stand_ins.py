"""The stand-ins for public images do what the guides that name them rely on."""

import asyncio

import pytest
from docker_client import DockerCli
from stand_ins import stand_in

from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

WAIT_FOR_POSTGRES = "until pg_isready -q -h 127.0.0.1 -U alice -d shop; do sleep 0.1; done"


async def load(engine: Engine, name: str) -> None:
    await engine.images.load(await asyncio.to_thread(stand_in, name))


async def test_nginx_serves_its_page_and_stops_quickly(docker_cli: DockerCli, wherry_engine: Engine) -> None:
    await load(wherry_engine, "nginx")
    for tag in ("1.21", "1.22"):
        name = f"web-{tag}"
        await docker_cli("run", "-d", "--name", name, f"nginx:{tag}")
        page = await docker_cli("exec", name, "curl", "-s", "--retry", "20", "--retry-connrefused", "http://127.0.0.1/")
        assert "nginx" in page.out
        await docker_cli("stop", name)
        logs = await docker_cli("logs", name)
        assert "GET / HTTP/1.1" in logs.out
    ids = await docker_cli("images", "--no-trunc", "-q", "nginx")
    assert len(ids.lines) == 3, "latest, 1.21 and 1.22"


async def test_postgres_honours_its_variables_and_keeps_its_data(docker_cli: DockerCli, wherry_engine: Engine) -> None:
    await load(wherry_engine, "postgres")
    common = ["-e", "POSTGRES_USER=alice", "-e", "POSTGRES_PASSWORD=secret", "-e", "POSTGRES_DB=shop",
              "-v", "pg:/var/lib/postgresql/data", "postgres:13"]  # fmt: skip
    query = ["exec", "-e", "PGPASSWORD=secret", "db", "psql", "-h", "127.0.0.1", "-U", "alice", "-d", "shop", "-Atc"]
    await docker_cli("run", "-d", "--name", "db", *common)
    await docker_cli("exec", "db", "sh", "-c", WAIT_FOR_POSTGRES)
    await docker_cli(*query, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
    wrong = await docker_cli.any("exec", "-e", "PGPASSWORD=wrong", "db", *query[4:], "SELECT 1")
    assert "password authentication failed" in wrong.err
    await docker_cli("rm", "-f", "db")
    await docker_cli("run", "-d", "--name", "db", *common)
    await docker_cli("exec", "db", "sh", "-c", WAIT_FOR_POSTGRES)
    kept = await docker_cli(*query, "SELECT n FROM kept")
    assert kept.out == "42\n"
    refused = await docker_cli.any("run", "--rm", "postgres:13")
    assert refused.code == 1
    assert "superuser password is not specified" in refused.err


async def test_mongo_and_fluentd_stay_up(docker_cli: DockerCli, wherry_engine: Engine) -> None:
    await load(wherry_engine, "mongo")
    await load(wherry_engine, "fluentd")
    await docker_cli("run", "-d", "--name", "mongo", "-v", "data:/data/db", "mongo:5.0")
    await docker_cli("run", "-d", "--name", "logs", "fluentd:v1.14")
    ask = "import socket,time\nfor _ in range(100):\n try:\n  socket.create_connection(('127.0.0.1',27017));break\n except OSError:\n  time.sleep(.05)\nelse:\n raise SystemExit(1)"  # noqa: E501
    await docker_cli("exec", "mongo", "python3", "-c", ask)
    running = await docker_cli("ps", "--format", "{{.Names}} {{.State}}")
    assert sorted(running.lines) == ["logs running", "mongo running"]
    await docker_cli("stop", "mongo", "logs")
    codes = await docker_cli("ps", "-a", "--format", "{{.Names}} {{.Status}}")
    assert all("Exited (0)" in line for line in codes.lines), codes.out


async def test_small_ones_run(docker_cli: DockerCli, wherry_engine: Engine) -> None:
    for name in ("alpine", "python"):
        await load(wherry_engine, name)
    assert (await docker_cli("run", "--rm", "alpine:latest", "apk", "add", "--no-cache", "curl")).code == 0
    said = await docker_cli("run", "--rm", "python:3.9-slim", "python", "-c", "print('hello')")
    assert said.out == "hello\n"
