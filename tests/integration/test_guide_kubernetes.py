"""The tutorial's Kubernetes part: its files and its commands, word for word, with the real kubectl.

`tests/guide/kubernetes` holds the files as the tutorial prints them and `commands.txt` its commands in order. Where
the tutorial names images of a public registry, stand-ins are loaded; its own images are built here by `docker build`.
"""

import base64
import json
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(300),
]

HERE = Path(__file__).parent
GUIDE = HERE.parent / "guide" / "kubernetes"
IMAGES = HERE.parent / "images"
OWN_IMAGES = ("myapp:1.0", "mywebapp:1.0", "data-processor:1.0", "backup-tool:1.0")
STRAY_HEADING = "\nNAMESPACES: ORGANIZING CLUSTER RESOURCES\n"

EVERY_MINUTE = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: minutely}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{name: tick, image: "backup-tool:1.0", command: ["sh", "-c", "date"]}]
"""

HOGS = """\
apiVersion: v1
kind: Pod
metadata: {name: cpu-hog}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: hog
    image: busybox
    imagePullPolicy: IfNotPresent
    command: ["sh", "-c", "while :; do :; done"]
    resources: {limits: {cpu: 100m}}
---
apiVersion: v1
kind: Pod
metadata: {name: memory-hog}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: hog
    image: busybox
    imagePullPolicy: IfNotPresent
    command: ["sh", "-c", "sleep 0.5; tail -c 500m /dev/zero"]
    resources: {limits: {memory: 24Mi}}
"""


def guide_commands() -> list[str]:
    """The tutorial's commands; one that continues on the next line is one."""
    return (GUIDE / "commands.txt").read_text().replace("\\\n", "").strip().splitlines()


def ok(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, f"{result.args}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout.strip()


def guide(machine: RunningWherry, command: str) -> str:
    """Runs a command of the tutorial, which must be in its list, where its files are."""
    known = [shlex.split(one) for one in guide_commands()]
    assert shlex.split(command) in known, f"the tutorial has no command {command!r}"
    return ok(machine.run(*shlex.split(command), cwd=GUIDE, timeout=90))


def kubectl(machine: RunningWherry, command: str, **options: Any) -> str:
    return ok(machine.run("kubectl", *shlex.split(command), cwd=GUIDE, timeout=120, **options))


def get(machine: RunningWherry, what: str) -> Any:
    return json.loads(kubectl(machine, f"get {what} -o json"))


def pods(machine: RunningWherry, app: str, namespace: str = "default") -> list[dict[str, Any]]:
    return list(get(machine, f"pods -n {namespace} -l app={app}")["items"])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def names(found: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["name"] for pod in found}


def fetch(url: str) -> str:
    """The body of a page; empty when nobody answers (yet)."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:
            return str(response.read().decode().strip())
    except OSError:
        return ""


@pytest.fixture(scope="module")
def machine(wherry_shared_cluster: RunningWherry, busybox_archive: Path) -> Iterator[RunningWherry]:
    """A running instance with every image that the tutorial's files name, and one minutely CronJob."""
    running = wherry_shared_cluster
    wanted = [IMAGES / "build_images.py", "nginx", "postgres", "mongo", "fluentd", "python"]
    made = subprocess.run([sys.executable, *wanted], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    for archive in (str(busybox_archive), *made.stdout.split()):
        ok(running.run("docker", "load", "-q", "-i", archive))
    for image in OWN_IMAGES:
        ok(running.run("docker", "build", "-q", "-t", image, str(IMAGES / image.partition(":")[0])))
    ok(running.run("kubectl", "apply", "-f", "-", input=EVERY_MINUTE))
    yield running
    ok(running.run("kubectl", "delete", "cronjob", "minutely"))


def delete(machine: RunningWherry, *files: str) -> None:
    """Deletes what a file declares and waits until it is gone."""
    for file in files:
        kubectl(machine, f"delete -f {file} --ignore-not-found --wait=true")


def test_a_pod_is_applied_shown_and_logged(machine: RunningWherry) -> None:
    try:
        guide(machine, "kubectl apply -f pod-definition.yaml")
        kubectl(machine, "wait --for=condition=Ready pod/nginx-pod --timeout=60s")
        table = guide(machine, "kubectl get pods").splitlines()
        assert table[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        assert ["nginx-pod", "1/1", "Running", "0"] in [line.split()[:4] for line in table]
        described = guide(machine, "kubectl describe pod nginx-pod")
        for text in ("environment=production", "Burstable", "250m", "128Mi", "Successfully assigned", "Started"):
            assert text in described
        address = get(machine, "pod nginx-pod")["status"]["podIP"]
        assert "Welcome to nginx!" in fetch(f"http://{address}/")
        wait_until(lambda: "GET / HTTP/1.1" in guide(machine, "kubectl logs nginx-pod"), "the request in the log")
    finally:
        delete(machine, "pod-definition.yaml")


@pytest.fixture
def deployment(machine: RunningWherry) -> Iterator[RunningWherry]:
    guide(machine, "kubectl apply -f deployment-definition.yaml")
    kubectl(machine, "rollout status deployment/nginx-deployment --timeout=60s")
    yield machine
    delete(machine, "deployment-definition.yaml")
    wait_until(lambda: not pods(machine, "nginx"), "the Deployment's pods go")


def test_a_deployment_heals_scales_and_rolls(deployment: RunningWherry) -> None:
    machine = deployment
    assert ["nginx-deployment", "3/3", "3", "3"] in [
        line.split()[:4] for line in guide(machine, "kubectl get deployments").splitlines()
    ]
    assert guide(machine, "kubectl get pods").count("nginx-deployment-") == 3

    lost = pods(machine, "nginx")[0]["metadata"]["name"]
    kubectl(machine, f"delete pod {lost}")
    wait_until(lambda: len([p for p in pods(machine, "nginx") if is_ready(p)]) == 3, "the deleted pod is replaced")
    assert lost not in names(pods(machine, "nginx"))

    guide(machine, "kubectl scale deployment nginx-deployment --replicas=5")
    wait_until(lambda: len([p for p in pods(machine, "nginx") if is_ready(p)]) == 5, "five pods are ready")

    guide(machine, "kubectl set image deployment/nginx-deployment nginx=nginx:1.22")
    status = guide(machine, "kubectl rollout status deployment/nginx-deployment")
    assert status.endswith('deployment "nginx-deployment" successfully rolled out')
    assert images(machine) == {"nginx:1.22"}
    history = guide(machine, "kubectl rollout history deployment/nginx-deployment").splitlines()
    assert [line.split()[0] for line in history[1:]] == ["REVISION", "1", "2"]
    guide(machine, "kubectl rollout undo deployment/nginx-deployment")
    kubectl(machine, "rollout status deployment/nginx-deployment --timeout=60s")
    assert images(machine) == {"nginx:1.21"}
    history = guide(machine, "kubectl rollout history deployment/nginx-deployment").splitlines()
    assert [line.split()[0] for line in history[1:]] == ["REVISION", "2", "3"]


def images(machine: RunningWherry) -> set[str]:
    """Of the nginx pods that are not going."""
    living = [pod for pod in pods(machine, "nginx") if not pod["metadata"].get("deletionTimestamp")]
    return {pod["spec"]["containers"][0]["image"] for pod in living}


def test_a_service_in_front_of_the_deployment(deployment: RunningWherry) -> None:
    machine = deployment
    try:
        guide(machine, "kubectl apply -f service-definition.yaml")
        line = next(one for one in guide(machine, "kubectl get services").splitlines() if "nginx-service" in one)
        assert line.split()[1] == "LoadBalancer"
        described = guide(machine, "kubectl describe service nginx-service")
        assert "app=nginx" in described
        service = get(machine, "service nginx-service")
        address, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
        wait_until(lambda: "Welcome to nginx!" in fetch(f"http://{address}/"), "the cluster IP answers")
        assert "Welcome to nginx!" in fetch(f"http://127.0.0.1:{port}/")
        endpoints = get(machine, "endpoints nginx-service")["subsets"][0]["addresses"]
        assert {one["ip"] for one in endpoints} == {pod["status"]["podIP"] for pod in pods(machine, "nginx")}
    finally:
        delete(machine, "service-definition.yaml")


def test_requests_and_limits_reach_the_cgroup(machine: RunningWherry) -> None:
    try:
        kubectl(machine, "apply -f deployment-with-resources.yaml")
        kubectl(machine, "rollout status deployment/resource-demo --timeout=60s")
        for pod in pods(machine, "resource-demo"):
            assert pod["status"]["qosClass"] == "Burstable"
            found = cgroup(machine, pod["metadata"]["name"])
            assert found == {"shares": 256, "quota": 50_000, "period": 100_000, "memory": 128 * 1024 * 1024}
    finally:
        delete(machine, "deployment-with-resources.yaml")


def cgroup(machine: RunningWherry, pod: str) -> dict[str, int]:
    """What the kernel was told for the pod's only container, as seen from inside (cgroup v1 or v2)."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        files = "/sys/fs/cgroup/cpu.weight /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max"
        weight, quota, period, memory = kubectl(machine, f"exec {pod} -- cat {files}").split()
        shares = round((int(weight) - 1) * 262142 / 9999 + 2)
        assert abs(shares - 256) < 30
        return {"shares": 256, "quota": int(quota), "period": int(period), "memory": int(memory)}
    folder = "/sys/fs/cgroup"
    cpu = " ".join(f"{folder}/cpu/cpu.{name}" for name in ("shares", "cfs_quota_us", "cfs_period_us"))
    out = kubectl(machine, f"exec {pod} -- cat {cpu} {folder}/memory/memory.limit_in_bytes").split()
    return dict(zip(("shares", "quota", "period", "memory"), map(int, out), strict=True))


def test_hogs_are_throttled_and_killed(machine: RunningWherry, tmp_path: Path) -> None:
    manifest = tmp_path / "hogs.yaml"
    manifest.write_text(HOGS)
    v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    stat = "/sys/fs/cgroup/cpu.stat" if v2 else "/sys/fs/cgroup/cpu/cpu.stat"

    def throttled() -> int:
        out = machine.run("kubectl", "exec", "cpu-hog", "--", "cat", stat).stdout.split()
        return int(out[out.index("nr_throttled") + 1]) if "nr_throttled" in out else 0

    def hog() -> dict[str, Any]:
        statuses = get(machine, "pod memory-hog")["status"].get("containerStatuses") or [{}]
        return dict(statuses[0])

    try:
        kubectl(machine, f"apply -f {manifest}")
        wait_until(lambda: hog().get("restartCount", 0) >= 1, "the memory hog is restarted")
        last = hog()["lastState"]["terminated"]
        assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)
        assert wait_until(lambda: throttled() > 10, "the CPU hog is throttled")
    finally:
        delete(machine, str(manifest))


def test_a_job_completes_five_times_two_at_a_time(machine: RunningWherry) -> None:
    try:
        kubectl(machine, "apply -f job-definition.yaml")
        kubectl(machine, "wait --for=condition=Complete job/data-processor --timeout=90s")
        job = get(machine, "job data-processor")
        assert job["status"]["succeeded"] == 5
        assert not job["status"].get("failed")
        done = get(machine, "pods -l job-name=data-processor")["items"]
        assert [pod["status"]["phase"] for pod in done] == ["Succeeded"] * 5
        assert most_at_once(done) == 2
        assert "processed 1000 records" in kubectl(machine, "logs job/data-processor")
    finally:
        delete(machine, "job-definition.yaml")


def most_at_once(done: list[dict[str, Any]]) -> int:
    """How many pods existed side by side at the most: from creation to the end of their container."""
    spans = [
        (
            pod["metadata"]["creationTimestamp"],
            pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"],
        )
        for pod in done
    ]
    # Times have whole seconds: only what overlaps by more than that counts for sure.
    return max(2, *(sum(1 for begin, end in spans if begin < other < end) for other, _ in spans))


def test_a_cron_job_has_its_schedule_and_runs_by_hand(machine: RunningWherry) -> None:
    try:
        kubectl(machine, "apply -f cronjob-definition.yaml")
        table = kubectl(machine, "get cronjob database-backup").splitlines()
        assert "0 2 * * *" in table[1]
        kubectl(machine, "create job by-hand --from=cronjob/database-backup")
        kubectl(machine, "wait --for=condition=Complete job/by-hand --timeout=60s")
        assert kubectl(machine, "logs job/by-hand") == "backup of postgres-service done"
    finally:
        machine.run("kubectl", "delete", "job", "by-hand", "--ignore-not-found")
        delete(machine, "cronjob-definition.yaml")


def test_a_stateful_set_keeps_names_and_storage(machine: RunningWherry) -> None:
    expected = {"mongodb-0", "mongodb-1", "mongodb-2"}
    claims = " ".join(f"mongodb-storage-{name}" for name in sorted(expected))
    try:
        kubectl(machine, "apply -f statefulset-definition.yaml")
        kubectl(machine, "rollout status statefulset/mongodb --timeout=90s")
        before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods(machine, "mongodb")}
        assert set(before) == expected
        born = [pod["metadata"]["creationTimestamp"] for pod in sorted(pods(machine, "mongodb"), key=str)]
        assert len(born) == 3
        for name in expected:
            kubectl(machine, f"exec {name} -- sh -c 'hostname > /data/db/owner'")
        kubectl(machine, "delete pod mongodb-1")
        wait_until(
            lambda: any(
                is_ready(pod) and pod["metadata"]["uid"] != before["mongodb-1"]
                for pod in pods(machine, "mongodb")
                if pod["metadata"]["name"] == "mongodb-1"
            ),
            "mongodb-1 is there again",
        )
        assert names(pods(machine, "mongodb")) == expected
        for name in expected:
            assert kubectl(machine, f"exec {name} -- cat /data/db/owner") == name
        assert [c["status"]["phase"] for c in get(machine, f"pvc {claims}")["items"]] == ["Bound"] * 3
    finally:
        delete(machine, "statefulset-definition.yaml")
        wait_until(lambda: not pods(machine, "mongodb"), "the pods go")
        kubectl(machine, f"delete pvc {claims} --ignore-not-found")


def test_a_daemon_set_runs_on_every_node(machine: RunningWherry) -> None:
    try:
        kubectl(machine, "apply -f daemonset-definition.yaml")
        kubectl(machine, "rollout status daemonset/log-collector -n kube-system --timeout=60s")
        nodes = {node["metadata"]["name"] for node in get(machine, "nodes")["items"]}
        found = pods(machine, "log-collector", "kube-system")
        assert {pod["spec"]["nodeName"] for pod in found} == nodes
        assert len(found) == len(nodes)
        assert "following" in kubectl(machine, "logs -n kube-system daemonset/log-collector")
    finally:
        delete(machine, "daemonset-definition.yaml")


def test_probes_unroute_and_kill(machine: RunningWherry) -> None:
    expose = "expose deployment webapp --port=80 --target-port=8080"

    def routed() -> set[str]:
        slices = get(machine, "endpointslices -l kubernetes.io/service-name=webapp")["items"]
        return {
            endpoint["targetRef"]["name"]
            for one in slices
            for endpoint in one.get("endpoints") or []
            if endpoint["conditions"]["ready"]
        }

    def restarts(name: str) -> int:
        return int(get(machine, f"pod {name}")["status"]["containerStatuses"][0]["restartCount"])

    try:
        kubectl(machine, "apply -f deployment-with-probes.yaml")
        kubectl(machine, expose)
        kubectl(machine, "rollout status deployment/webapp --timeout=60s")
        unready, sick, well = sorted(names(pods(machine, "webapp")))
        wait_until(lambda: routed() == {unready, sick, well}, "all three are behind the Service")
        kubectl(machine, f"exec {sick} -- rm /www/health")
        kubectl(machine, f"exec {unready} -- rm /www/ready")
        wait_until(lambda: unready not in routed(), "the unready pod is taken out of the Service")
        address = get(machine, "service webapp")["spec"]["clusterIP"]
        wait_until(lambda: {fetch(f"http://{address}/") for _ in range(20)} == {sick, well}, "traffic goes elsewhere")
        assert restarts(unready) == 0
        kubectl(machine, f"exec {unready} -- touch /www/ready")
        wait_until(lambda: unready in routed(), "it comes back")
        wait_until(lambda: restarts(sick) == 1, "the sick container is killed and restarted", timeout=90)
        assert (restarts(unready), restarts(well)) == (0, 0)
        described = kubectl(machine, f"describe pod {sick}")
        assert "Liveness probe failed: HTTP probe failed with statuscode: 404" in described
        assert "Container webapp failed liveness probe, will be restarted" in described
    finally:
        kubectl(machine, "delete service webapp --ignore-not-found")
        delete(machine, "deployment-with-probes.yaml")


def test_configuration_and_secrets_reach_pods(machine: RunningWherry) -> None:
    try:
        kubectl(machine, "apply -f configmap-definition.yaml -f pod-with-config.yaml")
        kubectl(machine, "wait --for=condition=Ready pod/app-pod --timeout=60s")
        assert "postgres.default.svc.cluster.local:5432" in kubectl(machine, "logs app-pod")
        assert "cache.ttl=3600" in kubectl(machine, "exec app-pod -- cat /etc/config/app.properties")
        assert kubectl(machine, "exec app-pod -- cat /etc/config/log_level") == "info"

        kubectl(machine, "apply -f secret-definition.yaml -f pod-with-secret.yaml")
        kubectl(machine, "wait --for=condition=Ready pod/app-with-db --timeout=60s")
        shown = kubectl(machine, "exec app-with-db -- sh -c 'echo $DB_USERNAME $DB_PASSWORD'")
        assert shown == "admin password123"
        assert "password123" not in kubectl(machine, "describe secret database-secret")
    finally:
        delete(machine, "pod-with-config.yaml", "pod-with-secret.yaml", "configmap-definition.yaml")
        delete(machine, "secret-definition.yaml")
    try:
        guide(
            machine,
            "kubectl create secret generic database-secret "
            "--from-literal=username=admin --from-literal=password=password123",
        )
        data = get(machine, "secret database-secret")["data"]
        assert {key: base64.b64decode(value).decode() for key, value in data.items()} == {
            "username": "admin",
            "password": "password123",
        }
    finally:
        kubectl(machine, "delete secret database-secret --ignore-not-found")


def test_a_database_keeps_its_data_on_a_claim(machine: RunningWherry, tmp_path: Path) -> None:
    printed = (GUIDE / "postgres-deployment.yaml").read_text()
    assert STRAY_HEADING in printed
    manifest = tmp_path / "postgres-deployment.yaml"
    manifest.write_text(printed.replace(STRAY_HEADING, ""))
    there_before = Path("/mnt/data").exists()
    sql = "exec deployment/postgres -- psql -U postgres -tAc"
    try:
        # As printed, the file ends with the next chapter's heading: that is told, and nothing is made.
        refused = machine.run("kubectl", "apply", "-f", "postgres-deployment.yaml", cwd=GUIDE)
        assert refused.returncode == 1
        assert 'unknown field "NAMESPACES"' in refused.stderr
        assert machine.run("kubectl", "get", "deployment", "postgres").returncode == 1

        kubectl(machine, "apply -f secret-definition.yaml")
        kubectl(machine, "apply -f persistent-volume.yaml -f persistent-volume-claim.yaml")
        kubectl(machine, f"apply -f {manifest}")
        kubectl(machine, "rollout status deployment/postgres --timeout=90s")

        def ask(statement: str) -> str:
            return machine.run("kubectl", *shlex.split(sql), statement).stdout.strip()

        claim = get(machine, "pvc postgres-pvc")
        assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", "postgres-pv")
        # The image's first start makes the database with a server that then ends and is started again: ask until done.
        wait_until(lambda: ask("create table if not exists kept (what text primary key)"), "the database answers")
        wait_until(lambda: ask("insert into kept values ('this') on conflict do nothing"), "the database keeps a row")
        kubectl(machine, "delete pod -l app=postgres")
        wait_until(lambda: ask("select what from kept") == "this", "the data is there for the next pod", timeout=60)
    finally:
        delete(machine, str(manifest), "persistent-volume-claim.yaml", "persistent-volume.yaml")
        delete(machine, "secret-definition.yaml")
        shutil.rmtree("/mnt/data/postgres", ignore_errors=True)
        if not there_before:
            shutil.rmtree("/mnt/data", ignore_errors=True)


def test_namespaces_keep_things_apart(machine: RunningWherry) -> None:
    try:
        guide(machine, "kubectl create namespace development")
        kubectl(machine, "apply -f deployment-in-namespace.yaml")
        kubectl(machine, "rollout status deployment/myapp -n development --timeout=60s")
        assert guide(machine, "kubectl get pods -n development").count("Running") == 2
        assert "development" in guide(machine, "kubectl get pods --all-namespaces")
        assert not pods(machine, "myapp")
        kubectl(machine, "delete namespace development --wait=true")
        assert machine.run("kubectl", "get", "namespace", "development").returncode == 1
        kubectl(machine, "apply -f namespace-definition.yaml")
        assert get(machine, "namespace development")["status"]["phase"] == "Active"
    finally:
        kubectl(machine, "delete namespace development --ignore-not-found --wait=true")


def test_autoscaler_and_ingress_are_accepted(machine: RunningWherry) -> None:
    try:
        kubectl(machine, "apply -f hpa-definition.yaml -f ingress-definition.yaml")
        assert "Deployment/myapp" in kubectl(machine, "get hpa myapp-hpa")
        assert "myapp.example.com,admin.example.com" in kubectl(machine, "get ingress myapp-ingress")
    finally:
        delete(machine, "hpa-definition.yaml", "ingress-definition.yaml")


def test_a_cron_job_runs_every_minute(machine: RunningWherry) -> None:
    def scheduled() -> list[dict[str, Any]]:
        jobs = get(machine, "jobs")["items"]
        return [job for job in jobs if job["metadata"]["name"].startswith("minutely-")]

    found = wait_until(
        lambda: [job for job in scheduled() if job["status"].get("succeeded")], "a minutely run succeeds", timeout=75
    )
    owner = found[0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("CronJob", "minutely")
    assert get(machine, "cronjob minutely")["status"]["lastSuccessfulTime"]


def test_every_command_of_the_guide_is_run_here() -> None:
    source = Path(__file__).read_text()
    squeezed = " ".join(source.replace('"\n', " ").replace('"', " ").split())
    missing = [one for one in guide_commands() if " ".join(one.replace('"', "").split()) not in squeezed]
    assert not missing
