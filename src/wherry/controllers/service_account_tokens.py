"""Secrets of type kubernetes.io/service-account-token: filled with a token that lasts as long as the Secret does.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#token-controller
"""

import base64
from collections.abc import Callable, Iterable

from wherry.client.informer import Informers, Key
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema.builtin import SECRETS, SERVICE_ACCOUNTS
from wherry.schema.resource import Object

TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"

Issue = Callable[[Object, Object], str]
"""`issue(account, secret)`: a token of the account that is good while the Secret exists."""


def account_name(secret: Object) -> str:
    """Of the account whose token the Secret shall hold; "" for every other Secret."""
    if secret.get("type") != TOKEN_TYPE:
        return ""
    return str((secret["metadata"].get("annotations") or {}).get(ACCOUNT_NAME, ""))


def reconcile(secret: Object, account: Object | None, now: float, *, issue: Issue, bundle: str) -> Plan:
    """`bundle` is the cluster's CA certificate (PEM)."""
    plan = Plan()
    metadata = secret["metadata"]
    if not account_name(secret) or metadata.get("deletionTimestamp"):
        return plan
    annotations = metadata.get("annotations") or {}
    known = annotations.get(ACCOUNT_UID)
    if account is None or (known and known != account["metadata"]["uid"]):
        plan.delete(SECRETS, secret, check_version=True)
        plan.because(f"its service account {annotations[ACCOUNT_NAME]} does not exist")
        return plan
    data = dict(secret.get("data") or {})
    data["ca.crt"] = base64.b64encode(bundle.encode()).decode()
    data["namespace"] = base64.b64encode(metadata["namespace"].encode()).decode()
    if not data.get("token"):
        data["token"] = base64.b64encode(issue(account, secret).encode()).decode()
    wanted = annotations | {ACCOUNT_UID: account["metadata"]["uid"]}
    if data != secret.get("data") or wanted != annotations:
        plan.update(SECRETS, secret | {"data": data, "metadata": metadata | {"annotations": wanted}})
        plan.because("it has no token of its account yet")
    return plan


def _keys_of_account(account: Object, informers: Informers) -> Iterable[Key]:
    metadata = account["metadata"]
    for secret in informers[SECRETS].items(metadata["namespace"]):
        if account_name(secret) == metadata["name"]:
            yield metadata["namespace"], secret["metadata"]["name"]


class ServiceAccountTokenController(Controller):
    name = "serviceaccount-token-controller"
    resource = SECRETS
    watches = (Watch(SERVICE_ACCOUNTS, _keys_of_account),)
    workers = 1

    def __init__(self, issue: Issue, bundle: str) -> None:
        self._issue = issue
        self._bundle = bundle

    def keys(self, obj: Object, informers: Informers) -> Iterable[Key]:
        return super().keys(obj, informers) if account_name(obj) else ()

    def gather(self, obj: Object, informers: Informers) -> Object | None:
        return informers[SERVICE_ACCOUNTS].get(obj["metadata"]["namespace"], account_name(obj))

    def reconcile(self, obj: Object, children: Object | None, now: float) -> Plan:
        return reconcile(obj, children, now, issue=self._issue, bundle=self._bundle)
