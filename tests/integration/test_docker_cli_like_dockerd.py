"""The same commands on Wherry and on Debian's dockerd: same exit codes, same output but for ids, times and sizes.

The commands are in `dockerd_stories`: every command and flag of `docker container|image|network|volume|system --help`.
Only what two daemons of different ages agree on is compared: dockerd here is 20.10. Skipped without it.
"""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_client import DockerCli, Ran
from dockerd_stories import DIFFERENT, FILES, FLAGS_LEFT_OUT, SETTINGS_OF_AGE, STORIES, Step

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from peer import Peer

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

GROUPS = ("container", "image", "network", "volume", "system")
SHORT = {
    "ps": "container ls", "images": "image ls", "rmi": "image rm", "events": "system events", "info": "system info",
    **{name: f"image {name}" for name in ("build", "history", "import", "load", "pull", "push", "save", "tag")},
    **{name: f"container {name}" for name in (
        "attach", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs", "pause", "port",
        "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait",
    )},
}  # fmt: skip
UNORDERED = ("Binds", "Env")
"""Lists that a client gives in any order."""
SUBNETS = (("10.21", "10.22"), ("fd00:211", "fd00:221"))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    if not Peer.available():
        pytest.skip("dockerd is not installed")
    with Peer() as peer:
        yield peer


async def _clear(cli: DockerCli) -> None:
    """Back to an engine with nothing in it."""
    if containers := (await cli("ps", "-aq")).out.split():
        await cli("rm", "-f", "-v", *containers)
    await cli("system", "prune", "-af", "--volumes")


def _normal(text: str, folder: Path) -> list[str]:
    text = text.replace(str(folder), "<tmp>")
    for mine, theirs in SUBNETS:
        text = text.replace(theirs, mine)
    text = re.sub(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}|\b[0-9a-f]{12}\b", "<id>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", text)
    text = re.sub(r"eth0@if\d+|^\d+: ", "<link>", text, flags=re.MULTILINE)
    text = re.sub(r"Total reclaimed space: \S+", "<space>", text)
    text = re.sub(r"\(must be.*?\)", "", text)
    return [line.rstrip() for line in text.splitlines()]


def _settings(text: str) -> list[str]:
    """What of `docker inspect` of a container was asked for: its settings, one per line."""
    lines = []
    for found in json.loads(text):
        for part in ("Config", "HostConfig"):
            lines += [
                f"{part}.{key} {json.dumps(_without_ids(sorted(value) if key in UNORDERED and value else value))}"
                for key, value in found[part].items()
                if f"{part}.{key}" not in SETTINGS_OF_AGE
            ]
        lines += [
            json.dumps({key: _without_ids(value) for key, value in mount.items() if key != "Source"}, sort_keys=True)
            for mount in found["Mounts"]
        ]
        lines += [str(found[key]) for key in ("Path", "Args", "Name", "RestartCount")]
    return sorted(lines)


def _without_ids(value: Any) -> Any:
    text = json.dumps(value, sort_keys=True)
    return json.loads(re.sub(r"sha256:[0-9a-f]{64}|[0-9a-f]{64}|\b[0-9a-f]{12}\b", "<id>", text))


def _shown(words: list[str], ran: Ran, folder: Path) -> list[str]:
    if words[0] == "inspect" and len(words) == 2 and ran.code == 0:
        return _settings(ran.out)
    return _normal(ran.out, folder)


async def _run(cli: DockerCli, step: Step, folder: Path) -> tuple[list[str], Ran]:
    command, stdin = step if isinstance(step, tuple) else (step, "")
    if folder.name == "dockerd":
        # Both run at once on one machine: each has subnets of its own.
        for mine, theirs in SUBNETS:
            command = command.replace(mine, theirs)
    command = command.replace("{tmp}", str(folder)).replace("{soon}", str(int(time.time()) + 1))
    words = shlex.split(command)
    return words, await cli.any(*words, stdin=stdin.encode(), timeout=60)


@pytest.mark.parametrize("story", STORIES)
async def test_the_same_commands_give_the_same(
    story: str, docker_cli: DockerCli, peer: Peer, busybox_archive: Path, tmp_path: Path
) -> None:
    theirs = DockerCli(peer.host, tmp_path)
    await _clear(theirs)
    await theirs("load", "-i", str(busybox_archive))
    folders = (tmp_path / "wherry", tmp_path / "dockerd")
    for folder in folders:
        folder.mkdir()
        for name, content in FILES.items():
            (folder / name).write_text(content)
    differences = []
    for step in STORIES[story]:
        (words, mine), (_, other) = await asyncio.gather(
            _run(docker_cli, step, folders[0]), _run(theirs, step, folders[1])
        )
        if step in DIFFERENT:
            continue
        ours, expected = _shown(words, mine, folders[0]), _shown(words, other, folders[1])
        # Where both fail, both must say something.
        if (mine.code, ours) != (other.code, expected) or (mine.code and bool(mine.err) != bool(other.err)):
            only = [f"    wherry:  {line}" for line in ours if line not in expected]
            only += [f"    dockerd: {line}" for line in expected if line not in ours]
            if not only:
                # The same lines in another order, or another number of times.
                only = [f"    wherry:  {ours}", f"    dockerd: {expected}"]
            ends = f"  {mine.code} {mine.err.strip()}\n  {other.code} {other.err.strip()}"
            differences.append("\n".join([f"docker {step}", ends, *only]))
    assert not differences, "\n".join(differences)


def _help(*words: str) -> str:
    # No daemon: so nothing is hidden for what the daemon is.
    environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nonexistent", "HOME": "/nonexistent"}
    done = subprocess.run(["docker", *words, "--help"], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def _flags(words: str) -> dict[str, str]:
    """Every flag of a command, short and long, to its long name."""
    found = {}
    for short, long in re.findall(r"^\s+(?:-(\w), )?--([\w-]+)", _help(*words.split()), re.MULTILINE):
        found[f"--{long}"] = f"--{long}"
        if short:
            found[f"-{short}"] = f"--{long}"
    return found


def test_every_command_and_flag_of_help_is_compared_or_left_out_with_a_reason() -> None:
    known = {
        f"{group} {command}": _flags(f"{group} {command}")
        for group in GROUPS
        for command in re.findall(r"^  (\w+)\s", _help(group).split("Commands:")[1], re.MULTILINE)
    }
    seen: set[str] = set()
    for step in (step for story in STORIES.values() for step in story):
        words = shlex.split(step if isinstance(step, str) else step[0])
        command = SHORT.get(words[0]) or " ".join(words[:2])
        flags = known.get(command, {})
        for word in words:
            name = word.partition("=")[0]
            names = [name] if name.startswith("--") else [f"-{letter}" for letter in name[1:]]
            if name.startswith("-"):
                seen |= {f"{command} {flags[name]}" for name in names if name in flags}
        seen.add(command)
    left_out = {name for names in FLAGS_LEFT_OUT.values() for name in names}
    wanted = {f"{command} {flag}" for command, flags in known.items() for flag in flags.values()} | known.keys()
    both = {"container create", "container run"}
    for flag in [flag.split()[-1] for flag in wanted if flag.startswith("container create --")]:
        # One set of flags, one body of the request.
        if {f"{command} {flag}" for command in both} & (seen | left_out):
            seen |= {f"{command} {flag}" for command in both} - left_out
    wanted -= {"container run --help"}
    assert sorted(wanted - seen - left_out) == []
    assert sorted(left_out - wanted) == [], "a reason for what is not there any more"
