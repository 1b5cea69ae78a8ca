"""The node authorizer: of secrets, config maps and claims, a kubelet reads those that its own pods name, and the
secrets of Ingresses, which every node serves.

What else a node may do stands in the role `system:node`; this narrows it.
https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from collections.abc import Iterator

from wherry.kube_api.api import Api
from wherry.kube_api.auth.attributes import Attributes
from wherry.kube_api.call import User
from wherry.schema import builtin
from wherry.schema.resource import Object

PREFIX = "system:node:"
NARROWED = frozenset({"secrets", "configmaps", "persistentvolumeclaims"})
NO_RELATION = "no relationship found between node '{}' and this object"


def node_of(user: User) -> str | None:
    """The node's name when the user is a kubelet."""
    if user.name.startswith(PREFIX) and "system:nodes" in user.groups:
        return user.name[len(PREFIX) :]
    return None


class NodeAuthorizer:
    """`refuses(asked)`: why a node may not have what RBAC would give it, or None."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def refuses(self, asked: Attributes) -> str | None:
        node = node_of(asked.user)
        if node is None or asked.group:
            return None
        if asked.resource in NARROWED and not asked.subresource:
            if asked.verb not in ("get", "list", "watch"):
                return "can only read resources of this type"
            if not asked.namespace or not asked.name:
                return "No Object name found"
            if not any(asked.name in named(pod, asked.resource) for pod in self._pods(asked.namespace, node)) and not (
                asked.resource == "secrets" and self._served(asked.namespace, asked.name)
            ):
                return NO_RELATION.format(node)
        if (
            asked.resource == "serviceaccounts"
            and asked.subresource == "token"
            and not any(
                (pod.get("spec") or {}).get("serviceAccountName") == asked.name
                for pod in self._pods(asked.namespace, node)
            )
        ):
            return NO_RELATION.format(node)
        return None

    def _served(self, namespace: str, secret: str) -> bool:
        """Whether an Ingress names the Secret: every node serves every Ingress."""
        for entry in self._api.cache_of(builtin.INGRESSES).entries(namespace):
            ingress = entry.shared()
            annotations = ingress["metadata"].get("annotations") or {}
            names = {one.get("secretName") for one in (ingress.get("spec") or {}).get("tls") or ()}
            names.add(annotations.get("nginx.ingress.kubernetes.io/auth-secret", "").rpartition("/")[2])
            if secret in names:
                return True
        return False

    def _pods(self, namespace: str, node: str) -> Iterator[Object]:
        for entry in self._api.cache_of(builtin.PODS).entries(namespace):
            pod = entry.shared()
            if (pod.get("spec") or {}).get("nodeName") == node:
                yield pod


def named(pod: Object, resource: str) -> set[str]:
    """Names of the secrets, config maps or claims that a pod's spec speaks of."""
    spec = pod.get("spec") or {}
    found: set[str] = set()
    containers = [
        *(spec.get("initContainers") or ()), *(spec.get("containers") or ()), *(spec.get("ephemeralContainers") or ()),
    ]  # fmt: skip
    if resource == "persistentvolumeclaims":
        for volume in spec.get("volumes") or ():
            if "persistentVolumeClaim" in volume:
                found.add(volume["persistentVolumeClaim"].get("claimName", ""))
            elif "ephemeral" in volume:
                found.add(f"{pod['metadata']['name']}-{volume['name']}")
        return found
    field, key = ("secretRef", "secretKeyRef") if resource == "secrets" else ("configMapRef", "configMapKeyRef")
    for container in containers:
        for source in container.get("envFrom") or ():
            found.add((source.get(field) or {}).get("name", ""))
        for variable in container.get("env") or ():
            found.add(((variable.get("valueFrom") or {}).get(key) or {}).get("name", ""))
    for volume in spec.get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            if resource == "configmaps":
                found.add((source.get("configMap") or {}).get("name", ""))
            else:
                secret = source.get("secret") or {}
                found.add(secret.get("secretName") or secret.get("name") or "")
                for driver in ("csi", "flexVolume", "cephfs", "rbd", "iscsi", "scaleIO", "storageos"):
                    held = source.get(driver) or {}
                    reference = held.get("secretRef") or held.get("nodePublishSecretRef") or {}
                    found.add(reference.get("name", ""))
    if resource == "secrets":
        found |= {one.get("name", "") for one in spec.get("imagePullSecrets") or ()}
    return found - {""}
