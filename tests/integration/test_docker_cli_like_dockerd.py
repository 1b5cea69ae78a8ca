"""The same commands on Wherry and on Debian's dockerd: same exit codes, same output but for ids, times and sizes.

Only what two daemons of different ages agree on is compared: dockerd here is 20.10. Skipped without it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_client import DockerCli

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from peer import Peer

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

STORIES = {
    "run": [
        "run --rm busybox echo hi",
        "run --rm busybox sh -c 'exit 3'",
        "run --rm --user 1000:1000 busybox id",
        "run --rm -w /tmp -e A=b busybox sh -c 'pwd; echo $A'",
        "run --rm --hostname box busybox hostname",
        "run --rm --read-only busybox touch /x",
        "run --rm --network none busybox ip -o link",
        "run --rm --cap-drop ALL busybox chown 1:1 /bin",
        "run --rm --tmpfs /t:size=1m,mode=700 busybox stat -c %a /t",
        "run --rm -v /data busybox stat -c %a /data",
        "run --rm --entrypoint /bin/echo busybox a b",
        "run --rm --ulimit nofile=64:128 busybox sh -c 'ulimit -n; ulimit -Hn'",
        "run --rm --shm-size 8m busybox df -k /dev/shm",
        "run --rm --init busybox true",
        "ps -aq",
    ],
    "life": [
        "create --name web --label tier=front busybox sleep 1000",
        "inspect -f '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.Path}} {{.Args}}' web",
        "start web",
        "ps --format '{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Labels}}'",
        "exec web echo hi",
        "exec -u 7 -w /bin web sh -c 'id -u; pwd'",
        "pause web",
        "inspect -f '{{.State.Status}} {{.State.Paused}}' web",
        "unpause web",
        "rename web shop",
        "port shop",
        "kill -s KILL shop",
        "wait shop",
        "inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.RestartCount}}' shop",
        "ps -a --filter exited=137 --format '{{.Names}}'",
        "rm shop",
        "inspect shop",
    ],
    "settings": [
        "create --name c -m 64m --cpus 0.5 --pids-limit 50 --restart on-failure:3 --dns 9.9.9.9 --stop-signal INT "
        "-p 127.0.0.1::80 --health-cmd true --security-opt no-new-privileges busybox true",
        "inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' c",
        "inspect -f '{{json .HostConfig.RestartPolicy}} {{.HostConfig.Dns}} {{.Config.StopSignal}}' c",
        "inspect -f '{{json .HostConfig.PortBindings}} {{json .Config.ExposedPorts}}' c",
        "inspect -f '{{json .Config.Healthcheck}} {{json .HostConfig.SecurityOpt}}' c",
        "inspect -f '{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Env}}' c",
        "inspect -f '{{json .HostConfig.MaskedPaths}}' c",
        "inspect -f '{{.HostConfig.ShmSize}} {{.HostConfig.IpcMode}} {{.HostConfig.NetworkMode}}' c",
        "rm c",
    ],
    "files": [
        "run --name c busybox sh -c 'echo one > /one; mkdir /d; echo two > /d/two; rm /bin/wget'",
        "diff c",
        "cp c:/d/two -",
        "cp c:/nope -",
        "commit -m message c made:1",
        "run --rm made:1 cat /one /d/two",
        "history --format '{{.Comment}}' made:1",
        "rm c",
        "rmi made:1",
    ],
    "logs": [
        "run --name c busybox seq 5",
        "logs c",
        "logs --tail 2 c",
        "logs --tail 0 c",
        "logs nope",
        "rm c",
    ],
    "volumes": [
        "volume create --label a=b data",
        "volume ls",
        "volume inspect -f '{{.Name}} {{.Driver}} {{json .Labels}} {{json .Options}} {{.Scope}}' data",
        "volume create --driver local --opt type=tmpfs other",
        "volume create a/b",
        "run --rm -v data:/d busybox sh -c 'echo kept > /d/f'",
        "run --rm -v data:/d:ro busybox cat /d/f",
        "run --rm --mount type=volume,src=data,dst=/d,readonly busybox touch /d/x",
        "volume rm data",
        "volume rm data",
    ],
    "networks": [
        "network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'",
        "network create --subnet 10.211.0.0/24 --label a=b blue",
        "network inspect -f '{{.Name}} {{.Driver}} {{(index .IPAM.Config 0).Subnet}} {{json .Labels}}' blue",
        "network create blue",
        "run --rm --network blue --ip 10.211.0.9 busybox ip -4 -o addr show eth0",
        "run --rm --network nope busybox true",
        "network rm blue",
        "network rm blue",
        "network rm bridge",
    ],
    "images": [
        "images --format '{{.Repository}}:{{.Tag}}'",
        "tag busybox shop:1",
        "tag nope shop:1",
        "images -q shop",
        "image inspect -f '{{json .RepoTags}} {{.Os}} {{json .Config.Cmd}}' busybox",
        "rmi shop:1",
        "rmi shop:1",
        "image inspect nope",
        "run --rm --pull never nope true",
    ],
}


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    if not Peer.available():
        pytest.skip("dockerd is not installed")
    with Peer() as peer:
        yield peer


def _normal(text: str) -> list[str]:
    text = re.sub(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}|\b[0-9a-f]{12}\b", "<id>", text)
    text = re.sub(r"eth0@if\d+|^\d+: ", "<link>", text, flags=re.MULTILINE)
    text = re.sub(r"\(must be.*?\)", "", text)
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("story", STORIES)
async def test_the_same_commands_give_the_same(
    story: str, docker_cli: DockerCli, peer: Peer, busybox_archive: Path, tmp_path: Path
) -> None:
    import shlex

    theirs = DockerCli(peer.host, tmp_path)
    await theirs("load", "-i", str(busybox_archive))
    differences = []
    for command in STORIES[story]:
        words = shlex.split(command)
        mine, other = await docker_cli.any(*words), await theirs.any(*words)
        if (mine.code, _normal(mine.out)) != (other.code, _normal(other.out)):
            differences.append(f"docker {command}\n  wherry:  {mine}\n  dockerd: {other}")
        # Where both fail, both must say something.
        assert bool(mine.err) == bool(other.err) or mine.code == 0, (command, mine, other)
    assert not differences, "\n".join(differences)
