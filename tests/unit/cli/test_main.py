"""The command `wherry` as a user meets it first."""

import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from wherry.cli.main import COMMANDS, main


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["--root", str(tmp_path / "root"), "--run", str(tmp_path / "run"), *arguments])
    return result.exit_code, result.output


def test_without_arguments_it_says_what_it_can_do() -> None:
    output = CliRunner().invoke(main, []).output
    assert all(verb in output for verb in COMMANDS)
    assert "sudo wherry up" in output


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_is_there_and_has_a_help_text(verb: str) -> None:
    module, attribute, _ = COMMANDS[verb]
    assert getattr(importlib.import_module(module), attribute).callback or verb in ("docker", "compose", "kubectl")


def test_a_wrong_verb_is_named() -> None:
    result = CliRunner().invoke(main, ["upp"])
    assert result.exit_code == 2
    assert "upp" in result.output


def test_status_when_nothing_runs(tmp_path: Path) -> None:
    code, output = run(tmp_path, "status")
    assert code == 3
    start = f"sudo wherry --root {tmp_path}/root --run {tmp_path}/run up"
    assert f"Wherry is not running. Start it with: {start}\n" in output


def test_up_without_root_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    code, output = run(tmp_path, "up")
    assert code == 1
    assert "wherry up needs root: run it with sudo" in output
    assert not (tmp_path / "root").exists()


def test_logs_without_an_engine_say_who_does_not_answer(tmp_path: Path) -> None:
    code, output = run(tmp_path, "logs", "web")
    assert code == 1
    assert f"Cannot connect to the Docker daemon at unix://{tmp_path}/run/docker.sock" in output


def test_own_logs_before_the_first_start(tmp_path: Path) -> None:
    code, output = run(tmp_path, "logs")
    assert code == 1
    assert "Wherry has not run here" in output


def test_env_points_at_this_instance(tmp_path: Path) -> None:
    code, output = run(tmp_path, "env")
    assert code == 0
    assert f"DOCKER_HOST=unix://{tmp_path}/run/docker.sock" in output
    assert f"KUBECONFIG={tmp_path}/root/kubeconfig" in output
