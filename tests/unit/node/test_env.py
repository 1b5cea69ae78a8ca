"""The environment of a container."""

import base64
from typing import Any

import pytest
from node_samples import make_pod

from wherry.node.env import ConfigError, Surroundings, environment, expand, references, service_variables


def service(service: str, namespace: str = "default", ip: str = "10.0.0.9", **port: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": service, "namespace": namespace},
        "spec": {"clusterIP": ip, "ports": [{"port": 80, "protocol": "TCP", **port}]},
    }


def test_expansion_follows_kubernetes_rules() -> None:
    table = {"A": "one", "EMPTY": ""}
    cases = {
        "$(A)": "one",
        "x-$(A)-$(EMPTY)y": "x-one-y",
        "$(NONE)": "$(NONE)",
        "$$(A)": "$(A)",
        "$$$(A)": "$one",
        "$A ${A} $": "$A ${A} $",
    }
    assert {text: expand(text, table.get) for text in cases} == cases


def test_service_variables() -> None:
    found = service_variables("default", [service("my-web", name="http"), service("other", "elsewhere")])
    assert found == {
        "MY_WEB_SERVICE_HOST": "10.0.0.9",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_PORT": "tcp://10.0.0.9:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.0.0.9:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.0.0.9",
    }


def test_headless_services_have_no_variables_and_links_can_be_turned_off() -> None:
    assert service_variables("default", [service("x", ip="None")]) == {}
    around = Surroundings(services=[service("web"), service("kubernetes")])
    assert "WEB_SERVICE_HOST" in environment(make_pod(), {"name": "web"}, around)
    names = environment(make_pod(enableServiceLinks=False), {"name": "web"}, around)
    assert "WEB_SERVICE_HOST" not in names
    assert "KUBERNETES_SERVICE_HOST" in names


def test_sources_and_their_order() -> None:
    container = {
        "name": "web",
        "envFrom": [{"configMapRef": {"name": "cm"}}, {"secretRef": {"name": "sec"}, "prefix": "P_"}],
        "env": [{"name": "K", "value": "own"}, {"name": "REF", "value": "$(K)/$(P_S)/$(LATER)"}, {"name": "LATER"}],
    }
    around = Surroundings(
        config_maps={"cm": {"data": {"K": "map", "bad=name": "x"}}},
        secrets={"sec": {"data": {"S": base64.b64encode(b"hush").decode()}}},
    )
    assert environment(make_pod(), container, around) == {
        "K": "own",
        "P_S": "hush",
        "REF": "own/hush/$(LATER)",
        "LATER": "",
    }
    assert references([container]) == ({"cm"}, {"sec"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "k"}}, "couldn't find key k in ConfigMap default/cm"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    around = Surroundings(config_maps={"cm": {"data": {}}})
    container = {"name": "web", "env": [{"name": "X", "valueFrom": source}]}
    with pytest.raises(ConfigError, match=message):
        environment(make_pod(), container, around)
    next(iter(source.values()))["optional"] = True
    assert environment(make_pod(), container, around) == {}


def test_fields_and_resources() -> None:
    pod = make_pod()
    pod["metadata"]["labels"] = {"app": "x"}
    pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}

    def variable(name: str, **value_from: Any) -> dict[str, Any]:
        return {"name": name, "valueFrom": value_from}

    container = pod["spec"]["containers"][0]
    container["env"] = [
        variable("LABEL", fieldRef={"fieldPath": "metadata.labels['app']"}),
        variable("IP", fieldRef={"fieldPath": "status.podIP"}),
        variable("NODE", fieldRef={"fieldPath": "spec.nodeName"}),
        variable("CPU", resourceFieldRef={"resource": "limits.cpu"}),
        variable("MI", resourceFieldRef={"resource": "requests.memory", "divisor": "1Mi"}),
        variable("ALL", resourceFieldRef={"resource": "limits.memory", "divisor": "1Gi"}),
    ]
    around = Surroundings(pod_ips=["10.1.1.1"], node_name="n", allocatable={"memory": "8Gi"})
    expected = {"LABEL": "x", "IP": "10.1.1.1", "NODE": "n", "CPU": "2", "MI": "64", "ALL": "8"}
    assert environment(pod, container, around) == expected
