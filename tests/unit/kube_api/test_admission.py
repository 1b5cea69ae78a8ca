"""Admission: limits, quotas, pod security, nodes, webhooks."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from wherry.kube_api.auth.attributes import Attributes
from wherry.kube_api.auth.node import NodeAuthorizer
from wherry.kube_api.call import Call, User
from wherry.kube_api.pki import Pki, ensure_pki
from wherry.kube_api.verbs.create import create
from wherry.kube_api.verbs.update import update
from wherry.schema import builtin, errors

if TYPE_CHECKING:
    from conftest import World

Object = dict[str, Any]
NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


def pod(name: str, node: str = "", labels: Object | None = None, **container: Any) -> Object:
    spec: Object = {"containers": [{"name": "c", "image": "i", **container}]}
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}


async def add_limits(world: World, *limits: Object) -> None:
    await world.client.create(
        builtin.LIMIT_RANGES, {"metadata": {"name": "l"}, "spec": {"limits": list(limits)}}, "default"
    )


async def test_a_limit_range_gives_defaults_and_bounds(world: World) -> None:
    await add_limits(world, {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
                             "max": {"cpu": "800m"}, "min": {"cpu": "50m"}})  # fmt: skip
    made = await world.client.create(builtin.PODS, pod("a"), "default")
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    )
    for resources, expected in (
        ({"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 800m, but limit is 2"),
        ({"requests": {"cpu": "1m"}}, "minimum cpu usage per Container is 50m, but request is 1m"),
    ):
        with pytest.raises(errors.Forbidden, match=expected):
            await world.client.create(builtin.PODS, pod("b", resources=resources), "default")


async def test_limits_of_whole_pods_and_of_ratios(world: World) -> None:
    await add_limits(world, {"type": "Pod", "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"memory": "2"}})
    for limit, request, expected in (
        ("2Gi", "1Gi", "maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
        ("900Mi", "100Mi", "max limit to request ratio per Pod is 2, but provided ratio is 9.0"),
    ):
        resources = {"limits": {"memory": limit}, "requests": {"memory": request}}
        with pytest.raises(errors.Forbidden, match=expected):
            await world.client.create(builtin.PODS, pod("a", resources=resources), "default")


async def add_quota(world: World, hard: Object, **more: Any) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": hard, **more}}
    await world.client.create(builtin.RESOURCE_QUOTAS, quota, "default")


async def test_a_quota_counts_at_once_and_refuses_the_rest(world: World) -> None:
    await add_quota(world, {"pods": "2", "requests.cpu": "1"})
    small = {"requests": {"cpu": "400m"}}
    with pytest.raises(errors.Forbidden, match="failed quota: q: must specify"):
        await world.client.create(builtin.PODS, pod("none"), "default")
    await world.client.create(builtin.PODS, pod("a", resources=small), "default")
    with pytest.raises(
        errors.Forbidden,
        match=r"exceeded quota: q, requested: requests\.cpu=700m, used: requests\.cpu=400m, limited: requests\.cpu=1",
    ):
        await world.client.create(builtin.PODS, pod("b", resources={"requests": {"cpu": "700m"}}), "default")
    await world.client.create(builtin.PODS, pod("b", resources=small), "default")
    with pytest.raises(errors.Forbidden, match=r"requested: pods=1,requests\.cpu=400m"):
        await world.client.create(builtin.PODS, pod("c", resources=small), "default")
    used = (await world.client.get(builtin.RESOURCE_QUOTAS, "q", "default"))["status"]["used"]
    assert used == {"pods": "2", "requests.cpu": "800m"}


async def test_creations_that_arrive_together_cannot_pass_a_quota_together(world: World) -> None:
    import asyncio

    await add_quota(world, {"configmaps": "5"})
    results = await asyncio.gather(
        *(world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": f"c{n}"}}, "default") for n in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, dict) for one in results) == 5
    assert all(isinstance(one, (dict, errors.Forbidden)) for one in results)


async def test_a_quota_with_scopes_looks_at_its_own_pods_only(world: World) -> None:
    await add_quota(world, {"pods": "0"}, scopes=["BestEffort"])
    with pytest.raises(errors.Forbidden, match="exceeded quota"):
        await world.client.create(builtin.PODS, pod("a"), "default")
    await world.client.create(builtin.PODS, pod("b", resources={"requests": {"cpu": "1"}}), "default")


async def secure(world: World, **labels: str) -> None:
    named = {f"pod-security.kubernetes.io/{mode}": level for mode, level in labels.items()}
    await world.client.patch(builtin.NAMESPACES, "default", {"metadata": {"labels": named}})


async def test_pod_security_enforces_and_warns(world: World) -> None:
    await secure(world, enforce="baseline", warn="restricted")
    with pytest.raises(errors.Forbidden) as refused:
        await world.client.create(builtin.PODS, pod("a", securityContext={"privileged": True}), "default")
    assert refused.value.message == (
        'pods "a" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set '
        "securityContext.privileged=true)"
    )
    call = Call(User("u"), "create", builtin.PODS, "default")
    await create(world.api, call, pod("b"))
    assert len(call.warnings) == 1
    assert call.warnings[0].startswith(
        'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set '
        "securityContext.allowPrivilegeEscalation=false), unrestricted capabilities"
    )
    good = {
        "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    call = Call(User("u"), "create", builtin.PODS, "default")
    await create(world.api, call, pod("good", securityContext=good))
    assert call.warnings == []


async def test_a_namespace_cannot_ask_for_a_level_that_does_not_exist(world: World) -> None:
    with pytest.raises(errors.Invalid, match="must be one of privileged, baseline, restricted"):
        await secure(world, enforce="high")


async def test_a_node_reads_what_its_pods_name_and_nothing_else(world: World) -> None:
    authorizer = NodeAuthorizer(world.api)

    def refuses(name: str, resource: str = "secrets") -> str | None:
        return authorizer.refuses(Attributes(NODE, "get", "", resource, "", "default", name))

    assert refuses("s") == "no relationship found between node 'n1' and this object"
    mounted = pod("a", "n1", env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
    mounted["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "m"}}]
    await world.client.create(builtin.PODS, mounted, "default")
    await world.client.create(builtin.PODS, pod("b", "n2", envFrom=[{"secretRef": {"name": "other"}}]), "default")
    assert refuses("s") is None
    assert refuses("m", "configmaps") is None
    assert refuses("other") is not None
    assert refuses("") == "No Object name found"
    assert authorizer.refuses(Attributes(User("alice"), "get", "", "secrets", "", "default", "s")) is None


async def test_a_node_writes_its_own_things_only(world: World) -> None:
    await world.client.create(builtin.NODES, {"metadata": {"name": "n2"}})
    own = {"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/x": "y"}}}
    with pytest.raises(errors.Forbidden, match="is not allowed to modify labels"):
        await create(world.api, Call(NODE, "create", builtin.NODES), own)
    other = await world.client.get(builtin.NODES, "n2")
    with pytest.raises(errors.Forbidden, match='node "n1" is not allowed to modify node "n2"'):
        await update(
            world.api, Call(NODE, "update", builtin.NODES, name="n2"), {**other, "spec": {"podCIDR": "10.0.0.0/24"}}
        )
    with pytest.raises(errors.Forbidden, match="can only create mirror pods"):
        await create(world.api, Call(NODE, "create", builtin.PODS, "default"), pod("p", "n1"))


class Hook:
    """A webhook that answers as `self.answer` says."""

    def __init__(self) -> None:
        self.url = ""
        self.bundle = ""
        self.requests: list[Object] = []
        self.answer: Object = {"allowed": True}

    async def handle(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.requests.append(review["request"])
        response = {"uid": review["request"]["uid"], **self.answer}
        return web.json_response({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})

    def configuration(self, kind: str, **more: Any) -> Object:
        rule = {"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["configmaps"]}  # fmt: skip
        webhook = {
            "name": "hook.example.com", "clientConfig": {"url": self.url, "caBundle": self.bundle}, "rules": [rule],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2, **more,
        }  # fmt: skip
        return {"metadata": {"name": kind}, "webhooks": [webhook]}


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    ensure_pki(tmp_path, ["localhost"])
    pair = Pki(tmp_path).server("hook", "hook", ["localhost", "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    hook = Hook()
    app = web.Application()
    app.router.add_post("/", hook.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    hook.url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    hook.bundle = base64.b64encode(Pki(tmp_path).ca.cert.read_bytes()).decode()
    yield hook
    await runner.cleanup()


async def test_a_mutating_webhook_changes_what_is_stored(world: World, hook: Hook) -> None:
    patch = [{"op": "add", "path": "/data", "value": {"by": "hook"}}]
    hook.answer = {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
    }
    await world.client.create(builtin.MUTATING_WEBHOOK_CONFIGURATIONS, hook.configuration("m"))
    made = await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
    assert made["data"] == {"by": "hook"}
    asked = hook.requests[0]
    assert (asked["operation"], asked["name"], asked["namespace"], asked["resource"]["resource"]) == (
        "CREATE", "a", "default", "configmaps",
    )  # fmt: skip
    await world.client.create(builtin.SECRETS, {"metadata": {"name": "s"}}, "default")
    assert len(hook.requests) == 1


async def test_a_validating_webhook_refuses_and_warns(world: World, hook: Hook) -> None:
    await world.client.create(builtin.VALIDATING_WEBHOOK_CONFIGURATIONS, hook.configuration("v"))
    hook.answer = {"allowed": False, "status": {"message": "not today", "code": 403}}
    with pytest.raises(errors.Forbidden) as refused:
        await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
    assert refused.value.message == 'admission webhook "hook.example.com" denied the request: not today'
    hook.answer = {"allowed": True, "warnings": ["beware"]}
    call = Call(User("u"), "create", builtin.CONFIG_MAPS, "default")
    await create(world.api, call, {"metadata": {"name": "a"}})
    assert call.warnings == ["beware"]
    hook.answer = {"allowed": False}
    with pytest.raises(errors.Forbidden, match="without explanation"):
        await world.client.delete(builtin.CONFIG_MAPS, "a", "default")
    assert hook.requests[-1]["operation"] == "DELETE"
    assert hook.requests[-1]["oldObject"]["metadata"]["name"] == "a"


async def test_a_webhook_that_cannot_be_reached_fails_as_its_policy_says(world: World, hook: Hook) -> None:
    broken = hook.configuration("v")
    broken["webhooks"][0]["clientConfig"] = {"url": "https://127.0.0.1:1/"}
    made = await world.client.create(builtin.VALIDATING_WEBHOOK_CONFIGURATIONS, broken)
    with pytest.raises(errors.InternalError, match=r'failed calling webhook "hook.example.com"'):
        await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
    made["webhooks"][0]["failurePolicy"] = "Ignore"
    await world.client.update(builtin.VALIDATING_WEBHOOK_CONFIGURATIONS, made)
    await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")


async def test_selectors_and_conditions_choose_what_a_webhook_sees(world: World, hook: Hook) -> None:
    more = {
        "objectSelector": {"matchLabels": {"watched": "yes"}},
        "matchConditions": [{"name": "not-b", "expression": "object.metadata.name != 'b'"}],
    }
    await world.client.create(builtin.VALIDATING_WEBHOOK_CONFIGURATIONS, hook.configuration("v", **more))
    for name, labels in (("a", {}), ("b", {"watched": "yes"}), ("c", {"watched": "yes"})):
        await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}}, "default")
    assert [one["name"] for one in hook.requests] == ["c"]


async def test_dry_run_goes_to_webhooks_without_side_effects_only(world: World, hook: Hook) -> None:
    await world.client.create(
        builtin.VALIDATING_WEBHOOK_CONFIGURATIONS, hook.configuration("v", sideEffects="NoneOnDryRun")
    )
    call = Call(User("u"), "create", builtin.CONFIG_MAPS, "default", dry_run=True)
    await create(world.api, call, {"metadata": {"name": "a"}})
    assert hook.requests[0]["dryRun"] is True
