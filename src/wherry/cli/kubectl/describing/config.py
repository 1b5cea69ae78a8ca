"""Config maps, secrets, service accounts, namespaces."""

import base64

from wherry.cli.kubectl.describing import policy
from wherry.cli.kubectl.describing.writer import Object, Writer, events, time_of
from wherry.cli.kubectl.session import Session


def config_map(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.raw("\nData\n====\n")
    for key, value in sorted((obj.get("data") or {}).items()):
        out.raw(f"{key}:\n----\n{value}\n\n")
    out.raw("\nBinaryData\n====\n")
    for key, value in sorted((obj.get("binaryData") or {}).items()):
        out.raw(f"{key}: {len(base64.b64decode(value))} bytes\n")
    out.raw("\n")
    events(out, found)


def secret(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.raw(f"\nType:\t{obj.get('type', '')}\n")
    out.raw("\nData\n====\n")
    for key, value in sorted((obj.get("data") or {}).items()):
        content = base64.b64decode(value)
        if obj.get("type") == "kubernetes.io/service-account-token" and key == "token":
            out.field(key, content.decode(errors="replace"))
        else:
            out.field(key, f"{len(content)} bytes")


def service_account(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta = obj["metadata"]
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    query = {"fieldSelector": "type=kubernetes.io/service-account-token"}
    tokens = []
    for item in session.http.get(f"/api/v1/namespaces/{meta['namespace']}/secrets", query).get("items") or ():
        if (item["metadata"].get("annotations") or {}).get("kubernetes.io/service-account.uid") == meta.get("uid"):
            tokens.append(item["metadata"]["name"])
    for title, names in (
        ("Image pull secrets", [one.get("name", "") for one in obj.get("imagePullSecrets") or ()]),
        ("Mountable secrets", [one.get("name", "") for one in obj.get("secrets") or ()]),
        ("Tokens", tokens),
    ):
        out.below(title, names)
    events(out, found)


def namespace(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, status = obj["metadata"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Status", status.get("phase", ""))
    if status.get("conditions"):
        out.raw("Conditions:\n")
        out.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage")
        out.line(1, "----\t------\t------------------\t------\t-------")
        for one in status["conditions"]:
            when = time_of(one.get("lastTransitionTime"))
            out.line(1, f"{one['type']}\t{one['status']}\t{when}\t{one.get('reason', '')}\t{one.get('message', '')}")
    quotas = session.http.get(f"/api/v1/namespaces/{meta['name']}/resourcequotas").get("items") or []
    limits = session.http.get(f"/api/v1/namespaces/{meta['name']}/limitranges").get("items") or []
    out.raw("\n")
    policy.quotas_in_namespace(out, quotas)
    out.raw("\n")
    policy.limits_in_namespace(out, limits)
