"""Static pods: what a file becomes, and the mirrors that the API is shown."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.node import pods
from wherry.node.static_pods import BadManifest, StaticPods, mirror_of, read_manifest
from wherry.schema.builtin import PODS
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: c, image: "nginx:1.21"}]
"""


def written(folder: Path, text: str, name: str = "web.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_becomes_a_pod_of_this_node(tmp_path: Path) -> None:
    pod = read_manifest(written(tmp_path, MANIFEST), "node-1")
    assert pod["metadata"]["name"] == "web-node-1"
    assert pod["metadata"]["namespace"] == "default"
    assert pod["spec"]["nodeName"] == "node-1"
    assert pod["spec"]["restartPolicy"] == "Always"
    assert {"operator": "Exists", "effect": "NoExecute"} in pod["spec"]["tolerations"]
    assert pods.is_static(pod)
    assert not pods.is_mirror(pod)


def test_another_content_is_another_pod(tmp_path: Path) -> None:
    path = written(tmp_path, MANIFEST)
    first = read_manifest(path, "n")
    assert read_manifest(path, "n") == first
    written(tmp_path, MANIFEST.replace("1.21", "1.22"))
    assert pods.uid(read_manifest(path, "n")) != pods.uid(first)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: ConfigMap", "it holds no Pod of v1"),
        ("a: [", "it is neither YAML nor JSON"),
        ("[]", "it holds no Pod of v1"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}", "it has no metadata.name or no spec"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}", "spec.containers: Required value"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: 3}", "containers"),
    ],
)
def test_what_is_no_pod_is_refused_by_name(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BadManifest, match=why):
        read_manifest(written(tmp_path, text), "n")


def test_the_mirror_knows_its_pod(tmp_path: Path) -> None:
    pod = read_manifest(written(tmp_path, MANIFEST), "n")
    node = {"metadata": {"name": "n", "uid": "node-uid"}}
    mirror = mirror_of(pod, node)
    assert pods.is_mirror(mirror)
    assert pods.uid({**mirror, "metadata": {**mirror["metadata"], "uid": "api-uid"}}) == pods.uid(pod)
    assert mirror["metadata"]["ownerReferences"][0]["kind"] == "Node"


class Worker:
    """What a worker was told."""

    def __init__(self) -> None:
        self.mirror: dict[str, Any] | None = None
        self.ended = False

    def mirrored(self, mirror: dict[str, Any] | None) -> None:
        self.mirror = mirror

    def end_static(self) -> None:
        self.ended = True


class Node:
    """Static pods over a fake API, without a kubelet."""

    def __init__(self, folder: Path) -> None:
        self.client = FakeClient(MockClock())
        self.workers: dict[str, Worker] = {}
        self.static = StaticPods(
            folder,
            self.client,
            "n",
            MockClock(),
            add=lambda pod: self.workers.update({pods.uid(pod): Worker()}),
            worker=self.workers.get,
            seen=lambda: self.client.all(PODS),
            node=lambda: None,
        )

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.static.api_changed()
                await asyncio.sleep(0)

    def mirrors(self) -> list[str]:
        return [pod["metadata"]["annotations"][pods.CONFIG_MIRROR] for pod in self.client.all(PODS)]


async def test_mirrors_follow_the_folder(tmp_path: Path) -> None:
    node = Node(tmp_path / "manifests")
    running = asyncio.create_task(node.static.run())
    try:
        await node.until((tmp_path / "manifests").is_dir)
        path = written(tmp_path / "manifests", MANIFEST)
        await node.until(node.mirrors)
        (uid,) = node.workers
        assert node.mirrors() == [uid]
        await node.until(lambda: node.workers[uid].mirror)
        # Who deletes the mirror has not deleted the pod.
        await node.client.delete(PODS, "web-n", "default", grace_period_seconds=0)
        await node.until(node.mirrors)
        assert not node.workers[uid].ended
        path.unlink()
        await node.until(lambda: node.workers[uid].ended)
        del node.workers[uid]
        await node.until(lambda: not node.mirrors())
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_bad_file_does_not_hinder_the_others(tmp_path: Path) -> None:
    written(tmp_path, "nonsense", "bad.yaml")
    written(tmp_path, MANIFEST, ".hidden.yaml")
    written(tmp_path, MANIFEST)
    node = Node(tmp_path)
    await node.static.load()
    assert [pods.name(pod) for pod in node.static.pods()] == ["web-n"]
