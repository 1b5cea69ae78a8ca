"""Apply every example manifest of the Kubernetes documentation to a running instance, without storing it, and print
the table `docs/kubernetes-examples.md`.

    wherry up && eval "$(wherry env)"
    python tests/kubernetes_examples.py WEBSITE/content/en/examples "January 2025" > docs/kubernetes-examples.md

WEBSITE is a checkout of the public repository kubernetes/website, the second argument says of when. What a manifest
presupposes (namespaces, service accounts) is created first and removed afterwards. A refusal that `EXPECTED` does not
explain is marked, and makes the exit code 1.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

NAMESPACES = ("qos-example", "cpu-example", "mem-example")
SERVICE_ACCOUNTS = ("build-robot",)

EXPECTED = (
    (r"apiVersion not set", "no Kubernetes object: a file for another program"),
    (r'no matches for kind "\w+" in version "(kind\.x-k8s\.io|audit\.k8s\.io|apiserver\.k8s\.io)/',
     "no API object: a configuration file of a component"),
    (r'no matches for kind "PodSecurityPolicy"', "removed from Kubernetes in v1.25"),
    (r'no matches for kind "\w+" in version "[\w.]+/v\d+(alpha|beta)\d+"',
     "an alpha or beta version: off by default, or removed since"),
    (r'no matches for kind "ValidatingAdmissionPolicy(Binding)?"', "admission policies are not supported"),
    (r'no matches for kind "ReplicaLimit"', "a custom resource whose definition is another example"),
    (r'unknown field "spec.ipFamily"', "the field was removed in v1.20"),
    (r'Invalid value: "IPv6": not configured on this cluster', "asks for IPv6, which this cluster has not"),
    (r'metadata.name: Invalid value: "process-item-\$ITEM"', "a template: `$ITEM` is to be replaced first"),
)  # fmt: skip
"""Refusals that a real API server of the same release gives too, and why."""


class Outcome(NamedTuple):
    name: str
    accepted: bool
    why: str
    """Empty when accepted; what stands in EXPECTED, or the error itself when nothing does."""
    explained: bool


def kubectl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kubectl", *words], capture_output=True, text=True, timeout=60, check=False)


def outcome(root: Path, path: Path) -> Outcome:
    result = kubectl("apply", "--dry-run=server", "-f", str(path))
    name = path.relative_to(root).as_posix()
    if result.returncode == 0:
        return Outcome(name, True, "", True)
    for pattern, why in EXPECTED:
        if re.search(pattern, result.stderr):
            return Outcome(name, False, why, True)
    shown = result.stderr.replace(str(path), "…").replace("\n", " ").strip()
    return Outcome(name, False, shown[:300], False)


def main(root: Path, date: str) -> int:
    for namespace in NAMESPACES:
        kubectl("create", "namespace", namespace)
    for account in SERVICE_ACCOUNTS:
        kubectl("create", "serviceaccount", account)
    try:
        files = sorted(path for kind in ("yaml", "yml", "json") for path in root.rglob(f"*.{kind}"))
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda path: outcome(root, path), files))
    finally:
        for account in SERVICE_ACCOUNTS:
            kubectl("delete", "serviceaccount", account)
        kubectl("delete", "namespace", *NAMESPACES)
    accepted = sum(one.accepted for one in found)
    unexplained = [one for one in found if not one.explained]
    version = re.search(r"Server Version: (\S+)", kubectl("version").stdout)
    print("# The documentation's examples")
    print()
    print(
        "Made by `tests/kubernetes_examples.py`; do not edit. Each manifest below `content/en/examples` of the public"
    )
    print(f"repository kubernetes/website (as of {date}) was applied with `kubectl apply --dry-run=server`.")
    print()
    print(f"{len(found)} files against {version[1] if version else 'the server'}: {accepted} accepted, "
          f"{len(found) - accepted - len(unexplained)} refused as a real API server of this release refuses them"
          f"{f', {len(unexplained)} refused for other reasons' if unexplained else ''}.")  # fmt: skip
    print()
    print("| example | result |")
    print("|---|---|")
    for one in found:
        why = one.why.replace("|", "\\|")
        mark = "" if one.explained else "**unexplained**: "
        print(f"| `{one.name}` | {'accepted' if one.accepted else f'refused: {mark}{why}'} |")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2]))
