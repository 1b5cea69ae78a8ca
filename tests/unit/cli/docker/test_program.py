"""Finding commands, counting arguments, help."""

import importlib
import subprocess
import sys

import pytest

from wherry.cli.docker.commands import ALIASES, GROUPS, SHORT, UNSUPPORTED, VERBS
from wherry.cli.docker.flags import read_table
from wherry.cli.docker.program import count_error, run


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_command_has_its_module_and_help(name, capsys):
    module = importlib.import_module(f"wherry.cli.docker.{VERBS[name][0]}")
    table = read_table(module.FLAGS, getattr(module, "TYPES", {}))
    shorts = [flag.short for flag in table.values() if flag.short]
    assert len(shorts) == len(set(shorts))
    assert all(flag.text for flag in table.values())
    assert run([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage:  docker {name}")
    assert all(f"--{flag.name}" in out for flag in table.values())


def test_names_lead_somewhere():
    assert set(SHORT.values()) <= set(VERBS)
    assert set(ALIASES.values()) <= set(VERBS)
    assert not set(UNSUPPORTED) & (set(GROUPS) | set(SHORT) | set(VERBS))


@pytest.mark.parametrize(
    ("words", "code", "start"),
    [
        (["foo"], 1, "docker: unknown command: docker foo\n\nRun 'docker --help' for more information"),
        (["container", "foo"], 1, "docker: unknown command: docker container foo\n\nUsage:  docker container\n"),
        (["swarm", "init"], 1, "docker: 'docker swarm' is not supported by Wherry"),
        (["--foo"], 125, "unknown flag: --foo\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n"),
        (["rm"], 1, "docker: 'docker rm' requires at least 1 argument\n\nUsage:  docker rm [OPTIONS] CONTAINER"),
        (["ps", "x"], 1, "docker: 'docker ps' accepts no arguments\n"),
        (
            ["ps", "-x"],
            125,
            "unknown shorthand flag: 'x' in -x\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help'",
        ),
        (["help", "foo"], 1, "unknown help topic: foo"),
        (["-H", "unix:///nonexistent", "ps"], 1, "Cannot connect to the Docker daemon at unix:///nonexistent. Is the"),
        (["-H", "a", "-H", "b", "ps"], 1, "Failed to initialize: unable to resolve docker endpoint: Specify only one"),
    ],
)
def test_mistakes(words, code, start, capsys):
    assert run(words) == code
    assert capsys.readouterr().err.startswith(start)


def test_nobody_home_says_how_to_start(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("WHERRY_ROOT", raising=False)
    monkeypatch.setenv("WHERRY_RUN", str(tmp_path))
    monkeypatch.setattr("wherry.cli.hints.OTHER_SOCKET", str(tmp_path / "other.sock"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert run(["ps"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"Cannot connect to the Docker daemon at unix://{tmp_path}/docker.sock. Is the docker daemon running?",
        f"Start it with: sudo wherry --root /var/lib/wherry --run {tmp_path} up",
    ]


@pytest.mark.parametrize(
    ("count", "least", "most", "wrong"),
    [
        (0, 1, None, "requires at least 1 argument"),
        (1, 2, None, "requires at least 2 arguments"),
        (0, 1, 1, "requires 1 argument"),
        (3, 2, 2, "requires 2 arguments"),
        (2, 0, 1, "requires at most 1 argument"),
        (3, 1, 2, "requires at least 1 and at most 2 arguments"),
        (1, 0, 0, "accepts no arguments"),
        (1, 1, None, ""),
    ],
)
def test_number_of_arguments(count, least, most, wrong):
    assert count_error(count, least, most) == wrong


def test_version_costs_no_imports_to_speak_of():
    """What a short command loads is its cost: none of these belongs to it."""
    script = (
        "import sys; from wherry.cli.docker import program; import wherry.cli.docker.container.ls, "
        "wherry.docker_api.client; print(' '.join(sorted(sys.modules)))"
    )
    source = str(importlib.import_module("wherry").__path__[0].rpartition("/")[0])
    ran = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.append({source!r}); {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(ran.stdout.split())
    assert not loaded & {"json", "re", "typing", "socket", "click", "asyncio", "aiohttp", "argparse", "dataclasses"}
