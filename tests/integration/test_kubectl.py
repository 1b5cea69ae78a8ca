"""Every verb of the real kubectl against one running cluster: what it prints, how it ends, what is then true.

One instance for the module; each test has a namespace of its own.
"""

import itertools
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.testing import clients
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root]
REAL = clients.installed("kubectl")

Result = subprocess.CompletedProcess[str]

_numbers = itertools.count()

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 0
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: busybox
"""

CRON_TABS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: A schedule.
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - rule: "self.minReplicas <= self.replicas"
              message: "replicas should be greater than or equal to minReplicas."
            - rule: "self.image == oldSelf.image"
              messageExpression: "'image was ' + oldSelf.image"
            required: [cronSpec]
            properties:
              cronSpec: {type: string, pattern: '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'}
              image: {type: string, default: nginx}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
              minReplicas: {type: integer, default: 1}
          status:
            type: object
            properties: {replicas: {type: integer}, labelSelector: {type: string}}
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.labelSelector
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
  - name: v1beta1
    served: true
    storage: false
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
"""


class Kubectl:
    """`k("get", "pods")` runs it in the test's namespace and must succeed; `k.fails(...)` must not."""

    def __init__(self, running: RunningWherry, namespace: str, folder: Path) -> None:
        self.running = running
        self.namespace = namespace
        self.folder = folder

    def run(self, *words: str, **options: Any) -> Result:
        return self.running.run("kubectl", "-n", self.namespace, *words, **options)

    def __call__(self, *words: str, **options: Any) -> str:
        result = self.run(*words, **options)
        assert result.returncode == 0, f"{words}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()

    def fails(self, *words: str, code: int = 1, **options: Any) -> str:
        result = self.run(*words, **options)
        assert result.returncode == code, f"{words}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stderr.strip()

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def file(self, text: str, name: str = "manifest.yaml") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


@pytest.fixture
def k(wherry_shared_cluster: RunningWherry, tmp_path: Path) -> Iterator[Kubectl]:
    namespace = f"kubectl-{os.getpid()}-{next(_numbers)}"
    kubectl = Kubectl(wherry_shared_cluster, namespace, tmp_path)
    kubectl("create", "namespace", namespace)
    wait_until(lambda: kubectl.run("get", "serviceaccount", "default").returncode == 0, "the namespace is furnished")
    yield kubectl
    kubectl("delete", "namespace", namespace, "--wait=false")


def config_map(k: Kubectl, name: str, **data: str) -> None:
    k("create", "configmap", name, *(f"--from-literal={key}={value}" for key, value in data.items()))


def test_get_in_every_output(k: Kubectl) -> None:
    config_map(k, "b", x="1")
    config_map(k, "a", x="2")
    k("label", "configmap", "a", "tier=gold")
    assert k("get", "cm", "a", "b", "-o", "name").splitlines() == ["configmap/a", "configmap/b"]
    lines = k("get", "cm", "-l", "tier=gold").splitlines()
    assert lines[0].split() == ["NAME", "DATA", "AGE"]
    assert [line.split()[0] for line in lines[1:]] == ["a"]
    assert k("get", "cm", "a", "-o", "jsonpath={.data.x}") == "2"
    assert k("get", "cm", "b", "-o", "go-template={{.data.x}}") == "1"
    columns = k("get", "cm", "a", "b", "-o", "custom-columns=N:.metadata.name,X:.data.x").splitlines()
    assert [line.split() for line in columns] == [["N", "X"], ["a", "2"], ["b", "1"]]
    k("label", "configmap", "a", "b", "sorted=yes")
    by_data = k("get", "cm", "-l", "sorted=yes", "--sort-by={.data.x}", "--no-headers").splitlines()
    assert [line.split()[0] for line in by_data] == ["b", "a"]
    assert k("get", "cm", "--field-selector", "metadata.name=b", "-o", "name") == "configmap/b"
    assert "kind: ConfigMap" in k("get", "cm", "a", "-o", "yaml")
    assert "LABELS" in k("get", "cm", "--show-labels")
    assert k("get", "cm", "a", "-L", "tier", "--no-headers").split()[-1] == "gold"
    wide = k("get", "nodes", "-o", "wide").splitlines()[0].split()
    assert wide[:6] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP"]
    assert k("get", "--raw", "/healthz") == "ok"
    assert [k.namespace, "a"] in [line.split()[:2] for line in k("get", "cm", "-A").splitlines()]


def test_get_watches(k: Kubectl) -> None:
    watching = subprocess.Popen(
        ["kubectl", "-n", k.namespace, "get", "cm", "-w", "-o", "name"],
        env=k.running.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "configmap/kube-root-ca.crt\n"
        config_map(k, "seen")
        assert watching.stdout.readline() == "configmap/seen\n"
    finally:
        watching.kill()
        watching.communicate()


def test_describe(k: Kubectl) -> None:
    k("apply", "-f", k.file(DEPLOYMENT))
    assert "Selector:               app=web" in k("describe", "deployment", "web")
    for kind in ("node", "namespace", "service/kubernetes -n default", "serviceaccount", "configmap"):
        assert "Name:" in k("describe", *kind.split())


def test_create_generators(k: Kubectl) -> None:
    k("create", "secret", "generic", "s", "--from-literal=a=b")
    assert k("get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    k("create", "deployment", "d", "--image=busybox", "--replicas=0")
    k("create", "service", "clusterip", "svc", "--tcp=80:8080")
    k("create", "role", "reader", "--verb=get,list", "--resource=pods")
    k("create", "rolebinding", "readers", "--role=reader", "--serviceaccount=default:default")
    k("create", "job", "j", "--image=busybox", "--", "true")
    k("create", "cronjob", "c", "--image=busybox", "--schedule=*/5 * * * *", "--", "true")
    k("create", "quota", "q", "--hard=pods=3")
    k("create", "poddisruptionbudget", "p", "--selector=app=web", "--min-available=1")
    k("create", "ingress", "i", "--rule=a.example/x=svc:80")
    k("create", "serviceaccount", "robot")
    k("expose", "deployment", "d", "--port=80")
    k("autoscale", "deployment", "d", "--min=1", "--max=3")
    assert 'serviceaccounts "robot" already exists' in k.fails("create", "serviceaccount", "robot")
    drawn = k("create", "-f", k.file("apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: g-}\n"), "-o", "name")
    assert drawn.startswith("configmap/g-")
    assert len(drawn) == len("configmap/g-") + 5


def test_apply_again_and_prune(k: Kubectl) -> None:
    manifest = k.file(DEPLOYMENT)
    assert k("apply", "-f", manifest) == "deployment.apps/web created"
    assert k("apply", "-f", manifest) == "deployment.apps/web unchanged"
    Path(manifest).write_text(DEPLOYMENT.replace("image: busybox", "image: busybox:1"))
    assert "configured (server dry run)" in k("apply", "--dry-run=server", "-f", manifest)
    assert k("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "busybox"
    changed = k.run("diff", "-f", manifest)
    assert changed.returncode == 1
    assert "+      - image: busybox:1" in changed.stdout
    assert k("apply", "-f", manifest) == "deployment.apps/web configured"
    assert k.run("diff", "-f", manifest).returncode == 0
    one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {set: x}}\n"
    both = k.file(one % "first" + "---\n" + one % "second", "both.yaml")
    k("apply", "-f", both)
    pruned = k("apply", "-f", k.file(one % "first"), "--prune", "-l", "set=x")
    assert "configmap/second pruned" in pruned
    k("apply", "set-last-applied", "-f", k.file(one % "first"))
    assert '"name":"first"' in k("apply", "view-last-applied", "cm", "first", "-o", "json").replace(" ", "")


def test_server_side_apply(k: Kubectl) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '%s'}\n"
    one = k.file(text % 1, "one.yaml")
    two = k.file(text % 2, "two.yaml")
    assert k("apply", "--server-side", "--field-manager=a", "-f", one) == "configmap/a serverside-applied"
    conflict = k.fails("apply", "--server-side", "--field-manager=b", "-f", two)
    assert 'conflict with "a": .data.x' in conflict
    k("apply", "--server-side", "--field-manager=b", "--force-conflicts", "-f", two)
    assert k("get", "cm", "a", "-o", "jsonpath={.data.x}") == "2"
    managers = k.json("get", "cm", "a", "--show-managed-fields")["metadata"]["managedFields"]
    assert {one["manager"]: one["operation"] for one in managers} == {"b": "Apply", "a": "Apply"} or {
        one["manager"] for one in managers
    } == {"b"}


def test_edit(k: Kubectl) -> None:
    config_map(k, "a", x="old")
    editor = k.folder / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/x: old/x: new/' \"$1\"\n")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    env = {**k.running.env, "KUBE_EDITOR": str(editor)}
    done = subprocess.run(
        ["kubectl", "-n", k.namespace, "edit", "cm", "a"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "configmap/a edited\n", done.stderr
    assert k("get", "cm", "a", "-o", "jsonpath={.data.x}") == "new"


def test_every_patch(k: Kubectl) -> None:
    k("apply", "-f", k.file(DEPLOYMENT))
    side = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"i"}]}}}}'
    k("patch", "deploy", "web", "-p", side)
    names = "jsonpath={.spec.template.spec.containers[*].name}"
    assert k("get", "deploy", "web", "-o", names) == "side web"
    k("patch", "deploy", "web", "--type=merge", "-p", side)
    assert k("get", "deploy", "web", "-o", names) == "side"
    k("patch", "deploy", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":0}]')
    assert "not patched" not in k(
        "patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":0}}'
    )
    refused = k.fails(
        "patch", "deploy", "web", "--type=json", "-p", '[{"op":"test","path":"/spec/replicas","value":7}]'
    )
    assert "testing value /spec/replicas failed" in refused
    negative = k.fails("patch", "deploy", "web", "-p", '{"spec":{"replicas":-1}}')
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in negative


def test_replace_label_annotate_delete(k: Kubectl) -> None:
    config_map(k, "a", x="1")
    obj = k.json("get", "cm", "a")
    obj["data"] = {"x": "2"}
    k("replace", "-f", k.file(json.dumps(obj)))
    assert "the object has been modified" in k.fails("replace", "-f", k.file(json.dumps(obj)))
    del obj["metadata"]["resourceVersion"], obj["metadata"]["uid"]
    k("replace", "--force", "-f", k.file(json.dumps(obj)))
    assert k("label", "cm", "a", "x=y") == "configmap/a labeled"
    assert "already has a value" in k.fails("label", "cm", "a", "x=z")
    k("label", "cm", "a", "x=z", "--overwrite")
    k("label", "cm", "a", "x-")
    k("annotate", "cm", "a", "note=hello")
    assert k("get", "cm", "a", "-o", "jsonpath={.metadata.annotations.note}") == "hello"
    assert k("delete", "cm", "a") == 'configmap "a" deleted'
    assert 'configmaps "a" not found' in k.fails("delete", "cm", "a")
    assert k("delete", "cm", "a", "--ignore-not-found") == ""
    config_map(k, "b")
    config_map(k, "c")
    k("label", "cm", "b", "c", "gone=soon")
    k("delete", "cm", "-l", "gone=soon")
    assert k("get", "cm", "-o", "name") == "configmap/kube-root-ca.crt"


def test_explain_and_discovery(k: Kubectl) -> None:
    text = k("explain", "pod.spec.containers.livenessProbe")
    assert "KIND:       Pod" in text
    assert "FIELD: livenessProbe <Probe>" in text
    assert "httpGet\t<HTTPGetAction>" in text
    assert "initialDelaySeconds" in k("explain", "deploy", "--recursive")
    if REAL:
        assert "KIND:     Pod" in k("explain", "pods.spec", "--output=plaintext-openapiv2")
    assert 'field "colour" does not exist' in k.fails("explain", "pod.spec.colour")
    listed = k("api-resources", "--no-headers").splitlines()
    assert len(listed) > 50
    assert "deployments" in k("api-resources", "--api-group=apps", "-o", "name")
    assert "apps/v1" in k("api-versions").splitlines()
    assert "Server Version: v1." in k("version")
    assert "is running at" in k("cluster-info")


def test_auth(k: Kubectl) -> None:
    assert k("auth", "can-i", "create", "pods") == "yes"
    user = f"system:serviceaccount:{k.namespace}:default"
    assert k.run("auth", "can-i", "create", "pods", "--as", user).stdout.strip() == "no"
    k("create", "role", "reader", "--verb=get,list", "--resource=pods")
    k("create", "rolebinding", "readers", "--role=reader", f"--serviceaccount={k.namespace}:default")
    assert k("auth", "can-i", "list", "pods", "--as", user) == "yes"
    assert "pods" in k("auth", "can-i", "--list", "--as", user)
    assert "kubernetes-admin" in k("auth", "whoami")
    refused = k.fails("get", "secrets", "--as", user)
    assert f'User "{user}" cannot list resource "secrets" in API group "" in the namespace "{k.namespace}"' in refused
    if REAL:
        assert "reader reconciled" in k("auth", "reconcile", "-f", k.file(k("get", "role", "reader", "-o", "yaml")))
    token = k("create", "token", "default", "--duration=10m")
    assert token.count(".") == 2
    server = k("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
    with_token = k.running.run(
        "kubectl", "--kubeconfig=/dev/null", "--server", server, "--insecure-skip-tls-verify", "--token", token,
        "-n", k.namespace, "get", "pods",
    )  # fmt: skip
    assert with_token.returncode == 0, with_token.stderr


def test_wait_and_events(k: Kubectl) -> None:
    config_map(k, "a")
    k("wait", "--for=jsonpath={.metadata.name}=a", "cm/a", "--timeout=5s")
    assert "timed out waiting" in k.fails("wait", "--for=delete", "cm/a", "--timeout=100ms")
    k("apply", "-f", k.file(DEPLOYMENT))
    k("scale", "deploy", "web", "--replicas=1")
    wait_until(lambda: "ScalingReplicaSet" in k("events", "--for", "deployment/web"), "an event of the deployment")
    assert "Scaled up replica set" in k("get", "events")


@pytest.mark.skipif(not REAL, reason="Wherry's kubectl has no kustomize")
def test_kustomize(k: Kubectl) -> None:
    (k.folder / "cm.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    (k.folder / "kustomization.yaml").write_text(
        "resources: [cm.yaml]\nnamePrefix: made-\nlabels: [{pairs: {by: me}}]\n"
    )
    assert "name: made-a" in k("kustomize", str(k.folder))
    assert k("apply", "-k", str(k.folder)) == "configmap/made-a created"
    assert k("delete", "-k", str(k.folder)) == 'configmap "made-a" deleted'


def test_rollout_and_set(k: Kubectl) -> None:
    k("apply", "-f", k.file(DEPLOYMENT))
    k("rollout", "status", "deploy/web", "--timeout=20s")
    k("set", "image", "deploy/web", "web=busybox:2")
    k("rollout", "status", "deploy/web", "--timeout=20s")
    wait_until(lambda: k("rollout", "history", "deploy/web").count("<none>") == 2, "two revisions")
    k("rollout", "undo", "deploy/web")
    assert k("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "busybox"
    k("rollout", "pause", "deploy/web")
    k("rollout", "resume", "deploy/web")
    k("rollout", "restart", "deploy/web")
    k("set", "env", "deploy/web", "A=b")
    k("set", "resources", "deploy/web", "--limits=cpu=1")
    k("taint", "node", "--all", f"{k.namespace}=x:PreferNoSchedule")
    k("taint", "node", "--all", f"{k.namespace}-")
    node = k("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    k("cordon", node)
    k("uncordon", node)


def test_custom_resources(k: Kubectl) -> None:
    def tab(name: str, spec: str, version: str = "v1") -> str:
        head = f"apiVersion: stable.example.com/{version}\nkind: CronTab\nmetadata: {{name: {name}}}\n"
        return k.file(f"{head}spec: {{{spec}}}\n")

    k("apply", "-f", k.file(CRON_TABS))
    try:
        k("wait", "--for=condition=established", "--timeout=5s", "crd/crontabs.stable.example.com")
        assert k("apply", "-f", tab("a", 'cronSpec: "* * * * */5"')) == "crontab.stable.example.com/a created"
        assert k("get", "ct", "a", "-o", "jsonpath={.spec.image}") == "nginx"
        bad = k.fails("apply", "-f", tab("b", 'cronSpec: "bad", replicas: 99'))
        assert "spec.cronSpec in body should match" in bad
        assert "spec.replicas in body should be less than or equal to 10" in bad
        assert "replicas should be greater" in k.fails("apply", "-f", tab("c", 'cronSpec: "* * * * *", minReplicas: 5'))
        assert 'unknown field "spec.colour"' in k.fails("apply", "-f", tab("c", 'cronSpec: "* * * * *", colour: red'))
        assert "image was nginx" in k.fails("apply", "-f", tab("a", 'cronSpec: "* * * * *", image: other'))
        k("apply", "-f", tab("a", 'cronSpec: "* * * * *"'))
        k("apply", "-f", tab("d", 'cronSpec: "* * * * *"', "v1beta1"))
        lines = k("get", "ct").splitlines()
        assert lines[0].split() == ["NAME", "SPEC", "REPLICAS"]
        assert lines[1].split() == ["a", "*", "*", "*", "*", "*", "1"]
        assert k("get", "ct", "d", "-o", "jsonpath={.apiVersion}") == "stable.example.com/v1"
        old = k("get", "crontabs.v1beta1.stable.example.com", "a", "-o", "jsonpath={.apiVersion}")
        assert old == "stable.example.com/v1beta1"
        k("scale", "--replicas=3", "crontab/a")
        assert k("get", "ct", "a", "-o", "jsonpath={.spec.replicas} {.metadata.generation}") == "3 3"
        k("patch", "ct", "a", "--type=merge", "--subresource=status", "-p", '{"status":{"replicas":2}}')
        assert k("get", "ct", "a", "-o", "jsonpath={.status.replicas} {.metadata.generation}") == "2 3"
        assert "A schedule." in k("explain", "crontab")
        assert "cronSpec\t<string> -required-" in k("explain", "crontab.spec")
        k("delete", "ct", "d")
    finally:
        k("delete", "crd", "crontabs.stable.example.com")
    assert "the server" in k.fails("get", "crontabs.stable.example.com")


def test_limits_and_quotas(k: Kubectl) -> None:
    k("apply", "-f", k.file(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\nspec:\n  limits:\n"
        "  - {type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}, max: {cpu: 800m}}\n"
    ))  # fmt: skip
    k("create", "quota", "q", "--hard=pods=1,requests.cpu=150m")
    overrides = '{"spec":{"containers":[{"name":"b","image":"busybox","resources":{"limits":{"cpu":"2"}}}]}}'
    refused = k.fails("run", "b", "--image=busybox", f"--overrides={overrides}")
    assert "maximum cpu usage per Container is 800m, but limit is 2" in refused
    k("run", "a", "--image=busybox", "--image-pull-policy=Never")
    assert k("get", "pod", "a", "-o", "jsonpath={.spec.containers[0].resources.requests.cpu}") == "100m"
    refused = k.fails("run", "b", "--image=busybox")
    assert "exceeded quota: q, requested: pods=1,requests.cpu=100m" in refused
    k("delete", "pod", "a", "--now")
    wait_until(lambda: k.run("run", "c", "--image=busybox").returncode == 0, "the quota is free again")


def test_pod_security(k: Kubectl) -> None:
    k("label", "namespace", k.namespace, "pod-security.kubernetes.io/enforce=baseline",
      "pod-security.kubernetes.io/warn=restricted")  # fmt: skip
    overrides = '{"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"busybox"}]}}'
    refused = k.fails("run", "a", "--image=busybox", f"--overrides={overrides}")
    assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in refused
    made = k.run("create", "deployment", "d", "--image=busybox", "--replicas=0")
    assert made.returncode == 0
    assert 'Warning: would violate PodSecurity "restricted:latest"' in made.stderr


def test_nodes_are_kept_apart(k: Kubectl) -> None:
    k("create", "secret", "generic", "s", "--from-literal=a=b")
    node = k("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    as_node = ("--as", f"system:node:{node}", "--as-group", "system:nodes")
    assert "no relationship found" in k.fails("get", "secret", "s", *as_node)
    assert "No Object name found" in k.fails("get", "secrets", *as_node)
    assert "is not allowed to modify labels" in k.fails(
        "label", "node", node, "node-restriction.kubernetes.io/a=b", *as_node
    )


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda k: ("apply", "-f", k.file("a: [")), "error converting YAML to JSON"),
        (lambda k: ("apply", "-f", k.file("a: 1")), "apiVersion not set, kind not set"),
        (lambda k: ("apply", "-f", k.file("apiVersion: v1\nkind: Gadget\nmetadata: {name: a}\n")),
         'no matches for kind "Gadget" in version "v1"'),
        (lambda k: ("get", "nosuchthing"), 'the server doesn\'t have a resource type "nosuchthing"'),
        (lambda k: ("get", "pod", "Bad_Name"), "not found"),
        (lambda k: ("get", "pods", "--field-selector", "spec.colour=red"), "field label not supported: spec.colour"),
        (lambda k: ("get", "pods", "-l", "a in"), "unable to parse requirement"),
        (lambda k: ("create", "cm", "Not_A_Name"), "a lowercase RFC 1123 subdomain must consist of"),
        (lambda k: ("scale", "deploy", "nosuch", "--replicas=1"), "not found"),
        (lambda k: ("logs", "nosuch"), 'pods "nosuch" not found'),
        (lambda k: ("exec", "nosuch", "--", "true"), 'pods "nosuch" not found'),
        (lambda k: ("patch", "cm", "kube-root-ca.crt", "-p", "{"), "error decoding patch"),
        (lambda k: ("get", "pods", "--server-print=false", "-o", "bad"), "unable to match a printer"),
        (lambda k: ("create", "token", "nosuch"), 'serviceaccounts "nosuch" not found'),
        (lambda k: ("create", "-n", "nosuch", "cm", "a"), 'namespaces "nosuch" not found'),
        (lambda k: ("delete", "namespace", "default"), "this namespace may not be deleted"),
        (lambda k: ("apply", "-f", k.file(DEPLOYMENT.replace("matchLabels: {app: web}", "matchLabels: {app: x}"))),
         "`selector` does not match template `labels`"),
    ],
)  # fmt: skip
def test_bad_input(k: Kubectl, make: Callable[[Kubectl], tuple[str, ...]], expected: str) -> None:
    assert expected in k.fails(*make(k))
