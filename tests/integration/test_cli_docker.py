"""Wherry's own docker command: side by side with Docker's 28, and in a terminal."""

import asyncio
import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from own_docker import Pair

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

# Each is run by Docker's client and by ours on the same engine; both must print the same and end the same.
SAME = """
ps
ps -a
ps -q --no-trunc
ps --no-trunc
ps -s
ps --format json
ps --format '{{json .}}'
ps --format '{{.ID}} {{.Names}} {{.Label "a"}} {{.Mounts}} {{.Networks}} {{.LocalVolumes}} {{.Image}}'
ps --format 'table {{.Names}}\\t{{.Ports}}\\t{{.Label "a"}}'
ps --format '{{.Foo}}'
ps --format '{{foo}}'
ps --format '{{.ID'
ps --format
ps --filter foo=bar
ps --filter foo
ps --filter label=a --format '{{.Names}}'
ps --foo
ps -x
ps extra
ps -n
ps -n x
ps -n 1 --format '{{.Names}}'
ps -l -q
ps --all=x
images
images -q
images --no-trunc
images busybox
images busybox:latest
images nope
images --format json busybox
images --format 'table {{.ID}}\\t{{.Repository}}' busybox
history busybox
history --no-trunc --human=false busybox
history -q busybox
history --format json busybox
history nope
network ls
network ls -q --no-trunc
network ls --format json
network ls --filter driver=bridge
network inspect bridge
network inspect nope
network inspect -f '{{.Nope}}' bridge
network inspect -f '{{.Id}} {{.IPAM.Driver}}' bridge
network rm nope
network create
network foo
network connect nope web
network disconnect bridge nope
volume ls
volume ls -q
volume ls --format json
volume inspect data
volume inspect nope
volume inspect -f '{{.Mountpoint}}' data nope
volume rm nope
inspect web
inspect -s web
inspect -f '{{.State.Status}} {{.Name}}' web
inspect -f '{{json .Config.Env}} {{json .Args}}' web
inspect -f '{{range $k,$v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}' web
inspect -f '{{range .Mounts}}{{.Name}}:{{.Destination}} {{end}}' web
inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' web
inspect -f '{{.Nope}}' web
inspect -f '{{.State.Nope}}' web
inspect -f '{{.Foo' web
inspect -f json web
inspect nope
inspect web nope
inspect -f '{{.Name}}' web nope
inspect --type image busybox
inspect --type image nope
inspect busybox data bridge
container inspect nope
image inspect -f '{{.RepoTags}} {{.Size}} {{.Os}}/{{.Architecture}}' busybox
image inspect nope
port web
port web 80
port web 81
port web 80/udp
top web -o pid,comm
top nope
diff web
diff nope
logs web
logs -t web
logs -n 1 web
logs --since 10m web
logs --since x web
logs --tail x web
logs nope
logs a b
exec web
exec nope sh
exec web sh -c 'echo a; echo b >&2; exit 4'
exec -e A=b -w /tmp -u 1:1 web sh -c 'echo $A; pwd; id'
exec -it web sh
exec web nosuch
exec -d web true
run --rm busybox echo hi
run --rm busybox sh -c 'echo out; echo err >&2; exit 7'
run --rm busybox nosuch
run --rm busybox /etc
run --rm -it busybox sh
run --rm -w /tmp -e A=b --user 5 --hostname h busybox sh -c 'id -u; pwd; echo $A; hostname'
run --rm --name web busybox true
run --pull never nosuchimage
run -p abc busybox
run --foo busybox
run
run --name
run -v a:b:c:d busybox
run --memory x busybox
run --restart bogus busybox
run --mount type=foo busybox
run --env-file /nope busybox
run -d -a stdin busybox
create
start nope
start web
start web nope
stop nope
kill nope
kill -s FOO web
restart nope
pause nope
rename a
rename web web
rename nope x
rm nope nope2
rm web
rm -f nope
rm ''
rmi nope
rmi -f nope
tag a
tag nope x:y
wait nope
update nope
update web
update -m 64m web
attach nope
cp a b
cp web:/nope /tmp/x
cp nope:/a /tmp/x
cp web:/a web:/b
cp web:/etc/passwd -
commit nope
export nope
save nope
load -i /nope
import /nope
pull UPPER
push nosuch
login -u a
context ls
context ls -q
context show
context inspect
context inspect nope
system df
system df --format json
system df --format '{{.Type}} {{.Size}}'
system foo
events --since x
stats --no-stream nope
foo
help foo
--foo
-x
container foo
container ls --filter
version --format '{{.Server.Version}}'
info --format '{{.Driver}} {{.NCPU}} {{.ID}}'
image foo
image prune extra
image save
volume rm
volume prune --foo
network create --subnet x n
network create --driver nope n
exec web -w
run --name web busybox
run --cpus x busybox
run -w rel busybox true
run --link nope busybox
run --ulimit x busybox
run --health-interval x busybox
run --tmpfs rel busybox
run --dns x busybox
run --add-host x busybox
run --stop-timeout x busybox
stop -t x web
rename web ''
update --memory x web
update --restart nope web
cp web:/etc/hosts
cp nope web
tag busybox UPPER
save -o /nope/x busybox
context use nope
ps --filter status=nope
volume ls --filter nope=1
network ls --filter nope=1
-H tcp://127.0.0.1:1 ps
-H unix:///nonexistent ps
-H a -H b ps
--context nope ps
"""

_AGE = re.compile(r"(Less than a second|\d+ (second|minute)s?|About (a|an) (minute|hour))( ago)?|\.\d{3,9}Z")
_SPACES = re.compile(r" {2,}")
_HEX = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")


def normal(text: str) -> str:
    """Without ids, ages, and the widths that depend on them."""
    return _SPACES.sub("  ", _AGE.sub("AGE", _HEX.sub("ID", text)))


async def test_side_by_side(pair: Pair) -> None:
    """Same output, same errors, same exit codes."""
    await pair.ours(
        *shlex.split("run -d --name web -p 127.0.0.1::80 -v data:/data --label a=b busybox"),
        *("sh", "-c", "echo one; echo two >&2; exec sleep 1000"),
    )
    await pair.ours("run", "--name", "done", "busybox", "true")
    different = []
    lines = [line for line in SAME.splitlines() if line]
    for line in lines:
        words = shlex.split(line)
        real = await pair.real.any(*words)
        ours = await pair.ours(*words)
        if (real.code, normal(real.out), normal(real.err)) != (ours.code, normal(ours.out), normal(ours.err)):
            different.append(f"docker {line}\n  Docker: {real}\n  Wherry: {ours}")
    await pair.ours("rm", "-f", "-v", "web", "done")
    assert not different, f"{len(different)} of {len(lines)} differ:\n" + "\n".join(different)
    assert len(lines) >= 120


async def test_containers_made_by_both_clients_are_alike(pair: Pair) -> None:
    """What our client asks for is what Docker's asks for: compared by inspect."""
    for options in (
        "-it --hostname h -e A=b -l k=v -w /tmp",
        "-p 127.0.0.1:8080:80 --expose 70 --restart on-failure:3 --init",
        "-v /tmp:/a:ro -v named:/b -v /anon --tmpfs /t:size=1m --mount type=bind,src=/tmp,dst=/y,readonly",
        "-m 64m --cpus 0.5 --pids-limit 5 --shm-size 1m --ulimit nofile=64:128 --cap-add net_admin --cap-drop ALL",
        "--health-cmd true --health-interval 3s --stop-timeout 3 --stop-signal INT --log-opt max-size=1m --read-only",
        "--network none --dns 9.9.9.9 --add-host a:1.2.3.4 --entrypoint /bin/sh --user 5",
    ):
        found = []
        for make in (pair.real.any, pair.ours):
            made = await make("create", *shlex.split(options), "busybox", "sleep", "5")
            assert made.code == 0, made
            text = (await pair.ours("inspect", made.out.strip())).out
            await pair.ours("rm", "-v", made.out.strip())
            container = json.loads(text)[0]
            container["Name"] = ""
            # Docker's client keeps -v in a Go map: their order is anybody's guess.
            container["HostConfig"]["Binds"] = sorted(container["HostConfig"]["Binds"] or [])
            container["Mounts"].sort(key=lambda mount: mount["Destination"])
            found.append(json.loads(_AGE.sub("AGE", _HEX.sub("ID", json.dumps(container)))))
            found[-1].pop("Created")
        assert found[0] == found[1], options


async def test_streams_and_signals(pair: Pair) -> None:
    data = os.urandom(1 << 20)
    process = await asyncio.create_subprocess_exec(
        pair.program, *shlex.split("run --rm -i busybox cat"), env=pair.env,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert (await process.communicate(data))[0] == data
    assert process.returncode == 0
    trap = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    process = await asyncio.create_subprocess_exec(
        pair.program, "run", "--rm", "busybox", "sh", "-c", trap, env=pair.env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.terminate()
    assert await process.stdout.read() == b"caught\n"
    assert await process.wait() == 9


async def test_files_go_in_and_out(pair: Pair, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a").write_text("alpha")
    (tree / "sub" / "b").write_text("beta")
    (tree / "link").symlink_to("a")
    await pair.ours("create", "--name", "box", "busybox")
    assert (await pair.ours("cp", str(tree), "box:/in")).code == 0
    assert (await pair.ours("cp", f"{tree}/.", "box:/in")).code == 0
    assert (await pair.ours("cp", str(tree / "a"), "box:/in/renamed")).code == 0
    out = tmp_path / "out"
    assert (await pair.ours("cp", "box:/in", str(out))).code == 0
    assert (out / "sub" / "b").read_text() == "beta"
    assert (out / "renamed").read_text() == "alpha"
    assert os.readlink(out / "link") == "a"
    assert (await pair.ours("cp", "box:/in/a", str(tmp_path / "single"))).code == 0
    assert (tmp_path / "single").read_text() == "alpha"
    assert (await pair.ours("export", "-o", str(tmp_path / "all.tar"), "box")).code == 0
    assert (tmp_path / "all.tar").stat().st_size > 1 << 20
    assert (await pair.ours("save", "-o", str(tmp_path / "image.tar"), "busybox")).code == 0
    assert (await pair.ours("load", "-i", str(tmp_path / "image.tar"))).out == "Loaded image: busybox:latest\n"
    await pair.ours("rm", "box")


async def test_build(pair: Pair, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        'FROM busybox\nARG who=nobody\nRUN echo hello $who\nCOPY . /c\nCMD ["ls", "/c"]\n'
    )
    (context / ".dockerignore").write_text("secret\n")
    (context / "secret").write_text("x")
    (context / "shown").write_text("x")
    built = await pair.ours("build", "-t", "made", "--build-arg", "who=you", str(context))
    assert built.code == 0, built
    assert re.search(r"^#3 \[1/3\] FROM busybox$", built.err, re.M)
    assert re.search(r"^#4 \d+\.\d{3} hello you$", built.err, re.M)
    assert re.search(r"^#\d+ naming to docker.io/library/made done$", built.err, re.M)
    again = await pair.ours("build", "-q", "-t", "made", "--build-arg", "who=you", str(context))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", again.out)
    assert (await pair.ours("run", "--rm", "made")).out == "Dockerfile\nshown\n"
    failed = await pair.ours("build", "-", stdin=b"FROM busybox\nRUN exit 3\n")
    assert failed.code == 1
    assert failed.err.endswith(
        '   2 | >>> RUN exit 3\n--------------------\nERROR: failed to solve: process "/bin/sh -c exit 3" did not '
        "complete successfully: exit code: 3\n"
    )
    refused = await pair.ours("build", "--squash", str(context))
    assert refused.err == "ERROR: --squash is not supported: this builder has no squashing\n"
    await pair.ours("rmi", "made")


async def test_an_interactive_shell(pair: Pair) -> None:
    async with pair.terminal("run", "-it", "--name", "shell", "busybox", "sh") as terminal:
        await terminal.wait_for("/ #")
        terminal.type("stty size\r")
        await terminal.wait_for("24 80")
        terminal.resize(30, 100)
        terminal.type("stty size\r")
        await terminal.wait_for("30 100")
        # The keys count only once the shell has left its line editor, which the sum shows.
        terminal.type("echo begun-$((1+1)); sleep 1000\r")
        await terminal.wait_for("begun-2")
        terminal.type("\x03")
        terminal.type("echo back-$((40+2))\r")
        await terminal.wait_for("back-42")
        terminal.type("\x10\x11")
        assert await terminal.exit_code() == 0
    assert (await pair.ours("inspect", "-f", "{{.State.Running}}", "shell")).out == "true\n"
    async with pair.terminal("attach", "shell") as terminal:
        await terminal.wait_for("/ #")
        terminal.type("echo again-$((1+1))\r")
        await terminal.wait_for("again-2")
        terminal.type("exit 5\r")
        assert await terminal.exit_code() == 5
    async with pair.terminal("start", "-ai", "shell") as terminal:
        await terminal.wait_for("/ #")
        terminal.type("\x10\x11")
        assert await terminal.exit_code() == 0
    async with pair.terminal("exec", "-it", "shell", "sh", rows=20, columns=70) as terminal:
        await terminal.wait_for("/ #")
        terminal.type("stty size; exit 3\r")
        await terminal.wait_for("20 70")
        assert await terminal.exit_code() == 3
    await pair.ours("rm", "-f", "shell")


async def test_live_progress_of_a_build(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo working; sleep 0.5\n")
    async with pair.terminal("build", "--no-cache", "-t", "live", str(tmp_path), columns=100) as terminal:
        await terminal.wait_for("=> => # working")
        await terminal.wait_for("FINISHED")
        assert await terminal.exit_code() == 0
        assert " => [2/2] RUN echo working; sleep 0.5" in terminal.text
        assert "[+] Building" in terminal.text
    await pair.ours("rmi", "live")


async def test_ctrl_c_ends_what_follows(pair: Pair) -> None:
    await pair.ours("run", "-d", "--name", "talks", "busybox", "sh", "-c", "echo first; exec sleep 1000")
    async with pair.terminal("logs", "-f", "talks") as terminal:
        await terminal.wait_for("first")
        terminal.type("\x03")
        assert await terminal.exit_code() == 130
    await pair.ours("rm", "-f", "talks")


async def test_env_puts_missing_clients_last_and_ours_first_when_asked(wherry_engine: "Engine", tmp_path: Path) -> None:
    from wherry.cli import launchers

    place = launchers.folder(wherry_engine.instance)
    installed = tmp_path / "installed"
    installed.mkdir()
    assert launchers.path_with(place, str(installed), "auto") == f"{installed}:{place}"
    assert launchers.path_with(place, f"{place}:{installed}", "wherry") == f"{place}:{installed}"
    assert launchers.path_with(place, f"{installed}:{place}", "installed") == str(installed)
    for name in launchers.PROGRAMS:
        (installed / name).write_text("#!/bin/sh\n")
        (installed / name).chmod(0o755)
    assert launchers.path_with(place, str(installed), "auto") == str(installed)
