"""What one container takes from another, and what it shares with the host: links, volumes, namespaces."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_client import DockerCli

pytestmark = pytest.mark.root


async def test_a_link_gives_a_host_line_and_variables_and_can_be_removed(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "db", "-e", "PW=x", "--expose", "5432", "busybox", "sleep", "1000")
    script = "env | grep ^MYLINK | sort; grep mylink /etc/hosts | cut -f2; ping -c1 -W1 mylink >/dev/null && echo ok"
    ran = await docker_cli("run", "--name", "app", "--link", "db:mylink", "busybox", "sh", "-c", script)
    ip = (await docker_cli("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "db")).out.strip()
    short = (await docker_cli("inspect", "-f", "{{slice .Id 0 12}}", "db")).out.strip()
    assert ran.lines == [
        "MYLINK_ENV_PW=x",
        "MYLINK_NAME=/app/mylink",
        f"MYLINK_PORT=tcp://{ip}:5432",
        f"MYLINK_PORT_5432_TCP=tcp://{ip}:5432",
        f"MYLINK_PORT_5432_TCP_ADDR={ip}",
        "MYLINK_PORT_5432_TCP_PORT=5432",
        "MYLINK_PORT_5432_TCP_PROTO=tcp",
        f"mylink {short} db",
        "ok",
    ]
    links = ("inspect", "-f", "{{json .HostConfig.Links}}", "app")
    assert (await docker_cli(*links)).out == '["/db:/app/mylink"]\n'
    await docker_cli("rename", "db", "store")
    assert (await docker_cli(*links)).out == '["/store:/app/mylink"]\n'
    assert (await docker_cli("rm", "--link", "app/mylink")).out == "app/mylink\n"
    assert (await docker_cli(*links)).out == "null\n"
    assert "No such container" in (await docker_cli("rm", "--link", "app/mylink", fails=True)).err
    await docker_cli("stop", "-t", "0", "store")
    ran = await docker_cli("run", "--rm", "--name", "late", "--link", "store:s", "busybox", "true", fails=True)
    assert "Cannot link to a non running container: /store AS /late/s" in ran.err
    ran = await docker_cli("run", "--rm", "--link", "nope:s", "busybox", "true", fails=True)
    assert "could not get container for nope: No such container: nope" in ran.err


async def test_volumes_from_shares_data_and_access(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "donor", "-v", "/data", "-v", "named:/n:ro", "busybox", "sleep", "1000")
    await docker_cli("exec", "donor", "sh", "-c", "echo kept > /data/f")
    user = ("run", "--rm", "--volumes-from")
    ran = await docker_cli(*user, "donor", "busybox", "sh", "-c", "cat /data/f; touch /data/x && echo rw; touch /n/x",
                           fails=True)  # fmt: skip
    assert ran.out == "kept\nrw\n"
    assert "Read-only file system" in ran.err
    ran = await docker_cli(*user, "donor:ro", "busybox", "touch", "/data/y", fails=True)
    assert "Read-only file system" in ran.err
    assert "invalid mode: zz" in (await docker_cli(*user, "donor:zz", "busybox", "true", fails=True)).err
    ran = await docker_cli(*user, "nope", "busybox", "true", fails=True)
    assert "No such container: nope" in ran.err
    assert "find image" not in ran.err
    # Somebody else's anonymous volume stays.
    assert (await docker_cli("exec", "donor", "cat", "/data/f")).out == "kept\n"


async def test_namespaces_of_another_container(docker_cli: DockerCli) -> None:
    await docker_cli(
        "run", "-d", "--name", "one", "--ipc", "shareable", "--hostname", "box", "busybox", "sleep", "1000"
    )
    await docker_cli("exec", "one", "sh", "-c", "echo shared > /dev/shm/f")
    run = ("run", "--rm")
    assert "sleep 1000" in (await docker_cli(*run, "--pid", "container:one", "busybox", "ps", "-o", "args")).lines
    assert (await docker_cli(*run, "--ipc", "container:one", "busybox", "cat", "/dev/shm/f")).out == "shared\n"
    inside = (await docker_cli("exec", "one", "ip", "-4", "-o", "addr", "show", "eth0")).out
    ran = await docker_cli(*run, "--network", "container:one", "busybox", "sh", "-c",
                           "hostname; ip -4 -o addr show eth0")  # fmt: skip
    assert ran.out == "box\n" + inside
    await docker_cli("run", "-d", "--name", "two", "busybox", "sleep", "1000")
    ran = await docker_cli(*run, "--ipc", "container:two", "busybox", "true", fails=True)
    assert "can't join IPC of container" in ran.err
    assert "non-shareable IPC (hint: use IpcMode:shareable for the donor container)" in ran.err
    await docker_cli("stop", "-t", "0", "two")
    ran = await docker_cli(*run, "--network", "container:two", "busybox", "true", fails=True)
    assert "cannot join network of a non running container" in ran.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--hostname foo", "hostname and the network mode"),
        ("--dns 1.1.1.1", "dns and the network mode"),
        ("--add-host a:1.1.1.1", "custom host-to-IP mapping and the network mode"),
        ("-p 80:80", "port publishing and the container type network mode"),
        ("--expose 80", "port exposing and the container type network mode"),
        ("--link one:x", "container type network can't be used with links"),
    ],
)
async def test_what_cannot_go_with_another_containers_network(
    docker_cli: DockerCli, options: str, message: str
) -> None:
    await docker_cli("create", "--name", "one", "busybox", "true")
    ran = await docker_cli("create", "--network", "container:one", *options.split(), "busybox", "true", fails=True)
    assert f"conflicting options: {message}" in ran.err


async def test_namespaces_of_the_host(docker_cli: DockerCli) -> None:
    import os

    run = ("run", "--rm")
    ran = await docker_cli(*run, "--pid", "host", "busybox", "sh", "-c", f"test -d /proc/{os.getpid()} && echo seen")
    assert ran.out == "seen\n"
    node = os.uname().nodename
    assert (await docker_cli(*run, "--uts", "host", "busybox", "hostname")).out == f"{node}\n"
    assert (await docker_cli(*run, "--network", "host", "busybox", "hostname")).out == f"{node}\n"
    assert (await docker_cli(*run, "--ipc", "host", "busybox", "grep", "-c", " /dev/shm ", "/proc/mounts")).out == "1\n"
    ran = await docker_cli(*run, "--ipc", "none", "busybox", "grep", "-c", "/dev/shm", "/proc/mounts", fails=True)
    assert ran.out == "0\n"
    ran = await docker_cli(*run, "--uts", "host", "-h", "foo", "busybox", "true", fails=True)
    assert "conflicting options: hostname and the UTS mode" in ran.err


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


@pytest.fixture
def shared_directory(tmp_path: Path) -> Iterator[Path]:
    """A mount point of its own whose mounts propagate."""
    place = tmp_path / "shared"
    (place / "in").mkdir(parents=True)
    subprocess.run(["mount", "--bind", place, place], check=True)
    subprocess.run(["mount", "--make-shared", place], check=True)
    yield place
    subprocess.run(["umount", "-R", place], check=True)


async def test_mounts_propagate_as_asked(docker_cli: DockerCli, shared_directory: Path) -> None:
    await docker_cli("run", "-d", "--name", "slave", "-v", f"{shared_directory}:/p:rslave", "busybox", "sleep", "1000")
    await docker_cli("run", "-d", "--name", "private", "-v", f"{shared_directory}:/p", "busybox", "sleep", "1000")
    inner = shared_directory / "in"
    _run("mount", "-t", "tmpfs", "none", inner)
    try:
        (inner / "seen").touch()
        assert (await docker_cli("exec", "slave", "ls", "/p/in")).out == "seen\n"
        assert (await docker_cli("exec", "private", "ls", "/p/in")).out == ""
    finally:
        _run("umount", inner)
    await docker_cli("run", "--rm", "--privileged", "-v", f"{shared_directory}:/p:rshared", "busybox", "mount", "-t",
                     "tmpfs", "none", "/p/in")  # fmt: skip
    assert str(inner) in Path("/proc/self/mounts").read_text()
    _run("umount", inner)


async def test_a_volumes_subpath_and_an_image_can_be_mounted(docker_cli: DockerCli) -> None:
    await docker_cli("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "mkdir -p /v/a/b; touch /v/a/b/deep")
    mount = ("run", "--rm", "--mount")
    ran = await docker_cli(*mount, "type=volume,src=vol,dst=/m,volume-subpath=a/b", "busybox", "ls", "/m")
    assert ran.out == "deep\n"
    ran = await docker_cli(*mount, "type=volume,src=vol,dst=/m,volume-subpath=../b", "busybox", "ls", fails=True)
    assert "subpath must be a relative path within the volume" in ran.err
    await docker_cli("run", "--rm", "-v", "vol:/v", "busybox", "ln", "-s", "/etc", "/v/out")
    ran = await docker_cli(*mount, "type=volume,src=vol,dst=/m,volume-subpath=out", "busybox", "ls", fails=True)
    assert "cannot access path" in ran.err
    ran = await docker_cli(*mount, "type=image,src=busybox,dst=/m", "busybox", "ls", "/m/bin/busybox")
    assert ran.out == "/m/bin/busybox\n"
    ran = await docker_cli(*mount, "type=image,src=busybox,dst=/m,image-subpath=bin", "busybox", "ls", "/m/busybox")
    assert ran.out == "/m/busybox\n"
    ran = await docker_cli(*mount, "type=image,src=busybox,dst=/m,readonly", "busybox", "touch", "/m/x", fails=True)
    assert "Read-only file system" in ran.err
    ran = await docker_cli(*mount, "type=image,src=nope,dst=/m", "busybox", "true", fails=True)
    assert "No such image: nope" in ran.err
    await docker_cli("run", "-d", "--name", "user", "--mount", "type=image,src=busybox,dst=/m", "busybox", "sleep", "9")
    assert (await docker_cli("inspect", "-f", "{{(index .Mounts 0).Type}}", "user")).out == "image\n"
