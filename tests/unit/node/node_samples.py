"""Pods and container views for the node's tests."""

from typing import Any

from wherry.node.state import ContainerView, Observed

NOW = 1_000_000.0


def make_pod(*names: str, init: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    containers = [{"name": name, "image": "busybox"} for name in names or ("web",)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u1", "generation": 1},
        "spec": {"containers": containers, **({"initContainers": init} if init else {}), **spec},
    }


def make_view(name: str, state: str = "running", **more: Any) -> ContainerView:
    defaults: dict[str, Any] = {
        "id": f"{name}-{more.get('attempt', 0)}",
        "attempt": 0,
        "sandbox": "s1",
        "created_at": NOW - 60,
        "started_at": NOW - 60,
    }
    if state == "exited":
        defaults["finished_at"] = NOW
    return ContainerView(name=name, state=state, **{**defaults, **more})


def observed(*views: ContainerView, **more: Any) -> Observed:
    """What is seen of a pod whose sandbox `s1` is ready."""
    containers: dict[str, tuple[ContainerView, ...]] = {}
    for view in sorted(views, key=lambda v: -v.attempt):
        containers[view.name] = (*containers.get(view.name, ()), view)
    return Observed(**{"sandbox": "s1", "prepared": True, "containers": containers, **more})
