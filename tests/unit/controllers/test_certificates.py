"""Certificate requests: who gets what signed, and what is said when not."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wherry.controllers.certificates import (
    CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    PENDING_SECONDS,
    Asked,
    BadRequest,
    check,
    read_request,
    reconcile,
)
from wherry.controllers.plan import Delete, Plan, Update

NOW = 1_000_000.0
CREATED = "1970-01-12T13:46:40Z"
CLIENT_USAGES = ["digital signature", "key encipherment", "client auth"]


def pem(name: str, *groups: str, dns: tuple[str, ...] = ()) -> bytes:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), False)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def request(signer: str, body: bytes, *, approved: bool = False, username: str = "someone") -> dict[str, Any]:
    conditions = [{"type": "Approved", "status": "True", "lastUpdateTime": CREATED}] if approved else []
    return {
        "metadata": {"name": "csr", "creationTimestamp": CREATED, "uid": "u", "resourceVersion": "1"},
        "spec": {
            "signerName": signer,
            "request": base64.b64encode(body).decode(),
            "usages": CLIENT_USAGES,
            "username": username,
            "groups": ["system:nodes"],
        },
        "status": {"conditions": conditions} if conditions else {},
    }


def decide(obj: dict[str, Any], now: float = NOW) -> Plan:
    return reconcile(obj, lambda request, asked, client, server, seconds: f"{asked.name} {int(seconds)}".encode(), now)


def test_an_approved_request_is_signed_for_as_long_as_asked() -> None:
    obj = request(CLIENT, pem("alice", "devs"), approved=True)
    obj["spec"]["expirationSeconds"] = 3600
    plan = decide(obj)
    assert plan.status is not None
    assert base64.b64decode(plan.status["certificate"]) == b"alice 3600"
    assert plan.status["conditions"] == obj["status"]["conditions"]


def test_nobody_signs_what_nobody_approved() -> None:
    plan = decide(request(CLIENT, pem("alice")))
    assert plan.empty


def test_a_node_gets_its_own_client_certificate_approved() -> None:
    body = pem("system:node:n1", "system:nodes")
    plan = decide(request(KUBELET_CLIENT, body, username="system:node:n1"))
    (step,) = plan.steps
    assert isinstance(step, Update)
    assert step.subresource == "approval"
    assert decide(request(KUBELET_CLIENT, body, username="system:node:n2")).empty


def test_what_the_signer_refuses_is_marked_failed_once_approved() -> None:
    plan = decide(request(CLIENT, pem("eve", "system:masters"), approved=True))
    assert plan.status is not None
    failed = plan.status["conditions"][-1]
    assert (failed["type"], failed["reason"]) == ("Failed", "SignerValidationFailure")
    assert "system:masters" in failed["message"]
    assert "certificate" not in plan.status


def test_serving_certificates_need_names_and_client_ones_none() -> None:
    node = Asked("system:node:n", ("system:nodes",))
    serving = frozenset({"digital signature", "server auth"})
    with pytest.raises(BadRequest, match="subjectAltName is required"):
        check(KUBELET_SERVING, node, serving)
    named = Asked("system:node:n", ("system:nodes",), dns=("n",))
    assert check(KUBELET_SERVING, named, serving) == (False, True)
    with pytest.raises(BadRequest, match="not allowed"):
        check(KUBELET_CLIENT, named, frozenset(CLIENT_USAGES))
    with pytest.raises(BadRequest, match="usages did not match"):
        check(CLIENT, node, serving)


def test_requests_are_read_with_subject_and_names() -> None:
    assert read_request(pem("n", "a", "b", dns=("x.example",))) == Asked("n", ("a", "b"), ("x.example",))
    with pytest.raises(BadRequest, match="unable to parse"):
        read_request(b"not a request")


def test_old_requests_go() -> None:
    (step,) = decide(request(CLIENT, pem("alice")), NOW + PENDING_SECONDS + 1).steps
    assert isinstance(step, Delete)
    done = request(CLIENT, pem("alice"), approved=True)
    done["status"]["certificate"] = "eA=="
    assert decide(done).empty
    assert decide(done, NOW + 3601).steps
