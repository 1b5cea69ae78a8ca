"""Certificate signing requests: approved ones are signed, nodes' own are approved, old ones are removed.

The signers are those built into every cluster: kubernetes.io/kube-apiserver-client, …/kube-apiserver-client-kubelet and
…/kubelet-serving. Requests for other signers are left to whoever serves them.
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wherry.client.clock import format_time, parse_time_or
from wherry.client.informer import Informers
from wherry.controllers import conditions
from wherry.controllers.loop import Controller
from wherry.controllers.plan import Plan
from wherry.schema.builtin import CERTIFICATE_SIGNING_REQUESTS
from wherry.schema.resource import Object

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"

NODES_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
APPROVERS_OF_NODES = frozenset({"system:bootstrappers", NODES_GROUP})

DEFAULT_SECONDS = 365 * 24 * 3600
SHORTEST_SECONDS = 600
KEPT_SECONDS = 3600.0
PENDING_SECONDS = 24 * 3600.0

KEY_USAGES = frozenset({"digital signature", "key encipherment"})


@dataclass(frozen=True)
class Asked:
    """What a PKCS#10 request asks for."""

    name: str
    groups: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    others: tuple[str, ...] = field(default=())
    """Alternative names of other kinds (e-mail addresses, URIs)."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.dns + self.addresses + self.others


class BadRequest(Exception):
    """What was asked for cannot be granted; the text says why."""


Sign = Callable[[bytes, Asked, bool, bool, float], bytes]
"""`sign(request, asked, client, server, seconds)`: a PEM certificate for the PEM request's key. Raises ValueError."""


def read_request(pem: bytes) -> Asked:
    """Raises BadRequest."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509.oid import NameOID

    try:
        request = x509.load_pem_x509_csr(pem)
        if not request.is_signature_valid:
            raise BadRequest("the request is not signed by the key that it is for")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadRequest(f"unable to parse the certificate request: {error}") from error
    common = [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    dns: list[str] = []
    addresses: list[str] = []
    others: list[str] = []
    try:
        for name in request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value:
            kind = dns if isinstance(name, x509.DNSName) else addresses if isinstance(name, x509.IPAddress) else others
            kind.append(str(name.value))
    except x509.ExtensionNotFound:
        pass
    return Asked(common[0] if common else "", tuple(groups), tuple(dns), tuple(addresses), tuple(others))


def check(signer: str, asked: Asked, usages: frozenset[str]) -> tuple[bool, bool]:
    """(for clients, for servers), when the signer grants such a request. Raises BadRequest."""
    if signer == CLIENT:
        _usages(usages, "client auth")
        if "system:masters" in asked.groups:
            raise BadRequest("the organization system:masters is not allowed")
        return True, False
    if list(asked.groups) != [NODES_GROUP]:
        raise BadRequest("subject organization is not system:nodes")
    if not asked.name.startswith(NODE_PREFIX):
        raise BadRequest("subject common name does not begin with system:node:")
    if asked.others:
        raise BadRequest("only DNS and IP subjectAltNames are allowed")
    if signer == KUBELET_CLIENT:
        _usages(usages, "client auth")
        if asked.names:
            raise BadRequest("DNS and IP subjectAltNames are not allowed")
        return True, False
    _usages(usages, "server auth")
    if not asked.names:
        raise BadRequest("DNS or IP subjectAltName is required")
    return False, True


def _usages(usages: frozenset[str], needed: str) -> None:
    if needed not in usages or usages - KEY_USAGES - {needed}:
        raise BadRequest(f"usages did not match {sorted(KEY_USAGES | {needed})}")


def reconcile(request: Object, sign: Sign, now: float) -> Plan:
    """Approve, sign or remove one request."""
    plan = Plan()
    if request["metadata"].get("deletionTimestamp"):
        return plan
    status = request.get("status") or {}
    left = _seconds_left(request, status, now)
    if left <= 0:
        plan.delete(CERTIFICATE_SIGNING_REQUESTS, request)
        plan.because("it is old")
        return plan
    plan.again_in(left)
    if status.get("certificate") or conditions.get(status, "Denied") or conditions.get(status, "Failed"):
        return plan
    spec = request["spec"]
    if spec["signerName"] not in (CLIENT, KUBELET_CLIENT, KUBELET_SERVING):
        return plan
    try:
        pem = base64.b64decode(spec["request"])
        asked = read_request(pem)
        client, server = check(spec["signerName"], asked, frozenset(spec.get("usages") or ()))
        if not conditions.is_true(status, "Approved"):
            if _approves_itself(spec, asked):
                _approve(plan, request, now, renewal=spec.get("username") == asked.name)
            return plan
        seconds = max(SHORTEST_SECONDS, int(spec.get("expirationSeconds") or DEFAULT_SECONDS))
        certificate = sign(pem, asked, client, server, float(seconds))
    except (BadRequest, ValueError, binascii.Error) as error:
        if conditions.is_true(status, "Approved"):
            found = conditions.put(
                list(status.get("conditions") or ()), "Failed", "True", "SignerValidationFailure", str(error), now,
                lastUpdateTime=format_time(now),
            )  # fmt: skip
            plan.status = status | {"conditions": found}
            plan.because(f"it cannot be signed: {error}")
        return plan
    plan.status = status | {"certificate": base64.b64encode(certificate).decode()}
    plan.because("it is approved: signed")
    return plan


def _approves_itself(spec: Mapping[str, Any], asked: Asked) -> bool:
    """A node may have (and renew) its own client certificate without being asked about it."""
    if spec["signerName"] != KUBELET_CLIENT:
        return False
    groups = set(spec.get("groups") or ())
    return spec.get("username") == asked.name or (
        "system:bootstrappers" in groups and str(spec.get("username", "")).startswith("system:bootstrap:")
    )


def _approve(plan: Plan, request: Object, now: float, *, renewal: bool) -> None:
    stamp = format_time(now)
    which = "self kubelet" if renewal else "kubelet"
    approved = {
        "type": "Approved",
        "status": "True",
        "reason": "AutoApproved",
        "message": f"Auto approving {which} client certificate after SubjectAccessReview.",
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
    }
    wanted = request | {"status": (request.get("status") or {}) | {"conditions": [approved]}}
    plan.update(CERTIFICATE_SIGNING_REQUESTS, wanted, subresource="approval")
    plan.because("a node asks for its own client certificate")


def _seconds_left(request: Object, status: Mapping[str, Any], now: float) -> float:
    """Until it is removed: an hour after it was decided or its certificate ended, a day while it is pending."""
    ages = [
        now - parse_time_or(one.get("lastUpdateTime") or one.get("lastTransitionTime"), now)
        for one in status.get("conditions") or ()
    ]
    if ages:
        return KEPT_SECONDS - max(ages)
    return PENDING_SECONDS - (now - parse_time_or(request["metadata"].get("creationTimestamp"), now))


class CertificateController(Controller):
    name = "certificate-controller"
    resource = CERTIFICATE_SIGNING_REQUESTS

    def __init__(self, sign: Sign) -> None:
        self._sign = sign

    def gather(self, obj: Object, informers: Informers) -> None:
        return None

    def reconcile(self, obj: Object, children: None, now: float) -> Plan:
        return reconcile(obj, self._sign, now)
