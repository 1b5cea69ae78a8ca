"""Bootstrap tokens: those that have expired are removed, the others sign the ConfigMap `cluster-info`.

A machine that wants to join reads `cluster-info` (kube-public) without being known to the cluster, and trusts it
because its signature (a detached JSON Web Signature over the kubeconfig) was made with the token that it was given.
https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence

from wherry.client.clock import parse_time
from wherry.client.informer import Informers, Key
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema.builtin import CONFIG_MAPS, SECRETS
from wherry.schema.resource import Object

TOKEN_TYPE = "bootstrap.kubernetes.io/token"
TOKEN_NAMESPACE = "kube-system"
NAME_PREFIX = "bootstrap-token-"
INFO_NAMESPACE, INFO_NAME = "kube-public", "cluster-info"
SIGNATURE_PREFIX = "jws-kubeconfig-"


def is_token(secret: Object) -> bool:
    return secret.get("type") == TOKEN_TYPE and secret["metadata"].get("namespace") == TOKEN_NAMESPACE


def value(secret: Object, key: str) -> str:
    """One decoded entry; "" where it is missing or is no text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, ""), validate=True).decode()
    except ValueError:
        return ""


def seconds_left(secret: Object, now: float) -> float | None:
    """Until the token expires; None for one that never does. One whose date cannot be read has expired."""
    text = value(secret, "expiration")
    if not text:
        return None
    try:
        expires = parse_time(text)
    except ValueError:
        expires = None
    return 0.0 if expires is None else expires - now


def clean(secret: Object, now: float) -> Plan:
    """Delete a token that has expired."""
    plan = Plan()
    if not is_token(secret) or secret["metadata"].get("deletionTimestamp"):
        return plan
    left = seconds_left(secret, now)
    if left is None:
        return plan
    if left > 0:
        plan.again_in(left)
        return plan
    plan.delete(SECRETS, secret, check_version=True)
    plan.because("the bootstrap token has expired")
    return plan


def sign(info: Object, secrets: Sequence[Object], now: float) -> Plan:
    """Bring the signatures in `cluster-info` to what the tokens say."""
    plan = Plan()
    data = info.get("data") or {}
    kubeconfig = data.get("kubeconfig")
    if kubeconfig is None or info["metadata"].get("deletionTimestamp"):
        return plan
    wanted = {key: text for key, text in data.items() if not key.startswith(SIGNATURE_PREFIX)}
    for secret in secrets:
        token = _signing_token(secret, now)
        if token is not None:
            wanted[SIGNATURE_PREFIX + token[0]] = detached_signature(kubeconfig, *token)
            left = seconds_left(secret, now)
            if left is not None:
                plan.again_in(left)
    if wanted != data:
        plan.update(CONFIG_MAPS, info | {"data": wanted})
        plan.because("the signatures differ from what the tokens make")
    return plan


def _signing_token(secret: Object, now: float) -> tuple[str, str] | None:
    """(id, secret) of a token that may sign."""
    identifier, key = value(secret, "token-id"), value(secret, "token-secret")
    left = seconds_left(secret, now)
    usable = identifier and key and secret["metadata"]["name"] == NAME_PREFIX + identifier
    if not usable or value(secret, "usage-bootstrap-signing") != "true" or (left is not None and left <= 0):
        return None
    return identifier, key


def detached_signature(content: str, identifier: str, key: str) -> str:
    """A JSON Web Signature (RFC 7515) by HMAC-SHA256 with `identifier.key`, its payload left out."""
    header = _base64(json.dumps({"alg": "HS256", "kid": identifier}, separators=(",", ":")).encode())
    signed = f"{header}.{_base64(content.encode())}".encode()
    return f"{header}..{_base64(hmac.digest(f'{identifier}.{key}'.encode(), signed, hashlib.sha256))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class TokenCleanerController(Controller):
    name = "token-cleaner"
    resource = SECRETS
    workers = 1

    def keys(self, obj: Object, informers: Informers) -> Iterable[Key]:
        return super().keys(obj, informers) if is_token(obj) else ()

    def gather(self, obj: Object, informers: Informers) -> None:
        return None

    def reconcile(self, obj: Object, children: None, now: float) -> Plan:
        return clean(obj, now)


class BootstrapSignerController(Controller):
    name = "bootstrap-signer"
    resource = CONFIG_MAPS
    workers = 1
    watches = (Watch(SECRETS, lambda obj, _: ((INFO_NAMESPACE, INFO_NAME),) if is_token(obj) else ()),)

    def keys(self, obj: Object, informers: Informers) -> Iterable[Key]:
        metadata = obj["metadata"]
        is_info = (metadata.get("namespace"), metadata["name"]) == (INFO_NAMESPACE, INFO_NAME)
        return super().keys(obj, informers) if is_info else ()

    def gather(self, obj: Object, informers: Informers) -> list[Object]:
        found = [one for one in informers[SECRETS].items(TOKEN_NAMESPACE) if is_token(one)]
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    def reconcile(self, obj: Object, children: list[Object], now: float) -> Plan:
        return sign(obj, children, now)
