"""Wherry's clients in a real terminal emulator, as a user sits before it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tmux import Tmux

from wherry.testing import clients
from wherry.testing.plugin import RunningWherry

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed"),
]

WHERRY = Path(sys.executable).parent / "wherry"


@pytest.fixture(scope="module")
def env(
    wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """With Wherry's own programs first on PATH."""
    machine = wherry_shared_cluster
    clients.path(machine.instance)
    env = {
        **machine.env,
        "PATH": f"{machine.instance.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path_factory.mktemp("home")),
    }
    loaded = subprocess.run(["docker", "load", "-qi", busybox_archive], env=env, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    return env


@pytest.fixture
def terminal(env: dict[str, str], tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(env, tmp_path) as terminal:
        yield terminal


def out(env: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_shell_in_a_container(terminal: Tmux, env: dict[str, str]) -> None:
    try:
        terminal.type("docker run -it --name shell busybox sh")
        terminal.wait_for("/ #")
        terminal.type("stty size")
        terminal.wait_for("24 80")
        terminal.resize(100, 30)
        terminal.type("while ! stty size | grep '30 100'; do usleep 50000; done")
        terminal.wait_for("30 100")
        terminal.type("echo begun-$((1+1)); sleep 1000")
        terminal.wait_for("begun-2")
        terminal.keys("C-c")
        terminal.type("echo back-$((40+2))")
        terminal.wait_for("back-42")
        terminal.keys("C-p", "C-q")
        terminal.wait_for_prompt()
        terminal.type("echo left-$((1+2)):$?")
        terminal.wait_for("left-3:0")
        assert out(env, "docker", "inspect", "-f", "{{.State.Running}}", "shell") == "true"
        terminal.type("clear; echo attaching-$((1+1)); docker attach shell")
        terminal.wait_for("attaching-2\n/ #")
        terminal.type("echo again-$((1+1)); exit 5")
        terminal.wait_for("again-2")
        terminal.wait_for_prompt()
        terminal.type("echo code:$?")
        terminal.wait_for("code:5")
        # The terminal is as it was: what is typed is seen, and lines begin at the left.
        terminal.type("stty -a | grep -o ' echo '")
        terminal.wait_for("\n echo")
    finally:
        out(env, "docker", "rm", "-f", "shell")


def test_ctrl_c_ends_a_container_without_a_terminal(terminal: Tmux) -> None:
    script = 'trap "echo caught; exit 9" INT; echo up; while :; do usleep 9999; done'
    terminal.type(f"docker run --rm busybox sh -c '{script}'")
    terminal.wait_for("\nup")
    terminal.keys("C-c")
    terminal.wait_for("caught")
    terminal.wait_for_prompt()
    terminal.type("echo code:$?")
    terminal.wait_for("code:9")


def test_live_progress(terminal: Tmux, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo working; sleep 1\nRUN echo second; sleep 1\n")
    terminal.type(f"docker build --no-cache -t live {tmp_path}")
    terminal.wait_for("=> => # working")
    terminal.wait_for("=> => # second")
    screen = terminal.wait_for("FINISHED")
    # Drawn over: each step is there once, and what ran is folded away.
    assert screen.count("[2/3] RUN echo working") == 1
    assert "=> => # working" not in screen
    out(env, "docker", "rmi", "live")


def test_ctrl_c_ends_what_follows(terminal: Tmux, env: dict[str, str]) -> None:
    out(env, "docker", "run", "-d", "--name", "talks", "busybox", "sh", "-c", "echo first; exec sleep 1000")
    try:
        for command in ("docker logs -f talks", f"{WHERRY} logs -f talks", "docker stats", "docker events"):
            terminal.type(f"clear; echo begins-$((2*2)); {command}")
            terminal.wait_for({"docker stats": "talks", "docker events": "begins-4"}.get(command, "first"))
            terminal.keys("C-c")
            terminal.type("echo ended-$((2*3))")
            terminal.wait_for("ended-6")
    finally:
        out(env, "docker", "rm", "-f", "talks")


def test_kubectl_in_a_pod_and_in_an_editor(terminal: Tmux, env: dict[str, str]) -> None:
    out(env, "kubectl", "create", "configmap", "edited", "--from-literal=colour=red")
    try:
        terminal.type(
            "kubectl run once --rm -it --restart=Never --image=busybox --image-pull-policy=IfNotPresent -- sh"
        )
        terminal.wait_for("/ #")
        terminal.type("stty size")
        terminal.wait_for("24 80")
        terminal.resize(90, 28)
        terminal.type("while ! stty size | grep '28 90'; do usleep 50000; done")
        terminal.wait_for("28 90")
        terminal.type("sleep 1000")
        terminal.keys("C-c")
        terminal.type("echo back-$((40+2)); exit 0")
        terminal.wait_for("back-42")
        terminal.wait_for('pod "once" deleted')
        terminal.type("clear; KUBE_EDITOR='busybox vi' kubectl edit configmap edited")
        terminal.wait_for("colour: red")
        terminal.type(":%s/red/blue/")
        terminal.wait_for("colour: blue")
        terminal.type(":wq")
        terminal.wait_for("configmap/edited edited")
        assert out(env, "kubectl", "get", "configmap", "edited", "-o", "jsonpath={.data.colour}") == "blue"
        terminal.type("clear; echo watching-$((2*2)); kubectl get configmap edited -w")
        terminal.wait_for("edited   1")
        terminal.keys("C-c")
        terminal.type("echo ended-$((2*3))")
        terminal.wait_for("ended-6")
    finally:
        out(env, "kubectl", "delete", "configmap", "edited")
        out(env, "kubectl", "delete", "pod", "once", "--ignore-not-found", "--now")
