"""Build the Dockerfile corpus with dockerd's classic builder and with buildah, and say where they do otherwise.

    python bench/dockerfiles.py [--peer dockerd|buildah] [CASE ...]

Writes bench/results/dockerfiles.md. The corpus is tests/integration/dockerfiles/cases; each case says what must come of
it, and Wherry's own tests hold Wherry to that. A peer that gives something else is listed with the reason that the
case states, or as unexplained. Needs root; dockerd is started for this (bench/peer.py), buildah gets a storage of its
own.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "integration")]

from dockerfile_cases import (  # noqa: E402
    IGNORED,
    Outcome,
    cases,
    complaints,
    lay_out,
    tree_of_archive,
    tree_of_directory,
)
from stand_ins import base  # noqa: E402
from test_dockerfiles import served  # noqa: E402

from peer import Peer  # noqa: E402

LINE = re.compile(r"line:? (\d+)")


class Docker:
    """dockerd's classic builder through the real client."""

    name = "dockerd"

    def __init__(self, host: str) -> None:
        self._env = {**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}
        self._run("docker", "load", "-i", str(base("busybox")))

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self._env, capture_output=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.decode(errors="replace").splitlines() if "DEPRECATED" not in line]
            raise RuntimeError("\n".join(line for line in lines if line.strip())[-2000:])
        return done.stdout.decode(errors="replace")

    def build(self, context: Path, tag: str, options: list[str]) -> None:
        self._run("docker", "build", "-q", "--no-cache", "-t", tag, *options, str(context))

    def outcome(self, tag: str, directory: Path) -> Outcome:
        image = json.loads(self._run("docker", "image", "inspect", tag))[0]
        under = json.loads(self._run("docker", "image", "inspect", "busybox"))[0]["RootFS"]["Layers"]
        layers = image["RootFS"].get("Layers") or []
        above = len(under) if layers[: len(under)] == under else 0
        history = self._run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", tag).splitlines()[::-1]
        container = self._run("docker", "create", tag, "nothing").strip()
        try:
            self._run("docker", "export", "-o", str(directory / "tree.tar"), container)
        finally:
            self._run("docker", "rm", container)
        with open(directory / "tree.tar", "rb") as file:
            tree = {path: item for path, item in tree_of_archive(file).items() if path not in IGNORED}
        # An empty mount point is what its runtime made for the export, not the image's.
        return Outcome(
            config=image["Config"], author=image.get("Author") or "", layers=len(layers) - above,
            history=history[above:], tree=tree,
        )  # fmt: skip

    def close(self) -> None:
        return None


class Buildah:
    """buildah with a storage of its own, chroot isolation, one layer an instruction."""

    name = "buildah"

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="wh-bld-"))
        self._program = ["buildah", "--root", f"{self._place}/root", "--runroot", f"{self._place}/run",
                         "--storage-driver", "vfs"]  # fmt: skip
        self._run("pull", f"docker-archive:{base('busybox')}")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._program, *arguments], capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip()[-2000:])
        return done.stdout.decode(errors="replace")

    def build(self, context: Path, tag: str, options: list[str]) -> None:
        self._run("bud", "-q", "--no-cache", "--identity-label=false", "--layers", "--isolation", "chroot",
                  "--format", "docker", "--pull-never", "-t", tag, *options, str(context))  # fmt: skip

    def outcome(self, tag: str, directory: Path) -> Outcome:
        container = self._run("from", "--pull-never", tag).strip()
        try:
            image = json.loads(self._run("inspect", "--type", "image", tag))
            document = image["Docker"]
            mounted = self._run("mount", container).strip()
            tree = {path: item for path, item in tree_of_directory(Path(mounted)).items() if path not in IGNORED}
        finally:
            self._run("rm", container)
        steps = [step.get("created_by", "") for step in document.get("history") or []]
        base_layers = 1 if any("make_images" in step for step in steps) else 0
        layers = (document.get("rootfs") or {}).get("diff_ids") or []
        return Outcome(
            config=document.get("config") or {}, author=document.get("author") or "",
            layers=len(layers) - base_layers, history=steps[base_layers:], tree=tree,
        )  # fmt: skip

    def close(self) -> None:
        subprocess.run([*self._program, "rm", "-a"], capture_output=True, check=False)
        subprocess.run([*self._program, "rmi", "-af"], capture_output=True, check=False)
        shutil.rmtree(self._place, ignore_errors=True)


def try_case(peer: Docker | Buildah, case: dict[str, Any], directory: Path) -> Outcome:
    lay_out(case, directory / "context")
    try:
        for name, text in (case.get("bases") or {}).items():
            lay_out({"dockerfile": text}, directory / f"base-{name}")
            peer.build(directory / f"base-{name}", name, [])
        with served(case.get("serve"), directory / "served") as arguments:
            options = [f"--build-arg={k}={v}" for k, v in {**(case.get("args") or {}), **arguments}.items()]
            options += [f"--label={key}={value}" for key, value in (case.get("labels") or {}).items()]
            if case.get("target"):
                options.append(f"--target={case['target']}")
            for name, text in (case.get("secrets") or {}).items():
                (directory / f"secret-{name}").write_text(text)
                options.append(f"--secret=id={name},src={directory}/secret-{name}")
            peer.build(directory / "context", "case", options)
        return peer.outcome("case", directory)
    except RuntimeError as error:
        text = str(error)
        found = LINE.search(text)
        return Outcome(error=text or "failed", line=int(found[1]) if found else 0)


def verdict(case: dict[str, Any], peer: str, outcome: Outcome) -> tuple[str, str]:
    """(`same`, `words`, `explained` or `unexplained`; what is different)."""
    found = complaints(case, outcome)
    if not found:
        return "same", ""
    if "error" in case["expect"] and outcome.error:
        return "words", outcome.error.splitlines()[-1]
    why = (case.get("differs") or {}).get(peer)
    return ("explained", why) if why else ("unexplained", "; ".join(found).replace("\n", " ")[:400])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--peer", choices=["dockerd", "buildah"], action="append")
    given = parser.parse_args()
    # `timeout` and friends end it as Ctrl-C does: what it started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = [
        case for case in cases() if case.get("compare", True) and (not given.names or case["name"] in given.names)
    ]
    results: dict[str, list[tuple[str, str, str]]] = {}
    peers = given.peer or ["dockerd", "buildah"]
    if "buildah" in peers and shutil.which("buildah"):
        results["buildah"] = compare(Buildah(), wanted)
    if "dockerd" in peers and Peer.available():
        with Peer() as running:
            results["dockerd"] = compare(Docker(running.host), wanted)
    if not given.names and not given.peer:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "dockerfiles.md").write_text(report(results, len(wanted)))


def compare(peer: Docker | Buildah, wanted: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    found = []
    try:
        for case in wanted:
            with tempfile.TemporaryDirectory(prefix="wh-case-") as directory:
                kind, what = verdict(case, peer.name, try_case(peer, case, Path(directory)))
            found.append((case["name"], kind, what))
            if kind != "same":
                print(f"{peer.name:8} {kind:12} {case['name']}: {what}", flush=True)
    finally:
        peer.close()
    return found


def report(results: dict[str, list[tuple[str, str, str]]], count: int) -> str:
    versions = {
        "dockerd": ["dockerd", "--version"], "buildah": ["buildah", "--version"],
    }  # fmt: skip
    lines = [
        "# The Dockerfile corpus elsewhere",
        "",
        f"{count} cases. Wherry gives what every case says (its tests).",
        "",
    ]
    lines += ["| builder | the same | an error in other words | otherwise, explained | otherwise, unexplained |",
              "|---|---|---|---|---|"]  # fmt: skip
    for peer, found in results.items():
        version = subprocess.run(versions[peer], capture_output=True, text=True, check=True).stdout.strip()
        counts = [sum(kind == each for _, kind, _ in found) for each in ("same", "words", "explained", "unexplained")]
        lines.append(f"| {version} | " + " | ".join(map(str, counts)) + " |")
    for peer, found in results.items():
        for kind, title in (("explained", "Otherwise, and why"), ("unexplained", "Otherwise, unexplained"),
                            ("words", "Errors in other words")):  # fmt: skip
            rows = [(name, what) for name, each, what in found if each == kind]
            if rows:
                lines += ["", f"## {peer}: {title}", "", "| case | |", "|---|---|"]
                lines += [f"| {name} | {what.replace('|', chr(92) + '|')} |" for name, what in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
