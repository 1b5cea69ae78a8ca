"""The audit log: one JSON line per request to a resource (audit.k8s.io/v1 events at level Metadata).

https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""

import json
import logging
import uuid
from datetime import UTC, datetime, timedelta
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.kube_api.call import User

if TYPE_CHECKING:
    from wherry.kube_api.http.message import Request
    from wherry.kube_api.http.routes import Route

MAX_BYTES, BACKUPS = 20 << 20, 5


class AuditLog:
    """Appends to `path`, which is rotated."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._logger = logging.Logger("audit", logging.INFO)
        self._logger.addHandler(RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS))

    def record(
        self, request: "Request", user: User, route: "Route", verb: str, status: int, seconds: float, real: User
    ) -> None:
        """One finished request. `real` is who asked, `user` on whose behalf (the same without impersonation)."""
        ended = datetime.now(UTC)
        reference: dict[str, Any] = {"resource": route.plural, "apiGroup": route.group, "apiVersion": route.version}
        for field, value in (("namespace", route.namespace), ("name", route.name), ("subresource", route.subresource)):
            if value:
                reference[field] = value
        event = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": str(uuid.uuid4()),
            "stage": "ResponseComplete",
            "requestURI": request.target,
            "verb": verb,
            "user": _shown(real),
            "sourceIPs": _source(request),
            "userAgent": request.headers.get("user-agent", ""),
            "objectRef": reference,
            "responseStatus": {"metadata": {}, "code": status},
            "requestReceivedTimestamp": (ended - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "stageTimestamp": ended.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if user is not real:
            event["impersonatedUser"] = _shown(user)
        self._logger.info("%s", json.dumps(event, separators=(",", ":")))


def _shown(user: User) -> dict[str, Any]:
    shown: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        shown["uid"] = user.uid
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra}
    return shown


def _source(request: "Request") -> list[str]:
    peer = request.connection.transport.get_extra_info("peername")
    return [peer[0]] if peer else []
