"""Every kind of Service as a user meets it: from a pod, from the host, and while processes are killed under load."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from network_peer import free_port
from stand_ins import stand_in
from waiting import wait_until

from wherry.cli.state import read_state
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root]

SERVER = """\
import http.server, os, signal, socket, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
name = socket.gethostname().encode()
def echo():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", 5353))
    while True:
        data, client = udp.recvfrom(999)
        udp.sendto(name, client)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        ready = not os.path.exists("/tmp/unready")
        self.send_response(200 if ready or self.path != "/ready" else 503)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)
    def log_message(self, *arguments):
        pass
threading.Thread(target=echo, daemon=True).start()
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""

WAIT = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); signal.pause()"


def manifest(port: int) -> list[dict[str, Any]]:
    """Three pods of a StatefulSet, and Services of every kind before them."""
    labels = {"app": "many"}
    web = {"name": "http", "port": port, "targetPort": 8080}
    container = {
        "name": "server",
        "image": "mybackend:1.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", SERVER],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
    }
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}

    def service(name: str, **spec: Any) -> dict[str, Any]:
        base = {"selector": labels, "ports": [web]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": base | spec}

    return [
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "many"},
            "spec": {
                "serviceName": "headless",
                "podManagementPolicy": "Parallel",
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        service("plain"),
        service("headless", clusterIP="None", ports=[{"name": "http", "port": 8080}]),
        service("sticky", sessionAffinity="ClientIP"),
        service("outer", type="LoadBalancer"),
        service("noder", type="NodePort"),
        service("dgram", type="NodePort", ports=[{"name": "echo", "port": 5353, "protocol": "UDP"}]),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "elsewhere"},
            "spec": {"type": "ExternalName", "externalName": "plain.default.svc.cluster.local"},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "many"},
            "spec": {
                "rules": [
                    {
                        "host": "many.test",
                        "http": {
                            "paths": [
                                {
                                    "path": "/",
                                    "pathType": "Prefix",
                                    "backend": {"service": {"name": "plain", "port": {"name": "http"}}},
                                }
                            ]
                        },
                    }
                ]
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client"},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "client",
                        "image": "mybackend:1.0",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", WAIT],
                    }
                ],
            },
        },
    ]


ASK = """
import socket, sys, urllib.request
what, times = sys.argv[1], int(sys.argv[2])
for _ in range(times):
    if what.startswith("http"):
        print(urllib.request.urlopen(what, timeout=5).read().decode())
    else:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.settimeout(5)
        udp.sendto(b"x", (what.partition(":")[0], int(what.partition(":")[2])))
        print(udp.recv(99).decode())
"""


class Many:
    """The running pods and Services."""

    def __init__(self, machine: RunningWherry, port: int) -> None:
        self.machine, self.port = machine, port

    def kubectl(self, *arguments: str, **options: Any) -> str:
        done = self.machine.run("kubectl", *arguments, **options)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def spec(self, service: str) -> Any:
        return self.json("service", service)["spec"]

    def balanced(self, kind: str, name: str) -> Any:
        entries = (self.json(kind, name)["status"].get("loadBalancer") or {}).get("ingress") or []
        return entries[0] if entries else None

    def from_pod(self, what: str, times: int = 1) -> set[str]:
        done = self.machine.run("kubectl", "exec", "client", "--", "python3", "-c", ASK, what, str(times))
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def from_host(self, what: str, times: int = 1) -> set[str]:
        done = subprocess.run(["python3", "-c", ASK, what, str(times)], capture_output=True, text=True, check=False)
        return set(done.stdout.split())

    def ready(self) -> set[str]:
        found = self.json("endpointslices", "-l", "kubernetes.io/service-name=plain")["items"]
        return {
            endpoint["targetRef"]["name"]
            for item in found
            for endpoint in item.get("endpoints") or ()
            if endpoint["conditions"]["ready"]
        }

    def origin(self) -> str:
        entry = wait_until(lambda: self.balanced("ingress", "many"), "the Ingress has an address")
        return f"{entry['ip']}:{(entry.get('ports') or [{'port': 80}])[0]['port']}"


NAMES = {"many-0", "many-1", "many-2"}


@pytest.fixture(scope="module")
def many(wherry_instances: Any) -> Iterator[Many]:
    from wherry.testing.plugin import start, stop

    instance = wherry_instances.make()
    machine = start(instance)
    made = Many(machine, free_port())
    assert machine.run("docker", "load", "-i", str(stand_in("mybackend"))).returncode == 0
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifest(made.port)})
    made.kubectl("apply", "-f", "-", input=document)
    made.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    wait_until(lambda: made.ready() == NAMES, "three pods are ready", timeout=60)
    yield made
    stop(instance)
    leaks = wherry_instances.discard(instance)
    wherry_instances.made.remove(instance)
    assert not leaks, leaks


def test_cluster_addresses_and_names(many: Many) -> None:
    address = many.spec("plain")["clusterIP"]
    assert many.from_pod(f"http://plain:{many.port}", 40) == NAMES
    assert many.from_pod(f"http://plain.default.svc.cluster.local:{many.port}")
    assert many.from_host(f"http://{address}:{many.port}", 40) == NAMES


def test_a_headless_service_names_each_pod(many: Many) -> None:
    for name in sorted(NAMES):
        assert many.from_pod(f"http://{name}.headless:8080") == {name}
        assert many.from_pod(f"http://{name}.headless.default.svc.cluster.local:8080") == {name}


def test_an_external_name_is_followed(many: Many) -> None:
    assert many.from_pod(f"http://elsewhere:{many.port}", 20) == NAMES


def test_session_affinity_keeps_a_client_with_a_pod(many: Many) -> None:
    address = many.spec("sticky")["clusterIP"]
    assert len(many.from_pod(f"http://{address}:{many.port}", 20)) == 1
    assert len(many.from_host(f"http://{address}:{many.port}", 20)) == 1


def test_udp_is_answered_by_name_address_and_node_port(many: Many) -> None:
    spec = many.spec("dgram")
    assert many.from_pod("dgram:5353", 30) == NAMES
    assert many.from_host(f"{spec['clusterIP']}:5353", 30) == NAMES
    assert many.from_host(f"127.0.0.1:{spec['ports'][0]['nodePort']}", 30) == NAMES


def test_a_load_balancer_answers_from_host_and_pod(many: Many) -> None:
    entry = wait_until(lambda: many.balanced("service", "outer"), "an address is given")
    assert many.from_host(f"http://{entry['ip']}:{many.port}", 40) == NAMES
    assert many.from_pod(f"http://{entry['ip']}:{many.port}", 40) == NAMES
    node_port = many.spec("noder")["ports"][0]["nodePort"]
    assert many.from_host(f"http://127.0.0.1:{node_port}", 40) == NAMES
    table = many.kubectl("get", "service", "outer")
    assert entry["ip"] in table.splitlines()[1].split()


class Load:
    """Requests from the host in threads until the block ends; each answer is kept: a pod's name, or what went wrong."""

    def __init__(self, *urls: tuple[str, str]) -> None:
        self._urls = urls
        self._stop = threading.Event()
        self.answers: list[tuple[float, str, str]] = []

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._ask, args=url) for url in self._urls]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, host: str) -> None:
        import urllib.request

        request = urllib.request.Request(url, headers={"Host": host} if host else {})
        while not self._stop.is_set():
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    text = answer.read().decode()
            except OSError as error:
                text = f"failed: {error}"
            self.answers.append((time.monotonic(), url, text))
            self._stop.wait(0.005)

    def failures(self) -> list[tuple[float, str, str]]:
        return [answer for answer in self.answers if answer[2] not in NAMES]

    def since(self, moment: float) -> set[str]:
        return {answer[2] for answer in self.answers if answer[0] > moment}


def everywhere(many: Many) -> list[tuple[str, str]]:
    """Each way to the pods from the host: (URL, Host header)."""
    node_port = many.spec("noder")["ports"][0]["nodePort"]
    balancer = many.balanced("service", "outer")["ip"]
    return [
        (f"http://{many.spec('plain')['clusterIP']}:{many.port}/", ""),
        (f"http://127.0.0.1:{node_port}/", ""),
        (f"http://{balancer}:{many.port}/", ""),
        (f"http://{many.origin()}/", "many.test"),
    ]


def test_readiness_takes_a_pod_out_and_back_without_a_failed_request(many: Many) -> None:
    with Load(*everywhere(many)) as load:
        many.kubectl("exec", "many-1", "--", "touch", "/tmp/unready")
        wait_until(lambda: many.ready() == NAMES - {"many-1"}, "it is out")
        settled = time.monotonic() + 1.5  # the Ingress keeps a connection to a pod for a tenth of a second
        wait_until(lambda: time.monotonic() > settled + 1, "some more answers")
        assert load.since(settled) == NAMES - {"many-1"}
        many.kubectl("exec", "many-1", "--", "rm", "/tmp/unready")
        wait_until(lambda: many.ready() == NAMES, "it is back")
        back = time.monotonic()
        wait_until(lambda: load.since(back) == NAMES, "it answers again")
    assert not load.failures()


@pytest.mark.parametrize("name", ["wherry-node", "wherry-server"])
def test_traffic_goes_on_while_a_process_is_killed(many: Many, name: str) -> None:
    process = read_state(many.machine.instance).process(name)
    assert process is not None
    nginx = int((many.machine.instance.run / "ingress" / "nginx.pid").read_text())
    with Load(*everywhere(many)) as load:
        os.kill(process.pid, signal.SIGKILL)
        killed = time.monotonic()

        def back() -> bool:
            found = read_state(many.machine.instance).process(name)
            return found is not None and found.pid != process.pid and found.ready_after is not None

        wait_until(back, f"{name} is back", timeout=60)
        wait_until(lambda: time.monotonic() > killed + 3, "some more answers")
    assert len(load.answers) > 100
    assert not load.failures()
    assert int((many.machine.instance.run / "ingress" / "nginx.pid").read_text()) == nginx
    assert many.from_pod(f"http://plain:{many.port}", 40) == NAMES, "names are answered again"


def test_a_killed_nginx_is_back_at_once(many: Many) -> None:
    pid_file = many.machine.instance.run / "ingress" / "nginx.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip() not in ("", str(pid)), "another nginx")
    url = f"http://{many.origin()}/"
    wait_until(_answers(url), "it answers")


def _answers(url: str) -> Callable[[], bool]:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: many.test", url]
    return lambda: subprocess.run(command, capture_output=True, text=True, check=False).stdout == "200"


def test_bad_services_are_refused_as_kubernetes_does(many: Many) -> None:
    def refused(**spec: Any) -> str:
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"}, "spec": spec}
        done = many.machine.run("kubectl", "create", "-f", "-", input=json.dumps(service))
        assert done.returncode == 1, done.stdout
        return done.stderr

    taken = many.spec("noder")
    number = taken["ports"][0]["nodePort"]
    words = refused(type="NodePort", ports=[{"port": 80, "nodePort": number}])
    assert f"spec.ports[0].nodePort: Invalid value: {number}: provided port is already allocated" in words
    assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in refused(
        type="NodePort", ports=[{"port": 80, "nodePort": 80}]
    )
    assert "is not in the valid range. The range of valid IPs is" in refused(
        clusterIP="192.0.2.99", ports=[{"port": 80}]
    )
    dns = ".".join([*taken["clusterIP"].split(".")[:2], "0", "10"])
    for address in (taken["clusterIP"], dns):
        words = refused(clusterIP=address, ports=[{"port": 80}])
        assert "provided IP is already allocated" in words
    assert "may not be in the loopback range" in refused(externalIPs=["127.0.0.1"], ports=[{"port": 80}])
    done = many.machine.run("kubectl", "patch", "service", "plain", "-p", '{"spec":{"clusterIP":"192.0.2.99"}}')
    assert "may not change once set" in done.stderr
