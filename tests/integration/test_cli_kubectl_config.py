"""`kubectl config`: the same commands by Wherry's kubectl and the real one leave the same files and say the same."""

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from wherry.cli import launchers
from wherry.host.instance import Instance
from wherry.testing import clients

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not clients.installed("kubectl"), reason="there is no other kubectl to compare with"),
]

FIRST = """\
apiVersion: v1
kind: Config
current-context: one
clusters: [{name: c1, cluster: {server: "https://one.example:6443", certificate-authority: ca.crt}}]
users: [{name: u1, user: {token: secret}}]
contexts: [{name: one, context: {cluster: c1, user: u1}}]
"""
SECOND = """\
apiVersion: v1
kind: Config
current-context: two
clusters:
- {name: c1, cluster: {server: "https://hidden.example:6443"}}
- {name: c2, cluster: {server: "https://two.example:6443", insecure-skip-tls-verify: true}}
users: [{name: u2, user: {username: a, password: b}}]
contexts: [{name: two, context: {cluster: c2, user: u2, namespace: shop}}]
"""
COMMANDS = """
view
view --raw
view --minify
view --minify --context=two -o jsonpath={.clusters[0].cluster.server}
view -o json
view --flatten
current-context
get-contexts
get-contexts two
get-contexts -o name
get-contexts nope
get-clusters
get-users
use-context two
current-context
use-context nope
use
set-context two --namespace=other
set-context three --cluster=c1 --user=u2
set-context --current --namespace=here
set-context
get-contexts
set-cluster c3 --server=https://three.example --tls-server-name=x
set-cluster c1 --server=https://moved.example:6443
set-cluster
set-credentials u3 --token=abc
set-credentials u1 --username=a --password=b
set-credentials
set clusters.c2.server https://set.example
set contexts.two.namespace set
unset contexts.two.namespace
unset contexts.nope
rename-context three four
rename-context nope five
delete-context four
delete-context nope
delete-cluster c3
delete-cluster nope
delete-user u3
delete-user nope
delete-context two
current-context
unset current-context
current-context
nonsense
view --foo
"""


def normal(text: str, folder: Path) -> str:
    """Without the place, the order of keys in JSON, and what the real one says at random: which file, and `Error`."""
    text = re.sub(r"from FOLDER/[ab]$", "from FOLDER", text.replace(str(folder), "FOLDER"), flags=re.MULTILINE)
    if text.startswith("{"):
        return json.dumps(json.loads(text), indent=1, sort_keys=True)
    return re.sub("^Error: ", "error: ", text)


def test_same_answers_and_same_files(wherry_instance: Instance, tmp_path: Path) -> None:
    programs = {"real": str(clients.installed("kubectl")), "ours": str(launchers.write(wherry_instance) / "kubectl")}
    for side in programs:
        (tmp_path / side).mkdir()
        (tmp_path / side / "a").write_text(FIRST)
        (tmp_path / side / "b").write_text(SECOND)
        (tmp_path / side / "ca.crt").write_text("not one")

    def run(side: str, words: list[str]) -> tuple[int, str, str]:
        folder = tmp_path / side
        env = {**os.environ, "KUBECONFIG": f"{folder}/a:{folder}/b:{folder}/none", "HOME": str(folder)}
        done = subprocess.run(
            [programs[side], "config", *words], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, normal(done.stdout, folder), normal(done.stderr, folder)

    different = []
    for line in COMMANDS.strip().splitlines():
        words = shlex.split(line)
        (code, out, err), (our_code, our_out, our_err) = run("real", words), run("ours", words)
        files = [[yaml.safe_load((tmp_path / side / name).read_text()) for name in "ab"] for side in ("real", "ours")]
        if words == ["get-clusters"]:
            # The real one walks a map: its order is another one each time.
            out, our_out = "".join(sorted(out.splitlines(True))), "".join(sorted(our_out.splitlines(True)))
        # Usage texts are each client's own: the first line is what went wrong.
        if err and "Usage" in err + out:
            out, our_out, err, our_err = "", "", err.splitlines()[0], (our_err.splitlines() or [""])[0]
        pair = [f"{code}\n{out}{err}".splitlines(), f"{our_code}\n{our_out}{our_err}".splitlines()]
        if pair[0] != pair[1]:
            different += [f"$ kubectl config {line}", *difflib.ndiff(*pair)]
        for place, (real, ours) in zip("ab", zip(*files, strict=True), strict=True):
            if real != ours:
                different.append(f"$ kubectl config {line}: file {place}\n{real}\n--- ours:\n{ours}")
                # What comes next is compared by itself.
                shutil.copy(tmp_path / "real" / place, tmp_path / "ours" / place)
    assert not different, "\n".join(different)
