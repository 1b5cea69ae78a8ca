"""metrics.k8s.io: what pods and nodes use, computed from two readings of every node's `/metrics/resource`.

Read only while somebody asks: the first question after a pause takes two readings `FIRST_SECONDS` apart, then nodes are
read every `PERIOD_SECONDS` until nobody has asked for `PAUSE_SECONDS`. A question about pods that have come up since
the last readings takes the readings that are missing, once for each pod. The answers are those of metrics-server:
https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/.
"""

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.pki import Pki
from wherry.kube_api.proxy.connect import DEFAULT_KUBELET_PORT, node_address
from wherry.schema import builtin, errors
from wherry.schema.resource import Object
from wherry.schema.selectors import parse_fields, parse_labels

log = logging.getLogger(__name__)

PERIOD_SECONDS = 15.0
FIRST_SECONDS = 1.0
PAUSE_SECONDS = 300.0
READ_SECONDS = 10.0
MAX_AWAITED = 10_000
_LINE = re.compile(r"(\w+)(?:\{([^}]*)\})? (\S+) (\d+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Target = tuple[str, str, str]
"""(namespace, pod, container); ("", node, "") for a node."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`cpu` in core-seconds since the start, `memory` in bytes, `at` in epoch seconds."""

    at: float
    cpu: float
    memory: float


@dataclass(slots=True)
class History:
    """The last two samples of one container or node."""

    before: Sample | None = None
    now: Sample | None = None

    def add(self, sample: Sample) -> None:
        # A counter that went back is a container that started anew.
        if self.now is not None and sample.cpu < self.now.cpu:
            self.now = None
        if self.now is None or sample.at > self.now.at:
            self.before, self.now = self.now, sample

    def usage(self) -> tuple[float, float, dict[str, str]] | None:
        """(end, seconds of the window, usage); None while there is one sample only."""
        if self.before is None or self.now is None:
            return None
        window = self.now.at - self.before.at
        cores = (self.now.cpu - self.before.cpu) / window
        shown = {"cpu": f"{round(cores * 1e9)}n" if cores > 0 else "0", "memory": f"{int(self.now.memory // 1024)}Ki"}
        return self.now.at, window, shown


@dataclass
class _State:
    histories: dict[Target, History] = field(default_factory=dict)
    asked: float = 0.0
    reader: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    awaited: set[str] = field(default_factory=set)
    """UIDs of pods for which readings were taken out of turn."""
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class ResourceMetrics:
    """`compute(call)` answers GET and LIST of PodMetrics and NodeMetrics."""

    def __init__(self, api: Api, pki: Pki) -> None:
        self._api = api
        self._pki = pki
        self._context: ssl.SSLContext | None = None
        self._state = _State()

    async def compute(self, call: Call) -> Object:
        """The object or list that the call asks for. Raises NotFound, ServiceUnavailable."""
        await self._fresh()
        resource = call.resource
        pods = resource == builtin.POD_METRICS
        if call.name:
            stored = await self._api.read(builtin.PODS if pods else builtin.NODES, call.namespace, call.name)
            if pods and stored is not None:
                await self._catch_up([stored.peek()])
            made = self._of(stored.peek(), pods) if stored is not None else None
            if made is None:
                shown = f"{call.namespace}/{call.name}" if pods else call.name
                raise errors.not_found(resource.group, resource.plural, shown)
            return made
        try:
            labels, fields = parse_labels(call.label_selector), parse_fields(call.field_selector)
        except ValueError as error:
            raise errors.BadRequest(str(error)) from error
        entries = self._api.cache_of(builtin.PODS if pods else builtin.NODES).entries(call.namespace if pods else None)
        asked = [
            obj
            for obj in (entry.peek() for entry in entries)
            if labels.matches(obj["metadata"].get("labels")) and fields.matches(obj)
        ]
        if pods:
            await self._catch_up(asked)
        items = [made for made in (self._of(obj, pods) for obj in asked) if made is not None]
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": {},
            "items": items,
        }

    def _of(self, obj: Object, pods: bool) -> Object | None:
        metadata = obj["metadata"]
        kept: dict[str, Any] = {"name": metadata["name"], "creationTimestamp": self._api.timestamp()}
        if metadata.get("labels"):
            kept["labels"] = metadata["labels"]
        made: Object = {"apiVersion": builtin.POD_METRICS.api_version, "metadata": kept}
        if not pods:
            history = self._state.histories.get(("", metadata["name"], ""))
            found = history.usage() if history is not None else None
            if found is None:
                return None
            return made | {"kind": "NodeMetrics"} | _times(found[0], found[1]) | {"usage": found[2]}
        kept["namespace"] = metadata["namespace"]
        if (obj.get("status") or {}).get("phase") != "Running":
            return None
        containers = []
        end = window = 0.0
        for container in obj["spec"].get("containers") or ():
            history = self._state.histories.get((metadata["namespace"], metadata["name"], container["name"]))
            found = history.usage() if history is not None else None
            if found is None:
                # As metrics-server: a pod is shown when all of it is known.
                return None
            end, window = max(end, found[0]), max(window, found[1])
            containers.append({"name": container["name"], "usage": found[2]})
        return made | {"kind": "PodMetrics"} | _times(end, window) | {"containers": containers}

    async def _fresh(self) -> None:
        """Until there are readings to answer from. Raises ServiceUnavailable when no node could be read in time."""
        state = self._state
        state.asked = time.monotonic()
        if state.reader is None or state.reader.done():
            state.ready.clear()
            state.reader = asyncio.create_task(self._read_nodes(), name="resource metrics")
        try:
            async with asyncio.timeout(READ_SECONDS + FIRST_SECONDS):
                await state.ready.wait()
        except TimeoutError:
            raise errors.ServiceUnavailable("metrics are not available yet: no node could be read") from None

    async def _catch_up(self, pods: Iterable[Object]) -> None:
        """Read twice more when some of these run and have not been read twice, unless that was done for them before."""
        state = self._state
        missing = {
            obj["metadata"]["uid"]
            for obj in pods
            if (obj.get("status") or {}).get("phase") == "Running" and self._of(obj, True) is None
        } - state.awaited
        if not missing:
            return
        if len(state.awaited) > MAX_AWAITED:
            state.awaited.clear()
        state.awaited |= missing
        async with state.reading:
            await self._read_all()
            await asyncio.sleep(FIRST_SECONDS)
            await self._read_all()

    async def _read_nodes(self) -> None:
        """Reads until nobody asks any more, then forgets."""
        state = self._state
        delay = FIRST_SECONDS
        try:
            while time.monotonic() - state.asked <= PAUSE_SECONDS:
                await self._read_all()
                if any(history.before is not None for history in state.histories.values()):
                    state.ready.set()
                    delay = PERIOD_SECONDS
                await asyncio.sleep(delay)
                delay = min(delay * 1.5, PERIOD_SECONDS)
        finally:
            state.ready.clear()
            state.histories.clear()
            state.awaited.clear()

    async def _read_all(self) -> None:
        nodes = [entry.peek() for entry in self._api.cache_of(builtin.NODES).entries(None)]
        texts = await asyncio.gather(*(self._read(node) for node in nodes))
        seen: set[Target] = set()
        for node, text in zip(nodes, texts, strict=True):
            for target, sample in parse(text, node["metadata"]["name"]):
                self._state.histories.setdefault(target, History()).add(sample)
                seen.add(target)
        # What no node shows any more is gone.
        for target in self._state.histories.keys() - seen:
            del self._state.histories[target]

    async def _read(self, node: Object) -> str:
        """`/metrics/resource` of a node; "" when it does not answer."""
        endpoint = ((node.get("status") or {}).get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        try:
            async with asyncio.timeout(READ_SECONDS):
                reader, writer = await asyncio.open_connection(
                    node_address(node), endpoint.get("Port") or DEFAULT_KUBELET_PORT, ssl=self._tls()
                )
                try:
                    writer.write(b"GET /metrics/resource HTTP/1.0\r\nHost: node\r\n\r\n")
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError, errors.ApiError) as error:
            log.warning("metrics of node %s: %s", node["metadata"]["name"], error or "no answer in time")
            return ""
        head, _, body = answer.partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head[:20] else ""

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.check_hostname = False
            self._context.load_verify_locations(self._pki.ca.cert)
            self._context.load_cert_chain(self._pki.kubelet_client.cert, self._pki.kubelet_client.key)
        return self._context


def _times(end: float, window: float) -> Object:
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    return {"timestamp": shown, "window": f"{window:.3f}s"}


def parse(text: str, node: str) -> Iterator[tuple[Target, Sample]]:
    """The samples in one node's `/metrics/resource`."""
    values: dict[Target, dict[str, tuple[float, float]]] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        name, labels, value, at = found.groups()
        kind, _, what = name.partition("_")
        if kind not in ("container", "node") or what not in ("cpu_usage_seconds_total", "memory_working_set_bytes"):
            continue
        named = dict(_LABEL.findall(labels or ""))
        target = ("", node, "") if kind == "node" else (named["namespace"], named["pod"], named["container"])
        values.setdefault(target, {})[what.partition("_")[0]] = (float(value), int(at) / 1000)
    yield from _complete(values.items())


def _complete(
    values: Iterable[tuple[Target, dict[str, tuple[float, float]]]],
) -> Iterator[tuple[Target, Sample]]:
    for target, one in values:
        if "cpu" in one and "memory" in one:
            yield target, Sample(one["cpu"][1], one["cpu"][0], one["memory"][0])
