"""`docker run`, `ps`, `logs`, `exec`, … by the real client: what people see, and exit codes."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from docker_client import DockerCli

pytestmark = pytest.mark.root

SHORT_ID = re.compile(r"[0-9a-f]{12}")
LONG_ID = re.compile(r"[0-9a-f]{64}")


async def test_run_prints_output_and_returns_the_exit_code(docker_cli: DockerCli) -> None:
    ran = await docker_cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (ran.out, ran.err) == ("out\n", "err\n")
    ran = await docker_cli("run", "--rm", "busybox", "sh", "-c", "exit 7", fails=True)
    assert ran.code == 7
    assert (await docker_cli("ps", "-aq")).out == ""


async def test_run_passes_stdin_and_its_end(docker_cli: DockerCli) -> None:
    ran = await docker_cli("run", "--rm", "-i", "busybox", "cat", stdin=b"hi\n")
    assert ran.out == "hi\n"
    big = b"0123456789abcdef" * 65536
    ran = await docker_cli("run", "--rm", "-i", "busybox", "md5sum", stdin=big)
    import hashlib

    assert ran.out.split()[0] == hashlib.md5(big, usedforsecurity=False).hexdigest()


async def test_run_with_a_command_that_is_not_there(docker_cli: DockerCli) -> None:
    ran = await docker_cli("run", "--rm", "busybox", "nope", fails=True)
    assert ran.code == 127
    assert 'exec: "nope": executable file not found in $PATH' in ran.err
    assert (await docker_cli("ps", "-aq")).out == ""


async def test_run_with_an_image_that_is_not_there(docker_cli: DockerCli) -> None:
    ran = await docker_cli("run", "--pull", "never", "nope:1", fails=True)
    assert ran.code == 125
    assert "No such image: nope:1" in ran.err


async def test_detached_containers_are_listed_stopped_and_removed(docker_cli: DockerCli) -> None:
    container_id = (await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")).out.strip()
    assert LONG_ID.fullmatch(container_id)
    header, row = (await docker_cli("ps")).lines
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert SHORT_ID.match(row)
    assert '"sleep 1000"' in row
    assert re.search(r"Up (Less than a|\d+) seconds?", row)
    assert row.endswith("web")
    taken = await docker_cli("run", "--name", "web", "busybox", "true", fails=True)
    assert taken.code == 125
    assert f'Conflict. The container name "/web" is already in use by container "{container_id}"' in taken.err
    refused = await docker_cli("rm", "web", fails=True)
    assert "container is running: stop the container before removing or force remove" in refused.err
    assert (await docker_cli("stop", "-t", "0", "web")).out == "web\n"
    assert "Exited (137)" in (await docker_cli("ps", "-a")).lines[1]
    assert (await docker_cli("start", "web")).out == "web\n"
    assert (await docker_cli("inspect", "-f", "{{.State.Status}}", "web")).out == "running\n"
    assert (await docker_cli("rm", "-f", "web")).out == "web\n"
    gone = await docker_cli("inspect", "web", fails=True)
    assert "no such object: web" in gone.err.lower()


async def test_exec(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    ran = await docker_cli("exec", "-e", "A=b", "-w", "/tmp", "web", "sh", "-c", "pwd; echo $A; exit 3", fails=True)
    assert (ran.code, ran.out) == (3, "/tmp\nb\n")
    assert (await docker_cli("exec", "-i", "web", "cat", stdin=b"hi")).out == "hi"
    assert (await docker_cli("exec", "-d", "web", "touch", "/made")).out == ""
    assert (await docker_cli("exec", "web", "nope", fails=True)).code == 127
    await docker_cli("stop", "-t", "0", "web")
    ran = await docker_cli("exec", "web", "true", fails=True)
    assert re.search(r"container [0-9a-f]{64} is not running", ran.err)


async def test_logs(docker_cli: DockerCli) -> None:
    await docker_cli("run", "--name", "web", "busybox", "sh", "-c", "echo one; echo two >&2; echo three")
    ran = await docker_cli("logs", "web")
    assert (ran.out, ran.err) == ("one\nthree\n", "two\n")
    await docker_cli("run", "--name", "lines", "busybox", "seq", "5")
    assert (await docker_cli("logs", "-n", "2", "lines")).out == "4\n5\n"
    stamped = (await docker_cli("logs", "-t", "-n", "1", "lines")).out
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z 5\n", stamped)
    assert (await docker_cli("logs", "nope", fails=True)).err.strip().endswith("No such container: nope")


async def test_logs_follow_until_the_end(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sh", "-c", "echo one; read line </dev/zero; sleep 1000")
    follower = await docker_cli.start("logs", "-f", "web")
    assert follower.stdout is not None
    async with asyncio.timeout(10):
        assert await follower.stdout.readline() == b"one\n"
        await docker_cli("kill", "web")
        assert await follower.wait() == 0


async def test_wait_kill_and_signals(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    waiting = await docker_cli.start("wait", "web")
    bad = await docker_cli("kill", "-s", "NOPE", "web", fails=True)
    assert "invalid signal: NOPE" in bad.err.replace("Invalid", "invalid")
    await docker_cli("kill", "-s", "KILL", "web")
    async with asyncio.timeout(10):
        out, _ = await waiting.communicate()
    assert out == b"137\n"
    again = await docker_cli("kill", "web", fails=True)
    assert "is not running" in again.err


async def test_create_start_attach(docker_cli: DockerCli) -> None:
    await docker_cli("create", "-i", "--name", "cat", "busybox", "cat")
    ran = await docker_cli("start", "-ai", "cat", stdin=b"through\n")
    assert ran.out == "through\n"


async def test_pause_rename_update_top(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    await docker_cli("pause", "web")
    assert "(Paused)" in (await docker_cli("ps")).lines[1]
    await docker_cli("unpause", "web")
    await docker_cli("rename", "web", "shop")
    await docker_cli("update", "--memory", "64m", "--memory-swap", "64m", "shop")
    assert (await docker_cli("inspect", "-f", "{{.HostConfig.Memory}}", "shop")).out == f"{64 << 20}\n"
    header, row = (await docker_cli("top", "shop")).lines
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert row.endswith("sleep 1000")


async def test_cp_diff_commit_export(docker_cli: DockerCli, tmp_path: Path) -> None:
    await docker_cli("run", "--name", "web", "busybox", "sh", "-c", "echo made > /made; rm /bin/wget")
    assert sorted((await docker_cli("diff", "web")).lines) == ["A /made", "C /bin", "D /bin/wget"]
    await docker_cli("cp", "web:/made", str(tmp_path / "made"))
    assert (tmp_path / "made").read_text() == "made\n"
    (tmp_path / "back").write_text("back\n")
    await docker_cli("cp", str(tmp_path / "back"), "web:/back")
    image = (await docker_cli("commit", "-m", "with files", "-c", "CMD cat /made /back", "web", "saved:1")).out.strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image)
    assert (await docker_cli("run", "--rm", "saved:1")).out == "made\nback\n"
    await docker_cli("export", "-o", str(tmp_path / "all.tar"), "web")
    import tarfile

    with tarfile.open(tmp_path / "all.tar") as archive:
        assert "made" in archive.getnames()


async def test_cp_where_there_is_nothing(docker_cli: DockerCli, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    ran = await docker_cli("cp", str(tmp_path / "big"), "nope:/x", fails=True)
    assert "No such container: nope" in ran.err
    await docker_cli("create", "--name", "web", "busybox", "true")
    ran = await docker_cli("cp", str(tmp_path / "big"), "web:/nope/x", fails=True)
    assert "Could not find the file /nope in container web" in ran.err
    ran = await docker_cli("cp", "web:/nope", str(tmp_path), fails=True)
    assert "Could not find the file /nope in container web" in ran.err
    assert "No such container: nope" in (await docker_cli("kill", "nope", fails=True)).err


async def test_log_details_show_what_log_options_name(docker_cli: DockerCli) -> None:
    options = "--log-opt labels=tier --log-opt env-regex=^A --log-opt tag={{.Name}}/{{.ImageName}}"
    await docker_cli("run", "--name", "web", *options.split(), "--label", "tier=front", "-e", "AB=c", "busybox", "echo",
                     "hi")  # fmt: skip
    assert (await docker_cli("logs", "web")).out == "hi\n"
    assert (await docker_cli("logs", "--details", "web")).out == "AB=c,tag=web%2Fbusybox,tier=front hi\n"
    await docker_cli("run", "--name", "plain", "busybox", "echo", "hi")
    assert (await docker_cli("logs", "--details", "plain")).out == " hi\n"


async def test_a_container_that_ends_does_not_become_unhealthy(docker_cli: DockerCli) -> None:
    import time

    begun = f"{time.time():.9f}"
    await docker_cli(
        "run", "--rm", "--health-cmd", "sleep 0.05", "--health-interval", "50ms", "busybox", "sleep", "0.5"
    )
    ran = await docker_cli("events", "--since", begun, "--until", f"{time.time():.9f}", "--format", "{{.Action}}")
    assert [line for line in ran.lines if line.startswith("health")] == ["health_status: healthy"]


async def test_stats_and_prune(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    row = json.loads((await docker_cli("stats", "--no-stream", "--format", "json", "web")).out)
    assert row["Name"] == "web"
    assert re.fullmatch(r"[\d.]+%", row["CPUPerc"])
    assert int(row["PIDs"]) == 1
    await docker_cli("run", "--name", "done", "busybox", "true")
    pruned = await docker_cli("container", "prune", "-f")
    assert pruned.lines[0] == "Deleted Containers:"
    assert (await docker_cli("ps", "-a", "--format", "{{.Names}}")).out == "web\n"


async def test_ps_filters_and_formats(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "a1", "--label", "tier=web", "busybox", "sleep", "1000")
    await docker_cli("run", "--name", "b1", "busybox", "false", fails=True)
    names = ("ps", "-a", "--format", "{{.Names}}", "--filter")
    assert (await docker_cli(*names, "label=tier=web")).out == "a1\n"
    assert (await docker_cli(*names, "exited=1")).out == "b1\n"
    assert (await docker_cli(*names, "status=running")).out == "a1\n"
    assert (await docker_cli(*names, "name=^/b")).out == "b1\n"
    assert (await docker_cli(*names, "ancestor=busybox")).lines == ["b1", "a1"]
    bad = await docker_cli(*names, "colour=red", fails=True)
    assert "invalid filter 'colour'" in bad.err


async def test_a_published_port_that_is_taken(docker_cli: DockerCli) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = await docker_cli("run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true", fails=True)
    assert ran.code == 125
    assert str(port) in ran.err
    assert (await docker_cli("ps", "-aq")).out == ""
