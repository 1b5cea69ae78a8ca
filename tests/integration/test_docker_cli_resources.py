"""`docker volume`, `network`, `image`, `system` by the real client."""

import asyncio
import json
import re
import time

import pytest
from docker_client import DockerCli

from wherry.testing import clients

pytestmark = pytest.mark.root


async def test_version_and_info(docker_cli: DockerCli) -> None:
    shown = (await docker_cli("version")).out
    assert re.search(r"Server:.*\n(.*\n)*? +API version: +1\.50 \(minimum version 1\.24\)", shown)
    info = json.loads((await docker_cli("info", "-f", "json")).out)
    assert info["OSType"] == "linux"
    assert info["Images"] == 1
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert not info.get("ServerErrors")
    listed = (await docker_cli("info")).out
    assert " Storage Driver: overlay2" in listed


async def test_volumes(docker_cli: DockerCli) -> None:
    assert (await docker_cli("volume", "create", "--label", "a=b", "data")).out == "data\n"
    assert (await docker_cli("volume", "ls")).lines[1].split() == ["local", "data"]
    (volume,) = json.loads((await docker_cli("volume", "inspect", "data")).out)
    assert volume["Labels"] == {"a": "b"}
    await docker_cli("run", "--name", "writer", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file")
    used = await docker_cli("volume", "rm", "data", fails=True)
    assert re.search(r"remove data: volume is in use - \[[0-9a-f]{64}\]", used.err)
    await docker_cli("rm", "writer")
    assert (await docker_cli("run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/file")).out == "kept\n"
    ran = await docker_cli("run", "--rm", "-v", "data:/d:ro", "busybox", "touch", "/d/x", fails=True)
    assert "Read-only file system" in ran.err
    assert (await docker_cli("volume", "rm", "data")).out == "data\n"
    gone = await docker_cli("volume", "inspect", "data", fails=True)
    assert "no such volume" in gone.err


async def test_a_volume_starts_with_the_images_content_and_anonymous_ones_go_with_rm(docker_cli: DockerCli) -> None:
    listed = (await docker_cli("run", "--rm", "-v", "/bin", "busybox", "ls", "/bin")).out
    assert "busybox" in listed.split()
    assert (await docker_cli("volume", "ls", "-q")).out == ""
    tmpfs = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m")
    await docker_cli("volume", "create", *tmpfs, "scratch")
    mounted = (await docker_cli("run", "--rm", "-v", "scratch:/s", "busybox", "df", "-k", "/s")).out
    assert mounted.splitlines()[1].split()[:2] == ["tmpfs", "1024"]
    assert (await docker_cli("volume", "prune", "-a", "-f")).out.startswith("Total reclaimed space:")


async def test_networks(docker_cli: DockerCli) -> None:
    names = [line.split()[1:] for line in (await docker_cli("network", "ls")).lines[1:]]
    assert sorted(names) == [["bridge", "bridge", "local"], ["host", "host", "local"], ["none", "null", "local"]]
    assert re.fullmatch(r"[0-9a-f]{64}\n", (await docker_cli("network", "create", "blue")).out)
    taken = await docker_cli("network", "create", "blue", fails=True)
    assert "network with name blue already exists" in taken.err
    await docker_cli("run", "-d", "--name", "web", "--network", "blue", "busybox", "sleep", "1000")
    pinged = await docker_cli("run", "--rm", "--network", "blue", "busybox", "ping", "-c1", "-W3", "web")
    assert "1 packets received" in pinged.out
    busy = await docker_cli("network", "rm", "blue", fails=True)
    assert "has active endpoints" in busy.err
    await docker_cli("network", "disconnect", "blue", "web")
    assert (await docker_cli("network", "rm", "blue")).out == "blue\n"
    assert "network nope not found" in (await docker_cli("network", "inspect", "nope", fails=True)).err


async def test_images(docker_cli: DockerCli) -> None:
    header, row = (await docker_cli("images")).lines
    assert header.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert row.split()[:2] == ["busybox", "latest"]
    await docker_cli("tag", "busybox", "shop:1")
    assert (await docker_cli("rmi", "shop:1")).out == "Untagged: shop:1\n"
    assert "No such image: shop:1" in (await docker_cli("rmi", "shop:1", fails=True)).err
    await docker_cli("run", "--name", "user", "busybox", "true")
    used = await docker_cli("rmi", "busybox", fails=True)
    assert "conflict: unable to remove repository reference" in used.err
    assert (await docker_cli("history", "-q", "--no-trunc", "busybox")).lines[0].startswith("sha256:")
    assert (await docker_cli("image", "inspect", "-f", "{{.Os}}", "busybox")).out == "linux\n"


async def test_save_and_load(docker_cli: DockerCli, tmp_path: object) -> None:
    archive = f"{tmp_path}/saved.tar"
    await docker_cli("save", "-o", archive, "busybox")
    await docker_cli("rmi", "busybox")
    assert (await docker_cli("load", "-i", archive)).out == "Loaded image: busybox:latest\n"
    assert (await docker_cli("run", "--rm", "busybox", "echo", "back")).out == "back\n"
    bad = await docker_cli("load", stdin=b"this is no archive", fails=True)
    assert bad.err


async def test_export_import_and_commit_keep_files_and_take_settings(docker_cli: DockerCli, tmp_path: object) -> None:
    make = "mkdir /kept; cd /kept; echo content > file; ln file hard; chmod 4750 file; ln -s /none link"
    await docker_cli("run", "--name", "box", "-e", "GONE=1", "busybox", "sh", "-c", make)
    await docker_cli("export", "-o", f"{tmp_path}/box.tar", "box")
    changes = ("--change", "CMD stat -c '%a %h' /kept/file", "--change", "ENV A=b", "--change", "LABEL l=m")
    imported = await docker_cli("import", "-m", "by hand", *changes, f"{tmp_path}/box.tar", "imported:1")
    assert imported.out.startswith("sha256:")
    committed = await docker_cli("commit", "-m", "note", "-a", "me", *changes, "box", "committed:1")
    for name, layers, env in (("imported:1", 1, "[A=b]"), ("committed:1", 2, "GONE=1 ")):
        assert (await docker_cli("run", "--rm", name)).out == "4750 2\n"
        assert (await docker_cli("run", "--rm", name, "readlink", "/kept/link")).out == "/none\n"
        shown = "{{len .RootFS.Layers}} {{.Config.Labels}} {{.Config.Env}}"
        inspected = (await docker_cli("image", "inspect", "-f", shown, name)).out
        assert inspected.startswith(f"{layers} map[l:m] ") and env in inspected
    about = await docker_cli("image", "inspect", "-f", "{{.Id}} {{.Author}} {{.Comment}}", "committed:1")
    assert about.out == f"{committed.out.strip()} me note\n"
    assert "by hand" in (await docker_cli("history", "imported:1")).out
    assert "invalid" in (await docker_cli("import", "-", "bad:1", stdin=b"no archive" * 100, fails=True)).err
    assert "bad" not in (await docker_cli("images")).out


async def test_events(docker_cli: DockerCli) -> None:
    follower = await docker_cli.start("events", "--format", "{{.Type}} {{.Action}}", "--filter", "container=web")
    assert follower.stdout is not None
    # The subscription is live once an event comes through.
    await docker_cli("run", "--rm", "--name", "web", "busybox", "true")
    seen = []
    async with asyncio.timeout(15):
        while "container destroy" not in seen:
            line = (await follower.stdout.readline()).decode().strip()
            seen.append(line)
            if not line:
                break
    follower.terminate()
    await follower.wait()
    assert [action for action in seen if action.startswith("container ")][-1] == "container destroy"
    until = str(int(time.time()) + 1)
    past = await docker_cli("events", "--since", "10m", "--until", until, "--format", "{{.Type}} {{.Action}}")
    wanted = ["create", "start", "die", "destroy"]
    assert [
        line.split()[1] for line in past.lines if line.split() in [["container", kind] for kind in wanted]
    ] == wanted


async def test_disk_usage_and_prune(docker_cli: DockerCli) -> None:
    await docker_cli("volume", "create", "data")
    header, *rows = (await docker_cli("system", "df")).lines
    assert header.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [row.split("  ")[0] for row in rows] == ["Images", "Containers", "Local Volumes", "Build Cache"]
    await docker_cli("run", "busybox", "true")
    pruned = await docker_cli("system", "prune", "-f")
    assert "Total reclaimed space:" in pruned.out


async def test_what_is_not_offered_says_so(docker_cli: DockerCli) -> None:
    assert "swarm" in (await docker_cli("service", "ls", fails=True)).err.lower()
    if not clients.installed("docker"):
        assert "it has no plugins" in (await docker_cli("plugin", "ls", fails=True)).err
        return
    assert (await docker_cli("plugin", "ls")).lines == ["ID        NAME      DESCRIPTION   ENABLED"]
