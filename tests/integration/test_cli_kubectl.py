"""Wherry's own kubectl, side by side with the real one on the same cluster."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from wherry.testing import clients
from wherry.testing.instances import wherry
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
REAL = clients.installed("kubectl")
needs_kubectl = pytest.mark.skipif(REAL is None, reason="kubectl is not installed")

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "cli-kubectl.md"
Result = subprocess.CompletedProcess[str]

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "echo started; mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"]
        ports: [{containerPort: 8080, name: http}]
        env: [{name: A, value: b}]
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http, name: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: first, image: busybox, imagePullPolicy: IfNotPresent, command: [echo, init]}
  containers:
  - name: a
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "echo from a; sleep 100000"]
    env: [{name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    envFrom: [{configMapRef: {name: settings}, prefix: P_}]
    volumeMounts: [{name: c, mountPath: /c, readOnly: true}, {name: e, mountPath: /e}]
  - {name: b, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo from b; sleep 100000"]}
  volumes: [{name: c, configMap: {name: settings}}, {name: s, secret: {secretName: login}}, {name: e, emptyDir: {}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {x: "1"}}
data: {mode: fast, "file.txt": "one\\ntwo\\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
data: {password: aGVsbG8=}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {pods: "50"}, scopes: [NotTerminating]}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, max: {memory: 1Gi}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front, annotations: {a: b}}
spec:
  rules:
  - host: example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: wall}
spec:
  podSelector: {matchLabels: {app: two}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {a: b}}}, {ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 80}]}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaler}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: yearly}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 5Mi}}, storageClassName: nowhere}
"""

READING = """\
get pods
get pods -o wide
get pods,svc
get pod/two service/web
get deploy,rs,sts,ds
get pods -o name
get pods two -o jsonpath={.metadata.name}
get pods -o jsonpath={.items[*].metadata.name}
get pods -o jsonpath='{range .items[*]}{.metadata.name}{"\\t"}{.status.phase}{"\\n"}{end}'
get pods -o go-template='{{range .items}}{{.metadata.name}} {{end}}'
get pods -o custom-columns=NAME:.metadata.name,IMAGES:.spec.containers[*].image
get pods -L app --show-labels
get pods -l app=web --no-headers
get pods --field-selector=metadata.name=two
get pods --show-kind
get deploy web -o yaml
get deploy web -o json
get cm,secret -o yaml
get svc --sort-by=.metadata.name
get pods -o yaml -l app=nobody
get all
get ns
get nodes -o wide
get pod nope
get pod nope --ignore-not-found
get pods -n nope
get nothing
get
get pods two/x
get pods two -l app=two
get pods -o nothing
get --raw /version
get --raw /nope
get -f MANIFEST
get -f /nope.yaml
describe pod two
describe deploy web
describe rs
describe svc web
describe svc kubernetes -n default
describe node
describe cm settings
describe secret login
describe quota
describe limits
describe ingress
describe netpol
describe hpa
describe cronjob
describe pdb
describe pvc
describe sa default
describe ns default
describe endpoints web
describe clusterrole view
describe clusterrolebinding cluster-admin
describe priorityclass
describe lease -n kube-node-lease
describe pod nope
describe pod tw
describe
explain pod
explain pods.spec.containers.livenessProbe
explain deploy --recursive
explain pod.spec.nope
api-resources
api-resources -o name --namespaced=false
api-versions
cluster-info
auth whoami
auth can-i get pods
auth can-i get pods --as=nobody
auth can-i list nodes --as=nobody
config get-contexts
config current-context
config view
logs two
logs two -c b
logs two -c nope
logs two --all-containers
logs -l app=two --all-containers --prefix
logs nope
exec two -- echo hello
exec two -c b -- sh -c 'exit 7'
exec nope -- true
wait --for=condition=Ready pod/two
wait --for=delete pod/nope
wait --for=jsonpath={.status.phase}=Running pod/two
wait --for=condition=Nope pod/two --timeout=1s
rollout status deploy/web
rollout history deploy/web
rollout history deploy/web --revision=1
rollout undo deploy/web
rollout resume deploy/web
set env deploy/web --list
delete pod
delete pod nope
delete
label pod nope a=b
scale deploy nope --replicas=2
apply
create -f MANIFEST
port-forward pod/nope 80
config use-context nope
"""

WRITING = """\
apply -f MANIFEST
apply -f MANIFEST --dry-run=server
apply -f MANIFEST --dry-run=client
apply -f MANIFEST --server-side --force-conflicts --dry-run=server
diff -f MANIFEST
replace -f MANIFEST --dry-run=server
label pod two color=red --dry-run=server
annotate pod two note=here --dry-run=client
scale deploy web --replicas=2
set image deploy/web web=busybox
set image deploy/web nope=busybox
set resources deploy/web --limits=memory=64Mi --dry-run=server
patch deploy web -p '{"spec":{"replicas":2}}'
patch pod two --type=json -p '[{"op":"add","path":"/metadata/labels/z","value":"1"}]' --dry-run=server -o name
expose deploy web --port=81 --name=other --dry-run=client -o yaml
autoscale deploy web --max=3 --dry-run=client -o yaml
run one --image=busybox --port=80 --env=A=b --labels=a=b --dry-run=client -o yaml
create deployment d --image=busybox --replicas=2 --port=80 --dry-run=client -o yaml
create job j --image=busybox --dry-run=client -o yaml -- date
create cronjob c --image=busybox --schedule='*/5 * * * *' --dry-run=client -o yaml -- date
create configmap c --from-literal=a=b --append-hash --dry-run=client -o yaml
create secret generic s --from-literal=a=b --append-hash --dry-run=client -o yaml
create secret docker-registry s --docker-username=a --docker-password=b --dry-run=client -o yaml
create service nodeport s --tcp=80:8080 --dry-run=client -o yaml
create service externalname s --external-name=example.com --dry-run=client -o yaml
create namespace n --dry-run=client -o yaml
create serviceaccount s --dry-run=server
create role r --verb=get,list --resource=pods,deployments.apps --dry-run=client -o yaml
create clusterrole r --verb=get --non-resource-url=/logs --dry-run=client -o yaml
create rolebinding r --clusterrole=view --user=u --serviceaccount=ns:sa --dry-run=client -o yaml
create quota q --hard=pods=3 --dry-run=client -o yaml
create pdb p --selector=app=x --min-available=1 --dry-run=client -o yaml
create priorityclass p --value=10 --dry-run=client -o yaml
create ingress i --class=nginx --rule='example.com/path*=svc:8080,tls=sec' --dry-run=client -o yaml
create namespace default
create configmap settings --from-literal=a=b
cordon NODE --dry-run=client
taint node NODE a=b:NoSchedule --dry-run=server
taint node NODE a-
delete pod two --dry-run=client
delete pod two --dry-run=server
"""


MISTAKES = """\
nonsense
rollout nonsense
create nonsense
get pods --foo
get pods -x
get pods -o
get pods -v x
get pods --context=nope
get pods --kubeconfig=/nope
get pods --request-timeout=x
get pods,nope
get deploy/web pods
get pods -o jsonpath
get pods -o jsonpath={.nope}
get pods -o custom-columns=NAME
get pods -o go-template={{.nope
describe nothing
describe pod two nope
logs
logs two --tail=x
logs two -l app=two
logs deploy/nope
logs -l app=nobody
exec two
exec two -- nosuch
attach nope
cp a b
port-forward two
port-forward svc/nope 80
explain
wait pod/two
wait --for=nope pod/two
rollout status
rollout status pod/two
rollout undo deploy/nope
scale deploy web --replicas=x
expose deploy nope --port=80
label pod two
label pod two a=b=c
annotate pod two a
taint node NODE a
cordon nope
drain nope
run x --image=busybox --restart=Nope
run x --image=busybox --rm
set image deploy/web
set resources deploy/web
patch deploy web
patch deploy web -p '{'
edit deploy nope
replace -f /nope.yaml
delete -f /nope.yaml
delete pods -l app=nobody
delete pod two --cascade=nope
diff
apply -f MANIFEST --dry-run=nope
create
create configmap
create secret tls s
create ingress i
create role r
create quota
auth can-i get
events --for=pod/two
events --types=Nope
completion nope
"""


def programs(cluster: RunningWherry) -> dict[str, str]:
    """The cluster's environment with Wherry's programs first on PATH."""
    shown = wherry(cluster.instance, "env", "--clients", "wherry")
    assert shown.returncode == 0, shown.stderr
    own = cluster.instance.root / "bin"
    assert (own / "kubectl").exists()
    return {**cluster.env, "PATH": f"{own}{os.pathsep}{cluster.env['PATH']}"}


def run(env: dict[str, str], words: list[str], **options: object) -> Result:
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def cluster(wherry_shared_cluster: RunningWherry, busybox_archive: Path) -> RunningWherry:
    loaded = wherry_shared_cluster.run("docker", "load", "-i", str(busybox_archive))
    assert loaded.returncode == 0, loaded.stderr
    return wherry_shared_cluster


@pytest.fixture(scope="module")
def ours(cluster: RunningWherry, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Wherry's kubectl, in a HOME of its own so that caches are not shared with the real one."""
    env = {**programs(cluster), "HOME": str(tmp_path_factory.mktemp("home"))}

    def kubectl(*words: str, editor: str = "", **options: object) -> Result:
        return run({**env, "KUBE_EDITOR": editor}, ["kubectl", *words], **options)

    return kubectl


@pytest.fixture(scope="module")
def settled(
    cluster: RunningWherry, ours: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A namespace with an object of each kind; words of the tables above and what stands for them."""
    manifest = tmp_path_factory.mktemp("manifest") / "all.yaml"
    manifest.write_text(MANIFEST)
    assert ours("create", "namespace", "side").returncode == 0
    wait_until(lambda: ours("get", "sa", "default", "-n", "side").returncode == 0, "the namespace has its account")
    applied = ours("apply", "-n", "side", "-f", str(manifest))
    assert applied.returncode == 0, applied.stderr
    for words in (("rollout", "status", "deploy/web"), ("wait", "--for=condition=Ready", "pod/two")):
        done = ours(*words, "-n", "side", "--timeout=60s")
        assert done.returncode == 0, done.stdout + done.stderr
    node = ours("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}").stdout
    yield {"MANIFEST": str(manifest), "NODE": node}
    gone = ours("delete", "namespace", "side", "--timeout=90s")
    assert gone.returncode == 0, gone.stderr


AGE = re.compile(r"\b(?:\d+[smhd])+(?: \(x\d+ over (?:\d+[smhd])+\))?")
SINCE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")


def normal(text: str) -> list[str]:
    """Lines without what changes between two runs: ages, heartbeats, versions, and spaces that depend on them."""
    text = re.sub(r"(?:resourceVersion|generation|renewTime)\"?: .*|Renew ?Time.*|Resource ?Version:.*", "", text)
    text = re.sub(r"-(?:live|merged)?-?\d{6,}|(?:LIVE|MERGED)-\w+", "TEMPORARY", text)
    text = SINCE.sub("TIME", AGE.sub("AGE", text))
    # The order of events within one second is the server's to choose.
    return sorted(re.sub(r"\s+", " ", line).strip() for line in text.splitlines())


def compare(cluster: RunningWherry, ours: Callable[..., Result], command: str, words: dict[str, str]) -> None:
    typed = [words.get(word, word) for word in shlex.split(command)]
    namespace = (
        [] if {"-n", "config", "api-resources", "api-versions", "explain"} & set(typed) else ["--namespace=side"]
    )
    if "--" in typed:
        at = typed.index("--")
        typed, rest = typed[:at], typed[at:]
    else:
        rest = []
    assert REAL is not None
    real = cluster.run(REAL, *typed, *namespace, *rest)
    mine = ours(*typed, *namespace, *rest)
    assert normal(mine.stdout) == normal(real.stdout)
    assert normal(mine.stderr) == normal(real.stderr)
    assert mine.returncode == real.returncode


@needs_kubectl
@pytest.mark.parametrize("command", READING.splitlines())
def test_reads_as_the_real_one(
    cluster: RunningWherry, ours: Callable[..., Result], settled: dict[str, str], command: str
) -> None:
    compare(cluster, ours, command, settled)


@needs_kubectl
@pytest.mark.parametrize("command", WRITING.splitlines())
def test_writes_as_the_real_one(
    cluster: RunningWherry, ours: Callable[..., Result], settled: dict[str, str], command: str
) -> None:
    compare(cluster, ours, command, settled)


@needs_kubectl
def test_mistakes_are_told_as_by_the_real_one(
    cluster: RunningWherry, ours: Callable[..., Result], settled: dict[str, str]
) -> None:
    different = []
    for command in MISTAKES.splitlines():
        try:
            compare(cluster, ours, command, settled)
        except AssertionError as error:
            different.append(f"$ kubectl {command}\n{error}")
    assert not different, "\n".join(different)


def test_edit_with_an_editor(ours: Callable[..., Result], settled: dict[str, str], tmp_path: Path) -> None:
    def edit(script: str) -> Result:
        editor = tmp_path / "editor"
        editor.write_text(f"#!/bin/sh\n{script}\n")
        editor.chmod(0o755)
        return ours("edit", "service", "web", "-n", "side", editor=str(editor))

    same = edit("true")
    assert (same.returncode, same.stdout) == (0, "Edit cancelled, no changes made.\n"), same.stderr
    edited = edit("sed -i 's/port: 80$/port: 82/' $1")
    assert (edited.returncode, edited.stdout) == (0, "service/web edited\n"), edited.stderr
    assert ours("get", "svc", "web", "-n", "side", "-o", "jsonpath={.spec.ports[0].port}").stdout == "82"
    # A second look at the file after an error: nothing more is changed, so the edit ends there.
    broken = edit("sed -i 's/port: 82$/port: none/' $1")
    assert broken.returncode == 1
    assert "Edit cancelled, no valid changes were saved." in broken.stderr
    assert edit("sed -i 's/port: 82$/port: 80/' $1").returncode == 0


def test_copy_in_and_out(ours: Callable[..., Result], settled: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "folder"
    (source / "below").mkdir(parents=True)
    (source / "below" / "file").write_bytes(bytes(range(256)) * 1000)
    there = ours("cp", str(source), "two:/tmp/copy", "-n", "side", "-c", "a")
    assert there.returncode == 0, there.stderr
    back = ours("cp", "side/two:/tmp/copy", str(tmp_path / "back"), "-c", "a")
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back" / "below" / "file").read_bytes() == (source / "below" / "file").read_bytes()


def test_run_with_rm_gives_the_exit_code(ours: Callable[..., Result], settled: dict[str, str]) -> None:
    done = ours(
        *[
            "run",
            "once",
            "-n",
            "side",
            "--image=busybox",
            "--image-pull-policy=IfNotPresent",
            "--restart=Never",
            "--rm",
            "-i",
            "--quiet",
            "--",
        ],
        *("sh", "-c", "cat; exit 4"),
        input="typed\n",
    )
    assert (done.returncode, done.stdout) == (4, "typed\n"), done.stderr
    assert ours("get", "pod", "once", "-n", "side").returncode == 1


def test_prune_deletes_what_is_no_longer_in_the_files(ours: Callable[..., Result], settled: dict[str, str]) -> None:
    def config_map(name: str) -> str:
        return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: one}}}}\n"

    assert ours("apply", "-n", "side", "-f", "-", input=f"{config_map('a')}---\n{config_map('b')}").returncode == 0
    pruned = ours("apply", "-n", "side", "--prune", "-l", "set=one", "-f", "-", input=config_map("a"))
    assert pruned.stdout == "configmap/a unchanged\nconfigmap/b pruned\n", pruned.stderr


def test_the_examples_of_the_docs(ours: Callable[..., Result], settled: dict[str, str]) -> None:
    """Every command of the page's `console` blocks runs, and prints what the page shows."""
    blocks = re.findall(r"```console\n(.*?)```", DOCS.read_text(), re.S)
    assert blocks
    for block in blocks:
        for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, shown = example.partition("\n")
            words = [settled.get(word, word) for word in shlex.split(command)[1:]]
            done = ours("--namespace=side", *words)
            for line in shown.strip().splitlines():
                assert line.strip() in done.stdout + done.stderr, f"{command}\n{done.stdout}{done.stderr}"


def test_as_a_verb_of_wherry(cluster: RunningWherry) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "wherry.cli.main", "kubectl", "get", "nodes", "--no-headers"],
        env=cluster.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert " Ready " in shown.stdout
