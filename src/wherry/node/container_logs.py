"""Where log agents look for containers' logs: links below the instance, named as in /var/log on a Kubernetes node.

`<root>/log/pods/<namespace>_<pod>_<uid>/<container>/<attempt>.log` leads to the engine's own log file (Docker's
json-file format), and `<root>/log/containers/<pod>_<namespace>_<container>-<id>.log` to the former. An agent in a
pod sees them when the two folders are mounted at /var/log/pods and /var/log/containers.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
from pathlib import Path

from wherry.node import pods
from wherry.node.runtime import Runtime, RuntimeFailure
from wherry.node.state import ContainerView
from wherry.schema.resource import Object

log = logging.getLogger(__name__)


class LogLinks:
    """`base` is the folder that gets `pods/` and `containers/` (an instance's `<root>/log`)."""

    def __init__(self, base: Path) -> None:
        self.pods_dir = base / "pods"
        self.containers_dir = base / "containers"

    def pod_folder(self, pod: Object) -> Path:
        return self.pods_dir / f"{pods.namespace(pod)}_{pods.name(pod)}_{pods.uid(pod)}"

    def save_pod(self, pod: Object, pod_dir: Path) -> None:
        """Keep the pod beside its volumes: a container whose pod the API has forgotten is ended by its own rules."""
        pod_dir.mkdir(parents=True, exist_ok=True)
        (pod_dir / "pod.json").write_text(json.dumps({key: pod[key] for key in pod if key != "status"}))

    @staticmethod
    def saved_pod(pod_dir: Path) -> Object | None:
        try:
            found: Object = json.loads((pod_dir / "pod.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found

    async def link(self, pod: Object, view: ContainerView, runtime: Runtime) -> None:
        """Make both links for one attempt."""
        try:
            source = await runtime.log_path(view.id)
        except RuntimeFailure as error:
            log.debug("no log path of %s: %s", view.id[:12], error)
            return
        if source:
            await asyncio.to_thread(self._link, pod, view, source)

    async def remove(self, pod: Object) -> None:
        await asyncio.to_thread(self._remove, pod)

    def _link(self, pod: Object, view: ContainerView, source: str) -> None:
        folder = self.pod_folder(pod) / view.name
        folder.mkdir(parents=True, exist_ok=True)
        self.containers_dir.mkdir(parents=True, exist_ok=True)
        first = folder / f"{view.attempt}.log"
        second = self.containers_dir / f"{pods.name(pod)}_{pods.namespace(pod)}_{view.name}-{view.id}.log"
        for link, target in ((first, source), (second, str(first))):
            with contextlib.suppress(FileExistsError):
                os.symlink(target, link)

    def _remove(self, pod: Object) -> None:
        shutil.rmtree(self.pod_folder(pod), ignore_errors=True)
        if self.containers_dir.is_dir():
            prefix = f"{pods.name(pod)}_{pods.namespace(pod)}_"
            for link in self.containers_dir.glob(f"{prefix}*.log"):
                if link.is_symlink() and not link.exists():
                    link.unlink(missing_ok=True)
