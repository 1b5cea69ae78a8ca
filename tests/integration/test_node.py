"""The kubelet on a real engine, a real pod network and a real API server, all in the test's own process."""

import asyncio
import base64
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from wherry.client.api import Client
from wherry.schema.builtin import CONFIG_MAPS, EVENTS, PODS, SECRETS, SERVICE_ACCOUNTS
from wherry.schema.errors import NotFound
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.cluster_net.pod_network import PodNetwork
    from wherry.engine.engine import Engine
    from wherry.kube_api.server import ApiServer
    from wherry.node.kubelet import Kubelet
    from wherry.node.server import NodeServer

pytestmark = pytest.mark.root

WAIT_FOR_TERM = 'trap "exit 0" TERM; while :; do sleep 0.1; done'


@dataclass
class Node:
    """One node with its API server; `restart` stops and starts the kubelet alone."""

    engine: "Engine"
    network: "PodNetwork"
    server: "ApiServer"
    client: Client
    kubelet: "Kubelet" = field(init=False)
    api: "NodeServer" = field(init=False)
    _task: "asyncio.Task[None]" = field(init=False)

    async def start(self) -> None:
        from wherry.node.engine_runtime import EngineRuntime
        from wherry.node.kubelet import Kubelet
        from wherry.node.node_status import NodeSettings
        from wherry.node.server import NodeServer, NodeTls

        instance = self.engine.instance
        self.kubelet = Kubelet(EngineRuntime(self.engine), self.client, instance, self.network, NodeSettings("node-1"))
        self._task = asyncio.create_task(self.kubelet.run())
        pair = self.server.pki.node_serving("node-1", ["node-1", "127.0.0.1"])
        self.api = NodeServer(self.kubelet, instance.root)
        await self.api.start(NodeTls(pair.cert, pair.key, self.server.pki.ca.cert))
        await asyncio.wait_for(self.kubelet.ready.wait(), 20)

    async def stop(self) -> None:
        await self.api.stop()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def create(self, pod: Object) -> Object:
        return await self.client.create(PODS, pod, "default")

    async def until(self, name: str, condition: Callable[[Object], Any], timeout: float = 20) -> Object:
        """The pod once `condition` holds; fails with its last state."""
        listed = await self.client.list(PODS, "default", field_selector=f"metadata.name={name}")
        last: Object = {}
        for pod in listed.items:
            last = pod
            if condition(pod):
                return pod
        try:
            async with (
                asyncio.timeout(timeout),
                self.client.watch(
                    PODS,
                    "default",
                    resource_version=listed.resource_version,
                    field_selector=f"metadata.name={name}",
                ) as events,
            ):
                async for event in events:
                    last = event.object
                    if event.type in ("ADDED", "MODIFIED") and condition(last):
                        return last
        except TimeoutError:
            raise AssertionError(f"pod {name} stayed at {last.get('status')}; {await self.events(name)}") from None
        raise AssertionError("the watch ended")

    async def running(self, name: str) -> Object:
        return await self.until(name, lambda pod: pod["status"].get("phase") == "Running" and ready(pod))

    async def gone(self, name: str, timeout: float = 20) -> None:
        async def missing() -> bool:
            try:
                await self.client.get(PODS, name, "default")
            except NotFound:
                return True
            return False

        await eventually(missing, f"pod {name} to go", timeout)

    async def events(self, name: str) -> list[tuple[str, str]]:
        listed = await self.client.list(EVENTS, "default")
        return [(e["reason"], e["message"]) for e in listed.items if e["involvedObject"]["name"] == name]

    async def until_event(self, name: str, reason: str, beginning: str = "", timeout: float = 15) -> str:
        async def found() -> str:
            for seen, message in await self.events(name):
                if seen == reason and message.startswith(beginning):
                    return message
            return ""

        return str(await eventually(found, f"event {reason} of pod {name}", timeout))

    async def exec(self, pod: str, *command: str) -> str:
        found = self.kubelet.find_pod("default", pod)
        assert found is not None
        view = found.container("c")
        assert view is not None
        code, output = await self.kubelet.runtime.exec(view.id, list(command), 10)
        assert code == 0, output
        return output.decode()

    def tls(self) -> ssl.SSLContext:
        """How the API server shows itself to the node."""
        pki = self.server.pki
        context = ssl.create_default_context(cafile=str(pki.ca.cert))
        context.load_cert_chain(pki.kubelet_client.cert, pki.kubelet_client.key)
        return context

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.api.port}"


async def eventually(check: Callable[[], Any], what: str, timeout: float = 10) -> Any:
    """The first true result of `check`, which may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        await asyncio.sleep(0.03)


def ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])


def make_pod(name: str, script: str = WAIT_FOR_TERM, container: Object | None = None, **spec: Any) -> Object:
    own = {"name": "c", "image": "busybox", "command": ["sh", "-c", script], **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": "node-1", "containers": [own], **spec},
    }


def container_state(pod: Object, index: int = 0) -> Object:
    statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
    return statuses[index]["state"]


@pytest_asyncio.fixture
async def node(wherry_engine: "Engine", busybox_archive: Path) -> AsyncIterator[Node]:
    from wherry.cluster_net.pod_network import PodNetwork
    from wherry.kube_api.options import ServerOptions
    from wherry.kube_api.server import ApiServer

    await wherry_engine.images.load(busybox_archive)
    network = PodNetwork(wherry_engine.instance)
    await network.start()
    server = ApiServer(wherry_engine.instance, ServerOptions(port=0, service_cidr="10.199.0.0/24"))
    await server.start()
    client = server.client()
    for resource, name, more in (
        (SERVICE_ACCOUNTS, "default", {}),
        (CONFIG_MAPS, "kube-root-ca.crt", {"data": {"ca.crt": server.pki.ca.cert.read_text()}}),
    ):
        body = {
            "apiVersion": "v1",
            "kind": resource.kind,
            "metadata": {"name": name, "namespace": "default"},
            **more,
        }
        await client.create(resource, body, "default")
    made = Node(wherry_engine, network, server, client)
    await made.start()
    yield made
    for pod in (await client.list(PODS)).items:
        await client.delete(PODS, pod["metadata"]["name"], "default", grace_period_seconds=0)
    await eventually(lambda: not made.kubelet.workers(), "all pods to go", 30)
    await made.stop()
    await server.stop()
    await network.purge()


async def test_a_pod_runs_at_once_and_goes_at_once(node: Node) -> None:
    begun = time.monotonic()
    # A signal before the shell has set its trap would be lost: wait until it says that it has.
    script = f"trap 'exit 0' TERM; touch /up; {WAIT_FOR_TERM}"
    probe = {"exec": {"command": ["test", "-e", "/up"]}, "periodSeconds": 1}
    await node.create(make_pod("quick", script, container={"readinessProbe": probe}))
    pod = await node.running("quick")
    assert time.monotonic() - begun < 5
    assert pod["status"]["podIP"].startswith("10.")
    await node.client.delete(PODS, "quick", "default")
    begun = time.monotonic()
    await node.gone("quick")
    assert time.monotonic() - begun < 5
    reasons = [reason for reason, _ in await node.events("quick")]
    assert reasons == ["Pulled", "Created", "Started", "Killing"]


async def test_configuration_reaches_the_container(node: Node) -> None:
    meta = {"namespace": "default"}
    await node.client.create(
        CONFIG_MAPS,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", **meta}, "data": {"K": "v", "F": "1"}},
        "default",
    )
    secret = {"password": base64.b64encode(b"s3cret").decode()}
    await node.client.create(
        SECRETS,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sec", **meta}, "data": secret},
        "default",
    )
    container = {
        "env": [
            {"name": "A", "value": "one"},
            {"name": "B", "value": "$(A)-$(KEY)-$$(A)"},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "K"}}},
            {"name": "C", "value": "$(A)-$(KEY)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "envFrom": [{"secretRef": {"name": "sec"}, "prefix": "S_"}],
        "volumeMounts": [
            {"name": "cm", "mountPath": "/cm"},
            {"name": "all", "mountPath": "/all"},
            {"name": "scratch", "mountPath": "/scratch", "subPath": "below"},
        ],
        "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
    }
    volumes = [
        {"name": "cm", "configMap": {"name": "cm"}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"secret": {"name": "sec"}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                ]
            },
        },
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]
    pod = await node.create(make_pod("conf", container=container, volumes=volumes, hostname="inside"))
    pod = await node.running("conf")
    env = dict(line.split("=", 1) for line in (await node.exec("conf", "env")).splitlines() if "=" in line)
    assert (env["B"], env["C"], env["S_password"]) == ("one-$(KEY)-$(A)", "one-v", "s3cret")
    assert env["IP"] == pod["status"]["podIP"]
    assert env["KUBERNETES_SERVICE_HOST"] == "10.199.0.1"
    assert (await node.exec("conf", "cat", "/cm/K", "/all/password", "/all/labels")) == 'vs3cretapp="conf"'
    assert (await node.exec("conf", "hostname")).strip() == "inside"
    hosts = await node.exec("conf", "cat", "/etc/hosts")
    assert f"{pod['status']['podIP']}\tinside" in hosts
    token = await node.exec("conf", "ls", "/var/run/secrets/kubernetes.io/serviceaccount")
    assert token.split() == ["ca.crt", "namespace", "token"]
    assert pod["status"]["qosClass"] == "Guaranteed"
    limit = await node.exec(
        "conf",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    )
    assert limit.strip() in ("", str(64 * 1024 * 1024))

    changed = {"data": {"K": "new"}}
    await node.client.patch(CONFIG_MAPS, "cm", changed, "default")

    async def updated() -> bool:
        return await node.exec("conf", "cat", "/cm/K") == "new"

    await eventually(updated, "the new value in the volume")


async def test_init_containers_then_sidecar_then_main(node: Node) -> None:
    init = [
        {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo first >> /work/order"]},
        {
            "name": "side",
            "image": "busybox",
            "restartPolicy": "Always",
            "command": ["sh", "-c", f"echo side >> /work/order; {WAIT_FOR_TERM}"],
        },
    ]
    mount = [{"name": "work", "mountPath": "/work"}]
    for container in init:
        container["volumeMounts"] = mount
    script = f"echo main >> /work/order; {WAIT_FOR_TERM}"
    await node.create(
        make_pod(
            "order",
            script,
            container={"volumeMounts": mount},
            initContainers=init,
            volumes=[{"name": "work", "emptyDir": {}}],
        )
    )
    pod = await node.running("order")
    assert (await node.exec("order", "cat", "/work/order")).split() == ["first", "side", "main"]
    first, side = pod["status"]["initContainerStatuses"]
    assert first["state"]["terminated"]["reason"] == "Completed"
    assert (side["ready"], side["started"]) == (True, True)


async def test_a_crashing_container_backs_off_and_a_job_like_pod_ends(node: Node) -> None:
    await node.create(make_pod("crash", "echo last words > /dev/termination-log; exit 3"))
    await node.create(make_pod("once", "exit 0", restartPolicy="Never"))
    await node.create(make_pod("bad", "exit 1", restartPolicy="Never"))

    def in_crash_loop(pod: Object) -> bool:
        return bool((container_state(pod).get("waiting") or {}).get("reason") == "CrashLoopBackOff")

    pod = await node.until("crash", in_crash_loop)
    (status,) = pod["status"]["containerStatuses"]
    assert status["restartCount"] == 1
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "last words\n")
    uid = pod["metadata"]["uid"]
    expected = f"back-off 10s restarting failed container=c pod=crash_default({uid})"
    assert status["state"]["waiting"]["message"] == expected
    assert (await node.until("once", lambda p: p["status"]["phase"] == "Succeeded"))["status"]
    failed = await node.until("bad", lambda p: p["status"]["phase"] == "Failed")
    assert container_state(failed)["terminated"]["exitCode"] == 1


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_a_container_killed_by_hand_comes_back(node: Node, how: str) -> None:
    await node.create(make_pod("again"))
    pod = await node.running("again")
    id = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    if how == "kill":
        await node.engine.containers.kill(id, "SIGKILL")
    else:
        await node.engine.containers.remove(id, force=True)

    def restarted(pod: Object) -> bool:
        status = pod["status"]["containerStatuses"][0]
        return bool(status["restartCount"] == 1 and status["ready"])

    pod = await node.until("again", restarted)
    ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 137


async def test_a_restarted_kubelet_adopts_everything_untouched(node: Node) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    await node.create(make_pod("stays", container={"readinessProbe": probe}))
    await node.create(make_pod("ends-meanwhile", "sleep 0.5; exit 7", restartPolicy="Never"))
    await node.create(make_pod("deleted-meanwhile"))
    before = await node.running("stays")
    await node.running("deleted-meanwhile")
    await node.until("ends-meanwhile", lambda p: "running" in container_state(p))
    await node.stop()
    await node.client.delete(PODS, "deleted-meanwhile", "default", grace_period_seconds=0)

    async def listed(name: str, all: bool) -> bool:
        return any(name in entry["Names"][0] for entry in await node.engine.containers.list(all=all))

    async def ended() -> bool:
        return not await listed("ends-meanwhile", all=False)

    async def removed() -> bool:
        return not await listed("deleted-meanwhile", all=True)

    await eventually(ended, "the container to end")
    await node.start()
    failed = await node.until("ends-meanwhile", lambda p: p["status"]["phase"] == "Failed")
    assert container_state(failed)["terminated"]["exitCode"] == 7
    after = await node.running("stays")
    for key in ("containerID", "restartCount", "state"):
        assert after["status"]["containerStatuses"][0][key] == before["status"]["containerStatuses"][0][key]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    await eventually(removed, "the deleted pod's container to go")


async def test_probes_decide_over_readiness_and_life(node: Node) -> None:
    script = f"mkdir -p /www; echo ok > /www/health; httpd -p 8080 -h /www; {WAIT_FOR_TERM}"
    container = {
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 10},
        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
        "livenessProbe": {"exec": {"command": ["test", "!", "-e", "/dead"]}, "periodSeconds": 1, "failureThreshold": 1},
    }
    await node.create(make_pod("probed", script, container=container, terminationGracePeriodSeconds=2))
    await node.running("probed")
    await node.exec("probed", "mv", "/www/health", "/www/away")
    await node.until("probed", lambda pod: not ready(pod))
    message = await node.until_event("probed", "Unhealthy", "Readiness")
    assert message == "Readiness probe failed: HTTP probe failed with statuscode: 404"
    await node.exec("probed", "mv", "/www/away", "/www/health")
    await node.until("probed", ready)
    await node.exec("probed", "touch", "/dead")
    await node.until("probed", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert await node.until_event("probed", "Killing") == "Container c failed liveness probe, will be restarted"


async def test_pods_that_cannot_run_say_why(node: Node) -> None:
    def waiting(pod: Object) -> str:
        return str((container_state(pod).get("waiting") or {}).get("reason", ""))

    image = make_pod("no-image", container={"image": "nowhere.invalid/none:1", "imagePullPolicy": "Never"})
    await node.create(image)
    missing = {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k"}}}]}
    await node.create(make_pod("no-config", container=missing))
    await node.create(make_pod("no-command", container={"command": ["/no/such/program"]}))
    volume = [{"name": "v", "configMap": {"name": "absent"}}]
    await node.create(make_pod("no-volume", volumes=volume))
    await node.create(make_pod("root", container={"securityContext": {"runAsNonRoot": True}}))

    await node.until("no-image", lambda p: waiting(p) == "ErrImageNeverPull")
    pod = await node.until("no-config", lambda p: waiting(p) == "CreateContainerConfigError")
    assert container_state(pod)["waiting"]["message"] == 'configmap "absent" not found'
    pod = await node.until("no-command", lambda p: waiting(p) in ("RunContainerError", "CrashLoopBackOff"))
    ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "/no/such/program" in ended["message"]
    message = await node.until_event("no-volume", "FailedMount")
    assert message == 'MountVolume.SetUp failed for volume "v" : configmap "absent" not found'
    pod = await node.until("root", lambda p: waiting(p) == "CreateContainerConfigError")
    assert "image will run as root" in container_state(pod)["waiting"]["message"]
    # What was missing arrives: the pod starts without being touched.
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "absent", "namespace": "default"}}
    await node.client.create(CONFIG_MAPS, {**body, "data": {"k": "v"}}, "default")
    await node.running("no-config")
    await node.running("no-volume")


async def test_a_memory_hog_is_oom_killed(node: Node) -> None:
    script = "tail /dev/zero"
    await node.create(
        make_pod("hog", script, container={"resources": {"limits": {"memory": "16Mi"}}}, restartPolicy="Never")
    )
    pod = await node.until("hog", lambda p: p["status"]["phase"] == "Failed")
    ended = container_state(pod)["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_prestop_hook_and_grace_period(node: Node, tmp_path: Path) -> None:
    container = {
        "lifecycle": {
            "postStart": {"exec": {"command": ["sh", "-c", "echo post > /out/post"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "echo pre > /out/pre"]}},
        },
        "volumeMounts": [{"name": "out", "mountPath": "/out"}],
    }
    volumes = [{"name": "out", "hostPath": {"path": str(tmp_path), "type": "Directory"}}]
    stubborn = 'trap "" TERM; while :; do sleep 0.1; done'
    await node.create(
        make_pod("hooks", stubborn, container=container, volumes=volumes, terminationGracePeriodSeconds=2)
    )
    await node.running("hooks")
    assert (tmp_path / "post").read_text() == "post\n"
    begun = time.monotonic()
    await node.client.delete(PODS, "hooks", "default")
    await node.gone("hooks")
    assert 1.5 < time.monotonic() - begun < 10
    assert (tmp_path / "pre").read_text() == "pre\n"


async def test_the_node_api_serves_logs_exec_and_stats(node: Node) -> None:
    script = f"for i in 1 2 3; do echo line $i; done; echo oops >&2; {WAIT_FOR_TERM}"
    await node.create(make_pod("talks", script))
    await node.running("talks")
    base = f"{node.url}/containerLogs/default/talks/c"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=node.tls())) as http:

        async def whole() -> str:
            found = await (await http.get(base)).text()
            return found if found.count("\n") == 4 else ""

        text = await eventually(whole, "four lines of log")
        assert sorted(text.splitlines()) == ["line 1", "line 2", "line 3", "oops"]
        assert len((await (await http.get(base, params={"tailLines": "2"})).text()).splitlines()) == 2
        assert len(await (await http.get(base, params={"limitBytes": "5"})).text()) == 5
        stamped = await (await http.get(base, params={"timestamps": "true", "tailLines": "1"})).text()
        assert stamped[4] == "-"
        refused = await http.get(base, params={"previous": "true"})
        assert refused.status == 400
        assert await refused.text() == 'previous terminated container "c" in pod "talks" not found\n'

        query = {"command": "cat", "input": "1", "output": "1", "error": "1"}
        url = f"{node.url}/exec/default/talks/c"
        async with http.ws_connect(url, params=query, protocols=("v5.channel.k8s.io",)) as ws:
            await ws.send_bytes(b"\x00hello\n")
            await ws.send_bytes(b"\xff\x00")
            received = [message.data async for message in ws if message.data]
        assert b"".join(data[1:] for data in received if data[0] == 1) == b"hello\n"
        assert received[-1][0] == 3
        assert b'"Success"' in received[-1]

        query = {"command": "false", "output": "1"}
        async with http.ws_connect(url, params=query, protocols=("v4.channel.k8s.io",)) as ws:
            received = [message.data async for message in ws if message.data]
        assert b'"NonZeroExitCode"' in received[-1]

        summary = await (await http.get(f"{node.url}/stats/summary")).json()
        (pod,) = summary["pods"]
        assert pod["containers"][0]["memory"]["workingSetBytes"] > 0
        metrics = await (await http.get(f"{node.url}/metrics/resource")).text()
        assert 'container_memory_working_set_bytes{container="c",namespace="default",pod="talks"}' in metrics
    async with aiohttp.ClientSession() as stranger:
        with pytest.raises(aiohttp.ClientError):
            await stranger.get(f"{node.url}/pods", ssl=ssl.create_default_context(cafile=str(node.server.pki.ca.cert)))


async def test_attaching_to_a_container_that_has_ended_is_refused_at_once(node: Node) -> None:
    from wherry.node.engine_runtime import EngineRuntime
    from wherry.node.runtime import RuntimeFailure

    await node.create(make_pod("short", "exit 0", restartPolicy="Never"))
    ended = await node.until("short", lambda pod: pod["status"].get("phase") == "Succeeded")
    container = ended["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    with pytest.raises(RuntimeFailure, match="container is not running: it is exited"):
        await EngineRuntime(node.engine).open_attach(container, stdin=True, stdout=True, stderr=True)


async def test_log_agents_find_the_logs(node: Node) -> None:
    await node.create(make_pod("logged", f"trap 'exit 0' TERM; echo hello; {WAIT_FOR_TERM}"))
    pod = await node.running("logged")
    uid = pod["metadata"]["uid"]
    path = node.engine.instance.root / "log" / "pods" / f"default_logged_{uid}" / "c" / "0.log"
    await eventually(lambda: "hello" in path.read_text(), "the line in the log")
    id = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    link = node.engine.instance.root / "log" / "containers" / f"logged_default_c-{id}.log"
    assert link.read_text() == path.read_text()
    await node.client.delete(PODS, "logged", "default")
    await node.gone("logged")
    assert not link.is_symlink()
    assert not path.exists()


async def test_containers_of_a_pod_share_what_they_should(node: Node) -> None:
    other = {"name": "other", "image": "busybox", "command": ["sh", "-c", WAIT_FOR_TERM]}
    pod = make_pod("shared", shareProcessNamespace=True)
    pod["spec"]["containers"].append(other)
    await node.create(pod)
    await node.running("shared")
    processes = await node.exec("shared", "ps", "-o", "pid,args")
    assert processes.count("while :") == 2
    assert "catatonit" in processes
    found = node.kubelet.find_pod("default", "shared")
    assert found is not None
    views = [found.container(name) for name in ("c", "other")]
    for kind in ("net", "ipc", "pid"):
        assert len({(Path("/proc") / str(view.pid) / "ns" / kind).readlink() for view in views if view}) == 1
    await node.exec("shared", "sh", "-c", "echo x > /dev/shm/from-c")
    view = found.container("other")
    assert view is not None
    code, output = await node.kubelet.runtime.exec(view.id, ["cat", "/dev/shm/from-c"], 5)
    assert (code, output) == (0, b"x\n")


async def test_a_debug_container_sees_its_target(node: Node) -> None:
    await node.create(make_pod("patient"))
    await node.running("patient")
    debugger = {
        "name": "doctor",
        "image": "busybox",
        "command": ["sh", "-c", "ps -o args; sleep 100"],
        "targetContainerName": "c",
    }
    await node.client.patch(
        PODS, "patient", {"spec": {"ephemeralContainers": [debugger]}}, "default", subresource="ephemeralcontainers"
    )

    def running(pod: Object) -> bool:
        statuses = pod["status"].get("ephemeralContainerStatuses") or []
        return bool(statuses) and "running" in statuses[0]["state"]

    await node.until("patient", running)
    found = node.kubelet.find_pod("default", "patient")
    assert found is not None
    view = found.container("doctor")
    assert view is not None
    doctor = view.id

    async def seen() -> bool:
        return b"trap" in await node.kubelet.runtime.tail(doctor, 10)

    await eventually(seen, "the target's process in the debugger's output")


async def test_a_deadline_ends_a_pod(node: Node) -> None:
    await node.create(make_pod("short", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1))
    pod = await node.until("short", lambda p: p["status"]["phase"] == "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"


async def test_the_next_pod_of_a_name_waits_until_nothing_is_left_of_the_one_before(node: Node, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    log.chmod(0o666)
    # Ends slowly, and says when: deleted by force, it is gone from the API long before.
    script = (
        "trap 'for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; echo end $0 >> /log; exit 0' TERM; "
        "echo begin $0 >> /log; while :; do sleep 0.05; done"
    )
    volumes = [{"name": "log", "hostPath": {"path": str(log)}}]
    mounts = {"volumeMounts": [{"name": "log", "mountPath": "/log"}]}
    for which in ("first", "second"):
        container = {"command": ["sh", "-c", script, which], **mounts}
        await node.client.create(PODS, make_pod("same", container=container, volumes=volumes), "default")
        await node.running("same")
        await eventually(lambda which=which: f"begin {which}" in log.read_text(), f"{which} begins")
        if which == "first":
            await node.client.delete(PODS, "same", "default", grace_period_seconds=0)
    assert log.read_text().split("\n")[:3] == ["begin first", "end first", "begin second"]
    await node.client.delete(PODS, "same", "default")
    await node.gone("same")
