"""Requests through the cluster's network: a pod directly, by ClusterIP, by NodePort and through the Ingress.

    bench/network.py [--seconds N] [--rounds N] [--connections N] [--only http,proxy,dns]

http   wrk against one nginx pod, each way in turn, in several rounds. The peer for the Ingress is a bare nginx on the
       same machine with a hand-written configuration that proxies to the pod. Ratios are medians of each round's own.
proxy  1,000 Services with 10 endpoints each written into nftables from nothing, then single endpoint changes until
       the kernel has them (a stand-in for the API server, so that only the proxy is measured).
dns    queries to the cluster DNS from several sockets at once, by a small client in this program.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from wherry.testing.instances import TestInstances, wherry

IMAGES = Path(__file__).parents[1] / "tests" / "images"
HOST = "bench.example.com"

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1.22", imagePullPolicy: IfNotPresent, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/enable-access-log: "false"}}
spec:
  rules:
  - host: bench.example.com
    http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]
"""

BARE = """\
daemon off; worker_processes 2; pid %(dir)s/pid; error_log %(dir)s/error.log;
events { worker_connections 4096; }
http {
    access_log off; proxy_temp_path %(dir)s/p; client_body_temp_path %(dir)s/c; fastcgi_temp_path %(dir)s/f;
    uwsgi_temp_path %(dir)s/u; scgi_temp_path %(dir)s/s;
    upstream pod { server %(pod)s:80; keepalive 64; }
    server {
        listen 127.0.0.1:%(port)d backlog=4096;
        location / { proxy_pass http://pod; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
"""


def run(command: list[str], env: dict[str, str] | None = None, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def wrk(url: str, seconds: int, connections: int, host: str = "") -> tuple[float, float, int]:
    """(requests per second, p99 in milliseconds, failed requests)."""
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    if host:
        command += ["-H", f"Host: {host}"]
    text = run(command)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    assert found is not None
    p99 = float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]
    failed = sum(int(number) for number in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return rate, p99, failed + (int(bad[1]) if bad else 0)


def measure_http(arguments: argparse.Namespace) -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed")
    instances = TestInstances()
    directory = Path(tempfile.mkdtemp(prefix="wh-bare-"))
    bare: subprocess.Popen[bytes] | None = None
    instance = instances.make()
    try:
        up = wherry(instance, "up")
        if up.returncode:
            sys.exit(up.stdout + up.stderr)
        from wherry.cli.env import variables

        env = {**os.environ, **variables(instance)}
        archive = run([sys.executable, str(IMAGES / "build_images.py"), "nginx"]).strip()
        run(["docker", "load", "-i", archive], env)
        run(["kubectl", "apply", "-f", "-"], env, input=MANIFEST)
        run(["kubectl", "rollout", "status", "deployment/web", "--timeout=60s"], env)
        pods = json.loads(run(["kubectl", "get", "pods", "-l", "app=web", "-o", "json"], env))
        pod = pods["items"][0]["status"]["podIP"]
        service = json.loads(run(["kubectl", "get", "service", "web", "-o", "json"], env))["spec"]
        ingress = wait_for_ingress(env)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (directory / "nginx.conf").write_text(BARE % {"dir": directory, "pod": pod, "port": port})
        directory.chmod(0o755)
        bare = subprocess.Popen(["nginx", "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")])
        machine = ingress.partition(":")[0]
        ways = {
            "pod": (f"http://{pod}/", ""),
            "ClusterIP": (f"http://{service['clusterIP']}/", ""),
            "NodePort": (f"http://{machine}:{service['ports'][0]['nodePort']}/", ""),
            "bare nginx": (f"http://127.0.0.1:{port}/", ""),
            "Ingress": (f"http://{ingress}/", HOST),
        }
        results: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
        for url, host in ways.values():
            wrk(url, 1, arguments.connections, host)
        for _ in range(arguments.rounds):
            for name in random.sample(list(ways), len(ways)):
                url, host = ways[name]
                results[name].append(wrk(url, arguments.seconds, arguments.connections, host))
        report(results)
    finally:
        if bare is not None:
            bare.terminate()
            bare.wait()
        wherry(instance, "down", "--all")
        instances.close()
        shutil.rmtree(directory, ignore_errors=True)


def wait_for_ingress(env: dict[str, str]) -> str:
    """`address:port` of the Ingress once it answers."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = json.loads(run(["kubectl", "get", "ingress", "web", "-o", "json"], env))
        entries = (found["status"].get("loadBalancer") or {}).get("ingress") or []
        if entries:
            origin = f"{entries[0]['ip']}:{(entries[0].get('ports') or [{'port': 80}])[0]['port']}"
            asked = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {HOST}", f"http://{origin}/"]
            if subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "200":
                return origin
        time.sleep(0.1)
    sys.exit("the Ingress does not answer")


def report(results: dict[str, list[tuple[float, float, int]]]) -> None:
    print(
        f"{'way':<12}{'requests/s':>12}{'p99 ms':>9}{'failed':>8}   rate and p99 against the peer (medians of rounds)"
    )
    peers = {"ClusterIP": "pod", "NodePort": "pod", "Ingress": "bare nginx"}
    for name, rounds in results.items():
        rate = statistics.median(one[0] for one in rounds)
        p99 = statistics.median(one[1] for one in rounds)
        line = f"{name:<12}{rate:>12.0f}{p99:>9.2f}{sum(one[2] for one in rounds):>8}"
        peer = peers.get(name)
        if peer:
            pairs = list(zip(rounds, results[peer], strict=True))
            speed = statistics.median(own[0] / other[0] for own, other in pairs)
            tail = statistics.median(own[1] / other[1] for own, other in pairs)
            line += f"   {speed:.2f} and {tail:.2f} of {peer}"
        print(line, flush=True)


async def measure_proxy(services: int = 1000, endpoints: int = 10, changes: int = 20) -> None:
    from wherry.cluster_net.service_proxy import ServiceProxy
    from wherry.schema.builtin import ENDPOINT_SLICES, SERVICES
    from wherry.testing.fake_client import FakeClient

    instances = TestInstances()
    instance = instances.make()
    client = FakeClient()
    for number in range(services):
        name, address = f"s{number}", f"10.127.{number // 250}.{number % 250 + 1}"
        client.seed(
            SERVICES,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"type": "ClusterIP", "clusterIP": address, "ports": [{"port": 80, "protocol": "TCP"}]},
            },
        )
        client.seed(ENDPOINT_SLICES, slice_of(name, [f"10.126.{number % 250}.{n + 1}" for n in range(endpoints)]))
    proxy = ServiceProxy(client, instance, "node", service_cidr="10.127.0.0/16")
    begin = time.monotonic()
    task = asyncio.create_task(proxy.run())
    await proxy.programmed.wait()
    print(f"{services} Services x {endpoints} endpoints from nothing: {time.monotonic() - begin:.2f} s", flush=True)
    times = []
    try:
        for change in range(changes):
            number = random.randrange(services)
            fresh = f"10.125.0.{change + 1}"
            begin = time.monotonic()
            await client.update(ENDPOINT_SLICES, slice_of(f"s{number}", [fresh]))
            while not any(  # noqa: ASYNC110 - what is measured is when the proxy says that the kernel has it
                endpoint.ip == fresh
                for port in proxy._applied.get(("default", f"s{number}"), {}).values()
                for endpoint in port.endpoints
            ):
                await asyncio.sleep(0.0005)
            times.append((time.monotonic() - begin) * 1000)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await proxy.purge()
        instances.close()
    median, worst = statistics.median(times), max(times)
    print(f"one endpoint change until the kernel has it: median {median:.1f} ms, worst {worst:.1f} ms")


def slice_of(service: str, addresses: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }


_CLIENT = """
import socket, struct, sys, time
server, seconds, window = sys.argv[1], float(sys.argv[2]), 16
name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b".")) + b"\\0"
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect((server, 53))
client.settimeout(2)
sent, times, lost, begin = {}, [], 0, time.monotonic()
number = 0
def ask():
    global number
    number = (number + 1) % 65536
    sent[number] = time.monotonic()
    client.send(struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + name + b"\\0\\1\\0\\1")
for _ in range(window): ask()
while time.monotonic() - begin < seconds:
    try:
        answer = client.recv(512)
    except TimeoutError:
        lost += len(sent); sent.clear()
        for _ in range(window): ask()
        continue
    at = sent.pop(struct.unpack_from("!H", answer)[0], None)
    if at is not None:
        times.append(time.monotonic() - at)
        ask()
times.sort()
print(len(times) / seconds, times[int(len(times) * 0.99)] * 1000, lost)
"""


def measure_dns(seconds: int) -> None:
    instances = TestInstances()
    instance = instances.make()
    try:
        up = wherry(instance, "up")
        if up.returncode:
            sys.exit(up.stdout + up.stderr)
        server = json.loads((instance.root / "cluster.json").read_text())["dns_address"]
        command = [sys.executable, "-c", _CLIENT, server, str(seconds)]
        clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        found = [client.communicate()[0].split() for client in clients]
        rate = sum(float(one[0]) for one in found)
        p99 = max(float(one[1]) for one in found)
        lost = sum(int(one[2]) for one in found)
        print(f"cluster DNS: {rate:.0f} queries/s, p99 {p99:.2f} ms, {lost} lost (32 queries under way at a time)")
    finally:
        wherry(instance, "down", "--all")
        instances.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", default="http,proxy,dns")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if "proxy" in parts:
        asyncio.run(measure_proxy())
    if "dns" in parts:
        measure_dns(arguments.seconds)
    if "http" in parts:
        measure_http(arguments)


if __name__ == "__main__":
    main()
