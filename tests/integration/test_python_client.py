"""The official Python client, plain and asyncio, against a cluster: what its own end-to-end tests ask of one."""

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from kubernetes.aio import watch as aio_watch
from kubernetes.stream import portforward, stream
from kubernetes.stream.ws_client import ERROR_CHANNEL
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = pytest.mark.root

_numbers = itertools.count()

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "ferries.python.example.org"},
    "spec": {
        "group": "python.example.org",
        "scope": "Namespaced",
        "names": {"plural": "ferries", "singular": "ferry", "kind": "Ferry", "shortNames": ["fr"]},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            },
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def machine(wherry_shared_cluster: RunningWherry, busybox_archive: Path) -> RunningWherry:
    wherry_shared_cluster.run("docker", "load", "-i", str(busybox_archive))
    return wherry_shared_cluster


@pytest.fixture
def api(machine: RunningWherry) -> Iterator[client.ApiClient]:
    settings = client.Configuration()
    config.load_kube_config(str(machine.instance.kubeconfig), client_configuration=settings)
    with client.ApiClient(settings) as made:
        yield made


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    core = client.CoreV1Api(api)
    name = f"python-{next(_numbers)}"
    core.create_namespace({"metadata": {"name": name}})
    accounts: Callable[[], list[Any]] = lambda: core.list_namespaced_service_account(name).items  # noqa: E731
    wait_until(accounts, "the namespace has its account")
    yield name
    core.delete_namespace(name)


def sleeper(name: str, script: str = "sleep 1000") -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"e2e": name}}, "spec": spec}


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"e2e": "yes"}}, "data": data}


def test_objects_from_yaml_and_what_is_said_of_conflicts(api: client.ApiClient, namespace: str) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [config_map("one"), config_map("two")]}
    utils.create_from_dict(api, listed, namespace=namespace)
    core = client.CoreV1Api(api)
    assert [one.metadata.name for one in core.list_namespaced_config_map(namespace, label_selector="e2e").items] == [
        "one", "two",
    ]  # fmt: skip
    with pytest.raises(utils.FailToCreateError) as refused:
        utils.create_from_dict(api, config_map("one"), namespace=namespace)
    assert str(refused.value) == (
        'Error from server (Conflict): {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
        '"message":"configmaps \\"one\\" already exists","reason":"AlreadyExists",'
        '"details":{"name":"one","kind":"configmaps"},"code":409}\n'
    )


def test_services_are_patched_and_a_resource_version_that_is_none_is_no_matter(
    api: client.ApiClient, namespace: str
) -> None:
    core = client.CoreV1Api(api)
    port = client.V1ServicePort(name="port", port=80, protocol="TCP", target_port=80)
    made = core.create_namespaced_service(
        namespace,
        client.V1Service(
            metadata=client.V1ObjectMeta(name="frontend", resource_version="v1"),
            spec=client.V1ServiceSpec(ports=[port], selector={"name": "frontend"}),
        ),
    )
    assert made.spec.cluster_ip and made.status is not None
    new = {"name": "new", "port": 8080, "protocol": "TCP", "targetPort": 8080}
    patched = core.patch_namespaced_service("frontend", namespace, {"spec": {"ports": [new]}})
    assert len(patched.spec.ports) == 2, "strategic merge"
    core.delete_namespaced_service("frontend", namespace)


def test_watches_resume_and_end(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    start = core.list_namespaced_config_map(namespace).metadata.resource_version

    def write() -> None:
        for number in range(4):
            core.create_namespaced_config_map(namespace, config_map(f"c{number}"))
        core.delete_namespaced_config_map("c0", namespace)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    follow = watch.Watch()
    for event in follow.stream(
        core.list_namespaced_config_map, namespace, resource_version=start, label_selector="e2e=yes", timeout_seconds=60
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            follow.stop()
    writer.join()
    assert seen == [*(("ADDED", f"c{number}") for number in range(4)), ("DELETED", "c0")]


def test_pods_run_commands_and_forward_ports(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, sleeper("p", "echo started; nc -l -p 1234 -e cat; sleep 1000"))
    wait_until(lambda: core.read_namespaced_pod("p", namespace).status.phase == "Running", "the pod runs", 60)
    assert core.read_namespaced_pod_log("p", namespace) == "started\n"
    execute = core.connect_get_namespaced_pod_exec
    options: dict[str, Any] = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
    out = stream(execute, "p", namespace, command=["sh", "-c", "for i in $(seq 1 3); do echo $i; done"], **options)
    assert out == "1\n2\n3\n"
    ended = stream(execute, "p", namespace, command=["sh", "-c", "exit 7"], **options, _preload_content=False)
    ended.run_forever(timeout=30)
    assert ended.returncode == 7
    shell = stream(execute, "p", namespace, command=["/bin/sh"], **{**options, "stdin": True}, _preload_content=False)
    shell.write_stdin("echo from stdin; cat /nowhere; exit 3\n")
    shell.run_forever(timeout=30)
    assert shell.read_stdout() == "from stdin\n"
    assert "No such file" in shell.read_stderr()
    told = json.loads(shell.read_channel(ERROR_CHANNEL))
    assert (told["reason"], told["details"]["causes"][0]["message"]) == ("NonZeroExitCode", "3")
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "p", namespace, ports="1234")
    raw: socket.socket = forwarded.socket(1234)
    raw.setblocking(True)
    raw.settimeout(30)
    raw.sendall(b"ping")
    assert raw.recv(4) == b"ping"
    assert forwarded.error(1234) is None
    raw.close()


def test_jobs_and_deployments(api: client.ApiClient, namespace: str) -> None:
    batch, apps = client.BatchV1Api(api), client.AppsV1Api(api)
    template = {"metadata": {"labels": {"app": "x"}}, "spec": sleeper("x", "exit 0")["spec"]}
    job = {
        "metadata": {"name": "j"},
        "spec": {"template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}},
    }
    assert batch.create_namespaced_job(namespace, job).metadata.name == "j"
    wait_until(lambda: batch.read_namespaced_job("j", namespace).status.succeeded == 1, "the job is done", 60)
    batch.delete_namespaced_job("j", namespace, body={"propagationPolicy": "Background"})
    deployment = {
        "metadata": {"name": "d"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template},
    }
    apps.create_namespaced_deployment(namespace, deployment)
    scaled = apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 1}})
    assert scaled.spec.replicas == 1
    apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 0}})
    apps.delete_namespaced_deployment("d", namespace)


def test_custom_resources_by_the_dynamic_client(api: client.ApiClient, namespace: str) -> None:
    found = dynamic.DynamicClient(api)
    definitions = found.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=DEFINITION)
    try:
        definition = lambda: definitions.get(name=DEFINITION["metadata"]["name"])  # noqa: E731
        wait_until(
            lambda: any(one.type == "Established" and one.status == "True" for one in definition().status.conditions),
            "the definition is established",
        )
        found.resources.invalidate_cache()
        ferries = found.resources.get(api_version="python.example.org/v1", kind="Ferry")
        body = {"apiVersion": "python.example.org/v1", "kind": "Ferry", "metadata": {"name": "a"}, "spec": {"cars": 1}}
        ferries.create(body=body, namespace=namespace)
        applied = {**body, "spec": {"cars": 2}}
        ferries.server_side_apply(
            namespace=namespace, name="a", body=applied, field_manager="e2e", force_conflicts=True
        )
        ferries.patch(
            body={"spec": {"seats": 9}}, name="a", namespace=namespace, content_type="application/merge-patch+json"
        )
        assert ferries.get(name="a", namespace=namespace).spec.to_dict() == {"cars": 2, "seats": 9}
        assert [one.metadata.name for one in ferries.get(namespace=namespace).items] == ["a"]
        with pytest.raises(dynamic.exceptions.NotFoundError):
            ferries.get(name="b", namespace=namespace)
        ferries.delete(name="a", namespace=namespace)
    finally:
        definitions.delete(name=DEFINITION["metadata"]["name"])


def test_metrics_of_a_pod_that_has_just_started(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    assert utils.get_nodes_metrics(api)["items"][0]["usage"]
    core.create_namespaced_pod(namespace, sleeper("young"))
    wait_until(lambda: core.read_namespaced_pod("young", namespace).status.phase == "Running", "the pod runs", 60)
    names: Callable[[], list[str]] = lambda: [  # noqa: E731
        one["metadata"]["name"] for one in utils.get_pods_metrics(api, namespace, "e2e=young")["items"]
    ]
    wait_until(lambda: names() == ["young"], "its metrics are there", 60)
    assert set(utils.get_pods_metrics_in_all_namespaces(api, [namespace, "default"])) == {namespace, "default"}


async def test_the_asyncio_twin(machine: RunningWherry, namespace: str) -> None:
    settings = aio_client.Configuration()
    await aio_config.load_kube_config(str(machine.instance.kubeconfig), client_configuration=settings)
    async with aio_client.ApiClient(settings) as api:
        core = aio_client.CoreV1Api(api)
        listed = await core.list_namespaced_config_map(namespace)
        for number in range(3):
            await core.create_namespaced_config_map(namespace, config_map(f"c{number}"))
        applied = {**config_map("c0", n="1")}
        done = await core.patch_namespaced_config_map(
            "c0", namespace, applied, field_manager="e2e", force=True, _content_type="application/apply-patch+yaml"
        )
        assert done.data == {"n": "1"}
        seen = []
        async with aio_watch.Watch() as follow:
            async for event in follow.stream(
                core.list_namespaced_config_map, namespace, resource_version=listed.metadata.resource_version,
                label_selector="e2e=yes", timeout_seconds=60,
            ):  # fmt: skip
                seen.append((event["type"], event["object"].metadata.name))
                if event["type"] == "MODIFIED":
                    break
        assert seen == [("ADDED", "c0"), ("ADDED", "c1"), ("ADDED", "c2"), ("MODIFIED", "c0")]
