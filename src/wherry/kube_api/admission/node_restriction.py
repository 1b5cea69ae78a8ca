"""NodeRestriction: a kubelet writes its own node, the status of its own pods and its own lease, nothing else.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
"""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.admission.pods import MIRROR
from wherry.kube_api.auth.node import node_of
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

RESERVED = "node-restriction.kubernetes.io/"
ALLOWED_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
    }
)  # fmt: skip


class NodeRestriction(Plugin):
    """See the module."""

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        node = node_of(call.user)
        if node is None:
            return
        resource = call.resource
        if resource == builtin.NODES:
            self._check_node(call, node, obj, old)
        elif resource == builtin.PODS:
            self._check_pod(call, node, obj, old)
        elif resource == builtin.LEASES and call.namespace == "kube-node-lease" and obj["metadata"]["name"] != node:
            raise _refused(call, obj, "can only access node lease with the same name as the requesting node")

    async def validate_delete(self, api: "Api", call: Call, old: Object) -> None:
        node = node_of(call.user)
        if node is None:
            return
        if call.resource == builtin.PODS and (old.get("spec") or {}).get("nodeName") != node:
            raise _refused(call, old, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        if call.resource == builtin.NODES:
            raise _refused(call, old, f'node "{node}" is not allowed to delete node "{call.name}"')

    def _check_node(self, call: Call, node: str, obj: Object, old: Object | None) -> None:
        name = obj["metadata"]["name"]
        if name != node:
            raise _refused(call, obj, f'node "{node}" is not allowed to modify node "{name}"')
        before = {} if old is None else old["metadata"].get("labels") or {}
        after = obj["metadata"].get("labels") or {}
        changed = {label for label in set(before) | set(after) if before.get(label) != after.get(label)}
        bad = sorted(label for label in changed if _is_reserved(label))
        if bad:
            raise _refused(call, obj, f"is not allowed to modify labels: {', '.join(bad)}")
        if old is not None and (obj.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
            raise _refused(call, obj, f'node "{node}" is not allowed to modify taints')

    def _check_pod(self, call: Call, node: str, obj: Object, old: Object | None) -> None:
        spec = obj.get("spec") or {}
        if old is None and call.subresource == "":
            if MIRROR not in (obj["metadata"].get("annotations") or {}):
                raise _refused(
                    call, obj, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
                )
            if spec.get("nodeName") != node:
                raise _refused(call, obj, f'node "{node}" can only create pods with spec.nodeName set to itself')
        elif old is not None:
            if call.subresource != "status":
                raise _refused(
                    call, obj, f'unexpected operation "update", node "{node}" can only create and delete mirror pods'
                )
            if (old.get("spec") or {}).get("nodeName") != node:
                raise _refused(
                    call, obj, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
                )
            if old["metadata"].get("labels") != obj["metadata"].get("labels"):
                raise _refused(call, obj, f'node "{node}" cannot update labels through pod status')


def _is_reserved(label: str) -> bool:
    domain = label.partition("/")[0] if "/" in label else ""
    if label.startswith(RESERVED):
        return True
    if domain != "kubernetes.io" and domain != "k8s.io" and not domain.endswith((".kubernetes.io", ".k8s.io")):
        return False
    if domain in ("kubelet.kubernetes.io", "node.kubernetes.io") or domain.endswith(
        (".kubelet.kubernetes.io", ".node.kubernetes.io")
    ):
        return False
    return label not in ALLOWED_LABELS


def _refused(call: Call, obj: Object, why: str) -> errors.Forbidden:
    name = obj["metadata"].get("name", "")
    return errors.Forbidden(
        f'{call.resource.qualified} "{name}" is forbidden: {why}',
        details={"name": name, "kind": call.resource.plural},
    )
