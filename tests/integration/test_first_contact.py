"""The first minute: no arguments, wrong ones, no root, nothing running, a stale socket. Each answer says what to do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.host.instance import Instance

pytestmark = [pytest.mark.root]

PROGRAM = str(Path(sys.executable).parent / "wherry")
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def run(instance: Instance, *words: str, before: tuple[str, ...] | list[str] = ()) -> tuple[int, list[str]]:
    """Exit code and lines of both outputs of `wherry words…`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "KUBE", "WHERRY_"))}
    env = {**clean, "HOME": str(instance.root.parent), "DOCKER_CONFIG": str(instance.root.parent)}
    done = subprocess.run(
        [*before, PROGRAM, "--root", str(instance.root), "--run", str(instance.run), *words],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        cwd=instance.root.parent,
    )
    return done.returncode, done.stdout.splitlines()


def up(instance: Instance) -> str:
    return f"Start it with: sudo wherry --root {instance.root} --run {instance.run} up"


def test_without_arguments_and_with_wrong_ones(wherry_instance: Instance) -> None:
    _, lines = run(wherry_instance)
    assert "Begin with: sudo wherry up" in "\n".join(lines)
    code, lines = run(wherry_instance, "upp")
    assert (code, lines[1:]) == (2, ["Try 'wherry --help' for help.", "", "Error: No such command 'upp'."])
    code, lines = run(wherry_instance, "up", "--fast")
    assert (code, lines[1], lines[-1]) == (2, "Try 'wherry up --help' for help.", "Error: No such option '--fast'.")
    code, lines = run(wherry_instance, "docker", "pss")
    assert (code, lines[0], lines[-1]) == (
        1,
        "docker: unknown command: docker pss",
        "Run 'docker --help' for more information",
    )
    code, lines = run(wherry_instance, "kubectl", "gett")
    assert (code, lines[0]) == (1, 'Error: unknown command "gett" for "kubectl"')
    assert "\tget" in lines


NOT_RUNNING = [
    ("status",),
    ("docker", "ps"),
    ("docker", "run", "busybox"),
    ("docker", "version"),
    ("docker", "info"),
    ("compose", "ls"),
    ("logs", "web"),
    ("kubectl", "get", "pods"),
    ("explain", "pod", "web"),
    ("simulate", "--nodes", "1"),
]


@pytest.mark.parametrize("words", NOT_RUNNING, ids=" ".join)
def test_when_nothing_runs(wherry_instance: Instance, words: tuple[str, ...]) -> None:
    code, lines = run(wherry_instance, *words)
    assert code in (1, 3, 125)
    assert any(up(wherry_instance) in line for line in lines), lines
    if words[-1] not in ("version", "info"):
        assert len([line for line in lines if line]) <= 3


def test_a_stale_socket_is_as_none(wherry_instance: Instance) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(wherry_instance.docker_socket))
    assert wherry_instance.docker_socket.exists()
    expected = (
        f"Cannot connect to the Docker daemon at unix://{wherry_instance.docker_socket}. Is the docker daemon running?"
    )
    assert run(wherry_instance, "docker", "ps") == (1, [expected, up(wherry_instance)])
    _, lines = run(wherry_instance, "doctor")
    assert any("nobody answers" in line and "`wherry up` puts a new one in its place" in line for line in lines)


def test_an_api_server_that_is_gone(wherry_instance: Instance) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wherry_instance.kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}], "
        f"clusters: [{{name: a, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]}}"
    )
    code, lines = run(wherry_instance, "kubectl", "get", "--raw", "/version")
    assert (code, lines) == (
        1,
        [
            f"The connection to the server 127.0.0.1:{port} was refused - did you specify the right host or port?",
            up(wherry_instance),
        ],
    )


def test_without_root(wherry_instance: Instance) -> None:
    if run(wherry_instance, "version", before=NOBODY)[0]:
        pytest.skip("another user cannot reach this checkout")
    wherry_instance.kubeconfig.write_text("{}")
    wherry_instance.kubeconfig.chmod(0o600)
    wherry_instance.log_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(wherry_instance.docker_socket))
        listener.listen()
        wherry_instance.docker_socket.chmod(0o660)
        for words in (
            ("up",),
            ("down",),
            ("snapshot", "save", "x"),
            ("docker", "ps"),
            ("compose", "ls"),
            ("kubectl", "get", "pods"),
            ("logs",),
            ("explain", "pod", "web"),
        ):
            code, lines = run(wherry_instance, *words, before=NOBODY)
            assert code == 1, (words, lines)
            assert lines[-1].endswith("with sudo"), (words, lines)
            assert len(lines) <= 2
