from pathlib import Path

import golden_files
import pytest

from wherry.schema import decode, defaults
from wherry.schema.objects import deep_copy
from wherry.schema.table import ResourceTable

TABLE = ResourceTable()


@pytest.mark.parametrize("path", golden_files.inputs("defaults"), ids=lambda path: path.name.split(".")[0])
def test_golden(path: Path) -> None:
    found = []
    for obj in golden_files.load(path):
        resource = TABLE.for_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        assert decode.check_fields(resource, obj) == []
        defaults.apply_defaults(resource, obj)
        again = deep_copy(obj)
        defaults.apply_defaults(resource, again)
        assert again == obj, "defaulting twice must change nothing"
        found.append(obj)
    golden_files.check(path, found)


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"requests": {"cpu": "1", "memory": "1"}, "limits": {"cpu": "1", "memory": "1"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1"}}, {}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1"}}], "Guaranteed"),
    ],
)
def test_quality_of_service(containers: list[dict[str, object]], expected: str) -> None:
    pod = {"spec": {"containers": [{"name": "c", "resources": one} for one in containers]}}
    assert defaults.qos_class(pod) == expected


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1", "IfNotPresent"), ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"), ("nginx@sha256:00", "IfNotPresent"),
    ],
)  # fmt: skip
def test_pull_policy(image: str, policy: str) -> None:
    from wherry.schema.defaults_pod import pull_policy

    assert pull_policy(image) == policy


def test_initial_status() -> None:
    from wherry.schema.builtin import CONFIG_MAPS, DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, SERVICES

    assert defaults.initial_status(DEPLOYMENTS) == {}
    assert defaults.initial_status(SERVICES) == {"loadBalancer": {}}
    assert defaults.initial_status(PERSISTENT_VOLUME_CLAIMS) == {"phase": "Pending"}
    assert defaults.initial_status(CONFIG_MAPS) is None
