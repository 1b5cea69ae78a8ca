"""Containers through the engine as a Python object: their whole life, their streams, files, limits and errors."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from waiting import wait_until

from wherry.engine.engine import Engine
from wherry.engine.errors import Conflict, EngineError, Forbidden, InvalidParameter, NotFound, NotModified
from wherry.host import mounts
from wherry.images.errors import ImageError

pytestmark = pytest.mark.root


@pytest_asyncio.fixture
async def engine(wherry_engine: Engine, busybox_archive: Path) -> AsyncIterator[Engine]:
    await wherry_engine.images.load(busybox_archive)
    yield wherry_engine


async def make(engine: Engine, *command: str, name: str | None = None, host: Any = None, **config: Any) -> str:
    body = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none", **(host or {})}, **config}
    return str((await engine.containers.create(name, body))["Id"])


async def run(engine: Engine, *command: str, **more: Any) -> tuple[int, str]:
    """(exit code, everything it wrote)."""
    container = await make(engine, *command, **more)
    waiting = await engine.containers.wait_started(container, "next-exit")
    await engine.containers.start(container)
    code, _ = await waiting
    return code, await log(engine, container)


async def log(engine: Engine, container: str, **query: Any) -> str:
    return "".join([data.decode() async for _, data in engine.containers.logs(container, **query)])


async def execute(engine: Engine, container: str, *command: str, stdin: bytes | None = None, **body: Any) -> Any:
    given = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, "AttachStdin": stdin is not None, **body}
    exec_id = await engine.execs.create(container, given)
    attachment = await engine.execs.start(exec_id)
    assert attachment is not None
    if stdin is not None:
        await attachment.write(stdin)
        attachment.close_stdin()
    output = b"".join([data async for _, data in attachment]).decode()
    return await engine.execs.wait(exec_id), output


async def test_a_container_runs_and_its_exit_code_and_output_are_kept(engine: Engine) -> None:
    container = await make(engine, "sh", "-c", "echo out; echo err >&2; exit 3", name="web")
    waiting = await engine.containers.wait_started(container, "next-exit")
    await engine.containers.start("web")
    assert await waiting == (3, "")
    frames = [frame async for frame in engine.containers.logs("web")]
    assert sorted(frames) == [(1, b"out\n"), (2, b"err\n")]
    state = (await engine.containers.inspect("web"))["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 3, 0)
    assert state["FinishedAt"] > state["StartedAt"]


async def test_nothing_stays_mounted_after_the_exit_nor_on_disk_after_removal(engine: Engine) -> None:
    container = await make(engine, "true", host={"IpcMode": "shareable"})
    waiting = await engine.containers.wait_started(container)
    await engine.containers.start(container)
    await engine.containers.wait(container)
    await waiting
    assert mounts.mounts_under(engine.instance.run / "containers") == []
    await engine.containers.remove(container)
    assert not (engine.instance.root / "containers" / container).exists()
    assert not (engine.instance.run / "containers" / container).exists()
    assert not engine.images.snapshots.exists(container)
    with pytest.raises(NotFound, match=f"No such container: {container}"):
        await engine.containers.inspect(container)


async def test_attached_before_the_start_a_client_gets_every_byte_and_feeds_stdin(engine: Engine) -> None:
    container = await make(engine, "cat", OpenStdin=True, StdinOnce=True, AttachStdin=True)
    attachment = await engine.containers.attach(container, stdin=True)
    await engine.containers.start(container)
    payload = b"0123456789abcdef" * 8192
    writing = asyncio.create_task(attachment.write(payload))
    received = b""
    async for _, data in attachment:
        received += data
        if len(received) == len(payload):
            await writing
            attachment.close_stdin()
    assert received == payload
    assert (await engine.containers.wait(container))[0] == 0


async def test_a_client_that_goes_leaves_the_container_running(engine: Engine) -> None:
    container = await make(engine, "sh", "-c", "echo one; read x; echo two", OpenStdin=True)
    first = await engine.containers.attach(container, stdin=True)
    await engine.containers.start(container)
    assert await anext(first) == (1, b"one\n")
    first.detach()
    second = await engine.containers.attach(container, stdin=True)
    await second.write(b"go\n")
    assert [frame async for frame in second] == [(1, b"two\n")]


async def test_a_terminal_has_the_size_it_was_given(engine: Engine) -> None:
    script = "while ! stty size 2>/dev/null | grep '33 77'; do usleep 20000; done"
    container = await make(engine, "sh", "-c", script, Tty=True)
    attachment = await engine.containers.attach(container)
    await engine.containers.start(container)
    await engine.containers.resize(container, 33, 77)
    output = b"".join([data async for _, data in attachment])
    assert b"33 77\r\n" in output


async def test_stop_sends_the_stop_signal_and_kills_after_the_timeout(engine: Engine) -> None:
    polite = await make(engine, "sh", "-c", 'trap "exit 5" TERM; echo up; while :; do sleep 0.05; done')
    attachment = await engine.containers.attach(polite)
    await engine.containers.start(polite)
    await anext(attachment)
    await engine.containers.stop(polite, timeout=10)
    assert (await engine.containers.inspect(polite))["State"]["ExitCode"] == 5
    with pytest.raises(NotModified):
        await engine.containers.stop(polite)
    deaf = await make(engine, "sh", "-c", 'trap "" TERM; echo up; while :; do sleep 0.05; done')
    attachment = await engine.containers.attach(deaf)
    await engine.containers.start(deaf)
    await anext(attachment)
    await engine.containers.stop(deaf, timeout=0)
    assert (await engine.containers.inspect(deaf))["State"]["ExitCode"] == 137


async def test_exec_runs_beside_it_with_environment_user_directory_and_stdin(engine: Engine) -> None:
    container = await make(engine, "sleep", "60", Env=["A=1"])
    await engine.containers.start(container)
    assert await execute(engine, container, "sh", "-c", "echo $A $B; id -u; pwd; exit 4", Env=["B=2"], User="1000",
                         WorkingDir="/tmp") == (4, "1 2\n1000\n/tmp\n")  # fmt: skip
    assert await execute(engine, container, "cat", stdin=b"x" * 300_000) == (0, "x" * 300_000)
    code, text = await execute(engine, container, "nosuch")
    assert code == 127
    assert text == (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        'exec: "nosuch": executable file not found in $PATH: unknown\r\n'
    )
    assert (await execute(engine, container, "/etc"))[0] == 126
    assert "/dev/pts/" in (await execute(engine, container, "tty", Tty=True))[1]
    detached = await engine.execs.create(container, {"Cmd": ["nosuch"]})
    with pytest.raises(InvalidParameter, match="executable file not found"):
        await engine.execs.start(detached, detach=True)
    working = await engine.execs.create(container, {"Cmd": ["sh", "-c", "exit 6"]})
    assert await engine.execs.start(working, detach=True) is None
    assert await engine.execs.wait(working) == 6


async def test_a_command_that_cannot_be_executed_fails_the_start_with_dockers_words(engine: Engine) -> None:
    for command, code, words in (
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH: unknown'),
        ("/nosuch", 127, "no such file or directory: unknown"),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied: unknown'),
    ):
        container = await make(engine, command)
        with pytest.raises(InvalidParameter) as raised:
            await engine.containers.start(container)
        assert words in raised.value.message
        assert raised.value.message.startswith(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: "
        )
        state = (await engine.containers.inspect(container))["State"]
        assert (state["Status"], state["ExitCode"]) == ("created", code)
    assert mounts.mounts_under(engine.instance.run / "containers") == []


async def test_bad_requests_have_dockers_status_and_words_and_leave_nothing(engine: Engine) -> None:
    await make(engine, "true", name="taken")
    for host, config, error, words in (
        ({}, {"Image": "nosuch"}, ImageError, "No such image: nosuch:latest"),
        ({"Memory": 1000}, {}, InvalidParameter, "Minimum memory limit allowed is 6MB"),
        ({"CapAdd": ["BOGUS"]}, {}, InvalidParameter, 'invalid capability: "BOGUS"'),
        ({"Binds": ["x:relative"]}, {}, InvalidParameter, "mount path must be absolute"),
        ({"RestartPolicy": {"Name": "sometimes"}}, {}, InvalidParameter, "unknown policy 'sometimes'"),
        ({"LogConfig": {"Type": "nosuch"}}, {}, InvalidParameter, "no log driver named 'nosuch'"),
        ({"Runtime": "nosuch"}, {}, InvalidParameter, "unknown or invalid runtime name: nosuch"),
        ({"Binds": ["/tmp:/a", "/var:/a"]}, {}, InvalidParameter, "Duplicate mount point: /a"),
        ({}, {"WorkingDir": "x"}, InvalidParameter, "needs to be an absolute path"),
    ):
        with pytest.raises((EngineError, ImageError)) as raised:
            await make(engine, "true", host=host, **config)
        assert isinstance(raised.value, error), raised.value
        assert words in str(raised.value)
    with pytest.raises(Conflict, match='The container name "/taken" is already in use by container'):
        await make(engine, "true", name="taken")
    with pytest.raises(InvalidParameter, match="Invalid container name"):
        await make(engine, "true", name="no/slash")
    assert len(await engine.containers.list(all=True)) == 1
    assert len(list((engine.instance.root / "containers").iterdir())) == 1


async def test_the_process_has_the_limits_user_capabilities_and_mounts_it_was_given(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "seen").write_text("from the host")
    tmp_path.chmod(0o755)
    script = (
        "id -u; id -g; grep CapEff /proc/self/status; cat /data/seen; echo; touch /data/x 2>&1; hostname; "
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; ulimit -n; "
        "df /dev/shm | tail -1 | awk '{print $2}'; ls /vol"
    )
    code, text = await run(
        engine, "sh", "-c", script, Hostname="box", User="1234:77",
        Volumes={"/vol": {}},
        host={
            "Binds": [f"{tmp_path}:/data:ro"],
            "Memory": 64 << 20,
            "Ulimits": [{"Name": "nofile", "Soft": 99, "Hard": 100}],
            "ShmSize": 8 << 20,
        },
    )  # fmt: skip
    assert code == 0, text
    lines = text.splitlines()
    assert lines[:2] == ["1234", "77"]
    assert "CapEff:\t0000000000000000" in text
    assert "from the host" in text
    assert "Read-only file system" in text
    assert "box" in lines
    assert str(64 << 20) in lines
    assert "99" in lines
    assert "8192" in lines


async def test_a_read_only_root_privileged_mode_and_init_are_what_they_say(engine: Engine) -> None:
    code, text = await run(engine, "sh", "-c", "touch /x; mount -t tmpfs t /tmp && echo mounted", host={
        "Privileged": True})  # fmt: skip
    assert (code, text) == (0, "mounted\n")
    code, text = await run(engine, "touch", "/x", host={"ReadonlyRootfs": True})
    assert code == 1
    assert "Read-only file system" in text
    code, text = await run(engine, "sh", "-c", "cat /proc/1/comm", host={"Init": True})
    assert text in ("catatonit\n", "docker-init\n")
    code, text = await run(engine, "mount", "-t", "tmpfs", "t", "/tmp")
    assert code != 0


async def test_pause_holds_still_and_unpause_goes_on(engine: Engine) -> None:
    container = await make(engine, "sleep", "60")
    await engine.containers.start(container)
    await engine.containers.pause(container)
    assert (await engine.containers.inspect(container))["State"]["Paused"] is True
    with pytest.raises(Conflict, match="paused, unpause the container before exec"):
        await execute(engine, container, "true")
    await engine.containers.unpause(container)
    assert (await execute(engine, container, "true"))[0] == 0
    await engine.containers.pause(container)
    await engine.containers.stop(container, timeout=0)


async def test_rename_and_update_reach_the_running_container(engine: Engine) -> None:
    container = await make(engine, "sleep", "60", name="old")
    await engine.containers.start(container)
    await engine.containers.rename("old", "new")
    assert (await engine.containers.inspect("new"))["Name"] == "/new"
    with pytest.raises(NotFound):
        await engine.containers.inspect("old")
    await engine.containers.update("new", {"Memory": 32 << 20, "PidsLimit": 50})
    stats = await engine.containers.stats("new")
    assert stats["memory_stats"]["limit"] == 32 << 20
    assert stats["pids_stats"]["limit"] == 50


async def test_logs_follow_tail_since_and_timestamps(engine: Engine) -> None:
    container = await make(engine, "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; read x; echo last",
                           OpenStdin=True)  # fmt: skip
    attachment = await engine.containers.attach(container, stdin=True)
    await engine.containers.start(container)
    seen = b""
    while b"line 5" not in seen:
        seen += (await anext(attachment))[1]
    following = engine.containers.logs(container, follow=True, tail="2")
    assert [await anext(following), await anext(following)] == [(1, b"line 4\n"), (1, b"line 5\n")]
    await attachment.write(b"\n")
    rest = [data async for _, data in following]
    assert rest == [b"last\n"]
    assert (await log(engine, container, tail="1")) == "last\n"
    stamped = (await log(engine, container, timestamps=True)).splitlines()
    assert len(stamped) == 6
    assert stamped[0].split(" ", 1)[1] == "line 1"
    assert stamped[0][-len("Z line 1") - 1 :].endswith("Z line 1")
    assert await log(engine, container, since=4102444800.0) == ""


async def test_restart_policies_try_again_and_stop_ends_them(engine: Engine) -> None:
    container = await make(engine, "false", host={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}})
    await engine.containers.start(container)
    async with asyncio.timeout(10):
        while (shown := await engine.containers.inspect(container))["State"]["Status"] != "exited":
            assert (await engine.containers.wait(container))[0] == 1
    assert shown["RestartCount"] == 2
    stubborn = await make(engine, "true", host={"RestartPolicy": {"Name": "always"}})
    ended = await engine.containers.wait_started(stubborn, "next-exit")
    await engine.containers.start(stubborn)
    await ended
    await engine.containers.stop(stubborn, timeout=0)
    assert (await engine.containers.inspect(stubborn))["State"]["Status"] == "exited"


async def test_auto_remove_removes_after_the_exit(engine: Engine) -> None:
    container = await make(engine, "sh", "-c", "exit 9", host={"AutoRemove": True}, Volumes={"/v": {}})
    gone = await engine.containers.wait_started(container, "removed")
    await engine.containers.start(container)
    assert (await gone)[0] == 9
    assert await engine.containers.list(all=True) == []
    assert engine.volumes.list()["Volumes"] == []


async def test_a_health_check_makes_it_healthy_and_then_unhealthy(engine: Engine) -> None:
    container = await make(
        engine, "sleep", "60",
        Healthcheck={"Test": ["CMD", "test", "-e", "/ok"], "Interval": 30_000_000, "Timeout": 5_000_000_000,
                     "Retries": 2},
    )  # fmt: skip

    async def until(status: str) -> dict[str, Any]:
        with engine.events.subscribe() as events:
            while (health := (await engine.containers.inspect(container))["State"]["Health"])["Status"] != status:
                await anext(events)
        return dict(health)

    await engine.containers.start(container)
    async with asyncio.timeout(20):
        assert (await until("unhealthy"))["FailingStreak"] >= 2
        await execute(engine, container, "touch", "/ok")
        health = await until("healthy")
    assert health["Log"][-1]["ExitCode"] == 0
    assert 0 < len(health["Log"]) <= 5


def archive_of(*members: tuple[str, bytes | str]) -> bytes:
    """A tar of files (bytes) and links (str)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@pytest.mark.parametrize("running", [True, False])
async def test_files_go_in_and_out_and_no_link_leads_to_the_host(engine: Engine, tmp_path: Path, running: bool) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    container = await make(engine, "sleep", "60", Volumes={"/vol": {}})
    if running:
        await engine.containers.start(container)
    data = archive_of(("d/f", b"hello"), ("out", str(tmp_path)), ("vol/inside", b"v"))
    await engine.containers.archive_put(container, "/", chunks(data))
    about, pieces = await engine.containers.archive_get(container, "/d")
    with tarfile.open(fileobj=io.BytesIO(b"".join([piece async for piece in pieces]))) as archive:
        assert archive.getnames() == ["d", "d/f"]
    assert (about["name"], about["mode"] >> 31) == ("d", 1)
    source = (await engine.containers.inspect(container))["Mounts"][0]["Source"]
    assert (Path(source) / "inside").read_bytes() == b"v"
    # The link is there, but inside the container it leads nowhere.
    assert (await engine.containers.archive_stat(container, "/out"))["linkTarget"] == str(tmp_path)
    with pytest.raises(NotFound, match="Could not find the file /out/secret in container"):
        await engine.containers.archive_get(container, "/out/secret")
    with pytest.raises(InvalidParameter):
        await engine.containers.archive_put(container, "/", chunks(archive_of(("out/planted", b"x"))))
    assert not (tmp_path / "planted").exists()
    with pytest.raises(InvalidParameter):
        await engine.containers.archive_put(container, "/", chunks(archive_of(("../../escaped", b"x"))))
    with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
        await engine.containers.archive_put(container, "/d/f", chunks(data))
    assert secret.read_text() == "the host's"
    changed = {entry["Path"] for entry in await engine.containers.changes(container)}
    assert {"/d", "/d/f"} <= changed
    exported = b"".join([piece async for piece in await engine.containers.export(container)])
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        assert "d/f" in archive.getnames()
    if not running:
        assert mounts.mounts_under(engine.instance.run / "containers") == []


async def test_a_read_only_root_takes_no_files(engine: Engine) -> None:
    container = await make(engine, "true", host={"ReadonlyRootfs": True})
    with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
        await engine.containers.archive_put(container, "/tmp", chunks(archive_of(("f", b""))))


async def test_commit_makes_an_image_that_runs(engine: Engine) -> None:
    container = await make(engine, "sh", "-c", "echo kept > /file")
    await engine.containers.start(container)
    await engine.containers.wait(container)
    await engine.containers.commit(container, repo="kept", tag="1", changes=['CMD ["cat", "/file"]', "ENV A=b"])
    assert await run(engine, Image="kept:1") == (0, "kept\n")


async def test_top_lists_its_processes_and_prune_takes_those_that_ended(engine: Engine) -> None:
    container = await make(engine, "sleep", "61")
    ended = await make(engine, "true")
    await engine.containers.start(container)
    shown = await engine.containers.top(container)
    assert shown["Processes"][0][shown["Titles"].index("CMD")] == "sleep 61"
    pruned = await engine.containers.prune()
    assert pruned["ContainersDeleted"] == [ended]


async def test_lists_filter_by_status_label_name_and_order(engine: Engine) -> None:
    await make(engine, "true", name="first", Labels={"a": "1"})
    second = await make(engine, "sleep", "60", name="second", Labels={"a": "2"})
    await engine.containers.start(second)

    async def names(**query: Any) -> list[str]:
        return [item["Names"][0] for item in await engine.containers.list(**query)]

    assert await names() == ["/second"]
    assert await names(all=True) == ["/second", "/first"]
    assert await names(filters={"status": ["created"]}) == ["/first"]
    assert await names(all=True, filters={"label": ["a=2"]}) == ["/second"]
    assert await names(all=True, filters={"name": ["^/fir"]}) == ["/first"]
    assert await names(limit=1) == ["/second"]
    with pytest.raises(InvalidParameter, match="invalid filter 'nosuch'"):
        await names(filters={"nosuch": ["x"]})


async def test_a_log_is_rotated_within_its_bounds_and_followed_through(engine: Engine) -> None:
    container = await make(
        engine, "sh", "-c", "for i in 1 2 3 4 5 6; do seq 1000000001 1000002000; read x; done", OpenStdin=True,
        host={"LogConfig": {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "2"}}},
    )  # fmt: skip
    attachment = await engine.containers.attach(container, stdin=True)
    await engine.containers.start(container)
    path = Path((await engine.containers.inspect(container))["LogPath"])
    lines = 0
    ended = asyncio.create_task(engine.containers.wait(container))
    async with asyncio.timeout(30):
        async for _, data in engine.containers.logs(container, follow=True):
            lines += data.count(b"\n")
            if data.endswith(b"2000\n"):
                await asyncio.to_thread(
                    wait_until, lambda: path.exists() and path.stat().st_size <= 64 << 10, "the log is rotated"
                )
                await attachment.write(b"\n")
    assert (await ended)[0] == 0
    assert lines == 12_000
    kept = sorted(entry.name for entry in path.parent.iterdir() if ".log" in entry.name)
    assert kept == [path.name, f"{path.name}.1"]


async def test_a_container_that_takes_too_much_memory_is_told_to_have_been_killed_for_it(engine: Engine) -> None:
    code, _ = await run(engine, "sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", name="hungry",
                        host={"Memory": 16 << 20, "MemorySwap": 16 << 20})  # fmt: skip
    state = (await engine.containers.inspect("hungry"))["State"]
    assert (code, state["OOMKilled"]) == (137, True)


async def test_a_container_removed_while_it_starts_leaves_no_process(engine: Engine) -> None:
    def alive(mark: str) -> list[str]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(entry.name)
            except OSError:
                continue  # it ended meanwhile
        return found

    for number in range(6):
        mark = f"removed-while-starting-{number}-{engine.instance.id}"
        container = await make(engine, "sh", "-c", "while :; do sleep 0.1; done", mark)
        starting = asyncio.create_task(engine.containers.start(container))
        for _ in range(number * 3):
            await asyncio.sleep(0)
        await engine.containers.remove(container, force=True)
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda mark=mark: not alive(mark), "no process is left")


async def test_attaching_at_the_very_end_ends_at_once(engine: Engine) -> None:
    for pause in range(0, 40, 4):
        container = await make(engine, "true")
        await engine.containers.start(container)
        await asyncio.sleep(pause / 1000)  # somewhere around the container's end: that is the point
        attachment = await engine.containers.attach(container) if engine.containers.get(container).state.alive else None
        if attachment is not None:
            async with asyncio.timeout(30):
                assert [frame async for frame in attachment] == []
        await engine.containers.remove(container, force=True)
