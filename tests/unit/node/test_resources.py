"""Quantities, sums and quality of service."""

from typing import Any

import pytest
from node_samples import make_pod

from wherry.node import pods, resources


@pytest.mark.parametrize(
    ("text", "milli", "whole"),
    [("100m", 100, 1), ("1", 1000, 1), ("0.5", 500, 1), ("1.5Gi", 1610612736000, 1610612736), ("2e3", 2000000, 2000)],
)
def test_quantities(text: str, milli: int, whole: int) -> None:
    assert (resources.milli(text), resources.value(text)) == (milli, whole)


def test_what_is_no_quantity_is_refused() -> None:
    for text in ("", "abc", "1Zi", "."):
        with pytest.raises((ValueError, ArithmeticError)):
            resources.quantity(text)


def with_resources(**section: Any) -> dict[str, Any]:
    pod = make_pod()
    pod["spec"]["containers"][0]["resources"] = section
    return pod


def test_qos_classes() -> None:
    assert pods.qos_class(make_pod()) == "BestEffort"
    assert pods.qos_class(with_resources(requests={"cpu": "1"})) == "Burstable"
    assert pods.qos_class(with_resources(limits={"cpu": "1", "memory": "1Gi"})) == "Guaranteed"
    both = with_resources(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "1000m", "memory": "1024Mi"})
    assert pods.qos_class(both) == "Guaranteed"
    assert pods.qos_class(with_resources(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "1m"})) == "Burstable"


def test_a_pods_sum_counts_init_containers_by_their_peak_and_sidecars_always() -> None:
    def container(name: str, cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}

    pod = make_pod(init=[container("side", "1", restartPolicy="Always"), container("big", "5")])
    pod["spec"]["containers"] = [container("a", "1"), container("b", "1")]
    assert resources.pod_total(pod, "requests", "cpu") == 6
    pod["spec"]["overhead"] = {"cpu": "250m"}
    assert resources.human(resources.pod_requests(pod)["cpu"], "cpu") == "6250m"
    assert resources.pod_total(pod, "limits", "cpu") is None
