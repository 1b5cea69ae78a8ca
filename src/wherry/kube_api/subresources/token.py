"""`serviceaccounts/NAME/token`: TokenRequest, a signed, expiring, bound token for a service account.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.tokens import TokenSigner
from wherry.schema import builtin, errors
from wherry.schema.resource import Object, Resource

BOUND_TO = {"Pod": builtin.PODS, "Secret": builtin.SECRETS, "Node": builtin.NODES}
MIN_SECONDS, MAX_SECONDS, DEFAULT_SECONDS = 600, 1 << 32, 3600


async def request_token(api: Api, call: Call, body: Any) -> Object:
    """Answer a TokenRequest. Raises NotFound, Conflict (the bound object is another one), Invalid."""
    name, namespace = call.name or "", call.namespace or ""
    entry = await api.read(builtin.SERVICE_ACCOUNTS, namespace, name)
    if entry is None:
        raise api.not_found(builtin.SERVICE_ACCOUNTS, name)
    account = entry.peek()
    request = body if isinstance(body, dict) else {}
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = DEFAULT_SECONDS if seconds is None else int(seconds)
    if seconds < MIN_SECONDS:
        raise _invalid(f"Invalid value: {seconds}: may not specify a duration less than 10 minutes")
    if seconds > MAX_SECONDS:
        raise _invalid(f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds")
    signer: TokenSigner = api.services["tokens"]
    audiences = [str(one) for one in spec.get("audiences") or signer.audiences]
    reference = spec.get("boundObjectRef")
    bound = await _bound(api, namespace, name, reference) if reference else None
    token, expires = signer.issue(
        namespace=namespace,
        account=name,
        uid=account["metadata"]["uid"],
        audiences=audiences,
        seconds=seconds,
        now=api.now(),
        bound=bound,
    )
    answer: dict[str, Any] = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": api.timestamp()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
        "status": {"token": token, "expirationTimestamp": expires},
    }
    return answer


async def _bound(api: Api, namespace: str, account: str, reference: Object) -> tuple[str, str, str, str, str]:
    """(kind, name, uid, node name, node uid) of the object that the token is to die with."""
    kind, name = reference.get("kind", ""), reference.get("name", "")
    resource: Resource | None = BOUND_TO.get(kind)
    if resource is None:
        raise errors.BadRequest(f"cannot bind token for serviceaccount {account} to object of type {kind}")
    entry = await api.read(resource, namespace if resource.namespaced else None, name)
    if entry is None:
        raise api.not_found(resource, name)
    obj = entry.peek()
    if kind == "Pod" and (obj["spec"].get("serviceAccountName") or "default") != account:
        raise errors.BadRequest(
            f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        )
    uid = obj["metadata"]["uid"]
    if reference.get("uid") and reference["uid"] != uid:
        raise errors.conflict(
            resource.group, resource.plural, name,
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        )  # fmt: skip
    node = (obj.get("spec") or {}).get("nodeName", "") if kind == "Pod" else ""
    node_entry = await api.read(builtin.NODES, None, node) if node else None
    return kind, name, uid, node, node_entry.peek()["metadata"]["uid"] if node_entry is not None else ""


def _invalid(message: str) -> errors.Invalid:
    return errors.invalid(
        "authentication.k8s.io", "TokenRequest", "",
        [errors.Cause("FieldValueInvalid", message, "spec.expirationSeconds")],
    )  # fmt: skip
