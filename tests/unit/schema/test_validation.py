# ruff: noqa: E501 (tables of messages that must stay verbatim)
from typing import Any

import pytest
import yaml

from wherry.schema import decode, defaults, validation
from wherry.schema.errors import invalid
from wherry.schema.objects import deep_copy
from wherry.schema.table import ResourceTable

TABLE = ResourceTable()

TEMPLATE = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}"
DEPLOYMENT = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: x, namespace: default}}
spec: {{selector: {{matchLabels: {{a: b}}}}, template: {TEMPLATE}}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: x, namespace: default}
spec: {containers: [{name: c, image: i}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: x, namespace: default}
spec: {ports: [{port: 80}]}
"""
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def made(text: str, path: str = "", value: Any = None) -> dict[str, Any]:
    """The object, with the value at a dotted path set (or deleted, for None) before defaulting."""
    obj = yaml.safe_load(text)
    if path:
        *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        target = obj
        for step in parents:
            target = target.setdefault(step, {}) if isinstance(target, dict) else target[step]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return prepared(obj)


def prepared(obj: dict[str, Any]) -> dict[str, Any]:
    resource = TABLE.for_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    assert decode.check_fields(resource, obj) == []
    defaults.apply_defaults(resource, obj)
    return obj


def errors(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    resource = TABLE.for_kind(obj["apiVersion"], obj["kind"])
    assert resource is not None
    if old is None:
        found = validation.validate_create(resource, obj)
    else:
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"] = "1"
        found = validation.validate_update(resource, obj, old)
    return [f"{field}: {message}" for _, message, field in found]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("metadata.name", None, "metadata.name: Required value: name or generateName is required"),
        ("spec.containers", [], "spec.containers: Required value"),
        ("spec.containers.0.image", None, "spec.containers[0].image: Required value"),
        ("spec.containers.0.name", "A", f'spec.containers[0].name: Invalid value: "A": {LABEL}'),
        ("spec.containers.0.imagePullPolicy", "Now", 'spec.containers[0].imagePullPolicy: Unsupported value: "Now": supported values: "Always", "IfNotPresent", "Never"'),
        ("spec.restartPolicy", "Maybe", 'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"'),
        ("spec.containers.0.ports", [{"containerPort": 70000}], "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ("spec.containers.0.ports", [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}], 'spec.containers[0].ports[1].name: Duplicate value: "a"'),
        ("spec.containers.0.volumeMounts", [{"name": "v", "mountPath": "/v"}], 'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        ("spec.containers.0.livenessProbe", {}, "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        ("spec.containers.0.resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, 'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        ("spec.containers.0.resources", {"limits": {"memory": "-1"}}, 'spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0'),
        ("spec.containers.0.env", [{"name": "a", "valueFrom": {}}], "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"),
        ("spec.volumes", [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}], "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
        ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
        ("spec.tolerations", [{"key": "k", "effect": "Bad"}], 'spec.tolerations[0].effect: Unsupported value: "Bad": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'),
        ("metadata.labels", {"a": "b c"}, "metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"),
    ],
)  # fmt: skip
def test_pods(path: str, value: Any, expected: str) -> None:
    assert expected in errors(made(POD, path, value))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.selector", None, "spec.selector: Required value"),
        ("spec.selector", {}, "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        ("spec.selector", {"matchLabels": {"a": "c"}}, 'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`'),
        ("spec.replicas", -1, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("spec.strategy", {"type": "Recreate", "rollingUpdate": {}}, "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        ("spec.strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}, "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        ("spec.template.spec.restartPolicy", "Never", 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'),
        ("spec.progressDeadlineSeconds", 0, "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds"),
    ],
)  # fmt: skip
def test_deployments(path: str, value: Any, expected: str) -> None:
    assert errors(made(DEPLOYMENT, path, value)) == [expected]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.ports", [], "spec.ports: Required value"),
        ("spec.ports", [{"port": 0}], "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ("spec.ports", [{"port": 80}, {"port": 81, "name": "b"}], "spec.ports[0].name: Required value"),
        ("spec.type", "Foo", 'spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
        ("spec.type", "ExternalName", "spec.externalName: Required value"),
        ("spec.ports.0.nodePort", 30000, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ("metadata.name", "1x", "metadata.name: Invalid value: \"1x\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"),
    ],
)  # fmt: skip
def test_services(path: str, value: Any, expected: str) -> None:
    assert expected in errors(made(SERVICE, path, value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{apiVersion: batch/v1, kind: Job, metadata: {name: x, namespace: d}, spec: {selector: {matchLabels: {a: b}}, template: " + TEMPLATE + "}}",
         'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'),
        ("{apiVersion: batch/v1, kind: CronJob, metadata: {name: x, namespace: d}, spec: {schedule: abc, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}}",
         'spec.schedule: Invalid value: "abc": expected exactly 5 fields, found 1: [abc]'),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: d}, data: {a/b: c}}",
         "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"),
        ("{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: x, namespace: d}}", "data[tls.crt]: Required value"),
        ("{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: x, namespace: d}, spec: {}}", "spec.accessModes: Required value: at least 1 access mode is required"),
        ("{apiVersion: v1, kind: PersistentVolume, metadata: {name: x}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}}}", "spec: Required value: must specify a volume type"),
        ("{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: x, namespace: d}, spec: {minReplicas: 3, maxReplicas: 2, scaleTargetRef: {kind: D, name: x}}}",
         "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"),
        ("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: x, namespace: d}, spec: {rules: [{http: {paths: [{path: x, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}}",
         'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'),
        ("{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: x, namespace: d}, rules: [{verbs: [get], apiGroups: ['']}]}",
         "rules[0].resources: Required value: resource rules must supply at least one resource"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: X}}", f'metadata.name: Invalid value: "X": {LABEL}'),
        ("{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x, namespace: d}, spec: {podManagementPolicy: Odd, selector: {matchLabels: {a: b}}, template: " + TEMPLATE + "}}",
         "spec.podManagementPolicy: Invalid value: \"Odd\": must be 'OrderedReady' or 'Parallel'"),
    ],
)  # fmt: skip
def test_other_kinds(text: str, expected: str) -> None:
    assert expected in errors(prepared(yaml.safe_load(text)))


def test_good_objects_pass() -> None:
    for text in (POD, DEPLOYMENT, SERVICE):
        assert errors(made(text)) == []
        assert errors(made(text), made(text)) == []


def test_selectors_are_immutable() -> None:
    old, new = made(DEPLOYMENT), made(DEPLOYMENT)
    new["spec"]["selector"] = {"matchLabels": {"a": "b", "c": "d"}}
    new["spec"]["template"]["metadata"]["labels"]["c"] = "d"
    assert errors(new, old) == ['spec.selector: Invalid value: {"matchLabels":{"a":"b","c":"d"}}: field is immutable']


def test_pods_may_change_their_image_and_little_else() -> None:
    old, new = made(POD), made(POD)
    new["spec"]["containers"][0]["image"] = "j"
    assert errors(new, old) == []
    new["spec"]["containers"][0]["command"] = ["x"]
    (error,) = errors(new, old)
    assert error.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
        "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
    )
    new["spec"]["containers"].append(deep_copy(new["spec"]["containers"][0]) | {"name": "d"})
    assert errors(new, old) == ["spec.containers: Forbidden: pod updates may not add or remove containers"]


def test_stateful_sets_and_services_keep_what_may_not_change() -> None:
    text = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x, namespace: d}, spec: {serviceName: s, selector: {matchLabels: {a: b}}, template: " + TEMPLATE + "}}"  # fmt: skip
    old, new = prepared(yaml.safe_load(text)), prepared(yaml.safe_load(text))
    new["spec"]["serviceName"] = "t"
    assert errors(new, old) == [
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
        "forbidden"
    ]
    old, new = made(SERVICE), made(SERVICE)
    old["spec"].update(clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"])
    new["spec"].update(clusterIP="10.0.0.2", clusterIPs=["10.0.0.2"])
    assert errors(new, old) == ['spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set']


def test_the_message_of_one_and_of_several_causes() -> None:
    pods = TABLE.lookup("", "v1", "pods")
    assert pods is not None
    one = validation.validate_create(pods, made(POD, "spec.containers.0.image", None))
    assert str(invalid("", "Pod", "x", one)) == 'Pod "x" is invalid: spec.containers[0].image: Required value'


def test_stateful_sets_may_mount_their_claims() -> None:
    text = """
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: db, namespace: default}
    spec:
      serviceName: db
      selector: {matchLabels: {a: b}}
      template:
        metadata: {labels: {a: b}}
        spec: {containers: [{name: c, image: i, volumeMounts: [{name: data, mountPath: /data}]}]}
      volumeClaimTemplates:
      - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
    """
    assert errors(prepared(yaml.safe_load(text))) == []


def test_jobs_get_a_selector_of_their_own() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "x", "namespace": "d", "uid": "u1"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
    }
    defaults.generate_job_selector(prepared(job))
    assert errors(job) == []
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}  # type: ignore[index]
