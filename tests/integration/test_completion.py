"""Completion in real shells: bash, zsh and fish, of `wherry` and of Wherry's kubectl."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.cli import launchers
from wherry.host.instance import Instance

pytestmark = [pytest.mark.root]


def shell(instance: Instance, program: str, *options: str, script: str) -> str:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    place = launchers.write(instance)
    env = {
        **os.environ,
        "PATH": f"{place}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(instance.root),
        "KUBECONFIG": "/nonexistent",
    }
    done = subprocess.run(
        [program, *options, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BASH = """
source <(kubectl completion bash); source <(wherry completion bash)
COMP_WORDS=(kubectl ge); COMP_CWORD=1; _kubectl_complete; echo "${COMPREPLY[@]}"
COMP_WORDS=(kubectl wait --tim); COMP_CWORD=2; COMPREPLY=(); _kubectl_complete; echo "${COMPREPLY[@]}"
COMP_WORDS=(wherry st); COMP_CWORD=1; COMPREPLY=(); _wherry_completion wherry st wherry; echo "${COMPREPLY[@]}"
COMP_WORDS=(wherry up --eng); COMP_CWORD=2; COMPREPLY=(); _wherry_completion wherry --eng up; echo "${COMPREPLY[@]}"
complete -p kubectl wherry
"""


def test_bash(wherry_instance: Instance) -> None:
    lines = shell(wherry_instance, "bash", "--norc", script=BASH).splitlines()
    assert lines[:4] == ["get", "--timeout", "status", "--engine-only"]
    assert "_kubectl_complete kubectl" in lines[4]
    assert "_wherry_completion wherry" in lines[5]


def test_zsh(wherry_instance: Instance) -> None:
    script = """
    autoload -U +X compinit && compinit -u -D
    source <(kubectl completion zsh); source <(wherry completion zsh)
    print -r -- ${_comps[kubectl]:-none} ${_comps[wherry]:-none}
    COMP_WORDS=(kubectl ge); COMP_CWORD=1
    """
    kubectl, own = shell(wherry_instance, "zsh", "-f", script=script).split()[-2:]
    assert kubectl != "none"
    assert own == "_wherry_completion"


def test_fish(wherry_instance: Instance) -> None:
    script = """
    kubectl completion fish | source; wherry completion fish | source
    complete -C 'kubectl ge'; complete -C 'wherry stat'; complete -C 'wherry up --eng'
    """
    offered = [
        line.split("\t")[0] for line in shell(wherry_instance, "fish", "--no-config", script=script).splitlines()
    ]
    assert offered == ["get", "status", "--engine-only"]
