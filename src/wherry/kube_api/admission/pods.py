"""What new pods are given: a service account and its token volume, a priority, default tolerations.

ServiceAccount, Priority and DefaultTolerationSeconds of
https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from typing import TYPE_CHECKING, Any

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TOLERATION_SECONDS = 300
MIRROR = "kubernetes.io/config.mirror"


class PodDefaults(Plugin):
    """See the module."""

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        if call.resource != builtin.PODS or old is not None or call.subresource:
            return obj
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return obj
        mirror = MIRROR in (obj["metadata"].get("annotations") or {})
        if not mirror:
            await self._service_account(api, call, obj, spec)
        self._priority(api, obj, spec)
        _tolerations(spec)
        return obj

    async def _service_account(self, api: "Api", call: Call, obj: Object, spec: Object) -> None:
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        entry = await api.read(builtin.SERVICE_ACCOUNTS, call.namespace, name)
        if entry is None:
            raise errors.Forbidden(
                f'pods "{obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""}" is forbidden: '
                f'error looking up service account {call.namespace}/{name}: serviceaccount "{name}" not found',
                details={"name": obj["metadata"].get("name") or "", "kind": "pods"},
            )
        account = entry.shared()
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(one) for one in account["imagePullSecrets"]]
        mount = spec.get("automountServiceAccountToken")
        if mount is None:
            mount = account.get("automountServiceAccountToken")
        if mount is None or mount:
            _mount_token(api, spec)

    def _priority(self, api: "Api", obj: Object, spec: Object) -> None:
        name = spec.get("priorityClassName") or ""
        found: Object | None = None
        if name:
            entry = api.cached(builtin.PRIORITY_CLASSES, None, name)
            if entry is None:
                pod = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
                raise errors.Forbidden(
                    f'pods "{pod}" is forbidden: no PriorityClass with name {name} was found',
                    details={"name": pod, "kind": "pods"},
                )
            found = entry.shared()
        else:
            defaults = [
                one for one in (entry.shared() for entry in api.cache_of(builtin.PRIORITY_CLASSES).entries())
                if one.get("globalDefault")
            ]  # fmt: skip
            if defaults:
                found = min(defaults, key=lambda one: int(one["value"]))
                spec["priorityClassName"] = found["metadata"]["name"]
        spec["priority"] = found["value"] if found is not None else 0
        policy = (found or {}).get("preemptionPolicy") or "PreemptLowerPriority"
        spec.setdefault("preemptionPolicy", policy)


def _mount_token(api: "Api", spec: Object) -> None:
    """The projected volume with token, CA and namespace, in every container that has none of its own there."""
    name = ""
    for volume in spec.get("volumes") or ():
        if isinstance(volume, dict) and str(volume.get("name", "")).startswith("kube-api-access-"):
            name = volume["name"]
    containers: list[Any] = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    needing = [
        one
        for one in containers
        if isinstance(one, dict)
        and not any(mount.get("mountPath") == TOKEN_PATH for mount in one.get("volumeMounts") or ())
    ]
    if not needing:
        return
    if not name:
        name = api.generate_name("kube-api-access-")
        spec.setdefault("volumes", []).append(
            {
                "name": name,
                "projected": {
                    "defaultMode": 420,
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        {
                            "downwardAPI": {
                                "items": [
                                    {
                                        "path": "namespace",
                                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                                    }
                                ]
                            }
                        },
                    ],
                },
            }
        )
    for container in needing:
        container.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": TOKEN_PATH})


def _tolerations(spec: Object) -> None:
    """Five minutes of patience with a node that is not ready or cannot be reached."""
    tolerations = spec.get("tolerations") or []
    for key in UNREACHABLE:
        if any(
            (not one.get("key") and one.get("operator") == "Exists") or one.get("key") == key
            for one in tolerations
            if one.get("effect") in (None, "", "NoExecute")
        ):
            continue
        tolerations.append(
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
        )
    spec["tolerations"] = tolerations
